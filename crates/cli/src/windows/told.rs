//! What Windows tells of one drive.

use keyhaven_fve::{Guid, ProtectorKind, VolumeState};
use keyhaven_windows::state::{
    BackupTypes, ConversionStatus, LockStatus, ProtectionStatus, ProtectorType, VolumeType,
};
use keyhaven_windows::{EncryptableVolume, Error};
use serde::Serialize;

use crate::changing::Ways;

/// All that Windows tells of a drive, but for its keys.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    /// `C:`, or the path of a volume without a letter.
    #[serde(skip)]
    pub(crate) name: String,
    /// `\\?\Volume{…}\`.
    pub(crate) volume: String,
    /// None for a drive that is not encrypted.
    #[serde(skip)]
    pub(crate) volume_id: Option<Guid>,
    /// `system`, `fixed`, `removable` or `unknown`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// `on`, `off`, `suspended`, `locked`, `encrypting`, …
    #[serde(rename = "protection", serialize_with = "state_name")]
    pub(crate) state: State,
    /// How much is encrypted.
    pub(crate) encrypted_percent: Option<u32>,
    /// Whether it unlocks by itself when Windows starts.
    pub(crate) unlocks_by_itself: Option<bool>,
    /// As JSON names it; none where it is not known.
    #[serde(skip)]
    pub(crate) method: Option<String>,
    /// The generation of the format, as JSON names it.
    #[serde(skip)]
    pub(crate) format: Option<&'static str>,
    #[serde(skip)]
    pub(crate) protectors: Vec<Protector>,
}

/// What state a drive is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not encrypted.
    Off,
    /// Encrypted and protected, unlocked now.
    On,
    /// It needs a key.
    Locked,
    /// Encrypted, and the key lies open: for so many restarts, or with 0 until it is resumed.
    Suspended {
        /// How many, if Windows says so.
        restarts: Option<u32>,
    },
    /// On its way, or waiting on it.
    Converting {
        /// To be encrypted, rather than decrypted.
        encrypts: bool,
        /// Nothing happens at the moment.
        paused: bool,
        /// How much is encrypted.
        percent: u32,
    },
    /// A state that is younger than this list.
    Unknown,
}

/// A way to unlock a drive.
#[derive(Debug)]
pub(crate) struct Protector {
    pub(crate) id: Guid,
    pub(crate) kind: ProtectorType,
    pub(crate) name: Option<String>,
    /// What Windows remembers of backups it made itself; none where it does not say.
    pub(crate) backups: Option<Vec<BackupNote>>,
}

/// A backup that Windows remembers to have made: read, not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BackupNote {
    /// The bit that stands for the place.
    pub(crate) bit: u32,
    /// What is known of the bit.
    pub(crate) place: &'static str,
    /// Whose account it is, if Windows says so.
    pub(crate) account: Option<String>,
}

impl Told {
    /// Asks for all of it.
    ///
    /// # Errors
    /// Windows does not tell whether the drive is locked or encrypted. What else it does not tell is left out.
    pub(crate) fn of(volume: &EncryptableVolume<'_>) -> Result<Self, Error> {
        let mut told = Self {
            name: volume.name().to_owned(),
            volume: volume.found().device_id.clone(),
            volume_id: volume.volume_id(),
            kind: match volume.volume_type() {
                Some(VolumeType::OperatingSystem) => "system",
                Some(VolumeType::Fixed) => "fixed",
                Some(VolumeType::Removable) => "removable",
                _ => "unknown",
            },
            state: State::Off,
            encrypted_percent: None,
            unlocks_by_itself: None,
            method: None,
            format: None,
            protectors: Vec::new(),
        };
        if told.volume_id.is_none() {
            return Ok(told);
        }
        if volume.get_lock_status()? == LockStatus::Locked {
            told.state = State::Locked;
        } else {
            let conversion = volume.get_conversion_status(0)?;
            told.encrypted_percent = Some(conversion.encryption_percentage);
            told.state = state_of(volume, conversion.status, conversion.encryption_percentage)?;
            told.method = volume.get_encryption_method().ok().map(|method| {
                match (method.encryption_method(), method.number) {
                    (Some(known), _) => known.name().to_owned(),
                    (None, 0) => "none".to_owned(),
                    (None, 5) => "hardware".to_owned(),
                    (None, number) => format!("unknown-{number}"),
                }
            });
            // Only data drives do, and the others say no.
            told.unlocks_by_itself = volume.is_auto_unlock_enabled().ok().map(|key| key.is_some());
        }
        told.format = match volume.get_version() {
            Ok(1) => Some("vista"),
            Ok(2) => Some("windows7"),
            _ => None,
        };
        told.protectors = protectors(volume)?;
        Ok(told)
    }

    /// Tells whether the drive is encrypted, if only in part.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.volume_id.is_some() && self.state != State::Off
    }

    /// Tells whether it needs a key now.
    pub(crate) fn is_locked(&self) -> bool {
        self.state == State::Locked
    }

    /// Tells whether Windows may have encrypted it by itself, as it does the built-in drives of new computers: nobody
    /// chose a password then, and nobody may have seen the recovery key.
    pub(crate) fn may_be_encrypted_by_itself(&self) -> bool {
        let is_built_in = matches!(self.kind, "system" | "fixed");
        let is_chosen = |own: &Protector| {
            !matches!(
                own.kind,
                ProtectorType::Tpm | ProtectorType::NumericalPassword | ProtectorType::ExternalKey
            )
        };
        is_built_in && !self.is_locked() && !self.protectors.iter().any(is_chosen)
    }

    /// Returns its recovery keys.
    pub(crate) fn recovery_keys(&self) -> impl Iterator<Item = &Protector> {
        self.protectors
            .iter()
            .filter(|protector| protector.kind == ProtectorType::NumericalPassword)
    }

    /// Returns the key IDs of its recovery keys.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        self.recovery_keys().map(|key| key.id.key_id()).collect()
    }

    /// Returns its ways to unlock, as people name them.
    pub(crate) fn ways(&self) -> Ways {
        let way = |protector: &Protector| (protector.id, protector.kind.title().to_owned());
        Ways::told(self.protectors.iter().map(way).collect())
    }

    /// Returns its protectors as drives that are read here have them.
    pub(crate) fn protectors_as_on_the_drive(&self) -> Vec<(Guid, ProtectorKind)> {
        let as_there = |protector: &Protector| (protector.id, kind_on_the_drive(protector.kind));
        self.protectors.iter().map(as_there).collect()
    }

    /// Returns what a person calls it with: "C: (the drive of Windows)".
    pub(crate) fn title(&self) -> String {
        let what = match self.kind {
            "system" => " (the drive of Windows)",
            "removable" => " (removable)",
            _ => "",
        };
        format!("{}{what}", self.name)
    }
}

impl State {
    /// Returns its name in JSON output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Locked => "locked",
            Self::Suspended { .. } => "suspended",
            Self::Converting { .. } => self.as_on_the_drive().name(),
            Self::Unknown => "unknown",
        }
    }

    /// Returns the state that a drive which is read here would be in.
    pub(crate) fn as_on_the_drive(self) -> VolumeState {
        match self {
            Self::Off => VolumeState::Decrypted,
            Self::On | Self::Locked => VolumeState::Encrypted,
            Self::Suspended { .. } => VolumeState::Suspended,
            Self::Converting { encrypts, paused, .. } => match (encrypts, paused) {
                (true, false) => VolumeState::Encrypting,
                (true, true) => VolumeState::EncryptionPaused,
                (false, false) => VolumeState::Decrypting,
                (false, true) => VolumeState::DecryptionPaused,
            },
            Self::Unknown => VolumeState::Unknown,
        }
    }

    /// Returns it in words.
    pub(crate) fn to_text(self) -> String {
        match self {
            Self::Off => "not encrypted".to_owned(),
            Self::On => "on".to_owned(),
            Self::Locked => "locked".to_owned(),
            Self::Suspended {
                restarts: None | Some(0),
            } => "suspended until it is resumed".to_owned(),
            Self::Suspended { restarts: Some(1) } => "suspended until the next restart".to_owned(),
            Self::Suspended {
                restarts: Some(restarts),
            } => format!("suspended for {restarts} restarts"),
            Self::Converting {
                encrypts,
                paused,
                percent,
            } => {
                let waits = if paused { ", paused" } else { "" };
                if encrypts {
                    format!("being encrypted, {percent} % done{waits}")
                } else {
                    format!("being decrypted, {percent} % left{waits}")
                }
            }
            Self::Unknown => "unknown".to_owned(),
        }
    }
}

impl BackupNote {
    /// Returns it in words: "a Microsoft account (ann@example.com)".
    pub(crate) fn to_text(&self) -> String {
        match &self.account {
            Some(account) => format!("{} ({account})", self.place),
            None => self.place.to_owned(),
        }
    }
}

fn state_of(
    volume: &EncryptableVolume<'_>,
    conversion: ConversionStatus,
    percent: u32,
) -> Result<State, Error> {
    let converting = |encrypts, paused| State::Converting {
        encrypts,
        paused,
        percent,
    };
    Ok(match conversion {
        ConversionStatus::FullyDecrypted => State::Off,
        ConversionStatus::FullyEncrypted => match volume.get_protection_status()? {
            ProtectionStatus::Off => State::Suspended {
                restarts: volume.get_suspend_count().ok(),
            },
            ProtectionStatus::On => State::On,
            _ => State::Unknown,
        },
        ConversionStatus::EncryptionInProgress => converting(true, false),
        ConversionStatus::EncryptionPaused => converting(true, true),
        ConversionStatus::DecryptionInProgress => converting(false, false),
        ConversionStatus::DecryptionPaused => converting(false, true),
        _ => State::Unknown,
    })
}

fn protectors(volume: &EncryptableVolume<'_>) -> Result<Vec<Protector>, Error> {
    let mut protectors = Vec::new();
    for id in volume.get_key_protectors(None)? {
        let kind = volume.get_key_protector_type(id)?;
        protectors.push(Protector {
            id,
            kind,
            name: volume
                .get_key_protector_friendly_name(id)
                .ok()
                .filter(|name| !name.is_empty()),
            backups: match kind {
                ProtectorType::NumericalPassword => backups(volume, id),
                _ => None,
            },
        });
    }
    Ok(protectors)
}

/// Asks for what Windows remembers of its own backups; none where it is too old for the question, or the drive locked.
fn backups(volume: &EncryptableVolume<'_>, id: Guid) -> Option<Vec<BackupNote>> {
    let types = volume.get_numerical_password_backup_type(id).ok()?;
    let note = |bit| BackupNote {
        bit,
        place: BackupTypes::title(bit),
        account: volume
            .get_numerical_password_backup_accounts(id, bit)
            .ok()
            .filter(|account| !account.is_empty()),
    };
    Some(types.bits().map(note).collect())
}

fn kind_on_the_drive(kind: ProtectorType) -> ProtectorKind {
    match kind {
        ProtectorType::Tpm => ProtectorKind::Tpm,
        ProtectorType::ExternalKey => ProtectorKind::StartupKey,
        ProtectorType::NumericalPassword => ProtectorKind::RecoveryPassword,
        ProtectorType::TpmAndPin => ProtectorKind::TpmPin,
        ProtectorType::TpmAndStartupKey => ProtectorKind::TpmStartupKey,
        ProtectorType::TpmAndPinAndStartupKey => ProtectorKind::TpmPinStartupKey,
        ProtectorType::PublicKey => ProtectorKind::PublicKey,
        ProtectorType::Passphrase => ProtectorKind::Password,
        ProtectorType::TpmCertificate => ProtectorKind::NetworkUnlock,
        // How it is numbered on the drive is not known.
        other => ProtectorKind::Unknown(u16::try_from(other.number()).unwrap_or(u16::MAX)),
    }
}

fn state_name<S: serde::Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_words() {
        let converting = State::Converting {
            encrypts: true,
            paused: true,
            percent: 37,
        };
        for (state, name, text) in [
            (State::Off, "off", "not encrypted"),
            (State::Locked, "locked", "locked"),
            (
                converting,
                "encryption_paused",
                "being encrypted, 37 % done, paused",
            ),
            (
                State::Suspended { restarts: Some(2) },
                "suspended",
                "suspended for 2 restarts",
            ),
            (
                State::Suspended { restarts: Some(0) },
                "suspended",
                "suspended until it is resumed",
            ),
        ] {
            assert_eq!(state.name(), name);
            assert_eq!(state.to_text(), text);
        }
    }
}
