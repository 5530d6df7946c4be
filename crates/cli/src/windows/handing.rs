//! Backups that Windows makes itself: to the Microsoft account, the work or school account, Active Directory.
//!
//! Windows says yes or no. What it saved cannot be read back by anybody but the owner of the account, so it proves
//! nothing, and is told so.

use keyhaven_backup::place::WindowsPlace;
use keyhaven_fve::Guid;
use keyhaven_windows::{Code, EncryptableVolume, Error};

use super::refusal;
use crate::error::CliError;

/// Asks Windows to save a recovery key; returns what is to be known of it then.
///
/// # Errors
/// Windows says no, or is too old to be asked; with the next step.
pub(crate) fn hand_over(
    volume: &EncryptableVolume<'_>,
    place: WindowsPlace,
    id: Guid,
) -> Result<&'static str, CliError> {
    let (bit, answer) = match place {
        WindowsPlace::Account => (2, volume.backup_recovery_information_to_microsoft_account(id)),
        WindowsPlace::Entra => (4, volume.backup_recovery_information_to_cloud_domain(id)),
        WindowsPlace::ActiveDirectory => (1, volume.backup_recovery_information_to_active_directory(id)),
    };
    answer.map_err(|error| with_next_step(&error, place))?;
    // It notes what it saved; that it does is not documented.
    let noted = volume
        .get_numerical_password_backup_type(id)
        .is_ok_and(|types| types.0 & bit != 0);
    Ok(if noted {
        "Windows says that it is saved there, and notes so; nobody but the account's owner can read it back"
    } else {
        "Windows says that it is saved there, but does not note so: look whether it arrived"
    })
}

fn with_next_step(error: &Error, place: WindowsPlace) -> CliError {
    let said = refusal(error);
    match (error.code(), place) {
        (Some(Code::WMI_INVALID_METHOD), _) => said.hint(
            "Control Panel, \"BitLocker Drive Encryption\", \"Back up your recovery key\" may offer the account",
        ),
        (Some(Code::DEVICE_NOT_JOINED), WindowsPlace::Entra) => said.hint(
            "`--to windows:entra` goes for computers that have joined a work or school account; for your own there is \
             `--to windows:account`",
        ),
        (_, WindowsPlace::Account) => said.hint(
            "sign in to Windows with a Microsoft account first (Settings, \"Accounts\", \"Your info\"); a computer of an \
             organisation does not save to one",
        ),
        (_, WindowsPlace::Entra) => {
            said.hint("`dsregcmd /status` shows whether the computer has joined (AzureAdJoined)")
        }
        (_, WindowsPlace::ActiveDirectory) => said.hint(
            "the computer has to reach a domain controller, and a policy has to ask for keys to be stored",
        ),
    }
}
