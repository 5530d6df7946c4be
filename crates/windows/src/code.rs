//! The numbers that Windows answers with, and what they mean.

use std::fmt;

/// A return value of a method, or an `HRESULT` of the call itself. Zero is success.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

/// What is known of a code.
#[derive(Debug)]
pub struct Known {
    /// The code.
    pub code: Code,
    /// Its name in Windows' headers.
    pub name: &'static str,
    /// What it says, in plain words, to stand after "Windows says: ".
    pub meaning: &'static str,
    /// What to do about it.
    pub next_step: Option<&'static str>,
}

impl Code {
    /// Done.
    pub const OK: Self = Self(0);
    /// What `BackupRecoveryInformationToActiveDirectory` answers when a policy does not ask for it.
    pub const FALSE: Self = Self(1);
    /// An argument is wrong: another type of protector, an ID without braces, a file that is none.
    pub const INVALID_ARGUMENT: Self = Self(0x8007_0057);
    /// Access is denied; from `Lock`, that the drive is in use.
    pub const ACCESS_DENIED: Self = Self(0x8007_0005);
    /// A file is not there.
    pub const FILE_NOT_FOUND: Self = Self(0x8007_0002);
    /// A folder is not there.
    pub const PATH_NOT_FOUND: Self = Self(0x8007_0003);
    /// WMI denies access: the program is not elevated.
    pub const WMI_ACCESS_DENIED: Self = Self(0x8004_1003);
    /// WMI has no such object.
    pub const WMI_NOT_FOUND: Self = Self(0x8004_1002);
    /// WMI has no such namespace: this Windows has no BitLocker.
    pub const WMI_INVALID_NAMESPACE: Self = Self(0x8004_100E);
    /// WMI has no such class.
    pub const WMI_INVALID_CLASS: Self = Self(0x8004_1010);
    /// The class has no such method: this Windows is older than it.
    pub const WMI_INVALID_METHOD: Self = Self(0x8004_102E);
    /// The TPM's services do not answer.
    pub const TBS_SERVICE_NOT_RUNNING: Self = Self(0x8028_4008);

    /// The volume is locked.
    pub const LOCKED_VOLUME: Self = Self(0x8031_0000);
    /// The volume is not encrypted.
    pub const NOT_ENCRYPTED: Self = Self(0x8031_0001);
    /// BitLocker is not on.
    pub const NOT_ACTIVATED: Self = Self(0x8031_0008);
    /// The volume is not bound to this computer.
    pub const VOLUME_NOT_BOUND: Self = Self(0x8031_0017);
    /// Only for data drives.
    pub const NOT_DATA_VOLUME: Self = Self(0x8031_0019);
    /// The last key protector of a drive whose encryption is complete.
    pub const KEY_REQUIRED: Self = Self(0x8031_001D);
    /// The key that unlocks the drive by itself.
    pub const VOLUME_BOUND_ALREADY: Self = Self(0x8031_001F);
    /// The system drive is not protected.
    pub const OS_NOT_PROTECTED: Self = Self(0x8031_0020);
    /// Protection is suspended.
    pub const PROTECTION_DISABLED: Self = Self(0x8031_0021);
    /// The drive has no recovery protector.
    pub const RECOVERY_KEY_REQUIRED: Self = Self(0x8031_0022);
    /// Not a drive of the running Windows.
    pub const FOREIGN_VOLUME: Self = Self(0x8031_0023);
    /// Something else is changing the drive.
    pub const OVERLAPPED_UPDATE: Self = Self(0x8031_0024);
    /// The key does not unlock the drive.
    pub const FAILED_AUTHENTICATION: Self = Self(0x8031_0027);
    /// Only for the system drive.
    pub const NOT_OS_VOLUME: Self = Self(0x8031_0028);
    /// Drives unlock by themselves with a key on this one.
    pub const AUTOUNLOCK_ENABLED: Self = Self(0x8031_0029);
    /// The computer was started from a CD.
    pub const BOOTABLE_CDDVD: Self = Self(0x8031_0030);
    /// There is such a protector already.
    pub const PROTECTOR_EXISTS: Self = Self(0x8031_0031);
    /// A path must be absolute.
    pub const RELATIVE_PATH: Self = Self(0x8031_0032);
    /// There is no such protector.
    pub const PROTECTOR_NOT_FOUND: Self = Self(0x8031_0033);
    /// Not a key.
    pub const INVALID_KEY_FORMAT: Self = Self(0x8031_0034);
    /// Not a recovery key.
    pub const INVALID_PASSWORD_FORMAT: Self = Self(0x8031_0035);
    /// FIPS mode forbids recovery keys.
    pub const FIPS_PREVENTS_RECOVERY_PASSWORD: Self = Self(0x8031_0037);
    /// FIPS mode forbids saving a startup key.
    pub const FIPS_PREVENTS_EXTERNAL_KEY_EXPORT: Self = Self(0x8031_0038);
    /// The protector is of another type.
    pub const INVALID_PROTECTOR_TYPE: Self = Self(0x8031_003A);
    /// No key file was found.
    pub const KEYFILE_NOT_FOUND: Self = Self(0x8031_003C);
    /// The key file is damaged.
    pub const KEYFILE_INVALID: Self = Self(0x8031_003D);
    /// The key file is of another drive.
    pub const KEYFILE_NO_VMK: Self = Self(0x8031_003E);
    /// Windows runs in safe mode.
    pub const NOT_ALLOWED_IN_SAFE_MODE: Self = Self(0x8031_0040);
    /// A policy forbids 48-digit recovery keys.
    pub const POLICY_RECOVERY_PASSWORD_NOT_ALLOWED: Self = Self(0x8031_005C);
    /// A policy asks for a recovery key.
    pub const POLICY_RECOVERY_PASSWORD_REQUIRED: Self = Self(0x8031_005D);
    /// A policy forbids recovery keys in files.
    pub const POLICY_RECOVERY_KEY_NOT_ALLOWED: Self = Self(0x8031_005E);
    /// A PIN has a length that a policy does not allow.
    pub const POLICY_INVALID_PIN_LENGTH: Self = Self(0x8031_0068);
    /// A policy forbids passwords.
    pub const POLICY_PASSPHRASE_NOT_ALLOWED: Self = Self(0x8031_006A);
    /// FIPS mode forbids passwords.
    pub const FIPS_PREVENTS_PASSPHRASE: Self = Self(0x8031_006C);
    /// The system drive of a computer with a TPM takes no password.
    pub const OS_VOLUME_PASSPHRASE_NOT_ALLOWED: Self = Self(0x8031_006D);
    /// No certificate for BitLocker.
    pub const INVALID_BITLOCKER_OID: Self = Self(0x8031_006E);
    /// A policy forbids certificates.
    pub const POLICY_USER_CERTIFICATE_NOT_ALLOWED: Self = Self(0x8031_0072);
    /// A certificate must be on a card.
    pub const POLICY_USER_CERT_MUST_BE_HW: Self = Self(0x8031_0074);
    /// The password is too short or too long.
    pub const POLICY_INVALID_PASSPHRASE_LENGTH: Self = Self(0x8031_0080);
    /// The password is too simple.
    pub const POLICY_PASSPHRASE_TOO_SIMPLE: Self = Self(0x8031_0081);
    /// A policy forbids certificates that sign themselves.
    pub const POLICY_PROHIBITS_SELFSIGNED: Self = Self(0x8031_0086);
    /// The certificate's private key could not be used.
    pub const PRIVATEKEY_AUTH_FAILED: Self = Self(0x8031_0094);
    /// A PIN has signs that it may not have.
    pub const INVALID_PIN_CHARS: Self = Self(0x8031_009A);
    /// Saving to a directory is not set up.
    pub const ADBACKUP_NOT_ENABLED: Self = Self(0x8031_00D5);
    /// The computer belongs to no organisation's directory.
    pub const DEVICE_NOT_JOINED: Self = Self(0x8031_00E0);
    /// The directory is busy.
    pub const AAD_ENDPOINT_BUSY: Self = Self(0x8031_00E1);
    /// There is no room for another protector.
    pub const METADATA_FULL: Self = Self(0x8031_00EC);

    /// Returns what is known of it.
    #[must_use]
    pub fn known(self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.code == self)
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn next_step(self) -> Option<&'static str> {
        self.known().and_then(|known| known.next_step)
    }

    /// Returns whether it says that the program needs an administrator's rights.
    #[must_use]
    pub fn is_not_elevated(self) -> bool {
        self == Self::WMI_ACCESS_DENIED || self == Self::ACCESS_DENIED
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(known) => write!(f, "{} ({:#010x})", known.meaning, self.0),
            None => write!(f, "error {:#010x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(known) => f.write_str(known.name),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

const fn known(
    code: Code,
    name: &'static str,
    meaning: &'static str,
    next_step: Option<&'static str>,
) -> Known {
    Known {
        code,
        name,
        meaning,
        next_step,
    }
}

const ELEVATE: Option<&str> =
    Some("start the terminal with a right click, \"Run as administrator\", and try again");
const UNLOCK: Option<&str> = Some("unlock the drive first");
const ASK_ADMINISTRATOR: Option<&str> =
    Some("ask those who administer this computer: a policy of theirs decides");

/// Every code that has a name here.
///
/// Source for values and names: `winerror.h` and `wbemcli.h`, as the public bindings of both give them.
pub static KNOWN: &[Known] = &[
    known(Code::OK, "S_OK", "done", None),
    known(
        Code::FALSE,
        "S_FALSE",
        "a policy of this computer does not allow it",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::INVALID_ARGUMENT,
        "E_INVALIDARG",
        "an argument is wrong",
        None,
    ),
    known(Code::ACCESS_DENIED, "E_ACCESSDENIED", "access is denied", ELEVATE),
    known(
        Code::FILE_NOT_FOUND,
        "ERROR_FILE_NOT_FOUND",
        "there is no such file",
        None,
    ),
    known(
        Code::PATH_NOT_FOUND,
        "ERROR_PATH_NOT_FOUND",
        "there is no such folder",
        None,
    ),
    known(
        Code::WMI_ACCESS_DENIED,
        "WBEM_E_ACCESS_DENIED",
        "only an administrator may ask about BitLocker",
        ELEVATE,
    ),
    known(
        Code::WMI_NOT_FOUND,
        "WBEM_E_NOT_FOUND",
        "the drive is no longer there",
        Some("plug it in again and try again"),
    ),
    known(
        Code::WMI_INVALID_NAMESPACE,
        "WBEM_E_INVALID_NAMESPACE",
        "this Windows has no BitLocker to ask",
        Some("drives and images are read all the same: name the disk, such as `\\\\.\\PhysicalDrive1`"),
    ),
    known(
        Code::WMI_INVALID_CLASS,
        "WBEM_E_INVALID_CLASS",
        "this Windows has no BitLocker to ask",
        Some("drives and images are read all the same: name the disk, such as `\\\\.\\PhysicalDrive1`"),
    ),
    known(
        Code::WMI_INVALID_METHOD,
        "WBEM_E_INVALID_METHOD",
        "this Windows is too old for that",
        None,
    ),
    known(
        Code::TBS_SERVICE_NOT_RUNNING,
        "TBS_E_SERVICE_NOT_RUNNING",
        "the service of the security chip (TPM) does not run",
        None,
    ),
    known(
        Code::LOCKED_VOLUME,
        "FVE_E_LOCKED_VOLUME",
        "the drive is locked",
        UNLOCK,
    ),
    known(
        Code::NOT_ENCRYPTED,
        "FVE_E_NOT_ENCRYPTED",
        "the drive is not encrypted",
        None,
    ),
    known(
        Code::NOT_ACTIVATED,
        "FVE_E_NOT_ACTIVATED",
        "BitLocker is not turned on for the drive",
        None,
    ),
    known(
        Code::VOLUME_NOT_BOUND,
        "FVE_E_VOLUME_NOT_BOUND",
        "the drive does not unlock by itself on this computer",
        None,
    ),
    known(
        Code::NOT_DATA_VOLUME,
        "FVE_E_NOT_DATA_VOLUME",
        "that goes for data drives only, and this is the Windows drive",
        None,
    ),
    known(
        Code::KEY_REQUIRED,
        "FVE_E_KEY_REQUIRED",
        "it is the last way to unlock the drive",
        Some("add another one first: `keyhaven protector add`"),
    ),
    known(
        Code::VOLUME_BOUND_ALREADY,
        "FVE_E_VOLUME_BOUND_ALREADY",
        "it is the key by which the drive unlocks by itself on this computer",
        Some("turn off automatic unlocking of the drive first"),
    ),
    known(
        Code::OS_NOT_PROTECTED,
        "FVE_E_OS_NOT_PROTECTED",
        "the Windows drive is not protected by BitLocker",
        None,
    ),
    known(
        Code::PROTECTION_DISABLED,
        "FVE_E_PROTECTION_DISABLED",
        "protection of the drive is suspended",
        Some("resume it first: `keyhaven resume`"),
    ),
    known(
        Code::RECOVERY_KEY_REQUIRED,
        "FVE_E_RECOVERY_KEY_REQUIRED",
        "the drive has no recovery key",
        Some("add one first: `keyhaven protector add`"),
    ),
    known(
        Code::FOREIGN_VOLUME,
        "FVE_E_FOREIGN_VOLUME",
        "the drive does not hold the Windows that is running",
        None,
    ),
    known(
        Code::OVERLAPPED_UPDATE,
        "FVE_E_OVERLAPPED_UPDATE",
        "another program is changing the BitLocker settings of the drive",
        Some("wait a moment and try again"),
    ),
    known(
        Code::FAILED_AUTHENTICATION,
        "FVE_E_FAILED_AUTHENTICATION",
        "the key does not unlock the drive",
        Some("compare the key ID that `keyhaven info` shows with that of the key"),
    ),
    known(
        Code::NOT_OS_VOLUME,
        "FVE_E_NOT_OS_VOLUME",
        "that goes for the Windows drive only",
        None,
    ),
    known(
        Code::AUTOUNLOCK_ENABLED,
        "FVE_E_AUTOUNLOCK_ENABLED",
        "the drive holds the keys by which other drives unlock by themselves",
        Some("turn off automatic unlocking of those drives first"),
    ),
    known(
        Code::BOOTABLE_CDDVD,
        "FVE_E_BOOTABLE_CDDVD",
        "there is a CD or DVD in the computer that it could start from",
        Some("take it out and restart"),
    ),
    known(
        Code::PROTECTOR_EXISTS,
        "FVE_E_PROTECTOR_EXISTS",
        "the drive has such a way to unlock it already",
        None,
    ),
    known(
        Code::RELATIVE_PATH,
        "FVE_E_RELATIVE_PATH",
        "the path must begin with a drive",
        None,
    ),
    known(
        Code::PROTECTOR_NOT_FOUND,
        "FVE_E_PROTECTOR_NOT_FOUND",
        "the drive has no such way to unlock it",
        Some("`keyhaven protector list` shows which it has"),
    ),
    known(
        Code::INVALID_KEY_FORMAT,
        "FVE_E_INVALID_KEY_FORMAT",
        "that is not a startup key",
        None,
    ),
    known(
        Code::INVALID_PASSWORD_FORMAT,
        "FVE_E_INVALID_PASSWORD_FORMAT",
        "that is not a recovery key",
        Some("`keyhaven key check` finds the mistyped block"),
    ),
    known(
        Code::FIPS_PREVENTS_RECOVERY_PASSWORD,
        "FVE_E_FIPS_PREVENTS_RECOVERY_PASSWORD",
        "this computer allows FIPS-certified cryptography only, which forbids recovery keys",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::FIPS_PREVENTS_EXTERNAL_KEY_EXPORT,
        "FVE_E_FIPS_PREVENTS_EXTERNAL_KEY_EXPORT",
        "this computer allows FIPS-certified cryptography only, which forbids saving startup keys",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::INVALID_PROTECTOR_TYPE,
        "FVE_E_INVALID_PROTECTOR_TYPE",
        "that does not go for this way to unlock the drive",
        None,
    ),
    known(
        Code::KEYFILE_NOT_FOUND,
        "FVE_E_KEYFILE_NOT_FOUND",
        "no startup key of the drive was found",
        None,
    ),
    known(
        Code::KEYFILE_INVALID,
        "FVE_E_KEYFILE_INVALID",
        "the startup key file is damaged",
        None,
    ),
    known(
        Code::KEYFILE_NO_VMK,
        "FVE_E_KEYFILE_NO_VMK",
        "the startup key file is of another drive",
        None,
    ),
    known(
        Code::NOT_ALLOWED_IN_SAFE_MODE,
        "FVE_E_NOT_ALLOWED_IN_SAFE_MODE",
        "Windows runs in safe mode, in which BitLocker only unlocks drives",
        Some("restart Windows normally"),
    ),
    known(
        Code::POLICY_RECOVERY_PASSWORD_NOT_ALLOWED,
        "FVE_E_POLICY_RECOVERY_PASSWORD_NOT_ALLOWED",
        "a policy of this computer forbids recovery keys",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::POLICY_RECOVERY_PASSWORD_REQUIRED,
        "FVE_E_POLICY_RECOVERY_PASSWORD_REQUIRED",
        "a policy of this computer asks for a recovery key",
        Some("add one first: `keyhaven protector add`"),
    ),
    known(
        Code::POLICY_RECOVERY_KEY_NOT_ALLOWED,
        "FVE_E_POLICY_RECOVERY_KEY_NOT_ALLOWED",
        "a policy of this computer forbids recovery keys in files",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::POLICY_INVALID_PIN_LENGTH,
        "FVE_E_POLICY_INVALID_PIN_LENGTH",
        "the PIN is shorter or longer than a policy of this computer allows",
        None,
    ),
    known(
        Code::POLICY_PASSPHRASE_NOT_ALLOWED,
        "FVE_E_POLICY_PASSPHRASE_NOT_ALLOWED",
        "a policy of this computer forbids passwords",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::FIPS_PREVENTS_PASSPHRASE,
        "FVE_E_FIPS_PREVENTS_PASSPHRASE",
        "this computer allows FIPS-certified cryptography only, which forbids passwords",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::OS_VOLUME_PASSPHRASE_NOT_ALLOWED,
        "FVE_E_OS_VOLUME_PASSPHRASE_NOT_ALLOWED",
        "the Windows drive takes no password",
        None,
    ),
    known(
        Code::INVALID_BITLOCKER_OID,
        "FVE_E_INVALID_BITLOCKER_OID",
        "there is no certificate that is meant for BitLocker",
        None,
    ),
    known(
        Code::POLICY_USER_CERTIFICATE_NOT_ALLOWED,
        "FVE_E_POLICY_USER_CERTIFICATE_NOT_ALLOWED",
        "a policy of this computer forbids smart cards",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::POLICY_USER_CERT_MUST_BE_HW,
        "FVE_E_POLICY_USER_CERT_MUST_BE_HW",
        "a policy of this computer wants the certificate on a smart card",
        None,
    ),
    known(
        Code::POLICY_INVALID_PASSPHRASE_LENGTH,
        "FVE_E_POLICY_INVALID_PASSPHRASE_LENGTH",
        "the password is shorter or longer than this computer allows",
        None,
    ),
    known(
        Code::POLICY_PASSPHRASE_TOO_SIMPLE,
        "FVE_E_POLICY_PASSPHRASE_TOO_SIMPLE",
        "the password is simpler than a policy of this computer allows",
        None,
    ),
    known(
        Code::POLICY_PROHIBITS_SELFSIGNED,
        "FVE_E_POLICY_PROHIBITS_SELFSIGNED",
        "a policy of this computer forbids certificates that sign themselves",
        None,
    ),
    known(
        Code::PRIVATEKEY_AUTH_FAILED,
        "FVE_E_PRIVATEKEY_AUTH_FAILED",
        "the certificate's private key does not unlock the drive, or the PIN of the card is wrong",
        None,
    ),
    known(
        Code::INVALID_PIN_CHARS,
        "FVE_E_INVALID_PIN_CHARS",
        "the PIN may only have digits, unless a policy allows more",
        None,
    ),
    known(
        Code::ADBACKUP_NOT_ENABLED,
        "FVE_E_ADBACKUP_NOT_ENABLED",
        "saving keys to the organisation's directory is not set up on this computer",
        ASK_ADMINISTRATOR,
    ),
    known(
        Code::DEVICE_NOT_JOINED,
        "FVE_E_DEVICE_NOT_JOINED",
        "this computer has not joined an organisation's directory",
        None,
    ),
    known(
        Code::AAD_ENDPOINT_BUSY,
        "FVE_E_AAD_ENDPOINT_BUSY",
        "the organisation's directory is busy",
        Some("try again later"),
    ),
    known(
        Code::METADATA_FULL,
        "FVE_E_METADATA_FULL",
        "the drive has no room for another way to unlock it",
        Some("remove one that nobody needs: `keyhaven protector remove`"),
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_known_once_and_says_something() {
        let mut codes = HashSet::new();
        let mut names = HashSet::new();
        for known in KNOWN {
            assert!(codes.insert(known.code), "{} twice", known.name);
            assert!(names.insert(known.name), "{} twice", known.name);
            assert!(
                !known.meaning.is_empty() && !known.meaning.ends_with('.'),
                "{}",
                known.name
            );
        }
    }

    #[test]
    fn a_code_says_what_it_means_and_its_number() {
        assert_eq!(
            Code::LOCKED_VOLUME.to_string(),
            "the drive is locked (0x80310000)"
        );
        assert_eq!(Code(0x8031_00FF).to_string(), "error 0x803100ff");
    }
}
