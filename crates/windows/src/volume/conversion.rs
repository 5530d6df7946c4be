//! Encryption and decryption.

use super::EncryptableVolume;
use crate::error::Error;
use crate::method;
use crate::state::{Conversion, ConversionStatus};
use crate::value::Arguments;

impl EncryptableVolume<'_> {
    /// `GetConversionStatus`: tells how far encryption is.
    ///
    /// `decimals` is 0 to 4. The status counts, not the percentage.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_CONVERSION_STATUS`].
    pub fn get_conversion_status(&self, decimals: u32) -> Result<Conversion, Error> {
        let mut outputs = self.call(
            &method::GET_CONVERSION_STATUS,
            &Arguments::none().number("PrecisionFactor", decimals),
        )?;
        Ok(Conversion {
            status: ConversionStatus::from_number(outputs.number("ConversionStatus")?),
            encryption_percentage: outputs.number("EncryptionPercentage")?,
            encryption_flags: outputs.number("EncryptionFlags")?,
            wiping_status: outputs.number("WipingStatus")?,
            wiping_percentage: outputs.number("WipingPercentage")?,
        })
    }

    /// `Encrypt`: begins encryption.
    ///
    /// `method` is Windows' number; without one it chooses.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::ENCRYPT`].
    pub fn encrypt(&self, method: Option<u32>, flags: Option<u32>) -> Result<(), Error> {
        let mut arguments = Arguments::none();
        if let Some(number) = method {
            arguments = arguments.number("EncryptionMethod", number);
        }
        if let Some(flags) = flags {
            arguments = arguments.number("EncryptionFlags", flags);
        }
        self.call(&crate::method::ENCRYPT, &arguments).map(drop)
    }

    /// `EncryptAfterHardwareTest`: begins encryption after a restart that proves the keys.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::ENCRYPT_AFTER_HARDWARE_TEST`].
    pub fn encrypt_after_hardware_test(&self, method: Option<u32>, flags: Option<u32>) -> Result<(), Error> {
        let mut arguments = Arguments::none();
        if let Some(number) = method {
            arguments = arguments.number("EncryptionMethod", number);
        }
        if let Some(flags) = flags {
            arguments = arguments.number("EncryptionFlags", flags);
        }
        self.call(&crate::method::ENCRYPT_AFTER_HARDWARE_TEST, &arguments)
            .map(drop)
    }

    /// `Decrypt`: begins decryption.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::DECRYPT`].
    pub fn decrypt(&self) -> Result<(), Error> {
        self.call(&method::DECRYPT, &Arguments::none()).map(drop)
    }

    /// `PauseConversion`: pauses encryption or decryption.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PAUSE_CONVERSION`].
    pub fn pause_conversion(&self) -> Result<(), Error> {
        self.call(&method::PAUSE_CONVERSION, &Arguments::none()).map(drop)
    }

    /// `ResumeConversion`: continues it.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::RESUME_CONVERSION`].
    pub fn resume_conversion(&self) -> Result<(), Error> {
        self.call(&method::RESUME_CONVERSION, &Arguments::none())
            .map(drop)
    }

    /// `PrepareVolume`: makes room for the metadata.
    ///
    /// The discovery volume is `<none>`, `<default>` or `FAT32`; the type 0 any, 1 by software, 2 by the drive.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PREPARE_VOLUME`].
    pub fn prepare_volume(&self, discovery_volume: &str, encryption_type: u32) -> Result<(), Error> {
        let arguments = Arguments::none()
            .text("DiscoveryVolumeType", discovery_volume)
            .number("ForceEncryptionType", encryption_type);
        self.call(&method::PREPARE_VOLUME, &arguments).map(drop)
    }

    /// `PrepareVolumeEx`: makes room for the metadata, with flags.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PREPARE_VOLUME_EX`].
    pub fn prepare_volume_ex(
        &self,
        discovery_volume: &str,
        encryption_type: u32,
        flags: u32,
    ) -> Result<(), Error> {
        let arguments = Arguments::none()
            .text("DiscoveryVolumeType", discovery_volume)
            .number("ForceEncryptionType", encryption_type)
            .number("InitializationFlags", flags);
        self.call(&method::PREPARE_VOLUME_EX, &arguments).map(drop)
    }

    /// `UpgradeVolume`: rewrites the metadata of Vista.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::UPGRADE_VOLUME`].
    pub fn upgrade_volume(&self) -> Result<(), Error> {
        self.call(&method::UPGRADE_VOLUME, &Arguments::none()).map(drop)
    }
}
