//! Writing a file that holds a key: exclusively, completely or not at all, and onto the medium.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use keyhaven_crypto::SecretBytes;
use zeroize::Zeroizing;

use super::{SaveError, folder_of};

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
    let mut file = match create_new(path) {
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
    let written = file
        .write_all(bytes.expose_secret())
        .and_then(|()| file.sync_all());
    drop(file);
    if let Err(error) = written {
        let _ = fs::remove_file(path);
        return Err(failed(error));
    }
    // The name has to last, too; some file systems of sticks and shares cannot promise it.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(Written::New)
}

fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
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
