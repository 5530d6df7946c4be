//! From what Windows answers to what is backed up.

use keyhaven_crypto::Secret;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{ExternalKey, MistypedRecoveryPassword, RecoveryPassword};
use keyhaven_fve::{Guid, RecordKey, RecoveryRecord};

use crate::error::Error;
use crate::state::ProtectorType;
use crate::volume::EncryptableVolume;

/// Why Windows' answers make no recovery record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// Windows could not be asked, or said no.
    #[error(transparent)]
    Windows(#[from] Error),
    /// The volume is not encrypted.
    #[error("{0} is not encrypted with BitLocker")]
    NotEncrypted(String),
    /// What Windows gave for a recovery key is not one.
    #[error("what Windows gave as the recovery key {} is not one", .0.key_id())]
    NotAKey(Guid, #[source] Option<MistypedRecoveryPassword>),
}

/// Asks for the recovery keys of an unlocked volume, and for its key files too if `external_keys` says so.
///
/// Windows does not tell when a protector was changed: the time in the records is zero.
///
/// # Errors
/// [`RecordsError`].
pub fn recovery_records(
    volume: &EncryptableVolume<'_>,
    external_keys: bool,
) -> Result<Vec<RecoveryRecord>, RecordsError> {
    let volume_id = volume
        .volume_id()
        .ok_or_else(|| RecordsError::NotEncrypted(volume.name().to_owned()))?;
    let record = |protector_id, key| RecoveryRecord {
        volume_id,
        protector_id,
        description: None,
        modified: FileTime(0),
        key,
    };
    let mut records = Vec::new();
    for id in volume.get_key_protectors(Some(ProtectorType::NumericalPassword))? {
        let digits = volume.get_key_protector_numerical_password(id)?;
        let key = RecoveryPassword::parse(digits.expose_secret())
            .map_err(|error| RecordsError::NotAKey(id, Some(error)))?;
        records.push(record(id, RecordKey::RecoveryPassword(key)));
    }
    if external_keys {
        for id in volume.get_key_protectors(Some(ProtectorType::ExternalKey))? {
            let bytes = volume.get_key_protector_external_key(id)?;
            let key = Secret::from_slice(bytes.expose_secret()).ok_or(RecordsError::NotAKey(id, None))?;
            let key = ExternalKey::new(id, Some(volume_id), None, FileTime(0), key);
            records.push(record(id, RecordKey::ExternalKey(key)));
        }
    }
    Ok(records)
}
