//! An image file or a block device, opened for reading only.
//!
//! [`open`] takes a path and gives a [`Device`]. A path that cannot be a run of sectors is refused by name
//! ([`OpenError`]): a directory, an empty file, a terminal, a pipe.
//!
//! Reads are positional, so one open file serves many threads. The length is taken once, when the file is opened;
//! a file that shrinks afterwards answers [`ReadError::PastEnd`] with the place where its data ended.

#[cfg(not(windows))]
use std::fs::OpenOptions;
use std::fs::{File, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::{BlockDevice, Device, ReadError};
use crate::direct::DirectFile;
#[cfg(windows)]
use crate::os::windows::raw;

/// The sector size of a plain image file, and of a device that does not tell.
const DEFAULT_SECTOR_SIZE: u32 = 512;

/// Opens an image file or a block device for reading, as a shared device.
///
/// # Errors
/// See [`OpenError`].
pub fn open(path: &Path) -> Result<Device, OpenError> {
    Ok(Arc::new(FileDevice::open(path)?))
}

/// Opens an image file or a block device to be read back: what is in the page cache is dropped first, as far as the
/// system does that, so that the medium itself answers.
///
/// # Errors
/// See [`OpenError`].
pub fn open_uncached(path: &Path) -> Result<Device, OpenError> {
    Ok(Arc::new(FileDevice::open_uncached(path)?))
}

/// An image file or a block device that can be read at any position.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    /// The same past the page cache, for long reads of block devices.
    direct: Option<DirectFile>,
    path: PathBuf,
    /// Only a file that an image grows in changes it.
    len_bytes: AtomicU64,
    sector_size: u32,
    is_block_device: bool,
}

impl FileDevice {
    /// Opens `path` read-only; nothing is locked, created or changed.
    ///
    /// Symbolic links are followed (`/dev/disk/by-id/…`). The sector size of a block device is what its driver says;
    /// of an image file it is 512 until [`FileDevice::with_sector_size`] says otherwise.
    ///
    /// # Errors
    /// See [`OpenError`]; block devices usually need root, so [`OpenError::PermissionDenied`] is common.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut device = Self::open_with(path, |path, _| {
            open_for_reading(path).map_err(|source| OpenError::new(path, source))
        })?;
        if device.is_block_device {
            device.direct = DirectFile::open(path);
        }
        Ok(device)
    }

    /// Opens `path` to be read back, as [`open_uncached`] does.
    pub(crate) fn open_uncached(path: &Path) -> Result<Self, OpenError> {
        let device = Self::open(path)?;
        #[cfg(target_os = "linux")]
        {
            // A hint; where it is not taken the cache answers.
            let _ = rustix::fs::fadvise(&device.file, 0, None, rustix::fs::Advice::DontNeed);
        }
        Ok(device)
    }

    /// Opens `path` with `open`, which is told whether it is a block device.
    pub(crate) fn open_with(
        path: &Path,
        open: impl FnOnce(&Path, bool) -> Result<File, OpenError>,
    ) -> Result<Self, OpenError> {
        let device = Self::open_even_empty(path, open)?;
        if device.len_bytes() == 0 {
            return Err(OpenError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(device)
    }

    /// Opens `path` as [`open_with`](Self::open_with) does, also a file that has no bytes yet.
    pub(crate) fn open_even_empty(
        path: &Path,
        open: impl FnOnce(&Path, bool) -> Result<File, OpenError>,
    ) -> Result<Self, OpenError> {
        // Opening a pipe would wait for its other end, so look before.
        let is_block_device = look_at(path)?;
        let mut file = open(path, is_block_device)?;
        // The path may have been replaced in between: only what is open counts.
        let is_block_device = look_at_open(path, &file)?;
        let len_bytes = length(&mut file, is_block_device).map_err(|source| OpenError::new(path, source))?;
        let sector_size = if is_block_device {
            logical_sector_size(&file)
        } else {
            DEFAULT_SECTOR_SIZE
        };
        Ok(Self {
            file,
            direct: None,
            path: path.to_owned(),
            len_bytes: AtomicU64::new(len_bytes),
            sector_size,
            is_block_device,
        })
    }

    /// Sets the logical sector size in bytes, for the image of a disk whose sectors are not 512 bytes.
    #[must_use]
    pub fn with_sector_size(mut self, sector_size: u32) -> Self {
        self.sector_size = sector_size;
        self
    }

    /// Returns the path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Notes that the file has become longer.
    pub(crate) fn has_grown_to(&self, len_bytes: u64) {
        self.len_bytes.fetch_max(len_bytes, Ordering::AcqRel);
    }

    /// Returns whether this is a block device of this computer, not an image file.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.is_block_device
    }

    #[cfg(unix)]
    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buf, offset)
    }

    #[cfg(windows)]
    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // A file may be read in any piece.
        let unit = if self.is_block_device { self.sector_size } else { 1 };
        raw::read_some(&self.file, buf, offset, unit)
    }

    /// Fills `buf` through the page cache.
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len_bytes = buf.len() as u64;
        let mut rest = buf;
        let mut position = offset;
        while !rest.is_empty() {
            match self.read_some(rest, position) {
                Ok(0) => {
                    return Err(ReadError::PastEnd {
                        offset,
                        len_bytes,
                        end: position,
                    });
                }
                Ok(count) => {
                    rest = rest.get_mut(count..).unwrap_or_default();
                    position = position.saturating_add(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ReadError::Io {
                        offset,
                        len_bytes,
                        source,
                    });
                }
            }
        }
        Ok(())
    }
}

impl BlockDevice for FileDevice {
    fn len_bytes(&self) -> u64 {
        self.len_bytes.load(Ordering::Acquire)
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len_bytes = buf.len() as u64;
        ReadError::check_range(offset, len_bytes, self.len_bytes())?;
        let failed = |source| ReadError::Io {
            offset,
            len_bytes,
            source,
        };
        if let Some(read) = self
            .direct
            .as_ref()
            .and_then(|direct| direct.read_exact(offset, buf))
        {
            return read.map_err(failed);
        }
        let outcome = self.read_cached(offset, buf);
        if let (Err(ReadError::Io { .. }), Some(direct)) = (&outcome, &self.direct)
            && direct.read_sectors(offset, buf, self.sector_size)
        {
            return Ok(());
        }
        outcome
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let len_bytes = self.len_bytes();
        if self.is_block_device || offset >= len_bytes {
            return 0;
        }
        let next_data = next_stored_byte(&self.file, offset, len_bytes);
        next_data.saturating_sub(offset).min(len).min(len_bytes - offset)
    }
}

/// Why a path could not be opened as a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nothing has this name.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// What was to be opened.
        path: PathBuf,
    },
    /// The user may not read it; block devices usually need root.
    #[error("no permission to read `{}`", path.display())]
    PermissionDenied {
        /// What was to be opened.
        path: PathBuf,
    },
    /// It is a directory.
    #[error("`{}` is a directory, not a drive or an image file", path.display())]
    IsDirectory {
        /// What was to be opened.
        path: PathBuf,
    },
    /// It has no bytes: an empty file, or a card reader without a card.
    #[error("`{}` is empty", path.display())]
    Empty {
        /// What was to be opened.
        path: PathBuf,
    },
    /// It is something that cannot be read at any position.
    #[error("`{}` is {kind}, not a drive or an image file", path.display())]
    NotADevice {
        /// What was to be opened.
        path: PathBuf,
        /// What it is, with its article: "a pipe".
        kind: &'static str,
    },
    /// The user may read it, perhaps, but not write it.
    #[error("no permission to write `{}`", path.display())]
    NoPermissionToWrite {
        /// What was to be opened.
        path: PathBuf,
    },
    /// The medium or the file system that it lies on cannot be written.
    #[error("`{}` is write-protected", path.display())]
    WriteProtected {
        /// What was to be opened.
        path: PathBuf,
    },
    /// It is mounted, or another program has it for itself.
    #[error("`{}` is in use", path.display())]
    InUse {
        /// What was to be opened.
        path: PathBuf,
    },
    /// The operating system refused for another reason.
    #[error("cannot open `{}`", path.display())]
    Other {
        /// What was to be opened.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound { path },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            io::ErrorKind::IsADirectory => Self::IsDirectory { path },
            _ => Self::Other { path, source },
        }
    }

    /// Returns the path that could not be opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::NotFound { path }
            | Self::PermissionDenied { path }
            | Self::IsDirectory { path }
            | Self::Empty { path }
            | Self::NotADevice { path, .. }
            | Self::NoPermissionToWrite { path }
            | Self::WriteProtected { path }
            | Self::InUse { path }
            | Self::Other { path, .. } => path,
        }
    }
}

/// Returns whether a path leads to a block device, and refuses what is neither that nor a file.
#[cfg(not(windows))]
fn look_at(path: &Path) -> Result<bool, OpenError> {
    let metadata = std::fs::metadata(path).map_err(|source| OpenError::new(path, source))?;
    refuse_unreadable_kinds(path, metadata.file_type())?;
    Ok(is_block_device(metadata.file_type()))
}

/// The same of a file that is open.
#[cfg(not(windows))]
fn look_at_open(path: &Path, file: &File) -> Result<bool, OpenError> {
    let metadata = file.metadata().map_err(|source| OpenError::new(path, source))?;
    refuse_unreadable_kinds(path, metadata.file_type())?;
    Ok(is_block_device(metadata.file_type()))
}

/// Returns whether a path is the name of a drive, and refuses folders. Drives are no files here and have no metadata.
#[cfg(windows)]
fn look_at(path: &Path) -> Result<bool, OpenError> {
    if raw::is_drive(path) {
        return Ok(true);
    }
    let metadata = std::fs::metadata(path).map_err(|source| OpenError::new(path, source))?;
    refuse_unreadable_kinds(path, metadata.file_type())?;
    Ok(false)
}

/// The same of a file that is open; pipes and terminals are refused as well.
#[cfg(windows)]
fn look_at_open(path: &Path, file: &File) -> Result<bool, OpenError> {
    match raw::unreadable_kind(file) {
        Some(kind) => Err(OpenError::NotADevice {
            path: path.to_owned(),
            kind,
        }),
        None => Ok(raw::is_drive(path)),
    }
}

fn refuse_unreadable_kinds(path: &Path, file_type: FileType) -> Result<(), OpenError> {
    if file_type.is_dir() {
        return Err(OpenError::IsDirectory {
            path: path.to_owned(),
        });
    }
    match unreadable_kind(file_type) {
        Some(kind) => Err(OpenError::NotADevice {
            path: path.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

#[cfg(unix)]
fn unreadable_kind(file_type: FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    if file_type.is_char_device() {
        Some("a character device")
    } else if file_type.is_fifo() {
        Some("a pipe")
    } else if file_type.is_socket() {
        Some("a socket")
    } else {
        None
    }
}

#[cfg(not(unix))]
fn unreadable_kind(_: FileType) -> Option<&'static str> {
    None
}

#[cfg(unix)]
fn is_block_device(file_type: FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&file_type)
}

#[cfg(not(any(unix, windows)))]
fn is_block_device(_: FileType) -> bool {
    false
}

#[cfg(unix)]
fn open_for_reading(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Without waiting: should the path have become a pipe since it was looked at, opening it must not hang.
    // Files and block devices take no notice.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(windows)]
fn open_for_reading(path: &Path) -> io::Result<File> {
    // Others may go on using a file that is only read: that is what the standard library asks for.
    if raw::is_drive(path) {
        raw::open_for_reading(path)
    } else {
        File::open(path)
    }
}

#[cfg(not(any(unix, windows)))]
fn open_for_reading(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

fn length(file: &mut File, is_block_device: bool) -> io::Result<u64> {
    // The metadata of a block device has length zero.
    if is_block_device {
        device_length(file)
    } else {
        Ok(file.metadata()?.len())
    }
}

#[cfg(not(windows))]
fn device_length(file: &mut File) -> io::Result<u64> {
    io::Seek::seek(file, io::SeekFrom::End(0))
}

#[cfg(windows)]
use crate::os::windows::raw::length as device_length;

#[cfg(target_os = "linux")]
fn logical_sector_size(file: &File) -> u32 {
    rustix::fs::ioctl_blksszget(file).unwrap_or(DEFAULT_SECTOR_SIZE)
}

#[cfg(windows)]
fn logical_sector_size(file: &File) -> u32 {
    raw::sector_size(file).unwrap_or(DEFAULT_SECTOR_SIZE)
}

#[cfg(not(any(target_os = "linux", windows)))]
fn logical_sector_size(_: &File) -> u32 {
    DEFAULT_SECTOR_SIZE
}

/// Returns where the first stored byte at or after `offset` is, `len_bytes` if there is none, `offset` if unknown.
///
/// This moves the file's position, which nothing else uses: every read names its own.
#[cfg(target_os = "linux")]
pub(crate) fn next_stored_byte(file: &File, offset: u64, len_bytes: u64) -> u64 {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(next) => next,
        Err(rustix::io::Errno::NXIO) => len_bytes,
        Err(_) => offset,
    }
}

#[cfg(windows)]
pub(crate) use crate::os::windows::raw::next_stored_byte;

#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn next_stored_byte(_: &File, offset: u64, _: u64) -> u64 {
    offset
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::conformance;

    fn file_with(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(content).expect("room for it");
        file
    }

    #[test]
    fn an_image_file_is_a_device() {
        let content: Vec<u8> = (0..70_000u32).flat_map(u32::to_le_bytes).collect();
        let file = file_with(&content);
        let device = FileDevice::open(file.path()).expect("it opens");
        assert_eq!(device.sector_size(), 512);
        assert!(!device.is_block_device());
        conformance::check(&device, &content);
    }

    #[test]
    fn holes_of_a_sparse_image_are_known() {
        let file = file_with(b"");
        file.as_file().set_len(4 << 20).expect("a hole");
        file.as_file()
            .write_all_at(&[7; 4096], 1 << 20)
            .expect("data in the middle");
        let device = FileDevice::open(file.path()).expect("it opens");
        let mut content = vec![0; 4 << 20];
        content[1 << 20..(1 << 20) + 4096].fill(7);
        conformance::check(&device, &content);
        assert_eq!(device.hole_at(0, u64::MAX), 1 << 20);
        assert_eq!(device.hole_at(0, 100), 100);
        assert_eq!(device.hole_at(1 << 20, 100), 0);
        assert_eq!(device.hole_at(3 << 20, u64::MAX), 1 << 20, "the hole at the end");
        assert_eq!(device.hole_at(4 << 20, 100), 0);
    }

    #[test]
    fn a_file_that_shrinks_says_where_its_data_ended() {
        let file = file_with(&[1; 2000]);
        let device = FileDevice::open(file.path()).expect("it opens");
        file.as_file().set_len(1000).expect("cut");
        let mut buf = [0; 600];
        let error = device.read_at(900, &mut buf).expect_err("cut off");
        assert!(
            matches!(
                error,
                ReadError::PastEnd {
                    offset: 900,
                    len_bytes: 600,
                    end: 1000
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn many_threads_read_one_file() {
        let content: Vec<u8> = (0..16_384u32).flat_map(u32::to_le_bytes).collect();
        let file = file_with(&content);
        let device = FileDevice::open(file.path()).expect("it opens");
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                let (device, content) = (&device, &content);
                scope.spawn(move || {
                    for round in 0..500usize {
                        let at = (thread * 7919 + round * 131) % 65_000;
                        let mut buf = [0; 100];
                        device.hole_at(at as u64, 100);
                        device.read_at(at as u64, &mut buf).expect("inside");
                        assert_eq!(buf[..], content[at..at + 100]);
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_no_device_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(
            open(&folder.path().join("no")),
            Err(OpenError::NotFound { .. })
        ));
        assert!(matches!(open(folder.path()), Err(OpenError::IsDirectory { .. })));
        assert!(matches!(
            open(file_with(b"").path()),
            Err(OpenError::Empty { .. })
        ));
        assert!(matches!(
            open(Path::new("/dev/null")),
            Err(OpenError::NotADevice {
                kind: "a character device",
                ..
            })
        ));
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let error = open(&socket).expect_err("no device");
        assert!(matches!(error, OpenError::NotADevice { kind: "a socket", .. }));
        assert_eq!(error.path(), socket);
        let file = file_with(b"data");
        assert!(matches!(
            open(&file.path().join("below")),
            Err(OpenError::NotFound { .. })
        ));
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_its_other_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("a pipe");
        assert!(matches!(
            open(&pipe),
            Err(OpenError::NotADevice { kind: "a pipe", .. })
        ));
    }

    #[test]
    fn the_messages_name_the_path() {
        let error = OpenError::new(Path::new("/dev/sdz"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.to_string(), "no permission to read `/dev/sdz`");
    }
}
