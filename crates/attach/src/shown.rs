//! What is shown to others, and whether they may write it.

use keyhaven_disk::{Device, Writable};

/// A device, and whether those to whom it is shown may write it.
#[derive(Debug, Clone)]
pub enum Shown {
    /// It can be read.
    ReadOnly(Device),
    /// It can be read and written.
    Writable(Writable),
}

impl Shown {
    /// Returns the device, to be read.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Self::ReadOnly(device) => device.clone(),
            Self::Writable(device) => device.clone(),
        }
    }

    /// Returns the device, to be written, where that is allowed.
    #[must_use]
    pub fn writable(&self) -> Option<&Writable> {
        match self {
            Self::ReadOnly(_) => None,
            Self::Writable(device) => Some(device),
        }
    }
}
