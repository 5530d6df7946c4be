//! A drive whose keys Windows gave, where the drive itself cannot be read: a key opens it if it is one of them.

use keyhaven_backup::drive::Drive;
use keyhaven_fve::{Credential, Guid, ProtectorKind, RecordKey, RecoveryRecord, UnlockError};

/// What Windows says opens a drive.
#[derive(Debug)]
pub(crate) struct AskedDrive {
    volume_id: Guid,
    protectors: Vec<(Guid, ProtectorKind)>,
    keys: Vec<RecoveryRecord>,
}

impl AskedDrive {
    /// Puts together what Windows told: all key protectors, and the keys of those that have one.
    pub(crate) fn new(
        volume_id: Guid,
        protectors: Vec<(Guid, ProtectorKind)>,
        keys: Vec<RecoveryRecord>,
    ) -> Self {
        Self {
            volume_id,
            protectors,
            keys,
        }
    }
}

impl Drive for AskedDrive {
    fn volume_id(&self) -> Guid {
        self.volume_id
    }

    fn protectors(&self) -> Vec<(Guid, ProtectorKind)> {
        self.protectors.clone()
    }

    fn try_key(&self, key: &Credential, only: Option<Guid>) -> Result<Guid, UnlockError> {
        let candidates = self
            .keys
            .iter()
            .filter(|own| only.is_none_or(|only| only == own.protector_id));
        let mut tried = Vec::new();
        for own in candidates {
            let is_same = match (&own.key, key) {
                (RecordKey::RecoveryPassword(own), Credential::RecoveryPassword(given)) => own == given,
                (RecordKey::ExternalKey(own), Credential::ExternalKey(given)) => own.key() == given.key(),
                _ => continue,
            };
            if is_same {
                return Ok(own.protector_id);
            }
            tried.push(own.protector_id);
        }
        match key.protector_kind() {
            Some(wanted) if tried.is_empty() => Err(UnlockError::NoSuchProtector {
                wanted,
                present: self.protectors.iter().map(|(_, kind)| *kind).collect(),
            }),
            _ => Err(UnlockError::WrongKey { tried }),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyhaven_crypto::Secret;
    use keyhaven_fve::format::FileTime;
    use keyhaven_fve::keys::RecoveryPassword;

    use super::*;

    fn id(number: u8) -> Guid {
        Guid::from_bytes([number; 16])
    }

    fn key(number: u8) -> RecoveryPassword {
        RecoveryPassword::from_key(Secret::from([number; 16]))
    }

    #[test]
    fn a_key_opens_the_drive_if_windows_gave_the_same() {
        let record = |number| RecoveryRecord {
            volume_id: id(9),
            protector_id: id(number),
            description: None,
            modified: FileTime(0),
            key: RecordKey::RecoveryPassword(key(number)),
        };
        let protectors = vec![
            (id(1), ProtectorKind::RecoveryPassword),
            (id(2), ProtectorKind::RecoveryPassword),
            (id(3), ProtectorKind::Tpm),
        ];
        let drive = AskedDrive::new(id(9), protectors, vec![record(1), record(2)]);
        let given = |number| Credential::RecoveryPassword(key(number));
        assert_eq!(drive.try_key(&given(2), None).ok(), Some(id(2)));
        assert_eq!(drive.try_key(&given(2), Some(id(2))).ok(), Some(id(2)));
        assert!(matches!(
            drive.try_key(&given(2), Some(id(1))),
            Err(UnlockError::WrongKey { tried }) if tried == [id(1)]
        ));
        assert!(matches!(
            drive.try_key(&given(5), None),
            Err(UnlockError::WrongKey { tried }) if tried.len() == 2
        ));
        assert!(matches!(
            drive.try_key(&Credential::ClearKey, None),
            Err(UnlockError::NoSuchProtector { .. })
        ));
    }
}
