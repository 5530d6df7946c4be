//! The main job on real volumes: back up with any way in, find the copies again, prove them, get the data back.

use std::fs;
use std::path::{Path, PathBuf};

use keyhaven_testkit::corpus::{self, Secret, SecretKind, Volume};
use keyhaven_testkit::{copy_of, patch, sha256_of};
use serde_json::Value;
use tempfile::TempDir;

use crate::transcript::{Transcript, keyhaven};

/// A folder of its own for each test, with the list of saved keys in it.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str], secret: &str) -> Transcript {
        keyhaven(arguments)
            .within(self.folder.path())
            .env("XDG_STATE_HOME", self.path("state").to_str().unwrap())
            .env("SECRET", secret)
            .go()
    }

    fn json(&self, arguments: &[&str], secret: &str, code: i32) -> Value {
        let run = self.run(arguments, secret).exits(code);
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:#?}"))
    }
}

/// The options that open a volume with a secret; its value is in the environment.
fn options(volume: &Volume, secret: &Secret) -> Vec<String> {
    let mut options = match secret.kind {
        SecretKind::Password => vec!["--password=env:SECRET".to_owned()],
        SecretKind::Recovery => vec!["--recovery-key=env:SECRET".to_owned()],
        SecretKind::Bek => vec![
            "--startup-key".to_owned(),
            volume.secret_path(secret).display().to_string(),
        ],
        SecretKind::Clear => Vec::new(),
    };
    // The metadata of this one were edited by those who published it.
    if volume.name == "dfvfs-bdetogo" {
        options.push("--ignore-checksums".to_owned());
    }
    options
}

fn image(volume: &Volume) -> String {
    volume.image().display().to_string()
}

#[test]
fn every_way_in_yields_the_published_recovery_keys() {
    let Some(corpus) = corpus::or_skip() else { return };
    let desk = Desk::new();
    let mut table = Vec::new();
    for volume in corpus.volumes() {
        for secret in volume.all_secrets() {
            let image = image(volume);
            let options = options(volume, secret);
            let mut arguments = vec!["backup", "--json", image.as_str(), "--to", "stdout"];
            arguments.extend(options.iter().map(String::as_str));
            let published = volume.recovery_keys();
            if published.is_empty() && volume.name != "dfvfs-bdetogo" {
                let run = desk.run(&arguments, &secret.value).exits(1);
                assert!(run.stderr.contains("recovery key"), "{run:#?}");
                table.push(format!(
                    "{:38} {:?}: has no recovery key, and says so",
                    volume.name, secret.kind
                ));
                continue;
            }
            let answer = desk.json(&arguments, &secret.value, 0);
            let keys = answer["recovery_keys"].as_array().unwrap();
            let mut found: Vec<&str> = keys
                .iter()
                .map(|key| key["recovery_key"].as_str().unwrap())
                .collect();
            if !published.is_empty() {
                let mut published = published.clone();
                found.sort_unstable();
                published.sort_unstable();
                published.dedup();
                assert_eq!(found, published, "{}", volume.name);
            }
            assert!(
                answer["receipts"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|receipt| receipt["proven"] == true)
            );
            table.push(format!(
                "{:38} {:?}: {} recovery key(s), as published",
                volume.name,
                secret.kind,
                found.len()
            ));
        }
    }
    println!("{}", table.join("\n"));
    assert!(table.len() > 20);
}

#[test]
fn info_tells_what_the_manifest_says() {
    let Some(corpus) = corpus::or_skip() else { return };
    let desk = Desk::new();
    for volume in corpus.volumes() {
        let info = desk.json(&["info", "--json", &image(volume)], "", 0);
        let method = match (
            volume.cipher.contains("XTS"),
            volume.cipher.contains("256"),
            volume.cipher.contains("diffuser"),
        ) {
            _ if volume.cipher.contains("none") => "none",
            (true, false, _) => "aes-xts-128",
            (true, true, _) => "aes-xts-256",
            (_, false, false) => "aes-cbc-128",
            (_, true, false) => "aes-cbc-256",
            (_, false, true) => "aes-cbc-128-diffuser",
            (_, true, true) => "aes-cbc-256-diffuser",
        };
        assert_eq!(info["encryption_method"], method, "{}", volume.name);
        assert_eq!(info["sector_size"], volume.sector_size, "{}", volume.name);
        let kinds: Vec<&str> = info["protectors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|own| own["kind"].as_str().unwrap())
            .collect();
        let text = volume.protectors.split('[').next().unwrap();
        let without_recovery = text.replace("recovery password", "");
        for (words, kind, text) in [
            ("recovery password", "recovery_password", text),
            ("password", "password", without_recovery.as_str()),
            ("external key", "startup_key", text),
            ("public key", "public_key", text),
            ("clear key", "clear_key", text),
        ] {
            assert_eq!(
                text.contains(words),
                kinds.contains(&kind),
                "{}: {kind} in {kinds:?}",
                volume.name
            );
        }
        for (name, id) in volume
            .protector_ids
            .iter()
            .filter(|(name, _)| name.ends_with("VMK_GUID"))
        {
            let id = id.to_uppercase();
            let listed = info["protectors"]
                .as_array()
                .unwrap()
                .iter()
                .any(|own| own["id"] == id.as_str());
            assert!(listed, "{}: {name}", volume.name);
        }
        let state = match volume.name.as_str() {
            "df-decrypted" => "decrypted",
            "cs-aes-xts-128-clearkey-only" | "df-suspended" => "suspended",
            "df-eow_partial" => "encrypting",
            // Its record of what is encrypted was wiped by those who published it.
            "cs-partially-encrypted-aes-cbc-128" | "cs-aes-xts-128-eow" => "unknown",
            _ => "encrypted",
        };
        assert_eq!(info["state"], state, "{}", volume.name);
    }
}

#[test]
fn damaged_drives_give_the_same_keys() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128-4k") else {
        return;
    };
    let desk = Desk::new();
    let info = desk.json(&["info", "--json", &image(&known)], "", 0);
    let copy = copy_of(known.image());
    let path = copy.display().to_string();
    for metadata in &info["metadata_copies"].as_array().unwrap()[..2] {
        patch(&copy, metadata["offset"].as_u64().unwrap(), &[0x5a; 0x1_0000]);
    }
    let backup = [
        "backup",
        "--json",
        &path,
        "--to",
        "stdout",
        "--password=env:SECRET",
    ];
    for _ in 0..2 {
        let answer = desk.json(&backup, known.secret(SecretKind::Password).unwrap(), 0);
        assert_eq!(
            answer["recovery_keys"][0]["recovery_key"],
            known.recovery_keys()[0]
        );
        // And without the boot sector.
        patch(&copy, 0, &[0; 512]);
    }
}

#[test]
fn copies_are_found_proven_and_told_apart() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128-two-recovery") else {
        return;
    };
    let Some(other) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    let (drive, password) = (image(&known), known.secret(SecretKind::Password).unwrap());
    fs::create_dir(desk.path("keys")).unwrap();
    fs::write(desk.path("pass"), "a passphrase\n").unwrap();
    let backup = [
        "backup",
        "--json",
        &drive,
        "--password=env:SECRET",
        "--to",
        "file:keys",
        "--to",
        "pdf:keys/page.pdf",
        "--to",
        "vault:vault.age",
        "--passphrase=file:pass",
    ];
    let saved = desk.json(&backup, password, 0);
    let receipts = saved["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 6, "two keys in three places");
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt["proven"] == true && receipt["already_saved"] == false)
    );
    // A vault takes seconds to open, so it is not opened more often than it must be.
    let again = desk.json(&backup[..8], password, 0);
    assert!(
        again["receipts"]
            .as_array()
            .unwrap()
            .iter()
            .all(|receipt| receipt["already_saved"] == true)
    );

    // Found by the drive, and by the key ID on the recovery screen.
    let found = desk.json(
        &[
            "find",
            "--json",
            &drive,
            "keys",
            "vault.age",
            "--passphrase=file:pass",
        ],
        "",
        0,
    );
    let hits = found["results"].as_array().unwrap();
    assert_eq!(hits.len(), 6);
    assert!(hits.iter().all(|hit| hit["verdict"] == "opens"));
    let id = receipts[0]["protector_id"].as_str().unwrap();
    let by_id = desk.json(&["find", "--json", &id[..8], "keys"], "", 0);
    assert!(
        by_id["results"]
            .as_array()
            .unwrap()
            .iter()
            .all(|hit| hit["protector_id"] == id)
    );
    desk.run(&["find", "00000000", "keys"], "").exits(1);

    let verdicts = |places: &[&str], code: i32| -> Vec<(String, Value)> {
        let mut arguments = vec!["verify", "--json", drive.as_str()];
        arguments.extend(places);
        let answer = desk.json(&arguments, "", code);
        let results = answer["results"].as_array().unwrap();
        results
            .iter()
            .map(|one| {
                (
                    one["verdict"].as_str().unwrap().to_owned(),
                    one["bad_blocks"].clone(),
                )
            })
            .collect()
    };
    assert!(
        verdicts(&["keys"], 0)
            .iter()
            .all(|(verdict, _)| verdict == "opens")
    );

    // One digit changed, in the third block.
    let text = fs::read(
        saved["receipts"][0]["path"]
            .as_str()
            .map(|path| desk.path(path))
            .unwrap(),
    )
    .unwrap();
    let units: Vec<u16> = text
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_le_bytes(*pair))
        .collect();
    let text = String::from_utf16(&units).unwrap();
    let key = known
        .recovery_keys()
        .into_iter()
        .find(|key| text.contains(key))
        .unwrap();
    let block = &key[14..20];
    let last = u32::from(block.as_bytes()[5] - b'0');
    let wrong = key.replacen(block, &format!("{}{}", &block[..5], (last + 1) % 10), 1);
    fs::write(desk.path("mistyped.txt"), text.replace(key, &wrong)).unwrap();
    assert_eq!(
        verdicts(&["mistyped.txt"], 1),
        [("mistyped".to_owned(), serde_json::json!([3]))]
    );

    // A key of another drive; a right one beside it makes the answer no all the same: each place must hold one.
    fs::write(desk.path("other.txt"), other.recovery_keys()[0]).unwrap();
    assert_eq!(verdicts(&["other.txt"], 1)[0].0, "other_drive");
    assert_eq!(verdicts(&["keys", "other.txt"], 1).len(), 5);
    fs::write(desk.path("letter.txt"), "no key in here").unwrap();
    assert_eq!(verdicts(&["letter.txt"], 1)[0].0, "unreadable");
    assert_eq!(verdicts(&["nowhere.txt"], 2)[0].0, "unreadable");

    // Under the name of this drive's key, the key of another.
    fs::write(
        desk.path("swapped.txt"),
        text.replace(key, other.recovery_keys()[0]),
    )
    .unwrap();
    assert_eq!(verdicts(&["swapped.txt"], 1)[0].0, "wrong_key");
}

#[test]
fn the_status_follows_what_becomes_of_the_copies() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-256") else {
        return;
    };
    let desk = Desk::new();
    let (drive, password) = (image(&known), known.secret(SecretKind::Password).unwrap());
    let state =
        |code| desk.json(&["status", "--json", &drive], "", code)["drives"][0]["keys"][0]["state"].clone();
    assert_eq!(state(1), "never_backed_up");
    if let Some(hinted) = corpus::volume_or_skip("cs-aes-xts-128-two-recovery") {
        // Windows noted that it saved the first key, which nobody proved; the second was never saved.
        let status = desk.json(&["status", "--json", &image(&hinted)], "", 1);
        let keys = status["drives"][0]["keys"].as_array().unwrap();
        let states: Vec<_> = keys.iter().map(|key| key["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["never_proven", "never_backed_up"]);
    }
    fs::create_dir(desk.path("keys")).unwrap();
    desk.run(
        &["backup", &drive, "--to", "file:keys", "--password=env:SECRET"],
        password,
    )
    .exits(0);
    assert_eq!(state(0), "proven");
    let file = fs::read_dir(desk.path("keys"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(state(1), "missing");
    fs::write(&file, &text).unwrap();
    assert_eq!(state(0), "proven");

    // A key that the drive no longer has.
    let ledger = desk.path("state/keyhaven/ledger.json");
    let noted = fs::read_to_string(&ledger).unwrap();
    let mut noted: Value = serde_json::from_str(&noted).unwrap();
    let mut old = noted["entries"][0].clone();
    old["protector_id"] = "11111111-2222-3333-4444-555555555555".into();
    noted["entries"].as_array_mut().unwrap().push(old);
    fs::write(&ledger, noted.to_string()).unwrap();
    let status = desk.json(&["status", "--json", &drive], "", 0);
    let keys = status["drives"][0]["keys"].as_array().unwrap();
    assert!(
        keys.iter()
            .any(|key| key["state"] == "stale" && key["key_id"] == "11111111")
    );
    // Without a drive, what was noted is still told.
    let all = desk.json(&["status", "--json"], "", 0);
    assert!(
        all["drives"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["volume_id"] == status["drives"][0]["volume_id"])
    );
}

#[test]
fn nothing_is_overwritten() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-256") else {
        return;
    };
    let desk = Desk::new();
    let password = known.secret(SecretKind::Password).unwrap();
    fs::write(desk.path("key.txt"), "a letter").unwrap();
    let run = desk
        .run(
            &[
                "backup",
                &image(&known),
                "--to",
                "file:key.txt",
                "--password=env:SECRET",
            ],
            password,
        )
        .exits(2);
    assert!(
        run.stderr.contains("exists already with other content"),
        "{run:#?}"
    );
    assert_eq!(fs::read_to_string(desk.path("key.txt")).unwrap(), "a letter");
    let run = desk
        .run(
            &["export", &image(&known), "key.txt", "--password=env:SECRET"],
            password,
        )
        .exits(2);
    assert!(run.stderr.contains("is not overwritten"), "{run:#?}");
    for place in ["", "keys", "account", "file:", "ftp:x"] {
        let run = desk
            .run(
                &["backup", &image(&known), "--to", place, "--password=env:SECRET"],
                password,
            )
            .exits(2);
        assert!(run.stderr.contains("no place that is known"), "{run:#?}");
    }
    desk.run(
        &[
            "backup",
            &image(&known),
            "--to",
            "file:none/key.txt",
            "--password=env:SECRET",
        ],
        password,
    )
    .exits(2);
}

#[test]
fn exports_are_whole_or_not_there() {
    let desk = Desk::new();
    let export = |volume: &Volume, out: &str, more: &[&str], code: i32| -> Transcript {
        let secret = volume.all_secrets().next().unwrap();
        let (image, options) = (image(volume), options(volume, secret));
        let mut arguments = vec!["export", image.as_str(), out];
        arguments.extend(options.iter().map(String::as_str));
        arguments.extend(more);
        desk.run(&arguments, &secret.value).exits(code)
    };
    let hash = |path: &Path| sha256_of(fs::File::open(path).unwrap());
    for name in [
        "cs-aes-cbc-elephant-128",
        "cs-aes-xts-128-4k",
        "cs-togo-aes-cbc-128",
        "dfvfs-bdetogo",
    ] {
        let Some(volume) = corpus::volume_or_skip(name) else {
            continue;
        };
        export(&volume, "out.img", &[], 0);
        assert_eq!(Some(hash(&desk.path("out.img"))), volume.plain_sha256, "{name}");
        fs::remove_file(desk.path("out.img")).unwrap();
    }
    if let Some(cut_off) = corpus::volume_or_skip("df-aes-xts_128") {
        let run = export(&cut_off, "out.img", &[], 2);
        assert!(
            run.stderr.contains(&format!("at byte {}", cut_off.size)),
            "{run:#?}"
        );
        assert!(!desk.path("out.img").exists() && !desk.path("out.img.partial").exists());
        export(&cut_off, "out.img", &["--keep-going"], 2);
        let out = fs::File::open(desk.path("out.img")).unwrap();
        assert!(
            out.metadata().unwrap().len() > cut_off.size,
            "as large as the volume is"
        );
        let readable = cut_off
            .plaintext_by_peers
            .iter()
            .find(|peer| peer.size == cut_off.size)
            .unwrap();
        assert_eq!(sha256_of(std::io::Read::take(out, cut_off.size)), readable.sha256);
        let map = fs::read_to_string(desk.path("out.img.map")).unwrap();
        assert!(map.contains(&format!("0x{:08X}", cut_off.size)), "{map}");
    }
    if let Some(unknown) = corpus::volume_or_skip("cs-partially-encrypted-aes-cbc-128") {
        let run = export(&unknown, "eow.img", &[], 2);
        assert!(
            run.stderr.contains("which parts of the drive are encrypted"),
            "{run:#?}"
        );
        assert!(!desk.path("eow.img").exists());
    }
}
