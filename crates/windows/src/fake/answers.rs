//! What a fake computer answers to each method.

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_fve::keys::RecoveryPassword;

use super::scene::{Backup, Protector, Scene, Volume};
use crate::code::Code;
use crate::method::Method;
use crate::state::ProtectorType;
use crate::value::{Arguments, Outputs, Value};

type Answer = Result<Outputs, Code>;

impl Scene {
    /// Answers as the volume would; none if there is no such volume.
    pub(super) fn answer(
        &mut self,
        device_id: &str,
        method: &'static Method,
        arguments: &Arguments,
    ) -> Option<Answer> {
        let position = self
            .volumes
            .iter()
            .position(|volume| volume.device_id == device_id)?;
        let mut made = self.made;
        let os_protected = self
            .volumes
            .iter()
            .any(|volume| volume.volume_type == 0 && volume.is_encrypted());
        let stores_keys = self.volumes.iter().any(|volume| volume.auto_unlock.is_some());
        let volume = self.volumes.get_mut(position)?;
        if let Some(fault) = volume.faults.get(method.name) {
            return Some(Err(Code(*fault)));
        }
        if volume.locked && method.codes.contains(&Code::LOCKED_VOLUME) {
            return Some(Err(Code::LOCKED_VOLUME));
        }
        let mut call = Call {
            volume,
            arguments,
            made: &mut made,
            os_protected,
            stores_keys,
        };
        let answer = call.answer(method.name);
        if method.name == "ClearAllAutoUnlockKeys" && answer.is_ok() {
            self.volumes
                .iter_mut()
                .for_each(|volume| volume.auto_unlock = None);
        }
        self.made = made;
        Some(answer)
    }
}

/// One call of a method.
struct Call<'a> {
    volume: &'a mut Volume,
    arguments: &'a Arguments,
    made: &'a mut u32,
    os_protected: bool,
    stores_keys: bool,
}

impl Call<'_> {
    fn answer(&mut self, method: &str) -> Answer {
        match method {
            "GetKeyProtectors" => self.key_protectors(),
            "GetKeyProtectorType" => {
                let kind = self.protector()?.kind;
                one("KeyProtectorType", Value::Number(kind))
            }
            "GetKeyProtectorFriendlyName" => {
                let name = self.protector()?.name.clone();
                one("FriendlyName", Value::Text(name))
            }
            "IsKeyProtectorAvailable" => {
                let kind = self.number("KeyProtectorType");
                let is_there = self.volume.protectors.iter().any(|p| Some(p.kind) == kind);
                one("IsKeyProtectorAvailable", Value::Bool(is_there))
            }
            "GetKeyProtectorNumericalPassword" => {
                let secret = &self
                    .protector_of(&[ProtectorType::NumericalPassword], Code::INVALID_ARGUMENT)?
                    .secret;
                one(
                    "NumericalPassword",
                    Value::SecretText(SecretText::copy_of(secret)),
                )
            }
            "GetKeyProtectorExternalKey" => {
                let key = bytes(&self.protector_of(&WITH_FILES, Code::INVALID_ARGUMENT)?.secret)?;
                one("ExternalKey", Value::SecretBytes(SecretBytes::copy_of(&key)))
            }
            "GetKeyProtectorCertificate" => {
                self.protector_of(&[ProtectorType::PublicKey], Code::INVALID_PROTECTOR_TYPE)?;
                let mut outputs = Outputs::default();
                outputs.insert("PublicKey", Value::Bytes(vec![0x30, 0x03, 0x02, 0x01, 0x01]));
                outputs.insert("CertThumbprint", Value::Text("00".repeat(20)));
                outputs.insert("CertType", Value::Number(2));
                Ok(outputs)
            }
            "GetKeyProtectorAdSidInformation" => {
                let sid = self
                    .protector_of(&[ProtectorType::Sid], Code::INVALID_PROTECTOR_TYPE)?
                    .secret
                    .clone();
                let mut outputs = Outputs::default();
                outputs.insert("SidString", Value::Text(sid));
                outputs.insert("Flags", Value::Number(0));
                Ok(outputs)
            }
            "GetKeyProtectorPlatformValidationProfile" => {
                self.protector_of(&WITH_TPM, Code::INVALID_ARGUMENT)?;
                one("PlatformValidationProfile", Value::Bytes(vec![7, 11]))
            }
            "GetKeyPackage" => {
                let with_package = [ProtectorType::NumericalPassword, ProtectorType::ExternalKey];
                self.protector_of(&with_package, Code::INVALID_PROTECTOR_TYPE)?;
                one(
                    "KeyPackage",
                    Value::SecretBytes(SecretBytes::copy_of(b"a key package")),
                )
            }
            "SaveExternalKeyToFile" => self.save_key_file(),
            "GetExternalKeyFileName" => {
                let id = &self.protector_of(&WITH_FILES, Code::INVALID_ARGUMENT)?.id;
                one("FileName", Value::Text(file_name(id)))
            }
            "GetExternalKeyFromFile" => {
                let content =
                    std::fs::read(self.text("PathWithFileName")).map_err(|_| Code::FILE_NOT_FOUND)?;
                let key = content.get(..32).ok_or(Code::INVALID_ARGUMENT)?;
                one("ExternalKey", Value::SecretBytes(SecretBytes::copy_of(key)))
            }
            "IsNumericalPasswordValid" => {
                let valid = is_recovery_key(&self.secret("NumericalPassword"));
                one("IsNumericalPasswordValid", Value::Bool(valid))
            }
            "FindValidCertificates" => one("CertThumbprint", Value::Texts(vec!["00".repeat(20)])),

            "ProtectKeyWithNumericalPassword" => {
                let digits = match self.arguments.get("NumericalPassword") {
                    Some(_) => self.secret("NumericalPassword"),
                    None => self.new_digits(),
                };
                if !is_recovery_key(&digits) {
                    return Err(Code::INVALID_PASSWORD_FORMAT);
                }
                self.protect(ProtectorType::NumericalPassword, digits)
            }
            "ProtectKeyWithExternalKey" => {
                let key = self.given_or_new_key()?;
                self.protect(ProtectorType::ExternalKey, key)
            }
            "ProtectKeyWithPassPhrase" => {
                if self.volume.volume_type == 0 {
                    return Err(Code::OS_VOLUME_PASSPHRASE_NOT_ALLOWED);
                }
                let password = self.password("PassPhrase")?;
                self.protect(ProtectorType::Passphrase, password)
            }
            "ProtectKeyWithTPM" => self.protect_with_tpm(ProtectorType::Tpm, String::new()),
            "ProtectKeyWithTPMAndPIN" => {
                let pin = self.pin("PIN")?;
                self.protect_with_tpm(ProtectorType::TpmAndPin, pin)
            }
            "ProtectKeyWithTPMAndStartupKey" => {
                let key = self.given_or_new_key()?;
                self.protect_with_tpm(ProtectorType::TpmAndStartupKey, key)
            }
            "ProtectKeyWithTPMAndPINAndStartupKey" => {
                self.pin("PIN")?;
                let key = self.given_or_new_key()?;
                self.protect_with_tpm(ProtectorType::TpmAndPinAndStartupKey, key)
            }
            "ProtectKeyWithCertificateFile" | "ProtectKeyWithCertificateThumbprint" => {
                self.protect(ProtectorType::PublicKey, String::new())
            }
            "ProtectKeyWithNetworkCertificate" => self.protect(ProtectorType::TpmCertificate, String::new()),
            "ProtectKeyWithAdSid" => {
                let sid = self.text("SidString");
                self.protect(ProtectorType::Sid, sid)
            }

            "ChangeExternalKey" => {
                let key = self.given_or_new_key()?;
                self.replace("NewVolumeKeyProtectorID", key)
            }
            "ChangePassPhrase" => {
                let password = self.password("NewPassPhrase")?;
                self.replace("NewProtectorID", password)
            }
            "ChangePIN" => {
                let pin = self.pin("NewPIN")?;
                self.protector_mut(Code::PROTECTOR_NOT_FOUND)?.secret = pin;
                done()
            }
            "DeleteKeyProtector" => self.delete(),
            "DeleteKeyProtectors" => {
                if self.volume.auto_unlock.is_some() {
                    return Err(Code::VOLUME_BOUND_ALREADY);
                }
                self.volume.protectors.clear();
                done()
            }
            "DisableKeyProtectors" => {
                self.volume.suspended = Some(self.number("DisableCount").unwrap_or(1));
                done()
            }
            "EnableKeyProtectors" => {
                self.volume.suspended = None;
                done()
            }
            "GetSuspendCount" => one("SuspendCount", Value::Number(self.volume.suspended.unwrap_or(0))),

            "UnlockWithNumericalPassword" => {
                let digits = self.secret("NumericalPassword");
                if !is_recovery_key(&digits) {
                    return Err(Code::INVALID_PASSWORD_FORMAT);
                }
                self.unlock(ProtectorType::NumericalPassword, &digits)
            }
            "UnlockWithExternalKey" => {
                let key = self.secret("ExternalKey");
                self.unlock(ProtectorType::ExternalKey, &key)
            }
            "UnlockWithPassPhrase" => {
                let password = self.secret("PassPhrase");
                self.unlock(ProtectorType::Passphrase, &password)
            }
            "UnlockWithCertificateFile" | "UnlockWithCertificateThumbprint" => self
                .unlock(ProtectorType::PublicKey, "")
                .map_err(|_| Code::PRIVATEKEY_AUTH_FAILED),
            "UnlockWithAdSid" => {
                let sid = self.text("SidString");
                self.unlock(ProtectorType::Sid, &sid)
                    .map_err(|_| Code::FAILED_AUTHENTICATION)
            }
            "Lock" => self.lock(),

            "BackupRecoveryInformationToActiveDirectory" => self.back_up(1),
            "BackupRecoveryInformationToMicrosoftAccount" => self.back_up(2),
            "BackupRecoveryInformationToCloudDomain" => self.back_up(4),
            "GetNumericalPasswordBackupType" => {
                let bits = self
                    .found(Code::PROTECTOR_NOT_FOUND)?
                    .backups
                    .iter()
                    .fold(0, |bits, b| bits | b.bit);
                one("BackupInfoType", Value::Number(bits))
            }
            "GetNumericalPasswordBackupAccounts" => {
                let bit = self.number("BackupInfoType");
                let backups = &self.found(Code::PROTECTOR_NOT_FOUND)?.backups;
                let account = backups.iter().find(|backup| Some(backup.bit) == bit);
                let account = account.map_or_else(String::new, |backup| backup.account.clone());
                one("BackupAccounts", Value::Text(account))
            }

            "GetConversionStatus" => self.conversion_status(),
            "GetEncryptionMethod" => {
                let mut outputs = Outputs::default();
                outputs.insert("EncryptionMethod", Value::Number(self.volume.method));
                outputs.insert("SelfEncryptionDriveEncryptionMethod", Value::Text(String::new()));
                Ok(outputs)
            }
            "GetProtectionStatus" => one("ProtectionStatus", Value::Number(self.volume.protection_status())),
            "GetLockStatus" => one("LockStatus", Value::Number(u32::from(self.volume.locked))),
            "GetHardwareEncryptionStatus" => one("HardwareEncryptionStatus", Value::Number(0)),
            "GetHardwareTestStatus" => {
                let mut outputs = Outputs::default();
                outputs.insert("TestStatus", Value::Number(0));
                outputs.insert("TestError", Value::Number(0));
                Ok(outputs)
            }
            "GetVersion" => one(
                "Version",
                Value::Number(if self.volume.is_encrypted() { 2 } else { 0 }),
            ),
            "GetIdentificationField" => one("IdentificationField", Value::Text(String::new())),
            "GetSecureBootBindingState" => one("BindingState", Value::Number(1)),
            "SetIdentificationField" | "UpgradeVolume" | "PrepareVolume" | "PrepareVolumeEx" => done(),
            "Encrypt" | "EncryptAfterHardwareTest" => self.convert(2),
            "Decrypt" => {
                if self.volume.volume_type == 0 && self.stores_keys {
                    return Err(Code::AUTOUNLOCK_ENABLED);
                }
                self.convert(3)
            }
            "PauseConversion" => {
                let paused = match self.volume.conversion {
                    2 => 4,
                    3 => 5,
                    other => other,
                };
                self.convert(paused)
            }
            "ResumeConversion" => {
                let resumed = match self.volume.conversion {
                    4 => 2,
                    5 => 3,
                    other => other,
                };
                self.convert(resumed)
            }

            "EnableAutoUnlock" => {
                if self.volume.volume_type == 0 {
                    return Err(Code::NOT_DATA_VOLUME);
                }
                if !self.os_protected {
                    return Err(Code::OS_NOT_PROTECTED);
                }
                let id = self.found(Code::PROTECTOR_NOT_FOUND)?.id.clone();
                self.volume.auto_unlock = Some(id);
                done()
            }
            "DisableAutoUnlock" => {
                self.data_volume()?;
                self.volume.auto_unlock = None;
                done()
            }
            "IsAutoUnlockEnabled" => {
                self.data_volume()?;
                let mut outputs = Outputs::default();
                outputs.insert(
                    "IsAutoUnlockEnabled",
                    Value::Bool(self.volume.auto_unlock.is_some()),
                );
                let id = self.volume.auto_unlock.clone().unwrap_or_default();
                outputs.insert("VolumeKeyProtectorID", Value::Text(id));
                Ok(outputs)
            }
            "IsAutoUnlockKeyStored" => {
                self.system_volume()?;
                one("IsAutoUnlockKeyStored", Value::Bool(self.stores_keys))
            }
            "ClearAllAutoUnlockKeys" => {
                self.system_volume()?;
                done()
            }
            _ => Err(Code::WMI_INVALID_METHOD),
        }
    }

    fn key_protectors(&self) -> Answer {
        if !self.volume.is_encrypted() {
            return Err(Code::NOT_ACTIVATED);
        }
        let kind = self.number("KeyProtectorType").filter(|kind| *kind != 0);
        let of_kind = self
            .volume
            .protectors
            .iter()
            .filter(|p| kind.is_none_or(|kind| p.kind == kind));
        let ids = of_kind.map(|protector| protector.id.clone()).collect();
        one("VolumeKeyProtectorID", Value::Texts(ids))
    }

    fn save_key_file(&self) -> Answer {
        let protector = self.protector_of(&WITH_FILES, Code::INVALID_ARGUMENT)?;
        let path = std::path::Path::new(&self.text("Path")).join(file_name(&protector.id));
        std::fs::write(path, bytes(&protector.secret)?).map_err(|_| Code::PATH_NOT_FOUND)?;
        done()
    }

    fn protect_with_tpm(&mut self, kind: ProtectorType, secret: String) -> Answer {
        if self.volume.volume_type != 0 {
            return Err(Code::FOREIGN_VOLUME);
        }
        if self.volume.protectors.iter().any(|p| p.kind == kind.number()) {
            return Err(Code::PROTECTOR_EXISTS);
        }
        self.protect(kind, secret)
    }

    fn protect(&mut self, kind: ProtectorType, secret: String) -> Answer {
        let id = self.new_id();
        self.volume.protectors.push(Protector {
            id: id.clone(),
            kind: kind.number(),
            name: self.text("FriendlyName"),
            secret,
            backups: Vec::new(),
        });
        one("VolumeKeyProtectorID", Value::Text(id))
    }

    fn replace(&mut self, output: &'static str, secret: String) -> Answer {
        let id = self.new_id();
        let protector = self.protector_mut(Code::PROTECTOR_NOT_FOUND)?;
        protector.id.clone_from(&id);
        protector.secret = secret;
        one(output, Value::Text(id))
    }

    fn delete(&mut self) -> Answer {
        let id = self.found(Code::PROTECTOR_NOT_FOUND)?.id.clone();
        if self.volume.auto_unlock.as_deref() == Some(&*id) {
            return Err(Code::VOLUME_BOUND_ALREADY);
        }
        if self.volume.protectors.len() == 1 && self.volume.conversion == 1 {
            return Err(Code::KEY_REQUIRED);
        }
        self.volume.protectors.retain(|protector| protector.id != id);
        done()
    }

    fn unlock(&mut self, kind: ProtectorType, secret: &str) -> Answer {
        if !self.volume.locked {
            // As Windows does, whatever the key.
            return done();
        }
        let mut of_kind = self
            .volume
            .protectors
            .iter()
            .filter(|p| p.kind == kind.number())
            .peekable();
        if of_kind.peek().is_none() {
            return Err(Code::PROTECTOR_NOT_FOUND);
        }
        if !of_kind.any(|protector| protector.secret == secret) {
            return Err(Code::FAILED_AUTHENTICATION);
        }
        self.volume.locked = false;
        done()
    }

    fn lock(&mut self) -> Answer {
        if self.volume.volume_type == 0 {
            return Err(Code::ACCESS_DENIED);
        }
        if self.volume.suspended.is_some() || !self.volume.is_encrypted() {
            return Err(Code::PROTECTION_DISABLED);
        }
        let mut recovery = self.volume.protectors.iter();
        if !recovery.any(|p| p.kind == ProtectorType::NumericalPassword.number()) {
            return Err(Code::RECOVERY_KEY_REQUIRED);
        }
        self.volume.locked = true;
        done()
    }

    fn back_up(&mut self, bit: u32) -> Answer {
        self.protector_of(&[ProtectorType::NumericalPassword], Code::INVALID_PROTECTOR_TYPE)?;
        let backups = &mut self.protector_mut(Code::PROTECTOR_NOT_FOUND)?.backups;
        if !backups.iter().any(|backup| backup.bit == bit) {
            let account = String::new();
            backups.push(Backup { bit, account });
        }
        done()
    }

    fn conversion_status(&self) -> Answer {
        let precision = self.number("PrecisionFactor").unwrap_or(0).min(4);
        let mut outputs = Outputs::default();
        outputs.insert("ConversionStatus", Value::Number(self.volume.conversion));
        let percentage = self.volume.percentage.saturating_mul(10u32.pow(precision));
        outputs.insert("EncryptionPercentage", Value::Number(percentage));
        outputs.insert("EncryptionFlags", Value::Number(0));
        outputs.insert("WipingStatus", Value::Number(0));
        outputs.insert("WipingPercentage", Value::Number(0));
        Ok(outputs)
    }

    fn convert(&mut self, to: u32) -> Answer {
        self.volume.conversion = to;
        done()
    }

    fn data_volume(&self) -> Result<(), Code> {
        match self.volume.volume_type {
            0 => Err(Code::NOT_DATA_VOLUME),
            _ => Ok(()),
        }
    }

    fn system_volume(&self) -> Result<(), Code> {
        match self.volume.volume_type {
            0 => Ok(()),
            _ => Err(Code::NOT_OS_VOLUME),
        }
    }

    /// The protector that the call is about, for methods that answer `E_INVALIDARG` if there is none.
    fn protector(&self) -> Result<&Protector, Code> {
        self.found(Code::INVALID_ARGUMENT)
    }

    fn found(&self, otherwise: Code) -> Result<&Protector, Code> {
        if !self.volume.is_encrypted() {
            return Err(Code::NOT_ACTIVATED);
        }
        let id = self.text("VolumeKeyProtectorID");
        let mut protectors = self.volume.protectors.iter();
        protectors.find(|protector| protector.id == id).ok_or(otherwise)
    }

    fn protector_of(&self, kinds: &[ProtectorType], otherwise: Code) -> Result<&Protector, Code> {
        let protector = self.protector()?;
        if kinds.iter().any(|kind| kind.number() == protector.kind) {
            return Ok(protector);
        }
        Err(otherwise)
    }

    fn protector_mut(&mut self, otherwise: Code) -> Result<&mut Protector, Code> {
        let id = self.text("VolumeKeyProtectorID");
        let mut protectors = self.volume.protectors.iter_mut();
        protectors.find(|protector| protector.id == id).ok_or(otherwise)
    }

    fn text(&self, name: &str) -> String {
        match self.arguments.get(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn number(&self, name: &str) -> Option<u32> {
        match self.arguments.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// A secret as the scene has it: bytes in hexadecimal.
    fn secret(&self, name: &str) -> String {
        match self.arguments.get(name) {
            Some(Value::SecretText(text)) => text.expose_secret().to_owned(),
            Some(Value::SecretBytes(bytes)) => {
                let digits = bytes.expose_secret().iter().map(|byte| format!("{byte:02x}"));
                digits.collect()
            }
            _ => String::new(),
        }
    }

    fn password(&self, name: &str) -> Result<String, Code> {
        let password = self.secret(name);
        if password.chars().count() < 8 {
            return Err(Code::POLICY_INVALID_PASSPHRASE_LENGTH);
        }
        Ok(password)
    }

    fn pin(&self, name: &str) -> Result<String, Code> {
        let pin = self.secret(name);
        if !pin.chars().all(|sign| sign.is_ascii_digit()) {
            return Err(Code::INVALID_PIN_CHARS);
        }
        if !(6..=20).contains(&pin.len()) {
            return Err(Code::POLICY_INVALID_PIN_LENGTH);
        }
        Ok(pin)
    }

    fn given_or_new_key(&mut self) -> Result<String, Code> {
        match self.arguments.get("ExternalKey") {
            Some(Value::SecretBytes(key)) if key.expose_secret().len() == 32 => {
                Ok(self.secret("ExternalKey"))
            }
            Some(_) => Err(Code::INVALID_ARGUMENT),
            None => {
                *self.made += 1;
                Ok(format!("{:064x}", *self.made))
            }
        }
    }

    fn new_id(&mut self) -> String {
        *self.made += 1;
        format!("{{{:08X}-0000-4000-8000-000000000000}}", 0xFA4E_0000 | *self.made)
    }

    fn new_digits(&mut self) -> String {
        *self.made += 1;
        let block = |place: u32| format!("{:06}", (*self.made * 1000 + place) % 65_536 * 11);
        (0..8).map(block).collect::<Vec<_>>().join("-")
    }
}

/// Protectors with a key file.
const WITH_FILES: [ProtectorType; 3] = [
    ProtectorType::ExternalKey,
    ProtectorType::TpmAndStartupKey,
    ProtectorType::TpmAndPinAndStartupKey,
];

/// Protectors with the TPM.
const WITH_TPM: [ProtectorType; 4] = [
    ProtectorType::Tpm,
    ProtectorType::TpmAndPin,
    ProtectorType::TpmAndStartupKey,
    ProtectorType::TpmAndPinAndStartupKey,
];

fn done() -> Answer {
    Ok(Outputs::default())
}

fn one(name: &'static str, value: Value) -> Answer {
    let mut outputs = Outputs::default();
    outputs.insert(name, value);
    Ok(outputs)
}

fn file_name(id: &str) -> String {
    format!("{}.BEK", id.trim_matches(['{', '}']))
}

fn is_recovery_key(digits: &str) -> bool {
    RecoveryPassword::parse(digits).is_ok()
}

fn bytes(hexadecimal: &str) -> Result<Vec<u8>, Code> {
    let byte = |at: usize| {
        let digits = hexadecimal.get(at..at + 2)?;
        u8::from_str_radix(digits, 16).ok()
    };
    let places = (0..hexadecimal.len()).step_by(2);
    places
        .map(byte)
        .collect::<Option<_>>()
        .ok_or(Code::INVALID_KEY_FORMAT)
}
