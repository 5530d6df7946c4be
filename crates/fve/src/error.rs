//! Why a volume could not be opened, unlocked or read.

use keyhaven_disk::ReadError;

use crate::copies::MetadataCopy;
use crate::encryption_method::EncryptionMethod;
use crate::format::ShapeError;
use crate::guid::Guid;
use crate::layout::LayoutError;
use crate::protector::ProtectorKind;

/// Why a volume could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no sign of BitLocker in the first sector, nor (where it was searched) anywhere.
    #[error("not a BitLocker volume")]
    NotBitLocker {
        /// Whether the whole volume was searched.
        searched: bool,
    },
    /// The first sector could not be read.
    #[error("the first sector cannot be read")]
    Read(#[source] ReadError),
    /// It is a BitLocker volume, and no copy of its metadata is of use.
    #[error("a BitLocker volume, but none of its metadata copies can be used")]
    NoMetadata {
        /// What is wrong with each.
        copies: Vec<MetadataCopy>,
        /// Whether ignoring checksums would give one.
        checksums_only: bool,
    },
    /// The copy that was asked for is not there.
    #[error("there is no metadata copy {0}, only copies 1 to 3")]
    NoSuchCopy(u8),
    /// The sector size is none that occurs.
    #[error("the volume says its sectors have {0} bytes, expected 512, 1024, 2048 or 4096")]
    SectorSize(u32),
    /// The search was stopped.
    #[error("the search for metadata was stopped")]
    Stopped,
}

/// Why a credential did not open a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnlockError {
    /// It was tried and does not open the volume.
    #[error("it does not open this drive")]
    WrongKey {
        /// The protectors on which it was tried.
        tried: Vec<Guid>,
    },
    /// The volume has no protector of this kind.
    #[error("this drive has no {wanted}")]
    NoSuchProtector {
        /// What was tried to be used.
        wanted: ProtectorKind,
        /// What it has instead.
        present: Vec<ProtectorKind>,
    },
    /// The protector stretches secrets in a way that is not public (FIPS mode).
    #[error("protector {0} was made in FIPS mode (PBKDF2), which cannot be tried yet")]
    UnknownStretch(Guid),
    /// The protector lacks a part.
    #[error("protector {0} is damaged: it does not say how its key is made")]
    DamagedProtector(Guid),
    /// The key opens the volume, but its metadata were altered since Windows wrote them.
    #[error("the key is right, but the drive's metadata were changed after Windows wrote them")]
    Altered,
    /// The key opens the volume, but the key of its sectors is missing or of an unknown kind.
    #[error("the key is right, but the key of the sectors is missing or damaged")]
    NoSectorKey,
    /// The sector key given does not have the size that the method needs.
    #[error("a key for {method} has {expected} bytes, not {found}")]
    KeyLength {
        /// The volume's method.
        method: EncryptionMethod,
        /// Bytes that such a key has.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The volume is encrypted by a method that is not known.
    #[error("the encryption method {0:#06x} is not known")]
    UnknownMethod(u16),
    /// The plaintext could not be looked at.
    #[error("the drive cannot be read to try the key")]
    Data(#[source] Box<DataError>),
}

impl UnlockError {
    /// Tells whether this is an answer (the key is not one of this drive) rather than a failure.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::WrongKey { .. } | Self::NoSuchProtector { .. })
    }
}

/// Why an unlocked volume's content cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// It is not known which parts are encrypted.
    #[error("the record of which parts of the drive are encrypted cannot be read")]
    Eow(#[source] EowProblem),
    /// The places in the metadata contradict each other.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The state of the encryption is not known.
    #[error("the drive is in state {current} going to {next}, which is not known")]
    UnknownState {
        /// Current state.
        current: u16,
        /// Next state.
        next: u16,
    },
    /// What was being written when a conversion broke off cannot be read.
    #[error("what was being written when the conversion of the drive broke off cannot be read")]
    Journal(#[source] ReadError),
    /// There is no key for the encrypted parts.
    #[error("there is no key for the encrypted parts (method {0:#06x})")]
    NoKey(u16),
    /// The first sector could not be read.
    #[error("the first sector cannot be read")]
    Read(#[source] ReadError),
}

/// What is wrong with a metadata copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyProblem {
    /// Nothing says where it is.
    #[error("its place is not known")]
    NoPlace,
    /// Its place is not inside the volume, or not at the start of a sector.
    #[error("its place (byte {offset:#x}) cannot be right")]
    OutsideVolume {
        /// The place.
        offset: u64,
    },
    /// It could not be read.
    #[error("it cannot be read")]
    Unreadable(#[source] ReadError),
    /// It is overwritten or cut off.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Its checksum does not match.
    #[error("its checksum is wrong (stored {stored}, computed {computed:#010x})")]
    Checksum {
        /// What is stored, or that nothing is.
        stored: String,
        /// What it should be.
        computed: u32,
    },
    /// It says that it belongs elsewhere.
    #[error("it does not list its own place among the copies")]
    Misplaced,
    /// It is well-formed but does not have the same content as the one in use.
    #[error("it differs from copy {used}, which is in use")]
    Differs {
        /// The copy in use.
        used: u8,
    },
}

/// Why the record of encrypted chunks is of no use.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} at byte {offset:#x} cannot be used: {reason}")]
pub struct EowProblem {
    /// Which part of the record.
    pub what: String,
    /// Where, in bytes from the start of the volume.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}
