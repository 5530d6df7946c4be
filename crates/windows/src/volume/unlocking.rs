//! Unlocking and locking.

use keyhaven_crypto::{SecretBytes, SecretText};

use super::EncryptableVolume;
use crate::error::Error;
use crate::method;
use crate::value::{Arguments, Value};

impl EncryptableVolume<'_> {
    /// `UnlockWithNumericalPassword`: unlocks with a recovery key. Says yes to any key if the drive is unlocked: no proof.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::UNLOCK_WITH_NUMERICAL_PASSWORD`].
    pub fn unlock_with_numerical_password(&self, digits: SecretText) -> Result<(), Error> {
        self.call(
            &method::UNLOCK_WITH_NUMERICAL_PASSWORD,
            &Arguments::none().with("NumericalPassword", Value::SecretText(digits)),
        )
        .map(drop)
    }

    /// `UnlockWithExternalKey`: unlocks with a key file. Says yes to any key if the drive is unlocked: no proof.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::UNLOCK_WITH_EXTERNAL_KEY`].
    pub fn unlock_with_external_key(&self, key: SecretBytes) -> Result<(), Error> {
        self.call(
            &method::UNLOCK_WITH_EXTERNAL_KEY,
            &Arguments::none().with("ExternalKey", Value::SecretBytes(key)),
        )
        .map(drop)
    }

    /// `UnlockWithPassPhrase`: unlocks with a password.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::UNLOCK_WITH_PASS_PHRASE`].
    pub fn unlock_with_pass_phrase(&self, password: SecretText) -> Result<(), Error> {
        self.call(
            &method::UNLOCK_WITH_PASS_PHRASE,
            &Arguments::none().with("PassPhrase", Value::SecretText(password)),
        )
        .map(drop)
    }

    /// `UnlockWithCertificateFile`: unlocks with a certificate out of a file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::UNLOCK_WITH_CERTIFICATE_FILE`].
    pub fn unlock_with_certificate_file(&self, path: &str, pin: Option<SecretText>) -> Result<(), Error> {
        let mut arguments = Arguments::none().text("PathWithFileName", path);
        if let Some(pin) = pin {
            arguments = arguments.with("Pin", Value::SecretText(pin));
        }
        self.call(&method::UNLOCK_WITH_CERTIFICATE_FILE, &arguments)
            .map(drop)
    }

    /// `UnlockWithCertificateThumbprint`: unlocks with a certificate of the computer, or a smart card.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::UNLOCK_WITH_CERTIFICATE_THUMBPRINT`].
    pub fn unlock_with_certificate_thumbprint(
        &self,
        thumbprint: &str,
        pin: Option<SecretText>,
    ) -> Result<(), Error> {
        let mut arguments = Arguments::none().text("CertThumbprint", thumbprint);
        if let Some(pin) = pin {
            arguments = arguments.with("Pin", Value::SecretText(pin));
        }
        self.call(&method::UNLOCK_WITH_CERTIFICATE_THUMBPRINT, &arguments)
            .map(drop)
    }

    /// `UnlockWithAdSid`: unlocks with an account or group.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::UNLOCK_WITH_AD_SID`].
    pub fn unlock_with_ad_sid(&self, sid: Option<&str>) -> Result<(), Error> {
        self.call(
            &method::UNLOCK_WITH_AD_SID,
            &Arguments::none().optional_text("SidString", sid),
        )
        .map(drop)
    }

    /// `Lock`: locks a data drive.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::LOCK`].
    pub fn lock(&self, even_if_in_use: bool) -> Result<(), Error> {
        self.call(
            &method::LOCK,
            &Arguments::none().with("ForceDismount", Value::Bool(even_if_in_use)),
        )
        .map(drop)
    }
}
