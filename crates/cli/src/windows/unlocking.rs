//! Unlocking and locking, which Windows does itself.

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_fve::Credential;
use keyhaven_windows::state::LockStatus;
use keyhaven_windows::{Code, Error};

use super::{Live, refusal};
use crate::advice;
use crate::context::Context;
use crate::error::CliError;
use crate::unlocking::UnlockArgs;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// It is done.
    Now,
    /// It was so already.
    Before,
}

/// Has Windows unlock a drive with what was given, or with what the person answers.
///
/// # Errors
/// The key does not open the drive (and then the answer is no), or Windows does not take it.
pub(crate) fn unlock(live: &Live<'_>, key: &UnlockArgs, context: &Context) -> Result<Done, CliError> {
    live.volume_id()?;
    if !live.told.is_locked() {
        return Ok(Done::Before);
    }
    let protectors = live.told.protectors_as_on_the_drive();
    let (credential, what) = key.credential_or_ask(&protectors, context)?;
    let volume = &live.volume;
    let answer = match credential {
        Credential::RecoveryPassword(key) => volume.unlock_with_numerical_password(key.to_digits()),
        Credential::Password(password) => {
            let text = SecretText::copy_of(password.as_typed().expose_secret());
            volume.unlock_with_pass_phrase(text)
        }
        Credential::ExternalKey(key) => {
            volume.unlock_with_external_key(SecretBytes::copy_of(key.key().expose_secret()))
        }
        _ => {
            return Err(
                CliError::could_not(format!("Windows does not unlock drives with {what}"))
                    .hint(format!("this drive can be opened with {}", options(live))),
            );
        }
    };
    answer.map_err(|error| match error.code() {
        Some(
            Code::FAILED_AUTHENTICATION
            | Code::PROTECTOR_NOT_FOUND
            | Code::KEYFILE_NO_VMK
            | Code::KEYFILE_NOT_FOUND,
        ) => CliError::no(format!("{what} does not open {}", live.name()))
            .hint(format!("this drive can be opened with {}", options(live))),
        _ => refusal(&error),
    })?;
    // Windows says yes to any key of a drive that is unlocked; this one was locked.
    match volume.get_lock_status().map_err(|error| refusal(&error))? {
        LockStatus::Unlocked => Ok(Done::Now),
        _ => Err(CliError::could_not(format!(
            "Windows took {what}, and {} is locked all the same",
            live.name()
        ))),
    }
}

/// Has Windows lock a drive.
///
/// # Errors
/// It is in use, it is the drive of the running Windows, or nothing protects it.
pub(crate) fn lock(live: &Live<'_>, even_if_in_use: bool) -> Result<Done, CliError> {
    live.volume_id()?;
    if live.told.is_locked() {
        return Ok(Done::Before);
    }
    if live.told.kind == "system" {
        return Err(CliError::could_not(format!(
            "{} is the drive of the Windows that is running, which cannot be locked",
            live.name()
        ))
        .hint("it is locked while the computer is switched off"));
    }
    match live.volume.lock(even_if_in_use) {
        Ok(()) => Ok(Done::Now),
        Err(Error::Refused {
            code: Code::ACCESS_DENIED,
            ..
        }) => Err(
            CliError::could_not(format!("something uses {}, so it was not locked", live.name()))
                .hint("close all programs and windows that show it")
                .hint("`--force` locks it all the same; what is not saved yet is lost"),
        ),
        Err(error) => Err(refusal(&error)),
    }
}

fn options(live: &Live<'_>) -> String {
    advice::options_among(&live.told.protectors_as_on_the_drive()).join(", ")
}
