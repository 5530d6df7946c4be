//! Files that Windows wrote, and copies of real volumes' keys: saved, found, judged.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use keyhaven_backup::destination::{FileDestination, SaveContext, save_and_prove};
use keyhaven_backup::found::{FoundContent, FoundKey};
use keyhaven_backup::reading::{NoSecrets, keys_in, read_file};
use keyhaven_backup::search::{Event, look};
use keyhaven_backup::text;
use keyhaven_backup::verdict::{Effort, Verdict, judge};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{Credential, OpenOptions, RecordKey, Volume, unwatched};
use keyhaven_testkit::corpus::{self, SecretKind};

const WINDOWS_TEXTS: &[&str] = &[
    "tpm/logic2-TPM/BitLocker_Recovery_Key_38F91648-280E-4F3A-9772-640DCB48F4CE.TXT",
    "tpm/logic2-TPMandPIN/BitLocker Recovery Key 38F91648-280E-4F3A-9772-640DCB48F4CE.TXT",
    "tpm/swtpm-TPM/BitLocker Recovery Key 39C2AA90-0CFA-4B77-9622-11A99EDCE513.TXT",
    "tpm/swtpm-TPMandPIN/BitLocker Recovery Key 39C2AA90-0CFA-4B77-9622-11A99EDCE513.TXT",
    "tpm/password/BitLocker Recovery Key 92C7E8E2-CE52-4B7F-98A0-F48E218418BD.TXT",
];

const WINDOWS_TOOL_OUTPUTS: &[&str] = &[
    "tpm/USB-KEY/manage-bde.txt",
    "tpm/logic2-TPM/manage-bde.txt",
    "tpm/logic2-TPMandKEY/manage-bde.txt",
    "tpm/logic2-TPMandPIN/manage-bde.txt",
    "tpm/logic2-TPMandPINandKEY/manage-bde.txt",
    "tpm/swtpm-TPM/manage-bde.txt",
    "tpm/swtpm-TPMandPIN/manage-bde.txt",
];

const KEY_FILES: &[&str] = &[
    "4381F759-C4F8-4DE0-BB61-FC33A831BDA5.BEK",
    "tpm/USB-KEY/108D1C23-D614-4DA1-910D-3D87C488833A.BEK",
    "tpm/logic2-TPMandKEY/E5EFFF28-7AA3-4000-9E70-BB1A3DAD6203.BEK",
    "tpm/logic2-TPMandPINandKEY/CA933F67-F8AA-4FB7-B526-F0D4EE6AB0AB.BEK",
];

/// The part of a file's name from its identifier to the dot.
fn id_in(path: &Path) -> String {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    stem[stem.len() - 36..].to_owned()
}

fn digits(found: &FoundKey) -> String {
    match &found.content {
        FoundContent::Key(Credential::RecoveryPassword(key)) => key.to_digits().expose_secret().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_texts_of_windows_hold_the_key_of_their_name() {
    for path in WINDOWS_TEXTS.iter().filter_map(|name| corpus::file_or_skip(name)) {
        let found = read_file(&path, &mut NoSecrets).unwrap();
        assert_eq!(found.len(), 1, "{}", path.display());
        assert_eq!(found[0].ids.len(), 1);
        assert_eq!(found[0].ids[0].to_string(), id_in(&path));
        digits(&found[0]);
    }
}

#[test]
fn the_output_of_the_tool_of_windows_is_read() {
    for path in WINDOWS_TOOL_OUTPUTS
        .iter()
        .filter_map(|name| corpus::file_or_skip(name))
    {
        // Line by line: an ID, "Password:", the digits.
        let output = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = output.lines().map(str::trim).collect();
        let expected: Vec<(String, String)> = lines
            .windows(3)
            .filter(|lines| lines[1] == "Password:")
            .map(|lines| {
                let id = lines[0].trim_start_matches("ID: {").trim_end_matches('}');
                (id.to_owned(), lines[2].to_owned())
            })
            .collect();
        let found: Vec<(String, String)> = read_file(&path, &mut NoSecrets)
            .unwrap()
            .iter()
            .map(|key| (key.ids[0].to_string(), digits(key)))
            .collect();
        assert_eq!(found, expected, "{}", path.display());
    }
}

#[test]
fn key_files_hold_the_key_of_their_name_whatever_they_are_called() {
    let folder = tempfile::tempdir().unwrap();
    for path in KEY_FILES.iter().filter_map(|name| corpus::file_or_skip(name)) {
        let renamed = folder.path().join("notes.txt");
        fs::copy(&path, &renamed).unwrap();
        for file in [&path, &renamed] {
            let found = read_file(file, &mut NoSecrets).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].ids[0].to_string(), id_in(&path));
            assert!(matches!(
                found[0].content,
                FoundContent::Key(Credential::ExternalKey(_))
            ));
        }
        // Cut short anywhere, it is no key, and no crash.
        let bytes = fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            assert!(
                keys_in(&bytes[..len], &mut NoSecrets).map_or(true, |found| found.is_empty()),
                "{len} bytes of {}",
                path.display()
            );
        }
    }
}

#[test]
fn a_text_in_any_encoding_or_language_gives_the_same_key() {
    let Some(path) = corpus::file_or_skip(WINDOWS_TEXTS[0]) else {
        return;
    };
    let bytes = fs::read(&path).unwrap();
    let expected = digits(&keys_in(&bytes, &mut NoSecrets).unwrap()[0]);
    let text = text::decode(&bytes).unwrap();
    let translated = |words: &str| {
        text.lines()
            .map(|line| match line.starts_with('\t') || line.is_empty() {
                true => format!("{line}\r\n"),
                false => format!("{words}:\r\n"),
            })
            .collect::<String>()
    };
    for words in [
        "Wiederherstellungsschlüssel für die Laufwerkverschlüsselung",
        "Ключ восстановления шифрования диска",
        "回復キー",
        "مفتاح الاسترداد",
        "",
    ] {
        let text = translated(words);
        let utf16 = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        for bytes in [
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
            [vec![0xFF, 0xFE], utf16(u16::to_le_bytes)].concat(),
            [vec![0xFE, 0xFF], utf16(u16::to_be_bytes)].concat(),
            text.clone().into_bytes(),
            [vec![0xEF, 0xBB, 0xBF], text.clone().into_bytes()].concat(),
        ] {
            let found = keys_in(&bytes, &mut NoSecrets).unwrap();
            assert_eq!(found.len(), 1, "{words}: {:02x?}", &bytes[..8]);
            assert_eq!(digits(&found[0]), expected);
            assert_eq!(found[0].ids[0].to_string(), id_in(&path));
        }
    }
}

struct Opened {
    volume: Volume,
    key: String,
}

fn opened(name: &str) -> Option<Opened> {
    let described = corpus::volume_or_skip(name)?;
    let device = keyhaven_disk::open(&described.image()).unwrap();
    let volume = Volume::open(device, &OpenOptions::default(), &mut unwatched).unwrap();
    let key = described.secret(SecretKind::Recovery).unwrap().to_owned();
    Some(Opened { volume, key })
}

#[test]
fn a_saved_key_is_proven_and_every_other_copy_is_named_for_what_it_is() {
    let (Some(ours), Some(other)) = (opened("cs-aes-xts-128"), opened("cs-aes-cbc-128")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let password = RecoveryPassword::parse(&ours.key).unwrap();
    let unlocked = ours
        .volume
        .unlock(&Credential::RecoveryPassword(password))
        .unwrap();
    let mut records = ours.volume.records(&unlocked);
    records.retain(|record| matches!(record.key, RecordKey::RecoveryPassword(_)));
    let context = SaveContext {
        drive: "a real volume".to_owned(),
        saved_on: "24 November 2026".to_owned(),
        saved_at: FileTime(0),
    };
    let place = FileDestination::new(folder.path().to_owned());
    let copies = save_and_prove(&place, &records, &ours.volume, &context).unwrap();
    assert!(!copies.is_empty() && copies.iter().all(|copy| copy.is_proven()));

    let id = records[0].protector_id;
    let last = ours.key.as_bytes()[54] - b'0';
    let typo = format!("{}{}", &ours.key[..54], (last + 1) % 10);
    for (name, content) in [
        ("a typo.txt", format!("{id}\n{typo}\n")),
        ("b other.txt", other.key.clone()),
        ("c stale.txt", format!("{id}\n{}\n", other.key)),
        ("d plain.txt", ours.key.clone()),
        ("e none.txt", "no key".to_owned()),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let mut verdicts: Vec<(PathBuf, Verdict)> = Vec::new();
    let _ = look(folder.path(), &mut NoSecrets, &mut |path, event| {
        let Event::Read(found) = event else {
            panic!("{event:?}")
        };
        for key in &found {
            verdicts.push((path.to_owned(), judge(&ours.volume, key, Effort::ById)));
        }
        ControlFlow::Continue(())
    });
    let names: Vec<(&str, &str)> = verdicts
        .iter()
        .map(|(path, verdict)| (path.file_name().unwrap().to_str().unwrap(), verdict.name()))
        .collect();
    assert_eq!(
        names,
        [
            (format!("BitLocker Recovery Key {id}.TXT").as_str(), "opens"),
            ("a typo.txt", "mistyped"),
            ("b other.txt", "other_drive"),
            ("c stale.txt", "wrong_key"),
            ("d plain.txt", "opens"),
        ]
    );
    assert!(matches!(&verdicts[1].1, Verdict::Mistyped { bad_blocks, .. } if bad_blocks == &[8]));
}
