//! Transcripts of `match`: many keys, many drives.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{Credential, OpenOptions, unwatched};
use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use serde_json::Value;

use crate::desk::{Desk, image};
use crate::key_pile::{KINDS, Kind, Others, PASSPHRASE, Saved};
use crate::transcript::Transcript;

/// A real drive and one of its keys.
struct Real {
    name: String,
    image: String,
    key: Saved,
}

/// Opens volumes with a recovery key that is known, and finds out which protector it is for.
fn real_drives(count: usize) -> Vec<Real> {
    corpus::volumes()
        .iter()
        // Its metadata were edited: no checksum is right.
        .filter(|volume| volume.name != "dfvfs-bdetogo")
        .filter_map(real_drive)
        .take(count)
        .collect()
}

fn real_drive(volume: &Volume) -> Option<Real> {
    let digits = volume.secret(SecretKind::Recovery)?;
    let device = keyhaven_disk::open(&volume.image()).unwrap();
    let opened = keyhaven_fve::Volume::open(device, &OpenOptions::default(), &mut unwatched).unwrap();
    let password = Credential::RecoveryPassword(RecoveryPassword::parse(digits).unwrap());
    let proof = opened.prove(&password).unwrap();
    Some(Real {
        name: volume.name.clone(),
        image: image(volume),
        key: Saved {
            id: proof.protector_id.unwrap(),
            digits: digits.to_owned(),
        },
    })
}

/// Checks that no key is printed, not even a good part of one.
#[track_caller]
fn tells_no_key(run: &Transcript, keys: &[&Saved]) {
    for text in [&run.stdout, &run.stderr] {
        for key in keys {
            assert!(!text.contains(&key.digits[..13]), "{run:#?}");
        }
    }
}

fn drive<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer["drives"]
        .as_array()
        .unwrap()
        .iter()
        .find(|drive| drive["name"] == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

/// Makes a folder of `count` files, in which each drive's key is in several files of different kinds, except the last
/// drive's, which is nowhere; then matches them to these drives and to some whose keys are nowhere either.
fn match_a_folder(count: usize, drives: &[Real], keyless: &[String]) -> (Duration, usize) {
    let desk = Desk::new();
    let folder = desk.path("keys");
    let mut others = Others::new(7);
    let mut expected: Vec<Vec<(String, Option<String>)>> = drives.iter().map(|_| Vec::new()).collect();
    let (_, with_keys) = drives.split_last().unwrap();
    let kinds_with_recovery_keys = KINDS.len() - 2;
    for number in 0..count {
        let kind = KINDS[number % KINDS.len()];
        // Every drive's key three times, among those of others.
        let of_ours = number * with_keys.len() * 3 / count;
        let before = number
            .checked_sub(1)
            .map(|before| before * with_keys.len() * 3 / count);
        let is_ours = before != Some(of_ours) && number % KINDS.len() < kinds_with_recovery_keys;
        if is_ours {
            let at = of_ours % with_keys.len();
            let (path, spot) = others.write(&folder, number, kind, &drives[at].key);
            expected[at].push((path.to_str().unwrap().to_owned(), spot));
        } else {
            let key = others.key();
            others.write(&folder, number, kind, &key);
        }
    }

    let mut arguments = vec!["match", "--json", "--passphrase=env:PASSPHRASE", "--keys"];
    let keys = desk.arg("keys");
    arguments.extend([keys.as_str(), "--drives"]);
    arguments.extend(drives.iter().map(|drive| drive.image.as_str()));
    arguments.extend(keyless.iter().map(String::as_str));
    let started = Instant::now();
    let run = desk.keyhaven(&arguments).env("PASSPHRASE", PASSPHRASE).go();
    let took = started.elapsed();
    let run = run.exits(1);
    tells_no_key(&run, &drives.iter().map(|drive| &drive.key).collect::<Vec<_>>());
    let answer = run.json();
    assert_eq!(
        answer["drives"].as_array().unwrap().len(),
        drives.len() + keyless.len()
    );
    for image in keyless {
        assert_eq!(drive(&answer, image)["has_proven_key"], false, "{image}");
    }
    assert_eq!(answer["unread"].as_array().unwrap().len(), 0, "{answer:#}");
    let mut proven = 0;
    for (real, mut places) in drives.iter().zip(expected) {
        let found = drive(&answer, &real.image);
        // Several images are copies of one volume; they have the same keys.
        let copies = drives.iter().filter(|other| other.key.id == real.key.id).count();
        if copies > 1 {
            continue;
        }
        assert_eq!(
            found["has_proven_key"],
            !places.is_empty(),
            "{}: {found:#}",
            real.name
        );
        let Some(one) = found["matches"].get(0) else {
            continue;
        };
        proven += 1;
        assert_eq!(one["verdict"], "opens");
        assert_eq!(one["key_id"], real.key.id.to_string());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut said: Vec<_> = one["places"]
            .as_array()
            .unwrap()
            .iter()
            .map(|place| (text(&place["file"]).unwrap(), text(&place["spot"])))
            .collect();
        said.sort();
        places.sort();
        assert_eq!(said, places, "{}", real.name);
    }
    assert!(proven > 0);
    let left = answer["keys_without_drive"].as_array().unwrap();
    assert!(left.len() > count / 2, "{}", left.len());
    let proofs = answer["drives"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drive| drive["matches"].as_array().unwrap().len())
        .sum();
    (took, proofs)
}

#[test]
fn a_folder_of_all_kinds_of_files_is_matched_to_drives() {
    let drives = real_drives(5);
    if drives.is_empty() {
        return;
    }
    match_a_folder(72, &drives, &[]);
}

/// The whole of it, with times: `KEYHAVEN_LONG_MATCH=1`.
#[test]
fn a_thousand_files_and_twenty_drives_take_little_longer_than_their_stretches() {
    if std::env::var_os("KEYHAVEN_LONG_MATCH").is_none() {
        eprintln!("SKIPPED: set KEYHAVEN_LONG_MATCH=1 to match 1,000 files to 20 drives");
        return;
    }
    let drives = real_drives(20);
    let keyless: Vec<String> = corpus::volumes()
        .iter()
        .filter(|volume| volume.secret(SecretKind::Recovery).is_none() && volume.name != "dfvfs-bdetogo")
        .map(image)
        .take(20_usize.saturating_sub(drives.len()))
        .collect();
    let (took, proofs) = match_a_folder(1000, &drives, &keyless);
    let started = Instant::now();
    for _ in 0..proofs {
        drop(keyhaven_crypto::stretch(
            &keyhaven_crypto::Secret::from([1; 32]),
            &[1; 16],
        ));
    }
    let threads = std::thread::available_parallelism().unwrap().get() as u32;
    let alone = started.elapsed() / threads;
    eprintln!(
        "1,000 files, {} drives, {proofs} proofs: {took:.2?}; the stretches alone {alone:.2?} on {threads} cores",
        drives.len() + keyless.len()
    );
}

#[test]
fn drives_and_keys_that_are_left_over_are_told() {
    let drives = real_drives(4);
    let [first, second, third, fourth] = drives.as_slice() else {
        return;
    };
    let desk = Desk::new();
    let wrong = Others::new(3).key();
    // The second's key is mistyped, the third's has no ID, and the fourth's ID stands beside another key.
    let typo = second.key.digits.replacen(&second.key.digits[..6], "000001", 1);
    desk.write("keys/a.txt", format!("{}\n{}\n", first.key.id, first.key.digits));
    desk.write(
        "keys/b.csv",
        format!("id;key\n{};{}\n", first.key.id, first.key.digits),
    );
    desk.write("keys/c.txt", format!("{}\n{typo}\n", second.key.id));
    desk.write("keys/d.txt", &third.key.digits);
    desk.write("keys/e.txt", format!("{}\n{}\n", fourth.key.id, wrong.digits));
    desk.write(
        "keys/f.txt",
        format!("{}\n{}\n", wrong.id, Others::new(4).key().digits),
    );
    let names: Vec<&str> = drives.iter().map(|drive| drive.image.as_str()).collect();
    let keys = desk.arg("keys");
    let go = |options: &[&str]| {
        let arguments = [&["match", "--keys", &keys, "--drives"], names.as_slice(), options].concat();
        let run = desk.keyhaven(arguments).go();
        tells_no_key(&run, &drives.iter().map(|drive| &drive.key).collect::<Vec<_>>());
        run
    };
    let verdicts = |answer: &Value| -> Vec<String> {
        drives
            .iter()
            .map(|real| {
                let verdict = drive(answer, &real.image)["matches"][0]["verdict"].clone();
                verdict.as_str().unwrap_or("none").to_owned()
            })
            .collect()
    };

    let answer = go(&["--json"]).exits(1).json();
    assert_eq!(verdicts(&answer), ["opens", "mistyped", "none", "wrong_key"]);
    let places = drive(&answer, &first.image)["matches"][0]["places"]
        .as_array()
        .unwrap();
    assert_eq!(places.len(), 2, "one key in two files");
    assert_eq!(answer["keys_without_drive"].as_array().unwrap().len(), 2);

    let answer = go(&["--json", "--no-prove"]).exits(1).json();
    assert_eq!(
        verdicts(&answer),
        ["id_matches", "mistyped", "none", "id_matches"]
    );

    let run = go(&["--try-all"]).exits(1);
    assert!(
        run.stderr.contains("trying 3 keys on 3 drives: 8 trials, "),
        "{run:#?}"
    );
    assert!(
        run.stdout
            .contains("2 of 4 drives have a key that opens them; 2 have none."),
        "{run:#?}"
    );

    let run = go(&[]).exits(1);
    assert!(
        run.stdout.lines().all(|line| line.chars().count() <= 80),
        "{run:#?}"
    );
    for said in [
        "DRIVE                       KEY ID    VERDICT     WHERE",
        "mistyped,",
        "wrong key",
        "no key",
        "Keys for no drive here: 2",
        "1 of 4 drives have a key that opens them; 3 have none.",
        "1 key has no ID; `--try-all` tries them",
    ] {
        assert!(run.stdout.contains(said), "{said:?} is missing: {run:#?}");
    }
    let one = desk
        .keyhaven(["match", "--keys", &keys, "--drives", &first.image])
        .go()
        .exits(0);
    assert!(
        one.stdout.contains("The drive has a key that opens it."),
        "{one:#?}"
    );
}

#[test]
fn a_folder_of_images_is_all_drives_in_it() {
    let drives = real_drives(2);
    let [first, second] = drives.as_slice() else {
        return;
    };
    let desk = Desk::new();
    let folder = desk.path("evidence");
    fs::create_dir_all(folder.join("case")).unwrap();
    // Two images of one volume are two drives.
    let link = |image: &str, name: &str| {
        let at = folder.join(name);
        fs::hard_link(image, &at)
            .or_else(|_| fs::copy(image, &at).map(drop))
            .unwrap();
    };
    link(&first.image, "case/a.img");
    link(&first.image, "case/copy without an ending");
    link(&second.image, "b.dd");
    fs::write(folder.join("ext.img"), vec![0x11; 70_000]).unwrap();
    fs::write(folder.join("notes.txt"), "nothing").unwrap();
    fs::write(
        folder.join("key.txt"),
        format!("{}\n{}\n", first.key.id, first.key.digits),
    )
    .unwrap();
    fs::write(
        folder.join("other.txt"),
        format!("{}\n{}\n", second.key.id, second.key.digits),
    )
    .unwrap();
    let evidence = desk.arg("evidence");
    let run = desk
        .keyhaven(["match", "--json", "--keys", &evidence, "--drives", &evidence])
        .go()
        .exits(0);
    let answer = run.json();
    let names: Vec<&str> = answer["drives"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drive| {
            Path::new(drive["name"].as_str().unwrap())
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
        })
        .collect();
    assert_eq!(names, ["b.dd", "a.img", "copy without an ending"]);
    assert_eq!(answer["not_bitlocker"].as_array().unwrap().len(), 1);
    assert!(run.stderr.contains("ext.img"), "{run:#?}");
    let proven: HashSet<bool> = answer["drives"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drive| drive["has_proven_key"].as_bool().unwrap())
        .collect();
    assert_eq!(proven, HashSet::from([true]));
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_goes_on() {
    let drives = real_drives(1);
    let [only] = drives.as_slice() else {
        return;
    };
    let desk = Desk::new();
    let mut others = Others::new(5);
    let key = others.key();
    let (vault, _) = others.write(&desk.path("keys"), 0, Kind::Vault, &key);
    desk.write("keys/key.txt", format!("{}\n{}\n", only.key.id, only.key.digits));
    let keys = desk.arg("keys");
    let missing = desk.arg("missing.img");
    let letter = desk.write("letter.img", "no drive".repeat(999));
    let run = desk
        .keyhaven([
            "match",
            "--keys",
            &keys,
            "--drives",
            &only.image,
            &missing,
            &letter,
        ])
        .go()
        .exits(2);
    assert!(
        run.stdout.contains("The drive has a key that opens it."),
        "{run:#?}"
    );
    assert!(
        run.stdout.contains("3 drives or files could not be read"),
        "{run:#?}"
    );
    for name in [vault.to_str().unwrap(), &missing, &letter] {
        assert!(run.stderr.contains(name), "{run:#?}");
    }
    let run = desk
        .keyhaven(["match", "--keys", &keys, "--drives", &missing])
        .go()
        .exits(2);
    assert!(run.stderr.contains("no BitLocker drive"), "{run:#?}");
    desk.keyhaven(["match", "--keys", &keys]).go().exits(2);
}
