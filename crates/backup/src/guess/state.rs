//! How far a search came, in a file: a later one of the same kind goes on there.
//!
//! The file tells nothing about the secret. Beside numbers it has a digest that says whether a search is the same: the
//! hash of everything that decides what is tried, stretched as slowly as BitLocker stretches keys, with a salt of its
//! own. Whoever holds the file can test guesses at what was searched for no faster than on the drive itself.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use keyhaven_crypto::{Secret, SecretBytes, stretch};
use serde::{Deserialize, Serialize};

use crate::destination::folder_of;

/// No state is longer, in bytes.
const LEN_MAX: u64 = 64 << 10;

const VERSION: u32 = 1;

/// What decides which guesses are tried in which order: the same search has the same.
#[derive(Debug)]
pub struct Fingerprint(Secret<32>);

impl Fingerprint {
    /// Takes what makes a search the one that it is: what is known, the protectors, the part.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut all = zeroize::Zeroizing::new(Vec::new());
        for part in parts {
            // With its length in front, so that no two lists look the same.
            let hash = SecretBytes::copy_of(part).sha256();
            all.extend_from_slice(&(part.len() as u64).to_le_bytes());
            all.extend_from_slice(hash.expose_secret());
        }
        Self(SecretBytes::copy_of(&all).sha256())
    }

    fn digest(&self, salt: &[u8; 16]) -> String {
        hex(stretch(&self.0, salt).expose_secret())
    }
}

/// A file that keeps how far a search is.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Content {
    version: u32,
    /// What this is, for whoever finds it.
    what: String,
    salt: String,
    search: String,
    shard: String,
    /// In decimal: more than JSON's numbers can say.
    done: String,
    of: String,
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("cannot use `{}`, which keeps how far a search is", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("`{}` does not keep how far a search is", .path.display())]
    NotAState {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another search.
    #[error("`{}` is of another search: of another drive, another part, or with something else known", .path.display())]
    OtherSearch {
        /// The file.
        path: PathBuf,
    },
}

impl StateFile {
    /// Takes up the state of a search, or begins one where there is no file yet. Nothing is written before
    /// [`save`](Self::save). Returns with it how many positions were gone through.
    ///
    /// `salt` is fresh randomness, for a new file. Costs as much time as trying one key.
    ///
    /// # Errors
    /// [`StateError`]; a file of another search stays as it is.
    pub fn open(
        path: &Path,
        fingerprint: &Fingerprint,
        shard: &str,
        positions: u128,
        salt: [u8; 16],
    ) -> Result<(Self, u128), StateError> {
        let path = path.to_owned();
        let Some(bytes) = read(&path).map_err(|source| StateError::Io {
            path: path.clone(),
            source,
        })?
        else {
            let content = Content {
                version: VERSION,
                what: "how far Keyhaven's search for a key is; no part of the key".to_owned(),
                salt: hex(&salt),
                search: fingerprint.digest(&salt),
                shard: shard.to_owned(),
                done: "0".to_owned(),
                of: positions.to_string(),
            };
            return Ok((Self { path, content }, 0));
        };
        let not_a_state = || StateError::NotAState { path: path.clone() };
        let content: Content = serde_json::from_slice(&bytes).map_err(|_| not_a_state())?;
        let salt = from_hex(&content.salt)
            .filter(|_| content.version == VERSION)
            .ok_or_else(not_a_state)?;
        let done: u128 = content.done.parse().map_err(|_| not_a_state())?;
        let is_same = content.search == fingerprint.digest(&salt)
            && content.shard == shard
            && content.of == positions.to_string();
        if !is_same {
            return Err(StateError::OtherSearch { path });
        }
        Ok((Self { path, content }, done.min(positions)))
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes how many positions were gone through: completely and onto the medium, or not at all.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save(&mut self, done: u128) -> Result<(), StateError> {
        self.content.done = done.to_string();
        self.write().map_err(|source| StateError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Takes the file away: the search came to its end.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn remove(self) -> Result<(), StateError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| StateError::Io {
                path: self.path,
                source,
            }),
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = self.path.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&partial)?;
        let written = file
            .write_all(&serde_json::to_vec_pretty(&self.content)?)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&partial, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written?;
        // The name has to last, too, where the file system can promise that.
        if let Ok(folder) = fs::File::open(folder_of(&self.path)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LEN_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (byte, i) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(i..i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, known: &str, shard: &str) -> Result<(StateFile, u128), StateError> {
        StateFile::open(
            path,
            &Fingerprint::of(&[known.as_bytes(), b"drive"]),
            shard,
            1 << 100,
            [7; 16],
        )
    }

    #[test]
    fn the_same_search_goes_on_and_no_other_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let (mut state, done) = open(&path, "28486?", "1/2").expect("a new one");
        assert_eq!(done, 0);
        assert!(!path.exists());
        state.save(1 << 90).expect("saved");
        assert_eq!(open(&path, "28486?", "1/2").expect("it is there").1, 1 << 90);
        for (known, shard) in [("28486", "1/2"), ("28486?", "2/2")] {
            assert!(matches!(
                open(&path, known, shard),
                Err(StateError::OtherSearch { .. })
            ));
        }
        let text = fs::read_to_string(&path).expect("text");
        assert!(!text.contains("28486"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                path.metadata().expect("metadata").permissions().mode() & 0o777,
                0o600
            );
        }
        fs::write(&path, "{}").expect("written");
        assert!(matches!(
            open(&path, "28486?", "1/2"),
            Err(StateError::NotAState { .. })
        ));
        state.remove().expect("removed");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn lists_that_look_alike_differ() {
        let of = |parts: &[&[u8]]| Fingerprint::of(parts).0;
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"ab"]), of(&[b"ab", b""]));
        assert_eq!(of(&[b"ab"]), of(&[b"ab"]));
    }
}
