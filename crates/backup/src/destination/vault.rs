//! `vault:PATH`: an age file, which opens with a passphrase or an identity and with the stock `age` tool.

use std::path::{Path, PathBuf};

use keyhaven_crypto::SecretBytes;
use keyhaven_fve::RecoveryRecord;
use zeroize::Zeroizing;

use super::file::is_same_key;
use super::{Destination, SaveContext, SaveError, Saved, Written, read_fresh, write_new};
use crate::found::FoundKey;
use crate::text::{self, RenderContext, Style};
use crate::vault::{self, Encoding, VaultKeys};

/// A file that holds all keys of one drive, encrypted.
///
/// A vault is never changed: one that holds the keys already is as good, any other is left alone.
#[derive(Debug)]
pub struct VaultDestination {
    path: PathBuf,
    keys: VaultKeys,
    /// Opens what `keys` cannot: a vault for public keys.
    proof_keys: Option<VaultKeys>,
    encoding: Encoding,
}

impl VaultDestination {
    /// Makes a destination of what follows `vault:`, a file name or a folder, closed with `keys`.
    #[must_use]
    pub fn new(path: PathBuf, keys: VaultKeys, encoding: Encoding) -> Self {
        Self {
            path,
            keys,
            proof_keys: None,
            encoding,
        }
    }

    /// Reads copies back with these keys, which a vault for public keys needs.
    #[must_use]
    pub fn proven_with(mut self, keys: VaultKeys) -> Self {
        self.proof_keys = Some(keys);
        self
    }

    fn file(&self, record: &RecoveryRecord) -> PathBuf {
        if super::is_folder(&self.path) {
            self.path
                .join(format!("BitLocker Recovery Keys {}.age", record.volume_id))
        } else {
            self.path.clone()
        }
    }

    fn keys_in(&self, file: &[u8]) -> Result<Vec<FoundKey>, vault::VaultError> {
        let keys = self.proof_keys.as_ref().unwrap_or(&self.keys);
        let text = vault::open(file, keys)?;
        Ok(text::decode(text.expose_secret())
            .map(|text| text::scan(&text))
            .unwrap_or_default())
    }
}

impl Destination for VaultDestination {
    fn place(&self) -> String {
        format!("vault:{}", self.path.display())
    }

    fn save(&self, records: &[RecoveryRecord], context: &SaveContext) -> Result<Vec<Saved>, SaveError> {
        let (kept, text) = plain_text(records, context);
        let Some(first) = kept.first() else {
            return Err(SaveError::Nothing);
        };
        let path = self.file(first);
        // Said before the second of work that closing a vault takes, and so that it stays free of side effects.
        let sealed =
            vault::seal(&text, &self.keys, self.encoding).map_err(|error| SaveError::other(&error))?;
        let mut problem = None;
        let same = |there: &[u8]| match self.keys_in(there) {
            Ok(found) => kept
                .iter()
                .all(|record| found.iter().any(|key| is_same_key(key, record))),
            Err(error) => {
                problem = Some(error);
                false
            }
        };
        let written = match write_new(&path, &SecretBytes::from(sealed), same) {
            Err(SaveError::Occupied { path }) => {
                let why = match problem {
                    Some(vault::VaultError::Damaged) | None => "with other content".to_owned(),
                    Some(error) => format!("and cannot be looked into ({error})"),
                };
                return Err(SaveError::Other(format!(
                    "`{}` exists already {why}; a vault is never changed, another name is free: `{}`",
                    path.display(),
                    free_name(&path).display()
                )));
            }
            other => other?,
        };
        let saved = |record: &&RecoveryRecord| Saved {
            protector_id: record.protector_id,
            path: Some(path.clone()),
            already_there: written == Written::AlreadyThere,
            note: None,
        };
        Ok(kept.iter().map(saved).collect())
    }

    fn read_back(&self, saved: &Saved) -> Result<Vec<FoundKey>, SaveError> {
        let Some(path) = &saved.path else {
            return Ok(Vec::new());
        };
        let file = read_fresh(path)?;
        self.keys_in(file.expose_secret())
            .map_err(|error| SaveError::other(&error))
    }
}

/// Returns the records that can be text, and that text, one record after another.
fn plain_text<'a>(
    records: &'a [RecoveryRecord],
    context: &SaveContext,
) -> (Vec<&'a RecoveryRecord>, SecretBytes) {
    let context = RenderContext {
        drive: context.drive.clone(),
        saved_on: context.saved_on.clone(),
    };
    let texts: Vec<(&RecoveryRecord, SecretBytes)> = records
        .iter()
        .filter_map(|record| Some((record, text::render(record, &context, Style::Plain)?)))
        .collect();
    // Room for all of it at once, so that no grown-out-of buffer stays behind.
    let len = texts.iter().map(|(_, text)| text.expose_secret().len() + 1).sum();
    let mut all = Zeroizing::new(Vec::with_capacity(len));
    for (index, (_, text)) in texts.iter().enumerate() {
        if index > 0 {
            all.push(b'\n');
        }
        all.extend_from_slice(text.expose_secret());
    }
    (
        texts.into_iter().map(|(record, _)| record).collect(),
        SecretBytes::copy_of(&all),
    )
}

/// Returns a name beside `path` that nothing has yet.
fn free_name(path: &Path) -> PathBuf {
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let extension = path
        .extension()
        .map(|e| format!(".{}", e.to_string_lossy()))
        .unwrap_or_default();
    (2..1000)
        .map(|number| path.with_file_name(format!("{stem} {number}{extension}")))
        .find(|name| name.symlink_metadata().is_err())
        .unwrap_or_else(|| path.with_file_name(format!("{stem} new{extension}")))
}

#[cfg(test)]
mod tests {
    use keyhaven_crypto::SecretText;

    use super::super::{conformance, save_and_prove};
    use super::*;
    use crate::vault::Recipient;
    use crate::verdict::tests::drive;

    fn passphrase(text: &str) -> VaultKeys {
        VaultKeys::Passphrase {
            passphrase: SecretText::copy_of(text),
            work_factor: 4,
        }
    }

    #[test]
    fn it_is_a_destination() {
        for encoding in [Encoding::Binary, Encoding::Armored] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("keys.age");
            conformance::check(
                &VaultDestination::new(path, passphrase("open"), encoding),
                folder.path(),
            );
            let path = folder.path().to_owned();
            conformance::check(
                &VaultDestination::new(path, passphrase("open"), encoding),
                folder.path(),
            );
        }
    }

    #[test]
    fn a_vault_is_never_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.age");
        let to = |passphrase| VaultDestination::new(path.clone(), passphrase, Encoding::Binary);
        let (records, context) = (conformance::records(), conformance::context());
        to(passphrase("open"))
            .save(&records[..1], &context)
            .expect("saved");
        let before = std::fs::read(&path).expect("there");

        let error = to(passphrase("open"))
            .save(&records, &context)
            .expect_err("one key is missing in it")
            .to_string();
        assert!(error.contains("exists already with other content"), "{error}");
        assert!(error.ends_with("keys 2.age`"), "{error}");
        let error = to(passphrase("other"))
            .save(&records[..1], &context)
            .expect_err("it stays closed")
            .to_string();
        assert!(
            error.contains("the passphrase does not open the vault"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).expect("there"), before);
    }

    #[test]
    fn a_vault_for_public_keys_is_proven_with_the_secret_one_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.age");
        let identity = vault::tests::identity();
        let public = |identity: &vault::Identity| {
            VaultKeys::Recipients(vec![Recipient::clone(&identity.to_recipient())])
        };
        let (records, context) = (conformance::records(), conformance::context());
        let destination = VaultDestination::new(path.clone(), public(&identity), Encoding::Binary);
        let copies = save_and_prove(&destination, &records, &drive(), &context).expect("saved");
        for copy in copies {
            assert!(
                copy.problem
                    .is_some_and(|problem| problem.contains("age identity"))
            );
        }
        let destination = VaultDestination::new(path, public(&identity), Encoding::Binary)
            .proven_with(VaultKeys::Identities(vec![identity]));
        let copies = save_and_prove(&destination, &records, &drive(), &context).expect("there already");
        assert!(
            copies
                .iter()
                .all(|copy| copy.is_proven() && copy.saved.already_there)
        );
    }
}
