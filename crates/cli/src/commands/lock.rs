//! `keyhaven lock`: ends what `unlock` began, also where its process is gone.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Parser;
use keyhaven_attach::fuse::{
    OurMount, Ours, UnmountError, Unmounting, process_behind, system, unmount, wait_for_end,
};
use keyhaven_disk::os::Host;
use rustix::io::Errno;
use serde::Serialize;

use crate::commands::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::mounts::{PRIVATE_FOLDERS, unmount_refusal};

pub(super) const VERB: Verb = Verb::of::<Lock>();

/// How long the process behind a mount may take to end: what it has to write is on the drive by then.
const PROCESS_TIME: Duration = Duration::from_secs(30);

/// How long a driver may take to let go of an image after it was unmounted.
const DRIVER_TIME: Duration = Duration::from_secs(10);

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Lock a drive that `unlock` shows, and wait until all is written to it
///
/// Who still uses it is named, and it stays unlocked then. It also clears away what is left of a process that was ended
/// by force; without Keyhaven, `fusermount3 -u MOUNTPOINT` does that, or as root `umount -l MOUNTPOINT`. What is not
/// Keyhaven's is left alone.
#[derive(Parser)]
#[command(name = "lock")]
struct Lock {
    /// The folder in which the drive's files are shown
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,

    /// Take it out of sight now, whoever uses it; it is locked when they are done
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    mountpoint: String,
    /// Whether the process that had unlocked it was gone already.
    was_dead: bool,
    /// Whether nobody can reach its content any more.
    locked: bool,
}

impl Run for Lock {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let host = Host::system();
        let ours = Ours::on(&host)
            .map_err(|error| CliError::could_not("cannot read the list of mounts").because(&error))?;
        let Some(mount) = ours.at(&self.mountpoint) else {
            return Err(not_ours(&self.mountpoint, &host, &ours));
        };
        let is_dead = is_dead(&mount.mountpoint);
        let process = if is_dead {
            None
        } else {
            process_behind(&mount.mountpoint)
        };
        let how = if self.force {
            Unmounting::Detach
        } else {
            Unmounting::IfUnused
        };
        self.unmount(mount, how, is_dead)?;
        let locked = match process {
            // Whoever still uses it is served, for as long as that may be.
            Some(process) if self.force => wait_for_end(process, Duration::from_secs(1)),
            Some(process) => wait_for_end(process, PROCESS_TIME),
            None => true,
        };
        tell(mount, is_dead, locked, context)?;
        if locked || self.force {
            return Ok(Exit::Done);
        }
        Err(CliError::could_not(
            "the drive is out of sight, but the process that had unlocked it has not ended yet",
        )
        .hint("do not pull the drive out before it has: it may be writing"))
    }
}

impl Lock {
    /// Unmounts what people see, and then the image that it is in.
    fn unmount(&self, mount: &OurMount, how: Unmounting, is_dead: bool) -> Result<(), CliError> {
        let gone = |outcome: Result<(), UnmountError>| match outcome {
            // Somebody else was faster.
            Err(UnmountError::NotMounted(_)) => Ok(()),
            outcome => outcome.map_err(|error| unmount_refusal(&error)),
        };
        let Some(outer) = &mount.outer else {
            // Nobody can use what nobody answers for; files that are open there keep it busy all the same.
            let how = if is_dead { Unmounting::Detach } else { how };
            gone(unmount(&mount.mountpoint, how))?;
            clear_private_folder(&mount.mountpoint);
            return Ok(());
        };
        let how = if is_dead { Unmounting::Detach } else { how };
        gone(unmount(outer, how))?;
        if !is_dead {
            // The process sees that, and unmounts the image.
            return Ok(());
        }
        // It is busy until the driver has noticed that it cannot go on.
        let mut waited = Duration::ZERO;
        while matches!(
            unmount(&mount.mountpoint, Unmounting::IfUnused),
            Err(UnmountError::Busy(_))
        ) && waited < DRIVER_TIME
        {
            thread::sleep(LOOK_AGAIN);
            waited = waited.saturating_add(LOOK_AGAIN);
        }
        gone(unmount(&mount.mountpoint, Unmounting::Detach))?;
        clear_private_folder(&mount.mountpoint);
        Ok(())
    }
}

fn tell(mount: &OurMount, was_dead: bool, locked: bool, context: &Context) -> Result<(), CliError> {
    let mountpoint = mount.shown_at().display();
    if context.ui.is_json() {
        return context.ui.json(&Answer {
            drive: &mount.drive,
            mountpoint: mountpoint.to_string(),
            was_dead,
            locked,
        });
    }
    let drive = &mount.drive;
    context.ui.say(&if was_dead {
        format!("Cleared away what was left of {drive} at {mountpoint}; it is locked.")
    } else if locked {
        format!("Locked {drive}, which was at {mountpoint}.")
    } else {
        format!("Took {drive} out of sight at {mountpoint}; it is locked when nobody uses it any more.")
    });
    Ok(())
}

/// Tells whether the process behind a mount is gone.
fn is_dead(mountpoint: &Path) -> bool {
    let looked = std::fs::metadata(mountpoint);
    looked.is_err_and(|error: io::Error| {
        matches!(
            Errno::from_io_error(&error),
            Some(Errno::NOTCONN | Errno::CONNABORTED)
        )
    })
}

fn clear_private_folder(mountpoint: &Path) {
    if mountpoint.starts_with(PRIVATE_FOLDERS) {
        system::remove_private_folder(mountpoint);
    }
}

fn not_ours(path: &Path, host: &Host, ours: &Ours) -> CliError {
    let name = path.display();
    let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let there = host
        .mounts()
        .unwrap_or_default()
        .into_iter()
        .rfind(|mount| mount.mount_point == canonical);
    let mut error = match there {
        Some(mount) => CliError::could_not(format!(
            "what is mounted on `{name}` is not Keyhaven's, and is left alone: it is `{}` ({})",
            mount.source, mount.file_system
        ))
        .hint(format!("`umount {name}` unmounts it")),
        None if path.exists() => CliError::could_not(format!("nothing is mounted on `{name}`")),
        None => CliError::could_not(format!("there is no folder `{name}`")),
    };
    for mount in ours.all() {
        error = error.hint(format!(
            "{} is unlocked at `{}`",
            mount.drive,
            mount.shown_at().display()
        ));
    }
    error
}
