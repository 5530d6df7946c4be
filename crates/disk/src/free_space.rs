//! How much room a file system has left.

use std::io;
use std::path::Path;

/// Returns how many bytes an unprivileged user may still write to the file system that holds `path`.
///
/// `path` must exist: ask about the folder when the file is yet to be made. Blocks reserved for root do not count.
///
/// # Errors
/// What the operating system says about `path`; [`io::ErrorKind::Unsupported`] where it cannot be asked.
#[cfg(unix)]
pub fn free_space(path: &Path) -> io::Result<u64> {
    let answer = rustix::fs::statvfs(path)?;
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

/// Returns how many bytes this user may still write to the file system that holds `path`.
///
/// `path` must exist: ask about the folder when the file is yet to be made. Quotas count.
///
/// # Errors
/// What the operating system says about `path`.
#[cfg(windows)]
pub fn free_space(path: &Path) -> io::Result<u64> {
    crate::os::windows::free_space(path)
}

/// Refuses: this operating system is not asked yet.
///
/// # Errors
/// Always [`io::ErrorKind::Unsupported`].
#[cfg(not(any(unix, windows)))]
pub fn free_space(path: &Path) -> io::Result<u64> {
    let _ = path;
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_temporary_folder_has_room_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(free_space(folder.path()).expect("it exists") > 0);
        let missing = free_space(&folder.path().join("missing"));
        assert_eq!(
            missing.map_err(|error| error.kind()),
            Err(io::ErrorKind::NotFound)
        );
    }
}
