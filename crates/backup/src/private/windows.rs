//! The same by access control lists: full access for the user, for the system and for administrators, who could take it
//! anyway, and nobody else, whatever the folder around it lets in.
//!
//! The user is named by identifier. Whatever an elevated process makes belongs to the administrators, and the same user
//! would be locked out of it as soon as the process ends.
//!
//! Source: Microsoft's "Security Descriptor String Format" and "ACE Strings".

// UNSAFETY: security descriptors are handed to Windows, and come from it, as raw pointers; they do not leave this module.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, GENERIC_WRITE, INVALID_HANDLE_VALUE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateDirectoryW, CreateFileW, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// The longest security identifier is 68 bytes; behind the pointer to it there is room for that.
const USER_LEN_MAX: usize = size_of::<TOKEN_USER>() + 68;

/// Makes a new file that only its owner can read, open for writing.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where the name is taken, by a link as well; what else Windows says.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let descriptor = Descriptor::for_the_user("")?;
    let attributes = descriptor.attributes();
    let path = terminated(path)?;
    // SAFETY: the path ends in a zero; the attributes and what they point to live until the call returns.
    let handle = unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_WRITE,
            FILE_SHARE_READ,
            &attributes,
            CREATE_NEW,
            FILE_ATTRIBUTE_NORMAL,
            ptr::null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open, and nobody else's.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// Makes a folder that only its owner can look into, and those above it that are missing. One that is there is left as
/// it is. What is made in it later has the same rights.
///
/// # Errors
/// What Windows says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
    }
    let descriptor = Descriptor::for_the_user("OICI")?;
    let attributes = descriptor.attributes();
    let name = terminated(path)?;
    // SAFETY: the path ends in a zero; the attributes and what they point to live until the call returns.
    if unsafe { CreateDirectoryW(name.as_ptr(), &attributes) } != 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Somebody else may have made it this very moment.
    let is_there = error.raw_os_error() == Some(ERROR_ALREADY_EXISTS as i32) && path.is_dir();
    if is_there { Ok(()) } else { Err(error) }
}

/// A security descriptor in memory that Windows allocated.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    /// Makes the one of the files of this user; `inherited` says, in the letters of the format, what takes it over.
    fn for_the_user(inherited: &str) -> io::Result<Self> {
        let user = user()?;
        let text = format!("D:P(A;{inherited};FA;;;{user})(A;{inherited};FA;;;SY)(A;{inherited};FA;;;BA)");
        let text: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text ends in a zero; the length of the answer is not asked for.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                ptr::null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(descriptor))
    }

    /// Returns what a call that makes something wants. It must not outlive the descriptor.
    fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: Windows allocated it for us, and it is not used again.
        unsafe { LocalFree(self.0) };
    }
}

/// Returns the identifier of the user whose process this is: `S-1-5-21-…`.
fn user() -> io::Result<String> {
    let mut token = ptr::null_mut();
    // SAFETY: the process's own handle is always valid; the answer is a handle of ours.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open, and nobody else's.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // In units that are aligned as the structure has to be.
    let mut answer = [0usize; USER_LEN_MAX.div_ceil(size_of::<usize>())];
    let mut filled = 0;
    // SAFETY: the buffer is as long as is said, and aligned.
    let done = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            answer.as_mut_ptr().cast(),
            size_of_val(&answer) as u32,
            &mut filled,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call filled in this structure; the identifier that it points to lies behind it in the same buffer.
    let sid = unsafe { (*answer.as_ptr().cast::<TOKEN_USER>()).User.Sid };
    let mut text = ptr::null_mut();
    // SAFETY: the identifier is whole, and lives as long as the buffer.
    if unsafe { ConvertSidToStringSidW(sid, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut units = Vec::new();
    // SAFETY: the text ends in a zero, before which every unit can be read.
    while let unit @ 1.. = unsafe { *text.add(units.len()) } {
        units.push(unit);
    }
    // SAFETY: Windows allocated it for us, and it is not used again.
    unsafe { LocalFree(text.cast()) };
    Ok(String::from_utf16_lossy(&units))
}

fn terminated(path: &Path) -> io::Result<Vec<u16>> {
    // Longer paths are refused unless they are absolute and say that they may be long.
    const LEN_MAX: usize = 240;

    let path = if path.as_os_str().len() > LEN_MAX {
        verbatim(&std::path::absolute(path)?)
    } else {
        path.as_os_str().to_owned()
    };
    let mut units: Vec<u16> = path.encode_wide().collect();
    if units.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    units.push(0);
    Ok(units)
}

/// Returns an absolute path in the form that may be long: `\\?\C:\…`.
fn verbatim(path: &Path) -> std::ffi::OsString {
    let text = path.as_os_str().to_string_lossy();
    if text.starts_with(r"\\?\") || text.starts_with(r"\\.\") {
        return path.as_os_str().to_owned();
    }
    let mut long = std::ffi::OsString::from(r"\\?\");
    match text.strip_prefix(r"\\") {
        Some(share) => {
            long.push(r"UNC\");
            long.push(share);
        }
        None => long.push(path.as_os_str()),
    }
    long
}
