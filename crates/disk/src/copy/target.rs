//! What a copy is written to.

use std::fs::File;
use std::io;

/// What a copy is written to.
pub trait CopyTarget {
    /// Returns whether parts that are never written read as zeros.
    fn starts_as_zeros(&self) -> bool;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the copy `len_bytes` long and brings it to the medium.
    ///
    /// # Errors
    /// What the operating system says.
    fn finish(&mut self, len_bytes: u64) -> io::Result<()>;
}

/// A file or a block device as the target of a copy.
///
/// A file that was just created is written sparsely. Over anything else, zeros are written out.
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
        Ok(Self {
            file,
            is_regular,
            was_empty: is_regular && metadata.len() == 0,
        })
    }
}

impl CopyTarget for FileTarget {
    fn starts_as_zeros(&self) -> bool {
        self.was_empty
    }

    #[cfg(unix)]
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        if self.is_regular {
            self.file.set_len(len_bytes)?;
        }
        self.file.sync_all()
    }
}
