//! What every destination must do: save, find again, never overwrite, never leave half, leak nothing.

use std::path::Path;

use keyhaven_crypto::Secret;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{RecordKey, RecoveryRecord};

use super::{Destination, SaveContext, SaveError, save_and_prove};
use crate::verdict::tests::{drive, id};

/// The keys of [`drive`].
pub(crate) fn records() -> Vec<RecoveryRecord> {
    let record = |number: u8| RecoveryRecord {
        volume_id: id(9),
        protector_id: id(number),
        description: Some("PC C: 1/1/2026".to_owned()),
        modified: FileTime(0),
        key: RecordKey::RecoveryPassword(RecoveryPassword::from_key(Secret::from([number; 16]))),
    };
    vec![record(1), record(2)]
}

pub(crate) fn context() -> SaveContext {
    SaveContext {
        drive: "a test drive".to_owned(),
        saved_on: "24 November 2026".to_owned(),
        saved_at: FileTime(0),
    }
}

/// Checks a destination whose files all lie in `folder`, which is empty.
pub(crate) fn check(destination: &dyn Destination, folder: &Path) {
    let (records, context, drive) = (records(), context(), drive());
    let digits: Vec<String> = records
        .iter()
        .map(|record| match &record.key {
            RecordKey::RecoveryPassword(key) => key.to_digits().expose_secret().to_owned(),
            _ => unreachable!("they are recovery keys"),
        })
        .collect();
    let files = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };

    // Saved, read back, proven; for its owner only.
    let copies = save_and_prove(destination, &records, &drive, &context).expect("saved");
    assert_eq!(copies.len(), records.len());
    for copy in &copies {
        assert_eq!(copy.problem, None);
        assert!(!copy.saved.already_there);
    }
    for file in files() {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = file.metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    }

    // A second time changes nothing.
    let before: Vec<Vec<u8>> = files()
        .iter()
        .map(|file| std::fs::read(file).expect("there"))
        .collect();
    let again = save_and_prove(destination, &records, &drive, &context).expect("already there");
    assert!(
        again
            .iter()
            .all(|copy| copy.saved.already_there && copy.is_proven())
    );
    let after: Vec<Vec<u8>> = files()
        .iter()
        .map(|file| std::fs::read(file).expect("there"))
        .collect();
    assert_eq!(before, after);

    // A copy that no longer holds the key is not proven, and not overwritten.
    for file in files() {
        std::fs::write(&file, "something else").expect("written");
    }
    let error = destination
        .save(&records, &context)
        .expect_err("other content is there");
    assert!(
        matches!(error, SaveError::Occupied { .. } | SaveError::Other(_)),
        "{error:?}"
    );
    for file in files() {
        assert_eq!(std::fs::read(&file).expect("there"), b"something else");
        std::fs::remove_file(file).expect("removed");
    }

    // No digits in anything that is printed.
    let said = format!(
        "{destination:?} {copies:?} {error:?} {error} {records:?} {}",
        destination.place()
    );
    for digits in digits {
        assert!(!said.contains(&digits) && !said.contains(&digits.replace('-', "")));
    }
}
