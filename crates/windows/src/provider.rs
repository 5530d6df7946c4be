//! Who answers for Windows: Windows, or a fake of it.

use crate::code::Code;
use crate::error::Error;
use crate::method::Method;
use crate::value::{Arguments, Outputs};

/// The properties of a volume, as `SELECT * FROM Win32_EncryptableVolume` gives them.
///
/// Locked volumes have them as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `DeviceID`: `\\?\Volume{…}\`.
    pub device_id: String,
    /// `PersistentVolumeID`, in braces; empty for a volume that is not encrypted.
    pub persistent_volume_id: String,
    /// `DriveLetter`: `C:`; none for a volume without a letter.
    pub drive_letter: Option<String>,
    /// `ProtectionStatus`: 0 off, 1 on, 2 unknown.
    pub protection_status: u32,
    /// `VolumeType`: 0 the running Windows', 1 fixed, 2 removable; older Windows does not say.
    pub volume_type: Option<u32>,
}

/// Answers calls as the namespace `root\CIMV2\Security\MicrosoftVolumeEncryption` does.
pub trait Provider: std::fmt::Debug {
    /// Returns all volumes that are or could be encrypted, also those without a letter.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when WMI does not answer, denies access, or has no BitLocker.
    fn volumes(&self) -> Result<Vec<Found>, Error>;

    /// Calls a method of a volume; returns the code that it returned, and what it gave back.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the call itself failed, [`Error::Answer`] when what came is not what the method gives.
    fn call(
        &self,
        device_id: &str,
        method: &'static Method,
        arguments: &Arguments,
    ) -> Result<(Code, Outputs), Error>;
}
