//! What Windows itself is asked about the drives of this computer, and told to do with them.
//!
//! A person names a drive `C:`, or by the path of its volume where it has no letter. Where [`Computer::this`] knows
//! that name the drive is [`Live`]: Windows holds its keys and changes its protectors, and our own reader looks at
//! the medium beneath, where everything is encrypted still. What both say is compared.
//!
//! All of it is compiled on every system, since all of it is tested against a made-up computer. Without Windows
//! there is no [`Computer`], and every drive is a device or a file.

mod asked;
mod computer;
mod events;
mod handing;
mod live;
mod raw;
mod runner;
mod saving;
mod startup_key;
mod task;
mod told;
mod unlocking;

pub(crate) use asked::AskedDrive;
pub(crate) use computer::Computer;
pub(crate) use events::{LoggedEvent, logged_events};
pub(crate) use handing::hand_over;
pub(crate) use live::{Live, no_keys};
#[cfg(test)]
pub(crate) use runner::Outcome;
pub(crate) use runner::{RunProgram, System};
pub(crate) use saving::{no_package, save, unlock_beneath};
pub(crate) use startup_key::{save_startup_key, save_startup_keys};
pub(crate) use task::{Task, Triggers};
pub(crate) use told::{BackupNote, Protector, State, Told};
pub(crate) use unlocking::{Done, lock, unlock};

use std::ffi::OsStr;
use std::path::Path;

use keyhaven_windows::{Code, EncryptableVolume, Error};

use crate::context::Context;
use crate::error::CliError;

/// Finds the drive that a person names as Windows does; none without Windows, or if it knows no such drive.
///
/// # Errors
/// As [`Computer::drive`].
pub(crate) fn drive<'c>(
    computer: Option<&'c Computer>,
    name: &OsStr,
    context: &Context,
) -> Result<Option<Live<'c>>, CliError> {
    match computer {
        Some(computer) => computer.drive(name, context),
        None => Ok(None),
    }
}

/// Tells whether Windows can be asked here: on Windows, and in tests that made up a computer.
pub(crate) fn is_here() -> bool {
    cfg!(windows) || computer::is_made_up()
}

/// Tells whether Windows knows the drive at a path as an encrypted one, also while it is unlocked and looks as if it
/// were not.
pub(crate) fn is_encrypted(path: &Path) -> bool {
    ask(path, |volume| volume.volume_id().is_some()).unwrap_or(false)
}

/// Refuses to write a drive that Windows has unlocked, as it lies: through its name only its content is there, and what
/// looks like a drive that was never encrypted would be encrypted twice.
///
/// # Errors
/// It is such a drive.
pub(crate) fn refuse_unlocked(path: &Path) -> Result<(), CliError> {
    let is_unlocked = |volume: &EncryptableVolume<'_>| {
        volume.volume_id().is_some()
            && Told::of(volume).is_ok_and(|told| told.is_encrypted() && !told.is_locked())
    };
    if !ask(path, is_unlocked).unwrap_or(false) {
        return Ok(());
    }
    let name = path.display();
    Err(CliError::could_not(format!(
        "{name} is a BitLocker drive that Windows has unlocked: only its content could be written there"
    ))
    .hint(format!("lock it first: `keyhaven lock {name}`"))
    .hint("Windows itself changes the drive with `keyhaven protector`, `rotate`, `suspend` and `resume`"))
}

/// Asks something about the volume that a path names as Windows does; none if there is no such, or no answer.
fn ask<T>(path: &Path, question: impl FnOnce(&EncryptableVolume<'_>) -> T) -> Option<T> {
    let name = path.to_str().filter(|name| is_name_of_a_volume(name))?;
    let computer = Computer::this()?;
    let volumes = computer.volumes().ok()?;
    volumes.iter().find(|volume| volume.is_called(name)).map(question)
}

/// Puts what Windows refused into words, with the next step.
pub(crate) fn refusal(error: &Error) -> CliError {
    let said = match error {
        Error::Refused { method, volume, code } => {
            CliError::could_not(format!("Windows says no for {volume} ({method}): {code}"))
        }
        _ => CliError::could_not(CliError::chain(error)),
    };
    match error.code().and_then(Code::next_step) {
        Some(step) => said.hint(step),
        None => said,
    }
}

/// Tells whether this Windows has no BitLocker at all: then drives are only read raw.
pub(crate) fn has_no_bitlocker(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable(Code::WMI_INVALID_NAMESPACE | Code::WMI_INVALID_CLASS)
    )
}

/// Returns whether a person names a drive as Windows does: `C:`, `C:\`, `\\?\Volume{…}\`.
fn is_name_of_a_volume(name: &str) -> bool {
    let name = name.replace('/', r"\");
    let bare = name.strip_prefix(r"\\.\").unwrap_or(&name);
    let is_letter = matches!(
        bare.trim_end_matches('\\').as_bytes(),
        [letter, b':'] if letter.is_ascii_alphabetic()
    );
    let prefix = r"\\?\Volume{";
    let is_path = name
        .get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    is_letter || is_path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_volumes_are_told_from_files() {
        for name in [
            "C:",
            "c:",
            r"C:\",
            "C:/",
            r"\\.\E:",
            r"\\?\Volume{1}\",
            r"\\?\volume{1}",
        ] {
            assert!(is_name_of_a_volume(name), "{name}");
        }
        for name in [
            "",
            "C",
            "disk.img",
            r"C:\disk.img",
            "CC:",
            r"\\.\PhysicalDrive1",
            "1:",
            "ä:",
        ] {
            assert!(!is_name_of_a_volume(name), "{name}");
        }
    }

    #[test]
    fn a_refusal_says_what_windows_said_and_what_to_do() {
        let said = refusal(&Error::Refused {
            method: "Lock",
            volume: "E:".to_owned(),
            code: Code::PROTECTION_DISABLED,
        });
        assert_eq!(
            said.message(),
            "Windows says no for E: (Lock): protection of the drive is suspended (0x80310021)"
        );
        assert_eq!(said.hints(), ["resume it first: `keyhaven resume`"]);
        let said = refusal(&Error::Unreachable(Code::WMI_ACCESS_DENIED));
        assert!(
            said.message().contains("only an administrator"),
            "{}",
            said.message()
        );
        assert_eq!(said.hints().len(), 1);
    }
}
