//! What a person can do next: the words that the libraries, which state facts, leave to the command.

use std::error::Error;

use keyhaven_fve::{ProtectorKind, UnlockError, Volume};

use crate::error::CliError;

/// Said whenever a clear key is met.
pub(crate) const SUSPENDED: &str = "protection is suspended: anyone can read this drive";

/// Returns an error with its causes, as one sentence.
pub(crate) fn chain(error: &(impl Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Returns what to do where a way to unlock cannot be used here.
pub(crate) fn instead_of(kind: ProtectorKind) -> Option<&'static str> {
    match kind {
        ProtectorKind::Tpm => Some("cannot be used here: the key is in the computer's own chip; use the recovery key"),
        ProtectorKind::TpmPin | ProtectorKind::TpmPinStartupKey => Some(
            "cannot be used here: the key is in the computer's own chip, and a PIN is not a BitLocker password; use the \
             recovery key",
        ),
        ProtectorKind::TpmStartupKey => Some(
            "cannot be used here: half of the key is in the computer's own chip; use the recovery key",
        ),
        ProtectorKind::PublicKey => {
            Some("cannot be used here: it needs the certificate or smart card on Windows; use the recovery key")
        }
        ProtectorKind::NetworkUnlock => {
            Some("cannot be used here: it needs the organisation's network; use the recovery key")
        }
        ProtectorKind::Unknown(_) => Some("is not known to this version; use the recovery key"),
        _ => None,
    }
}

/// Returns the ways to unlock that can be used here, as options: "`--password`, `--recovery-key` (key ID 64311DEA)".
pub(crate) fn options_for(volume: &Volume) -> Vec<String> {
    let mut options = Vec::new();
    for protector in volume.metadata().protectors() {
        let option = match protector.kind() {
            ProtectorKind::RecoveryPassword => format!("`--recovery-key` (key ID {})", protector.id().key_id()),
            ProtectorKind::Password => "`--password`".to_owned(),
            ProtectorKind::StartupKey => format!("`--startup-key` ({}.BEK)", protector.id()),
            _ => continue,
        };
        if !options.contains(&option) {
            options.push(option);
        }
    }
    options
}

/// Puts a failed unlock into words: what was tried, and what else there is.
pub(crate) fn unlock_error(error: &UnlockError, what: &str, volume: &Volume) -> CliError {
    let options = options_for(volume);
    let others = || format!("this drive can be opened with {}", options.join(", "));
    match error {
        UnlockError::WrongKey { tried } => {
            let ids: Vec<String> = tried.iter().map(|id| id.key_id()).collect();
            let on = if ids.is_empty() { String::new() } else { format!(" (tried on {})", ids.join(", ")) };
            let said = CliError::no(format!("{what} does not open this drive{on}"));
            match what {
                "the recovery key" => said.hint(
                    "it is well formed, but for another drive: compare its key ID with that of this drive (`keyhaven info`)",
                ),
                "the password" => said
                    .hint("check the keyboard layout and capitals; a Windows PIN or account password is not a BitLocker password")
                    .hint(others()),
                _ => said.hint(others()),
            }
        }
        UnlockError::NoSuchProtector { wanted, present } => {
            let said = CliError::no(format!("this drive has no way to unlock of this kind: {wanted}"));
            if options.is_empty() {
                let present: Vec<String> = present.iter().map(ToString::to_string).collect();
                let listed = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
                said.hint(format!("its ways to unlock: {listed}; none of them can be used here"))
            } else {
                said.hint(others())
            }
        }
        UnlockError::Altered => CliError::could_not(error.to_string())
            .hint("if you know why, `--ignore-checksums` opens it all the same"),
        UnlockError::UnknownStretch(_) => CliError::could_not(error.to_string()).hint(others()),
        other => CliError::could_not(format!("{what} cannot be tried")).because(other),
    }
}
