//! Right and wrong secrets, as people give them: what is said, and with which exit code.

use std::fs;

use keyhaven_testkit::corpus::{self, SecretKind, Volume};

use crate::transcript::{Transcript, keyhaven};

const WHOLE: i32 = 0;
const NO: i32 = 1;
const COULD_NOT: i32 = 2;

fn prove(volume: &Volume, option: &str, secret: &str) -> Transcript {
    let image = volume.image();
    keyhaven(["verify".as_ref(), image.as_os_str(), option.as_ref()])
        .env("SECRET", secret)
        .go()
}

/// Each row: how it is given, the secret, the exit code, and what must be said.
#[track_caller]
fn rows(volume: &Volume, rows: &[(&str, &str, i32, &[&str])]) {
    for (option, secret, code, said) in rows {
        let run = prove(volume, option, secret).exits(*code);
        let all = format!("{}{}", run.stdout, run.stderr);
        for part in *said {
            assert!(all.contains(part), "{option}: {part:?} is not said: {run:#?}");
        }
        assert!(
            secret.is_empty() || !run.stderr.contains(secret),
            "{option}: the secret is repeated"
        );
    }
}

#[test]
fn each_way_of_being_wrong_has_its_answer() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let key = volume.recovery_keys()[0];
    let blocks: Vec<&str> = key.split('-').collect();
    let swapped = [&[blocks[1], blocks[0]], &blocks[2..]].concat().join("-");
    let full_width: String = key
        .chars()
        .map(|sign| {
            sign.to_digit(10)
                .and_then(|digit| char::from_u32(0xFF10 + digit))
                .unwrap_or(sign)
        })
        .collect();
    let (recovery, password) = ("--recovery-key=env:SECRET", "--password=env:SECRET");
    rows(
        &volume,
        &[
            (password, "anaconda", WHOLE, &["opens"]),
            (
                password,
                "anacondA",
                NO,
                &["the password does not open this drive", "Windows PIN", "64311DEA"],
            ),
            (recovery, key, WHOLE, &["opens", "64311DEA"]),
            (recovery, &key.replace('-', ""), WHOLE, &["opens"]),
            (recovery, &key.replace('-', " "), WHOLE, &["opens"]),
            (recovery, &full_width, WHOLE, &["opens"]),
            (
                recovery,
                &key.replacen("235818", "235819", 1),
                NO,
                &["block 1 of the recovery key", "key check"],
            ),
            (recovery, &key[7..], NO, &["42 digits, expected 48"]),
            (
                recovery,
                &swapped,
                NO,
                &["does not open this drive", "64311DEA", "for another drive"],
            ),
            (recovery, "where did I put it", NO, &["only digits"]),
            ("--recovery-password=env:SECRET", key, WHOLE, &["opens"]),
            ("--vmk=env:SECRET", "00", COULD_NOT, &["32 bytes"]),
            (
                "--vmk=env:SECRET",
                &"0".repeat(64),
                NO,
                &["the volume master key does not open this drive"],
            ),
            (
                "--fvek=env:SECRET",
                volume.fvek_hex.as_deref().unwrap_or_default(),
                WHOLE,
                &["opens"],
            ),
            (
                "--fvek=env:SECRET",
                &"1".repeat(64),
                NO,
                &["does not open this drive"],
            ),
            ("--fvek=env:SECRET", "zz", COULD_NOT, &["hexadecimal"]),
            (
                "--password=env:NOT_SET",
                "",
                COULD_NOT,
                &["`NOT_SET`", "is not set"],
            ),
            ("--password=file:/nowhere", "", COULD_NOT, &["/nowhere"]),
        ],
    );
}

#[test]
fn drives_say_what_opens_them() {
    if let Some(card) = corpus::volume_or_skip("cs-aes-xts-128-smart-card") {
        rows(
            &card,
            &[(
                "--password=env:SECRET",
                "anaconda",
                NO,
                &["this drive has no password", "--recovery-key"],
            )],
        );
        let image = card.image();
        let run = keyhaven(["export".as_ref(), image.as_os_str(), "out".as_ref()])
            .go()
            .exits(COULD_NOT);
        assert!(run.stderr.contains("no way to unlock it was given"), "{run:#?}");
        assert!(
            run.stderr.contains("`--recovery-key` (key ID 1F9DA098)"),
            "{run:#?}"
        );
    }
    if let Some(open) = corpus::volume_or_skip("cs-aes-xts-128-clearkey-only") {
        let image = open.image();
        let folder = tempfile::tempdir().unwrap();
        let run = keyhaven(["export".as_ref(), image.as_os_str(), "out".as_ref()])
            .within(folder.path())
            .go()
            .exits(WHOLE);
        assert!(
            run.stderr
                .contains("protection is suspended: anyone can read this drive"),
            "{run:#?}"
        );
    }
}

#[test]
fn key_files_are_tried_on_their_drive() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128-startup-key") else {
        return;
    };
    let Some(other) = corpus::file_or_skip("startup_key.bek") else {
        return;
    };
    let own = volume
        .all_secrets()
        .find(|secret| secret.kind == SecretKind::Bek)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.bek");
    fs::write(&junk, [0x55; 156]).unwrap();
    let image = volume.image();
    for (file, option, code, said) in [
        (volume.secret_path(own), "--startup-key", WHOLE, "opens"),
        (volume.secret_path(own), "--bek", WHOLE, "opens"),
        (
            other,
            "--startup-key",
            NO,
            "the startup key does not open this drive",
        ),
        (junk, "--startup-key", COULD_NOT, "startup key"),
        (
            folder.path().join("none.bek"),
            "--startup-key",
            COULD_NOT,
            "none.bek",
        ),
    ] {
        let run = keyhaven([
            "verify".as_ref(),
            image.as_os_str(),
            option.as_ref(),
            file.as_os_str(),
        ])
        .go()
        .exits(code);
        assert!(format!("{}{}", run.stdout, run.stderr).contains(said), "{run:#?}");
    }
}

#[test]
fn a_recovery_key_may_be_in_any_file() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let key = volume.recovery_keys()[0];
    let id = "64311DEA-4587-4029-924A-BA299647998E";
    let (other_id, other) = (
        "11111111-2222-3333-4444-555555555555",
        "284867-596541-514998-422114-660297-261613-215424-199408",
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.txt");
    let option = format!("--recovery-key=file:{}", path.display());
    let utf16 = |text: &str| -> Vec<u8> {
        [0xFEFF]
            .into_iter()
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect()
    };
    for (content, code, said) in [
        (key.as_bytes().to_vec(), WHOLE, "opens"),
        (
            utf16(&format!(
                "Bezeichner:\r\n\r\n\t{id}\r\n\r\nWiederherstellungsschlüssel:\r\n\r\n\t{key}\r\n"
            )),
            WHOLE,
            "opens",
        ),
        (
            format!("{other_id}\n{other}\n{id}\n{key}\n").into_bytes(),
            WHOLE,
            "opens",
        ),
        (
            format!("{other_id}\n{other}\n{other_id}\n{key}\n").into_bytes(),
            NO,
            "holds 2 recovery keys",
        ),
        (
            format!("{id}\n{}\n", key.replacen("253979", "253978", 1)).into_bytes(),
            NO,
            "block 3",
        ),
        (b"dear diary".to_vec(), NO, "there is no recovery key in"),
    ] {
        fs::write(&path, content).unwrap();
        rows(&volume, &[(&option, "", code, &[said])]);
    }
}
