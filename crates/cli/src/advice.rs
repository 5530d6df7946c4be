//! What a person can do next: the words that the libraries, which state facts, leave to the command.

use keyhaven_backup::drive::Drive;
use keyhaven_fve::{Guid, ProtectorKind, UnlockError, Volume};

use crate::error::CliError;

/// Said whenever a clear key is met.
pub(crate) const SUSPENDED: &str = "protection is suspended: anyone can read this drive";

/// Returns the ways to unlock that can be used here, as options: "`--recovery-key` (key ID 64311DEA)".
pub(crate) fn options_for(volume: &Volume) -> Vec<String> {
    options_among(&Drive::protectors(volume))
}

/// Returns the ways to unlock among these key protectors that can be used here, as options.
pub(crate) fn options_among(protectors: &[(Guid, ProtectorKind)]) -> Vec<String> {
    let mut options = Vec::new();
    for (id, kind) in protectors {
        let option = match kind {
            ProtectorKind::RecoveryPassword => {
                format!("`--recovery-key` (key ID {})", id.key_id())
            }
            ProtectorKind::Password => "`--password`".to_owned(),
            ProtectorKind::StartupKey => format!("`--startup-key` ({id}.BEK)"),
            _ => continue,
        };
        if !options.contains(&option) {
            options.push(option);
        }
    }
    options
}

/// Puts a failed unlock into words: what was tried, and what else there is. `what` is "the password" and the like.
pub(crate) fn unlock_error(error: &UnlockError, what: &str, volume: &Volume) -> CliError {
    let options = options_for(volume);
    let others = format!("this drive can be opened with {}", options.join(", "));
    match error {
        UnlockError::WrongKey { tried } => {
            let ids: Vec<String> = tried.iter().map(|id| id.key_id()).collect();
            let on = if ids.is_empty() {
                String::new()
            } else {
                format!(" (tried on {})", ids.join(", "))
            };
            let said = CliError::no(format!("{what} does not open this drive{on}"));
            match what {
                "the recovery key" => said.hint(
                    "it is well formed, so it is for another drive, or its blocks are in the wrong order: compare the \
                     key ID it was saved with to those above (`keyhaven info` shows them, too)",
                ),
                "the password" => said
                    .hint("check keyboard layout and capitals; a Windows PIN or sign-in password is not a BitLocker password")
                    .hint(others),
                _ => said.hint(others),
            }
        }
        UnlockError::NoSuchProtector { wanted, present } => {
            let said = CliError::no(format!("this drive has no {wanted}"));
            if options.is_empty() {
                said.hint(no_way_in(present))
            } else {
                said.hint(others)
            }
        }
        UnlockError::Altered => CliError::could_not(error.to_string())
            .hint("if you know why, `--ignore-checksums` opens it all the same"),
        UnlockError::UnknownStretch(_) => CliError::could_not(error.to_string()).hint(others),
        other => CliError::could_not(format!("{what} cannot be tried")).because(other),
    }
}

/// Says what to do with a drive that cannot be opened here.
pub(crate) fn no_way_in(present: &[ProtectorKind]) -> String {
    let mut names: Vec<String> = present.iter().map(ToString::to_string).collect();
    names.dedup();
    let listed = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    let tpm = present.iter().any(|kind| {
        matches!(
            kind,
            ProtectorKind::Tpm
                | ProtectorKind::TpmPin
                | ProtectorKind::TpmStartupKey
                | ProtectorKind::TpmPinStartupKey
        )
    });
    let why = if tpm {
        "a TPM opens its drive only in its own computer, and a PIN is not a BitLocker password: start that computer and \
         save the recovery key there"
    } else {
        "none of them can be used here"
    };
    format!("its ways to unlock: {listed}; {why}")
}
