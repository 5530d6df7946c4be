//! Why metadata were not changed.

use std::io;

use keyhaven_disk::{ReadError, WriteError};

use crate::error::EowProblem;
use crate::guid::Guid;
use crate::metadata_builder::MetadataError;
use crate::protector::{MakingError, ProtectorKind};

/// Why the metadata of a volume were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The volume was opened with its sector key, which does not open its metadata.
    #[error("the drive was opened with its sector key, which leads to no protector")]
    NoMasterKey,
    /// Nothing is encrypted: there is nothing to protect.
    #[error("the drive is not encrypted")]
    Decrypted,
    /// The volume is being encrypted or decrypted, and was not stopped in an orderly way.
    #[error("the drive is being encrypted or decrypted, and has not come to rest")]
    Converting,
    /// Its record of encrypted chunks cannot be read.
    #[error("the record of which parts of the drive are encrypted is damaged")]
    Eow(#[source] EowProblem),
    /// Nothing proves that the metadata are as they were written.
    #[error("nothing proves that the drive's metadata are unaltered")]
    Unproven,
    /// A copy of the metadata has been changed by somebody who does not have the master key.
    #[error("metadata copy {0} was altered")]
    Altered(u8),
    /// The sector key is missing, or not the one that the volume was opened with.
    #[error("the key of the sectors is missing from the metadata")]
    NoSectorKey,
    /// The boot sector is damaged.
    #[error("the drive's first sector is damaged")]
    NoBootSector,
    /// The boot sector and the metadata do not agree on where the metadata are.
    #[error("the first sector and the metadata do not agree on where metadata copy {0} is")]
    Misplaced(u8),
    /// The device ends before the last copy does.
    #[error("metadata copy {copy} would end at byte {end}, but the drive ends at byte {len_bytes}")]
    CutOff {
        /// 1 to 3.
        copy: u8,
        /// Where it would end, in bytes.
        end: u64,
        /// The size of the device in bytes.
        len_bytes: u64,
    },
    /// No copy of the metadata is what was unlocked: they were changed by somebody else meanwhile.
    #[error("the metadata changed while the drive was being unlocked")]
    Changed,
    /// There is no such protector.
    #[error("the drive has no way to unlock with the ID {0}")]
    NoSuchProtector(Guid),
    /// The protector is not a password.
    #[error("{0} is not a password")]
    NotAPassword(Guid),
    /// Nothing would open the volume any longer.
    #[error("{0} is the last way to unlock the drive")]
    LastProtector(Guid),
    /// There is a clear key already.
    #[error("protection is suspended already")]
    AlreadySuspended,
    /// There is no clear key.
    #[error("protection is not suspended")]
    NotSuspended,
    /// Without the clear key nothing would open the volume.
    #[error("the drive has no way to unlock but the open key")]
    NothingToResumeWith,
    /// A protector cannot be made anew without what it is for.
    #[error("{id} ({kind}) cannot be made anew here")]
    CannotRenew {
        /// Which one.
        id: Guid,
        /// Its kind.
        kind: ProtectorKind,
    },
    /// Something that is not understood may be under the old master key.
    #[error("there are entries of unknown types ({0:#06x} is one), which may depend on the old master key")]
    UnknownEntries(u16),
    /// The changed metadata cannot be put together: they do not fit their place, or are out of nonces.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What was put together does not read as it should. Nothing was written.
    #[error("the changed metadata do not read back: {0}")]
    NotAsMade(&'static str),
    /// There was no randomness.
    #[error("the source of randomness failed")]
    Randomness(#[from] io::Error),
    /// Writing a copy failed.
    #[error("metadata copy {copy} cannot be written")]
    Write {
        /// 1 to 3.
        copy: u8,
        /// What the device said.
        source: WriteError,
    },
    /// What was written cannot be read back.
    #[error("metadata copy {copy} cannot be read back")]
    ReadBack {
        /// 1 to 3.
        copy: u8,
        /// What the device said.
        source: ReadError,
    },
    /// What was written reads differently: the medium does not keep what it is given.
    #[error("metadata copy {copy} reads differently from what was written")]
    NotKept {
        /// 1 to 3.
        copy: u8,
    },
}

impl From<MakingError> for EditError {
    fn from(error: MakingError) -> Self {
        match error {
            MakingError::Metadata(error) => Self::Metadata(error),
            MakingError::Randomness(error) => Self::Randomness(error),
        }
    }
}
