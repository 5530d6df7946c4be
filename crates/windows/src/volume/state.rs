//! What state a volume is in.

use super::EncryptableVolume;
use crate::error::Error;
use crate::method;
use crate::state::{LockStatus, Method, ProtectionStatus};
use crate::value::Arguments;

impl EncryptableVolume<'_> {
    /// `GetEncryptionMethod`: tells the encryption method.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_ENCRYPTION_METHOD`].
    pub fn get_encryption_method(&self) -> Result<Method, Error> {
        let mut outputs = self.call(&method::GET_ENCRYPTION_METHOD, &Arguments::none())?;
        Ok(Method {
            number: outputs.number("EncryptionMethod")?,
            self_encryption: outputs
                .text("SelfEncryptionDriveEncryptionMethod")
                .ok()
                .filter(|method| !method.is_empty()),
        })
    }

    /// `GetProtectionStatus`: tells whether a key is needed.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_PROTECTION_STATUS`].
    pub fn get_protection_status(&self) -> Result<ProtectionStatus, Error> {
        let number = self
            .call(&method::GET_PROTECTION_STATUS, &Arguments::none())?
            .number("ProtectionStatus")?;
        Ok(ProtectionStatus::from_number(number))
    }

    /// `GetLockStatus`: tells whether the drive is locked.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_LOCK_STATUS`].
    pub fn get_lock_status(&self) -> Result<LockStatus, Error> {
        let number = self
            .call(&method::GET_LOCK_STATUS, &Arguments::none())?
            .number("LockStatus")?;
        Ok(LockStatus::from_number(number))
    }

    /// `GetHardwareEncryptionStatus`: tells whether the drive encrypts by itself.
    ///
    /// Returns 0 none, 1 not, 2 in part, 3 wholly.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_HARDWARE_ENCRYPTION_STATUS`].
    pub fn get_hardware_encryption_status(&self) -> Result<u32, Error> {
        self.call(&method::GET_HARDWARE_ENCRYPTION_STATUS, &Arguments::none())?
            .number("HardwareEncryptionStatus")
    }

    /// `GetHardwareTestStatus`: tells what came of the test before encryption.
    ///
    /// Returns the state of the test, and its error.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_HARDWARE_TEST_STATUS`].
    pub fn get_hardware_test_status(&self) -> Result<(u32, u32), Error> {
        let mut outputs = self.call(&method::GET_HARDWARE_TEST_STATUS, &Arguments::none())?;
        Ok((outputs.number("TestStatus")?, outputs.number("TestError")?))
    }

    /// `GetVersion`: tells the version of the metadata: 1 Vista, 2 Windows 7 and later.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_VERSION`].
    pub fn get_version(&self) -> Result<u32, Error> {
        self.call(&method::GET_VERSION, &Arguments::none())?
            .number("Version")
    }

    /// `GetIdentificationField`: tells the identifier of the organisation.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_IDENTIFICATION_FIELD`].
    pub fn get_identification_field(&self) -> Result<String, Error> {
        self.call(&method::GET_IDENTIFICATION_FIELD, &Arguments::none())?
            .text("IdentificationField")
    }

    /// `SetIdentificationField`: sets the identifier of the organisation.
    ///
    /// Without one, that of the policy.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::SET_IDENTIFICATION_FIELD`].
    pub fn set_identification_field(&self, identifier: Option<&str>) -> Result<(), Error> {
        self.call(
            &method::SET_IDENTIFICATION_FIELD,
            &Arguments::none().optional_text("IdentificationField", identifier),
        )
        .map(drop)
    }

    /// `GetSecureBootBindingState`: tells whether secure boot binds the TPM protectors.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_SECURE_BOOT_BINDING_STATE`].
    pub fn get_secure_boot_binding_state(&self) -> Result<u32, Error> {
        self.call(&method::GET_SECURE_BOOT_BINDING_STATE, &Arguments::none())?
            .number("BindingState")
    }
}
