//! A Windows PC that is made up: its drives are listed, backed up, proven, changed, unlocked and locked through what Windows
//! answers. One of them lies on a real volume, so that our own reader has the last word on it.

use std::collections::BTreeMap;
use std::fs;

use keyhaven_testkit::corpus::{self, SecretKind};
use keyhaven_windows::Code;
use keyhaven_windows::fake::{Backup, Protector, Scene, Volume};
use keyhaven_windows::state::ProtectorType;
use serde_json::Value;

use crate::desk::{Desk, image};
use crate::transcript::{Run, Transcript};

/// Where the made-up computer is described.
pub(crate) const VARIABLE: &str = "KEYHAVEN_FAKE_WINDOWS";

/// A password of the locked stick.
const PASSWORD: &str = "vermilion ladder";

/// Returns 48 digits that are a recovery key.
fn digits(number: u32) -> String {
    let blocks = (1..=8).map(|place| format!("{:06}", (number * 100 + place) * 11));
    blocks.collect::<Vec<_>>().join("-")
}

fn id(number: u32) -> String {
    format!("{{{number:08X}-0000-4000-8000-00000000000A}}")
}

fn protector(number: u32, kind: ProtectorType, secret: &str) -> Protector {
    Protector {
        id: id(number),
        kind: kind.number(),
        name: String::new(),
        secret: secret.to_owned(),
        backups: Vec::new(),
    }
}

fn recovery(number: u32) -> Protector {
    protector(number, ProtectorType::NumericalPassword, &digits(number))
}

fn volume(letter: &str, number: u32, volume_type: u32, protectors: Vec<Protector>) -> Volume {
    Volume {
        device_id: format!(r"\\?\Volume{{{letter}}}\"),
        drive_letter: Some(format!("{letter}:")),
        volume_id: id(number),
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

/// The drives of the PC: the drive of Windows (TPM and recovery key, backed up to an account), a data drive that unlocks by
/// itself, a locked stick, a suspended drive, one that is being encrypted, one without a recovery key, and one without a
/// letter that is not encrypted.
pub(crate) fn scene() -> Scene {
    let mut system_key = recovery(0x11);
    system_key.backups.push(Backup {
        bit: 2,
        account: "an***@example.com".to_owned(),
    });
    let system = volume(
        "C",
        0x10,
        0,
        vec![protector(0x12, ProtectorType::Tpm, ""), system_key],
    );
    let mut data = volume(
        "D",
        0x20,
        1,
        vec![
            recovery(0x21),
            protector(0x22, ProtectorType::ExternalKey, &"5a".repeat(32)),
            protector(0x23, ProtectorType::Passphrase, PASSWORD),
        ],
    );
    data.auto_unlock = Some(id(0x22));
    let mut stick = volume(
        "E",
        0x30,
        2,
        vec![
            recovery(0x31),
            protector(0x32, ProtectorType::Passphrase, PASSWORD),
        ],
    );
    stick.locked = true;
    let mut suspended = volume("F", 0x40, 1, vec![recovery(0x41)]);
    suspended.suspended = Some(0);
    let mut converting = volume("G", 0x50, 1, vec![recovery(0x51)]);
    converting.conversion = 2;
    converting.percentage = 37;
    let keyless = volume(
        "H",
        0x60,
        1,
        vec![protector(0x61, ProtectorType::Passphrase, PASSWORD)],
    );
    let mut plain = volume("P", 0x70, 1, Vec::new());
    plain.drive_letter = None;
    plain.volume_id = String::new();
    plain.conversion = 0;
    plain.method = 0;
    Scene {
        elevated: true,
        has_bitlocker: true,
        missing_methods: Vec::new(),
        volumes: vec![system, data, stick, suspended, converting, keyless, plain],
        made: 0,
    }
}

/// The PC, and a desk beside it.
struct Pc {
    desk: Desk,
}

impl Pc {
    fn new(scene: &Scene) -> Self {
        let pc = Self { desk: Desk::new() };
        pc.desk
            .write("pc.json", serde_json::to_vec_pretty(scene).unwrap());
        pc
    }

    fn start(&self, arguments: &[&str]) -> Run {
        self.desk
            .keyhaven(arguments)
            .env(VARIABLE, &self.desk.arg("pc.json"))
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Transcript {
        let run = self.start(arguments).go();
        // No verb here has the purpose to show a key.
        for number in [0x11, 0x21, 0x31, 0x41, 0x51] {
            let key = digits(number);
            assert!(
                !run.stdout.contains(&key) && !run.stderr.contains(&key),
                "{run:#?}"
            );
        }
        run
    }

    fn scene(&self) -> Scene {
        serde_json::from_slice(&fs::read(self.desk.path("pc.json")).unwrap()).unwrap()
    }

    fn volume(&self, letter: &str) -> Volume {
        let named = format!("{letter}:");
        let mut volumes = self.scene().volumes.into_iter();
        volumes
            .find(|volume| volume.drive_letter.as_deref() == Some(&*named))
            .unwrap()
    }

    fn recovery_ids(&self, letter: &str) -> Vec<String> {
        let protectors = self.volume(letter).protectors.into_iter();
        protectors
            .filter(|own| own.kind == ProtectorType::NumericalPassword.number())
            .map(|own| own.id)
            .collect()
    }

    fn place(&self) -> String {
        format!("file:{}", self.desk.arg("keys"))
    }
}

fn named<'a>(drives: &'a Value, key: &str, name: &str) -> &'a Value {
    let mut drives = drives.as_array().unwrap().iter();
    drives
        .find(|drive| drive[key] == name)
        .unwrap_or_else(|| panic!("{name} is missing"))
}

/// A PC with one more drive, `R:`, that lies on a real volume and whose key Windows knows.
fn with_a_real_drive(scene: &mut Scene) -> Option<corpus::Volume> {
    let known = corpus::volume_or_skip("cs-aes-xts-128")?;
    let info = Desk::new()
        .keyhaven(["info", "--json", &image(&known)])
        .go()
        .exits(0)
        .json();
    let kind = |name: &Value| match name.as_str().unwrap() {
        "recovery_password" => ProtectorType::NumericalPassword,
        "password" => ProtectorType::Passphrase,
        "startup_key" => ProtectorType::ExternalKey,
        other => panic!("what is {other} to Windows?"),
    };
    let secret = |kind| match kind {
        ProtectorType::NumericalPassword => known.recovery_keys()[0].to_owned(),
        _ => String::new(),
    };
    let protectors = info["protectors"].as_array().unwrap().iter().map(|own| {
        let kind = kind(&own["kind"]);
        Protector {
            id: format!("{{{}}}", own["id"].as_str().unwrap()),
            ..protector(0, kind, &secret(kind))
        }
    });
    let mut real = volume("R", 0, 1, protectors.collect());
    real.volume_id = format!("{{{}}}", info["volume_id"].as_str().unwrap());
    real.method = 6;
    real.raw = Some(image(&known));
    scene.volumes.push(real);
    Some(known)
}

#[test]
fn all_drives_are_listed_with_what_windows_says() {
    let pc = Pc::new(&scene());
    let run = pc.run(&["drives"]).exits(0);
    let line = |start: &str| {
        let mut lines = run.stdout.lines();
        lines
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no {start} in {run:#?}"))
    };
    assert!(line("C:").contains("runs Windows"));
    assert!(line("C:").contains("Windows remembers a backup to a Microsoft account (an***@example.com)"));
    assert!(line("D:").contains("unlocks by itself"));
    assert!(line("E:").contains("locked") && line("E:").contains("00000031"));
    assert!(line("F:").contains("suspended"));
    assert!(line("G:").contains("being encrypted, 37 % done"));
    assert!(line("H:").contains("NO RECOVERY KEY"));
    assert!(line(r"\\?\Volume{P}").contains("not encrypted"));

    let drives = pc.run(&["drives", "--json"]).exits(0).json();
    let stick = named(&drives["drives"], "device", "E:");
    assert_eq!(stick["windows"]["protection"], "locked");
    assert_eq!(stick["windows"]["type"], "removable");
    assert_eq!(stick["key_ids"][0], "00000031");
    let system = named(&drives["drives"], "device", "C:");
    assert_eq!(system["encryption_method"], "aes-xts-256");
    assert_eq!(system["windows_backups"][0]["backups"][0]["bit"], 2);
}

#[test]
fn every_unlocked_drive_is_backed_up_at_once() {
    let mut scene = scene();
    let Some(_real) = with_a_real_drive(&mut scene) else {
        return;
    };
    let pc = Pc::new(&scene);
    // The stick is locked, and H: has no recovery key: that is an answer of no.
    let answer = pc.run(&["backup", "--json", "--to", &pc.place()]).exits(1).json();
    for (drive, proven_by) in [
        ("C:", "windows"),
        ("D:", "windows"),
        ("F:", "windows"),
        ("G:", "windows"),
        ("R:", "drive"),
    ] {
        let saved = named(&answer["drives"], "drive", drive);
        assert_eq!(saved["receipts"][0]["proven"], true, "{drive}");
        assert_eq!(saved["receipts"][0]["proven_by"], proven_by, "{drive}");
    }
    assert_eq!(answer["drives"].as_array().unwrap().len(), 5);
    let locked = named(&answer["left_out"], "drive", "E:");
    assert!(locked["reason"].as_str().unwrap().contains("is locked"));
    let keyless = named(&answer["left_out"], "drive", "H:");
    assert!(
        keyless["hints"][0]
            .as_str()
            .unwrap()
            .contains("--add-recovery-key")
    );
    assert_eq!(pc.desk.names_in("keys").len(), 5);

    // What was saved is what other verbs find.
    let status = pc.run(&["status", "--json"]).exits(1).json();
    for drive in ["C:", "D:", "F:", "G:", "R:"] {
        let own = named(&status["drives"], "drive", drive);
        assert_eq!(own["keys"][0]["state"], "proven", "{drive}");
    }
    assert_eq!(named(&status["drives"], "drive", "C:")["protection"], "on");
    assert_eq!(
        named(&status["drives"], "drive", "E:")["keys"][0]["state"],
        "never_backed_up"
    );
    pc.run(&["verify", "D:", &pc.desk.arg("keys")]).exits(0);
    pc.run(&["verify", "R:", &pc.desk.arg("keys")]).exits(0);
    for (drive, key_id) in [("C:", "00000011"), ("R:", "")] {
        let run = pc.run(&["find", drive, &pc.desk.arg("keys")]).exits(0);
        assert!(
            run.stdout.contains("opens the drive") && run.stdout.contains(key_id),
            "{run:#?}"
        );
    }
    pc.run(&["find", "C:"]).exits(0);
    let run = pc.run(&["find", "H:", &pc.desk.arg("keys")]).exits(1);
    assert!(run.stdout.contains("no key of H: was found"), "{run:#?}");
}

#[test]
fn what_is_said_while_it_is_backed_up_is_plain() {
    let pc = Pc::new(&scene());
    let run = pc.run(&["backup", "G:", "--to", &pc.place()]).exits(0);
    assert!(
        run.stderr.contains("it is being encrypted, 37 % done"),
        "{run:#?}"
    );
    assert!(
        run.stderr.contains("saved and proven: key ID 00000051"),
        "{run:#?}"
    );
    assert!(
        run.stderr.contains("the key that Windows says opens the drive"),
        "{run:#?}"
    );
    let run = pc.run(&["backup", "E:", "--to", &pc.place()]).exits(1);
    assert!(run.stderr.contains("keyhaven unlock E:"), "{run:#?}");
    let run = pc
        .run(&["backup", r"\\?\Volume{P}\", "--to", &pc.place()])
        .exits(1);
    assert!(run.stderr.contains("is not encrypted"), "{run:#?}");
    // Nothing is changed by that.
    assert_eq!(
        serde_json::to_value(pc.scene()).unwrap(),
        serde_json::to_value(scene()).unwrap()
    );
}

#[test]
fn a_recovery_key_is_added_where_there_is_none() {
    let pc = Pc::new(&scene());
    pc.run(&["backup", "H:", "--to", &pc.place()]).exits(1);
    assert!(pc.recovery_ids("H").is_empty());
    let answer = pc
        .run(&[
            "backup",
            "h:",
            "--json",
            "--add-recovery-key",
            "--to",
            &pc.place(),
        ])
        .exits(0)
        .json();
    let [added] = pc.recovery_ids("H").try_into().unwrap();
    let protector_id = answer["receipts"][0]["protector_id"].as_str().unwrap();
    assert_eq!(added, format!("{{{protector_id}}}"));
    assert_eq!(pc.desk.names_in("keys").len(), 1);
    // Once there is one, no other is added.
    pc.run(&["backup", "H:", "--add-recovery-key", "--to", &pc.place()])
        .exits(0);
    assert_eq!(pc.recovery_ids("H").len(), 1);
}

#[test]
fn a_key_that_does_not_open_the_drive_is_told_whatever_windows_says() {
    let mut scene = scene();
    let Some(_real) = with_a_real_drive(&mut scene) else {
        return;
    };
    let real = scene.volumes.last_mut().unwrap();
    for own in &mut real.protectors {
        if own.kind == ProtectorType::NumericalPassword.number() {
            own.secret = digits(0x77);
        }
    }
    let pc = Pc::new(&scene);
    let run = pc.run(&["backup", "R:", "--to", &pc.place()]).exits(1);
    assert!(run.stderr.contains("SAVED, NOT PROVEN"), "{run:#?}");
    let run = pc.run(&["backup", "R:", "--json", "--to", &pc.place()]).exits(1);
    assert_eq!(run.json()["receipts"][0]["proven"], false);
    let report = pc.run(&["report", "--json"]).exits(0).json();
    let text = report.to_string();
    assert!(text.contains("\"opens_the_drive\":false"), "{text}");
}

#[test]
fn windows_and_the_medium_are_compared() {
    let mut scene = scene();
    let Some(_real) = with_a_real_drive(&mut scene) else {
        return;
    };
    let pc = Pc::new(&scene);
    let info = pc.run(&["info", "R:", "--json"]).exits(0);
    assert_eq!(info.json()["differences"].as_array().unwrap().len(), 0);
    assert_eq!(info.json()["windows"]["protection"], "on");
    assert_eq!(info.json()["format"], "windows7");
    assert!(!info.stderr.contains("warning"), "{info:#?}");

    scene.volumes.last_mut().unwrap().protectors.push(recovery(0x99));
    scene.volumes.last_mut().unwrap().volume_id = id(0x98);
    let pc = Pc::new(&scene);
    let info = pc.run(&["info", "R:", "--json"]).exits(0);
    assert_eq!(info.json()["differences"].as_array().unwrap().len(), 2);
    assert!(info.stderr.contains("00000098-0000"), "{info:#?}");
    assert!(info.stderr.contains("00000099-0000"), "{info:#?}");
}

#[test]
fn a_drive_is_described_by_windows_where_it_cannot_be_read() {
    let pc = Pc::new(&scene());
    let info = pc.run(&["info", "C:", "--json"]).exits(0).json();
    assert_eq!(info["state"], "encrypted");
    assert_eq!(info["encryption_method"], "aes-xts-256");
    assert_eq!(info["protectors"][0]["kind"], "tpm");
    assert_eq!(info["protectors"][1]["windows_backups"][0]["bit"], 2);
    assert_eq!(info["size_bytes"], Value::Null);
    let run = pc.run(&["info", "F:"]).exits(0);
    assert!(run.stdout.contains("suspended until it is resumed"), "{run:#?}");
    let run = pc.run(&["info", "E:"]).exits(0);
    assert!(run.stdout.contains("BitLocker is locked"), "{run:#?}");
    pc.run(&["info", r"\\?\Volume{P}\"]).exits(1);
}

#[test]
fn windows_own_record_is_shown_and_not_trusted() {
    let mut scene = scene();
    scene.volumes.truncate(2);
    let pc = Pc::new(&scene);
    let run = pc.run(&["status", "-v"]).exits(1);
    assert!(
        run.stdout.contains(
            "Windows remembers a backup to a Microsoft account (an***@example.com): read, not proven"
        ),
        "{run:#?}"
    );
    // Somebody chose a password for D:, so that Windows did not encrypt it by itself.
    let by_itself = "Windows may have encrypted this drive by itself";
    assert!(!run.stdout.contains(by_itself), "{run:#?}");
    scene.volumes[1]
        .protectors
        .retain(|own| own.kind != ProtectorType::Passphrase.number());
    let run = Pc::new(&scene).run(&["status"]).exits(1);
    assert!(run.stdout.contains(by_itself), "{run:#?}");
    let status = pc.run(&["status", "C:", "--json"]).exits(1).json();
    assert_eq!(status["drives"][0]["keys"][0]["state"], "never_proven");

    // An older Windows does not say.
    scene.missing_methods = vec!["GetNumericalPasswordBackupType".to_owned()];
    let pc = Pc::new(&scene);
    let status = pc.run(&["status", "C:", "--json"]).exits(1).json();
    assert_eq!(status["drives"][0]["keys"][0]["state"], "never_backed_up");
    assert!(status["drives"][0]["keys"][0].get("windows_backups").is_none());
}

#[test]
fn windows_is_asked_for_backups_of_its_own() {
    let mut scene = scene();
    scene.volumes[1].faults.insert(
        "BackupRecoveryInformationToCloudDomain".to_owned(),
        Code::DEVICE_NOT_JOINED.0,
    );
    scene.volumes[1]
        .faults
        .insert("BackupRecoveryInformationToActiveDirectory".to_owned(), 1);
    let pc = Pc::new(&scene);
    // It proves nothing, so it is not enough.
    let run = pc.run(&["backup", "D:", "--to", "windows:account"]).exits(1);
    assert!(run.stderr.contains("handed to Windows, not proven"), "{run:#?}");
    assert_eq!(pc.volume("D").protectors[0].backups[0].bit, 2);
    pc.run(&["backup", "D:", "--to", "windows:account", "--to", &pc.place()])
        .exits(0);
    let run = pc.run(&["backup", "D:", "--to", "windows:entra"]).exits(2);
    assert!(run.stderr.contains("has not joined"), "{run:#?}");
    assert!(run.stderr.contains("--to windows:account"), "{run:#?}");
    let run = pc.run(&["backup", "D:", "--to", "windows:ad"]).exits(2);
    assert!(run.stderr.contains("a policy of this computer"), "{run:#?}");
    pc.run(&["backup", "D:", "--to", "windows:elsewhere"]).exits(2);
}

#[test]
fn a_key_is_rotated_and_nothing_else_is_touched() {
    let pc = Pc::new(&scene());
    let before = pc.volume("D");
    let run = pc.run(&["rotate", "D:", "--to", &pc.place()]).exits(2);
    assert!(run.stderr.contains("--yes"), "{run:#?}");
    let answer = pc
        .run(&["rotate", "D:", "--yes", "--json", "--to", &pc.place()])
        .exits(0)
        .json();
    assert_eq!(
        answer["removed_protector_ids"][0],
        id(0x21).trim_matches(['{', '}'])
    );
    let [new] = pc.recovery_ids("D").try_into().unwrap();
    assert_eq!(
        new,
        format!("{{{}}}", answer["new_protector_id"].as_str().unwrap())
    );
    let others = |volume: &Volume| -> Vec<(String, String)> {
        let others = volume
            .protectors
            .iter()
            .filter(|own| own.kind != ProtectorType::NumericalPassword.number());
        others.map(|own| (own.id.clone(), own.secret.clone())).collect()
    };
    assert_eq!(others(&pc.volume("D")), others(&before));
    pc.run(&["verify", "D:", &pc.desk.arg("keys")]).exits(0);
}

#[test]
fn a_rotation_that_cannot_be_proven_leaves_both_keys() {
    let pc = Pc::new(&scene());
    let nowhere = format!("file:{}", pc.desk.arg("nowhere/key.txt"));
    let run = pc.run(&["rotate", "D:", "--yes", "--to", &nowhere]).exits(2);
    assert!(run.stderr.contains("both open the drive now"), "{run:#?}");
    let both = pc.recovery_ids("D");
    assert_eq!(both.len(), 2);
    // It goes on with the key that it has added.
    pc.run(&["rotate", "D:", "--yes", "--to", &pc.place()]).exits(0);
    assert_eq!(pc.recovery_ids("D"), both[1..]);
    // What Windows saves itself is no proof that would let the old key go.
    for verb in [&["rotate"][..], &["protector", "add", "--new-recovery-key"]] {
        let rest = ["D:", "--yes", "--to", "windows:account"];
        let run = pc.run(&[verb, &rest].concat()).exits(2);
        assert!(run.stderr.contains("cannot be read back"), "{run:#?}");
        assert_eq!(pc.recovery_ids("D").len(), 1);
    }
    assert!(pc.volume("D").protectors.iter().all(|own| own.backups.is_empty()));
}

#[test]
fn a_new_key_that_is_not_on_the_drive_lets_no_old_one_go() {
    let mut scene = scene();
    let Some(_real) = with_a_real_drive(&mut scene) else {
        return;
    };
    let pc = Pc::new(&scene);
    // The image beneath stays as it is, whatever Windows says that it has added.
    let run = pc.run(&["rotate", "R:", "--yes", "--to", &pc.place()]).exits(2);
    assert!(run.stderr.contains("which is not on the medium"), "{run:#?}");
    assert!(run.stderr.contains("was not removed"), "{run:#?}");
    assert_eq!(pc.recovery_ids("R").len(), 2);
    let add = ["protector", "add", "R:", "--new-recovery-key", "--yes", "--to"];
    let run = pc.run(&[&add[..], &[pc.place().as_str()]].concat()).exits(2);
    assert!(run.stderr.contains("was not added"), "{run:#?}");
    assert_eq!(pc.recovery_ids("R").len(), 2);
}

#[test]
fn ways_to_unlock_are_added_and_removed() {
    let pc = Pc::new(&scene());
    let list = pc.run(&["protector", "list", "D:", "--json"]).exits(0).json();
    assert_eq!(list["protectors"].as_array().unwrap().len(), 3);
    let nowhere = format!("file:{}", pc.desk.arg("nowhere/key.txt"));
    let add = ["protector", "add", "D:", "--new-recovery-key", "--yes", "--to"];
    let run = pc.run(&[&add[..], &[nowhere.as_str()]].concat()).exits(2);
    assert!(run.stderr.contains("was not added"), "{run:#?}");
    assert_eq!(pc.recovery_ids("D").len(), 1);
    let place = pc.place();
    pc.run(&[&add[..], &[place.as_str()]].concat()).exits(0);
    assert_eq!(pc.recovery_ids("D").len(), 2);

    let keys = pc.desk.arg("keys");
    pc.run(&["protector", "add", "D:", "--yes", "--new-startup-key", &keys])
        .exits(0);
    assert!(pc.desk.names_in("keys").iter().any(|name| name.ends_with(".BEK")));
    pc.run(&["protector", "remove", "D:", "00000021", "--yes"])
        .exits(0);
    let run = pc
        .run(&["protector", "remove", "D:", "00000022", "--yes"])
        .exits(2);
    assert!(run.stderr.contains("unlocks by itself"), "{run:#?}");
    // The TPM opens its drive in this computer only.
    let run = pc
        .run(&["protector", "remove", "C:", "00000011", "--yes"])
        .exits(2);
    assert!(run.stderr.contains("the last way to unlock C:"), "{run:#?}");
}

#[test]
fn protection_is_suspended_for_some_restarts_and_resumed() {
    let pc = Pc::new(&scene());
    pc.run(&["suspend", "C:", "--restarts", "2", "--yes"]).exits(0);
    assert_eq!(pc.volume("C").suspended, Some(2));
    pc.run(&["resume", "C:", "--yes"]).exits(0);
    assert_eq!(pc.volume("C").suspended, None);
    pc.run(&["suspend", "C:", "--yes"]).exits(0);
    assert_eq!(
        pc.volume("C").suspended,
        Some(0),
        "until it is resumed, as elsewhere"
    );
    pc.run(&["suspend", "C:", "--restarts", "16", "--yes"]).exits(2);
    pc.run(&["suspend", "E:", "--yes"]).exits(2);
}

#[test]
fn a_stick_is_unlocked_and_locked() {
    let pc = Pc::new(&scene());
    let with = |secret: &str, option: &str| {
        pc.start(&["unlock", "E:", option, "env:KEYHAVEN_TEST_SECRET"])
            .env("KEYHAVEN_TEST_SECRET", secret)
            .go()
    };
    let run = with(&digits(0x32), "--recovery-key").exits(1);
    assert!(run.stderr.contains("does not open E:"), "{run:#?}");
    assert!(pc.volume("E").locked);
    with("not the password", "--password").exits(1);
    with(&digits(0x31), "--recovery-key").exits(0);
    assert!(!pc.volume("E").locked);
    let run = pc.run(&["unlock", "E:"]).exits(0);
    assert!(run.stderr.contains("unlocked already"), "{run:#?}");
    pc.run(&["lock", "E:"]).exits(0);
    assert!(pc.volume("E").locked);
    with(PASSWORD, "--password").exits(0);
    let run = pc.run(&["lock", "C:"]).exits(2);
    assert!(run.stderr.contains("cannot be locked"), "{run:#?}");
    let run = pc.run(&["unlock", "X:"]).exits(2);
    assert!(run.stderr.contains("Windows knows no drive"), "{run:#?}");

    let mut scene = scene();
    scene.volumes[1]
        .faults
        .insert("Lock".to_owned(), Code::ACCESS_DENIED.0);
    let run = Pc::new(&scene).run(&["lock", "D:"]).exits(2);
    assert!(run.stderr.contains("something uses D:"), "{run:#?}");
}

#[test]
fn a_locked_drive_is_read_as_it_lies() {
    let mut scene = scene();
    let Some(real) = with_a_real_drive(&mut scene) else {
        return;
    };
    scene.volumes.last_mut().unwrap().locked = true;
    let pc = Pc::new(&scene);
    let info = pc.run(&["info", "R:", "--json"]).exits(0).json();
    assert_eq!(info["windows"]["protection"], "locked");
    assert_eq!(info["encryption_method"], "aes-xts-128");
    let password = real
        .all_secrets()
        .find(|secret| secret.kind == SecretKind::Password)
        .expect("the manifest lists one");
    // With what opens it, its key is saved without Windows.
    let answer = pc
        .start(&[
            "backup",
            "R:",
            "--json",
            "--password",
            "env:KEYHAVEN_TEST_SECRET",
            "--to",
            &pc.place(),
        ])
        .env("KEYHAVEN_TEST_SECRET", &password.value)
        .go()
        .exits(0)
        .json();
    assert_eq!(answer["receipts"][0]["proven_by"], "drive");
    pc.run(&["verify", "R:", &pc.desk.arg("keys")]).exits(0);
}

#[test]
fn without_an_administrators_rights_it_is_said_once_what_to_do() {
    let mut scene = scene();
    scene.elevated = false;
    let pc = Pc::new(&scene);
    for verb in [
        &["drives"][..],
        &["backup", "C:", "--to", "windows:account"],
        &["backup", "--to", "windows:account"],
        &["info", "C:"],
        &["rotate", "C:", "--yes", "--to", "file:keys"],
        &["unlock", "E:"],
        &["report"],
        &["status"],
        &["schedule", "--run"],
    ] {
        let run = pc.start(verb).go();
        // What could not be looked at is not said to be safe.
        assert!(matches!(run.code, Some(2) | Some(1)), "{run:#?}");
        assert_eq!(
            run.stderr.matches("only an administrator may ask").count(),
            1,
            "{verb:?}: {run:#?}"
        );
        assert_eq!(
            run.stderr.matches("Run as administrator").count(),
            1,
            "{verb:?}: {run:#?}"
        );
    }
}

#[test]
fn startup_keys_go_to_sticks() {
    let pc = Pc::new(&scene());
    let save = ["backup", "D:", "--save-startup-key", "--to"];
    let run = pc.run(&[&save[..], &[pc.place().as_str()]].concat()).exits(2);
    assert!(run.stderr.contains("`usb` places only"), "{run:#?}");
    let stick = format!("usb:{}", pc.desk.arg("keys"));
    let run = pc.run(&[&save[..], &[stick.as_str()]].concat()).exits(2);
    assert_eq!(
        run.stderr.matches("no removable drive is mounted at").count(),
        1,
        "{run:#?}"
    );
    assert!(pc.desk.names_in("keys").is_empty());
    // Where one is, Windows writes the file; that of a key without a stick is written to a folder.
    let keys = pc.desk.arg("keys");
    pc.run(&["protector", "add", "D:", "--yes", "--new-startup-key", &keys])
        .exits(0);
    let [name] = pc.desk.names_in("keys").try_into().unwrap();
    assert!(name.ends_with(".BEK"), "{name}");
}

#[test]
fn key_packages_are_read_off_the_drive() {
    let mut scene = scene();
    let Some(_real) = with_a_real_drive(&mut scene) else {
        return;
    };
    let pc = Pc::new(&scene);
    let answer = pc
        .run(&["backup", "R:", "--json", "--key-package", "--to", &pc.place()])
        .exits(0)
        .json();
    assert_eq!(answer["key_packages"][0]["proven"], true);
    assert_eq!(pc.desk.names_in("keys").len(), 2);
    // That of a drive that cannot be read is had from Windows' own program.
    let run = pc
        .run(&["backup", "C:", "--key-package", "--to", &pc.place()])
        .exits(2);
    assert!(run.stderr.contains("manage-bde -KeyPackage C:"), "{run:#?}");
    assert_eq!(pc.desk.names_in("keys").len(), 2);
}

#[test]
fn an_unlocked_drive_is_not_written_as_it_lies() {
    let mut scene = scene();
    let Some(_real) = with_a_real_drive(&mut scene) else {
        return;
    };
    let pc = Pc::new(&scene);
    let place = pc.place();
    for verb in [&["encrypt", "R:", "--to", &place][..], &["repair", "R:"]] {
        let run = pc.run(&[verb, &["--yes"]].concat()).exits(2);
        assert!(run.stderr.contains("Windows has unlocked"), "{run:#?}");
    }
}

#[test]
fn a_windows_without_bitlocker_is_told() {
    let mut scene = scene();
    scene.has_bitlocker = false;
    let pc = Pc::new(&scene);
    let run = pc.run(&["backup", "--to", &pc.place()]).exits(2);
    assert!(
        run.stderr.contains("this Windows has no BitLocker to ask"),
        "{run:#?}"
    );
    for verb in ["unlock", "lock"] {
        let run = pc.run(&[verb, "E:"]).exits(2);
        assert!(
            run.stderr.contains("this Windows has no BitLocker to ask"),
            "{run:#?}"
        );
    }
    // Drives and images are read all the same.
    if let Some(known) = corpus::volume_or_skip("cs-aes-xts-128") {
        pc.run(&["info", &image(&known)]).exits(0);
    }
    let run = pc.run(&["info", "C:", "-v"]).exits(2);
    assert!(run.stderr.contains("is read as it lies"), "{run:#?}");
}

#[test]
fn a_computer_that_cannot_be_understood_is_no_crash() {
    let desk = Desk::new();
    let broken = desk.write("pc.json", "{\"volumes\": 7");
    let run = desk.keyhaven(["drives"]).env(VARIABLE, &broken).go();
    assert!(run.stderr.contains("answered in an unknown way"), "{run:#?}");
}

#[test]
fn a_report_can_be_posted() {
    let mut scene = scene();
    let Some(real) = with_a_real_drive(&mut scene) else {
        return;
    };
    let pc = Pc::new(&scene);
    for form in [&["report"][..], &["report", "--json"]] {
        let run = pc.run(form).exits(0);
        let text = run.stdout.to_uppercase();
        assert!(text.contains("GETLOCKSTATUS") && text.contains("TPM"), "{run:#?}");
        for volume in &scene.volumes {
            let ids = volume.protectors.iter().map(|own| own.id.as_str());
            for id in ids.chain([volume.volume_id.as_str(), volume.device_id.as_str()]) {
                let bare = id.trim_matches(['{', '}', '\\']).to_uppercase();
                let begin = bare.get(..8).unwrap_or_default();
                assert!(begin.is_empty() || !text.contains(begin), "{begin} in {text}");
            }
        }
        assert!(!text.contains(real.recovery_keys()[0]), "{text}");
        for name in ["C:", "EXAMPLE.COM", "VOLUME{"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
        assert!(
            !run.stdout.contains(&*std::env::temp_dir().to_string_lossy()),
            "{text}"
        );
    }
}

#[test]
fn the_check_says_what_is_not_safe() {
    let mut scene = scene();
    scene.volumes.truncate(2);
    let pc = Pc::new(&scene);
    let run = pc.run(&["schedule", "--run"]).exits(1);
    assert!(
        run.stdout
            .contains("NOT SAFE: the recovery key 00000021 of D: was never backed up"),
        "{run:#?}"
    );
    pc.run(&["backup", "--to", &pc.place()]).exits(0);
    let run = pc.run(&["schedule", "--run"]).exits(0);
    assert!(
        run.stdout.contains("every recovery key is backed up and proven"),
        "{run:#?}"
    );
}

#[test]
fn verbs_of_a_windows_pc_are_listed_there_only() {
    let pc = Pc::new(&scene());
    let is_listed = |run: &Transcript, verb: &str| {
        let mut lines = run.stdout.lines();
        lines.any(|line| line.split_whitespace().next() == Some(verb))
    };
    let there = pc.run(&["--help"]).exits(0);
    let here = pc.desk.keyhaven(["--help"]).go().exits(0);
    for verb in ["schedule", "report"] {
        assert!(is_listed(&there, verb), "{verb}: {there:#?}");
        assert!(!is_listed(&here, verb), "{verb}: {here:#?}");
    }
}
