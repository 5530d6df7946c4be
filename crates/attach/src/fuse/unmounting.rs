//! Unmounting: at once and for good, or as soon as nobody uses it any more.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::fusermount::{self, HelperError};

/// How to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounting {
    /// Only if nobody uses what is mounted.
    IfUnused,
    /// In any case: it leaves the tree of files now, and goes when the last who uses it is done.
    Detach,
}

/// Why something could not be unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnmountError {
    /// Somebody uses it.
    #[error("`{}` is in use", .0.display())]
    Busy(PathBuf),
    /// Nothing is mounted there.
    #[error("nothing is mounted on `{}`", .0.display())]
    NotMounted(PathBuf),
    /// Somebody else mounted it.
    #[error("`{}` was mounted by another user", .0.display())]
    NotAllowed(PathBuf),
    /// A user needs a program to unmount, and it is not installed.
    #[error("the program `fusermount3`, with which users unmount, is not installed")]
    NoHelper,
    /// The program with which users unmount refused.
    #[error("`fusermount3` refused: {0}")]
    Refused(String),
    /// The operating system refused.
    #[error("unmounting `{}` failed", .mountpoint.display())]
    Io {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Unmounts what was mounted last on `mountpoint`, which must be free of links.
///
/// # Errors
/// See [`UnmountError`]; it is still mounted then.
pub fn unmount(mountpoint: &Path, how: Unmounting) -> Result<(), UnmountError> {
    let flags = match how {
        Unmounting::IfUnused => UnmountFlags::NOFOLLOW,
        Unmounting::Detach => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(mountpoint, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(UnmountError::Busy(mountpoint.to_owned())),
        Err(Errno::INVAL | Errno::NOENT) => Err(UnmountError::NotMounted(mountpoint.to_owned())),
        // Users may not unmount, but there is a program that does it for them.
        Err(Errno::PERM | Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
            with_helper(mountpoint, how)
        }
        Err(error) => Err(UnmountError::Io {
            mountpoint: mountpoint.to_owned(),
            source: error.into(),
        }),
    }
}

fn with_helper(mountpoint: &Path, how: Unmounting) -> Result<(), UnmountError> {
    fusermount::unmount(mountpoint, how == Unmounting::Detach).map_err(|error| match error {
        HelperError::NotInstalled => UnmountError::NoHelper,
        HelperError::Io(source) => UnmountError::Io {
            mountpoint: mountpoint.to_owned(),
            source,
        },
        HelperError::Refused(reason) if reason.contains("busy") => UnmountError::Busy(mountpoint.to_owned()),
        HelperError::Refused(reason) if reason.contains("not found in") => {
            // It looks for mounts of this user only.
            UnmountError::NotAllowed(mountpoint.to_owned())
        }
        HelperError::Refused(reason) => UnmountError::Refused(reason),
    })
}
