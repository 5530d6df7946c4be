//! Reads of a block device that go past the page cache.
//!
//! A drive is read once, from its first byte to its last. Through the page cache that costs a copy of every byte and
//! pushes out what other programs keep there; read straight into a page-aligned buffer it costs neither.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::aligned::AlignedBuffer;

/// A read shorter than this gains nothing, in bytes.
const SHORTEST: usize = 64 * 1024;

/// What memory, places and lengths must be a multiple of: the largest sector in use, in bytes.
const ALIGNMENT: usize = 4096;

/// A block device opened for direct reads.
#[derive(Debug)]
pub(crate) struct DirectFile(File);

impl DirectFile {
    /// Opens a block device; `None` where the system cannot.
    #[cfg(target_os = "linux")]
    pub(crate) fn open(path: &Path) -> Option<Self> {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;

        let flags = i32::try_from((OFlags::DIRECT | OFlags::NONBLOCK).bits()).ok()?;
        std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .ok()
            .map(Self)
    }

    /// Opens a block device; `None` where the system cannot.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn open(_: &Path) -> Option<Self> {
        None
    }

    /// Fills `buf` if that can be done directly; `None` if not, and then nothing is known.
    ///
    /// # Errors
    /// The medium failed: another way would only make it try once more.
    pub(crate) fn read_exact(&self, offset: u64, buf: &mut [u8]) -> Option<io::Result<()>> {
        if buf.len() < SHORTEST || !is_aligned(offset, buf, ALIGNMENT) {
            return None;
        }
        match read_exact_at(&self.0, buf, offset) {
            Ok(()) => Some(Ok(())),
            Err(error) if is_of_the_medium(&error) => Some(Err(error)),
            Err(_) => None,
        }
    }

    /// Fills a short `buf` where the page cache could not, because a neighbour in the same page is bad; returns whether
    /// it did. `sector_size` is that of the device.
    pub(crate) fn read_sectors(&self, offset: u64, buf: &mut [u8], sector_size: u32) -> bool {
        let mut aligned = AlignedBuffer::new(buf.len());
        let sectors = aligned.first_mut(buf.len());
        let is_possible = buf.len() < SHORTEST && is_aligned(offset, sectors, sector_size as usize);
        if !is_possible || read_exact_at(&self.0, sectors, offset).is_err() {
            return false;
        }
        buf.copy_from_slice(sectors);
        true
    }
}

fn is_aligned(offset: u64, buf: &[u8], to: usize) -> bool {
    buf.as_ptr().addr().is_multiple_of(to) && buf.len().is_multiple_of(to) && offset.is_multiple_of(to as u64)
}

/// Tells a medium that fails from a call that the system refuses.
#[cfg(unix)]
fn is_of_the_medium(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

#[cfg(not(unix))]
fn is_of_the_medium(_: &io::Error) -> bool {
    false
}

#[cfg(unix)]
fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(not(unix))]
fn read_exact_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
