//! Real volumes made by Windows, with their secrets and what independent readers made of them.
//!
//! The corpus is a folder with `manifest.json` and one `.xz` file for each volume. It is looked for in
//! the folder that the environment variable `KEYHAVEN_CORPUS` names, then in `../shared/corpus` beside
//! the workspace, then in `target/corpus`, where `scripts/fetch-samples` puts it. The secrets in it are
//! published with the volumes, so nothing here is kept secret.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::skip::{announce, skip};
use crate::unpack;

/// A folder of real volumes.
#[derive(Clone, Debug)]
pub struct Corpus {
    folder: PathBuf,
    volumes: Vec<Volume>,
}

/// One real volume: what is known about it, and how to get at its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the corpus; starts with the set it is from: `cs-`, `df-`, `dfvfs-`, `ul-`.
    pub name: String,
    /// Length of the raw image in bytes; may be less than the volume's own length.
    pub size: u64,
    /// SHA-256 of the raw image, in hexadecimal.
    pub sha256: String,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// The encryption method in words and as the number on disk, e.g. `XTS-AES-128 (0x8004)`.
    pub cipher: String,
    /// The key protectors in words, joined by ` + `.
    pub protectors: String,
    /// The Windows that made it, as far as known.
    pub windows: String,
    /// What is unusual about it; empty if nothing is.
    pub note: String,
    /// The secrets that its makers published.
    pub secrets: Vec<Secret>,
    /// Secrets that the makers did not list but that do open it.
    pub extra_secrets: Vec<Secret>,
    /// SHA-256 of the whole decrypted view of exactly this image, if its makers or ours published one.
    pub plain_sha256: Option<String>,
    /// Decrypted views that independent readers gave; they differ where the image is cut short.
    pub plaintext_by_peers: Vec<PeerPlaintext>,
    /// IDs by the upstream's names (`GUID`, `RP_VMK_GUID`, `PW_VMK_GUID`, …); empty if not published.
    pub protector_ids: BTreeMap<String, String>,
    /// The full volume encryption key with tweak or sector key, in hexadecimal.
    pub fvek_hex: Option<String>,
    folder: PathBuf,
    packed: String,
}

/// One way to unlock a volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Secret {
    /// What it is.
    pub kind: SecretKind,
    /// The password, the 48 digits with hyphens, or the file name in the corpus; empty for a clear key.
    pub value: String,
}

/// The kinds of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// A password that a person chose.
    Password,
    /// A recovery key of 48 digits.
    Recovery,
    /// A startup key: the value names a file.
    Bek,
    /// A clear key in the metadata: nothing is needed.
    Clear,
}

/// A decrypted view as other programs gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPlaintext {
    /// SHA-256 of the view, in hexadecimal.
    pub sha256: String,
    /// Length of the view in bytes.
    pub size: u64,
    /// The programs, each with the secret it used, e.g. `dislocker(password0)`.
    pub peers: Vec<String>,
}

/// Returns the corpus, or skips: [`None`] after a line on standard error.
///
/// # Panics
///
/// If there is none and a skip counts as a failure, or if its manifest cannot be read.
#[track_caller]
pub fn or_skip() -> Option<Corpus> {
    let found = Corpus::find();
    if found.is_none() {
        skip(
            "no corpus of real volumes (get one with scripts/fetch-samples, or name its folder in \
             KEYHAVEN_CORPUS)",
        );
    }
    found
}

/// Returns every volume of the corpus; none after a skip.
///
/// # Panics
///
/// As [`or_skip`].
#[track_caller]
pub fn volumes() -> Vec<Volume> {
    or_skip().map(|corpus| corpus.volumes).unwrap_or_default()
}

/// Returns the volume called `name`.
///
/// # Panics
///
/// If there is no such volume or no corpus. Prefer [`volume_or_skip`]: not every corpus is complete.
#[track_caller]
pub fn volume(name: &str) -> Volume {
    let corpus = Corpus::find().expect("no corpus of real volumes: scripts/fetch-samples gets one");
    corpus
        .volume(name)
        .unwrap_or_else(|| panic!("the corpus has no volume called {name}"))
}

/// Returns the volume called `name`, or skips: [`None`] after a line on standard error.
///
/// # Panics
///
/// If it is missing and a skip counts as a failure.
#[track_caller]
pub fn volume_or_skip(name: &str) -> Option<Volume> {
    let found = or_skip()?.volume(name);
    if found.is_none() {
        skip(&format!(
            "the corpus has no volume called {name} (scripts/fetch-samples --all may get it)"
        ));
    }
    found
}

/// Returns the path of the file or folder `name` of the corpus: a startup key, or something in `tpm`.
///
/// # Panics
///
/// If it is missing. Prefer [`file_or_skip`]: no package has the `tpm` folder.
#[track_caller]
pub fn file(name: &str) -> PathBuf {
    let corpus = Corpus::find().expect("no corpus of real volumes: scripts/fetch-samples gets one");
    let path = corpus.folder.join(name);
    assert!(path.exists(), "the corpus has no file called {name}");
    path
}

/// Returns the path of the file or folder `name` of the corpus, or skips.
///
/// A missing file never counts as a failure where there is a corpus: some captures, such as the `tpm`
/// folder, are in no package, so that a corpus made by `scripts/fetch-samples` cannot have them.
///
/// # Panics
///
/// If there is no corpus at all and a skip counts as a failure.
#[track_caller]
pub fn file_or_skip(name: &str) -> Option<PathBuf> {
    let path = or_skip()?.folder.join(name);
    if path.exists() {
        return Some(path);
    }
    announce(&format!("the corpus has no file called {name}"));
    None
}

impl Corpus {
    /// Returns the folder of the corpus.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns every volume, in the manifest's order.
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// Returns the volume called `name`.
    pub fn volume(&self, name: &str) -> Option<Volume> {
        self.volumes.iter().find(|volume| volume.name == name).cloned()
    }

    fn find() -> Option<Self> {
        if let Some(named) = env::var_os("KEYHAVEN_CORPUS") {
            // A folder that was named and is wrong is a mistake to hear about, not one to work around.
            return Some(Self::read(Path::new(&named)));
        }
        let workspace = workspace();
        let folder = [
            workspace.join("../shared/corpus"),
            workspace.join("target/corpus"),
        ]
        .into_iter()
        .find(|folder| folder.join("manifest.json").is_file())?;
        Some(Self::read(&folder))
    }

    fn read(folder: &Path) -> Self {
        let path = folder.join("manifest.json");
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let records: Vec<Record> = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("cannot understand {}: {error}", path.display()));
        let volumes = records
            .into_iter()
            .map(|record| record.into_volume(folder))
            .collect();
        Self {
            folder: folder.to_owned(),
            volumes,
        }
    }
}

impl Volume {
    /// Returns the path of the raw image: unpacked and checked once, shared by all tests, read-only.
    ///
    /// To change it, make a copy with [`copy_of`](crate::copy_of).
    ///
    /// # Panics
    ///
    /// If it cannot be unpacked or has the wrong hash.
    #[track_caller]
    pub fn image(&self) -> PathBuf {
        let cache = workspace().join("target/corpus-images");
        unpack::unpacked(&self.folder.join(&self.packed), &self.sha256, &self.name, &cache)
            .unwrap_or_else(|error| panic!("cannot unpack {}: {error}", self.name))
    }

    /// Returns every secret that opens the volume: the published ones, then the extra ones.
    pub fn all_secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().chain(&self.extra_secrets)
    }

    /// Returns the value of the first secret of a kind.
    pub fn secret(&self, kind: SecretKind) -> Option<&str> {
        self.all_secrets()
            .find(|secret| secret.kind == kind)
            .map(|secret| secret.value.as_str())
    }

    /// Returns the recovery keys, in the manifest's order.
    pub fn recovery_keys(&self) -> Vec<&str> {
        self.all_secrets()
            .filter(|secret| secret.kind == SecretKind::Recovery)
            .map(|secret| secret.value.as_str())
            .collect()
    }

    /// Returns the path of the startup key file that a secret of kind [`SecretKind::Bek`] names.
    ///
    /// # Panics
    ///
    /// If the secret is of another kind, or the file is missing.
    #[track_caller]
    pub fn secret_path(&self, secret: &Secret) -> PathBuf {
        assert_eq!(secret.kind, SecretKind::Bek, "only a startup key is a file");
        let path = self.folder.join(&secret.value);
        assert!(path.is_file(), "the corpus has no file called {}", secret.value);
        path
    }
}

/// The manifest's record of a volume, as far as tests use it.
#[derive(Deserialize)]
struct Record {
    name: String,
    size: u64,
    img_sha256: String,
    packed: String,
    sector_size: u32,
    cipher: String,
    protectors: String,
    #[serde(default)]
    windows: String,
    #[serde(default)]
    note: String,
    secrets: Vec<Secret>,
    #[serde(default)]
    extra_secrets_checked_with_dissect: Vec<Secret>,
    plain_sha256_upstream: Option<String>,
    plain_sha256_trimmed: Option<String>,
    #[serde(default)]
    plaintext_by_peers: BTreeMap<String, PeerRecord>,
    #[serde(default)]
    upstream_conf: BTreeMap<String, String>,
    fvek_hex: Option<String>,
}

#[derive(Deserialize)]
struct PeerRecord {
    size: u64,
    peers: Vec<String>,
}

impl Record {
    fn into_volume(self, folder: &Path) -> Volume {
        // The peers read what the makers published; a trimmed image decrypts to something else.
        let is_trimmed = self.plain_sha256_trimmed.is_some();
        let plain_sha256 = self.plain_sha256_trimmed.or(self.plain_sha256_upstream);
        let plaintext_by_peers = self
            .plaintext_by_peers
            .into_iter()
            .filter(|_| !is_trimmed)
            .map(|(sha256, PeerRecord { size, peers })| PeerPlaintext { sha256, size, peers })
            .collect();
        // The upstream writes an ID that a volume does not have as an empty one.
        let protector_ids = self
            .upstream_conf
            .into_iter()
            .filter(|(_, id)| !id.is_empty())
            .collect();
        Volume {
            name: self.name,
            size: self.size,
            sha256: self.img_sha256,
            sector_size: self.sector_size,
            cipher: self.cipher,
            protectors: self.protectors,
            windows: self.windows,
            note: self.note,
            secrets: self.secrets,
            extra_secrets: self.extra_secrets_checked_with_dissect,
            plain_sha256,
            plaintext_by_peers,
            protector_ids,
            fvek_hex: self.fvek_hex,
            folder: folder.to_owned(),
            packed: self.packed,
        }
    }
}

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("this crate lies two folders below the workspace")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256_of;

    #[test]
    fn the_manifest_lists_what_the_folder_holds() {
        let Some(corpus) = or_skip() else { return };
        assert!(!corpus.volumes().is_empty());
        for volume in corpus.volumes() {
            assert!(
                corpus.folder().join(&volume.packed).is_file(),
                "{} is missing",
                volume.packed
            );
            for secret in volume
                .all_secrets()
                .filter(|secret| secret.kind == SecretKind::Bek)
            {
                assert_eq!(fs::metadata(volume.secret_path(secret)).unwrap().len(), 156);
            }
        }
    }

    #[test]
    fn an_image_unpacks_to_what_the_manifest_says() {
        let Some(volume) = volume_or_skip("df-vista") else {
            return;
        };
        let image = volume.image();
        assert_eq!(fs::metadata(&image).unwrap().len(), volume.size);
        assert_eq!(sha256_of(fs::File::open(image).unwrap()), volume.sha256);
    }

    #[test]
    fn a_volume_has_its_secrets() {
        let Some(volume) = volume_or_skip("cs-aes-xts-128-two-recovery") else {
            return;
        };
        assert_eq!(volume.secret(SecretKind::Password), Some("anaconda"));
        assert_eq!(volume.recovery_keys().len(), 2);
        assert_eq!(volume.secret(SecretKind::Bek), None);
        assert_eq!(
            volume.protector_ids["RP2_VMK_GUID"],
            "b7adc334-fe6d-4ae4-b5c4-1c1d0dbc335b"
        );
    }

    #[test]
    fn a_record_needs_only_the_facts_that_tests_use() {
        let text = r#"{ "name": "v", "size": 3, "img_sha256": "aa", "packed": "v.img.xz", "sector_size": 512,
            "cipher": "none", "protectors": "none", "secrets": [{ "kind": "clear", "value": "" }],
            "plain_sha256_upstream": "upstream", "plain_sha256_trimmed": "trimmed", "unheard_of": 1,
            "plaintext_by_peers": { "upstream": { "size": 3, "peers": ["somebody"] } } }"#;
        let record: Record = serde_json::from_str(text).unwrap();
        let volume = record.into_volume(Path::new("folder"));
        assert_eq!(volume.plain_sha256.as_deref(), Some("trimmed"));
        assert_eq!(volume.plaintext_by_peers, []);
        assert_eq!(volume.secret(SecretKind::Clear), Some(""));
    }
}
