//! The recovery keys of a drive that Windows has unlocked, saved and proven.

use keyhaven_backup::place::Place;
use keyhaven_fve::Guid;
use keyhaven_windows::recovery_records;

use super::{Live, no_keys};
use crate::context::Context;
use crate::depositing::{Deposit, Deposited, OnWindows, PlaceArgs};
use crate::error::CliError;

/// Asks Windows for the recovery keys of a drive, or for one of them, saves them to every place and proves each copy.
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
