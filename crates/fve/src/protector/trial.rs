//! What guesses at a stretched secret are tried on.

use keyhaven_crypto::Secret;

use super::{KeyProtector, ProtectorKind, vmk_in};
use crate::format::datum::{KEY_FLAG_PBKDF2, SealedDatum};
use crate::guid::Guid;

/// What a search needs of one protector: the salt, and the boxes that a right guess opens. Holds no secret.
///
/// A copy of its own, so that threads can share it without the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    protector_id: Guid,
    kind: ProtectorKind,
    salt: [u8; 16],
    boxes: Vec<SealedDatum>,
}

impl Trial {
    /// Takes out of a protector what guesses are tried on; `None` where its secret is not stretched, or in a way that is
    /// not known, or its boxes are gone.
    pub(super) fn of(protector: &KeyProtector<'_>) -> Option<Self> {
        let (key_flags, salt) = protector.stretch_key()?;
        let boxes: Vec<SealedDatum> = protector.sealed().cloned().collect();
        let is_known = key_flags & KEY_FLAG_PBKDF2 == 0 && !boxes.is_empty();
        is_known.then(|| Self {
            protector_id: protector.id(),
            kind: protector.kind(),
            salt: *salt,
            boxes,
        })
    }

    /// Returns the identifier of the protector.
    #[must_use]
    pub fn protector_id(&self) -> Guid {
        self.protector_id
    }

    /// Returns the kind of the protector, and so of the secret.
    #[must_use]
    pub fn kind(&self) -> ProtectorKind {
        self.kind
    }

    /// Returns the salt that the secret is stretched with.
    #[must_use]
    pub fn salt(&self) -> &[u8; 16] {
        &self.salt
    }

    /// Returns the sealed copies of the master key, one as a rule.
    #[must_use]
    pub fn boxes(&self) -> &[SealedDatum] {
        &self.boxes
    }

    /// Tells whether a stretched secret opens the master key. Costs microseconds: the stretch is what takes time.
    #[must_use]
    pub fn opens(&self, stretched: &Secret<32>) -> bool {
        self.boxes
            .iter()
            .any(|sealed| vmk_in(sealed, stretched).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FileTime;
    use crate::format::datum::{Datum, Value, kind, role};
    use crate::keys::RecoveryPassword;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).expect("hex").try_into().expect("length")
    }

    /// The recovery protector of format spec 9.3.
    fn protector(key_flags: u16, with_box: bool) -> Datum {
        let mut nested = vec![Datum::new(
            role::PROPERTY,
            kind::STRETCH_KEY,
            Value::StretchKey {
                key_type: 0x1000,
                key_flags,
                salt: bytes("6a762f0a5eafb9f72f1445f1351d0406"),
                nested: Vec::new(),
            },
        )];
        if with_box {
            let sealed = SealedDatum {
                nonce: bytes("70acc2ac6fbcd70104000000"),
                tag: bytes("6df94c53c145321fd7135a4446f4306f"),
                ciphertext: hex::decode(
                    "367aa7cad543b3e03d7ede543655932f52f9967f170e82c3f27d680cc76ceab5ddfe005d40d33b4482284344",
                )
                .expect("hex"),
            };
            nested.push(Datum::new(role::PROPERTY, kind::SEALED, Value::Sealed(sealed)));
        }
        let value = Value::Vmk {
            id: Guid::from_bytes([7; 16]),
            modified: FileTime(0),
            unknown_18: 0,
            protector: 0x0800,
            nested,
        };
        Datum::new(role::VMK, kind::VMK, value)
    }

    #[test]
    fn the_right_key_opens_and_others_do_not() {
        let datum = protector(0, true);
        let trial = KeyProtector::of(&datum)
            .and_then(|own| own.trial())
            .expect("a trial");
        assert_eq!(trial.kind(), ProtectorKind::RecoveryPassword);
        let stretched = |digits: &str| {
            RecoveryPassword::parse(digits)
                .expect("a key")
                .stretch(trial.salt())
        };
        assert!(trial.opens(&stretched(
            "284867-596541-514998-422114-660297-261613-215424-199408"
        )));
        assert!(!trial.opens(&stretched(
            "284867-596541-514998-422114-660297-261613-199408-215424"
        )));
    }

    #[test]
    fn what_cannot_be_tried_is_none() {
        for datum in [protector(KEY_FLAG_PBKDF2, true), protector(0, false)] {
            assert!(KeyProtector::of(&datum).is_some_and(|own| own.trial().is_none()));
        }
    }
}
