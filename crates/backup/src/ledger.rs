//! A list of where copies of keys are and when they were last proven. It holds no secret: identifiers, places, times.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::destination::folder_of;
use crate::private::{create_folder, private};

/// A file with one entry for each copy.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
}

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The volume, as Windows writes identifiers.
    pub volume_id: String,
    /// The protector whose key it is.
    pub protector_id: String,
    /// `recovery_password` or `startup_key`.
    pub kind: String,
    /// The place as the person named it.
    pub place: String,
    /// The file with its whole path, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the drive was called.
    pub drive: String,
    /// When the copy was made, or first seen.
    pub saved_at: String,
    /// When it was last tried on the drive and opened it; never if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_proven_at: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    version: u32,
    entries: Vec<serde_json::Value>,
    /// What another version keeps beside the entries.
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

/// What this version writes; a later one may have left a higher number.
const VERSION: u32 = 1;

/// What was read.
#[derive(Debug, Default)]
pub struct Entries {
    /// The entries that can be understood.
    pub entries: Vec<Entry>,
    /// Where a damaged ledger was put aside.
    pub set_aside: Option<PathBuf>,
}

/// Why the ledger could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the list of saved keys, `{}`", .path.display())]
pub struct LedgerError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Ledger {
    /// Names the file; it is made when the first entry is.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the entries; none if there is no file yet.
    ///
    /// # Errors
    /// [`LedgerError`] when there is one that cannot be read. One that is damaged is put aside, not lost.
    pub fn read(&self) -> Result<Entries, LedgerError> {
        let (content, set_aside) = self.load()?;
        let entries = content
            .entries
            .into_iter()
            .filter_map(|entry| serde_json::from_value(entry).ok())
            .collect();
        Ok(Entries { entries, set_aside })
    }

    /// Adds copies, or brings what is known of the same copies up to date.
    ///
    /// What another version wrote and this one does not understand stays as it is. A crash leaves the old list or the new
    /// one. Returns where a damaged ledger was put aside, if this one was.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn record(&self, copies: &[Entry]) -> Result<Option<PathBuf>, LedgerError> {
        let failed = |source| LedgerError {
            path: self.path.clone(),
            source,
        };
        create_folder(folder_of(&self.path)).map_err(failed)?;
        let lock = self.lock().map_err(failed)?;
        let (mut content, set_aside) = self.load()?;
        for copy in copies {
            let known = content.entries.iter_mut().find_map(|value| {
                let entry: Entry = serde_json::from_value(value.clone()).ok()?;
                is_same_copy(&entry, copy).then_some((value, entry))
            });
            match known {
                Some((value, entry)) => {
                    let merged = Entry {
                        // How the copy was named when it was made says more than where it was seen again.
                        place: entry.place,
                        saved_at: entry.saved_at,
                        last_proven_at: copy.last_proven_at.clone().or(entry.last_proven_at),
                        ..copy.clone()
                    };
                    let merged =
                        serde_json::to_value(merged).map_err(|error| failed(io::Error::other(error)))?;
                    match (value, merged) {
                        // Field by field: what another version added to the entry stays.
                        (serde_json::Value::Object(fields), serde_json::Value::Object(merged)) => {
                            fields.extend(merged);
                        }
                        (value, merged) => *value = merged,
                    }
                }
                None => content
                    .entries
                    .push(serde_json::to_value(copy).map_err(|error| failed(io::Error::other(error)))?),
            }
        }
        content.version = content.version.max(VERSION);
        self.replace(&content).map_err(failed)?;
        drop(lock);
        Ok(set_aside)
    }

    fn load(&self) -> Result<(Content, Option<PathBuf>), LedgerError> {
        let failed = |source| LedgerError {
            path: self.path.clone(),
            source,
        };
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Content::default(), None)),
            Err(error) => return Err(failed(error)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(content) => Ok((content, None)),
            Err(_) => {
                let aside = self.name_to_put_aside();
                fs::rename(&self.path, &aside).map_err(failed)?;
                Ok((Content::default(), Some(aside)))
            }
        }
    }

    /// Returns a name that nothing has: an earlier damaged ledger is not overwritten.
    fn name_to_put_aside(&self) -> PathBuf {
        let name = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(".damaged");
            if number > 1 {
                name.push(format!("-{number}"));
            }
            PathBuf::from(name)
        };
        (1..100)
            .map(name)
            .find(|path| path.symlink_metadata().is_err())
            .unwrap_or_else(|| name(100))
    }

    fn lock(&self) -> io::Result<File> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let file = private(OpenOptions::new().create(true).truncate(false).write(true)).open(path)?;
        file.lock()?;
        Ok(file)
    }

    fn replace(&self, content: &Content) -> io::Result<()> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let write = || -> io::Result<()> {
            let mut file = private(OpenOptions::new().create(true).truncate(true).write(true)).open(&new)?;
            file.write_all(serde_json::to_string_pretty(content)?.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            drop(file);
            fs::rename(&new, &self.path)?;
            // The new name has to last; where the file system cannot promise it, the old list is as good.
            if let Ok(folder) = File::open(folder_of(&self.path)) {
                let _ = folder.sync_all();
            }
            Ok(())
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }
}

/// Tells whether two entries speak of the same copy.
fn is_same_copy(a: &Entry, b: &Entry) -> bool {
    (&a.volume_id, &a.protector_id, &a.path) == (&b.volume_id, &b.protector_id, &b.path)
        && (a.path.is_some() || (&a.place, &a.saved_at) == (&b.place, &b.saved_at))
}

/// Writes a time as the ledger has it.
#[must_use]
pub fn time_text(time: Timestamp) -> String {
    time.round(jiff::Unit::Second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(protector: &str, path: Option<&str>, proven: Option<&str>) -> Entry {
        Entry {
            volume_id: "V".to_owned(),
            protector_id: protector.to_owned(),
            kind: "recovery_password".to_owned(),
            place: "file:/a".to_owned(),
            path: path.map(str::to_owned),
            drive: "disk.img".to_owned(),
            saved_at: "2026-11-24T10:00:00Z".to_owned(),
            last_proven_at: proven.map(str::to_owned),
        }
    }

    #[test]
    fn copies_are_remembered_once_and_brought_up_to_date() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::at(folder.path().join("keyhaven/ledger.json"));
        assert!(ledger.read().expect("no file yet").entries.is_empty());
        ledger
            .record(&[entry("A", Some("/a/1"), None), entry("B", None, Some("t1"))])
            .expect("written");
        ledger
            .record(&[entry("A", Some("/a/1"), Some("t2"))])
            .expect("written");
        ledger.record(&[entry("A", Some("/a/1"), None)]).expect("written");
        let entries = ledger.read().expect("there").entries;
        assert_eq!(entries.len(), 2);
        assert_eq!(
            entries[0].last_proven_at.as_deref(),
            Some("t2"),
            "a proof is not forgotten"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                ledger.path().metadata().expect("there").permissions().mode() & 0o777,
                0o600
            );
            let folder = folder.path().join("keyhaven");
            assert_eq!(
                folder.metadata().expect("there").permissions().mode() & 0o777,
                0o700
            );
        }
    }

    #[test]
    fn what_a_later_version_wrote_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::at(folder.path().join("ledger.json"));
        fs::write(
            ledger.path(),
            r#"{"version": 9, "new": 1, "entries": [
                {"kind": "star"},
                {"volume_id": "V", "protector_id": "A", "kind": "recovery_password", "place": "file:/a", "path": "/a/1",
                 "drive": "disk.img", "saved_at": "2026-11-24T10:00:00Z", "colour": "blue"}]}"#,
        )
        .expect("written");
        ledger
            .record(&[entry("B", None, None), entry("A", Some("/a/1"), Some("t2"))])
            .expect("written");
        let entries = ledger.read().expect("there").entries;
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].last_proven_at.as_deref(), Some("t2"));
        let text = fs::read_to_string(ledger.path()).expect("there");
        for kept in ["\"version\": 9", "\"new\": 1", "star", "blue"] {
            assert!(text.contains(kept), "{kept}");
        }
    }

    #[test]
    fn a_damaged_ledger_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::at(folder.path().join("ledger.json"));
        fs::write(ledger.path(), "not JSON").expect("written");
        let read = ledger.read().expect("put aside");
        assert!(read.entries.is_empty());
        assert_eq!(
            fs::read_to_string(read.set_aside.expect("told")).expect("there"),
            "not JSON"
        );

        fs::write(ledger.path(), "not JSON again").expect("written");
        let aside = ledger.record(&[entry("A", None, None)]).expect("written");
        assert_eq!(
            fs::read_to_string(aside.expect("told")).expect("there"),
            "not JSON again",
            "beside the first, not over it"
        );
        assert_eq!(ledger.read().expect("there").entries.len(), 1);
    }

    #[test]
    fn two_at_once_lose_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.json");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = path.clone();
                scope.spawn(move || {
                    for number in 0..5 {
                        Ledger::at(path.clone())
                            .record(&[entry(&format!("{writer}-{number}"), None, None)])
                            .expect("written");
                    }
                });
            }
        });
        assert_eq!(Ledger::at(path).read().expect("there").entries.len(), 20);
    }
}
