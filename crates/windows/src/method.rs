//! The methods of `Win32_EncryptableVolume`: what goes in, what comes out, and the codes that matter.

use crate::code::Code;
use crate::value::Kind;

/// A method of the class.
#[derive(Debug)]
pub struct Method {
    /// Its WMI name.
    pub name: &'static str,
    /// What it takes.
    pub inputs: &'static [Input],
    /// What it gives back beside its code.
    pub outputs: &'static [Output],
    /// The codes that it answers with, beside success.
    pub codes: &'static [Code],
    /// Whether Microsoft documents it. A method that is not may be missing from any Windows.
    pub documented: bool,
}

/// Something that a method takes.
#[derive(Debug)]
pub struct Input {
    /// Its name in the class.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be left out.
    pub optional: bool,
}

/// Something that a method gives back.
#[derive(Debug)]
pub struct Output {
    /// Its name in the class.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

impl PartialEq for Method {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Method {
    /// Returns the method of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|method| method.name == name)
    }

    /// Returns whether any of what it takes or gives is a secret.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        let kinds = self.inputs.iter().map(|input| input.kind);
        kinds
            .chain(self.outputs.iter().map(|output| output.kind))
            .any(|kind| matches!(kind, Kind::SecretText | Kind::SecretBytes))
    }
}

const fn required(name: &'static str, kind: Kind) -> Input {
    Input {
        name,
        kind,
        optional: false,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Input {
    Input {
        name,
        kind,
        optional: true,
    }
}

const fn output(name: &'static str, kind: Kind) -> Output {
    Output { name, kind }
}

/// Lists the key protectors, or those of one type.
pub static GET_KEY_PROTECTORS: Method = Method {
    name: "GetKeyProtectors",
    inputs: &[optional("KeyProtectorType", Kind::Number)],
    outputs: &[output("VolumeKeyProtectorID", Kind::Texts)],
    codes: &[Code::INVALID_ARGUMENT, Code::NOT_ACTIVATED],
    documented: true,
};

/// Tells the type of a key protector.
pub static GET_KEY_PROTECTOR_TYPE: Method = Method {
    name: "GetKeyProtectorType",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("KeyProtectorType", Kind::Number)],
    codes: &[Code::INVALID_ARGUMENT, Code::NOT_ACTIVATED],
    documented: true,
};

/// Tells the name that a key protector was given.
pub static GET_KEY_PROTECTOR_FRIENDLY_NAME: Method = Method {
    name: "GetKeyProtectorFriendlyName",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("FriendlyName", Kind::Text)],
    codes: &[Code::INVALID_ARGUMENT, Code::NOT_ACTIVATED],
    documented: true,
};

/// Tells whether there is a key protector of a type.
pub static IS_KEY_PROTECTOR_AVAILABLE: Method = Method {
    name: "IsKeyProtectorAvailable",
    inputs: &[optional("KeyProtectorType", Kind::Number)],
    outputs: &[output("IsKeyProtectorAvailable", Kind::Bool)],
    codes: &[Code::INVALID_ARGUMENT],
    documented: true,
};

/// Gives the 48 digits of a recovery protector.
pub static GET_KEY_PROTECTOR_NUMERICAL_PASSWORD: Method = Method {
    name: "GetKeyProtectorNumericalPassword",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("NumericalPassword", Kind::SecretText)],
    codes: &[Code::LOCKED_VOLUME, Code::INVALID_ARGUMENT, Code::NOT_ACTIVATED],
    documented: true,
};

/// Gives the 32 bytes of a key file.
pub static GET_KEY_PROTECTOR_EXTERNAL_KEY: Method = Method {
    name: "GetKeyProtectorExternalKey",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("ExternalKey", Kind::SecretBytes)],
    codes: &[Code::LOCKED_VOLUME, Code::INVALID_ARGUMENT, Code::NOT_ACTIVATED],
    documented: true,
};

/// Gives the certificate of a key protector.
pub static GET_KEY_PROTECTOR_CERTIFICATE: Method = Method {
    name: "GetKeyProtectorCertificate",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[
        output("PublicKey", Kind::Bytes),
        output("CertThumbprint", Kind::Text),
        output("CertType", Kind::Number),
    ],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::INVALID_ARGUMENT,
        Code::INVALID_PROTECTOR_TYPE,
    ],
    documented: true,
};

/// Tells the account or group of a key protector.
pub static GET_KEY_PROTECTOR_AD_SID_INFORMATION: Method = Method {
    name: "GetKeyProtectorAdSidInformation",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("SidString", Kind::Text), output("Flags", Kind::Number)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::INVALID_ARGUMENT,
        Code::INVALID_PROTECTOR_TYPE,
    ],
    documented: true,
};

/// Tells what of the computer a TPM protector is bound to.
pub static GET_KEY_PROTECTOR_PLATFORM_VALIDATION_PROFILE: Method = Method {
    name: "GetKeyProtectorPlatformValidationProfile",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("PlatformValidationProfile", Kind::Bytes)],
    codes: &[Code::INVALID_ARGUMENT, Code::NOT_ACTIVATED],
    documented: true,
};

/// Gives the key package of a recovery protector or key file.
pub static GET_KEY_PACKAGE: Method = Method {
    name: "GetKeyPackage",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("KeyPackage", Kind::SecretBytes)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::PROTECTOR_NOT_FOUND,
        Code::INVALID_PROTECTOR_TYPE,
    ],
    documented: true,
};

/// Writes a key file into a folder, as Windows names it.
pub static SAVE_EXTERNAL_KEY_TO_FILE: Method = Method {
    name: "SaveExternalKeyToFile",
    inputs: &[
        required("VolumeKeyProtectorID", Kind::Text),
        required("Path", Kind::Text),
    ],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME, Code::INVALID_ARGUMENT, Code::PATH_NOT_FOUND],
    documented: true,
};

/// Tells the name of a key file.
pub static GET_EXTERNAL_KEY_FILE_NAME: Method = Method {
    name: "GetExternalKeyFileName",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("FileName", Kind::Text)],
    codes: &[Code::INVALID_ARGUMENT, Code::LOCKED_VOLUME],
    documented: true,
};

/// Reads a key file.
pub static GET_EXTERNAL_KEY_FROM_FILE: Method = Method {
    name: "GetExternalKeyFromFile",
    inputs: &[required("PathWithFileName", Kind::Text)],
    outputs: &[output("ExternalKey", Kind::SecretBytes)],
    codes: &[Code::INVALID_ARGUMENT, Code::FILE_NOT_FOUND],
    documented: true,
};

/// Tells whether 48 digits have the form of a recovery key; not whether they are of this drive.
pub static IS_NUMERICAL_PASSWORD_VALID: Method = Method {
    name: "IsNumericalPasswordValid",
    inputs: &[required("NumericalPassword", Kind::SecretText)],
    outputs: &[output("IsNumericalPasswordValid", Kind::Bool)],
    codes: &[],
    documented: true,
};

/// Adds a recovery key; Windows makes one if none is given.
pub static PROTECT_KEY_WITH_NUMERICAL_PASSWORD: Method = Method {
    name: "ProtectKeyWithNumericalPassword",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        optional("NumericalPassword", Kind::SecretText),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::INVALID_PASSWORD_FORMAT,
        Code::LOCKED_VOLUME,
        Code::FIPS_PREVENTS_RECOVERY_PASSWORD,
        Code::POLICY_RECOVERY_PASSWORD_NOT_ALLOWED,
    ],
    documented: true,
};

/// Adds a key file.
pub static PROTECT_KEY_WITH_EXTERNAL_KEY: Method = Method {
    name: "ProtectKeyWithExternalKey",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        optional("ExternalKey", Kind::SecretBytes),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::INVALID_ARGUMENT,
        Code::LOCKED_VOLUME,
        Code::POLICY_RECOVERY_KEY_NOT_ALLOWED,
    ],
    documented: true,
};

/// Adds a password.
pub static PROTECT_KEY_WITH_PASS_PHRASE: Method = Method {
    name: "ProtectKeyWithPassPhrase",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        required("PassPhrase", Kind::SecretText),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::POLICY_PASSPHRASE_NOT_ALLOWED,
        Code::FIPS_PREVENTS_PASSPHRASE,
        Code::OS_VOLUME_PASSPHRASE_NOT_ALLOWED,
        Code::POLICY_INVALID_PASSPHRASE_LENGTH,
        Code::POLICY_PASSPHRASE_TOO_SIMPLE,
    ],
    documented: true,
};

/// Adds the TPM.
pub static PROTECT_KEY_WITH_TPM: Method = Method {
    name: "ProtectKeyWithTPM",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        optional("PlatformValidationProfile", Kind::Bytes),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::FOREIGN_VOLUME,
        Code::PROTECTOR_EXISTS,
        Code::TBS_SERVICE_NOT_RUNNING,
    ],
    documented: true,
};

/// Adds the TPM with a PIN.
pub static PROTECT_KEY_WITH_TPM_AND_PIN: Method = Method {
    name: "ProtectKeyWithTPMAndPIN",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        optional("PlatformValidationProfile", Kind::Bytes),
        required("PIN", Kind::SecretText),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::FOREIGN_VOLUME,
        Code::PROTECTOR_EXISTS,
        Code::TBS_SERVICE_NOT_RUNNING,
        Code::BOOTABLE_CDDVD,
        Code::INVALID_PIN_CHARS,
        Code::POLICY_INVALID_PIN_LENGTH,
    ],
    documented: true,
};

/// Adds the TPM with a key file.
pub static PROTECT_KEY_WITH_TPM_AND_STARTUP_KEY: Method = Method {
    name: "ProtectKeyWithTPMAndStartupKey",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        optional("PlatformValidationProfile", Kind::Bytes),
        optional("ExternalKey", Kind::SecretBytes),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::FOREIGN_VOLUME,
        Code::PROTECTOR_EXISTS,
        Code::TBS_SERVICE_NOT_RUNNING,
        Code::BOOTABLE_CDDVD,
    ],
    documented: true,
};

/// Adds the TPM with a PIN and a key file.
pub static PROTECT_KEY_WITH_TPM_AND_PIN_AND_STARTUP_KEY: Method = Method {
    name: "ProtectKeyWithTPMAndPINAndStartupKey",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        optional("PlatformValidationProfile", Kind::Bytes),
        required("PIN", Kind::SecretText),
        optional("ExternalKey", Kind::SecretBytes),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::FOREIGN_VOLUME,
        Code::PROTECTOR_EXISTS,
        Code::TBS_SERVICE_NOT_RUNNING,
        Code::BOOTABLE_CDDVD,
        Code::INVALID_PIN_CHARS,
        Code::POLICY_INVALID_PIN_LENGTH,
    ],
    documented: true,
};

/// Adds a certificate out of a file.
pub static PROTECT_KEY_WITH_CERTIFICATE_FILE: Method = Method {
    name: "ProtectKeyWithCertificateFile",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        required("PathWithFileName", Kind::Text),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::INVALID_BITLOCKER_OID,
        Code::POLICY_USER_CERTIFICATE_NOT_ALLOWED,
        Code::POLICY_USER_CERT_MUST_BE_HW,
        Code::POLICY_PROHIBITS_SELFSIGNED,
    ],
    documented: true,
};

/// Adds a certificate of the computer.
pub static PROTECT_KEY_WITH_CERTIFICATE_THUMBPRINT: Method = Method {
    name: "ProtectKeyWithCertificateThumbprint",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        required("CertThumbprint", Kind::Text),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::INVALID_BITLOCKER_OID,
        Code::POLICY_USER_CERTIFICATE_NOT_ALLOWED,
        Code::POLICY_USER_CERT_MUST_BE_HW,
        Code::POLICY_PROHIBITS_SELFSIGNED,
    ],
    documented: true,
};

/// Adds an account or group; flag 1 for a service.
pub static PROTECT_KEY_WITH_AD_SID: Method = Method {
    name: "ProtectKeyWithAdSid",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        required("SidString", Kind::Text),
        optional("Flags", Kind::Number),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[Code::LOCKED_VOLUME, Code::INVALID_ARGUMENT],
    documented: true,
};

/// Adds unlocking over the network.
pub static PROTECT_KEY_WITH_NETWORK_CERTIFICATE: Method = Method {
    name: "ProtectKeyWithNetworkCertificate",
    inputs: &[
        optional("FriendlyName", Kind::Text),
        required("CertThumbprint", Kind::Text),
    ],
    outputs: &[output("VolumeKeyProtectorID", Kind::Text)],
    codes: &[Code::LOCKED_VOLUME],
    documented: false,
};

/// Replaces a key file.
pub static CHANGE_EXTERNAL_KEY: Method = Method {
    name: "ChangeExternalKey",
    inputs: &[
        required("VolumeKeyProtectorID", Kind::Text),
        optional("ExternalKey", Kind::SecretBytes),
    ],
    outputs: &[output("NewVolumeKeyProtectorID", Kind::Text)],
    codes: &[Code::LOCKED_VOLUME, Code::PROTECTOR_NOT_FOUND],
    documented: true,
};

/// Replaces a password.
pub static CHANGE_PASS_PHRASE: Method = Method {
    name: "ChangePassPhrase",
    inputs: &[
        required("VolumeKeyProtectorID", Kind::Text),
        required("NewPassPhrase", Kind::SecretText),
    ],
    outputs: &[output("NewProtectorID", Kind::Text)],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::PROTECTOR_NOT_FOUND,
        Code::POLICY_INVALID_PASSPHRASE_LENGTH,
        Code::POLICY_PASSPHRASE_TOO_SIMPLE,
    ],
    documented: true,
};

/// Replaces a PIN.
pub static CHANGE_PIN: Method = Method {
    name: "ChangePIN",
    inputs: &[
        required("VolumeKeyProtectorID", Kind::Text),
        required("NewPIN", Kind::SecretText),
    ],
    outputs: &[],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::PROTECTOR_NOT_FOUND,
        Code::POLICY_INVALID_PIN_LENGTH,
        Code::INVALID_PIN_CHARS,
    ],
    documented: true,
};

/// Removes a key protector.
pub static DELETE_KEY_PROTECTOR: Method = Method {
    name: "DeleteKeyProtector",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::KEY_REQUIRED,
        Code::VOLUME_BOUND_ALREADY,
        Code::PROTECTOR_NOT_FOUND,
    ],
    documented: true,
};

/// Removes all key protectors.
pub static DELETE_KEY_PROTECTORS: Method = Method {
    name: "DeleteKeyProtectors",
    inputs: &[],
    outputs: &[],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::KEY_REQUIRED,
        Code::VOLUME_BOUND_ALREADY,
    ],
    documented: true,
};

/// Suspends protection, for 1 to 15 restarts, or with 0 until it is resumed.
pub static DISABLE_KEY_PROTECTORS: Method = Method {
    name: "DisableKeyProtectors",
    inputs: &[optional("DisableCount", Kind::Number)],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Resumes protection.
pub static ENABLE_KEY_PROTECTORS: Method = Method {
    name: "EnableKeyProtectors",
    inputs: &[],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Tells for how many restarts protection is still suspended.
pub static GET_SUSPEND_COUNT: Method = Method {
    name: "GetSuspendCount",
    inputs: &[],
    outputs: &[output("SuspendCount", Kind::Number)],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Unlocks with a recovery key. Says yes to any key if the drive is unlocked: no proof.
pub static UNLOCK_WITH_NUMERICAL_PASSWORD: Method = Method {
    name: "UnlockWithNumericalPassword",
    inputs: &[required("NumericalPassword", Kind::SecretText)],
    outputs: &[],
    codes: &[
        Code::FAILED_AUTHENTICATION,
        Code::PROTECTOR_NOT_FOUND,
        Code::INVALID_PASSWORD_FORMAT,
    ],
    documented: true,
};

/// Unlocks with a key file. Says yes to any key if the drive is unlocked: no proof.
pub static UNLOCK_WITH_EXTERNAL_KEY: Method = Method {
    name: "UnlockWithExternalKey",
    inputs: &[required("ExternalKey", Kind::SecretBytes)],
    outputs: &[],
    codes: &[
        Code::PROTECTOR_NOT_FOUND,
        Code::INVALID_KEY_FORMAT,
        Code::NOT_ACTIVATED,
    ],
    documented: true,
};

/// Unlocks with a password.
pub static UNLOCK_WITH_PASS_PHRASE: Method = Method {
    name: "UnlockWithPassPhrase",
    inputs: &[required("PassPhrase", Kind::SecretText)],
    outputs: &[],
    codes: &[Code::FAILED_AUTHENTICATION, Code::PROTECTOR_NOT_FOUND],
    documented: true,
};

/// Unlocks with a certificate out of a file.
pub static UNLOCK_WITH_CERTIFICATE_FILE: Method = Method {
    name: "UnlockWithCertificateFile",
    inputs: &[
        required("PathWithFileName", Kind::Text),
        optional("Pin", Kind::SecretText),
    ],
    outputs: &[],
    codes: &[Code::PRIVATEKEY_AUTH_FAILED],
    documented: true,
};

/// Unlocks with a certificate of the computer, or a smart card.
pub static UNLOCK_WITH_CERTIFICATE_THUMBPRINT: Method = Method {
    name: "UnlockWithCertificateThumbprint",
    inputs: &[
        required("CertThumbprint", Kind::Text),
        optional("Pin", Kind::SecretText),
    ],
    outputs: &[],
    codes: &[Code::PRIVATEKEY_AUTH_FAILED],
    documented: true,
};

/// Unlocks with an account or group.
pub static UNLOCK_WITH_AD_SID: Method = Method {
    name: "UnlockWithAdSid",
    inputs: &[optional("SidString", Kind::Text)],
    outputs: &[],
    codes: &[Code::FAILED_AUTHENTICATION],
    documented: true,
};

/// Locks a data drive.
pub static LOCK: Method = Method {
    name: "Lock",
    inputs: &[optional("ForceDismount", Kind::Bool)],
    outputs: &[],
    codes: &[
        Code::ACCESS_DENIED,
        Code::PROTECTION_DISABLED,
        Code::RECOVERY_KEY_REQUIRED,
    ],
    documented: true,
};

/// Saves a recovery key to the organisation's Active Directory.
pub static BACKUP_RECOVERY_INFORMATION_TO_ACTIVE_DIRECTORY: Method = Method {
    name: "BackupRecoveryInformationToActiveDirectory",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[],
    codes: &[
        Code::FALSE,
        Code::LOCKED_VOLUME,
        Code::INVALID_PROTECTOR_TYPE,
        Code::ADBACKUP_NOT_ENABLED,
    ],
    documented: true,
};

/// Saves a recovery key to the work or school account (Entra).
pub static BACKUP_RECOVERY_INFORMATION_TO_CLOUD_DOMAIN: Method = Method {
    name: "BackupRecoveryInformationToCloudDomain",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::INVALID_PROTECTOR_TYPE,
        Code::DEVICE_NOT_JOINED,
        Code::AAD_ENDPOINT_BUSY,
    ],
    documented: false,
};

/// Saves a recovery key to the Microsoft account.
pub static BACKUP_RECOVERY_INFORMATION_TO_MICROSOFT_ACCOUNT: Method = Method {
    name: "BackupRecoveryInformationToMicrosoftAccount",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME, Code::INVALID_PROTECTOR_TYPE],
    documented: false,
};

/// Tells where Windows remembers to have saved a recovery key.
pub static GET_NUMERICAL_PASSWORD_BACKUP_TYPE: Method = Method {
    name: "GetNumericalPasswordBackupType",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[output("BackupInfoType", Kind::Number)],
    codes: &[Code::LOCKED_VOLUME, Code::PROTECTOR_NOT_FOUND],
    documented: false,
};

/// Tells to which accounts.
pub static GET_NUMERICAL_PASSWORD_BACKUP_ACCOUNTS: Method = Method {
    name: "GetNumericalPasswordBackupAccounts",
    inputs: &[
        required("VolumeKeyProtectorID", Kind::Text),
        required("BackupInfoType", Kind::Number),
    ],
    outputs: &[output("BackupAccounts", Kind::Text)],
    codes: &[Code::LOCKED_VOLUME, Code::PROTECTOR_NOT_FOUND],
    documented: false,
};

/// Tells how far encryption is.
pub static GET_CONVERSION_STATUS: Method = Method {
    name: "GetConversionStatus",
    inputs: &[optional("PrecisionFactor", Kind::Number)],
    outputs: &[
        output("ConversionStatus", Kind::Number),
        output("EncryptionPercentage", Kind::Number),
        output("EncryptionFlags", Kind::Number),
        output("WipingStatus", Kind::Number),
        output("WipingPercentage", Kind::Number),
    ],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Tells the encryption method.
pub static GET_ENCRYPTION_METHOD: Method = Method {
    name: "GetEncryptionMethod",
    inputs: &[],
    outputs: &[
        output("EncryptionMethod", Kind::Number),
        output("SelfEncryptionDriveEncryptionMethod", Kind::Text),
    ],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Tells whether a key is needed.
pub static GET_PROTECTION_STATUS: Method = Method {
    name: "GetProtectionStatus",
    inputs: &[],
    outputs: &[output("ProtectionStatus", Kind::Number)],
    codes: &[],
    documented: true,
};

/// Tells whether the drive is locked.
pub static GET_LOCK_STATUS: Method = Method {
    name: "GetLockStatus",
    inputs: &[],
    outputs: &[output("LockStatus", Kind::Number)],
    codes: &[],
    documented: true,
};

/// Tells whether the drive encrypts by itself.
pub static GET_HARDWARE_ENCRYPTION_STATUS: Method = Method {
    name: "GetHardwareEncryptionStatus",
    inputs: &[],
    outputs: &[output("HardwareEncryptionStatus", Kind::Number)],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Tells what came of the test before encryption.
pub static GET_HARDWARE_TEST_STATUS: Method = Method {
    name: "GetHardwareTestStatus",
    inputs: &[],
    outputs: &[
        output("TestStatus", Kind::Number),
        output("TestError", Kind::Number),
    ],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Tells the version of the metadata: 1 Vista, 2 Windows 7 and later.
pub static GET_VERSION: Method = Method {
    name: "GetVersion",
    inputs: &[],
    outputs: &[output("Version", Kind::Number)],
    codes: &[],
    documented: true,
};

/// Rewrites the metadata of Vista.
pub static UPGRADE_VOLUME: Method = Method {
    name: "UpgradeVolume",
    inputs: &[],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Tells the identifier of the organisation.
pub static GET_IDENTIFICATION_FIELD: Method = Method {
    name: "GetIdentificationField",
    inputs: &[],
    outputs: &[output("IdentificationField", Kind::Text)],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Sets the identifier of the organisation.
pub static SET_IDENTIFICATION_FIELD: Method = Method {
    name: "SetIdentificationField",
    inputs: &[optional("IdentificationField", Kind::Text)],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Begins encryption.
pub static ENCRYPT: Method = Method {
    name: "Encrypt",
    inputs: &[
        optional("EncryptionMethod", Kind::Number),
        optional("EncryptionFlags", Kind::Number),
    ],
    outputs: &[],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::POLICY_RECOVERY_PASSWORD_REQUIRED,
        Code::RECOVERY_KEY_REQUIRED,
    ],
    documented: true,
};

/// Begins encryption after a restart that proves the keys.
pub static ENCRYPT_AFTER_HARDWARE_TEST: Method = Method {
    name: "EncryptAfterHardwareTest",
    inputs: &[
        optional("EncryptionMethod", Kind::Number),
        optional("EncryptionFlags", Kind::Number),
    ],
    outputs: &[],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::POLICY_RECOVERY_PASSWORD_REQUIRED,
        Code::RECOVERY_KEY_REQUIRED,
    ],
    documented: true,
};

/// Begins decryption.
pub static DECRYPT: Method = Method {
    name: "Decrypt",
    inputs: &[],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME, Code::AUTOUNLOCK_ENABLED],
    documented: true,
};

/// Pauses encryption or decryption.
pub static PAUSE_CONVERSION: Method = Method {
    name: "PauseConversion",
    inputs: &[],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Continues it.
pub static RESUME_CONVERSION: Method = Method {
    name: "ResumeConversion",
    inputs: &[],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Makes a data drive unlock by itself on this computer.
pub static ENABLE_AUTO_UNLOCK: Method = Method {
    name: "EnableAutoUnlock",
    inputs: &[required("VolumeKeyProtectorID", Kind::Text)],
    outputs: &[],
    codes: &[
        Code::LOCKED_VOLUME,
        Code::OS_NOT_PROTECTED,
        Code::NOT_DATA_VOLUME,
        Code::PROTECTOR_NOT_FOUND,
    ],
    documented: true,
};

/// Ends that.
pub static DISABLE_AUTO_UNLOCK: Method = Method {
    name: "DisableAutoUnlock",
    inputs: &[],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME, Code::NOT_DATA_VOLUME],
    documented: true,
};

/// Tells whether a data drive unlocks by itself, and by which key protector.
pub static IS_AUTO_UNLOCK_ENABLED: Method = Method {
    name: "IsAutoUnlockEnabled",
    inputs: &[],
    outputs: &[
        output("IsAutoUnlockEnabled", Kind::Bool),
        output("VolumeKeyProtectorID", Kind::Text),
    ],
    codes: &[Code::LOCKED_VOLUME, Code::NOT_DATA_VOLUME],
    documented: true,
};

/// Tells whether the Windows drive holds keys of others.
pub static IS_AUTO_UNLOCK_KEY_STORED: Method = Method {
    name: "IsAutoUnlockKeyStored",
    inputs: &[],
    outputs: &[output("IsAutoUnlockKeyStored", Kind::Bool)],
    codes: &[Code::NOT_OS_VOLUME],
    documented: true,
};

/// Removes them.
pub static CLEAR_ALL_AUTO_UNLOCK_KEYS: Method = Method {
    name: "ClearAllAutoUnlockKeys",
    inputs: &[],
    outputs: &[],
    codes: &[Code::NOT_OS_VOLUME, Code::LOCKED_VOLUME],
    documented: true,
};

/// Makes room for the metadata.
pub static PREPARE_VOLUME: Method = Method {
    name: "PrepareVolume",
    inputs: &[
        optional("DiscoveryVolumeType", Kind::Text),
        optional("ForceEncryptionType", Kind::Number),
    ],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME],
    documented: true,
};

/// Makes room for the metadata, with flags.
pub static PREPARE_VOLUME_EX: Method = Method {
    name: "PrepareVolumeEx",
    inputs: &[
        optional("DiscoveryVolumeType", Kind::Text),
        optional("ForceEncryptionType", Kind::Number),
        optional("InitializationFlags", Kind::Number),
    ],
    outputs: &[],
    codes: &[Code::LOCKED_VOLUME],
    documented: false,
};

/// Lists the certificates that would do.
pub static FIND_VALID_CERTIFICATES: Method = Method {
    name: "FindValidCertificates",
    inputs: &[],
    outputs: &[output("CertThumbprint", Kind::Texts)],
    codes: &[Code::INVALID_BITLOCKER_OID],
    documented: true,
};

/// Tells whether secure boot binds the TPM protectors.
pub static GET_SECURE_BOOT_BINDING_STATE: Method = Method {
    name: "GetSecureBootBindingState",
    inputs: &[],
    outputs: &[output("BindingState", Kind::Number)],
    codes: &[],
    documented: false,
};

/// All of them.
pub static ALL: &[&Method] = &[
    &GET_KEY_PROTECTORS,
    &GET_KEY_PROTECTOR_TYPE,
    &GET_KEY_PROTECTOR_FRIENDLY_NAME,
    &IS_KEY_PROTECTOR_AVAILABLE,
    &GET_KEY_PROTECTOR_NUMERICAL_PASSWORD,
    &GET_KEY_PROTECTOR_EXTERNAL_KEY,
    &GET_KEY_PROTECTOR_CERTIFICATE,
    &GET_KEY_PROTECTOR_AD_SID_INFORMATION,
    &GET_KEY_PROTECTOR_PLATFORM_VALIDATION_PROFILE,
    &GET_KEY_PACKAGE,
    &SAVE_EXTERNAL_KEY_TO_FILE,
    &GET_EXTERNAL_KEY_FILE_NAME,
    &GET_EXTERNAL_KEY_FROM_FILE,
    &IS_NUMERICAL_PASSWORD_VALID,
    &PROTECT_KEY_WITH_NUMERICAL_PASSWORD,
    &PROTECT_KEY_WITH_EXTERNAL_KEY,
    &PROTECT_KEY_WITH_PASS_PHRASE,
    &PROTECT_KEY_WITH_TPM,
    &PROTECT_KEY_WITH_TPM_AND_PIN,
    &PROTECT_KEY_WITH_TPM_AND_STARTUP_KEY,
    &PROTECT_KEY_WITH_TPM_AND_PIN_AND_STARTUP_KEY,
    &PROTECT_KEY_WITH_CERTIFICATE_FILE,
    &PROTECT_KEY_WITH_CERTIFICATE_THUMBPRINT,
    &PROTECT_KEY_WITH_AD_SID,
    &PROTECT_KEY_WITH_NETWORK_CERTIFICATE,
    &CHANGE_EXTERNAL_KEY,
    &CHANGE_PASS_PHRASE,
    &CHANGE_PIN,
    &DELETE_KEY_PROTECTOR,
    &DELETE_KEY_PROTECTORS,
    &DISABLE_KEY_PROTECTORS,
    &ENABLE_KEY_PROTECTORS,
    &GET_SUSPEND_COUNT,
    &UNLOCK_WITH_NUMERICAL_PASSWORD,
    &UNLOCK_WITH_EXTERNAL_KEY,
    &UNLOCK_WITH_PASS_PHRASE,
    &UNLOCK_WITH_CERTIFICATE_FILE,
    &UNLOCK_WITH_CERTIFICATE_THUMBPRINT,
    &UNLOCK_WITH_AD_SID,
    &LOCK,
    &BACKUP_RECOVERY_INFORMATION_TO_ACTIVE_DIRECTORY,
    &BACKUP_RECOVERY_INFORMATION_TO_CLOUD_DOMAIN,
    &BACKUP_RECOVERY_INFORMATION_TO_MICROSOFT_ACCOUNT,
    &GET_NUMERICAL_PASSWORD_BACKUP_TYPE,
    &GET_NUMERICAL_PASSWORD_BACKUP_ACCOUNTS,
    &GET_CONVERSION_STATUS,
    &GET_ENCRYPTION_METHOD,
    &GET_PROTECTION_STATUS,
    &GET_LOCK_STATUS,
    &GET_HARDWARE_ENCRYPTION_STATUS,
    &GET_HARDWARE_TEST_STATUS,
    &GET_VERSION,
    &UPGRADE_VOLUME,
    &GET_IDENTIFICATION_FIELD,
    &SET_IDENTIFICATION_FIELD,
    &ENCRYPT,
    &ENCRYPT_AFTER_HARDWARE_TEST,
    &DECRYPT,
    &PAUSE_CONVERSION,
    &RESUME_CONVERSION,
    &ENABLE_AUTO_UNLOCK,
    &DISABLE_AUTO_UNLOCK,
    &IS_AUTO_UNLOCK_ENABLED,
    &IS_AUTO_UNLOCK_KEY_STORED,
    &CLEAR_ALL_AUTO_UNLOCK_KEYS,
    &PREPARE_VOLUME,
    &PREPARE_VOLUME_EX,
    &FIND_VALID_CERTIFICATES,
    &GET_SECURE_BOOT_BINDING_STATE,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_method_has_a_name_of_its_own_and_codes_that_are_known() {
        let mut names = HashSet::new();
        for method in ALL {
            assert!(names.insert(method.name), "{} twice", method.name);
            assert_eq!(Method::named(method.name), Some(*method));
            for code in method.codes {
                assert!(code.known().is_some(), "{} of {}", code.0, method.name);
            }
        }
    }
}
