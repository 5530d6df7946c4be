//! Taking the keys out of a file, whatever kind it is: text, table, export, document, key file, vault, PDF or picture.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_fve::keys::ExternalKey;
use keyhaven_fve::{Credential, Guid};
use zeroize::Zeroizing;

use crate::found::{FoundContent, FoundKey, Source, Spot};
use crate::vault::{self, VaultError, VaultKeys};
use crate::{paper, records, text};

/// The largest file that is looked into.
pub const MAX_LEN_BYTES: u64 = 16 << 20;

/// Answers when a vault needs a passphrase or an identity.
pub trait Secrets {
    /// Returns what to open a vault with, `None` to leave it closed. `attempt` counts from 0: a wrong passphrase is asked
    /// for again until this returns `None`.
    fn vault_keys(&mut self, attempt: u32) -> Option<VaultKeys>;
}

/// Opens no vault.
#[derive(Debug)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn vault_keys(&mut self, _: u32) -> Option<VaultKeys> {
        None
    }
}

/// Why a file could not be looked into.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadPlaceError {
    /// It could not be opened or read.
    #[error("cannot read `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no file: a device, a pipe, a socket.
    #[error("`{}` is not a file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// It is too large to be a saved key.
    #[error("it has {actual} bytes, more than any saved key ({limit})")]
    TooLarge {
        /// Its length.
        actual: u64,
        /// The longest that is read.
        limit: u64,
    },
    /// It is a vault, and nothing was given to open it with.
    #[error("it is a vault, and no passphrase or identity was given")]
    LockedVault,
    /// It is a vault that could not be opened.
    #[error("the vault cannot be opened")]
    Vault(#[from] VaultError),
    /// It is a PDF or picture that could not be read.
    #[error("the page or picture cannot be read")]
    Paper(#[from] paper::PaperError),
    /// It is a document that could not be read.
    #[error("the document cannot be read")]
    Document(#[from] records::DocumentError),
    /// It holds more keys than are taken out of one file.
    #[error("it holds more than {limit} recovery keys")]
    TooManyKeys {
        /// The most that are taken.
        limit: usize,
    },
    /// It is none of the kinds in which keys are kept.
    #[error("it is not a text, document, key file, vault, PDF or picture")]
    UnknownKind,
}

/// Reads a file and takes the keys out of it.
///
/// An identifier in the file's name counts as standing beside its keys, behind those in the content.
///
/// # Errors
/// [`ReadPlaceError`].
pub fn read_file(path: &Path, secrets: &mut dyn Secrets) -> Result<Vec<FoundKey>, ReadPlaceError> {
    let failed = |source| ReadPlaceError::Io {
        path: path.to_owned(),
        source,
    };
    let file = open_file(path)?;
    let actual = file.metadata().map_err(failed)?.len();
    if actual > MAX_LEN_BYTES {
        return Err(ReadPlaceError::TooLarge {
            actual,
            limit: MAX_LEN_BYTES,
        });
    }
    // Room for all of it at once, so that no grown-out-of buffer stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(actual as usize + 1));
    let mut file = file.take(MAX_LEN_BYTES);
    // Most files are something else, and their first bytes say so.
    let mut first = file.by_ref().take(PROBE_LEN_BYTES);
    first.read_to_end(&mut bytes).map_err(failed)?;
    if !may_hold_keys(&bytes) {
        return Err(ReadPlaceError::UnknownKind);
    }
    file.read_to_end(&mut bytes).map_err(failed)?;
    let mut found = keys_in(&bytes, secrets)?;
    if let Some(id) = path
        .file_name()
        .and_then(|name| id_in_name(&name.to_string_lossy()))
    {
        for key in found.iter_mut().filter(|key| !key.ids.contains(&id)) {
            key.ids.push(id);
        }
    }
    Ok(found)
}

/// The first bytes tell whether the rest of a file is worth reading.
const PROBE_LEN_BYTES: u64 = 64 << 10;

fn may_hold_keys(probe: &[u8]) -> bool {
    // Key files are far shorter than the probe.
    ExternalKey::from_bek(probe).is_ok()
        || vault::is_vault(probe)
        || paper::is_pdf(probe)
        || paper::is_picture(probe)
        || records::may_be_document(probe)
        || text::decode(probe).is_some()
}

/// Opens what is a file, and nothing else: a pipe would be waited for without end, and a device may act on being opened.
fn open_file(path: &Path) -> Result<File, ReadPlaceError> {
    let failed = |source| ReadPlaceError::Io {
        path: path.to_owned(),
        source,
    };
    let not_a_file = || ReadPlaceError::NotAFile {
        path: path.to_owned(),
    };
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(not_a_file());
    }
    let mut options = File::options();
    options.read(true);
    // Between the two looks something else may get this name: then opening must not wait for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits() as i32,
    );
    let file = options.open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(not_a_file());
    }
    Ok(file)
}

/// Takes the keys out of the content of a file.
///
/// # Errors
/// [`ReadPlaceError`].
pub fn keys_in(bytes: &[u8], secrets: &mut dyn Secrets) -> Result<Vec<FoundKey>, ReadPlaceError> {
    if let Ok(key) = ExternalKey::from_bek(bytes) {
        let ids = vec![key.protector_id()];
        return Ok(vec![FoundKey {
            ids,
            content: FoundContent::Key(Credential::ExternalKey(key)),
            source: Source::default(),
        }]);
    }
    if vault::is_vault(bytes) {
        let text = open_vault(bytes, secrets)?;
        let text = text::decode(text.expose_secret()).ok_or(ReadPlaceError::UnknownKind)?;
        return all_of(text::scan(&text));
    }
    if paper::is_pdf(bytes) {
        let pages = paper::read_pages(bytes)?;
        let texts = pages.iter().zip(1..).flat_map(|(page, number)| {
            let texts = std::iter::once(&page.text).chain(&page.codes);
            texts.map(move |text| (text, Source::from(Spot::Page(number))))
        });
        return Ok(merged(texts));
    }
    if paper::is_picture(bytes) {
        let texts = paper::read_picture(bytes)?;
        return Ok(merged(texts.iter().map(|text| (text, Source::default()))));
    }
    if records::may_be_document(bytes) {
        let found = records::keys_in_document(bytes)?.ok_or(ReadPlaceError::UnknownKind)?;
        return all_of(found);
    }
    let text = text::decode(bytes).ok_or(ReadPlaceError::UnknownKind)?;
    all_of(records::keys_in_text(&text))
}

/// Refuses what [`text::scan`] cut off: a key that was passed over in silence would be called missing.
fn all_of(found: Vec<FoundKey>) -> Result<Vec<FoundKey>, ReadPlaceError> {
    if found.len() > text::MAX_KEYS {
        return Err(ReadPlaceError::TooManyKeys {
            limit: text::MAX_KEYS,
        });
    }
    Ok(found)
}

fn open_vault(bytes: &[u8], secrets: &mut dyn Secrets) -> Result<SecretBytes, ReadPlaceError> {
    let mut last = None;
    for attempt in 0.. {
        let Some(keys) = secrets.vault_keys(attempt) else {
            break;
        };
        match vault::open(bytes, &keys) {
            Ok(text) => return Ok(text),
            Err(error @ (VaultError::WrongPassphrase | VaultError::NotForThisKey)) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.map_or(ReadPlaceError::LockedVault, ReadPlaceError::Vault))
}

/// Joins what a page says in letters with what its codes say: the same key twice is one key.
///
/// A code on a page holds digits only, the identifier stands in the text.
fn merged<'a>(texts: impl Iterator<Item = (&'a SecretText, Source)>) -> Vec<FoundKey> {
    let mut found: Vec<FoundKey> = Vec::new();
    for (text, source) in texts {
        for mut key in text::scan(text.expose_secret()) {
            key.source = source.clone();
            let known = found.iter_mut().find(|known| same_key(known, &key));
            match known {
                Some(known) => {
                    for id in key.ids {
                        if !known.ids.contains(&id) {
                            known.ids.push(id);
                        }
                    }
                }
                None => found.push(key),
            }
        }
    }
    found
}

fn same_key(a: &FoundKey, b: &FoundKey) -> bool {
    match (&a.content, &b.content) {
        (
            FoundContent::Key(Credential::RecoveryPassword(a)),
            FoundContent::Key(Credential::RecoveryPassword(b)),
        ) => a == b,
        _ => false,
    }
}

/// Finds an identifier in a file's name: `BitLocker Recovery Key <GUID>.TXT`, `<GUID>.BEK`.
fn id_in_name(name: &str) -> Option<Guid> {
    const LEN: usize = 36;
    (0..name.len().saturating_sub(LEN - 1)).find_map(|at| name.get(at..at + LEN)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use keyhaven_testkit::corpus;

    use super::*;

    #[test]
    fn the_files_that_windows_wrote_are_read() {
        let Some(path) = corpus::file_or_skip(
            "tpm/logic2-TPM/BitLocker_Recovery_Key_38F91648-280E-4F3A-9772-640DCB48F4CE.TXT",
        ) else {
            return;
        };
        let found = read_file(&path, &mut NoSecrets).expect("readable");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].ids[0].to_string(),
            "38F91648-280E-4F3A-9772-640DCB48F4CE"
        );
        assert!(matches!(
            found[0].content,
            FoundContent::Key(Credential::RecoveryPassword(_))
        ));

        let Some(path) = corpus::file_or_skip("tpm/logic2-TPM/manage-bde.txt") else {
            return;
        };
        let found = read_file(&path, &mut NoSecrets).expect("readable");
        assert_eq!(found.len(), 1, "the output of Windows' command line");

        let Some(path) = corpus::file_or_skip("startup_key.bek") else {
            return;
        };
        let found = read_file(&path, &mut NoSecrets).expect("readable");
        assert!(matches!(
            found[0].content,
            FoundContent::Key(Credential::ExternalKey(_))
        ));
    }

    #[test]
    fn what_holds_no_keys_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(
            read_file(folder.path(), &mut NoSecrets),
            Err(ReadPlaceError::NotAFile { .. })
        ));
        assert!(matches!(
            read_file(&folder.path().join("x"), &mut NoSecrets),
            Err(ReadPlaceError::Io { .. })
        ));
        let path = folder.path().join("large");
        let large = File::create(&path).expect("made");
        large.set_len(MAX_LEN_BYTES + 1).expect("grown");
        assert!(matches!(
            read_file(&path, &mut NoSecrets),
            Err(ReadPlaceError::TooLarge { .. })
        ));
        let key = "284867-596541-514998-422114-660297-261613-215424-199408\n";
        std::fs::write(&path, key.repeat(text::MAX_KEYS + 1)).expect("written");
        assert!(matches!(
            read_file(&path, &mut NoSecrets),
            Err(ReadPlaceError::TooManyKeys { .. })
        ));
        for start in ["", "x", "xy"] {
            std::fs::write(&path, start.to_owned() + &"ключ あ\n".repeat(20_000) + key).expect("written");
            assert_eq!(
                read_file(&path, &mut NoSecrets).expect("text").len(),
                1,
                "behind what is looked at first"
            );
        }
        let data: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        std::fs::write(&path, &data).expect("written");
        assert!(matches!(
            read_file(&path, &mut NoSecrets),
            Err(ReadPlaceError::UnknownKind)
        ));
        assert!(matches!(
            keys_in(&data, &mut NoSecrets),
            Err(ReadPlaceError::UnknownKind)
        ));
        assert!(
            keys_in(b"a letter without a key", &mut NoSecrets)
                .expect("text")
                .is_empty()
        );
        assert_eq!(
            id_in_name("11111111-2222-3333-4444-555555555555.BEK")
                .map(Guid::key_id)
                .as_deref(),
            Some("11111111")
        );
        assert_eq!(id_in_name("Schlüssel.txt"), None);
    }
}
