//! `file:PATH`: a text file as Windows writes it.

use std::path::{Path, PathBuf};

use keyhaven_fve::keys::ExternalKey;
use keyhaven_fve::{Credential, Guid, RecordKey, RecoveryRecord};

use super::{Destination, SaveContext, SaveError, Saved, Written, read_fresh, write_new};
use crate::found::{FoundContent, FoundKey};
use crate::reading;
use crate::text::{self, RenderContext, Style};

/// A folder, in which each key gets the file name that Windows would give it, or a file name for the only key.
#[derive(Debug)]
pub struct FileDestination {
    path: PathBuf,
    place: String,
    /// Key files (.BEK) are saved as well.
    startup_keys: bool,
}

impl FileDestination {
    /// Makes a destination of what follows `file:`. A path that ends in a separator, or is a folder already, is one.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let place = format!("file:{}", path.display());
        Self {
            path,
            place,
            startup_keys: false,
        }
    }

    /// Saves key files (.BEK) as well, which only belong where nobody else looks.
    #[must_use]
    pub fn with_startup_keys(mut self) -> Self {
        self.startup_keys = true;
        self
    }

    /// Makes a destination of a folder that the person named differently.
    pub(super) fn folder(path: PathBuf, place: String, startup_keys: bool) -> Self {
        Self {
            path,
            place,
            startup_keys,
        }
    }

    fn is_folder(&self) -> bool {
        super::is_folder(&self.path)
    }
}

impl Destination for FileDestination {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn save(&self, records: &[RecoveryRecord], context: &SaveContext) -> Result<Vec<Saved>, SaveError> {
        let texts: Vec<&RecoveryRecord> = records
            .iter()
            .filter(|record| matches!(record.key, RecordKey::RecoveryPassword(_)))
            .collect();
        if !self.is_folder() && texts.len() > 1 {
            return Err(SaveError::SeveralKeys {
                path: self.path.clone(),
                count: texts.len(),
            });
        }
        let mut saved: Vec<Saved> = Vec::new();
        let mut save_all = || -> Result<(), SaveError> {
            for record in records {
                let (path, bytes) = match &record.key {
                    RecordKey::RecoveryPassword(_) => {
                        let path = if self.is_folder() {
                            self.path.join(windows_name(record.protector_id))
                        } else {
                            self.path.clone()
                        };
                        let context = RenderContext {
                            drive: context.drive.clone(),
                            saved_on: context.saved_on.clone(),
                        };
                        let Some(bytes) = text::render(record, &context, Style::Windows) else {
                            continue;
                        };
                        (path, bytes)
                    }
                    RecordKey::ExternalKey(key) if self.startup_keys => {
                        let bytes = key.to_bek(context.saved_at);
                        (
                            self.path.join(key.file_name()),
                            keyhaven_crypto::SecretBytes::copy_of(&bytes),
                        )
                    }
                    _ => continue,
                };
                let written = write_new(&path, &bytes, |there| holds_same_key(there, record))?;
                saved.push(Saved {
                    protector_id: record.protector_id,
                    path: Some(path),
                    already_there: written == Written::AlreadyThere,
                    note: None,
                });
            }
            Ok(())
        };
        let outcome = save_all();
        match outcome {
            Ok(()) => Ok(saved),
            Err(error) => {
                for path in saved
                    .iter()
                    .filter(|saved| !saved.already_there)
                    .filter_map(|saved| saved.path.as_ref())
                {
                    let _ = std::fs::remove_file(path);
                }
                Err(error)
            }
        }
    }

    fn read_back(&self, saved: &Saved) -> Result<Vec<FoundKey>, SaveError> {
        let Some(path) = &saved.path else {
            return Ok(Vec::new());
        };
        let bytes = read_fresh(path)?;
        reading::keys_in(bytes.expose_secret(), &mut reading::NoSecrets)
            .map_err(|error| SaveError::other(&error))
    }
}

/// Returns the file name that Windows gives a saved recovery key.
fn windows_name(protector_id: Guid) -> String {
    format!("BitLocker Recovery Key {protector_id}.TXT")
}

/// Tells whether a file that is there already holds the key of this record, under its identifier.
pub(crate) fn holds_same_key(there: &[u8], record: &RecoveryRecord) -> bool {
    let Ok(found) = reading::keys_in(there, &mut reading::NoSecrets) else {
        return false;
    };
    found.iter().any(|found| is_same_key(found, record))
}

/// Tells whether a key that was found is that of a record.
pub(crate) fn is_same_key(found: &FoundKey, record: &RecoveryRecord) -> bool {
    let same = match (&found.content, &record.key) {
        (FoundContent::Key(Credential::RecoveryPassword(there)), RecordKey::RecoveryPassword(key)) => {
            there == key
        }
        (FoundContent::Key(Credential::ExternalKey(there)), RecordKey::ExternalKey(key)) => {
            <ExternalKey>::key(there) == key.key()
        }
        _ => false,
    };
    same && (found.ids.is_empty() || found.ids.contains(&record.protector_id))
}

/// Returns the folder in which the files of this path would lie: for rules about places.
#[must_use]
pub fn folder_for(path: &Path) -> PathBuf {
    if super::is_folder(path) {
        path.to_owned()
    } else {
        super::folder_of(path).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[test]
    fn it_is_a_destination() {
        let folder = tempfile::tempdir().expect("a folder");
        conformance::check(&FileDestination::new(folder.path().to_owned()), folder.path());
    }

    #[test]
    fn a_file_name_is_taken_for_the_only_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("my key.txt");
        let destination = FileDestination::new(path.clone());
        let records = conformance::records();
        assert!(matches!(
            destination.save(&records, &conformance::context()),
            Err(SaveError::SeveralKeys { count: 2, .. })
        ));
        let saved = destination
            .save(&records[..1], &conformance::context())
            .expect("one key");
        assert_eq!(saved[0].path.as_ref(), Some(&path));
        let bytes = std::fs::read(&path).expect("there");
        assert_eq!(&bytes[..2], [0xFF, 0xFE], "Windows' encoding");
        let missing = FileDestination::new(folder.path().join("none/key.txt"));
        assert!(matches!(
            missing.save(&records[..1], &conformance::context()),
            Err(SaveError::NoFolder { .. })
        ));
    }

    #[test]
    fn the_names_are_those_of_windows() {
        let folder = tempfile::tempdir().expect("a folder");
        let destination = FileDestination::new(folder.path().to_owned());
        let saved = destination
            .save(&conformance::records(), &conformance::context())
            .expect("saved");
        let name = saved[0]
            .path
            .as_ref()
            .and_then(|path| path.file_name())
            .expect("a name");
        assert_eq!(
            name,
            "BitLocker Recovery Key 01010101-0101-0101-0101-010101010101.TXT"
        );
    }

    #[test]
    fn half_of_a_backup_is_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = conformance::records();
        let second = folder.path().join(windows_name(records[1].protector_id));
        std::fs::write(&second, "something else").expect("written");
        let destination = FileDestination::new(folder.path().to_owned());
        assert!(matches!(
            destination.save(&records, &conformance::context()),
            Err(SaveError::Occupied { path }) if path == second
        ));
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("there").collect();
        assert_eq!(left.len(), 1, "the first key was not left behind by itself");
    }
}
