//! Which kind of volume it is, and what encryption protects of it.

use std::fmt;

/// Which generation of the format a volume has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeFormat {
    /// Windows 7 to 11.
    Windows7,
    /// Windows Vista.
    Vista,
    /// A removable drive with a readable part in front.
    ToGo,
    /// Encrypted on write: a record says which parts are encrypted.
    Eow,
}

impl VolumeFormat {
    /// Returns the name that JSON output uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Windows7 => "windows7",
            Self::Vista => "vista",
            Self::ToGo => "to_go",
            Self::Eow => "eow",
        }
    }
}

/// What encryption protects of a volume right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
    /// Nothing is encrypted.
    Decrypted,
    /// All of it is.
    Encrypted,
    /// All of it is, but the key lies open.
    Suspended,
    /// A growing part is.
    Encrypting,
    /// A growing part is to be; nothing happens at the moment.
    EncryptionPaused,
    /// A shrinking part is.
    Decrypting,
    /// A shrinking part is to be; nothing happens at the moment.
    DecryptionPaused,
    /// The metadata give numbers that are not known, or cannot say.
    Unknown,
}

impl VolumeState {
    /// Returns the name that JSON output uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decrypted => "decrypted",
            Self::Encrypted => "encrypted",
            Self::Suspended => "suspended",
            Self::Encrypting => "encrypting",
            Self::EncryptionPaused => "encryption_paused",
            Self::Decrypting => "decrypting",
            Self::DecryptionPaused => "decryption_paused",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
