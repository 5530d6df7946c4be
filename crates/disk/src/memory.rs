//! Bytes in memory as a device: small images in tests, fuzz inputs, models.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::{BlockDevice, ReadError};
use crate::writable::{WritableDevice, WriteError};

/// Bytes in memory that can be read and written as a device.
pub struct MemoryDevice(Mutex<Vec<u8>>);

impl MemoryDevice {
    /// Makes a device of `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    /// Returns a copy of all that is on it.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.bytes().clone()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        // No state in between can be seen: the bytes are only ever copied.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryDevice({} bytes)", self.bytes().len())
    }
}

impl BlockDevice for MemoryDevice {
    fn len_bytes(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.bytes().read_at(offset, buf)
    }
}

impl WritableDevice for MemoryDevice {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let mut held = self.bytes();
        WriteError::check_range(offset, bytes.len() as u64, held.len() as u64)?;
        let start = offset as usize;
        held[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&self) -> Result<(), WriteError> {
        Ok(())
    }
}
