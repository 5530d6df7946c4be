//! Key protectors replaced, removed, suspended and resumed.

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_fve::Guid;

use super::{EncryptableVolume, about, protector_id};
use crate::error::Error;
use crate::method;
use crate::value::{Arguments, Value};

impl EncryptableVolume<'_> {
    /// `ChangeExternalKey`: replaces a key file.
    ///
    /// Returns the identifier of the new one.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::CHANGE_EXTERNAL_KEY`].
    pub fn change_external_key(&self, protector: Guid, key: Option<SecretBytes>) -> Result<Guid, Error> {
        let mut arguments = about(protector);
        if let Some(key) = key {
            arguments = arguments.with("ExternalKey", Value::SecretBytes(key));
        }
        let mut outputs = self.call(&method::CHANGE_EXTERNAL_KEY, &arguments)?;
        protector_id(&mut outputs, "NewVolumeKeyProtectorID")
    }

    /// `ChangePassPhrase`: replaces a password.
    ///
    /// Returns the identifier of the new one.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::CHANGE_PASS_PHRASE`].
    pub fn change_pass_phrase(&self, protector: Guid, password: SecretText) -> Result<Guid, Error> {
        let mut outputs = self.call(
            &method::CHANGE_PASS_PHRASE,
            &about(protector).with("NewPassPhrase", Value::SecretText(password)),
        )?;
        protector_id(&mut outputs, "NewProtectorID")
    }

    /// `ChangePIN`: replaces a PIN.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::CHANGE_PIN`].
    pub fn change_pin(&self, protector: Guid, pin: SecretText) -> Result<(), Error> {
        self.call(
            &method::CHANGE_PIN,
            &about(protector).with("NewPIN", Value::SecretText(pin)),
        )
        .map(drop)
    }

    /// `DeleteKeyProtector`: removes a key protector.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::DELETE_KEY_PROTECTOR`].
    pub fn delete_key_protector(&self, protector: Guid) -> Result<(), Error> {
        self.call(&method::DELETE_KEY_PROTECTOR, &about(protector))
            .map(drop)
    }

    /// `DeleteKeyProtectors`: removes all key protectors.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::DELETE_KEY_PROTECTORS`].
    pub fn delete_key_protectors(&self) -> Result<(), Error> {
        self.call(&method::DELETE_KEY_PROTECTORS, &Arguments::none())
            .map(drop)
    }

    /// `DisableKeyProtectors`: suspends protection, for 1 to 15 restarts, or with 0 until it is resumed.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::DISABLE_KEY_PROTECTORS`].
    pub fn disable_key_protectors(&self, restarts: Option<u32>) -> Result<(), Error> {
        let mut arguments = Arguments::none();
        if let Some(restarts) = restarts {
            arguments = arguments.number("DisableCount", restarts);
        }
        self.call(&method::DISABLE_KEY_PROTECTORS, &arguments).map(drop)
    }

    /// `EnableKeyProtectors`: resumes protection.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::ENABLE_KEY_PROTECTORS`].
    pub fn enable_key_protectors(&self) -> Result<(), Error> {
        self.call(&method::ENABLE_KEY_PROTECTORS, &Arguments::none())
            .map(drop)
    }

    /// `GetSuspendCount`: tells for how many restarts protection is still suspended.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_SUSPEND_COUNT`].
    pub fn get_suspend_count(&self) -> Result<u32, Error> {
        self.call(&method::GET_SUSPEND_COUNT, &Arguments::none())?
            .number("SuspendCount")
    }
}
