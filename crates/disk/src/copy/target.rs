//! What a copy is written to.

use std::fs::File;
use std::io;

use super::sparse::{ZERO_BLOCK_LEN, is_zero};
use crate::file::next_stored_byte;
use crate::writable::{Writable, WriteError};

/// What a copy is written to.
pub trait CopyTarget {
    /// Returns whether parts that are never written read as zeros.
    fn starts_as_zeros(&self) -> bool;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the copy `len_bytes` long and brings it to the medium. A copy that can be gone on with is written to after
    /// that, and finished again.
    ///
    /// # Errors
    /// What the operating system says.
    fn finish(&mut self, len_bytes: u64) -> io::Result<()>;
}

/// A file as the target of a copy.
///
/// If it was just created it is written sparsely. Over anything else, zeros are written out.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    is_regular: bool,
    was_empty: bool,
}

impl FileTarget {
    /// Takes a file that is open for writing.
    ///
    /// # Errors
    /// What the operating system says when it is asked what the file is.
    pub fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let is_regular = metadata.is_file();
        let was_empty = is_regular && metadata.len() == 0;
        // Elsewhere files are sparse without being asked.
        #[cfg(windows)]
        if was_empty {
            crate::os::windows::raw::make_sparse(&file);
        }
        Ok(Self {
            file,
            is_regular,
            was_empty,
        })
    }
}

impl CopyTarget for FileTarget {
    fn starts_as_zeros(&self) -> bool {
        self.was_empty
    }

    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&mut self.file, offset, bytes)
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        if self.is_regular {
            self.file.set_len(len_bytes)?;
        }
        self.file.sync_all()
    }
}

/// A file that a copy is gone on with: it has what it was given before, and holes or zeros elsewhere.
///
/// Zeros are written only where something else may be, so that it stays sparse.
#[derive(Debug)]
pub struct ResumedFile(File);

impl ResumedFile {
    /// Takes a regular file that is open for reading and writing.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self(file)
    }

    fn is_hole(&self, offset: u64, len_bytes: u64) -> bool {
        let Ok(metadata) = self.0.metadata() else {
            return false;
        };
        let next = if offset < metadata.len() {
            next_stored_byte(&self.0, offset, metadata.len())
        } else {
            metadata.len()
        };
        offset >= metadata.len() || next >= metadata.len().min(offset.saturating_add(len_bytes))
    }
}

impl CopyTarget for ResumedFile {
    fn starts_as_zeros(&self) -> bool {
        false
    }

    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = offset;
        for block in bytes.chunks(ZERO_BLOCK_LEN) {
            let len = block.len() as u64;
            if !(is_zero(block) && self.is_hole(at, len)) {
                write_all_at(&mut self.0, at, block)?;
            }
            at = at.saturating_add(len);
        }
        Ok(())
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        self.0.set_len(len_bytes)?;
        self.0.sync_all()
    }
}

#[cfg(unix)]
fn write_all_at(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_all_at(file: &mut File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// A device as the target of a copy. What lies behind the copy stays as it is.
#[derive(Debug)]
pub struct DeviceTarget(Writable);

impl DeviceTarget {
    /// Takes a device to write over.
    #[must_use]
    pub fn new(device: Writable) -> Self {
        Self(device)
    }
}

impl CopyTarget for DeviceTarget {
    fn starts_as_zeros(&self) -> bool {
        false
    }

    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes).map_err(into_io)
    }

    fn finish(&mut self, _: u64) -> io::Result<()> {
        self.0.flush().map_err(into_io)
    }
}

fn into_io(error: WriteError) -> io::Error {
    match error {
        WriteError::Io { source, .. } | WriteError::Flush(source) => source,
        WriteError::PastEnd { .. } => io::Error::new(io::ErrorKind::StorageFull, error),
        error => io::Error::other(error),
    }
}
