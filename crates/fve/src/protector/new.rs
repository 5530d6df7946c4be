//! Ways to open a volume that are to be made.

use keyhaven_crypto::Secret;

use super::{ProtectorKind, Sealing, clear_key, external_key, password, recovery_password};
use crate::format::FileTime;
use crate::format::datum::Datum;
use crate::guid::Guid;
use crate::keys::{ExternalKey, Password, RecoveryPassword, VolumeMasterKey};
use crate::metadata_builder::{MetadataBuilder, MetadataError};
use crate::randomness::{self, Randomness};
use crate::record::RecordKey;

/// What Windows calls every key file's protector.
const EXTERNAL_KEY_NAME: &str = "ExternalKey";

/// A way to open a volume that is to be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum NewProtector {
    /// A password; how long it has to be is the caller's to decide.
    Password(Password),
    /// The 48 digits.
    RecoveryPassword(RecoveryPassword),
    /// A key file, whose key is made with the protector and is among the records.
    ExternalKey,
    /// Nothing: the key lies open, and protection is suspended.
    ClearKey,
}

/// A protector as it was made.
#[derive(Debug)]
pub(crate) struct MadeProtector {
    pub(crate) id: Guid,
    pub(crate) kind: ProtectorKind,
    pub(crate) datum: Datum,
    /// The key where it is worth keeping elsewhere.
    pub(crate) key: Option<RecordKey>,
}

/// Why a protector could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakingError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("the source of randomness failed")]
    Randomness(#[from] std::io::Error),
}

impl NewProtector {
    /// Makes the protector, for `metadata` to which it is then to be added. `time` is in whole milliseconds.
    pub(crate) fn make(
        self,
        vmk: &VolumeMasterKey,
        metadata: &mut MetadataBuilder,
        time: FileTime,
        random: &mut Randomness<'_>,
    ) -> Result<MadeProtector, MakingError> {
        let id = randomness::guid(random)?;
        let volume_id = metadata.block().dataset.id;
        let mut sealing = Sealing {
            id,
            time,
            name: None,
            vmk,
            metadata,
        };
        let (kind, datum, key) = match self {
            Self::Password(password) => {
                let datum = password::seal(&password, randomness::bytes(random)?, sealing)?;
                (ProtectorKind::Password, datum, None)
            }
            Self::RecoveryPassword(password) => {
                let datum = recovery_password::seal(&password, randomness::bytes(random)?, sealing)?;
                let key = RecordKey::RecoveryPassword(password);
                (ProtectorKind::RecoveryPassword, datum, Some(key))
            }
            Self::ExternalKey => {
                let key: Secret<32> = randomness::secret(random)?;
                sealing.name = Some(EXTERNAL_KEY_NAME);
                let datum = external_key::seal(&key, sealing)?;
                let name = Some(EXTERNAL_KEY_NAME.to_owned());
                let key = ExternalKey::new(id, Some(volume_id), name, time, key);
                let key = RecordKey::ExternalKey(key);
                (ProtectorKind::StartupKey, datum, Some(key))
            }
            Self::ClearKey => {
                let datum = clear_key::seal(&randomness::secret(random)?, sealing)?;
                (ProtectorKind::ClearKey, datum, None)
            }
        };
        Ok(MadeProtector { id, kind, datum, key })
    }
}
