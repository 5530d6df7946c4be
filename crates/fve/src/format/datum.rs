//! Metadata entries ("datums"): the typed, nested records that a volume's metadata and key files are made of.
//!
//! Source: format spec 2.5 to 2.8. Every entry is kept whole: reading and writing back gives the same bytes, also for
//! types, roles and flags that are not known, and for known types whose inside is not as expected.

use std::fmt;

use keyhaven_crypto::{Secret, SecretBytes, ccm};
use zeroize::Zeroizing;

use super::cursor::{Cursor, ShapeError};
use super::file_time::FileTime;
use crate::guid::Guid;

/// Entries nest at most three deep on real volumes; deeper ones are kept unread.
const MAX_DEPTH: usize = 8;
/// A real volume has a few dozen entries.
const MAX_DATUMS: usize = 1024;
const HEADER_LEN: usize = 8;

/// The roles that entries play.
pub mod role {
    /// A property of the entry around it.
    pub const PROPERTY: u16 = 0x0000;
    /// A key protector: a wrapped volume master key.
    pub const VMK: u16 = 0x0002;
    /// The wrapped full volume encryption key.
    pub const FVEK: u16 = 0x0003;
    /// An external key, in a key file.
    pub const EXTERNAL_KEY: u16 = 0x0006;
    /// The description: computer, volume label, date.
    pub const DESCRIPTION: u16 = 0x0007;
    /// The auto-unlock key of an operating-system volume.
    pub const AUTO_UNLOCK: u16 = 0x000B;
    /// Where the boot sectors were moved.
    pub const VIRTUALIZATION: u16 = 0x000F;
    /// The recovery password under the VMK, Windows 10 and later.
    pub const RECOVERY_PASSWORD: u16 = 0x0012;
    /// The stretched recovery password under the VMK, Windows 10 and later.
    pub const STRETCHED_RECOVERY_PASSWORD: u16 = 0x0013;
    /// The volume that a key file belongs to.
    pub const OWNING_VOLUME: u16 = 0x0019;
}

/// The types of keys.
pub mod key_type {
    /// A recovery password.
    pub const RECOVERY_PASSWORD: u16 = 0x1000;
    /// A password.
    pub const PASSWORD: u16 = 0x1001;
    /// A key that lies open, or one that a TPM gives out.
    pub const CLEAR: u16 = 0x2000;
    /// An external key.
    pub const EXTERNAL: u16 = 0x2002;
    /// A volume master key.
    pub const VMK: u16 = 0x2003;
    /// The hash of a metadata block.
    pub const HASH_256: u16 = 0x2005;
    /// A stretched password.
    pub const STRETCHED_PASSWORD: u16 = 0x2007;
    /// A stretched recovery password.
    pub const STRETCHED_RECOVERY_PASSWORD: u16 = 0x2008;
}

/// The types of entries, as far as this implementation makes them.
pub mod kind {
    /// A key in the clear.
    pub const KEY: u16 = 0x01;
    /// Text.
    pub const TEXT: u16 = 0x02;
    /// How a secret is stretched.
    pub const STRETCH_KEY: u16 = 0x03;
    /// A copy of an external key.
    pub const USE_KEY: u16 = 0x04;
    /// Something sealed with AES-CCM.
    pub const SEALED: u16 = 0x05;
    /// A key protector.
    pub const VMK: u16 = 0x08;
    /// Where the first sectors of the plaintext lie.
    pub const VIRTUALIZATION: u16 = 0x0F;
}

/// Set in a key's flags where it is stretched with PBKDF2 (FIPS mode) instead of BitLocker's own rounds.
pub const KEY_FLAG_PBKDF2: u16 = 0x0040;

/// One entry.
#[derive(Debug)]
pub struct Datum {
    /// What it is for: see [`role`].
    pub role: u16,
    /// The number of its type.
    pub kind: u16,
    /// Opaque flags, called version elsewhere; preserved.
    pub flags: u16,
    /// What is in it.
    pub value: Value,
}

/// The inside of an entry.
#[derive(Debug)]
#[non_exhaustive]
pub enum Value {
    /// Type 1: a key in the clear.
    Key(KeyDatum),
    /// Type 2: text, in UTF-16.
    Text(Utf16),
    /// Type 3: how a secret is stretched, and copies of it under the VMK.
    StretchKey {
        /// Whose secret: see [`key_type`].
        key_type: u16,
        /// See [`KEY_FLAG_PBKDF2`].
        key_flags: u16,
        /// Goes into the stretch.
        salt: [u8; 16],
        /// Copies of the secret under the VMK.
        nested: Vec<Datum>,
    },
    /// Type 4: a copy of an external or intermediate key under the VMK.
    UseKey {
        /// What kind of key: see [`key_type`].
        key_type: u16,
        /// Flags of the key.
        key_flags: u16,
        /// The copy under the VMK.
        nested: Vec<Datum>,
    },
    /// Type 5: something sealed with AES-CCM.
    Sealed(SealedDatum),
    /// Type 6: something sealed by a TPM.
    Tpm {
        /// Bit i stands for PCR i.
        pcrs: u32,
        /// What the TPM sealed (format spec 2.8).
        blob: Vec<u8>,
    },
    /// Type 8: a wrapped volume master key, that is a key protector.
    Vmk {
        /// The protector's identifier.
        id: Guid,
        /// When it was last changed.
        modified: FileTime,
        /// 0 wherever it was seen.
        unknown_18: u16,
        /// The kind of protector.
        protector: u16,
        /// Its parts.
        nested: Vec<Datum>,
    },
    /// Type 9: an external key with its identifier, in a key file.
    ExternalKey {
        /// The protector's identifier.
        id: Guid,
        /// When the protector was made.
        modified: FileTime,
        /// Its parts.
        nested: Vec<Datum>,
    },
    /// Type 15: where the first sectors of the plaintext lie.
    Virtualization {
        /// Byte offset from the start of the volume.
        offset: u64,
        /// Length in bytes.
        len_bytes: u64,
        /// What Windows 8 and later add (format spec 2.6).
        extended: Vec<u8>,
    },
    /// Type 0x15: Windows' note that the recovery key was saved.
    BackupInfo {
        /// When.
        saved: FileTime,
        /// A second time, the same wherever it was seen.
        unknown_8: FileTime,
        /// 8 and 2 wherever they were seen; which place that is, is not known.
        unknown_16: Vec<u8>,
    },
    /// Type 0x17: an identifier.
    Guid(Guid),
    /// Type 0x18: text that reminds of where the recovery key was saved, such as a masked account name.
    Hint(Utf16),
    /// Any other type, and known types with an inside that does not fit.
    Other(Opaque),
}

/// A key that stands in an entry.
#[derive(Debug)]
pub struct KeyDatum {
    /// What kind of key: see [`key_type`].
    pub key_type: u16,
    /// Flags of the key.
    pub key_flags: u16,
    /// The key.
    pub key: SecretBytes,
}

/// Something sealed with AES-CCM: 12 bytes of nonce, 16 of tag, the rest ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDatum {
    /// A FILETIME and a counter.
    pub nonce: [u8; 12],
    /// Proves key and content.
    pub tag: [u8; 16],
    /// As long as the content.
    pub ciphertext: Vec<u8>,
}

/// Bytes that are kept without being understood.
#[derive(Clone, PartialEq, Eq)]
pub struct Opaque(pub Vec<u8>);

/// UTF-16 text as it stands on disk, with whatever follows its end mark.
#[derive(Clone, PartialEq, Eq)]
pub struct Utf16 {
    units: Vec<u16>,
    /// The last byte where there is an odd number of them.
    odd: Option<u8>,
}

impl Datum {
    /// Makes an entry with the flags that Windows gives ordinary ones.
    #[must_use]
    pub fn new(role: u16, kind: u16, value: Value) -> Self {
        Self {
            role,
            kind,
            flags: 1,
            value,
        }
    }

    /// Reads a list of entries that fills `bytes`.
    ///
    /// An entry of size 0 ends the list if only zeros follow it.
    ///
    /// # Errors
    /// [`ShapeError`] when an entry is shorter than its header or longer than what is left, or when there are more
    /// than 1024.
    pub fn read_list(bytes: &[u8]) -> Result<Vec<Self>, ShapeError> {
        Self::read_nested(bytes, 0, &mut 0)
    }

    fn read_nested(bytes: &[u8], depth: usize, count: &mut usize) -> Result<Vec<Self>, ShapeError> {
        let mut list = Vec::new();
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let wrong = |expected: String, found: String| ShapeError {
                what: "entry size",
                within: "entry list",
                at,
                expected,
                found,
            };
            let mut cursor = Cursor::new(rest, "entry");
            let size = usize::from(cursor.u16("entry size")?);
            if size == 0 && rest.iter().all(|byte| *byte == 0) {
                break;
            }
            if size < HEADER_LEN || size > rest.len() {
                return Err(wrong(
                    format!("{HEADER_LEN} to {} bytes", rest.len()),
                    format!("{size}"),
                ));
            }
            *count += 1;
            if *count > MAX_DATUMS {
                return Err(wrong(format!("at most {MAX_DATUMS} entries"), "more".to_owned()));
            }
            let (role, kind, flags) = (cursor.u16("role")?, cursor.u16("type")?, cursor.u16("flags")?);
            let body = &rest[HEADER_LEN..size];
            let value =
                Value::read(kind, body, depth, count).unwrap_or_else(|_| Value::Other(Opaque(body.to_vec())));
            list.push(Self {
                role,
                kind,
                flags,
                value,
            });
            at += size;
        }
        Ok(list)
    }

    /// Writes the entry as it stands on disk.
    ///
    /// # Panics
    /// If the entry was put together by hand and is longer than its 16-bit size can say.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let body = self.value.to_bytes();
        let size = u16::try_from(body.len() + HEADER_LEN).expect("an entry is shorter than 64 KiB");
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::from(size)));
        for field in [size, self.role, self.kind, self.flags] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Returns the entries inside this one.
    #[must_use]
    pub fn nested(&self) -> &[Self] {
        match &self.value {
            Value::StretchKey { nested, .. }
            | Value::UseKey { nested, .. }
            | Value::Vmk { nested, .. }
            | Value::ExternalKey { nested, .. } => nested,
            _ => &[],
        }
    }
}

impl Value {
    fn read(kind: u16, body: &[u8], depth: usize, count: &mut usize) -> Result<Self, ShapeError> {
        let mut cursor = Cursor::new(body, "entry");
        if depth >= MAX_DEPTH {
            return Ok(Self::Other(Opaque(body.to_vec())));
        }
        let mut nested = |rest: &[u8]| -> Result<Vec<Datum>, ShapeError> {
            let before = *count;
            let list = Datum::read_nested(rest, depth + 1, count)?;
            // A list that ends in zeros would lose them when it is written back.
            let read: usize = list.iter().map(|datum| datum.to_bytes().len()).sum();
            if read == rest.len() {
                Ok(list)
            } else {
                *count = before;
                Err(cursor_of(rest).wrong("entries", format!("{} bytes", rest.len()), format!("{read}")))
            }
        };
        Ok(match kind {
            0x01 => Self::Key(KeyDatum {
                key_type: cursor.u16("key type")?,
                key_flags: cursor.u16("key flags")?,
                key: SecretBytes::copy_of(cursor.rest()),
            }),
            0x02 => Self::Text(Utf16::read(body)),
            0x03 => Self::StretchKey {
                key_type: cursor.u16("key type")?,
                key_flags: cursor.u16("key flags")?,
                salt: cursor.array("salt")?,
                nested: nested(cursor.rest())?,
            },
            0x04 => Self::UseKey {
                key_type: cursor.u16("key type")?,
                key_flags: cursor.u16("key flags")?,
                nested: nested(cursor.rest())?,
            },
            0x05 => Self::Sealed(SealedDatum {
                nonce: cursor.array("nonce")?,
                tag: cursor.array("tag")?,
                ciphertext: cursor.rest().to_vec(),
            }),
            0x06 => Self::Tpm {
                pcrs: cursor.u32("PCR bitmap")?,
                blob: cursor.rest().to_vec(),
            },
            0x08 => Self::Vmk {
                id: Guid::from_bytes(cursor.array("protector identifier")?),
                modified: FileTime(cursor.u64("time of change")?),
                unknown_18: cursor.u16("reserved field")?,
                protector: cursor.u16("protector type")?,
                nested: nested(cursor.rest())?,
            },
            0x09 => Self::ExternalKey {
                id: Guid::from_bytes(cursor.array("protector identifier")?),
                modified: FileTime(cursor.u64("time of change")?),
                nested: nested(cursor.rest())?,
            },
            0x0F => Self::Virtualization {
                offset: cursor.u64("offset")?,
                len_bytes: cursor.u64("length")?,
                extended: cursor.rest().to_vec(),
            },
            0x15 => Self::BackupInfo {
                saved: FileTime(cursor.u64("time")?),
                unknown_8: FileTime(cursor.u64("second time")?),
                unknown_16: cursor.rest().to_vec(),
            },
            0x17 if body.len() == 16 => Self::Guid(Guid::from_bytes(cursor.array("identifier")?)),
            0x18 => Self::Hint(Utf16::read(body)),
            _ => Self::Other(Opaque(body.to_vec())),
        })
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::new());
        match self {
            Self::Key(KeyDatum {
                key_type,
                key_flags,
                key,
            }) => {
                bytes.extend_from_slice(&key_type.to_le_bytes());
                bytes.extend_from_slice(&key_flags.to_le_bytes());
                bytes.extend_from_slice(key.expose_secret());
            }
            Self::Text(text) | Self::Hint(text) => bytes.extend(text.to_bytes()),
            Self::StretchKey {
                key_type,
                key_flags,
                salt,
                ..
            } => {
                bytes.extend_from_slice(&key_type.to_le_bytes());
                bytes.extend_from_slice(&key_flags.to_le_bytes());
                bytes.extend_from_slice(salt);
            }
            Self::UseKey {
                key_type, key_flags, ..
            } => {
                bytes.extend_from_slice(&key_type.to_le_bytes());
                bytes.extend_from_slice(&key_flags.to_le_bytes());
            }
            Self::Sealed(SealedDatum {
                nonce,
                tag,
                ciphertext,
            }) => {
                bytes.extend_from_slice(nonce);
                bytes.extend_from_slice(tag);
                bytes.extend_from_slice(ciphertext);
            }
            Self::Tpm { pcrs, blob } => {
                bytes.extend_from_slice(&pcrs.to_le_bytes());
                bytes.extend_from_slice(blob);
            }
            Self::Vmk {
                id,
                modified,
                unknown_18,
                protector,
                ..
            } => {
                bytes.extend_from_slice(&id.to_bytes());
                bytes.extend_from_slice(&modified.0.to_le_bytes());
                bytes.extend_from_slice(&unknown_18.to_le_bytes());
                bytes.extend_from_slice(&protector.to_le_bytes());
            }
            Self::ExternalKey { id, modified, .. } => {
                bytes.extend_from_slice(&id.to_bytes());
                bytes.extend_from_slice(&modified.0.to_le_bytes());
            }
            Self::Virtualization {
                offset,
                len_bytes,
                extended,
            } => {
                bytes.extend_from_slice(&offset.to_le_bytes());
                bytes.extend_from_slice(&len_bytes.to_le_bytes());
                bytes.extend_from_slice(extended);
            }
            Self::BackupInfo {
                saved,
                unknown_8,
                unknown_16,
            } => {
                bytes.extend_from_slice(&saved.0.to_le_bytes());
                bytes.extend_from_slice(&unknown_8.0.to_le_bytes());
                bytes.extend_from_slice(unknown_16);
            }
            Self::Guid(guid) => bytes.extend_from_slice(&guid.to_bytes()),
            Self::Other(Opaque(body)) => bytes.extend_from_slice(body),
        }
        match self {
            Self::StretchKey { nested, .. }
            | Self::UseKey { nested, .. }
            | Self::Vmk { nested, .. }
            | Self::ExternalKey { nested, .. } => {
                for datum in nested {
                    bytes.extend_from_slice(&datum.to_bytes());
                }
            }
            _ => {}
        }
        bytes
    }
}

fn cursor_of(bytes: &[u8]) -> Cursor<'_> {
    Cursor::new(bytes, "nested entry list")
}

impl SealedDatum {
    /// Seals an entry. `nonce` must never be used again with `key`.
    ///
    /// # Panics
    /// If the entry was put together by hand and is longer than its 16-bit size can say.
    #[must_use]
    pub fn seal(key: &Secret<32>, nonce: [u8; 12], inside: &Datum) -> Self {
        let (tag, ciphertext) = ccm::seal(key, &nonce, &SecretBytes::copy_of(&inside.to_bytes()));
        Self {
            nonce,
            tag,
            ciphertext,
        }
    }

    /// Seals a key in the entry that Windows puts it in. `nonce` must never be used again with `key`.
    ///
    /// # Panics
    /// If `inside` is longer than any key is.
    #[must_use]
    pub fn seal_key(key: &Secret<32>, nonce: [u8; 12], key_type: u16, inside: SecretBytes) -> Self {
        let inside = Datum {
            role: role::PROPERTY,
            kind: kind::KEY,
            // Entries in a box have no flags, those beside it have 1.
            flags: 0,
            value: Value::Key(KeyDatum {
                key_type,
                key_flags: 0,
                key: inside,
            }),
        };
        Self::seal(key, nonce, &inside)
    }

    /// Opens the box and reads the entry that is always inside; `None` if `key` is not its key.
    #[must_use]
    pub fn open(&self, key: &Secret<32>) -> Option<Datum> {
        let plaintext = ccm::open(key, &self.nonce, &self.tag, &self.ciphertext)?;
        let mut list = Datum::read_list(plaintext.expose_secret()).ok()?;
        (list.len() == 1).then(|| list.remove(0))
    }

    /// Opens the box and returns the key inside; `None` if `key` is not its key, or something else is inside.
    #[must_use]
    pub fn open_key(&self, key: &Secret<32>) -> Option<KeyDatum> {
        match self.open(key)?.value {
            Value::Key(inside) => Some(inside),
            _ => None,
        }
    }
}

impl Utf16 {
    /// Takes text and adds the end mark.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            units: text.encode_utf16().chain([0]).collect(),
            odd: None,
        }
    }

    fn read(bytes: &[u8]) -> Self {
        let pairs = bytes.chunks_exact(2);
        let odd = pairs.remainder().first().copied();
        Self {
            units: pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
            odd,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.units
            .iter()
            .flat_map(|unit| unit.to_le_bytes())
            .chain(self.odd)
            .collect()
    }
}

impl fmt::Display for Utf16 {
    /// Writes the text up to its end mark, with replacement signs for what is not text and without control signs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.units.split(|unit| *unit == 0).next().unwrap_or_default();
        for sign in char::decode_utf16(text.iter().copied()) {
            let sign = sign.unwrap_or(char::REPLACEMENT_CHARACTER);
            let sign = if sign.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                sign
            };
            write!(f, "{sign}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Utf16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl fmt::Debug for Opaque {
    // An unknown entry may hold a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(list: &[Datum]) -> Vec<u8> {
        list.iter().flat_map(|datum| datum.to_bytes().to_vec()).collect()
    }

    #[test]
    fn a_zero_size_ends_a_list_only_before_zeros() {
        let mut bytes = vec![8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(Datum::read_list(&bytes).expect("ends in zeros").len(), 1);
        bytes[11] = 1;
        assert!(Datum::read_list(&bytes).is_err());
        assert!(
            Datum::read_list(&[7, 0, 0, 0, 0, 0, 0, 0]).is_err(),
            "shorter than its header"
        );
        assert!(
            Datum::read_list(&[9, 0, 0, 0, 0, 0, 0, 0]).is_err(),
            "longer than what is there"
        );
    }

    #[test]
    fn known_types_with_a_wrong_inside_are_kept() {
        // A stretch key that is too short for its salt.
        let bytes = [12, 0, 0, 0, 3, 0, 1, 0, 0, 0x10, 0, 0];
        let list = Datum::read_list(&bytes).expect("a list");
        assert!(matches!(list[0].value, Value::Other(_)));
        assert_eq!(rewritten(&list), bytes);
    }

    fn any_datum() -> impl Strategy<Value = Vec<u8>> {
        let leaf = (
            any::<u16>(),
            0u16..0x20,
            any::<u16>(),
            prop::collection::vec(any::<u8>(), 0..60),
        );
        leaf.prop_map(|(role, kind, flags, body)| datum_bytes(role, kind, flags, &body))
            .prop_recursive(3, 12, 3, |inner| {
                (
                    prop::sample::select(vec![3u16, 4, 8, 9]),
                    prop::collection::vec(inner, 0..3),
                )
                    .prop_map(|(kind, nested)| {
                        let fixed = match kind {
                            3 => 20,
                            4 => 4,
                            8 => 28,
                            _ => 24,
                        };
                        let mut body = vec![0x5a; fixed];
                        body.extend(nested.concat());
                        datum_bytes(2, kind, 1, &body)
                    })
            })
    }

    fn datum_bytes(role: u16, kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [(body.len() + HEADER_LEN) as u16, role, kind, flags] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(body);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_list_is_written_back_byte_for_byte(list in prop::collection::vec(any_datum(), 0..5)) {
            let bytes = list.concat();
            let read = Datum::read_list(&bytes).expect("well-formed");
            prop_assert_eq!(read.len(), list.len());
            prop_assert_eq!(rewritten(&read), bytes);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Datum::read_list(&bytes);
        }
    }
}
