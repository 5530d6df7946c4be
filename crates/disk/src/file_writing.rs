//! An image file or a block device, opened to be changed.
//!
//! Only one program at a time should do that: a block device is opened for this process alone, which fails where it is
//! mounted, and an image file is locked against everybody who asks for the lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::container::Growing;
use crate::device::{BlockDevice, ReadError};
use crate::file::{FileDevice, OpenError};
#[cfg(windows)]
use crate::os::windows::raw::{self, Held};
use crate::writable::{Writable, WritableDevice, WriteError};

/// Opens an image file or a block device for reading and writing, as a shared device.
///
/// # Errors
/// See [`OpenError`].
pub fn open_writable(path: &Path) -> Result<Writable, OpenError> {
    Ok(Arc::new(WritableFile::open(path)?))
}

/// An image file or a block device that can be read and written at any position. It keeps its length
/// unless it is told to [grow](Growing::grow).
#[derive(Debug)]
pub struct WritableFile {
    device: FileDevice,
    /// What keeps others out, where the open file alone does not.
    held: Held,
    /// The operating system tells of a failed flush once and forgets; nothing after it is safe.
    has_lost_writes: AtomicBool,
}

impl WritableFile {
    /// Opens `path` for reading and writing, for this program alone.
    ///
    /// # Errors
    /// [`OpenError::InUse`] where it is mounted or another program changes it; else as [`FileDevice::open`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut held = Held::default();
        Ok(Self {
            device: FileDevice::open_with(path, |path, is_block_device| {
                open_for_writing(path, is_block_device, &mut held)
            })?,
            held,
            has_lost_writes: AtomicBool::new(false),
        })
    }

    /// Opens a file that may have no bytes yet.
    pub(crate) fn open_empty(path: &Path) -> Result<Self, OpenError> {
        let mut held = Held::default();
        Ok(Self {
            device: FileDevice::open_even_empty(path, |path, is_block_device| {
                open_for_writing(path, is_block_device, &mut held)
            })?,
            held,
            has_lost_writes: AtomicBool::new(false),
        })
    }

    /// Returns the same, to be read.
    pub(crate) fn device(&self) -> &FileDevice {
        &self.device
    }
}

impl Growing for WritableFile {
    fn grow(&self, len_bytes: u64) -> Result<(), WriteError> {
        let before = self.len_bytes();
        if len_bytes <= before {
            return Ok(());
        }
        self.device
            .file()
            .set_len(len_bytes)
            .map_err(|source| WriteError::Io {
                offset: before,
                len_bytes: len_bytes - before,
                source,
            })?;
        self.device.has_grown_to(len_bytes);
        Ok(())
    }
}

impl BlockDevice for WritableFile {
    fn len_bytes(&self) -> u64 {
        self.device.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.device.read_at(offset, buf)
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        self.device.hole_at(offset, len)
    }
}

impl WritableDevice for WritableFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let len_bytes = bytes.len() as u64;
        WriteError::check_range(offset, len_bytes, self.len_bytes())?;
        self.held
            .write_all(&self.device, bytes, offset)
            .map_err(|source| WriteError::Io {
                offset,
                len_bytes,
                source,
            })
    }

    fn flush(&self) -> Result<(), WriteError> {
        if self.has_lost_writes.load(Ordering::Acquire) {
            return Err(WriteError::Flush(io::Error::other("an earlier flush failed")));
        }
        self.device.file().sync_data().map_err(|error| {
            self.has_lost_writes.store(true, Ordering::Release);
            WriteError::Flush(error)
        })
    }

    fn can_discard(&self) -> bool {
        cfg!(target_os = "linux")
    }

    fn discard(&self, offset: u64, len_bytes: u64) -> Result<(), WriteError> {
        WriteError::check_range(offset, len_bytes, self.len_bytes())?;
        punch_hole(self.device.file(), offset, len_bytes).map_err(|source| WriteError::Io {
            offset,
            len_bytes,
            source,
        })
    }
}

/// Nothing: an open file keeps its own locks.
#[cfg(not(windows))]
#[derive(Debug, Default)]
struct Held {}

#[cfg(unix)]
fn open_for_writing(path: &Path, is_block_device: bool, _: &mut Held) -> Result<File, OpenError> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::{FlockOperation, OFlags, flock};
    use rustix::io::Errno;

    let in_use = || OpenError::InUse {
        path: path.to_owned(),
    };
    let mut flags = OFlags::NONBLOCK;
    if is_block_device {
        // Linux: fails where the device is mounted or held the same way.
        flags |= OFlags::EXCL;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => OpenError::NoPermissionToWrite {
                path: path.to_owned(),
            },
            io::ErrorKind::ReadOnlyFilesystem => OpenError::WriteProtected {
                path: path.to_owned(),
            },
            io::ErrorKind::ResourceBusy | io::ErrorKind::ExecutableFileBusy => in_use(),
            _ => OpenError::new(path, source),
        })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(in_use()),
        // Some file systems have no locks; that is no reason to refuse.
        _ => Ok(file),
    }
}

#[cfg(windows)]
fn open_for_writing(path: &Path, is_block_device: bool, held: &mut Held) -> Result<File, OpenError> {
    use std::os::windows::fs::OpenOptionsExt;

    let named = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => OpenError::NoPermissionToWrite {
            path: path.to_owned(),
        },
        io::ErrorKind::ReadOnlyFilesystem => OpenError::WriteProtected {
            path: path.to_owned(),
        },
        io::ErrorKind::ResourceBusy => OpenError::InUse {
            path: path.to_owned(),
        },
        _ if raw::is_sharing_violation(&source) => OpenError::InUse {
            path: path.to_owned(),
        },
        _ => OpenError::new(path, source),
    };
    if is_block_device {
        let (file, own) = raw::open_for_writing(path).map_err(named)?;
        *held = own;
        return Ok(file);
    }
    // Looking is always allowed, and giving a finished image its name; writing is not.
    OpenOptions::new()
        .read(true)
        .write(true)
        .share_mode(raw::MAY_READ_AND_RENAME)
        .open(path)
        .map_err(named)
}

#[cfg(not(any(unix, windows)))]
fn open_for_writing(path: &Path, _: bool, _: &mut Held) -> Result<File, OpenError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| OpenError::new(path, source))
}

#[cfg(unix)]
impl Held {
    fn write_all(&self, device: &FileDevice, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(device.file(), bytes, offset)
    }
}

#[cfg(windows)]
impl Held {
    fn write_all(&self, device: &FileDevice, bytes: &[u8], offset: u64) -> io::Result<()> {
        // A file may be written in any piece.
        let unit = if device.is_block_device() {
            device.sector_size()
        } else {
            1
        };
        self.write_in_units(device.file(), bytes, offset, unit)
    }
}

/// Gives the room of a range back to whatever the file or device lies on; a hint where that is not possible.
#[cfg(target_os = "linux")]
fn punch_hole(file: &File, offset: u64, len_bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;

    if len_bytes == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, offset, len_bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        outcome => Ok(outcome?),
    }
}

#[cfg(not(target_os = "linux"))]
fn punch_hole(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::conformance;

    fn image(content: &[u8]) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("room for it");
        file.into_temp_path()
    }

    #[test]
    fn an_image_file_can_be_written_everywhere() {
        let mut content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let path = image(&content);
        let device = WritableFile::open(&path).expect("it opens");
        conformance::check_writes(&device, &mut content);
        drop(device);
        assert_eq!(std::fs::read(&path).expect("readable"), content);
    }

    #[test]
    fn one_at_a_time_may_write() {
        let path = image(&[1; 4096]);
        let first = open_writable(&path).expect("it opens");
        assert!(matches!(open_writable(&path), Err(OpenError::InUse { .. })));
        crate::open(&path).expect("looking is always allowed");
        drop(first);
        open_writable(&path).expect("free again");
    }

    #[test]
    fn what_is_discarded_takes_no_room() {
        use std::os::unix::fs::MetadataExt;

        let path = image(&[1; 1 << 20]);
        let device = open_writable(&path).expect("it opens");
        device.discard(4096, (1 << 20) - 8192).expect("a hint at least");
        assert_eq!(device.len_bytes(), 1 << 20);
        let mut buf = [0; 4096];
        for edge in [0, (1 << 20) - 4096] {
            device.read_at(edge, &mut buf).expect("inside");
            assert_eq!(buf, [1; 4096], "the edges are kept");
        }
        if device.hole_at(4096, 1) == 1 {
            assert!(std::fs::metadata(&path).expect("there").blocks() * 512 < 1 << 19);
        }
        assert!(matches!(
            device.discard(1 << 20, 1),
            Err(WriteError::PastEnd { .. })
        ));
    }
}
