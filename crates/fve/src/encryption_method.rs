//! The six ways in which sectors are encrypted.

use std::fmt;

/// A method that this implementation can decrypt, named as the command line shows it.
///
/// Source: format spec 3.8 and 4; all six seen in the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncryptionMethod {
    /// 0x8000, Windows Vista and 7.
    AesCbc128Diffuser,
    /// 0x8001, Windows Vista and 7.
    AesCbc256Diffuser,
    /// 0x8002, Windows 8, and "compatible mode" since.
    AesCbc128,
    /// 0x8003.
    AesCbc256,
    /// 0x8004, Windows 10 and later.
    AesXts128,
    /// 0x8005, Windows 10 and later.
    AesXts256,
}

impl EncryptionMethod {
    /// All methods, in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::AesCbc128Diffuser,
        Self::AesCbc256Diffuser,
        Self::AesCbc128,
        Self::AesCbc256,
        Self::AesXts128,
        Self::AesXts256,
    ];

    /// Recognises the number that the metadata give; `None` for one that is not known.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.code() == code)
    }

    /// Returns the number in the metadata.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::AesCbc128Diffuser => 0x8000,
            Self::AesCbc256Diffuser => 0x8001,
            Self::AesCbc128 => 0x8002,
            Self::AesCbc256 => 0x8003,
            Self::AesXts128 => 0x8004,
            Self::AesXts256 => 0x8005,
        }
    }

    /// Returns the name that `info --json` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCbc128Diffuser => "aes-cbc-128-diffuser",
            Self::AesCbc256Diffuser => "aes-cbc-256-diffuser",
            Self::AesCbc128 => "aes-cbc-128",
            Self::AesCbc256 => "aes-cbc-256",
            Self::AesXts128 => "aes-xts-128",
            Self::AesXts256 => "aes-xts-256",
        }
    }

    /// Returns how many bytes a key of this method has in the metadata.
    #[must_use]
    pub fn key_len_bytes(self) -> usize {
        match self {
            Self::AesCbc128Diffuser | Self::AesCbc256Diffuser | Self::AesXts256 => 64,
            Self::AesCbc128 => 16,
            Self::AesCbc256 | Self::AesXts128 => 32,
        }
    }
}

impl fmt::Display for EncryptionMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
