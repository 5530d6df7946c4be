//! `keyhaven report`: what this PC answers, in a form that may be posted.
//!
//! The words of the report are those of a fixed list: no key, no name, no identifier but as a hash that means nothing
//! outside of this one report.

use std::ffi::OsStr;

use clap::Parser;
use keyhaven_crypto::SecretBytes;
use keyhaven_fve::Guid;
use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{Credential, Volume};
use keyhaven_windows::state::ProtectorType;
use keyhaven_windows::{EncryptableVolume, Error};
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::randomness;
use crate::windows::{self, Computer, Live, RunProgram, System};

pub(super) const VERB: Verb = Verb::of::<Report>();

/// Write what this PC answers about its drives, safe to post
///
/// Everything is only asked, nothing is changed. There are no keys in it, no names, no letters, and no identifiers: a
/// hash with random salt stands for each, so that two in one report can be told to be the same and nothing else. Read it
/// before you send it, all the same.
#[derive(Parser)]
#[command(name = "report")]
struct Report {}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    keyhaven: &'static str,
    /// `10.0.26100.1`; none where it could not be asked for.
    windows: Option<String>,
    architecture: &'static str,
    /// Why Windows says nothing, if it does not.
    refused: Option<String>,
    volumes: Vec<VolumeReport>,
}

#[derive(Serialize)]
struct VolumeReport {
    number: usize,
    has_letter: bool,
    #[serde(rename = "type")]
    kind: &'static str,
    protection: &'static str,
    encryption_method: Option<String>,
    /// Hashes of the identifier in its metadata.
    volume_id: Option<String>,
    protectors: Vec<ProtectorReport>,
    /// What each method that only asks came to.
    calls: Vec<Call>,
    reader: Reader,
}

#[derive(Serialize)]
struct ProtectorReport {
    id: String,
    kind: String,
    calls: Vec<Call>,
    /// What Windows remembers of backups, as the number that it gives.
    backup_bits: Option<u32>,
    /// Whether the recovery key that Windows gives opens the drive, as it is read here; none where that was not tried.
    opens_the_drive: Option<bool>,
}

#[derive(Serialize)]
struct Call {
    method: &'static str,
    answer: String,
}

/// What our own reader made of the medium.
#[derive(Serialize)]
struct Reader {
    /// Whether it could be read.
    read: bool,
    state: Option<&'static str>,
    encryption_method: Option<String>,
    same_volume_id: Option<bool>,
    /// In how much both differ.
    differences: usize,
}

impl Run for Report {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Some(computer) = Computer::this() else {
            return Err(CliError::could_not("there is no Windows to ask here"));
        };
        let mut salt = [0; 16];
        randomness::of_the_system(&mut salt)
            .map_err(|error| CliError::could_not("no randomness for a salt").because(&error))?;
        let hashing = Hashing { salt };
        let mut answer = Answer {
            keyhaven: env!("CARGO_PKG_VERSION"),
            windows: version(&mut System),
            architecture: std::env::consts::ARCH,
            refused: None,
            volumes: Vec::new(),
        };
        let mut refusal = None;
        match computer.volumes() {
            Ok(volumes) => {
                for (index, volume) in volumes.into_iter().enumerate() {
                    context.interrupt.check()?;
                    answer
                        .volumes
                        .push(VolumeReport::of(index + 1, volume, &computer, &hashing, context));
                }
            }
            Err(error) => {
                answer.refused = Some(code_of(&error));
                refusal = Some(windows::refusal(&error));
            }
        }
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        } else {
            context.ui.line(&answer.to_text())?;
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        context.ui.say(
            "\nThere is no key, no name and no identifier in it. Read it all the same before you send it.",
        );
        Ok(Exit::Done)
    }
}

/// Makes identifiers into something that can only be compared within one report.
struct Hashing {
    salt: [u8; 16],
}

impl Hashing {
    fn of(&self, id: Guid) -> String {
        let salted: Vec<u8> = self.salt.into_iter().chain(id.to_bytes()).collect();
        let hash = SecretBytes::copy_of(&salted).sha256();
        let digits = hash.expose_secret().iter().take(4);
        digits.map(|byte| format!("{byte:02x}")).collect()
    }
}

impl VolumeReport {
    fn of(
        number: usize,
        volume: EncryptableVolume<'_>,
        computer: &Computer,
        hashing: &Hashing,
        context: &Context,
    ) -> Self {
        let has_letter = volume.found().drive_letter.is_some();
        let calls = calls_of(&volume);
        match Live::quietly(volume, computer) {
            Ok(live) => {
                context.ui.detail(&format!("volume {number} is {}", live.name()));
                Self {
                    number,
                    has_letter,
                    kind: live.told.kind,
                    protection: live.told.state.name(),
                    encryption_method: live.told.method.clone(),
                    volume_id: live.told.volume_id.map(|id| hashing.of(id)),
                    protectors: live
                        .told
                        .protectors
                        .iter()
                        .map(|own| ProtectorReport::of(own, &live, hashing))
                        .collect(),
                    calls,
                    reader: Reader::of(&live),
                }
            }
            Err(_) => Self {
                number,
                has_letter,
                kind: "unknown",
                protection: "unknown",
                encryption_method: None,
                volume_id: None,
                protectors: Vec::new(),
                calls,
                reader: Reader {
                    read: false,
                    state: None,
                    encryption_method: None,
                    same_volume_id: None,
                    differences: 0,
                },
            },
        }
    }
}

impl ProtectorReport {
    fn of(own: &windows::Protector, live: &Live<'_>, hashing: &Hashing) -> Self {
        let volume = &live.volume;
        let id = own.id;
        let backup_types = volume.get_numerical_password_backup_type(id);
        let mut calls = vec![
            call("GetKeyProtectorType", &volume.get_key_protector_type(id)),
            call(
                "GetKeyProtectorFriendlyName",
                &volume.get_key_protector_friendly_name(id),
            ),
        ];
        let mut opens_the_drive = None;
        match own.kind {
            ProtectorType::NumericalPassword => {
                let digits = volume.get_key_protector_numerical_password(id);
                calls.push(call("GetKeyProtectorNumericalPassword", &digits));
                calls.push(call("GetNumericalPasswordBackupType", &backup_types));
                if let Ok(types) = &backup_types {
                    for bit in types.bits() {
                        let accounts = volume.get_numerical_password_backup_accounts(id, bit);
                        calls.push(call("GetNumericalPasswordBackupAccounts", &accounts));
                    }
                }
                if let (Ok(digits), Some(beneath)) = (digits, &live.beneath) {
                    opens_the_drive = RecoveryPassword::parse(digits.expose_secret())
                        .ok()
                        .map(|key| opens(beneath, key, id));
                }
            }
            ProtectorType::ExternalKey => {
                calls.push(call(
                    "GetExternalKeyFileName",
                    &volume.get_external_key_file_name(id),
                ));
            }
            ProtectorType::Tpm
            | ProtectorType::TpmAndPin
            | ProtectorType::TpmAndStartupKey
            | ProtectorType::TpmAndPinAndStartupKey => calls.push(call(
                "GetKeyProtectorPlatformValidationProfile",
                &volume.get_key_protector_platform_validation_profile(id),
            )),
            _ => {}
        }
        Self {
            id: hashing.of(id),
            kind: own.kind.json_name(),
            calls,
            backup_bits: backup_types.ok().map(|types| types.0),
            opens_the_drive,
        }
    }
}

impl Reader {
    fn of(live: &Live<'_>) -> Self {
        let beneath = live.beneath.as_ref();
        Self {
            read: beneath.is_some(),
            state: beneath.map(|volume| volume.state().name()),
            encryption_method: beneath.map(super::info::method_name),
            same_volume_id: beneath.map(|volume| Some(volume.metadata().volume_id()) == live.told.volume_id),
            differences: live.differences.len(),
        }
    }
}

impl Answer {
    fn to_text(&self) -> String {
        let mut lines = vec![format!(
            "keyhaven {}, Windows {}, {}",
            self.keyhaven,
            self.windows.as_deref().unwrap_or("of an unknown version"),
            self.architecture
        )];
        if let Some(refused) = &self.refused {
            lines.push(format!("Windows says nothing: {refused}"));
        }
        for volume in &self.volumes {
            lines.push(String::new());
            lines.push(format!(
                "volume {}: {}, {}, {}, ID {}",
                volume.number,
                volume.kind,
                if volume.has_letter {
                    "with a letter"
                } else {
                    "without a letter"
                },
                volume.protection,
                volume.volume_id.as_deref().unwrap_or("none")
            ));
            lines.push(format!(
                "  method {}",
                volume.encryption_method.as_deref().unwrap_or("unknown")
            ));
            lines.extend(volume.calls.iter().map(|call| call.to_text("  ")));
            for own in &volume.protectors {
                lines.push(format!("  protector {}, ID {}", own.kind, own.id));
                lines.extend(own.calls.iter().map(|call| call.to_text("    ")));
                if let Some(bits) = own.backup_bits {
                    lines.push(format!("    backups remembered: {bits:#x}"));
                }
                if let Some(opens) = own.opens_the_drive {
                    let answer = if opens { "yes" } else { "NO" };
                    lines.push(format!("    opens the drive, as it is read here: {answer}"));
                }
            }
            let reader = &volume.reader;
            lines.push(if reader.read {
                format!(
                    "  our reader: {}, {}, {} volume ID, {} differences",
                    reader.state.unwrap_or("unknown"),
                    reader.encryption_method.as_deref().unwrap_or("unknown"),
                    if reader.same_volume_id == Some(true) {
                        "the same"
                    } else {
                        "ANOTHER"
                    },
                    reader.differences
                )
            } else {
                "  our reader: nothing that it could read".to_owned()
            });
        }
        lines.join("\n")
    }
}

impl Call {
    fn to_text(&self, indent: &str) -> String {
        format!("{indent}{}: {}", self.method, self.answer)
    }
}

/// Asks everything about a volume that changes nothing and is no secret.
fn calls_of(volume: &EncryptableVolume<'_>) -> Vec<Call> {
    vec![
        call("GetLockStatus", &volume.get_lock_status()),
        call("GetProtectionStatus", &volume.get_protection_status()),
        call("GetConversionStatus", &volume.get_conversion_status(0)),
        call("GetEncryptionMethod", &volume.get_encryption_method()),
        call("GetVersion", &volume.get_version()),
        call(
            "GetHardwareEncryptionStatus",
            &volume.get_hardware_encryption_status(),
        ),
        call("GetIdentificationField", &volume.get_identification_field()),
        call("GetSuspendCount", &volume.get_suspend_count()),
        call("IsAutoUnlockEnabled", &volume.is_auto_unlock_enabled()),
        call("IsAutoUnlockKeyStored", &volume.is_auto_unlock_key_stored()),
        call(
            "GetSecureBootBindingState",
            &volume.get_secure_boot_binding_state(),
        ),
        call("GetKeyProtectors", &volume.get_key_protectors(None)),
    ]
}

/// Notes that a method answered, or with which code it did not; never what.
fn call<T>(method: &'static str, answer: &Result<T, Error>) -> Call {
    Call {
        method,
        answer: match answer {
            Ok(_) => "answers".to_owned(),
            Err(error) => code_of(error),
        },
    }
}

fn code_of(error: &Error) -> String {
    match error.code() {
        Some(code) => format!("{code:?} ({:#010x})", code.0),
        None => "answers in an unknown way".to_owned(),
    }
}

fn opens(beneath: &Volume, key: RecoveryPassword, id: Guid) -> bool {
    beneath
        .prove_protector(&Credential::RecoveryPassword(key), id)
        .is_ok()
}

/// Asks for the version of Windows: the digits and dots in what `ver` says in any language.
fn version(runner: &mut dyn RunProgram) -> Option<String> {
    let outcome = runner.run("cmd.exe", &["/d", "/c", "ver"].map(OsStr::new)).ok()?;
    let said = String::from_utf8_lossy(&outcome.output).into_owned();
    let is_of_a_number = |sign: char| sign.is_ascii_digit() || sign == '.';
    said.split(|sign| !is_of_a_number(sign))
        .find(|word| word.matches('.').count() >= 2)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::windows::Outcome;

    #[derive(Debug)]
    struct Says(&'static str);

    impl RunProgram for Says {
        fn run(&mut self, _: &str, _: &[&OsStr]) -> io::Result<Outcome> {
            Ok(Outcome {
                success: true,
                output: self.0.as_bytes().to_vec(),
                complaint: Vec::new(),
            })
        }
    }

    #[test]
    fn the_version_is_found_in_any_language() {
        for (said, version) in [
            (
                "\r\nMicrosoft Windows [Version 10.0.26100.2314]\r\n",
                Some("10.0.26100.2314"),
            ),
            (
                "\r\nMicrosoft Windows [версия 10.0.22631.1]\r\n",
                Some("10.0.22631.1"),
            ),
            ("nothing", None),
        ] {
            assert_eq!(super::version(&mut Says(said)).as_deref(), version);
        }
    }

    #[test]
    fn hashes_can_be_compared_within_a_report_only() {
        let id = Guid::from_bytes([7; 16]);
        let one = Hashing { salt: [1; 16] };
        let other = Hashing { salt: [2; 16] };
        assert_eq!(one.of(id), one.of(id));
        assert_ne!(one.of(id), other.of(id));
        assert_ne!(one.of(id), one.of(Guid::from_bytes([8; 16])));
        assert_eq!(one.of(id).len(), 8);
    }
}
