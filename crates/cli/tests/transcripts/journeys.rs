//! What people do from end to end: every real volume with every way in, and saved keys from the first copy to the bad day.

use std::fs;
use std::process::Command;

use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use keyhaven_testkit::{copy_of, patch, tool};
use serde_json::{Value, json};

use crate::desk::{Desk, image};
use crate::transcript::Transcript;

const VOLUME: &str = "cs-aes-xts-128";
const PROTECTOR_ID: &str = "64311DEA-4587-4029-924A-BA299647998E";

/// The recovery key of image df-recovery_password, format spec 9.3: valid, for another drive.
const OTHER_KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

/// Volumes whose record of encrypted parts was wiped by those who published them: their state cannot be known.
const WITHOUT_RECORD: [&str; 3] = [
    "cs-aes-xts-128-eow",
    "cs-aes-cbc-128-eow",
    "cs-partially-encrypted-aes-cbc-128",
];

/// Returns the recovery keys that a run printed, sorted.
#[track_caller]
fn printed_keys(run: &Transcript) -> Vec<String> {
    let answer = run.json();
    let texts = answer["recovery_keys"].as_array().expect("a list").iter();
    let mut keys: Vec<String> = texts
        .map(|key| key["recovery_key"].as_str().expect("text").to_owned())
        .collect();
    keys.sort();
    keys
}

/// Holds one backup against the manifest; returns the result in words.
#[track_caller]
fn check_backup(run: Transcript, volume: &Volume) -> String {
    let recovery_protectors = volume
        .protectors
        .split('[')
        .next()
        .unwrap_or_default()
        .matches("recovery password")
        .count();
    if recovery_protectors == 0 {
        let run = run.exits(1);
        let is_said = run.stderr.contains("has no recovery key") || run.stderr.contains("is not encrypted");
        assert!(is_said, "{}: {run:#?}", volume.name);
        return "has no recovery key, and says so".to_owned();
    }
    let run = run.exits(0);
    let keys = printed_keys(&run);
    assert_eq!(keys.len(), recovery_protectors, "{}: {run:#?}", volume.name);
    for receipt in run.json()["receipts"].as_array().expect("a list") {
        assert_eq!(receipt["proven"], true, "{}", volume.name);
    }
    let mut published = volume.recovery_keys();
    published.sort_unstable();
    if published.is_empty() {
        return format!("{} recovery key(s), proven; none was published", keys.len());
    }
    assert_eq!(keys, published, "{}", volume.name);
    format!("{} recovery key(s), as published", keys.len())
}

#[test]
fn every_way_in_gives_the_published_recovery_keys() {
    let Some(corpus) = corpus::or_skip() else { return };
    let desk = Desk::new();
    let mut table = Vec::new();
    for volume in corpus.volumes() {
        for secret in volume.all_secrets() {
            let run = desk.unlocking(
                &["--json", "backup", "--to", "stdout", &image(volume)],
                volume,
                secret,
            );
            let result = check_backup(run, volume);
            table.push(format!(
                "{:36} {:10} {result}",
                volume.name,
                format!("{:?}", secret.kind)
            ));
        }
    }
    println!("{}", table.join("\n"));
    assert!(table.len() > 20, "the corpus has more than this");
}

/// Returns the kinds of protector that the manifest's words stand for, sorted.
fn kinds_of(volume: &Volume) -> Vec<&'static str> {
    let words = volume.protectors.split('[').next().unwrap_or_default();
    let mut kinds: Vec<&str> = words
        .split(" + ")
        .filter_map(|word| {
            let kinds = [
                ("password", "password"),
                ("recovery password", "recovery_password"),
                ("external key", "startup_key"),
                ("public key", "public_key"),
                ("clear key", "clear_key"),
            ];
            kinds
                .iter()
                .find(|(said, _)| word.trim().starts_with(said))
                .map(|(_, kind)| *kind)
        })
        .collect();
    kinds.sort_unstable();
    kinds
}

#[track_caller]
fn check_info(info: &Value, volume: &Volume) {
    let name = &volume.name;
    let methods = [
        ("0x8000", "aes-cbc-128-diffuser"),
        ("0x8001", "aes-cbc-256-diffuser"),
        ("0x8002", "aes-cbc-128"),
        ("0x8003", "aes-cbc-256"),
        ("0x8004", "aes-xts-128"),
        ("0x8005", "aes-xts-256"),
        ("none", "none"),
    ];
    let method = methods.iter().find(|(code, _)| volume.cipher.contains(code));
    assert_eq!(
        info["encryption_method"],
        method.expect("a known one").1,
        "{name}"
    );
    assert_eq!(info["sector_size"], volume.sector_size, "{name}");
    let protectors = info["protectors"].as_array().expect("a list");
    let mut kinds: Vec<&str> = protectors
        .iter()
        .map(|protector| protector["kind"].as_str().expect("text"))
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, kinds_of(volume), "{name}");
    for protector in protectors {
        let id = protector["id"].as_str().expect("text");
        assert_eq!(protector["key_id"], id[..8], "{name}");
    }
    // What the upstream knows as `RP_VMK_GUID`, and such.
    for (key, id) in volume
        .protector_ids
        .iter()
        .filter(|(key, _)| key.ends_with("VMK_GUID"))
    {
        let id = id.to_uppercase();
        assert!(
            protectors.iter().any(|own| own["id"] == id.as_str()),
            "{name}: {key}"
        );
    }
    if let Some(id) = volume.protector_ids.get("GUID") {
        assert_eq!(info["volume_id"], id.to_uppercase(), "{name}");
    }
    let state = match name.as_str() {
        name if WITHOUT_RECORD.contains(&name) => "unknown",
        "df-decrypted" => "decrypted",
        "df-eow_partial" => "encrypting",
        "df-win7_partial" => "decryption_paused",
        _ if kinds == ["clear_key"] => "suspended",
        _ => "encrypted",
    };
    assert_eq!(info["state"], state, "{name}");
    let size = info["size_bytes"].as_u64().expect("a number");
    assert!(size >= volume.size, "{name}: {size}");
}

#[test]
fn what_a_drive_tells_is_what_the_manifest_says() {
    let Some(corpus) = corpus::or_skip() else { return };
    let desk = Desk::new();
    for volume in corpus.volumes() {
        let run = desk.keyhaven(["--json", "info", &image(volume)]).go();
        check_info(&run.exits(0).json(), volume);
        println!("{:36} as the manifest says", volume.name);
    }
}

/// Two of the three metadata copies are destroyed; then the boot sector, too.
#[test]
fn damaged_drives_give_the_same() {
    for name in [
        "cs-aes-xts-128-4k",
        "cs-aes-cbc-elephant-128",
        "cs-togo-aes-cbc-128",
        "cs-aes-xts-128-two-recovery",
        "cs-aes-xts-128-startup-key",
        "cs-aes-xts-128-clearkey-only",
    ] {
        let Some(volume) = corpus::volume_or_skip(name) else {
            continue;
        };
        let desk = Desk::new();
        let copy = copy_of(volume.image());
        let path = copy.to_str().unwrap();
        let info = desk.keyhaven(["--json", "info", path]).go().exits(0).json();
        for damaged in &info["metadata_copies"].as_array().unwrap()[..2] {
            patch(&copy, damaged["offset"].as_u64().unwrap(), &[0xA5; 64 * 1024]);
        }
        for headless in [false, true] {
            if headless {
                patch(&copy, 0, &vec![0; volume.sector_size as usize]);
            }
            let run = desk.keyhaven(["--json", "info", path]).go().exits(0);
            assert!(run.stderr.contains("copy 3 is used"), "{name}: {run:#?}");
            check_info(&run.json(), &volume);
            for secret in volume.all_secrets() {
                let run = desk.unlocking(&["--json", "backup", "--to", "stdout", path], &volume, secret);
                check_backup(run, &volume);
            }
        }
    }
}

#[test]
fn a_drive_without_a_recovery_key_says_so_before_it_asks() {
    let Some(volume) = corpus::volume_or_skip("df-aes_128") else {
        return;
    };
    let desk = Desk::new();
    let run = desk
        .keyhaven([
            "backup",
            "--to",
            &format!("file:{}", desk.arg("keys")),
            &image(&volume),
        ])
        .go()
        .exits(1);
    for part in [
        "has no recovery key: nobody ever added one",
        "hint: add one on Windows",
    ] {
        assert!(run.stderr.contains(part), "{run:#?}");
    }
    assert_eq!(desk.names_in("keys"), [""; 0]);
}

#[test]
fn both_recovery_keys_of_a_drive_are_saved() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128-two-recovery") else {
        return;
    };
    let desk = Desk::new();
    let to = format!("file:{}", desk.arg("keys"));
    let run = desk
        .with(
            SecretKind::Password,
            &["backup", "--to", &to, &image(&volume)],
            &volume,
        )
        .exits(0);
    assert_eq!(
        run.stderr.matches("saved and proven: key ID ").count(),
        2,
        "{run:#?}"
    );
    let ids = [
        &volume.protector_ids["RP_VMK_GUID"],
        &volume.protector_ids["RP2_VMK_GUID"],
    ];
    let mut names = ids.map(|id| format!("BitLocker Recovery Key {}.TXT", id.to_uppercase()));
    names.sort();
    assert_eq!(desk.names_in("keys"), names);
    // One name cannot be that of both.
    let to = format!("file:{}", desk.arg("one.txt"));
    let run = desk
        .with(
            SecretKind::Password,
            &["backup", "--to", &to, &image(&volume)],
            &volume,
        )
        .exits(2);
    assert!(run.stderr.contains("one.txt"), "{run:#?}");
    assert!(!desk.path("one.txt").exists());
}

/// Saves the key of `VOLUME` to places, with options; each must be proven.
#[track_caller]
fn save(desk: &Desk, volume: &Volume, places: &[String], options: &[&str]) {
    let image = image(volume);
    let mut arguments = vec!["--json", "backup", &image];
    for place in places {
        arguments.extend(["--to", place]);
    }
    arguments.extend(options);
    let run = desk.with(SecretKind::Password, &arguments, volume).exits(0);
    let answer = run.json();
    let receipts = answer["receipts"].as_array().expect("a list");
    assert_eq!(receipts.len(), places.len(), "{run:#?}");
    for (receipt, place) in receipts.iter().zip(places) {
        assert_eq!(receipt["place"], place.as_str());
        assert_eq!(receipt["protector_id"], PROTECTOR_ID);
        assert_eq!(receipt["proven"], true, "{run:#?}");
        assert_eq!(receipt["already_saved"], false, "{run:#?}");
        let path = receipt["path"].as_str().expect("a path");
        assert!(fs::metadata(path).is_ok(), "{path}");
    }
}

/// Finds and proves what lies at a path: by drive, by whole and short key ID.
#[track_caller]
fn found_and_proven(desk: &Desk, drive: &str, path: &str, options: &[&str]) {
    let run = |arguments: &[&str]| desk.keyhaven(arguments.iter().chain(options)).go().exits(0);
    let answer = run(&["--json", "verify", drive, path]).json();
    assert_eq!(answer["results"][0]["verdict"], "opens", "{answer}");
    assert_eq!(answer["results"][0]["protector_id"], PROTECTOR_ID);
    let answer = run(&["--json", "find", drive, path]).json();
    assert_eq!(answer["results"][0]["verdict"], "opens", "{answer}");
    // There is no drive to try it on.
    let answer = run(&["--json", "find", "64311dea", path]).json();
    assert_eq!(answer["results"][0]["protector_id"], PROTECTOR_ID, "{answer}");
    assert_eq!(answer["results"][0]["verdict"], Value::Null);
}

#[test]
fn each_kind_of_copy_is_found_and_proven() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let drive = image(&volume);
    let passphrase = format!("file:{}", desk.write("passphrase", "vermilion-Zq7\n"));
    let passphrase = ["--passphrase", &passphrase];
    let places = [
        format!("file:{}", desk.arg("keys")),
        format!("file:{}", desk.arg("named.txt")),
        format!("pdf:{}", desk.arg("page.pdf")),
        format!("vault:{}", desk.arg("keys.age")),
    ];
    save(&desk, &volume, &places, &passphrase);
    for (name, options) in [
        ("keys", &[][..]),
        ("named.txt", &[]),
        ("page.pdf", &[]),
        ("keys.age", &passphrase),
    ] {
        found_and_proven(&desk, &drive, &desk.arg(name), options);
    }
    desk.keyhaven(["find", PROTECTOR_ID, &desk.arg("keys")])
        .go()
        .exits(0);
    // Without places, those that were noted are looked at: the vault is closed, and said to be.
    let run = desk.keyhaven(["--json", "find", &drive]).go().exits(0);
    let verdicts = run.json();
    let verdicts = verdicts["results"].as_array().unwrap();
    assert_eq!(verdicts.len(), 3, "{run:#?}");

    // The same again is no news, and nothing is written twice.
    let before = fs::read(desk.path("named.txt")).unwrap();
    let mut arguments = vec!["--json", "backup", &drive];
    for place in &places[..3] {
        arguments.extend(["--to", place]);
    }
    let run = desk.with(SecretKind::Password, &arguments, &volume).exits(0);
    for receipt in run.json()["receipts"].as_array().unwrap() {
        assert_eq!(
            (&receipt["already_saved"], &receipt["proven"]),
            (&json!(true), &json!(true))
        );
    }
    assert_eq!(fs::read(desk.path("named.txt")).unwrap(), before);
    assert_eq!(desk.names_in("keys").len(), 1);
}

#[test]
fn a_vault_for_a_public_key_is_opened_by_its_owner() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let (Some(age), Some(age_keygen)) = (tool::find("age"), tool::find("age-keygen")) else {
        return;
    };
    let desk = Desk::new();
    let identity = desk.arg("identity");
    let made = Command::new(age_keygen).args(["-o", &identity]).output().unwrap();
    assert!(made.status.success());
    let said = String::from_utf8(made.stderr).unwrap();
    let recipient = said.trim().rsplit(' ').next().unwrap();
    let place = format!("vault:{}", desk.arg("keys.age"));

    // Nobody can prove a vault that only somebody else can open.
    let options = [
        "backup",
        &image(&volume),
        "--to",
        &place,
        "--recipient",
        recipient,
    ];
    let run = desk.with(SecretKind::Password, &options, &volume).exits(1);
    assert!(run.stderr.contains("SAVED, NOT PROVEN"), "{run:#?}");
    fs::remove_file(desk.path("keys.age")).unwrap();

    save(
        &desk,
        &volume,
        &[place],
        &["--recipient", recipient, "--identity", &identity],
    );
    let vault = desk.arg("keys.age");
    found_and_proven(&desk, &image(&volume), &vault, &["--identity", &identity]);
    let opened = Command::new(age)
        .args(["-d", "-i", &identity, &vault])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&opened.stdout).into_owned();
    assert!(
        text.contains(volume.recovery_keys()[0]),
        "the stock tool opens it"
    );
    // Closed, it is no answer.
    let run = desk.keyhaven(["verify", &image(&volume), &vault]).go().exits(1);
    assert!(run.stdout.contains("unreadable"), "{run:#?}");
}

#[test]
fn wrong_copies_are_told_apart() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let drive = image(&volume);
    let key = volume.recovery_keys()[0];
    let place = format!("file:{}", desk.arg("right.txt"));
    save(&desk, &volume, &[place], &[]);
    let right = fs::read(desk.path("right.txt")).unwrap();
    let with = |key_there: &str| {
        let units: Vec<u16> = right
            .chunks(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        let text = String::from_utf16(&units).unwrap().replace(key, key_there);
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    assert_eq!(with(key), right);
    let blocks: Vec<&str> = key.split('-').collect();
    let verdict = |name: &str, content: &[u8], code: i32| {
        let file = desk.write(name, content);
        let run = desk
            .keyhaven(["--json", "verify", &drive, &file])
            .go()
            .exits(code);
        let answer = run.json();
        assert_eq!(answer["results"].as_array().unwrap().len(), 1, "{run:#?}");
        let result = &answer["results"][0];
        assert_eq!(result["place"], file.as_str());
        (
            result["verdict"].as_str().unwrap().to_owned(),
            result["bad_blocks"].clone(),
        )
    };
    // One digit in each block in turn.
    for (number, block) in (1..).zip(&blocks) {
        let last = block.as_bytes()[5];
        let other = if last == b'9' { '0' } else { char::from(last + 1) };
        let mut mistyped = blocks.clone();
        let wrong = format!("{}{other}", &block[..5]);
        mistyped[number - 1] = &wrong;
        let (verdict, bad_blocks) = verdict("copy.txt", &with(&mistyped.join("-")), 1);
        assert_eq!((verdict.as_str(), &bad_blocks), ("mistyped", &json!([number])));
    }
    let run = desk
        .keyhaven(["find", &drive, &desk.arg("copy.txt")])
        .go()
        .exits(1);
    assert!(run.stdout.contains("copy.txt: mistyped, block 8"), "{run:#?}");

    let other = format!("Identifier: 9A2F3B10-1111-4222-8333-444455556666\nRecovery Key: {OTHER_KEY}\n");
    assert_eq!(verdict("other.txt", other.as_bytes(), 1).0, "other_drive");
    assert_eq!(verdict("bare.txt", OTHER_KEY.as_bytes(), 1).0, "other_drive");
    assert_eq!(verdict("wrong.txt", &with(OTHER_KEY), 1).0, "wrong_key");
    assert_eq!(verdict("letter.txt", b"Dear Sir or Madam\n", 1).0, "unreadable");
    let run = desk
        .keyhaven(["find", &drive, &desk.arg("other.txt")])
        .go()
        .exits(1);
    assert!(run.stdout.starts_with("no key of "), "{run:#?}");
    let run = desk
        .keyhaven(["find", "9a2f3b10", &desk.arg("other.txt")])
        .go()
        .exits(0);
    assert!(run.stdout.starts_with("9A2F3B10  "), "{run:#?}");
    // Not enough of an ID, and no drive either.
    let run = desk
        .keyhaven(["find", "9a2f", &desk.arg("other.txt")])
        .go()
        .exits(2);
    assert!(
        run.stderr
            .contains("hint: a key ID is given by its first 8 characters"),
        "{run:#?}"
    );
    desk.keyhaven(["find", "64311DEA", &desk.arg("other.txt")])
        .go()
        .exits(1);
    // A place that is not there is no answer.
    desk.keyhaven(["verify", &drive, &desk.arg("nowhere")])
        .go()
        .exits(2);
    // One good copy in each place is what counts.
    desk.keyhaven(["verify", &drive, &desk.arg("right.txt")])
        .go()
        .exits(0);
    desk.keyhaven(["verify", &drive, &desk.arg("right.txt"), &desk.arg("other.txt")])
        .go()
        .exits(1);
}

#[test]
fn names_that_are_taken_are_left_alone() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let passphrase = format!("file:{}", desk.write("passphrase", "vermilion-Zq7\n"));
    let drive = image(&volume);
    for place in ["file", "pdf", "vault"] {
        let file = desk.write("taken", "somebody's letter\n");
        let place = format!("{place}:{file}");
        let arguments = [
            "--json",
            "backup",
            &drive,
            "--to",
            &place,
            "--passphrase",
            &passphrase,
        ];
        let run = desk.with(SecretKind::Password, &arguments, &volume).exits(2);
        let answer = run.json();
        assert_eq!(answer["receipts"], json!([]), "{run:#?}");
        assert_eq!(answer["failures"][0]["place"], place);
        let reason = answer["failures"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("taken` exists already"), "{run:#?}");
        assert_eq!(fs::read(desk.path("taken")).unwrap(), b"somebody's letter\n");
    }
    // The other places are done all the same.
    let (taken, free) = (
        format!("file:{}", desk.arg("taken")),
        format!("file:{}", desk.arg("free")),
    );
    let arguments = ["backup", &drive, "--to", &taken, "--to", &free];
    let run = desk.with(SecretKind::Password, &arguments, &volume).exits(2);
    assert!(run.stderr.contains("error: file:"), "{run:#?}");
    assert!(
        run.stderr.contains("saved and proven: key ID 64311DEA"),
        "{run:#?}"
    );
    assert!(!run.stderr.contains("Every copy"), "{run:#?}");
    desk.keyhaven(["verify", &drive, &desk.arg("free")]).go().exits(0);
}

#[test]
fn the_status_tells_whether_copies_are_good_now() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let drive = image(&volume);
    let status = |code: i32| {
        let run = desk.keyhaven(["--json", "status", &drive]).go().exits(code);
        let answer = run.json();
        let keys = answer["drives"][0]["keys"].as_array().unwrap();
        let states = keys.iter().map(|key| key["state"].as_str().unwrap().to_owned());
        let now = keys[0]["copies"].as_array().unwrap().iter();
        let mut now: Vec<String> = now.map(|copy| copy["now"].as_str().unwrap().to_owned()).collect();
        now.sort();
        (states.collect::<Vec<_>>(), now)
    };
    let said = |code: i32| desk.keyhaven(["status", &drive]).go().exits(code).stdout;
    assert_eq!(status(1).0, ["never_backed_up"]);
    assert!(said(1).contains("key ID 64311DEA  NOT SAFE: never backed up"));

    let places = ["one.txt", "two.txt"].map(|name| format!("file:{}", desk.arg(name)));
    save(&desk, &volume, &places, &[]);
    assert_eq!(
        status(0),
        (vec!["proven".to_owned()], vec!["opens".to_owned(); 2])
    );

    // One is lost, the other still good.
    let good = fs::read(desk.path("two.txt")).unwrap();
    fs::remove_file(desk.path("one.txt")).unwrap();
    assert_eq!(status(0).1, ["missing", "opens"]);
    assert!(said(0).contains("one.txt: is not there\n"));

    // The other is damaged.
    let damaged = String::from_utf8(
        good.iter()
            .copied()
            .filter(|byte| *byte < 0x80 && *byte != 0)
            .collect(),
    )
    .unwrap()
    .replace(
        volume.recovery_keys()[0],
        &volume.recovery_keys()[0].replace("241120", "241121"),
    );
    fs::write(desk.path("two.txt"), damaged).unwrap();
    assert_eq!(status(1).1, ["missing", "mistyped"]);
    let text = said(1);
    assert!(
        text.contains("NOT SAFE: none of the copies that were noted is good now"),
        "{text}"
    );
    assert!(
        text.contains("two.txt: is damaged: its digits no longer check\n"),
        "{text}"
    );
    fs::remove_file(desk.path("two.txt")).unwrap();
    assert_eq!(
        status(1),
        (vec!["missing".to_owned()], vec!["missing".to_owned(); 2])
    );

    // It is back; and a key that the drive no longer has is stale.
    fs::write(desk.path("two.txt"), good).unwrap();
    let ledger = desk.path("state/keyhaven/ledger.json");
    let mut noted: Value = serde_json::from_slice(&fs::read(&ledger).unwrap()).unwrap();
    let entries = noted["entries"].as_array_mut().expect("a list");
    let one = entries
        .iter_mut()
        .find(|entry| entry["path"].as_str().unwrap().ends_with("one.txt"));
    one.unwrap()["protector_id"] = json!("0DD5EED5-0000-4000-8000-000000000000");
    fs::write(&ledger, noted.to_string()).unwrap();
    assert_eq!(status(0).0, ["proven", "stale"]);
    let text = said(0);
    assert!(
        text.contains("key ID 0DD5EED5  stale: the drive no longer has this key"),
        "{text}"
    );
}

#[test]
fn what_windows_noted_is_no_proof() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128-two-recovery") else {
        return;
    };
    let desk = Desk::new();
    let run = desk.keyhaven(["--json", "status", &image(&volume)]).go().exits(1);
    let answer = run.json();
    let keys = answer["drives"][0]["keys"].as_array().unwrap();
    let states: Vec<&str> = keys.iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["never_proven", "never_backed_up"]);
    assert_eq!(
        keys[0]["backup_hints"],
        json!(["saved on 2025-03-09T09:06:44.701Z"])
    );
}

#[test]
fn drives_that_are_not_here_are_told_from_what_was_noted() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let place = format!("file:{}", desk.arg("key.txt"));
    save(&desk, &volume, &[place], &[]);
    let of_it = || {
        let run = desk.keyhaven(["--json", "status"]).go();
        let answer = run.json();
        let drives = answer["drives"].as_array().unwrap();
        let drive = drives
            .iter()
            .find(|drive| drive["drive"] == image(&volume).as_str());
        drive.unwrap_or_else(|| panic!("{run:#?}")).clone()
    };
    let drive = of_it();
    assert_eq!(drive["present"], false);
    assert_eq!(drive["keys"][0]["state"], "proven");
    assert_eq!(drive["keys"][0]["copies"][0]["now"], "not_checked");
    fs::remove_file(desk.path("key.txt")).unwrap();
    assert_eq!(of_it()["keys"][0]["state"], "missing");
}

#[test]
fn the_status_of_a_drive_without_a_recovery_key_is_no_good_news() {
    for (name, code, said) in [
        ("df-aes_128", 1, "  NOT SAFE: has no recovery key"),
        ("df-decrypted", 0, "  is not encrypted: it needs no recovery key"),
    ] {
        let Some(volume) = corpus::volume_or_skip(name) else {
            continue;
        };
        let desk = Desk::new();
        let run = desk.keyhaven(["status", &image(&volume)]).go().exits(code);
        assert!(run.stdout.contains(said), "{run:#?}");
        let run = desk
            .keyhaven(["--json", "status", &image(&volume)])
            .go()
            .exits(code);
        assert_eq!(run.json()["drives"][0]["encrypted"], code == 1, "{run:#?}");
    }

    // Its only recovery key was taken off; the copies of that are no help.
    let Some(volume) = corpus::volume_or_skip("df-aes_128") else {
        return;
    };
    let desk = Desk::new();
    let info = desk
        .keyhaven(["--json", "info", &image(&volume)])
        .go()
        .exits(0)
        .json();
    fs::create_dir(desk.path("state/keyhaven")).unwrap();
    let noted = json!({ "version": 1, "entries": [{
        "volume_id": info["volume_id"],
        "protector_id": "0DD5EED5-0000-4000-8000-000000000000",
        "kind": "recovery_password",
        "place": "file:/gone/key.txt",
        "path": "/gone/key.txt",
        "drive": "/dev/gone",
        "saved_at": "2026-01-01T00:00:00Z",
        "last_proven_at": "2026-01-01T00:00:00Z",
    }]});
    fs::write(desk.path("state/keyhaven/ledger.json"), noted.to_string()).unwrap();
    let run = desk.keyhaven(["status", &image(&volume)]).go().exits(1);
    assert!(run.stdout.contains("NOT SAFE: has no recovery key"), "{run:#?}");
    assert!(run.stdout.contains("key ID 0DD5EED5  stale"), "{run:#?}");
}
