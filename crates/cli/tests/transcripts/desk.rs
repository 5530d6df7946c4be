//! What a test works with: folders of its own, and the secrets of real volumes given as a script would.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use keyhaven_testkit::corpus::{Secret, SecretKind, Volume};
use tempfile::TempDir;

use crate::transcript::{Run, Transcript, keyhaven};

/// Folders that nobody else uses: `state` for the ledger, `home`, and `keys` for what is saved.
pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["state", "home", "keys"] {
            fs::create_dir(desk.path(name)).unwrap();
        }
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the path of what lies on the desk as an argument.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, and returns its path as an argument.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.arg(name)
    }

    pub(crate) fn keyhaven<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        keyhaven(arguments)
            .within(self.folder.path())
            .env("XDG_STATE_HOME", &self.arg("state"))
            .env("HOME", &self.arg("home"))
    }

    /// Runs with one of a volume's secrets as the way to unlock it.
    pub(crate) fn unlocking(&self, arguments: &[&str], volume: &Volume, secret: &Secret) -> Transcript {
        let mut arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let from_environment = || "env:KEYHAVEN_TEST_SECRET".to_owned();
        match secret.kind {
            SecretKind::Password => arguments.extend(["--password".to_owned(), from_environment()]),
            SecretKind::Recovery => arguments.extend(["--recovery-key".to_owned(), from_environment()]),
            SecretKind::Bek => {
                let path = volume.secret_path(secret);
                arguments.extend(["--startup-key".to_owned(), path.to_str().unwrap().to_owned()]);
            }
            SecretKind::Clear => {}
        }
        // These metadata were edited by whoever published them: no checksum is right.
        if volume.name == "dfvfs-bdetogo" {
            arguments.push("--ignore-checksums".to_owned());
        }
        self.keyhaven(arguments)
            .env("KEYHAVEN_TEST_SECRET", &secret.value)
            .go()
    }

    /// Runs with the first secret of a kind, which the manifest lists.
    #[track_caller]
    pub(crate) fn with(&self, kind: SecretKind, arguments: &[&str], volume: &Volume) -> Transcript {
        let secret = volume.all_secrets().find(|secret| secret.kind == kind);
        self.unlocking(arguments, volume, secret.expect("the manifest lists one"))
    }

    pub(crate) fn names_in(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Returns the path of a volume's image as an argument.
pub(crate) fn image(volume: &Volume) -> String {
    volume.image().to_str().unwrap().to_owned()
}
