//! Ways to unlock a drive added, removed, changed and rotated; protection suspended and resumed; metadata checked, saved
//! and restored.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use keyhaven_testkit::copy_of;
use keyhaven_testkit::corpus::{self, SecretKind};

use crate::desk::Desk;
use crate::transcript::Transcript;

const PASSWORD: &str = "vermilion ladder";

/// A copy of a real volume with a password and a recovery key, to be changed.
struct Trial {
    desk: Desk,
    drive: String,
    known: corpus::Volume,
    _image: Box<dyn std::any::Any>,
}

impl Trial {
    fn new(name: &str) -> Option<Self> {
        let known = corpus::volume_or_skip(name)?;
        let image = copy_of(known.image());
        Some(Self {
            desk: Desk::new(),
            drive: image.to_str().unwrap().to_owned(),
            known,
            _image: Box::new(image),
        })
    }

    /// Runs a verb on the drive, unlocked with the password that its makers published.
    fn with_password(&self, verb: &[&str], more: &[&str]) -> Transcript {
        let arguments: Vec<&str> = verb
            .iter()
            .copied()
            .chain([self.drive.as_str()])
            .chain(more.iter().copied())
            .collect();
        self.desk.with(SecretKind::Password, &arguments, &self.known)
    }

    fn without_key(&self, verb: &[&str], more: &[&str]) -> Transcript {
        let arguments: Vec<&str> = verb
            .iter()
            .copied()
            .chain([self.drive.as_str()])
            .chain(more.iter().copied())
            .collect();
        self.desk.keyhaven(arguments).go()
    }

    /// Returns the ID and kind of every way to unlock.
    fn protectors(&self) -> Vec<(String, String)> {
        let list = self
            .without_key(&["protector", "list"], &["--json"])
            .exits(0)
            .json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let protectors = list["protectors"].as_array().unwrap();
        protectors
            .iter()
            .map(|own| (text(&own["id"]), text(&own["kind"])))
            .collect()
    }

    fn ids_of(&self, kind: &str) -> Vec<String> {
        self.protectors()
            .into_iter()
            .filter(|(_, own)| own == kind)
            .map(|(id, _)| id)
            .collect()
    }

    /// Tells whether a key in a file opens the drive.
    fn opens_with(&self, file: &Path) -> bool {
        let source = format!("file:{}", file.display());
        let run = self.without_key(&["verify"], &["--recovery-key", &source]);
        assert!(matches!(run.code, Some(0 | 1)), "{run:?}");
        run.code == Some(0)
    }

    fn saved_keys(&self) -> Vec<PathBuf> {
        self.desk
            .names_in("keys")
            .iter()
            .map(|name| self.desk.path("keys").join(name))
            .collect()
    }

    fn old_recovery_key(&self) -> PathBuf {
        PathBuf::from(self.desk.write("old.txt", self.known.recovery_keys()[0]))
    }

    /// Tells whether the drive opens with a saved key, or with the one that it had at first.
    fn has_a_key(&self, old: &Path) -> bool {
        let ids = self.ids_of("recovery_password");
        let is_for_one = |key: &PathBuf| ids.iter().any(|id| key.to_str().unwrap().contains(id.as_str()));
        let mut keys: Vec<PathBuf> = self.saved_keys().into_iter().filter(is_for_one).collect();
        keys.push(old.to_owned());
        keys.iter().any(|key| self.opens_with(key))
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.drive).unwrap()
    }

    fn place(&self) -> String {
        format!("file:{}", self.desk.arg("keys"))
    }
}

#[test]
fn a_recovery_key_is_added_saved_and_proven() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let place = trial.place();
    let add = ["--new-recovery-key", "--yes", "--json"];
    trial.with_password(&["protector", "add"], &add).exits(2);
    let answer = trial
        .with_password(&["protector", "add"], &[&add[..], &["--to", &place]].concat())
        .exits(0)
        .json();
    assert_eq!(answer["kind"], "recovery_password");
    assert_eq!(answer["receipts"][0]["proven"], true);
    let [saved] = trial.saved_keys().try_into().unwrap();
    assert!(trial.opens_with(&saved));
    assert_eq!(trial.ids_of("recovery_password").len(), 2);
    assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o600);
    // The metadata as they were are kept, for their owner only.
    let folder = trial.desk.path("state/keyhaven/metadata");
    let kept: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(
        fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_key_that_cannot_be_saved_is_not_added() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let before = trial.bytes();
    let nowhere = format!("file:{}", trial.desk.arg("nowhere/at/all.txt"));
    let place = trial.place();
    let run = trial
        .with_password(
            &["protector", "add"],
            &["--new-recovery-key", "--yes", "--to", &place, "--to", &nowhere],
        )
        .exits(2);
    assert!(run.stderr.contains("nothing on the drive was changed"), "{run:?}");
    assert!(trial.bytes() == before);
}

#[test]
fn a_password_and_a_startup_key_are_added_and_removed() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let secret = trial.desk.write("new-password", PASSWORD);
    let source = format!("file:{secret}");
    trial
        .with_password(&["protector", "add"], &["--new-password", &source, "--yes"])
        .exits(0);
    let keys = trial.desk.arg("keys");
    let answer = trial
        .with_password(
            &["protector", "add"],
            &["--new-startup-key", &keys, "--yes", "--json"],
        )
        .exits(0)
        .json();
    let file = answer["path"].as_str().unwrap().to_owned();
    trial.without_key(&["verify"], &["--password", &source]).exits(0);
    trial.without_key(&["verify"], &["--startup-key", &file]).exits(0);

    let id = answer["protector_id"].as_str().unwrap().to_owned();
    trial
        .without_key(
            &["protector", "remove"],
            &[&id[..8], "--yes", "--password", &source],
        )
        .exits(0);
    trial.without_key(&["verify"], &["--startup-key", &file]).exits(1);
    trial.without_key(&["check"], &["--password", &source]).exits(0);
}

#[test]
fn a_password_is_changed_with_the_recovery_key() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let secret = trial.desk.write("new-password", PASSWORD);
    let source = format!("file:{secret}");
    let key = format!("file:{}", trial.old_recovery_key().display());
    let short = trial.desk.write("short", "seven77");
    let short = format!("file:{short}");
    let with_key = ["--recovery-key", &key, "--yes"];
    let run = trial
        .without_key(
            &["protector", "change"],
            &[&with_key[..], &["--new-password", &short]].concat(),
        )
        .exits(2);
    assert!(run.stderr.contains("8 to 256"), "{run:?}");
    trial
        .without_key(
            &["protector", "change"],
            &[&with_key[..], &["--new-password", &source]].concat(),
        )
        .exits(0);
    trial.without_key(&["verify"], &["--password", &source]).exits(0);
    trial.with_password(&["verify"], &[]).exits(1);
}

#[test]
fn nothing_is_changed_without_a_yes_or_with_a_wrong_key() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let before = trial.bytes();
    let wrong = trial.desk.write("wrong", "not the password");
    let wrong = format!("file:{wrong}");
    let run = trial.with_password(&["suspend"], &[]).exits(2);
    assert!(run.stderr.contains("--yes"), "{run:?}");
    let run = trial.with_password(&["suspend"], &["--dry-run"]).exits(0);
    assert!(run.stderr.contains("Nothing was changed"), "{run:?}");
    trial
        .without_key(&["suspend"], &["--yes", "--password", &wrong])
        .exits(1);
    trial
        .without_key(
            &["rotate"],
            &["--yes", "--password", &wrong, "--to", &trial.place()],
        )
        .exits(1);
    trial.with_password(&["rotate"], &["--yes"]).exits(2);
    trial
        .with_password(&["rotate"], &["--yes", "--to", "stdout"])
        .exits(2);
    trial
        .with_password(&["protector", "remove"], &["FFFFFFFF", "--yes"])
        .exits(2);
    assert!(trial.bytes() == before);
    assert!(trial.saved_keys().is_empty());
}

#[test]
fn the_last_way_to_unlock_stays() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let recovery = trial.ids_of("recovery_password").remove(0);
    let password = trial.ids_of("password").remove(0);
    trial
        .with_password(&["protector", "remove"], &[&recovery, "--yes"])
        .exits(0);
    let run = trial
        .with_password(&["protector", "remove"], &[&password, "--yes"])
        .exits(2);
    assert!(run.stderr.contains("the last way to unlock"), "{run:?}");
    trial.with_password(&["verify"], &[]).exits(0);
    // As with Windows, it goes while protection is suspended; and then that cannot be resumed.
    trial.with_password(&["suspend"], &["--yes"]).exits(0);
    trial
        .without_key(&["protector", "remove"], &[&password, "--yes"])
        .exits(0);
    let run = trial.without_key(&["resume"], &["--yes"]).exits(2);
    assert!(
        run.stderr.contains("no way to unlock but the open key"),
        "{run:?}"
    );
}

#[test]
fn protection_is_suspended_and_resumed() {
    let Some(trial) = Trial::new("cs-aes-xts-128-4k") else {
        return;
    };
    trial.with_password(&["suspend"], &["--yes"]).exits(0);
    assert_eq!(
        trial.without_key(&["info"], &["--json"]).exits(0).json()["state"],
        "suspended"
    );
    let run = trial.without_key(&["suspend"], &["--yes"]).exits(0);
    assert!(run.stderr.contains("suspended already"), "{run:?}");
    trial.without_key(&["check"], &[]).exits(0);
    trial
        .without_key(&["resume"], &["--yes", "--new-master-key"])
        .exits(0);
    assert_eq!(
        trial.without_key(&["info"], &["--json"]).exits(0).json()["state"],
        "encrypted"
    );
    let run = trial.without_key(&["resume"], &["--yes"]).exits(0);
    assert!(run.stderr.contains("not suspended"), "{run:?}");
    trial.with_password(&["verify"], &[]).exits(0);
}

#[test]
fn a_recovery_key_is_rotated() {
    for more in [&[][..], &["--new-master-key"]] {
        let Some(trial) = Trial::new("cs-aes-xts-128") else {
            return;
        };
        let old = trial.old_recovery_key();
        let old_id = trial.ids_of("recovery_password").remove(0);
        let place = trial.place();
        let answer = trial
            .with_password(
                &["rotate"],
                &[&["--to", &place, "--yes", "--json"][..], more].concat(),
            )
            .exits(0)
            .json();
        assert_eq!(answer["removed_protector_ids"][0], old_id.as_str());
        assert_eq!(answer["receipts"][0]["proven"], true);
        let [new] = trial.saved_keys().try_into().unwrap();
        assert!(trial.opens_with(&new) && !trial.opens_with(&old));
        trial.with_password(&["check"], &[]).exits(0);
        let status = trial.without_key(&["status"], &["--json"]).exits(0);
        assert!(
            status
                .stdout
                .contains(answer["new_protector_id"].as_str().unwrap()),
            "{status:?}"
        );
        assert!(
            !trial
                .desk
                .path("state/keyhaven/rotations")
                .read_dir()
                .unwrap()
                .any(|_| true)
        );
    }
}

#[test]
fn an_interrupted_rotation_goes_on_where_it_was() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let old = trial.old_recovery_key();
    let nowhere = format!("file:{}", trial.desk.arg("nowhere/at/all.txt"));
    let place = trial.place();
    let run = trial
        .with_password(&["rotate"], &["--to", &place, "--to", &nowhere, "--yes"])
        .exits(2);
    assert!(run.stderr.contains("run it again to go on"), "{run:?}");
    let [new] = trial.saved_keys().try_into().unwrap();
    assert!(
        trial.opens_with(&old) && trial.opens_with(&new),
        "both open it in between"
    );

    let run = trial
        .with_password(&["rotate"], &["--to", &place, "--yes"])
        .exits(0);
    assert!(run.stderr.contains("already saved, proven"), "{run:?}");
    assert_eq!(trial.saved_keys(), [new.as_path()], "no third key was made");
    assert!(trial.opens_with(&new) && !trial.opens_with(&old));
    assert_eq!(trial.ids_of("recovery_password").len(), 1);
}

#[test]
fn a_rotation_that_is_killed_leaves_a_key_that_opens_the_drive() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let old = trial.old_recovery_key();
    let password = trial
        .desk
        .write("password", trial.known.secret(SecretKind::Password).unwrap());
    let place = trial.place();
    let rounds = std::env::var("KEYHAVEN_KILL_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
            .args([
                "rotate",
                &trial.drive,
                "--yes",
                "--to",
                &place,
                "--password",
                &format!("file:{password}"),
            ])
            .env("XDG_STATE_HOME", trial.desk.path("state"))
            .env("HOME", trial.desk.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + round * 173 % 900));
        let _ = child.kill();
        child.wait().unwrap();
        assert!(trial.has_a_key(&old), "round {round}");
    }
    trial
        .with_password(&["rotate"], &["--yes", "--to", &place])
        .exits(0);
    assert!(!trial.opens_with(&old));
    assert_eq!(trial.ids_of("recovery_password").len(), 1, "one is left");
    assert_eq!(
        trial
            .saved_keys()
            .iter()
            .filter(|key| trial.opens_with(key))
            .count(),
        1
    );
    trial.with_password(&["check"], &[]).exits(0);
}

#[test]
fn one_of_several_recovery_keys_has_to_be_named() {
    let Some(trial) = Trial::new("cs-aes-xts-128-two-recovery") else {
        return;
    };
    let place = trial.place();
    let run = trial
        .with_password(&["rotate"], &["--yes", "--to", &place])
        .exits(2);
    assert!(run.stderr.contains("--replace"), "{run:?}");
    let ids = trial.ids_of("recovery_password");
    trial
        .with_password(&["rotate"], &["--yes", "--to", &place, "--replace", &ids[1]])
        .exits(0);
    let now = trial.ids_of("recovery_password");
    assert!(now.contains(&ids[0]) && !now.contains(&ids[1]) && now.len() == 2);
}

#[test]
fn damaged_copies_are_found_and_made_whole() {
    let Some(trial) = Trial::new("cs-aes-xts-128-crc") else {
        return;
    };
    let run = trial.without_key(&["check"], &["--json"]).exits(1).json();
    let broken: Vec<&str> = run["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["result"] == "broken")
        .map(|rule| rule["id"].as_str().unwrap())
        .collect();
    assert_eq!(broken, ["copies-checksum"]);
    trial
        .with_password(&["rotate"], &["--yes", "--to", &trial.place()])
        .exits(0);
    trial.with_password(&["check"], &[]).exits(0);
}

#[test]
fn altered_metadata_are_not_changed() {
    let Some(trial) = Trial::new("dfvfs-bdetogo") else {
        return;
    };
    let before = trial.bytes();
    let run = trial.with_password(&["suspend"], &["--yes"]).exits(2);
    assert!(run.stderr.contains("keyhaven check"), "{run:?}");
    assert!(trial.bytes() == before);
    trial.with_password(&["check"], &[]).exits(1);
}

#[test]
fn metadata_are_saved_and_put_back() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let before = trial.bytes();
    let file = trial.desk.arg("drive.metadata");
    trial.without_key(&["metadata", "save"], &[&file]).exits(0);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    trial.without_key(&["metadata", "save"], &[&file]).exits(2);

    trial
        .with_password(&["rotate"], &["--yes", "--to", &trial.place()])
        .exits(0);
    trial
        .without_key(&["metadata", "restore"], &[&file, "--yes"])
        .exits(0);
    assert!(trial.bytes() == before);

    // Nothing is left that leads to the content.
    let image = fs::OpenOptions::new().write(true).open(&trial.drive).unwrap();
    let offsets = [0xb0, 0xb8, 0xc0].map(|at| u64::from_le_bytes(before[at..at + 8].try_into().unwrap()));
    for offset in [0, offsets[0], offsets[1], offsets[2]] {
        image.write_all_at(&[0; 4096], offset).unwrap();
    }
    drop(image);
    let run = trial
        .without_key(&["metadata", "restore"], &[&file, "--yes"])
        .exits(2);
    assert!(run.stderr.contains("--force"), "{run:?}");
    trial
        .without_key(&["metadata", "restore"], &[&file, "--yes", "--force"])
        .exits(0);
    trial.with_password(&["verify"], &[]).exits(0);
    trial.with_password(&["check"], &[]).exits(0);

    let Some(other) = Trial::new("cs-aes-cbc-128") else {
        return;
    };
    let untouched = other.bytes();
    let run = other
        .without_key(&["metadata", "restore"], &[&file, "--yes", "--force"])
        .exits(2);
    assert!(run.stderr.contains("are of volume"), "{run:?}");
    assert!(other.bytes() == untouched);
    let junk = other.desk.write("junk", "something else");
    other
        .without_key(&["metadata", "restore"], &[&junk, "--yes"])
        .exits(2);
}
