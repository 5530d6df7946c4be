//! Key packages being saved: each is written, read back, and opened with the recovery key and nothing else.

use std::path::{Path, PathBuf};

use keyhaven_backup::destination::{Written, write_new};
use keyhaven_crypto::SecretBytes;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{ExternalKey, RecoveryPassword};
use keyhaven_fve::{Credential, Guid, KeyPackage, RecordKey, RecoveryRecord, Unlocked};
use serde::Serialize;

use crate::context::Context;
use crate::error::CliError;
use crate::key_source;

/// A package that was saved and proven.
#[derive(Debug, Serialize)]
pub(crate) struct SavedPackage {
    /// The protector whose key opens it.
    protector_id: String,
    /// Where it is.
    path: String,
    /// It was there before.
    already_saved: bool,
    /// It was read back, and its recovery key alone opens the key of the sectors with it.
    proven: bool,
}

/// Saves a package for each of the records in a folder, or in a file where `place` is none and there is one record.
pub(crate) fn save(
    unlocked: &Unlocked,
    records: &[&RecoveryRecord],
    place: &Path,
    context: &Context,
) -> Result<Vec<SavedPackage>, CliError> {
    let path_for = |id: Guid| -> PathBuf {
        if place.is_dir() {
            place.join(KeyPackage::file_name(id))
        } else {
            place.to_owned()
        }
    };
    if records.len() > 1 && !place.is_dir() {
        return Err(CliError::could_not(format!(
            "there are {} recovery keys, each with a package of its own, and `{}` is no folder",
            records.len(),
            place.display()
        ))
        .hint("name a folder, or one of the keys: `--id`"));
    }
    let mut saved = Vec::new();
    for record in records {
        context.interrupt.check()?;
        let one = save_one(unlocked, record, &path_for(record.protector_id))?;
        if !context.ui.is_json() {
            let done = if one.already_saved {
                "already saved, proven"
            } else {
                "saved and proven"
            };
            context.ui.say(&format!(
                "{done}: key package of key ID {}, {}",
                record.protector_id.key_id(),
                one.path
            ));
        }
        saved.push(one);
    }
    Ok(saved)
}

fn save_one(unlocked: &Unlocked, record: &RecoveryRecord, path: &Path) -> Result<SavedPackage, CliError> {
    let cannot = || CliError::could_not("the key package cannot be saved");
    let package =
        KeyPackage::of(unlocked.metadata(), record.protector_id).map_err(|error| cannot().because(&error))?;
    let bytes = package.to_bytes().map_err(|error| cannot().because(&error))?;
    let bytes = SecretBytes::copy_of(&bytes);
    let written = write_new(path, &bytes, |there| there == bytes.expose_secret())
        .map_err(|error| cannot().because(&error))?;
    prove(unlocked, record, path)?;
    Ok(SavedPackage {
        protector_id: record.protector_id.to_string(),
        path: path.display().to_string(),
        already_saved: written == Written::AlreadyThere,
        proven: true,
    })
}

/// Reads a package back and opens it with the key in a record; what comes out must be the key of the sectors.
fn prove(unlocked: &Unlocked, record: &RecoveryRecord, path: &Path) -> Result<(), CliError> {
    let unproven = || {
        CliError::no(format!(
            "`{}` was written, but does not lead to the drive's key",
            path.display()
        ))
        .hint("the drive's metadata may be damaged: `keyhaven check` tells")
    };
    let package = key_source::key_package(path, Some(record.volume_id))?;
    let credential = credential_of(record).ok_or_else(unproven)?;
    let keys = package
        .open(&credential)
        .map_err(|error| unproven().because(&error))?;
    let is_same = unlocked.fvek().is_some_and(|fvek| fvek.key() == keys.fvek.key());
    if is_same { Ok(()) } else { Err(unproven()) }
}

/// Returns the key of a record as a person would give it.
fn credential_of(record: &RecoveryRecord) -> Option<Credential> {
    match &record.key {
        RecordKey::RecoveryPassword(key) => RecoveryPassword::parse(key.to_digits().expose_secret())
            .ok()
            .map(Credential::RecoveryPassword),
        RecordKey::ExternalKey(key) => ExternalKey::from_bek(&key.to_bek(FileTime(0)))
            .ok()
            .map(Credential::ExternalKey),
        _ => None,
    }
}
