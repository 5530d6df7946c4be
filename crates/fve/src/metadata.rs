//! What a volume's metadata say, once a copy has been chosen.

use crate::encryption_method::EncryptionMethod;
use crate::format::FileTime;
use crate::format::block::InformationBlock;
use crate::format::datum::{Datum, SealedDatum, Value, role};
use crate::format::virtualization::ExtendedVirtualization;
use crate::guid::Guid;
use crate::keys::{FullVolumeEncryptionKey, VolumeMasterKey};
use crate::protector::{KeyProtector, ProtectorKind};

/// One copy of a volume's metadata, with its meaning.
#[derive(Debug)]
pub struct Metadata {
    block: InformationBlock,
}

/// Where the encryption of a volume stands, as its metadata header has it (format spec 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// Nothing is encrypted; the metadata are left over or not yet used.
    Decrypted,
    /// Everything is encrypted (or, encrypted on write, as much as the record of chunks says).
    Encrypted,
    /// The part in front of the state offset is encrypted, and more is to be.
    Encrypting {
        /// Nothing was in flight when the header was written.
        paused: bool,
    },
    /// The part in front of the state offset is encrypted, and less is to be.
    Decrypting {
        /// Nothing was in flight when the header was written.
        paused: bool,
    },
    /// Numbers that are not known.
    Unknown {
        /// Current state.
        current: u16,
        /// Next state.
        next: u16,
    },
}

/// What the sealed hash of the metadata says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// The metadata are as Windows last wrote them.
    Right,
    /// They were changed since.
    Altered,
    /// There is no hash that this key opens.
    Missing,
}

/// Where the first sectors of the plaintext are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Virtualized {
    pub(crate) offset: u64,
    pub(crate) len_bytes: u64,
}

/// Bit 6 of the flags in the extended virtualization entry: the volume has a record of encrypted chunks (format spec 2.6).
const FLAG_EOW: u64 = 1 << 6;
/// Bit 11: a readable part stands in front (BitLocker To Go). Such volumes have bit 6 too, and no record.
const FLAG_HYBRID: u64 = 1 << 11;
/// Bit 7: the conversion is paused (inferred there).
const FLAG_PAUSED: u64 = 1 << 7;
const DEFAULT_VIRTUALIZED_LEN_BYTES: u64 = 8192;

impl Metadata {
    pub(crate) fn new(block: InformationBlock) -> Self {
        Self { block }
    }

    /// Returns the copy that this was made from.
    #[must_use]
    pub fn block(&self) -> &InformationBlock {
        &self.block
    }

    /// Returns the volume's identifier.
    #[must_use]
    pub fn volume_id(&self) -> Guid {
        self.block.dataset.id
    }

    /// Returns when the volume was first encrypted.
    #[must_use]
    pub fn created(&self) -> FileTime {
        self.block.dataset.created
    }

    /// Returns what Windows noted then: computer name, volume label or letter, date in the creator's own format.
    #[must_use]
    pub fn description(&self) -> Option<String> {
        self.block.datums.iter().find_map(|datum| match &datum.value {
            Value::Text(text) if datum.role == role::DESCRIPTION => Some(text.to_string()),
            _ => None,
        })
    }

    /// Returns how sectors are encrypted, or the number of a method that is not known; 0 when they are not encrypted.
    ///
    /// # Errors
    /// The unknown number.
    pub fn encryption_method(&self) -> Result<EncryptionMethod, u16> {
        let code = self.block.dataset.method;
        EncryptionMethod::from_code(code).ok_or(code)
    }

    /// Returns the key protectors in the order in which they are stored.
    #[must_use]
    pub fn protectors(&self) -> Vec<KeyProtector<'_>> {
        self.block.datums.iter().filter_map(KeyProtector::of).collect()
    }

    /// Tells whether the key lies open: anybody can read the volume.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.protectors()
            .iter()
            .any(|protector| protector.kind() == ProtectorKind::ClearKey)
    }

    /// Returns the role and type of entries that this implementation does not know.
    #[must_use]
    pub fn unknown_entries(&self) -> Vec<(u16, u16)> {
        let unknown = self
            .block
            .datums
            .iter()
            .filter(|datum| matches!(datum.value, Value::Other(_)));
        // Known types with nothing to read in them: validation lists of operating-system volumes.
        unknown
            .filter(|datum| datum.kind != 0x07)
            .map(|datum| (datum.role, datum.kind))
            .collect()
    }

    /// Returns where the encryption stands.
    #[must_use]
    pub fn conversion(&self) -> Conversion {
        match (self.block.current_state, self.block.next_state) {
            (1, 1) => Conversion::Decrypted,
            (4, 4) => Conversion::Encrypted,
            (current @ 1..=5, 4) => Conversion::Encrypting {
                paused: matches!(current, 3),
            },
            (current @ 1..=5, 1) => Conversion::Decrypting {
                paused: matches!(current, 3),
            },
            (current, next) => Conversion::Unknown { current, next },
        }
    }

    /// Tells whether the metadata say that a record of encrypted chunks is in use.
    pub(crate) fn has_eow_flag(&self) -> bool {
        self.extended_flags()
            .is_some_and(|flags| flags & (FLAG_EOW | FLAG_HYBRID) == FLAG_EOW)
    }

    pub(crate) fn has_paused_flag(&self) -> bool {
        self.extended_flags()
            .is_some_and(|flags| flags & FLAG_PAUSED != 0)
    }

    /// Returns a part of the volume, in bytes, that Windows reserves and has nothing in; `None` on volumes that have none.
    #[must_use]
    pub fn spare(&self) -> Option<std::ops::Range<u64>> {
        let (_, _, extended) = self.virtualization()?;
        ExtendedVirtualization::spare(extended)
    }

    /// Returns where the log of the conversion that is under way lies, and how long it is, in bytes.
    pub(crate) fn conversion_log(&self) -> Option<(u64, u64)> {
        let (_, _, extended) = self.virtualization()?;
        ExtendedVirtualization::conversion_log(extended)
    }

    fn extended_flags(&self) -> Option<u64> {
        let (_, _, extended) = self.virtualization()?;
        Some(u64::from_le_bytes(extended.get(8..16)?.try_into().ok()?))
    }

    fn virtualization(&self) -> Option<(u64, u64, &[u8])> {
        self.block.datums.iter().find_map(|datum| match &datum.value {
            Value::Virtualization {
                offset,
                len_bytes,
                extended,
            } => Some((*offset, *len_bytes, extended.as_slice())),
            _ => None,
        })
    }

    /// Returns where the first sectors were moved; `None` on Vista, which moves none.
    pub(crate) fn virtualized(&self, sector_size: u64) -> Option<Virtualized> {
        if self.block.version == 1 {
            return None;
        }
        let from_header = || Virtualized {
            offset: self.block.virtualized_offset,
            len_bytes: match u64::from(self.block.virtualized_sectors) * sector_size {
                0 => DEFAULT_VIRTUALIZED_LEN_BYTES,
                len => len,
            },
        };
        Some(
            self.virtualization()
                .map_or_else(from_header, |(offset, len_bytes, _)| Virtualized {
                    offset,
                    len_bytes,
                }),
        )
    }

    /// Returns the sector size that the metadata give or imply.
    pub(crate) fn sector_size(&self) -> Option<u32> {
        let (_, len_bytes, extended) = self.virtualization()?;
        let stated = extended
            .get(28..32)
            .and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
        let implied =
            || u32::try_from(len_bytes.checked_div(u64::from(self.block.virtualized_sectors))?).ok();
        stated.filter(|size| *size != 0).or_else(implied)
    }

    /// Checks the hash that is sealed under the master key (in the clear on a decrypted volume).
    #[must_use]
    pub fn integrity(&self, vmk: Option<&VolumeMasterKey>) -> Integrity {
        let stored = self
            .block
            .validation
            .as_ref()
            .and_then(|validation| validation.integrity.as_ref());
        let opened = match stored.map(|datum| &datum.value) {
            Some(Value::Sealed(sealed)) => vmk.and_then(|vmk| sealed.open_key(vmk.key())),
            Some(Value::Key(key)) => {
                return if key.key.expose_secret() == self.block.actual_sha256 {
                    Integrity::Right
                } else {
                    Integrity::Altered
                };
            }
            _ => None,
        };
        match opened {
            Some(hash) if hash.key.expose_secret() == self.block.actual_sha256 => Integrity::Right,
            Some(_) => Integrity::Altered,
            None => Integrity::Missing,
        }
    }

    /// Opens the sector key with the master key; `None` where there is none that it opens.
    pub(crate) fn fvek(&self, vmk: &VolumeMasterKey) -> Option<FullVolumeEncryptionKey> {
        self.sealed_fveks().find_map(|sealed| {
            let inside = sealed.open_key(vmk.key())?;
            // The key itself says what it is for; the header says what the volume uses.
            let method = EncryptionMethod::from_code(inside.key_type).or(self.encryption_method().ok())?;
            FullVolumeEncryptionKey::from_slice(method, inside.key.expose_secret())
        })
    }

    /// Tells whether something in the metadata opens with this master key.
    pub(crate) fn is_vmk(&self, vmk: &VolumeMasterKey) -> bool {
        self.sealed_fveks().any(|sealed| sealed.open(vmk.key()).is_some())
            || self
                .protectors()
                .iter()
                .flat_map(KeyProtector::kept_secrets)
                .any(|sealed| sealed.open(vmk.key()).is_some())
    }

    fn sealed_fveks(&self) -> impl Iterator<Item = &SealedDatum> {
        let is_fvek = |datum: &&Datum| datum.role == role::FVEK;
        self.block
            .datums
            .iter()
            .filter(is_fvek)
            .filter_map(|datum| match &datum.value {
                Value::Sealed(sealed) => Some(sealed),
                _ => None,
            })
    }
}
