//! Whether a file system was left in order, so that it can be written to.

use std::fmt;

use keyhaven_disk::Device;
use keyhaven_disk::content::{self, Content};

use crate::files::{OpenFilesError, fat, ntfs};

/// How a file system was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleanliness {
    /// In order: it was closed.
    Clean,
    /// It was not closed, or needs a check.
    Dirty(Mark),
    /// Windows on it sleeps, and takes up its work where it left off; whatever is written meanwhile is lost or
    /// destroys the file system.
    Hibernated,
    /// Nobody knows, for this reason.
    Unknown(String),
}

/// What says that a file system is not in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mark {
    /// It is marked as needing a check.
    NeedsCheck,
    /// It is marked as in use: it was not removed safely.
    InUse,
    /// Its log has changes that were begun and not finished.
    UnfinishedLog,
    /// It is marked as having met a failure of the medium.
    MediaFailure,
}

impl fmt::Display for Cleanliness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("the file system was closed in order"),
            Self::Dirty(Mark::NeedsCheck) => f.write_str("the file system is marked as needing a check"),
            Self::Dirty(Mark::InUse) => f.write_str("the file system was not removed safely"),
            Self::Dirty(Mark::UnfinishedLog) => {
                f.write_str("the log of the file system has changes that were not finished")
            }
            Self::Dirty(Mark::MediaFailure) => {
                f.write_str("the file system is marked as having met a failure of the drive")
            }
            Self::Hibernated => {
                f.write_str("Windows on this drive is hibernated, or was shut down with fast startup")
            }
            Self::Unknown(why) => write!(
                f,
                "it is not known whether the file system was closed in order: {why}"
            ),
        }
    }
}

/// Returns how the file system on a device was left.
///
/// # Errors
/// Those of [`open`](crate::files::open).
pub fn state(device: &Device) -> Result<Cleanliness, OpenFilesError> {
    match content::identify(device) {
        Content::Ntfs => ntfs::state(device),
        Content::ExFat => fat::state_of_exfat(device),
        Content::Fat12 | Content::Fat16 | Content::Fat32 => fat::state_of_fat(device),
        found => Err(OpenFilesError::NotAFileSystem { found }),
    }
}
