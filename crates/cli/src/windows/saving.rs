//! The recovery keys of a drive that Windows has unlocked, saved and proven.

use keyhaven_backup::place::Place;
use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{Credential, Guid, RecordKey, RecoveryRecord, Unlocked};
use keyhaven_windows::recovery_records;

use super::{Live, no_keys};
use crate::context::Context;
use crate::depositing::{Deposit, Deposited, OnWindows, PlaceArgs};
use crate::error::CliError;

/// Asks Windows for the recovery keys of a drive, or for one of them, saves them to every place and proves each copy.
/// The last word on all copies is left to the caller.
///
/// # Errors
/// Windows does not give the keys, or there are none.
pub(crate) fn save(
    live: &Live<'_>,
    only: Option<Guid>,
    places: &PlaceArgs,
    to: &[Place],
    context: &Context,
) -> Result<Deposited, CliError> {
    live.check_unlocked()?;
    let mut records = recovery_records(&live.volume, false).map_err(|error| no_keys(&error))?;
    records.retain(|record| only.is_none_or(|only| only == record.protector_id));
    if records.is_empty() {
        return Err(CliError::no(format!("{} has no recovery key", live.name())));
    }
    let opener = live.opener()?;
    let deposit = Deposit {
        drive_name: live.name(),
        volume: opener.drive(),
        records: &records,
        with_startup_keys: false,
    };
    let windows = OnWindows {
        volume: &live.volume,
        proven_by: opener.proven_by(),
    };
    places.save_on_windows(&deposit, windows, to, context)
}

/// Unlocks what lies under a drive with a recovery key that Windows gives, as key packages need it.
///
/// # Errors
/// The drive cannot be read beneath, or no key that Windows gives opens it.
pub(crate) fn unlock_beneath(live: &Live<'_>) -> Result<(Unlocked, Vec<RecoveryRecord>), CliError> {
    let Some(beneath) = &live.beneath else {
        return Err(no_package(live));
    };
    let records = recovery_records(&live.volume, false).map_err(|error| no_keys(&error))?;
    let unlocked = records.iter().find_map(|record| {
        let RecordKey::RecoveryPassword(key) = &record.key else {
            return None;
        };
        let key = RecoveryPassword::parse(key.to_digits().expose_secret()).ok()?;
        beneath.unlock(&Credential::RecoveryPassword(key)).ok()
    });
    let unlocked = unlocked.ok_or_else(|| {
        CliError::no(format!(
            "no recovery key that Windows gives for {} opens it: there is no key package to be read",
            live.name()
        ))
    })?;
    let records = beneath.records(&unlocked);
    Ok((unlocked, records))
}

/// Says why no key package can be had of a drive that Windows has unlocked.
pub(crate) fn no_package(live: &Live<'_>) -> CliError {
    CliError::could_not(format!(
        "a key package is read off the drive, and {} cannot be read beneath what Windows shows of it",
        live.name()
    ))
    .hint("leave out `--key-package`: the recovery key is saved without it")
    .hint(format!(
        "`manage-bde -KeyPackage {} -ID KEY-ID -Path FOLDER` has Windows write one",
        live.name()
    ))
}
