//! The 256-bit key in a file on a USB stick: a startup key, or an external recovery key.

use keyhaven_crypto::{Secret, SecretBytes};
use zeroize::Zeroizing;

use crate::format::FileTime;
use crate::format::block::DatasetHeader;
use crate::format::datum::{Datum, KeyDatum, Utf16, Value, key_type, role};
use crate::format::external_key_file::ExternalKeyFile;
use crate::guid::Guid;

/// An external key, as a .BEK file holds it.
///
/// Source: format spec 3.6.
#[derive(Debug)]
pub struct ExternalKey {
    protector_id: Guid,
    volume_id: Option<Guid>,
    name: Option<String>,
    modified: FileTime,
    key: Secret<32>,
}

/// The bytes are not a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnExternalKey {
    /// They do not have its shape.
    #[error("not a startup key file")]
    Shape(#[from] crate::format::ShapeError),
    /// They have its shape, but no key of 32 bytes.
    #[error("the startup key file holds no key of 32 bytes")]
    NoKey,
}

impl ExternalKey {
    /// Puts a key together, for a protector that has just been made or unlocked.
    #[must_use]
    pub fn new(
        protector_id: Guid,
        volume_id: Option<Guid>,
        name: Option<String>,
        modified: FileTime,
        key: Secret<32>,
    ) -> Self {
        Self {
            protector_id,
            volume_id,
            name,
            modified,
            key,
        }
    }

    /// Reads the bytes of a .BEK file.
    ///
    /// # Errors
    /// [`NotAnExternalKey`] when they are not one.
    pub fn from_bek(bytes: &[u8]) -> Result<Self, NotAnExternalKey> {
        let file = ExternalKeyFile::read(bytes)?;
        let (protector_id, modified, nested) = file
            .datums
            .iter()
            .find_map(|datum| match &datum.value {
                Value::ExternalKey { id, modified, nested } => Some((*id, *modified, nested)),
                _ => None,
            })
            .ok_or(NotAnExternalKey::NoKey)?;
        let key = nested
            .iter()
            .find_map(|datum| match &datum.value {
                Value::Key(KeyDatum { key, .. }) => Secret::from_slice(key.expose_secret()),
                _ => None,
            })
            .ok_or(NotAnExternalKey::NoKey)?;
        let name = nested.iter().find_map(|datum| match &datum.value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        });
        let volume_id = nested.iter().find_map(|datum| match &datum.value {
            // Windows has written a GUID of zeros here for a protector that also needs the TPM.
            Value::Guid(id) if datum.role == role::OWNING_VOLUME && *id != Guid::ZERO => Some(*id),
            _ => None,
        });
        Ok(Self {
            protector_id,
            volume_id,
            name,
            modified,
            key,
        })
    }

    /// Writes the bytes of a .BEK file created at `created`, in the form that Windows 10 and later read.
    #[must_use]
    pub fn to_bek(&self, created: FileTime) -> Zeroizing<Vec<u8>> {
        let property = |role, kind, value| Datum {
            role,
            kind,
            flags: 1,
            value,
        };
        let mut nested = Vec::new();
        if let Some(name) = &self.name {
            nested.push(property(role::PROPERTY, 0x02, Value::Text(Utf16::new(name))));
        }
        if let Some(volume_id) = self.volume_id {
            nested.push(property(role::OWNING_VOLUME, 0x17, Value::Guid(volume_id)));
        }
        let key = SecretBytes::copy_of(self.key.expose_secret());
        let key = KeyDatum {
            key_type: key_type::EXTERNAL,
            key_flags: 0,
            key,
        };
        nested.push(property(role::PROPERTY, 0x01, Value::Key(key)));

        let value = Value::ExternalKey {
            id: self.protector_id,
            modified: self.modified,
            nested,
        };
        ExternalKeyFile {
            header: DatasetHeader {
                size: 0,
                version: 1,
                start: 0,
                end: 0,
                id: self.protector_id,
                next_nonce_counter: 1,
                method: 0,
                unknown_26: 0,
                created,
            },
            datums: vec![property(role::EXTERNAL_KEY, 0x09, value)],
        }
        .to_bytes()
    }

    /// Returns the name that Windows gives the file: the protector's identifier and `.BEK`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.BEK", self.protector_id)
    }

    /// Returns the identifier of the protector that the key is for.
    #[must_use]
    pub fn protector_id(&self) -> Guid {
        self.protector_id
    }

    /// Returns the identifier of the volume that the key is for, where the file says it.
    #[must_use]
    pub fn volume_id(&self) -> Option<Guid> {
        self.volume_id
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &Secret<32> {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The whole file startup_key.bek of image df-startup_key, format spec 9.6.
    const REAL: &str = "9c00000001000000300000009c000000581a41b300340a428b7e9b5f706425c0010000000000000030d400b9\
        6fbcd7016c00060009000100581a41b300340a428b7e9b5f706425c030d400b96fbcd70120000000020001004500780074006500\
        72006e0061006c004b006500790000002c00000001000100022000007a70ca1ab390e00daf4d72c217c42bf67a39db94d7621473\
        3ae56acb1c5dd814";

    #[test]
    fn a_real_key_file_is_read_and_written_back() {
        let bytes = hex::decode(REAL).expect("hex");
        let key = ExternalKey::from_bek(&bytes).expect("a real key file");
        assert_eq!(
            key.protector_id().to_string(),
            "B3411A58-3400-420A-8B7E-9B5F706425C0"
        );
        assert_eq!(key.volume_id(), None);
        assert_eq!(key.file_name(), "B3411A58-3400-420A-8B7E-9B5F706425C0.BEK");
        assert_eq!(&key.key().expose_secret()[..4], &[0x7a, 0x70, 0xca, 0x1a]);
        assert_eq!(*key.to_bek(key.modified), bytes);
    }

    #[test]
    fn cut_off_and_foreign_files_are_told() {
        let bytes = hex::decode(REAL).expect("hex");
        for len in 0..bytes.len() {
            assert!(ExternalKey::from_bek(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(ExternalKey::from_bek(&[&bytes[..], &[0]].concat()).is_err());
        assert!(ExternalKey::from_bek(&[0xff; 4096]).is_err());
    }
}
