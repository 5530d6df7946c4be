//! What a saved key is worth for one drive.

use keyhaven_fve::{Credential, Guid, UnlockError};

use crate::drive::Drive;
use crate::found::{FoundContent, FoundKey};

/// The answer for one key and one drive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It opens the drive.
    Opens {
        /// The protector that it opens.
        protector_id: Guid,
    },
    /// It is marked as a key of this drive and does not open it.
    WrongKey,
    /// It is a recovery key but for the blocks named.
    Mistyped {
        /// The wrong blocks, counted from 1.
        bad_blocks: Vec<usize>,
        /// What is wrong, in words.
        problem: String,
    },
    /// It belongs to another drive.
    OtherDrive,
    /// The key could not be read or tried.
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Returns the name that JSON output uses.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opens { .. } => "opens",
            Self::WrongKey => "wrong_key",
            Self::Mistyped { .. } => "mistyped",
            Self::OtherDrive => "other_drive",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

/// How much is spent on a key that is not marked as this drive's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A key with only other drives' identifiers beside it is not tried: for piles of keys.
    ById,
    /// Every key is tried, whatever stands beside it: somebody may have written the wrong identifier.
    Everything,
}

/// Judges a key: by its identifier first, then by trying it.
///
/// A key that is marked with one of the drive's identifiers is tried on that protector, then on the others; if it opens
/// none it is a wrong key. One that is marked with other identifiers only, or with none, and does not open the drive,
/// is another drive's.
#[must_use]
pub fn judge(drive: &dyn Drive, found: &FoundKey, effort: Effort) -> Verdict {
    let key = match &found.content {
        FoundContent::Key(key) => key,
        FoundContent::Mistyped(mistyped) => {
            return Verdict::Mistyped {
                bad_blocks: mistyped.bad_blocks(),
                problem: mistyped.to_string(),
            };
        }
    };
    let protectors = drive.protectors();
    let fits = |id: &Guid| {
        key.protector_kind()
            .is_some_and(|kind| protectors.iter().any(|(own, of)| own == id && *of == kind))
    };
    let marked = found.ids.iter().copied().find(fits);
    let is_ours = marked.is_some() || found.ids.contains(&drive.volume_id());
    if !is_ours && !found.ids.is_empty() && effort == Effort::ById {
        return Verdict::OtherDrive;
    }
    let no = if is_ours {
        Verdict::WrongKey
    } else {
        Verdict::OtherDrive
    };
    match try_key(drive, key, marked) {
        Ok(protector_id) => Verdict::Opens { protector_id },
        Err(error) if error.is_answer() => no,
        Err(error) => Verdict::Unreadable {
            reason: error.to_string(),
        },
    }
}

fn try_key(drive: &dyn Drive, key: &Credential, marked: Option<Guid>) -> Result<Guid, UnlockError> {
    if let Some(id) = marked {
        match drive.try_key(key, Some(id)) {
            Err(error) if error.is_answer() => {}
            answer => return answer,
        }
        // One protector of the kind was just tried.
        let of_its_kind = |(_, kind): &&(Guid, _)| Some(*kind) == key.protector_kind();
        if drive.protectors().iter().filter(of_its_kind).count() == 1 {
            return Err(UnlockError::WrongKey { tried: vec![id] });
        }
    }
    drive.try_key(key, None)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use keyhaven_crypto::Secret;
    use keyhaven_fve::ProtectorKind;
    use keyhaven_fve::keys::RecoveryPassword;

    use super::*;
    use crate::found::Source;

    /// A drive with recovery keys that count how often they are tried.
    pub(crate) struct FakeDrive {
        pub(crate) keys: Vec<(Guid, [u8; 16])>,
        pub(crate) stretches: Cell<usize>,
    }

    impl Drive for FakeDrive {
        fn volume_id(&self) -> Guid {
            Guid::from_bytes([9; 16])
        }

        fn protectors(&self) -> Vec<(Guid, ProtectorKind)> {
            self.keys
                .iter()
                .map(|(id, _)| (*id, ProtectorKind::RecoveryPassword))
                .collect()
        }

        fn try_key(&self, key: &Credential, only: Option<Guid>) -> Result<Guid, UnlockError> {
            let Credential::RecoveryPassword(password) = key else {
                return Err(UnlockError::WrongKey { tried: vec![] });
            };
            for (id, bytes) in self
                .keys
                .iter()
                .filter(|(id, _)| only.is_none_or(|only| only == *id))
            {
                self.stretches.set(self.stretches.get() + 1);
                if password.key().expose_secret() == bytes {
                    return Ok(*id);
                }
            }
            Err(UnlockError::WrongKey { tried: vec![] })
        }
    }

    pub(crate) fn id(number: u8) -> Guid {
        Guid::from_bytes([number; 16])
    }

    pub(crate) fn drive() -> FakeDrive {
        FakeDrive {
            keys: vec![(id(1), [1; 16]), (id(2), [2; 16])],
            stretches: Cell::new(0),
        }
    }

    fn found(ids: &[Guid], key: [u8; 16]) -> FoundKey {
        let key = RecoveryPassword::from_key(Secret::from(key));
        FoundKey {
            ids: ids.to_vec(),
            content: FoundContent::Key(Credential::RecoveryPassword(key)),
            source: Source::default(),
        }
    }

    #[test]
    fn the_identifier_decides_what_is_tried() {
        let judged = |ids: &[Guid], key, effort| {
            let drive = drive();
            let verdict = judge(&drive, &found(ids, key), effort);
            (verdict, drive.stretches.get())
        };
        let opens = |number| Verdict::Opens {
            protector_id: id(number),
        };
        assert_eq!(judged(&[id(2)], [2; 16], Effort::ById), (opens(2), 1));
        assert_eq!(
            judged(&[id(7), id(2)], [2; 16], Effort::ById),
            (opens(2), 1),
            "any identifier beside it"
        );
        assert_eq!(
            judged(&[id(1)], [2; 16], Effort::ById),
            (opens(2), 3),
            "marked as the drive's other key"
        );
        assert_eq!(judged(&[id(1)], [3; 16], Effort::ById).0, Verdict::WrongKey);
        assert_eq!(judged(&[id(7)], [3; 16], Effort::ById), (Verdict::OtherDrive, 0));
        assert_eq!(judged(&[id(7)], [2; 16], Effort::Everything), (opens(2), 2));
        assert_eq!(judged(&[], [3; 16], Effort::ById), (Verdict::OtherDrive, 2));
        assert_eq!(
            judged(&[id(9)], [3; 16], Effort::ById).0,
            Verdict::WrongKey,
            "the volume's own identifier"
        );
    }
}
