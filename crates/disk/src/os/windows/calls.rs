//! The calls of Windows that drives are found, measured and locked by, one safe function each.
//!
//! Sources: Microsoft's reference of the Win32 functions named here and of the device control codes.

// UNSAFETY: these functions take raw handles and buffers with lengths beside them; each is called in one place, here, with
// a buffer that outlives the call and its own length.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_NO_MORE_FILES, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_TYPE_CHAR, FILE_TYPE_PIPE, FindFirstVolumeW, FindNextVolumeW, FindVolumeClose, GetDiskFreeSpaceExW,
    GetDriveTypeW, GetFileType, GetVolumeInformationW, GetVolumePathNameW, GetVolumePathNamesForVolumeNameW,
    QueryDosDeviceW,
};
use windows_sys::Win32::System::IO::DeviceIoControl;

/// Longer than the name of a volume, `\\?\Volume{…}\`, ever is, in UTF-16 units.
const VOLUME_NAME_LEN: usize = 64;

/// The longest path that Windows knows, in UTF-16 units.
const PATH_LEN_MAX: usize = 32 * 1024;

/// More than the names of all devices of a computer need, in UTF-16 units.
const DEVICE_NAMES_LEN_MAX: usize = 4 << 20;

/// `FILE_READ_ONLY_VOLUME` of a file system's flags.
const READ_ONLY_VOLUME: u32 = 0x0008_0000;

/// Removable, as `GetDriveType` counts.
pub(super) const DRIVE_REMOVABLE: u32 = 2;

/// Sends a control code with `question` to a device, and returns how many bytes of `answer` were filled; where there is
/// more to say than fits, as many as fit.
///
/// # Errors
/// What Windows says; most codes are not known to every kind of device.
pub(super) fn control(file: &File, code: u32, question: &[u8], answer: &mut [u8]) -> io::Result<usize> {
    let len = |buffer: &[u8]| u32::try_from(buffer.len()).map_err(|_| io::ErrorKind::InvalidInput);
    let (question_len, answer_len) = (len(question)?, len(answer)?);
    let mut filled = 0;
    // SAFETY: the handle is open as long as `file` is borrowed; both buffers are as long as is said, are only read and
    // only written, and the call is synchronous: the handle was not opened for overlapped use.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            code,
            question.as_ptr().cast(),
            question_len,
            answer.as_mut_ptr().cast(),
            answer_len,
            &mut filled,
            ptr::null_mut(),
        )
    };
    if done == 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(ERROR_MORE_DATA as i32) {
            return Err(error);
        }
    }
    Ok(filled as usize)
}

/// Returns what an open file is where it cannot be read at any position, with its article.
pub(super) fn unreadable_kind(file: &File) -> Option<&'static str> {
    // SAFETY: the handle is open as long as `file` is borrowed.
    match unsafe { GetFileType(file.as_raw_handle()) } {
        FILE_TYPE_CHAR => Some("a character device"),
        FILE_TYPE_PIPE => Some("a pipe"),
        _ => None,
    }
}

/// Returns the names of all volumes, `\\?\Volume{…}\`.
///
/// # Errors
/// What Windows says.
pub(super) fn volume_names() -> io::Result<Vec<String>> {
    let mut name = [0u16; VOLUME_NAME_LEN];
    // SAFETY: the buffer is as long as is said.
    let search = unsafe { FindFirstVolumeW(name.as_mut_ptr(), VOLUME_NAME_LEN as u32) };
    if search == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    let mut names = vec![first_text(&name)];
    let outcome = loop {
        // SAFETY: the search is open until it is closed below; the buffer is as long as is said.
        if unsafe { FindNextVolumeW(search, name.as_mut_ptr(), VOLUME_NAME_LEN as u32) } == 0 {
            let error = io::Error::last_os_error();
            break match error.raw_os_error() {
                Some(code) if code == ERROR_NO_MORE_FILES as i32 => Ok(()),
                _ => Err(error),
            };
        }
        names.push(first_text(&name));
    };
    // SAFETY: the search is open, and not used again.
    unsafe { FindVolumeClose(search) };
    outcome.map(|()| names)
}

/// Returns where the volume of this name is mounted: `C:\`, a folder.
pub(super) fn mount_points_of(volume: &str) -> Vec<PathBuf> {
    let volume = terminated(Path::new(volume));
    let mut paths = vec![0u16; 1024];
    loop {
        let mut needed = 0;
        // SAFETY: the name ends in a zero, the buffer is as long as is said.
        let done = unsafe {
            GetVolumePathNamesForVolumeNameW(
                volume.as_ptr(),
                paths.as_mut_ptr(),
                paths.len() as u32,
                &mut needed,
            )
        };
        if done != 0 {
            return texts(&paths).into_iter().map(PathBuf::from).collect();
        }
        let is_too_short = io::Error::last_os_error().raw_os_error() == Some(ERROR_MORE_DATA as i32);
        if !is_too_short || needed as usize <= paths.len() || needed as usize > PATH_LEN_MAX {
            return Vec::new();
        }
        paths.resize(needed as usize, 0);
    }
}

/// Returns the name of the file system at `root`, which ends in a backslash, and whether it refuses writes; `None` where
/// it has none that Windows knows: it may be locked.
pub(super) fn file_system_of(root: &Path) -> Option<(String, bool)> {
    let root = terminated(root);
    let mut name = [0u16; 64];
    let mut flags = 0;
    // SAFETY: the path ends in a zero, the buffer is as long as is said; the other answers are not asked for.
    let done = unsafe {
        GetVolumeInformationW(
            root.as_ptr(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            ptr::null_mut(),
            &mut flags,
            name.as_mut_ptr(),
            name.len() as u32,
        )
    };
    (done != 0).then(|| (first_text(&name), flags & READ_ONLY_VOLUME != 0))
}

/// Returns of what type the drive at `root` is, which ends in a backslash.
pub(super) fn drive_type_of(root: &Path) -> u32 {
    let root = terminated(root);
    // SAFETY: the path ends in a zero.
    unsafe { GetDriveTypeW(root.as_ptr()) }
}

/// Returns the mount point that holds `path`, which need not exist.
pub(super) fn mount_point_of(path: &Path) -> Option<PathBuf> {
    let path = terminated(path);
    let mut mount_point = vec![0u16; path.len().max(PATH_LEN_MAX)];
    // SAFETY: the path ends in a zero, the buffer is as long as is said.
    let done = unsafe {
        GetVolumePathNameW(
            path.as_ptr(),
            mount_point.as_mut_ptr(),
            u32::try_from(mount_point.len()).ok()?,
        )
    };
    (done != 0).then(|| PathBuf::from(first_text(&mount_point)))
}

/// Returns the names of all devices as they stand behind `\\.\`: `C:`, `PhysicalDrive0`.
///
/// # Errors
/// What Windows says.
pub(super) fn device_names() -> io::Result<Vec<String>> {
    let mut names = vec![0u16; 64 * 1024];
    loop {
        // SAFETY: no name means all names; the buffer is as long as is said.
        let len = unsafe { QueryDosDeviceW(ptr::null(), names.as_mut_ptr(), names.len() as u32) };
        if len != 0 {
            return Ok(texts(&names));
        }
        // It does not say how much it needs.
        if names.len() >= DEVICE_NAMES_LEN_MAX {
            return Err(io::Error::last_os_error());
        }
        names.resize(names.len() * 2, 0);
    }
}

/// Returns how many bytes this user may still write to the file system that holds `path`.
///
/// # Errors
/// What Windows says about the path.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let path = terminated(path);
    let mut free = 0;
    // SAFETY: the path ends in a zero; the other answers are not asked for.
    let done = unsafe { GetDiskFreeSpaceExW(path.as_ptr(), &mut free, ptr::null_mut(), ptr::null_mut()) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(free)
}

/// Returns a path as Windows wants it: in UTF-16, with a zero behind it.
fn terminated(path: &Path) -> Vec<u16> {
    path.as_os_str()
        .encode_wide()
        .filter(|unit| *unit != 0)
        .chain([0])
        .collect()
}

fn first_text(units: &[u16]) -> String {
    texts(units).into_iter().next().unwrap_or_default()
}

/// Returns the texts of a list that ends in an empty one.
fn texts(units: &[u16]) -> Vec<String> {
    units
        .split(|unit| *unit == 0)
        .take_while(|text| !text.is_empty())
        .map(|text| std::ffi::OsString::from_wide(text).to_string_lossy().into_owned())
        .collect()
}
