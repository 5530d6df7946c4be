//! Key packages saved, shown and used.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;

use keyhaven_testkit::corpus::{self, SecretKind};

use crate::desk::{Desk, image};

#[test]
fn a_package_is_saved_proven_and_shown() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128-two-recovery") else {
        return;
    };
    let desk = Desk::new();
    let (drive, keys) = (image(&known), desk.arg("keys"));
    let save = ["key-package", "save", drive.as_str(), keys.as_str(), "--json"];
    let saved = desk.with(SecretKind::Password, &save, &known).exits(0).json();
    let packages = saved["packages"].as_array().unwrap();
    assert_eq!(packages.len(), 2, "one for each recovery key");
    for package in packages {
        assert_eq!(package["proven"], true);
        let path = package["path"].as_str().unwrap();
        assert!(path.ends_with("}.KPG"), "{path}");
        #[cfg(unix)]
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let shown = desk
            .keyhaven(["key-package", "show", path, "--json"])
            .go()
            .exits(0)
            .json();
        let shown = &shown["packages"][0];
        assert_eq!(shown["volume_id"], saved["volume_id"]);
        assert_eq!(shown["encryption_method"], "aes-xts-128");
        assert_eq!(shown["protectors"][0]["id"], package["protector_id"]);
    }
    let again = desk.with(SecretKind::Password, &save, &known).exits(0).json();
    assert_eq!(again["packages"][0]["already_saved"], true);

    let one = desk.arg("one.kpg");
    let refused = desk
        .with(
            SecretKind::Password,
            &["key-package", "save", &drive, &one],
            &known,
        )
        .exits(2);
    assert!(refused.stderr.contains("--id"), "{}", refused.stderr);
    let id = packages[0]["protector_id"].as_str().unwrap();
    desk.with(
        SecretKind::Password,
        &["key-package", "save", &drive, &one, "--id", id],
        &known,
    )
    .exits(0);
    let told = desk.keyhaven(["key-package", "show", &one]).go().exits(0);
    assert!(told.stdout.contains(id), "{}", told.stdout);

    // A recovery key opens the drive through its package as well.
    desk.with(
        SecretKind::Recovery,
        &["verify", &drive, "--key-package", &one],
        &known,
    )
    .exits(0);
}

#[test]
fn a_backup_saves_packages_beside_keys() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    let (drive, place) = (image(&known), format!("file:{}", desk.arg("keys")));
    desk.with(
        SecretKind::Password,
        &["backup", &drive, "--to", &place, "--key-package"],
        &known,
    )
    .exits(0);
    let mut names = desk.names_in("keys");
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("BitLocker Key Package {"), "{names:?}");

    let refused = desk
        .with(
            SecretKind::Password,
            &["backup", &drive, "--to", "stdout", "--key-package"],
            &known,
        )
        .exits(2);
    assert!(
        refused.stderr.contains("no key was saved in a folder"),
        "{}",
        refused.stderr
    );
}

#[test]
fn what_is_no_package_is_told() {
    let desk = Desk::new();
    let text = desk.write("text.txt", "nothing of that kind");
    let told = desk.keyhaven(["key-package", "show", &text]).go().exits(1);
    assert!(told.stderr.contains("is not a key package"), "{}", told.stderr);
    desk.keyhaven(["key-package", "show", &desk.arg("missing.kpg")])
        .go()
        .exits(2);
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let drive = image(&known);
    desk.with(
        SecretKind::Recovery,
        &["verify", &drive, "--key-package", &text],
        &known,
    )
    .exits(2);
}
