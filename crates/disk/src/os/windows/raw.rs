//! Drives opened raw: `\\.\C:`, `\\.\PhysicalDrive1`.
//!
//! A raw drive answers whole sectors only, does not say how long it is where a file would, and refuses writes where a file
//! system is mounted, so whoever writes has to lock that first.
//!
//! Sources: Microsoft's pages on `CreateFile` ("Physical Disks and Volumes"), `FSCTL_LOCK_VOLUME` and
//! `FSCTL_ALLOW_EXTENDED_DASD_IO`.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::Foundation::{ERROR_SHARING_VIOLATION, ERROR_WRITE_PROTECT};
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE};
use windows_sys::Win32::System::Ioctl::{
    FSCTL_ALLOW_EXTENDED_DASD_IO, FSCTL_DISMOUNT_VOLUME, FSCTL_LOCK_VOLUME, FSCTL_QUERY_ALLOCATED_RANGES,
    FSCTL_SET_SPARSE, IOCTL_DISK_GET_DRIVE_GEOMETRY, IOCTL_DISK_GET_DRIVE_GEOMETRY_EX,
    IOCTL_DISK_GET_LENGTH_INFO, IOCTL_DISK_IS_WRITABLE, IOCTL_STORAGE_GET_DEVICE_NUMBER,
    IOCTL_STORAGE_QUERY_PROPERTY,
};

use super::answers::{self, DeviceDescription, Extent, Location};
use super::calls::{self, control};
use super::names::device_name;

/// `IOCTL_VOLUME_GET_VOLUME_DISK_EXTENTS`, from ntddvol.h.
const GET_VOLUME_DISK_EXTENTS: u32 = 0x0056_0000;

/// What others may do with a file that is being written.
pub(crate) const MAY_READ_AND_RENAME: u32 = FILE_SHARE_READ | FILE_SHARE_DELETE;

/// How much is read at once where a read does not begin or end with a sector, in bytes.
const DETOUR_LEN: u64 = 64 * 1024;

/// Room for the places of a volume on more disks than anybody spans one over, in bytes.
const EXTENTS_LEN: usize = 8 + 24 * 64;

/// Opens a device to be asked what it is, which needs no rights and does not wake it up.
///
/// # Errors
/// What Windows says.
pub(super) fn open_to_ask(name: &Path) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(0)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
        .open(name)
}

/// Opens what a person named as a drive for reading.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if it is no name of a drive; what else Windows says.
pub(crate) fn open_for_reading(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
        .open(name_of(path)?)?;
    reach_all_of(&file);
    Ok(file)
}

/// Opens what a person named as a drive for reading and writing, and takes it from everybody else.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] where something on it is in use, [`io::ErrorKind::NotFound`] if it is no name of a
/// drive; what else Windows says.
pub(crate) fn open_for_writing(path: &Path) -> io::Result<(File, Held)> {
    let file = open_shared(Path::new(&name_of(path)?))?;
    reach_all_of(&file);
    let held = hold(&file)?;
    Ok((file, held))
}

fn name_of(path: &Path) -> io::Result<String> {
    path.to_str()
        .and_then(device_name)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Tells whether Windows refused because another program has the file to itself.
pub(crate) fn is_sharing_violation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_SHARING_VIOLATION as i32)
}

/// Tells whether a person named a drive, not a file.
pub(crate) fn is_drive(path: &Path) -> bool {
    path.to_str().and_then(device_name).is_some()
}

/// What is held as long as a drive is written.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The volumes of a disk, locked as long as they are open; the drive's own lock is kept by its own handle.
    volumes: Vec<File>,
    /// Held while a part of a sector is changed, which takes a read and a write.
    changing: Mutex<()>,
}

impl Held {
    /// Writes all of `bytes` at `offset`, where `sector_size` is the unit of the drive's writes in bytes.
    ///
    /// # Errors
    /// What Windows says.
    pub(crate) fn write_in_units(
        &self,
        file: &File,
        bytes: &[u8],
        offset: u64,
        sector_size: u32,
    ) -> io::Result<()> {
        let unit = u64::from(sector_size.max(1));
        let (mut rest, mut position) = (bytes, offset);
        while !rest.is_empty() {
            let inside = position % unit;
            let whole = rest.len() as u64 / unit * unit;
            let count = if inside == 0 && whole != 0 {
                let whole = rest.get(..whole as usize).unwrap_or_default();
                file.seek_write(whole, position)?
            } else {
                self.change_sector(file, rest, position, unit)?
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = rest.get(count..).unwrap_or_default();
            position = position.saturating_add(count as u64);
        }
        Ok(())
    }

    /// Writes as many of `bytes` as lie in the sector that holds `position`, and returns how many those are.
    fn change_sector(&self, file: &File, bytes: &[u8], position: u64, unit: u64) -> io::Result<usize> {
        let inside = position % unit;
        let count = bytes.len().min((unit - inside) as usize);
        let mut sector = vec![0; unit as usize];
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if file.seek_read(&mut sector, position - inside)? != sector.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let place = sector
            .get_mut(inside as usize..)
            .and_then(|rest| rest.get_mut(..count));
        let (Some(place), Some(bytes)) = (place, bytes.get(..count)) else {
            return Ok(0);
        };
        place.copy_from_slice(bytes);
        match file.seek_write(&sector, position - inside)? {
            written if written == sector.len() => Ok(count),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

/// Reads some bytes at `offset`, where `sector_size` is the unit of the drive's reads in bytes.
///
/// # Errors
/// What Windows says.
pub(crate) fn read_some(file: &File, buf: &mut [u8], offset: u64, sector_size: u32) -> io::Result<usize> {
    let unit = u64::from(sector_size.max(1));
    let inside = offset % unit;
    let whole = buf.len() as u64 / unit * unit;
    if inside == 0 && whole != 0 {
        let whole = buf.get_mut(..whole as usize).unwrap_or_default();
        return file.seek_read(whole, offset);
    }
    let wanted = (buf.len() as u64)
        .saturating_add(inside)
        .min(DETOUR_LEN.max(unit));
    let mut sectors = vec![0; wanted.next_multiple_of(unit) as usize];
    let count = file.seek_read(&mut sectors, offset - inside)?;
    let found = sectors.get(inside as usize..count).unwrap_or_default();
    let count = found.len().min(buf.len());
    if let (Some(buf), Some(found)) = (buf.get_mut(..count), found.get(..count)) {
        buf.copy_from_slice(found);
    }
    Ok(count)
}

/// Locks an open volume, or every volume of an open disk, and makes its file system let go of it.
fn hold(file: &File) -> io::Result<Held> {
    let location = location(file);
    let is_disk = location.is_some_and(|location| location.partition.is_none());
    if !is_disk {
        lock(file)?;
        return Ok(Held::default());
    }
    let Some(disk) = location.map(|location| location.disk) else {
        return Ok(Held::default());
    };
    let mut held = Held::default();
    for name in calls::volume_names()? {
        let name = name.trim_end_matches('\\');
        let is_on_disk = open_to_ask(Path::new(name))
            .is_ok_and(|volume| extents(&volume).iter().any(|extent| extent.disk == disk));
        if is_on_disk {
            let volume = open_shared(Path::new(name))?;
            lock(&volume)?;
            held.volumes.push(volume);
        }
    }
    Ok(held)
}

fn open_shared(name: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
        .open(name)
}

fn lock(volume: &File) -> io::Result<()> {
    // Access denied means that a file on it is open, or the page file, or Windows itself.
    control(volume, FSCTL_LOCK_VOLUME, &[], &mut []).map_err(|_| io::ErrorKind::ResourceBusy)?;
    // Of a volume without a file system there is nothing to dismount.
    let _ = control(volume, FSCTL_DISMOUNT_VOLUME, &[], &mut []);
    Ok(())
}

/// Lets a volume be read to its end, which may lie behind the end of its file system. Other devices do not know the wish.
fn reach_all_of(file: &File) {
    let _ = control(file, FSCTL_ALLOW_EXTENDED_DASD_IO, &[], &mut []);
}

/// Returns how many bytes a drive has.
///
/// # Errors
/// What Windows said last, when every way to find out had failed.
pub(crate) fn length(file: &mut File) -> io::Result<u64> {
    let mut answer = [0; 64];
    if let Ok(count) = control(file, IOCTL_DISK_GET_LENGTH_INFO, &[], &mut answer)
        && let Some(len) = answers::length(answer.get(..count).unwrap_or_default())
    {
        return Ok(len);
    }
    // A volume answers this with the length of its disk.
    let is_disk = location(file).is_some_and(|location| location.partition.is_none());
    if is_disk
        && let Ok(count) = control(file, IOCTL_DISK_GET_DRIVE_GEOMETRY_EX, &[], &mut answer)
        && let Some(len) = answers::disk_length(answer.get(..count).unwrap_or_default())
    {
        return Ok(len);
    }
    // Windows refuses this for a drive; systems that imitate it may have a file there.
    file.seek(SeekFrom::End(0))
}

/// Returns the length of a disk as it is told without the right to read it.
pub(super) fn disk_length(disk: &File) -> Option<u64> {
    let mut answer = [0; 64];
    let count = control(disk, IOCTL_DISK_GET_DRIVE_GEOMETRY_EX, &[], &mut answer).ok()?;
    answers::disk_length(answer.get(..count)?)
}

/// Returns the logical sector size of a drive in bytes, if it tells.
pub(crate) fn sector_size(file: &File) -> Option<u32> {
    let mut answer = [0; 64];
    let count = control(file, IOCTL_DISK_GET_DRIVE_GEOMETRY, &[], &mut answer).ok()?;
    answers::sector_size(answer.get(..count)?)
}

/// Returns whether Windows refuses writes to a drive.
pub(super) fn is_read_only(file: &File) -> bool {
    let refused = control(file, IOCTL_DISK_IS_WRITABLE, &[], &mut []).err();
    refused.and_then(|error| error.raw_os_error()) == Some(ERROR_WRITE_PROTECT as i32)
}

/// Returns on which disk a volume or partition lies, and as which partition.
pub(super) fn location(file: &File) -> Option<Location> {
    let mut answer = [0; 64];
    let count = control(file, IOCTL_STORAGE_GET_DEVICE_NUMBER, &[], &mut answer).ok()?;
    answers::location(answer.get(..count)?)
}

/// Returns where on which disks a volume lies; nothing where that is not known.
pub(super) fn extents(volume: &File) -> Vec<Extent> {
    let mut answer = [0; EXTENTS_LEN];
    match control(volume, GET_VOLUME_DISK_EXTENTS, &[], &mut answer) {
        Ok(count) => answers::extents(answer.get(..count).unwrap_or_default()),
        Err(_) => Vec::new(),
    }
}

/// Returns what a disk tells about itself.
pub(super) fn description(disk: &File) -> Option<DeviceDescription> {
    let mut answer = [0; 1024];
    // The property of the device (0), as a standard query (0).
    let count = control(disk, IOCTL_STORAGE_QUERY_PROPERTY, &[0; 12], &mut answer).ok()?;
    answers::description(answer.get(..count)?)
}

/// Makes a new file take no room where it is never written. A hint: some file systems cannot.
pub(crate) fn make_sparse(file: &File) {
    let _ = control(file, FSCTL_SET_SPARSE, &[], &mut []);
}

/// Returns where the first stored byte of a file at or after `offset` is, `len_bytes` if there is none, `offset` if
/// unknown.
pub(crate) fn next_stored_byte(file: &File, offset: u64, len_bytes: u64) -> u64 {
    let Some(rest) = len_bytes.checked_sub(offset) else {
        return offset;
    };
    let mut question = [0; 16];
    let (from, len) = question.split_at_mut(8);
    from.copy_from_slice(&offset.to_le_bytes());
    len.copy_from_slice(&rest.to_le_bytes());
    let mut answer = [0; 16];
    match control(file, FSCTL_QUERY_ALLOCATED_RANGES, &question, &mut answer) {
        Ok(0) => len_bytes,
        Ok(count) => answers::first_range(answer.get(..count).unwrap_or_default())
            .map_or(offset, |start| start.clamp(offset, len_bytes)),
        Err(_) => offset,
    }
}

/// Returns what an open file is where it cannot be read at any position, with its article.
pub(crate) fn unreadable_kind(file: &File) -> Option<&'static str> {
    calls::unreadable_kind(file)
}
