//! Devices that can also be written.

use std::io;
use std::sync::Arc;

use crate::device::{BlockDevice, ReadError};

/// A shared handle to a device that can be written.
///
/// It is a [`Device`](crate::Device) too: `let device: Device = writable.clone();`.
pub type Writable = Arc<dyn WritableDevice>;

/// A run of bytes that can be read and written at any position.
///
/// Writes are positional and take `&self`, as reads do. What was written is read back at once by everybody who holds
/// the device; it is on the medium only after [`flush`](Self::flush).
pub trait WritableDevice: BlockDevice {
    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`WriteError::PastEnd`] and [`WriteError::Fixed`] before anything is written; after any other error the range may
    /// hold the old bytes, the new ones or some of each, and nothing outside of it was touched.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError>;

    /// Brings everything that was written before to the medium.
    ///
    /// # Errors
    /// What the operating system says. What was written since the last flush that succeeded may then be lost.
    fn flush(&self) -> Result<(), WriteError>;

    /// Tells whether [`discard`](Self::discard) does anything.
    fn can_discard(&self) -> bool {
        false
    }

    /// Says that the content of a range is no longer needed. Afterwards it reads as anything, but always as the same.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn discard(&self, offset: u64, len_bytes: u64) -> Result<(), WriteError> {
        let _ = (offset, len_bytes);
        Ok(())
    }
}

/// Why a write could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The range lies outside the device.
    #[error("{len_bytes} bytes were to be written at byte {offset}, but the device ends at byte {end}")]
    PastEnd {
        /// Where the write began, in bytes from the start of the device that was asked.
        offset: u64,
        /// How many bytes were to be written.
        len_bytes: u64,
        /// Where the device ends, in bytes from its start.
        end: u64,
    },
    /// The range has a part whose content cannot be changed.
    #[error("the content of byte {offset} cannot be changed")]
    Fixed {
        /// Where that part begins, in bytes from the start of the device that was asked.
        offset: u64,
    },
    /// What lies around the bytes had to be read first, and could not be.
    #[error("what is around the bytes to be written cannot be read")]
    Read(#[from] ReadError),
    /// The medium failed.
    #[error("writing {len_bytes} bytes at byte {offset} failed")]
    Io {
        /// Where the write began, in bytes from the start of the device that was asked.
        offset: u64,
        /// How many bytes were to be written.
        len_bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The medium failed to keep what was written before.
    #[error("bringing what was written to the medium failed")]
    Flush(#[source] io::Error),
}

impl WriteError {
    /// Fails with [`PastEnd`](Self::PastEnd) where a range leaves a device of `end` bytes.
    ///
    /// # Errors
    /// That one.
    pub fn check_range(offset: u64, len_bytes: u64, end: u64) -> Result<(), Self> {
        match offset.checked_add(len_bytes) {
            Some(past) if past <= end => Ok(()),
            _ => Err(Self::PastEnd {
                offset,
                len_bytes,
                end,
            }),
        }
    }

    /// Restates the error in the coordinates of a device that shows this one from `start` on.
    #[must_use]
    pub(crate) fn relative_to(self, start: u64) -> Self {
        match self {
            Self::PastEnd {
                offset,
                len_bytes,
                end,
            } => Self::PastEnd {
                offset: offset.saturating_sub(start),
                len_bytes,
                end: end.saturating_sub(start),
            },
            Self::Fixed { offset } => Self::Fixed {
                offset: offset.saturating_sub(start),
            },
            Self::Read(error) => Self::Read(error.relative_to(start)),
            Self::Io {
                offset,
                len_bytes,
                source,
            } => Self::Io {
                offset: offset.saturating_sub(start),
                len_bytes,
                source,
            },
            Self::Flush(source) => Self::Flush(source),
        }
    }
}
