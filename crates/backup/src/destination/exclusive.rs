//! Writing a file that holds a key: exclusively, completely or not at all, and onto the medium.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use keyhaven_crypto::SecretBytes;
use zeroize::Zeroizing;

use super::{SaveError, folder_of};
use crate::private::create_new;

/// No file with a key is longer.
const MAX_LEN_BYTES: u64 = 16 << 20;

/// What came of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file is new.
    New,
    /// There was a file of this name before, which `same` said to be as good.
    AlreadyThere,
}

/// Writes a new file that only its owner can read, and makes sure that it is on the medium.
///
/// If the name is taken, `same` is shown what is there and says whether it is the same key.
///
/// # Errors
/// [`SaveError::Occupied`] where it is not, [`SaveError::NoFolder`], or [`SaveError::Write`], after which no part of the
/// file is left.
pub fn write_new(
    path: &Path,
    bytes: &SecretBytes,
    same: impl FnOnce(&[u8]) -> bool,
) -> Result<Written, SaveError> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(SaveError::NoFolder {
            path: folder.to_owned(),
        });
    }
    let failed = |source| SaveError::Write {
        path: path.to_owned(),
        source,
    };
    let file = match create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let occupied = SaveError::Occupied {
                path: path.to_owned(),
            };
            // A link or a folder of this name is not ours to look into.
            if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                return Err(occupied);
            }
            let there = read_fresh(path)?;
            return if same(there.expose_secret()) {
                Ok(Written::AlreadyThere)
            } else {
                Err(occupied)
            };
        }
        Err(error) => return Err(failed(error)),
    };
    fill(file, path, |file| {
        file.write_all(bytes.expose_secret())?;
        file.sync_all()
    })
    .map_err(failed)?;
    // The name has to last, too; some file systems of sticks and shares cannot promise it.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(Written::New)
}

/// Writes into a file that was just made, and takes it away again if that fails: half a key is worse than none.
fn fill(mut file: File, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let written = write(&mut file);
    drop(file);
    written.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Reads a file from its medium, as far as the system can be asked to forget what it has in memory.
///
/// # Errors
/// [`SaveError::ReadBack`].
pub fn read_fresh(path: &Path) -> Result<SecretBytes, SaveError> {
    let read = || -> io::Result<SecretBytes> {
        let file = File::open(path)?;
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        let len = file.metadata()?.len();
        if len > MAX_LEN_BYTES {
            return Err(io::Error::other(format!(
                "it has {len} bytes, expected at most {MAX_LEN_BYTES}"
            )));
        }
        // Room for all of it at once, so that no grown-out-of buffer stays behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len as usize + 1));
        file.take(MAX_LEN_BYTES).read_to_end(&mut bytes)?;
        Ok(SecretBytes::copy_of(&bytes))
    };
    read().map_err(|source| SaveError::ReadBack {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, content: &[u8], same: bool) -> Result<Written, SaveError> {
        write_new(path, &SecretBytes::copy_of(content), |_| same)
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        assert_eq!(write(&path, b"first", false).expect("written"), Written::New);
        assert_eq!(
            write(&path, b"second", true).expect("as good"),
            Written::AlreadyThere
        );
        assert!(matches!(
            write(&path, b"second", false),
            Err(SaveError::Occupied { .. })
        ));
        assert_eq!(fs::read(&path).expect("there"), b"first");

        let inner = folder.path().join("folder");
        fs::create_dir(&inner).expect("made");
        assert!(matches!(
            write(&inner, b"key", true),
            Err(SaveError::Occupied { .. })
        ));
        assert!(matches!(
            write(&folder.path().join("none/key"), b"key", true),
            Err(SaveError::NoFolder { path }) if path == folder.path().join("none")
        ));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_written_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        assert!(matches!(
            write(&link, b"key", true),
            Err(SaveError::Occupied { .. })
        ));
        assert!(!target.exists());
        fs::write(&target, "key").expect("written");
        assert!(
            matches!(write(&link, b"key", true), Err(SaveError::Occupied { .. })),
            "a link to the same key may be gone tomorrow"
        );
    }

    #[test]
    fn a_file_that_could_not_be_completed_is_taken_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let file = create_new(&path).expect("made");
        let failed = fill(file, &path, |file| {
            file.write_all(b"half of a k")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.expect_err("no space").kind(), io::ErrorKind::StorageFull);
        assert!(!path.exists());
    }
}
