//! Reads of a block device that go past the page cache.
//!
//! A drive is read once, from its first byte to its last. Through the page cache that costs a copy of every byte and
//! pushes out what other programs keep there; read straight into a page-aligned buffer it costs neither.

use std::fs::File;
use std::path::Path;

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

    /// Fills `buf` if that can be done directly. If not, nothing is known, and the ordinary way tells why.
    pub(crate) fn read_exact(&self, offset: u64, buf: &mut [u8]) -> bool {
        let is_aligned = buf.as_ptr().addr().is_multiple_of(ALIGNMENT)
            && buf.len().is_multiple_of(ALIGNMENT)
            && offset.is_multiple_of(ALIGNMENT as u64);
        buf.len() >= SHORTEST && is_aligned && read_exact_at(&self.0, buf, offset)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> bool {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset).is_ok()
}

#[cfg(not(unix))]
fn read_exact_at(_: &File, _: &mut [u8], _: u64) -> bool {
    false
}
