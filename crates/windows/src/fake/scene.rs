//! What a fake computer is like.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::provider::Found;

/// A computer: what its WMI says, and its volumes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// Whether the program runs with an administrator's rights.
    #[serde(default = "yes")]
    pub elevated: bool,
    /// Whether this Windows has BitLocker.
    #[serde(default = "yes")]
    pub has_bitlocker: bool,
    /// Methods that this Windows does not have yet.
    #[serde(default)]
    pub missing_methods: Vec<String>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// How many key protectors were made: what the next one's identifier is made of.
    #[serde(default)]
    pub made: u32,
}

/// A volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// `\\?\Volume{…}\`.
    pub device_id: String,
    /// `C:`.
    #[serde(default)]
    pub drive_letter: Option<String>,
    /// The identifier in its metadata, in braces; empty if it is not encrypted.
    #[serde(default)]
    pub volume_id: String,
    /// Windows' number: 0 system, 1 fixed, 2 removable.
    #[serde(default = "one")]
    pub volume_type: u32,
    /// Whether it is locked.
    #[serde(default)]
    pub locked: bool,
    /// Whether protection is suspended, and for how many restarts (0: until resumed).
    #[serde(default)]
    pub suspended: Option<u32>,
    /// Windows' number of the state of encryption.
    #[serde(default = "one")]
    pub conversion: u32,
    /// How much is encrypted.
    #[serde(default = "hundred")]
    pub percentage: u32,
    /// Windows' number of the method.
    #[serde(default = "seven")]
    pub method: u32,
    /// Its key protectors.
    #[serde(default)]
    pub protectors: Vec<Protector>,
    /// The identifier of the protector by which it unlocks by itself.
    #[serde(default)]
    pub auto_unlock: Option<String>,
    /// Codes that methods answer with whatever is asked.
    #[serde(default)]
    pub faults: BTreeMap<String, u32>,
    /// An image or device that has what is on the drive, for programs that read drives themselves.
    #[serde(default)]
    pub raw: Option<String>,
}

/// A key protector.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protector {
    /// Its identifier, in braces.
    pub id: String,
    /// Windows' number of its type.
    #[serde(rename = "type")]
    pub kind: u32,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// 48 digits, a password, a PIN, or 64 hexadecimal digits, as the type wants it.
    #[serde(default)]
    pub secret: String,
    /// Where Windows remembers to have saved it.
    #[serde(default)]
    pub backups: Vec<Backup>,
}

/// What Windows remembers of one backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The bit that stands for the place.
    pub bit: u32,
    /// To whom.
    #[serde(default)]
    pub account: String,
}

impl Scene {
    /// Returns the code with which WMI refuses, if it does.
    pub(super) fn reachable(&self) -> Result<(), Code> {
        if !self.has_bitlocker {
            return Err(Code::WMI_INVALID_NAMESPACE);
        }
        if !self.elevated {
            return Err(Code::WMI_ACCESS_DENIED);
        }
        Ok(())
    }
}

impl Volume {
    /// Returns what WMI lists it with.
    pub(super) fn found(&self) -> Found {
        Found {
            device_id: self.device_id.clone(),
            persistent_volume_id: self.volume_id.clone(),
            drive_letter: self.drive_letter.clone(),
            protection_status: self.protection_status(),
            volume_type: Some(self.volume_type),
        }
    }

    pub(super) fn protection_status(&self) -> u32 {
        match (self.locked, self.suspended, self.conversion) {
            (true, ..) => 2,
            (false, None, 1) if !self.protectors.is_empty() => 1,
            _ => 0,
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        !self.volume_id.is_empty()
    }
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn seven() -> u32 {
    7
}

fn hundred() -> u32 {
    100
}
