//! Files that become longer while an image in them is written.

use std::fmt;

use crate::writable::{WritableDevice, WriteError};

/// A device that can be made longer: an image file.
pub trait Growing: WritableDevice + fmt::Debug {
    /// Makes it at least `len_bytes` long; what is new reads as zeros. It is on the medium after a flush.
    ///
    /// # Errors
    /// What the operating system says: the disk is full, or the file system has no files that large.
    fn grow(&self, len_bytes: u64) -> Result<(), WriteError>;
}
