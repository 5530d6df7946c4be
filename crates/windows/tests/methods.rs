//! Every method against a fake computer: its happy path, and every code that is listed for it.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_fve::{Guid, RecordKey};
use keyhaven_windows::fake::{FakeComputer, Protector, Scene, Volume};
use keyhaven_windows::state::{ConversionStatus, LockStatus, ProtectionStatus, ProtectorType};
use keyhaven_windows::{Code, EncryptableVolume, Error, Method, method, recovery_records, volumes};

const DIGITS: &str = "000011-000022-000033-000044-000055-000066-000077-000088";
const OTHER_DIGITS: &str = "000099-000022-000033-000044-000055-000066-000077-000088";

fn id(number: u32) -> Guid {
    format!("{number:08X}-0000-4000-8000-000000000001")
        .parse()
        .expect("a GUID")
}

fn protector(number: u32, kind: ProtectorType, secret: &str) -> Protector {
    Protector {
        id: format!("{{{}}}", id(number)),
        kind: kind.number(),
        name: format!("number {number}"),
        secret: secret.to_owned(),
        backups: Vec::new(),
    }
}

fn volume(letter: &str, volume_type: u32, protectors: Vec<Protector>) -> Volume {
    Volume {
        device_id: format!(r"\\?\Volume{{{letter}}}\"),
        drive_letter: Some(format!("{letter}:")),
        volume_id: format!("{{{}}}", id(u32::from(letter.as_bytes()[0]))),
        volume_type,
        locked: false,
        suspended: None,
        conversion: 1,
        percentage: 100,
        method: 7,
        protectors,
        auto_unlock: None,
        faults: BTreeMap::new(),
        raw: None,
    }
}

fn scene() -> Scene {
    let key = "11".repeat(32);
    let protectors = || {
        vec![
            protector(1, ProtectorType::NumericalPassword, DIGITS),
            protector(2, ProtectorType::ExternalKey, &key),
            protector(3, ProtectorType::Passphrase, "a password"),
            protector(4, ProtectorType::PublicKey, ""),
            protector(5, ProtectorType::Sid, "S-1-5-21"),
        ]
    };
    let mut system = protectors();
    system.push(protector(6, ProtectorType::TpmAndPin, "123456"));
    Scene {
        elevated: true,
        has_bitlocker: true,
        missing_methods: Vec::new(),
        volumes: vec![volume("C", 0, system), volume("D", 1, protectors())],
        made: 0,
    }
}

type OnVolume = Box<dyn Fn(&EncryptableVolume<'_>) -> Result<(), Error>>;

/// A call of one method on a volume of the scene, and what its answer should be.
struct Call {
    method: &'static Method,
    on: &'static str,
    call: OnVolume,
}

/// Every method, asked for something that it grants. What it answers is checked where it is more than "done".
fn calls() -> Vec<Call> {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let folder_name = folder.to_str().expect("a name").to_owned();
    let key_file = folder.join("key.bek");
    std::fs::write(&key_file, [7; 32]).expect("a file");
    let key_file = key_file.to_str().expect("a name").to_owned();

    let mut calls = Vec::new();
    let mut add = |method, on, call: OnVolume| {
        calls.push(Call { method, on, call });
    };
    macro_rules! on {
        ($on:literal, $method:ident, |$volume:ident| $call:expr) => {
            add(
                &method::$method,
                $on,
                Box::new(move |$volume| $call.map(drop)),
            )
        };
        ($on:literal, $method:ident, |$volume:ident| $call:expr, $check:expr) => {
            add(
                &method::$method,
                $on,
                Box::new(move |$volume| {
                    let answer = $call?;
                    #[allow(clippy::redundant_closure_call)]
                    let right: bool = ($check)(&answer);
                    assert!(right, "{}", method::$method.name);
                    Ok(())
                }),
            )
        };
    }
    let text = SecretText::copy_of;
    let key = || SecretBytes::copy_of(&[0x11; 32]);

    on!(
        "C",
        GET_KEY_PROTECTORS,
        |v| v.get_key_protectors(None),
        |ids: &Vec<Guid>| ids.len() == 6
    );
    on!(
        "C",
        GET_KEY_PROTECTOR_TYPE,
        |v| v.get_key_protector_type(id(6)),
        |t: &ProtectorType| *t == ProtectorType::TpmAndPin
    );
    on!(
        "C",
        GET_KEY_PROTECTOR_FRIENDLY_NAME,
        |v| v.get_key_protector_friendly_name(id(1)),
        |n: &String| n == "number 1"
    );
    on!(
        "C",
        IS_KEY_PROTECTOR_AVAILABLE,
        |v| v.is_key_protector_available(ProtectorType::Tpm),
        |a: &bool| !a
    );
    on!(
        "C",
        GET_KEY_PROTECTOR_NUMERICAL_PASSWORD,
        |v| v.get_key_protector_numerical_password(id(1)),
        |d: &SecretText| d.expose_secret() == DIGITS
    );
    on!(
        "C",
        GET_KEY_PROTECTOR_EXTERNAL_KEY,
        |v| v.get_key_protector_external_key(id(2)),
        |k: &SecretBytes| k.expose_secret() == [0x11; 32]
    );
    on!("C", GET_KEY_PROTECTOR_CERTIFICATE, |v| v
        .get_key_protector_certificate(id(4)));
    on!(
        "C",
        GET_KEY_PROTECTOR_AD_SID_INFORMATION,
        |v| v.get_key_protector_ad_sid_information(id(5)),
        |sid: &(String, u32)| sid.0 == "S-1-5-21"
    );
    on!(
        "C",
        GET_KEY_PROTECTOR_PLATFORM_VALIDATION_PROFILE,
        |v| v.get_key_protector_platform_validation_profile(id(6)),
        |pcrs: &Vec<u8>| *pcrs == [7, 11]
    );
    on!("C", GET_KEY_PACKAGE, |v| v.get_key_package(id(1)));
    {
        let folder = folder_name.clone();
        on!("C", SAVE_EXTERNAL_KEY_TO_FILE, |v| v
            .save_external_key_to_file(id(2), &folder));
    }
    on!(
        "C",
        GET_EXTERNAL_KEY_FILE_NAME,
        |v| v.get_external_key_file_name(id(2)),
        |n: &String| n == "00000002-0000-4000-8000-000000000001.BEK"
    );
    on!(
        "C",
        GET_EXTERNAL_KEY_FROM_FILE,
        |v| v.get_external_key_from_file(&key_file),
        |k: &SecretBytes| k.expose_secret() == [7; 32]
    );
    on!(
        "C",
        IS_NUMERICAL_PASSWORD_VALID,
        |v| v.is_numerical_password_valid(text(DIGITS)),
        |a: &bool| *a
    );
    on!(
        "C",
        FIND_VALID_CERTIFICATES,
        |v| v.find_valid_certificates(),
        |c: &Vec<String>| c.len() == 1
    );

    on!("C", PROTECT_KEY_WITH_NUMERICAL_PASSWORD, |v| v
        .protect_key_with_numerical_password(Some("new"), None));
    on!("C", PROTECT_KEY_WITH_EXTERNAL_KEY, |v| v
        .protect_key_with_external_key(None, Some(key())));
    on!("D", PROTECT_KEY_WITH_PASS_PHRASE, |v| v
        .protect_key_with_pass_phrase(None, text("12345678")));
    on!("C", PROTECT_KEY_WITH_TPM, |v| v
        .protect_key_with_tpm(None, Some(vec![7, 11])));
    on!("C", PROTECT_KEY_WITH_TPM_AND_STARTUP_KEY, |v| v
        .protect_key_with_tpm_and_startup_key(None, None, None));
    on!("C", PROTECT_KEY_WITH_TPM_AND_PIN_AND_STARTUP_KEY, |v| v
        .protect_key_with_tpm_and_pin_and_startup_key(
            None,
            None,
            text("123456"),
            Some(key())
        ));
    // The scene has a TPM with a PIN: the happy path is that of a computer without.
    on!("C", PROTECT_KEY_WITH_TPM_AND_PIN, |v| {
        v.delete_key_protector(id(6))?;
        v.protect_key_with_tpm_and_pin(None, None, text("123456"))
    });
    on!("C", PROTECT_KEY_WITH_CERTIFICATE_FILE, |v| v
        .protect_key_with_certificate_file(None, "c.cer"));
    on!("C", PROTECT_KEY_WITH_CERTIFICATE_THUMBPRINT, |v| v
        .protect_key_with_certificate_thumbprint(None, "00"));
    on!("D", PROTECT_KEY_WITH_AD_SID, |v| v.protect_key_with_ad_sid(
        None,
        "S-1-5-21-7",
        1
    ));
    on!("C", PROTECT_KEY_WITH_NETWORK_CERTIFICATE, |v| v
        .protect_key_with_network_certificate(None, "00"));

    on!(
        "C",
        CHANGE_EXTERNAL_KEY,
        |v| v.change_external_key(id(2), None),
        |new: &Guid| *new != id(2)
    );
    on!(
        "D",
        CHANGE_PASS_PHRASE,
        |v| v.change_pass_phrase(id(3), text("12345678")),
        |new: &Guid| *new != id(3)
    );
    on!("C", CHANGE_PIN, |v| v.change_pin(id(6), text("654321")));
    on!("C", DELETE_KEY_PROTECTOR, |v| v.delete_key_protector(id(1)));
    on!("C", DELETE_KEY_PROTECTORS, |v| v.delete_key_protectors());
    on!("C", DISABLE_KEY_PROTECTORS, |v| v.disable_key_protectors(Some(2)));
    on!("C", ENABLE_KEY_PROTECTORS, |v| v.enable_key_protectors());
    on!(
        "C",
        GET_SUSPEND_COUNT,
        |v| v.get_suspend_count(),
        |count: &u32| *count == 0
    );

    on!("D", UNLOCK_WITH_NUMERICAL_PASSWORD, |v| v
        .unlock_with_numerical_password(text(DIGITS)));
    on!("D", UNLOCK_WITH_EXTERNAL_KEY, |v| v
        .unlock_with_external_key(key()));
    on!("D", UNLOCK_WITH_PASS_PHRASE, |v| v
        .unlock_with_pass_phrase(text("a password")));
    on!("D", UNLOCK_WITH_CERTIFICATE_FILE, |v| v
        .unlock_with_certificate_file("c.pfx", Some(text("1"))));
    on!("D", UNLOCK_WITH_CERTIFICATE_THUMBPRINT, |v| v
        .unlock_with_certificate_thumbprint("00", None));
    on!("D", UNLOCK_WITH_AD_SID, |v| v.unlock_with_ad_sid(None));
    on!("D", LOCK, |v| v.lock(false));

    on!("C", BACKUP_RECOVERY_INFORMATION_TO_ACTIVE_DIRECTORY, |v| v
        .backup_recovery_information_to_active_directory(id(1)));
    on!("C", BACKUP_RECOVERY_INFORMATION_TO_CLOUD_DOMAIN, |v| v
        .backup_recovery_information_to_cloud_domain(id(1)));
    on!("C", BACKUP_RECOVERY_INFORMATION_TO_MICROSOFT_ACCOUNT, |v| v
        .backup_recovery_information_to_microsoft_account(id(1)));
    on!("C", GET_NUMERICAL_PASSWORD_BACKUP_TYPE, |v| v
        .get_numerical_password_backup_type(id(1)));
    on!("C", GET_NUMERICAL_PASSWORD_BACKUP_ACCOUNTS, |v| v
        .get_numerical_password_backup_accounts(id(1), 2));

    on!(
        "C",
        GET_CONVERSION_STATUS,
        |v| v.get_conversion_status(2),
        |c: &keyhaven_windows::state::Conversion| c.status == ConversionStatus::FullyEncrypted
            && c.encryption_percentage == 10_000
    );
    on!("C", ENCRYPT, |v| v.encrypt(Some(7), None));
    on!("C", ENCRYPT_AFTER_HARDWARE_TEST, |v| v
        .encrypt_after_hardware_test(None, Some(1)));
    on!("C", DECRYPT, |v| v.decrypt());
    on!("C", PAUSE_CONVERSION, |v| v.pause_conversion());
    on!("C", RESUME_CONVERSION, |v| v.resume_conversion());
    on!("C", PREPARE_VOLUME, |v| v.prepare_volume("<none>", 1));
    on!("C", PREPARE_VOLUME_EX, |v| v.prepare_volume_ex("<none>", 1, 0));
    on!("C", UPGRADE_VOLUME, |v| v.upgrade_volume());

    on!(
        "C",
        GET_ENCRYPTION_METHOD,
        |v| v.get_encryption_method(),
        |m: &keyhaven_windows::state::Method| m.encryption_method()
            == Some(keyhaven_fve::EncryptionMethod::AesXts256)
    );
    on!(
        "C",
        GET_PROTECTION_STATUS,
        |v| v.get_protection_status(),
        |s: &ProtectionStatus| *s == ProtectionStatus::On
    );
    on!("C", GET_LOCK_STATUS, |v| v.get_lock_status(), |s: &LockStatus| *s
        == LockStatus::Unlocked);
    on!("C", GET_HARDWARE_ENCRYPTION_STATUS, |v| v
        .get_hardware_encryption_status());
    on!("C", GET_HARDWARE_TEST_STATUS, |v| v.get_hardware_test_status());
    on!("C", GET_VERSION, |v| v.get_version(), |version: &u32| *version
        == 2);
    on!("C", GET_IDENTIFICATION_FIELD, |v| v.get_identification_field());
    on!("C", SET_IDENTIFICATION_FIELD, |v| v
        .set_identification_field(Some("us")));
    on!("C", GET_SECURE_BOOT_BINDING_STATE, |v| v
        .get_secure_boot_binding_state());

    on!("D", ENABLE_AUTO_UNLOCK, |v| v.enable_auto_unlock(id(2)));
    on!("D", DISABLE_AUTO_UNLOCK, |v| v.disable_auto_unlock());
    on!(
        "D",
        IS_AUTO_UNLOCK_ENABLED,
        |v| v.is_auto_unlock_enabled(),
        |by: &Option<Guid>| by.is_none()
    );
    on!(
        "C",
        IS_AUTO_UNLOCK_KEY_STORED,
        |v| v.is_auto_unlock_key_stored(),
        |stored: &bool| !stored
    );
    on!("C", CLEAR_ALL_AUTO_UNLOCK_KEYS, |v| v
        .clear_all_auto_unlock_keys());
    calls
}

fn call(scene: Scene, call: &Call) -> Result<(), Error> {
    let computer = FakeComputer::new(scene);
    let volumes = volumes(&computer).expect("volumes");
    let volume = volumes
        .iter()
        .find(|volume| volume.is_called(call.on))
        .expect("the volume");
    (call.call)(volume)
}

#[test]
fn every_method_does_what_it_is_for() {
    let calls = calls();
    for method in method::ALL {
        let of_method: Vec<_> = calls.iter().filter(|call| call.method == *method).collect();
        assert_eq!(of_method.len(), 1, "calls of {}", method.name);
    }
    for one in &calls {
        call(scene(), one).unwrap_or_else(|error| panic!("{}: {error}", one.method.name));
    }
}

#[test]
fn every_code_of_every_method_is_told_with_its_meaning() {
    for one in calls() {
        for code in one.method.codes {
            let mut scene = scene();
            for volume in &mut scene.volumes {
                volume.faults.insert(one.method.name.to_owned(), code.0);
            }
            match call(scene, &one) {
                Err(error @ Error::Refused { .. }) => {
                    assert_eq!(error.code(), Some(*code), "{}", one.method.name);
                    let told = error.to_string();
                    assert!(told.contains(code.known().expect("known").meaning), "{told}");
                    assert!(told.contains(one.method.name) && told.contains(one.on), "{told}");
                }
                other => panic!("{} with {code:?}: {other:?}", one.method.name),
            }
        }
    }
}

#[test]
fn a_method_that_a_windows_does_not_have_is_named_so() {
    for one in calls() {
        let mut scene = scene();
        scene.missing_methods.push(one.method.name.to_owned());
        let error = call(scene, &one).expect_err("no such method");
        assert_eq!(
            error.code(),
            Some(Code::WMI_INVALID_METHOD),
            "{}",
            one.method.name
        );
    }
}

#[test]
fn a_locked_drive_tells_its_protectors_and_no_key() {
    let mut locked = scene();
    locked.volumes[1].locked = true;
    let computer = FakeComputer::new(locked);
    let volumes = volumes(&computer).expect("volumes");
    let drive = &volumes[1];
    assert_eq!(drive.get_key_protectors(None).expect("protectors").len(), 5);
    let error = drive
        .get_key_protector_numerical_password(id(1))
        .expect_err("locked");
    assert_eq!(error.code(), Some(Code::LOCKED_VOLUME));

    let wrong = drive.unlock_with_numerical_password(SecretText::copy_of(OTHER_DIGITS));
    assert_eq!(
        wrong.expect_err("wrong").code(),
        Some(Code::FAILED_AUTHENTICATION)
    );
    drive
        .unlock_with_numerical_password(SecretText::copy_of(DIGITS))
        .expect("right");
    assert_eq!(drive.get_lock_status().expect("status"), LockStatus::Unlocked);
    // From now on any key is "right", which is why nothing is proven this way.
    drive
        .unlock_with_numerical_password(SecretText::copy_of(OTHER_DIGITS))
        .expect("as Windows does");
}

#[test]
fn without_rights_or_bitlocker_the_code_says_so() {
    let mut plain_user = scene();
    plain_user.elevated = false;
    let error = volumes(&FakeComputer::new(plain_user))
        .map(drop)
        .expect_err("not elevated");
    assert!(error.code().expect("a code").is_not_elevated());

    let mut home = scene();
    home.has_bitlocker = false;
    let error = volumes(&FakeComputer::new(home))
        .map(drop)
        .expect_err("no BitLocker");
    assert_eq!(error.code(), Some(Code::WMI_INVALID_NAMESPACE));
    assert!(error.to_string().contains("has no BitLocker"), "{error}");
}

#[test]
fn records_have_the_keys_and_what_they_belong_to() {
    let computer = FakeComputer::new(scene());
    let volumes = volumes(&computer).expect("volumes");
    let records = recovery_records(&volumes[0], true).expect("records");
    let [digits, file] = &records[..] else {
        panic!("two records: {records:?}");
    };
    assert_eq!((digits.protector_id, file.protector_id), (id(1), id(2)));
    assert_eq!(digits.volume_id, id(u32::from(b'C')));
    match (&digits.key, &file.key) {
        (RecordKey::RecoveryPassword(key), RecordKey::ExternalKey(_)) => {
            assert_eq!(key.to_digits().expose_secret(), DIGITS);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_changes_is_there_for_the_next_to_open_the_computer() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("computer.json");
    std::fs::write(&file, serde_json::to_vec(&scene()).expect("JSON")).expect("a file");
    let new = {
        let computer = FakeComputer::open(&file).expect("a computer");
        let volumes = volumes(&computer).expect("volumes");
        volumes[0]
            .protect_key_with_numerical_password(None, None)
            .expect("a new key")
    };
    let computer = FakeComputer::open(&file).expect("the computer again");
    let volumes = volumes(&computer).expect("volumes");
    let ids = volumes[0].get_key_protectors(None).expect("protectors");
    assert!(ids.contains(&new), "{ids:?}");
}

#[test]
fn a_volume_answers_to_its_letter_and_its_path() {
    let computer = FakeComputer::new(scene());
    let volumes = volumes(&computer).expect("volumes");
    for name in [
        "C:",
        "c:",
        "C",
        r"C:\",
        r"\\.\C:",
        r"\\?\Volume{C}\",
        r"\\?\volume{c}",
    ] {
        assert!(volumes[0].is_called(name), "{name}");
        assert!(!volumes[1].is_called(name), "{name}");
    }
}
