//! Damaged drives repaired, and their content saved where nothing may be written to them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use keyhaven_testkit::corpus::{self, SecretKind};
use keyhaven_testkit::{copy_of, patch, sha256_of};

use crate::desk::Desk;
use crate::transcript::Transcript;

/// A copy of a real volume, to be damaged.
struct Trial {
    desk: Desk,
    drive: String,
    known: corpus::Volume,
    places: Vec<u64>,
    _image: Box<dyn std::any::Any>,
}

impl Trial {
    fn new(name: &str) -> Option<Self> {
        let known = corpus::volume_or_skip(name)?;
        let image = copy_of(known.image());
        let desk = Desk::new();
        let drive = image.to_str().unwrap().to_owned();
        let info = desk.keyhaven(["info", &drive, "--json"]).go().exits(0).json();
        let copies = info["metadata_copies"].as_array().unwrap();
        Some(Self {
            places: copies
                .iter()
                .map(|copy| copy["offset"].as_u64().unwrap())
                .collect(),
            desk,
            drive,
            known,
            _image: Box::new(image),
        })
    }

    fn damage(&self, at: u64, len: usize) {
        patch(&self.drive, at, &vec![0; len]);
    }

    fn repair(&self, kind: Option<SecretKind>, more: &[&str]) -> Transcript {
        let mut arguments = vec!["repair", self.drive.as_str()];
        arguments.extend(more);
        match kind {
            Some(kind) => self.desk.with(kind, &arguments, &self.known),
            None => self.desk.keyhaven(arguments).go(),
        }
    }

    fn content(&self) -> String {
        hash_file(&self.drive)
    }

    fn is_whole(&self) {
        assert_eq!(
            self.content(),
            self.known.sha256,
            "the image is as Windows wrote it"
        );
    }
}

fn salvaged(trial: &Trial, more: &[&str], code: i32) -> (Transcript, String) {
    let out = trial.desk.arg("out.img");
    let _ = fs::remove_file(&out);
    let mut arguments = vec!["--salvage", out.as_str()];
    arguments.extend(more);
    let told = trial.repair(Some(SecretKind::Recovery), &arguments).exits(code);
    (told, out)
}

#[test]
fn damaged_copies_are_written_anew_without_a_key() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let told = trial.repair(None, &["--yes"]).exits(0);
    assert!(told.stderr.contains("Nothing is damaged"), "{}", told.stderr);

    trial.damage(trial.places[0], 0x1_0000);
    trial.damage(trial.places[2] + 0x80, 1);
    let before = trial.content();
    let told = trial.repair(None, &["--dry-run"]).exits(0);
    assert!(
        told.stderr.contains("write copy 1 of the metadata"),
        "{}",
        told.stderr
    );
    assert!(
        told.stderr.contains("write copy 3 of the metadata"),
        "{}",
        told.stderr
    );
    assert_eq!(trial.content(), before, "a dry run changes nothing");
    // Nobody can be asked here.
    trial.repair(None, &[]).exits(2);
    assert_eq!(trial.content(), before);

    trial.repair(None, &["--yes"]).exits(0);
    trial.is_whole();
    // What was there is kept: two places.
    let kept = trial.desk.path("state/keyhaven/metadata");
    let folder = fs::read_dir(kept).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
}

#[test]
fn a_boot_sector_is_made_of_the_file_systems_own() {
    for name in ["cs-aes-xts-128", "cs-aes-xts-128-4k", "df-eow_partial"] {
        let Some(trial) = Trial::new(name) else { continue };
        trial.damage(0, 512);
        trial.damage(trial.places[1], 512);
        trial.repair(None, &["--yes"]).exits(2);
        let kind = trial.known.all_secrets().next().unwrap().kind;
        let told = trial.repair(Some(kind), &["--yes"]).exits(0);
        assert!(told.stderr.contains("write the boot sector"), "{}", told.stderr);
        let info = trial
            .desk
            .keyhaven(["info", &trial.drive, "--json"])
            .go()
            .exits(0);
        assert!(!info.stderr.contains("damaged"), "{}", info.stderr);
        if let (Some(hash), true) = (&trial.known.plain_sha256, name == "cs-aes-xts-128") {
            let (_, out) = salvaged(&trial, &[], 0);
            assert_eq!(hash_file(&out), *hash);
        }
    }
}

#[test]
fn one_copy_is_put_together_from_three() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    // The block is two sectors long.
    for (place, (at, len)) in trial.places.iter().zip([(0, 512), (512, 512), (0x70, 64)]) {
        trial.damage(place + at, len);
    }
    let before = trial.content();
    let (told, out) = salvaged(&trial, &[], 0);
    assert_eq!(Some(hash_file(&out)), trial.known.plain_sha256);
    assert!(told.stderr.contains("whose checksum is right"), "{}", told.stderr);
    assert_eq!(trial.content(), before, "a salvage writes nothing to the drive");

    let told = trial.repair(None, &["--yes"]).exits(2);
    assert!(
        told.stderr.contains("no way to unlock it was given"),
        "{}",
        told.stderr
    );
    trial.repair(Some(SecretKind::Password), &["--yes"]).exits(0);
    trial.is_whole();
}

#[test]
fn metadata_are_made_anew_of_their_entries() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    // The same letter in all copies: no sector of any has a right checksum.
    for place in &trial.places {
        patch(&trial.drive, place + 0x79, b"!");
    }
    trial.repair(Some(SecretKind::Recovery), &["--yes"]).exits(0);
    let check = trial.desk.keyhaven(["info", &trial.drive]).go().exits(0);
    assert!(!check.stderr.contains("damaged"), "{}", check.stderr);
    for kind in [SecretKind::Password, SecretKind::Recovery] {
        trial
            .desk
            .with(kind, &["verify", &trial.drive], &trial.known)
            .exits(0);
    }
    let (_, out) = salvaged(&trial, &[], 0);
    assert_eq!(Some(hash_file(&out)), trial.known.plain_sha256);
}

#[test]
fn with_a_key_package_nothing_else_is_needed() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let keys = trial.desk.arg("keys");
    trial
        .desk
        .with(
            SecretKind::Password,
            &["key-package", "save", &trial.drive, &keys],
            &trial.known,
        )
        .exits(0);
    let package = only_package(&trial);
    let sparse = trial.desk.arg("sparse.img");
    trial
        .desk
        .with(
            SecretKind::Password,
            &["export", &trial.drive, &sparse, "--sparse"],
            &trial.known,
        )
        .exits(0);

    for place in &trial.places {
        trial.damage(*place, 0x1_0000);
    }
    trial.repair(Some(SecretKind::Recovery), &["--yes"]).exits(2);
    // The boot sector says where the metadata lay: nothing is assumed.
    let (told, out) = salvaged(&trial, &["--key-package", &package], 0);
    assert_eq!(Some(hash_file(&out)), trial.known.plain_sha256, "{}", told.stderr);

    trial.damage(0, 0x2000);
    let (told, out) = salvaged(&trial, &["--key-package", &package], 2);
    assert!(told.stderr.contains("assumed: "), "{}", told.stderr);
    assert_eq!(hash_file(&out), hash_file(&sparse));
    // A key of another drive opens neither.
    let wrong = trial
        .desk
        .keyhaven([
            "repair",
            &trial.drive,
            "--key-package",
            &package,
            "--salvage",
            &trial.desk.arg("no.img"),
        ])
        .env("KEY", "235818-357951-253979-013365-241120-245575-342914-591811")
        .go();
    assert_ne!(wrong.code, Some(0));
    assert!(!Path::new(&trial.desk.arg("no.img")).exists());
}

#[test]
fn metadata_are_made_anew_of_a_package() {
    let Some(trial) = Trial::new("cs-aes-xts-128") else {
        return;
    };
    let keys = trial.desk.arg("keys");
    trial
        .desk
        .with(
            SecretKind::Password,
            &["key-package", "save", &trial.drive, &keys],
            &trial.known,
        )
        .exits(0);
    let package = only_package(&trial);
    for place in &trial.places {
        trial.damage(*place, 0x1_0000);
    }
    trial
        .repair(Some(SecretKind::Recovery), &["--yes", "--key-package", &package])
        .exits(0);
    trial
        .desk
        .with(SecretKind::Recovery, &["verify", &trial.drive], &trial.known)
        .exits(0);
    let (_, out) = salvaged(&trial, &[], 0);
    assert_eq!(Some(hash_file(&out)), trial.known.plain_sha256);
}

#[test]
fn what_is_no_drive_is_not_repaired() {
    let desk = Desk::new();
    let blank = desk.write("blank.img", vec![0; 4 << 20]);
    let told = desk.keyhaven(["repair", &blank, "--yes"]).go().exits(2);
    assert!(told.stderr.contains("--key-package"), "{}", told.stderr);
    desk.keyhaven(["repair", &desk.arg("nothing.img"), "--yes"])
        .go()
        .exits(2);
    let short = fs::File::options().write(true).open(&blank).unwrap();
    short.write_at(b"-FVE-FS-", 3).unwrap();
    desk.keyhaven(["repair", &blank, "--yes"]).go().exits(2);
}

/// Vista keeps the first sector of the file system where it is: nothing has another copy of it here.
#[test]
fn a_lost_first_sector_of_vista_is_said() {
    let Some(trial) = Trial::new("df-vista") else {
        return;
    };
    trial.damage(0, 512);
    trial.repair(Some(SecretKind::Recovery), &["--yes"]).exits(2);
    let (told, _) = salvaged(&trial, &[], 2);
    assert!(told.stderr.contains("assumed: "), "{}", told.stderr);
}

fn only_package(trial: &Trial) -> String {
    let names = trial.desk.names_in("keys");
    assert_eq!(names.len(), 1, "{names:?}");
    trial.desk.arg(&format!("keys/{}", names[0]))
}

fn hash_file(path: &str) -> String {
    sha256_of(fs::File::open(path).unwrap())
}
