//! What all makers of key protectors share: boxes under the master key, the box that holds it, the entry around them.
//!
//! Layouts and the order of nonces: format spec 2.7.

use keyhaven_crypto::{Secret, SecretBytes};

use crate::format::FileTime;
use crate::format::datum::{Datum, SealedDatum, Utf16, Value, key_type, kind, role};
use crate::guid::Guid;
use crate::keys::VolumeMasterKey;
use crate::metadata_builder::{MetadataBuilder, MetadataError};

/// A protector being made.
pub(crate) struct Sealing<'a> {
    /// Its identifier.
    pub(crate) id: Guid,
    /// When it is made, in whole milliseconds as Windows has it; part of its nonces too.
    pub(crate) time: FileTime,
    /// The name that shows in lists; what Windows' wizard makes has none.
    pub(crate) name: Option<&'a str>,
    /// What it protects.
    pub(crate) vmk: &'a VolumeMasterKey,
    /// Where it will stand, which gives its nonces.
    pub(crate) metadata: &'a mut MetadataBuilder,
}

impl Sealing<'_> {
    /// Puts a copy of a secret under the master key, so that whoever has that can make the protector anew.
    pub(crate) fn keep(&mut self, role: u16, key_type: u16, secret: &[u8]) -> Result<Datum, MetadataError> {
        let nonce = self.metadata.nonce(self.time)?;
        let sealed = SealedDatum::seal_key(self.vmk.key(), nonce, key_type, SecretBytes::copy_of(secret));
        Ok(Datum::new(role, kind::SEALED, Value::Sealed(sealed)))
    }

    /// Puts the master key under the key that the protector's secret leads to.
    pub(crate) fn wrap(&mut self, key: &Secret<32>) -> Result<Datum, MetadataError> {
        let nonce = self.metadata.nonce(self.time)?;
        let vmk = SecretBytes::copy_of(self.vmk.key().expose_secret());
        let sealed = SealedDatum::seal_key(key, nonce, key_type::VMK, vmk);
        Ok(Datum::new(role::PROPERTY, kind::SEALED, Value::Sealed(sealed)))
    }

    /// Puts the entry of a protector of kind `code` around its parts.
    pub(crate) fn protector(self, code: u16, parts: Vec<Datum>) -> Datum {
        let name = self
            .name
            .map(|name| Datum::new(role::PROPERTY, kind::TEXT, Value::Text(Utf16::new(name))));
        let value = Value::Vmk {
            id: self.id,
            modified: self.time,
            unknown_18: 0,
            protector: code,
            nested: name.into_iter().chain(parts).collect(),
        };
        Datum::new(role::VMK, kind::VMK, value)
    }
}
