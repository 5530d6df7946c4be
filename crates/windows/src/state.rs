//! The states, types and methods that Windows gives as numbers.

use keyhaven_fve::EncryptionMethod;

/// A number of Windows' that stands for one of a few things.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// A number that is not known.
            Unknown(u32),
        }

        impl $name {
            /// Reads Windows' number.
            #[must_use]
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Unknown(other),
                }
            }

            /// Returns Windows' number.
            #[must_use]
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Unknown(other) => other,
                }
            }
        }
    };
}

numbered! {
    /// What kind of drive a volume is to Windows.
    VolumeType {
        /// The one with the running Windows.
        OperatingSystem = 0,
        /// Another one in the computer.
        Fixed = 1,
        /// A stick, a card, an external disk.
        Removable = 2,
    }
}

numbered! {
    /// Whether a key is needed to read a volume.
    ProtectionStatus {
        /// Not encrypted, being encrypted, or suspended.
        Off = 0,
        /// It is.
        On = 1,
        /// Not known: it is locked.
        UnknownAsLocked = 2,
    }
}

numbered! {
    /// Whether a volume is locked.
    LockStatus {
        /// It can be read and written.
        Unlocked = 0,
        /// It needs a key.
        Locked = 1,
    }
}

numbered! {
    /// How far encryption is.
    ConversionStatus {
        /// Not encrypted.
        FullyDecrypted = 0,
        /// Encrypted, or as much of it as is used.
        FullyEncrypted = 1,
        /// Being encrypted.
        EncryptionInProgress = 2,
        /// Being decrypted.
        DecryptionInProgress = 3,
        /// Encryption waits.
        EncryptionPaused = 4,
        /// Decryption waits.
        DecryptionPaused = 5,
    }
}

numbered! {
    /// The types of key protector that `GetKeyProtectorType` knows.
    ProtectorType {
        /// The TPM alone.
        Tpm = 1,
        /// A key file: a startup key, or a recovery key in a file.
        ExternalKey = 2,
        /// 48 digits.
        NumericalPassword = 3,
        /// The TPM and a PIN.
        TpmAndPin = 4,
        /// The TPM and a key file.
        TpmAndStartupKey = 5,
        /// The TPM, a PIN and a key file.
        TpmAndPinAndStartupKey = 6,
        /// A certificate: a smart card, or an organisation's recovery agent.
        PublicKey = 7,
        /// A password.
        Passphrase = 8,
        /// A certificate of the TPM.
        TpmCertificate = 9,
        /// An account or group of a domain.
        Sid = 10,
    }
}

impl ProtectorType {
    /// Every type with a name, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Tpm,
        Self::ExternalKey,
        Self::NumericalPassword,
        Self::TpmAndPin,
        Self::TpmAndStartupKey,
        Self::TpmAndPinAndStartupKey,
        Self::PublicKey,
        Self::Passphrase,
        Self::TpmCertificate,
        Self::Sid,
    ];

    /// Returns the name that `--json` gives a protector of this type, the same as one read from a drive has.
    #[must_use]
    pub fn json_name(self) -> String {
        match self {
            Self::Tpm => "tpm",
            Self::ExternalKey => "startup_key",
            Self::NumericalPassword => "recovery_password",
            Self::TpmAndPin => "tpm_pin",
            Self::TpmAndStartupKey => "tpm_startup_key",
            Self::TpmAndPinAndStartupKey => "tpm_pin_startup_key",
            Self::PublicKey => "public_key",
            Self::Passphrase => "password",
            Self::TpmCertificate => "tpm_certificate",
            Self::Sid => "account",
            Self::Unknown(number) => return format!("unknown-{number}"),
        }
        .to_owned()
    }

    /// Returns what a person would call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Tpm => "security chip (TPM)",
            Self::ExternalKey => "startup key",
            Self::NumericalPassword => "recovery key",
            Self::TpmAndPin => "security chip (TPM) and PIN",
            Self::TpmAndStartupKey => "security chip (TPM) and startup key",
            Self::TpmAndPinAndStartupKey => "security chip (TPM), PIN and startup key",
            Self::PublicKey => "smart card or certificate",
            Self::Passphrase => "password",
            Self::TpmCertificate => "certificate of the security chip (TPM)",
            Self::Sid => "account or group",
            Self::Unknown(_) => "unknown way to unlock",
        }
    }
}

/// The answer of `GetConversionStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// How far it is.
    pub status: ConversionStatus,
    /// How much is encrypted, in units of `10^-precision_factor` percent.
    pub encryption_percentage: u32,
    /// 1: only what is used; 2: free space is wiped; 0x10000: at once.
    pub encryption_flags: u32,
    /// 0 no, 1 done, 2 at it, 3 paused.
    pub wiping_status: u32,
    /// How much of the free space is wiped, in the same units.
    pub wiping_percentage: u32,
}

/// The answer of `GetEncryptionMethod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Windows' number: 0 none, 1 and 2 AES-CBC 128 and 256 with diffuser, 3 and 4 without, 5 by the drive itself,
    /// 6 and 7 XTS-AES 128 and 256.
    pub number: u32,
    /// For a drive that encrypts by itself: what it says it does.
    pub self_encryption: Option<String>,
}

impl Method {
    /// Returns the method as drives name it; none if there is none, the drive does it, or the number is not known.
    #[must_use]
    pub fn encryption_method(&self) -> Option<EncryptionMethod> {
        Some(match self.number {
            1 => EncryptionMethod::AesCbc128Diffuser,
            2 => EncryptionMethod::AesCbc256Diffuser,
            3 => EncryptionMethod::AesCbc128,
            4 => EncryptionMethod::AesCbc256,
            6 => EncryptionMethod::AesXts128,
            7 => EncryptionMethod::AesXts256,
            _ => return None,
        })
    }
}

/// Where Windows remembers to have backed up a recovery key. Nothing documents it; read, not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupTypes(pub u32);

impl BackupTypes {
    /// The parts that are understood: a bit, and what it stands for.
    pub const KNOWN: [(u32, &'static str); 3] = [
        (1, "the organisation's Active Directory"),
        (2, "a Microsoft account"),
        (4, "a work or school account (Entra)"),
    ];

    /// Returns the bits that are set, one by one.
    pub fn bits(self) -> impl Iterator<Item = u32> {
        (0..32)
            .map(|shift| 1 << shift)
            .filter(move |bit| self.0 & bit != 0)
    }

    /// Returns what one bit stands for.
    #[must_use]
    pub fn title(bit: u32) -> &'static str {
        Self::KNOWN
            .iter()
            .find(|(known, _)| *known == bit)
            .map_or("a place that is not known here", |(_, title)| title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_went() {
        for number in 0..20 {
            assert_eq!(ProtectorType::from_number(number).number(), number);
            assert_eq!(ConversionStatus::from_number(number).number(), number);
            assert_eq!(VolumeType::from_number(number).number(), number);
        }
    }

    #[test]
    fn a_record_of_backups_is_taken_apart() {
        let bits: Vec<u32> = BackupTypes(2 | 4 | 0x100).bits().collect();
        assert_eq!(bits, [2, 4, 0x100]);
        assert_eq!(BackupTypes::title(2), "a Microsoft account");
        assert_eq!(BackupTypes::title(0x100), "a place that is not known here");
    }
}
