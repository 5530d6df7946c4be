//! A drive stays unlocked: until Ctrl-C, or until somebody unmounts it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use keyhaven_attach::fuse::system::{self, PrivateFolder};
use keyhaven_attach::fuse::{Mounted, UnmountError, Unmounting, unmount};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::troubles::Troubles;
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::mounts::{named_users, unmount_refusal};

/// How often Ctrl-C is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A drive that is unlocked.
pub(super) struct Held {
    // Unmounted first, as the fields are in this order.
    outer: Option<Outer>,
    inner: Mounted,
    _folder: Option<PrivateFolder>,
}

/// What a driver of this computer has mounted.
struct Outer {
    mountpoint: PathBuf,
    /// The list of mounts, which tells when it has changed.
    mounts: Option<File>,
}

impl Held {
    /// What FUSE shows is what people see.
    pub(super) fn direct(inner: Mounted) -> Self {
        Self {
            outer: None,
            inner,
            _folder: None,
        }
    }

    /// What FUSE shows is in a private folder, and a driver has mounted what is in it.
    pub(super) fn through(inner: Mounted, mountpoint: &Path, folder: PrivateFolder) -> Self {
        let outer = Outer {
            mountpoint: mountpoint.to_owned(),
            mounts: File::open("/proc/self/mountinfo").ok(),
        };
        Self {
            outer: Some(outer),
            inner,
            _folder: Some(folder),
        }
    }

    /// Waits until it is to be locked again, and locks it.
    pub(super) fn until_locked(mut self, troubles: &Troubles, context: &Context) -> Result<Exit, CliError> {
        while !self.is_unmounted()? {
            troubles.tell(context);
            if context.interrupt.take() {
                self.leave_sight(context)?;
                break;
            }
        }
        self.wait_for_users(troubles, context);
        troubles.tell(context);
        if troubles.is_data_lost() {
            return Err(CliError::could_not(
                "the drive is locked, but something that was written may not be on it",
            )
            .hint("the warnings above say what the drive did"));
        }
        context.ui.say("Locked again.");
        Ok(Exit::Done)
    }

    /// Returns what people see.
    fn mountpoint(&self) -> &Path {
        match &self.outer {
            Some(outer) => &outer.mountpoint,
            None => self.inner.mountpoint(),
        }
    }

    /// Waits a moment, and tells whether somebody has unmounted what people see.
    fn is_unmounted(&mut self) -> Result<bool, CliError> {
        let Some(outer) = &self.outer else {
            return self
                .inner
                .wait(LOOK_AGAIN)
                .map_err(|error| CliError::could_not("the mount broke").because(&error));
        };
        Ok(outer.changes() && !system::is_mounted(&outer.mountpoint))
    }

    /// Unmounts what people see; whoever uses it is named, and keeps what is open.
    fn leave_sight(&mut self, context: &Context) -> Result<(), CliError> {
        let mountpoint = self.mountpoint().to_owned();
        match patiently(&mountpoint, context) {
            Ok(()) | Err(UnmountError::NotMounted(_)) => Ok(()),
            Err(UnmountError::Busy(_)) => {
                context
                    .ui
                    .warn(&format!("`{}` is still in use:", mountpoint.display()));
                for user in named_users(&mountpoint) {
                    context.ui.warn(&user);
                }
                context.ui.say(
                    "It is out of sight now, and locked when they are done. Ctrl-C again locks it at once.",
                );
                match unmount(&mountpoint, Unmounting::Detach) {
                    Err(UnmountError::NotMounted(_)) => Ok(()),
                    detached => detached.map_err(|error| unmount_refusal(&error)),
                }
            }
            Err(error) => Err(unmount_refusal(&error)),
        }
    }

    /// Waits until nobody uses it any more, or Ctrl-C.
    fn wait_for_users(&mut self, troubles: &Troubles, context: &Context) {
        // A driver lets go of the image some time after it was unmounted.
        while self.outer.is_some()
            && matches!(
                self.inner.unmount(Unmounting::IfUnused),
                Err(UnmountError::Busy(_))
            )
        {
            troubles.tell(context);
            if context.interrupt.take() {
                let _ = self.inner.unmount(Unmounting::Detach);
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
        while !self.inner.wait(LOOK_AGAIN).unwrap_or(true) {
            troubles.tell(context);
            if context.interrupt.take() {
                return;
            }
        }
        self.outer = None;
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        // Only if it did not get to being unmounted in order.
        if system::is_mounted(&self.mountpoint) {
            let _ = unmount(&self.mountpoint, Unmounting::Detach);
        }
    }
}

impl Outer {
    /// Waits a moment for a change of the mounts.
    fn changes(&self) -> bool {
        let time = Timespec::try_from(LOOK_AGAIN).ok();
        match &self.mounts {
            Some(mounts) => !matches!(
                poll(&mut [PollFd::new(mounts, PollFlags::PRI)], time.as_ref()),
                Ok(0)
            ),
            None => {
                thread::sleep(LOOK_AGAIN);
                true
            }
        }
    }
}

/// Unmounts while somebody at the keyboard gets impatient: ending the process now would lose what is being written.
fn patiently(mountpoint: &Path, context: &Context) -> Result<(), UnmountError> {
    thread::scope(|scope| {
        let unmounting = scope.spawn(|| unmount(mountpoint, Unmounting::IfUnused));
        while !unmounting.is_finished() {
            thread::sleep(Duration::from_millis(20));
            if context.interrupt.take() {
                context
                    .ui
                    .say("What was written is still on its way to the drive; this takes a moment.");
            }
        }
        unmounting.join().unwrap_or(Ok(()))
    })
}
