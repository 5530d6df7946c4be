//! A drive that keys are tried on.

use keyhaven_crypto::{Secret, stretch_many};
use keyhaven_fve::{Credential, Guid, ProtectorKind, UnlockError, Volume};

/// What proving a key needs of a drive: its identifiers, and an answer. Nothing is unlocked or written.
pub trait Drive {
    /// Returns the identifier of the volume.
    fn volume_id(&self) -> Guid;

    /// Returns its key protectors.
    fn protectors(&self) -> Vec<(Guid, ProtectorKind)>;

    /// Tries a key on all protectors of its kind, or on one; returns the one it opens.
    ///
    /// A recovery key costs a stretch for each protector it is tried on, a tenth of a second or more.
    ///
    /// # Errors
    /// [`UnlockError`]: the answer "no" as well as reasons for none.
    fn try_key(&self, key: &Credential, only: Option<Guid>) -> Result<Guid, UnlockError>;

    /// Returns the number of the first of these keys that opens the drive, all of them tried side by side where that is
    /// faster than one after the other.
    fn first_that_opens(&self, keys: &[&Credential]) -> Option<usize> {
        keys.iter().position(|key| self.try_key(key, None).is_ok())
    }
}

impl Drive for Volume {
    fn volume_id(&self) -> Guid {
        self.metadata().volume_id()
    }

    fn protectors(&self) -> Vec<(Guid, ProtectorKind)> {
        self.metadata()
            .protectors()
            .iter()
            .map(|protector| (protector.id(), protector.kind()))
            .collect()
    }

    fn try_key(&self, key: &Credential, only: Option<Guid>) -> Result<Guid, UnlockError> {
        let proof = match only {
            Some(id) => self.prove_protector(key, id),
            None => self.prove(key),
        }?;
        Ok(proof.protector_id.unwrap_or_else(|| self.volume_id()))
    }
    fn first_that_opens(&self, keys: &[&Credential]) -> Option<usize> {
        let (numbers, initials): (Vec<usize>, Vec<Secret<32>>) = keys
            .iter()
            .enumerate()
            .filter_map(|(number, key)| match key {
                Credential::RecoveryPassword(password) => Some((number, password.key().sha256())),
                _ => None,
            })
            .unzip();
        let protectors = self.metadata().protectors();
        let trials = protectors
            .iter()
            .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
            .filter_map(|protector| protector.trial());
        for trial in trials {
            let stretched = stretch_many(&initials, trial.salt());
            if let Some(at) = stretched.iter().position(|key| trial.opens(key)) {
                return numbers.get(at).copied();
            }
        }
        None
    }
}
