//! A mount that lasts as long as somebody has not unmounted it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use fuser::{Config, Filesystem, Session, SessionACL};
use keyhaven_disk::os::Host;

use super::mounting::{self, MountError};
use super::options::MountOptions;
use super::ours;
use super::unmounting::{UnmountError, Unmounting, unmount};

/// How many requests are worked on at once, at most: enough to keep a disk busy while others are decrypted.
const THREADS_MAX: usize = 4;

/// How far the kernel is to read ahead of whoever reads in order, in KiB: eight times its own choice.
const READ_AHEAD_KIB: u32 = 1024;

/// What is shown through FUSE. It is unmounted when this is dropped.
#[derive(Debug)]
pub struct Mounted {
    mountpoint: PathBuf,
    end: Receiver<io::Result<()>>,
    has_ended: bool,
}

impl Mounted {
    pub(super) fn start(
        file_system: impl Filesystem,
        mountpoint: &Path,
        options: &MountOptions,
        read_only: bool,
    ) -> Result<Self, MountError> {
        let mountpoint = mounting::check_mountpoint(mountpoint)?;
        let connection = mounting::connect(&mountpoint, options, read_only)?;
        let failed = |error: io::Error| {
            // Nobody answers, so nobody else can be using it.
            let _ = unmount(&mountpoint, Unmounting::Detach);
            MountError::Io {
                mountpoint: mountpoint.clone(),
                source: error,
            }
        };
        let mut config = Config::default();
        config.n_threads =
            Some(thread::available_parallelism().map_or(2, |count| count.get().clamp(2, THREADS_MAX)));
        let acl = if options.allow_other {
            SessionACL::All
        } else {
            SessionACL::Owner
        };
        let session = Session::from_fd(file_system, connection, acl, config).map_err(failed)?;
        let (send, end) = mpsc::channel();
        thread::Builder::new()
            .name("fuse".to_owned())
            .spawn(move || {
                // Nobody listens any more after the mount was dropped.
                let _ = send.send(session.run());
            })
            .map_err(failed)?;
        let mounted = Self {
            mountpoint,
            end,
            has_ended: false,
        };
        mounted.read_far_ahead();
        Ok(mounted)
    }

    /// Returns where it is mounted, free of links.
    #[must_use]
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Waits until it is unmounted and nobody uses it any more, but at most for `time`; returns whether that is so.
    ///
    /// # Errors
    /// The connection to the kernel broke; it is over then too.
    pub fn wait(&mut self, time: Duration) -> io::Result<bool> {
        if self.has_ended {
            return Ok(true);
        }
        match self.end.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Ok(outcome) => {
                self.has_ended = true;
                outcome.map(|()| true)
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.has_ended = true;
                Err(io::Error::other("the thread that answers the kernel ended"))
            }
        }
    }

    /// Unmounts it; [`Mounted::wait`] then tells when it is over.
    ///
    /// # Errors
    /// See [`UnmountError`].
    pub fn unmount(&mut self, how: Unmounting) -> Result<(), UnmountError> {
        // Somebody may have unmounted it, and mounted something else there.
        if self.wait(Duration::ZERO).unwrap_or(true) || !self.is_on_top() {
            return Ok(());
        }
        unmount(&self.mountpoint, how)
    }

    /// Tells whether the last thing that was mounted here is a mount of ours.
    fn is_on_top(&self) -> bool {
        match Host::system().mounts() {
            Ok(mounts) => mounts
                .iter()
                .rfind(|mount| mount.mount_point == self.mountpoint)
                .is_some_and(|mount| mount.file_system == ours::FILE_SYSTEM),
            Err(_) => true,
        }
    }

    /// Has the kernel read further ahead. Only root may, and it is only for speed.
    fn read_far_ahead(&self) {
        let host = Host::system();
        let mounts = host.mounts().unwrap_or_default();
        let own = mounts.iter().rfind(|mount| mount.mount_point == self.mountpoint);
        if let Some(mount) = own {
            let device = format!("{}:{}", mount.number.major, mount.number.minor);
            let setting = host.sysfs.join("class/bdi").join(device).join("read_ahead_kb");
            let _ = fs::write(setting, READ_AHEAD_KIB.to_string());
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever still uses it is served until the process ends.
        let _ = self.unmount(Unmounting::Detach);
    }
}
