//! What a person has to open a volume with, and how it is tried.

use std::collections::HashMap;

use keyhaven_crypto::{Secret, SecretBytes};

use crate::keys::{ExternalKey, Password, RecoveryPassword, VolumeMasterKey};
use crate::protector::ProtectorKind;

/// One way in.
#[derive(Debug)]
#[non_exhaustive]
pub enum Credential {
    /// Nothing: the volume's protection is suspended.
    ClearKey,
    /// The recovery key, 48 digits.
    RecoveryPassword(RecoveryPassword),
    /// A password.
    Password(Password),
    /// A key file.
    ExternalKey(ExternalKey),
    /// The volume master key itself.
    VolumeMasterKey(VolumeMasterKey),
    /// The full volume encryption key itself, as many bytes as the volume's method needs.
    FullVolumeEncryptionKey(SecretBytes),
}

impl Credential {
    /// Returns the kind of protector that this opens; `None` for the volume's own keys, which need none.
    #[must_use]
    pub fn protector_kind(&self) -> Option<ProtectorKind> {
        match self {
            Self::ClearKey => Some(ProtectorKind::ClearKey),
            Self::RecoveryPassword(_) => Some(ProtectorKind::RecoveryPassword),
            Self::Password(_) => Some(ProtectorKind::Password),
            Self::ExternalKey(_) => Some(ProtectorKind::StartupKey),
            Self::VolumeMasterKey(_) | Self::FullVolumeEncryptionKey(_) => None,
        }
    }
}

/// What came of trying a credential on a protector.
pub(crate) enum Attempt {
    /// The credential is for another kind.
    NotMine,
    /// It does not open this one.
    WrongKey,
    /// The protector lacks what is needed to try.
    Damaged,
    /// The secret is stretched in a way that is not known.
    UnknownStretch,
    /// It opens.
    Opened(VolumeMasterKey),
}

/// Stretched secrets, so that a volume on which many protectors share a salt costs one stretch.
#[derive(Default)]
pub(crate) struct Stretches(HashMap<(usize, [u8; 16]), Secret<32>>);

impl Stretches {
    /// Returns the stretch of form `form` of the secret with `salt`, computing it once.
    pub(crate) fn get(
        &mut self,
        form: usize,
        salt: &[u8; 16],
        stretch: impl FnOnce() -> Secret<32>,
    ) -> &Secret<32> {
        self.0.entry((form, *salt)).or_insert_with(stretch)
    }
}
