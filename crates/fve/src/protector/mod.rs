//! The ways of getting at a volume's master key. One kind of key protector is one file and one line in [`ALL`].
//!
//! Kinds and layouts: format spec 2.7.

pub(crate) mod clear_key;
pub(crate) mod external_key;
mod listed;
pub(crate) mod new;
pub(crate) mod password;
pub(crate) mod recovery_password;
mod seal;
mod trial;

use std::fmt;

use crate::credential::{Attempt, Credential};
use crate::format::FileTime;
use crate::format::datum::{Datum, SealedDatum, Value, role};
use crate::guid::Guid;
use crate::keys::VolumeMasterKey;

pub(crate) use new::MakingError;
pub use new::NewProtector;
pub(crate) use seal::Sealing;
pub use trial::Trial;

/// Everything that is known about one kind of protector.
#[derive(Debug)]
pub struct Spec {
    /// The kind.
    pub kind: ProtectorKind,
    /// Its number in the metadata: a set of bits for what is needed (1 TPM, 2 external key, 4 PIN, in the high byte).
    pub code: u16,
    /// Its name in JSON output.
    pub json_name: &'static str,
    /// What a person calls it.
    pub title: &'static str,
    /// How a credential of this kind opens it; `None` where this implementation cannot.
    pub(crate) unlock:
        Option<fn(KeyProtector<'_>, &Credential, &mut crate::credential::Stretches) -> Attempt>,
}

/// All known kinds, in the order in which a person is best asked for them.
pub const ALL: &[&Spec] = &[
    &clear_key::SPEC,
    &recovery_password::SPEC,
    &password::SPEC,
    &external_key::SPEC,
    &listed::TPM,
    &listed::TPM_STARTUP_KEY,
    &listed::TPM_PIN,
    &listed::TPM_PIN_STARTUP_KEY,
    &listed::PUBLIC_KEY,
    &listed::NETWORK_UNLOCK,
];

/// A kind of key protector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtectorKind {
    /// The key lies open: protection is suspended.
    ClearKey,
    /// 48 digits.
    RecoveryPassword,
    /// A password chosen by a person.
    Password,
    /// A key file on a USB stick.
    StartupKey,
    /// The computer's security chip.
    Tpm,
    /// Chip and key file.
    TpmStartupKey,
    /// Chip and PIN.
    TpmPin,
    /// Chip, PIN and key file.
    TpmPinStartupKey,
    /// A certificate or smart card.
    PublicKey,
    /// Chip and a server on the network.
    NetworkUnlock,
    /// A number that this implementation does not know.
    Unknown(u16),
}

impl ProtectorKind {
    fn from_code(code: u16) -> Self {
        ALL.iter()
            .find(|spec| spec.code == code)
            .map_or(Self::Unknown(code), |spec| spec.kind)
    }

    /// Returns what is known about this kind; `None` for unknown ones.
    #[must_use]
    pub fn spec(self) -> Option<&'static Spec> {
        ALL.iter().copied().find(|spec| spec.kind == self)
    }

    /// Returns the name that JSON output uses, `unknown-0xNNNN` for unknown kinds.
    #[must_use]
    pub fn json_name(self) -> String {
        match (self.spec(), self) {
            (Some(spec), _) => spec.json_name.to_owned(),
            (None, Self::Unknown(code)) => format!("unknown-{code:#06x}"),
            (None, _) => unreachable!("every known kind is listed"),
        }
    }

    /// Tells whether this implementation can open protectors of this kind.
    #[must_use]
    pub fn can_be_opened(self) -> bool {
        self.spec().is_some_and(|spec| spec.unlock.is_some())
    }
}

impl fmt::Display for ProtectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.spec(), self) {
            (Some(spec), _) => f.write_str(spec.title),
            (None, kind) => write!(f, "unknown way to unlock ({})", kind.json_name()),
        }
    }
}

/// One key protector of a volume: a copy of the master key, wrapped for one way of unlocking.
#[derive(Debug, Clone, Copy)]
pub struct KeyProtector<'a> {
    id: Guid,
    modified: FileTime,
    code: u16,
    nested: &'a [Datum],
}

impl<'a> KeyProtector<'a> {
    pub(crate) fn of(datum: &'a Datum) -> Option<Self> {
        match &datum.value {
            Value::Vmk {
                id,
                modified,
                protector,
                nested,
                ..
            } if datum.role == role::VMK => Some(Self {
                id: *id,
                modified: *modified,
                code: *protector,
                nested,
            }),
            _ => None,
        }
    }

    /// Returns the identifier; its first eight characters are the key ID that Windows shows.
    #[must_use]
    pub fn id(&self) -> Guid {
        self.id
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ProtectorKind {
        ProtectorKind::from_code(self.code)
    }

    /// Returns when it was last changed.
    #[must_use]
    pub fn modified(&self) -> FileTime {
        self.modified
    }

    /// Returns the name that it was given; the wizard of Windows gives none, its command line does.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.nested.iter().find_map(|datum| match &datum.value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        })
    }

    /// Returns what Windows noted about where this key was saved.
    #[must_use]
    pub fn backup_hints(&self) -> Vec<BackupHint> {
        let hints = self.nested.iter().filter_map(|datum| match &datum.value {
            Value::BackupInfo { saved, .. } => Some(BackupHint::Saved(*saved)),
            Value::Hint(text) => Some(BackupHint::Account(text.to_string())),
            _ => None,
        });
        hints.collect()
    }

    /// Returns the types of entries in it that this implementation does not know.
    #[must_use]
    pub fn unknown_entries(&self) -> Vec<u16> {
        let unknown = self
            .nested
            .iter()
            .filter(|datum| matches!(datum.value, Value::Other(_)));
        unknown
            .map(|datum| datum.kind)
            .filter(|kind| *kind == 0 || *kind > 0x18)
            .collect()
    }

    /// Returns what guesses at its secret are tried on; `None` where it has no stretched secret, or lacks what is needed
    /// to try.
    #[must_use]
    pub fn trial(&self) -> Option<Trial> {
        Trial::of(self)
    }

    /// Returns the entries in it.
    pub(crate) fn nested(&self) -> &'a [Datum] {
        self.nested
    }

    /// Opens the box that holds the master key with the key that belongs to this protector.
    pub(crate) fn open_vmk(&self, key: &keyhaven_crypto::Secret<32>) -> Option<VolumeMasterKey> {
        // Copies of the protector's own secret are nested deeper; a box at this level holds the master key.
        self.sealed().find_map(|sealed| vmk_in(sealed, key))
    }

    fn sealed(&self) -> impl Iterator<Item = &'a SealedDatum> {
        self.nested.iter().filter_map(|datum| match &datum.value {
            Value::Sealed(sealed) => Some(sealed),
            _ => None,
        })
    }

    /// Returns how the secret of this protector is stretched: key flags and salt.
    pub(crate) fn stretch_key(&self) -> Option<(u16, &'a [u8; 16])> {
        self.nested.iter().find_map(|datum| match &datum.value {
            Value::StretchKey { key_flags, salt, .. } => Some((*key_flags, salt)),
            _ => None,
        })
    }

    /// Returns the boxes under the master key in which the protector's own secret is kept.
    pub(crate) fn kept_secrets(&self) -> impl Iterator<Item = &'a SealedDatum> {
        self.nested
            .iter()
            .filter(|datum| matches!(datum.kind, 3 | 4))
            .flat_map(|datum| datum.nested())
            .filter_map(|datum| match &datum.value {
                Value::Sealed(sealed) => Some(sealed),
                _ => None,
            })
    }
}

/// What Windows noted about a saved recovery key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackupHint {
    /// It was saved at this time, Windows does not say where (entry type 0x15).
    Saved(FileTime),
    /// A reminder of the account that it was saved to, such as a masked e-mail address (entry type 0x18).
    Account(String),
}

/// Opens a box as a master key. Key types other than 0x2003 have been seen in published vectors (format spec, "Key
/// types"), so only the length counts.
pub(crate) fn vmk_in(sealed: &SealedDatum, key: &keyhaven_crypto::Secret<32>) -> Option<VolumeMasterKey> {
    let inside = sealed.open_key(key)?;
    keyhaven_crypto::Secret::from_slice(inside.key.expose_secret()).map(VolumeMasterKey::new)
}
