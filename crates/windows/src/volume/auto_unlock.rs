//! Data drives that unlock by themselves on this computer.

use keyhaven_fve::Guid;

use super::{EncryptableVolume, about, in_braces};
use crate::error::Error;
use crate::method;
use crate::value::Arguments;

impl EncryptableVolume<'_> {
    /// `EnableAutoUnlock`: makes a data drive unlock by itself on this computer.
    ///
    /// The protector is a key file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::ENABLE_AUTO_UNLOCK`].
    pub fn enable_auto_unlock(&self, protector: Guid) -> Result<(), Error> {
        self.call(&method::ENABLE_AUTO_UNLOCK, &about(protector))
            .map(drop)
    }

    /// `DisableAutoUnlock`: ends that.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::DISABLE_AUTO_UNLOCK`].
    pub fn disable_auto_unlock(&self) -> Result<(), Error> {
        self.call(&method::DISABLE_AUTO_UNLOCK, &Arguments::none())
            .map(drop)
    }

    /// `IsAutoUnlockEnabled`: tells whether a data drive unlocks by itself, and by which key protector.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::IS_AUTO_UNLOCK_ENABLED`].
    pub fn is_auto_unlock_enabled(&self) -> Result<Option<Guid>, Error> {
        let mut outputs = self.call(&method::IS_AUTO_UNLOCK_ENABLED, &Arguments::none())?;
        if !outputs.bool("IsAutoUnlockEnabled")? {
            return Ok(None);
        }
        Ok(in_braces(&outputs.text("VolumeKeyProtectorID")?))
    }

    /// `IsAutoUnlockKeyStored`: tells whether the Windows drive holds keys of others.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::IS_AUTO_UNLOCK_KEY_STORED`].
    pub fn is_auto_unlock_key_stored(&self) -> Result<bool, Error> {
        self.call(&method::IS_AUTO_UNLOCK_KEY_STORED, &Arguments::none())?
            .bool("IsAutoUnlockKeyStored")
    }

    /// `ClearAllAutoUnlockKeys`: removes them.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::CLEAR_ALL_AUTO_UNLOCK_KEYS`].
    pub fn clear_all_auto_unlock_keys(&self) -> Result<(), Error> {
        self.call(&method::CLEAR_ALL_AUTO_UNLOCK_KEYS, &Arguments::none())
            .map(drop)
    }
}
