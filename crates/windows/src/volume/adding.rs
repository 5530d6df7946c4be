//! New key protectors.

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_fve::Guid;

use super::{EncryptableVolume, protector_id};
use crate::error::Error;
use crate::method;
use crate::value::{Arguments, Value};

impl EncryptableVolume<'_> {
    /// `ProtectKeyWithNumericalPassword`: adds a recovery key; Windows makes one if none is given.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_NUMERICAL_PASSWORD`].
    pub fn protect_key_with_numerical_password(
        &self,
        name: Option<&str>,
        digits: Option<SecretText>,
    ) -> Result<Guid, Error> {
        let mut arguments = Arguments::none().optional_text("FriendlyName", name);
        if let Some(digits) = digits {
            arguments = arguments.with("NumericalPassword", Value::SecretText(digits));
        }
        let mut outputs = self.call(&method::PROTECT_KEY_WITH_NUMERICAL_PASSWORD, &arguments)?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithExternalKey`: adds a key file.
    ///
    /// The key has 32 bytes; Windows makes one if none is given.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_EXTERNAL_KEY`].
    pub fn protect_key_with_external_key(
        &self,
        name: Option<&str>,
        key: Option<SecretBytes>,
    ) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_EXTERNAL_KEY,
            &with_key(Arguments::none().optional_text("FriendlyName", name), key),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithPassPhrase`: adds a password.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_PASS_PHRASE`].
    pub fn protect_key_with_pass_phrase(
        &self,
        name: Option<&str>,
        password: SecretText,
    ) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_PASS_PHRASE,
            &Arguments::none()
                .optional_text("FriendlyName", name)
                .with("PassPhrase", Value::SecretText(password)),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithTPM`: adds the TPM.
    ///
    /// The profile is a list of PCRs; Windows chooses if there is none.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_TPM`].
    pub fn protect_key_with_tpm(&self, name: Option<&str>, profile: Option<Vec<u8>>) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_TPM,
            &with_profile(Arguments::none().optional_text("FriendlyName", name), profile),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithTPMAndPIN`: adds the TPM with a PIN.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_TPM_AND_PIN`].
    pub fn protect_key_with_tpm_and_pin(
        &self,
        name: Option<&str>,
        profile: Option<Vec<u8>>,
        pin: SecretText,
    ) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_TPM_AND_PIN,
            &with_profile(Arguments::none().optional_text("FriendlyName", name), profile)
                .with("PIN", Value::SecretText(pin)),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithTPMAndStartupKey`: adds the TPM with a key file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_TPM_AND_STARTUP_KEY`].
    pub fn protect_key_with_tpm_and_startup_key(
        &self,
        name: Option<&str>,
        profile: Option<Vec<u8>>,
        key: Option<SecretBytes>,
    ) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_TPM_AND_STARTUP_KEY,
            &with_key(
                with_profile(Arguments::none().optional_text("FriendlyName", name), profile),
                key,
            ),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithTPMAndPINAndStartupKey`: adds the TPM with a PIN and a key file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_TPM_AND_PIN_AND_STARTUP_KEY`].
    pub fn protect_key_with_tpm_and_pin_and_startup_key(
        &self,
        name: Option<&str>,
        profile: Option<Vec<u8>>,
        pin: SecretText,
        key: Option<SecretBytes>,
    ) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_TPM_AND_PIN_AND_STARTUP_KEY,
            &with_key(
                with_profile(Arguments::none().optional_text("FriendlyName", name), profile)
                    .with("PIN", Value::SecretText(pin)),
                key,
            ),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithCertificateFile`: adds a certificate out of a file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_CERTIFICATE_FILE`].
    pub fn protect_key_with_certificate_file(&self, name: Option<&str>, path: &str) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_CERTIFICATE_FILE,
            &Arguments::none()
                .optional_text("FriendlyName", name)
                .text("PathWithFileName", path),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithCertificateThumbprint`: adds a certificate of the computer.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_CERTIFICATE_THUMBPRINT`].
    pub fn protect_key_with_certificate_thumbprint(
        &self,
        name: Option<&str>,
        thumbprint: &str,
    ) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_CERTIFICATE_THUMBPRINT,
            &Arguments::none()
                .optional_text("FriendlyName", name)
                .text("CertThumbprint", thumbprint),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithAdSid`: adds an account or group; flag 1 for a service.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_AD_SID`].
    pub fn protect_key_with_ad_sid(&self, name: Option<&str>, sid: &str, flags: u32) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_AD_SID,
            &Arguments::none()
                .optional_text("FriendlyName", name)
                .text("SidString", sid)
                .number("Flags", flags),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }

    /// `ProtectKeyWithNetworkCertificate`: adds unlocking over the network.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::PROTECT_KEY_WITH_NETWORK_CERTIFICATE`].
    pub fn protect_key_with_network_certificate(
        &self,
        name: Option<&str>,
        thumbprint: &str,
    ) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::PROTECT_KEY_WITH_NETWORK_CERTIFICATE,
            &Arguments::none()
                .optional_text("FriendlyName", name)
                .text("CertThumbprint", thumbprint),
        )?;
        protector_id(&mut outputs, "VolumeKeyProtectorID")
    }
}

fn with_profile(arguments: Arguments, profile: Option<Vec<u8>>) -> Arguments {
    match profile {
        Some(profile) => arguments.with("PlatformValidationProfile", Value::Bytes(profile)),
        None => arguments,
    }
}

fn with_key(arguments: Arguments, key: Option<SecretBytes>) -> Arguments {
    match key {
        Some(key) => arguments.with("ExternalKey", Value::SecretBytes(key)),
        None => arguments,
    }
}
