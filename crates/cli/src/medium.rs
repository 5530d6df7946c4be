//! What a path leads to: a device or an image file, or a partition of one, opened to be read or to be changed.

use std::path::Path;

use keyhaven_disk::partition::Partition;
use keyhaven_disk::{Device, OpenError, Writable};

use crate::error::CliError;

/// A device, and the same to be written where it was opened for that.
#[derive(Debug, Clone)]
pub(crate) struct Medium {
    /// To be read.
    pub(crate) device: Device,
    /// To be written.
    pub(crate) writable: Option<Writable>,
}

impl Medium {
    /// Opens a device or image file to be read, with the next step where it cannot be.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let device = keyhaven_disk::open(path).map_err(|error| refusal(&error, path))?;
        Ok(Self {
            device,
            writable: None,
        })
    }

    /// Opens a device or image file to be changed, which nobody else may do meanwhile.
    pub(crate) fn open_writable(path: &Path) -> Result<Self, CliError> {
        let writable = keyhaven_disk::open_writable(path).map_err(|error| refusal(&error, path))?;
        Ok(Self {
            device: writable.clone(),
            writable: Some(writable),
        })
    }

    /// Returns a partition of it.
    pub(crate) fn partition(&self, partition: &Partition) -> Self {
        match &self.writable {
            None => Self {
                device: partition.device(&self.device),
                writable: None,
            },
            Some(disk) => {
                let writable = partition.writable_device(disk);
                Self {
                    device: writable.clone(),
                    writable: Some(writable),
                }
            }
        }
    }
}

fn refusal(error: &OpenError, path: &Path) -> CliError {
    let refused = CliError::could_not("cannot use the drive").because(error);
    match error {
        OpenError::NotFound { .. } => {
            refused.hint("`keyhaven drives` lists the BitLocker drives of this computer")
        }
        OpenError::PermissionDenied { .. } | OpenError::NoPermissionToWrite { .. }
            if path.starts_with("/dev") =>
        {
            refused.hint("drives belong to root: put `sudo` before the command")
        }
        OpenError::PermissionDenied { .. } | OpenError::NoPermissionToWrite { .. } => {
            refused.hint("run it as the user who owns the file")
        }
        OpenError::WriteProtected { .. } => {
            refused.hint("look for a switch on the stick or card; without `--write` it can be read")
        }
        OpenError::InUse { .. } => refused
            .hint("`lsblk` and `mount` show what is mounted; another Keyhaven may be writing it")
            .hint("without `--write` it can be read"),
        OpenError::IsDirectory { .. } => {
            refused.hint("name the device that is mounted there (`lsblk` shows it), or an image file")
        }
        OpenError::Empty { .. } => {
            refused.hint("a card reader without a card and a failed copy look like this")
        }
        _ => refused,
    }
}
