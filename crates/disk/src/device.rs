//! The one trait that everything readable implements.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A shared handle to a device; cheap to clone, safe to use from several threads.
pub type Device = Arc<dyn BlockDevice>;

/// A run of bytes that can be read at any position.
///
/// Reads are positional and take `&self`, so one device serves many threads. All offsets and lengths are in bytes
/// from the start of this device (of the partition, say, not of the disk around it).
pub trait BlockDevice: fmt::Debug + Send + Sync {
    /// Returns how many bytes this device says it has.
    ///
    /// A partition answers with what its table says even if the medium ends earlier (a cut-off image); reading the
    /// missing part is then a [`ReadError`] with the offset where the medium ended.
    fn len_bytes(&self) -> u64;

    /// Returns the logical sector size in bytes where the medium has one: 512 for plain image files.
    fn sector_size(&self) -> u32 {
        512
    }

    /// Fills `buf` from `offset`, whole or not at all.
    ///
    /// # Errors
    /// [`ReadError::PastEnd`] when the range leaves the device or the medium ends inside it, [`ReadError::Io`] when
    /// the medium fails. After an error the content of `buf` is unspecified.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError>;

    /// Returns the length of the run at `offset` that is known to read as zeros without being stored (a hole), up
    /// to `len` bytes; 0 when the byte at `offset` is stored or nothing is known.
    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let _ = (offset, len);
        0
    }

    /// Returns the length of the run at `offset` that is known to be unreadable without a try, up to `len` bytes: the
    /// medium ends before it, or an image never got it. 0 when the byte at `offset` may be readable.
    fn unreadable_at(&self, offset: u64, len: u64) -> u64 {
        let _ = (offset, len);
        0
    }
}

/// Why a read could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The range lies outside the device, or the medium is shorter than it says.
    #[error("needed {len_bytes} bytes at byte {offset}, but the data ends at byte {end}")]
    PastEnd {
        /// Where the read began, in bytes from the start of the device that was asked.
        offset: u64,
        /// How many bytes were asked for.
        len_bytes: u64,
        /// Where the data ends, in bytes from the start of the device that was asked.
        end: u64,
    },
    /// The medium failed.
    #[error("reading {len_bytes} bytes at byte {offset} failed")]
    Io {
        /// Where the read began, in bytes from the start of the device that was asked.
        offset: u64,
        /// How many bytes were asked for.
        len_bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ReadError {
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

    /// Returns the offset of the read that failed, in bytes from the start of the device that was asked.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self {
            Self::PastEnd { offset, .. } | Self::Io { offset, .. } => *offset,
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
            Self::Io {
                offset,
                len_bytes,
                source,
            } => Self::Io {
                offset: offset.saturating_sub(start),
                len_bytes,
                source,
            },
        }
    }
}

/// Bytes in memory are a device: small images in tests, fuzz inputs.
impl BlockDevice for Vec<u8> {
    fn len_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(buf.len())?))
            .and_then(|range| self.get(range));
        match range {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(ReadError::PastEnd {
                offset,
                len_bytes: buf.len() as u64,
                end: self.len_bytes(),
            }),
        }
    }
}
