//! Volumes that Windows made, changed by us: what is not meant stays as it is, byte for byte, and programs that others
//! wrote open the result with the new keys and no longer with the old ones.
//!
//! Limits of those programs that were seen on Windows' own volumes, too: libbde of 2019 cannot read AES-XTS 256;
//! cryptsetup before 2.7 opens no clear key; dislocker and libbde try a recovery key on the first protector for one only, so the old one is removed first.

use std::path::Path;
use std::process::{Command, Stdio};

use keyhaven_crypto::SecretText;
use keyhaven_fve::create::NewProtector;
use keyhaven_fve::edit::{Edit, EditError, Unrenewable};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{Password, RecoveryPassword};
use keyhaven_fve::{Credential, Guid, Integrity, OpenOptions, ProtectorKind, RecordKey, Volume, unwatched};
use keyhaven_testkit::corpus::{self, SecretKind};
use keyhaven_testkit::{copy_of, numbers, tool};

use crate::published::credential;

/// 24 November 2026.
const NOW: FileTime = FileTime(134_400_096_123_456_789);
const NEW_PASSWORD: &str = "vermilion ladder";

fn open(image: &Path) -> Volume {
    let device = keyhaven_disk::open(image).expect("the image opens");
    Volume::open(device, &OpenOptions::default(), &mut unwatched).expect("a volume")
}

fn edit<T>(image: &Path, key: &Credential, change: impl FnOnce(&mut Edit) -> Result<T, EditError>) -> T {
    let volume = open(image);
    let unlocked = volume.unlock(key).expect("it opens");
    let mut edit = Edit::begin(&volume, &unlocked, NOW).expect("it can be changed");
    let outcome = change(&mut edit).expect("changed");
    let medium = keyhaven_disk::open_writable(image).expect("it opens");
    edit.commit(&*medium).expect("written");
    outcome
}

/// Returns every entry with its bytes, and the protector that it is.
fn entries(volume: &Volume) -> Vec<(Option<Guid>, Vec<u8>)> {
    use keyhaven_fve::format::datum::Value;
    let id = |value: &Value| match value {
        Value::Vmk { id, .. } => Some(*id),
        _ => None,
    };
    let datums = &volume.metadata().block().datums;
    datums
        .iter()
        .map(|datum| (id(&datum.value), datum.to_bytes().to_vec()))
        .collect()
}

/// Volumes that must not be changed, and why.
fn refusal_of(name: &str) -> Option<fn(&EditError) -> bool> {
    Some(match name {
        "cs-partially-encrypted-aes-cbc-128" => |error| matches!(error, EditError::Eow(_)),
        "df-vista" => |error| matches!(error, EditError::CutOff { .. }),
        "df-decrypted" => |error| matches!(error, EditError::NoMasterKey),
        _ => return None,
    })
}

#[test]
fn what_is_not_meant_stays_as_it_is() {
    for (seed, known) in (1..).zip(corpus::volumes()) {
        let Some(secret) = known.secrets.first() else {
            continue;
        };
        // Its checksums and hash are wrong since somebody edited it: it does not open without being told to.
        if known.name == "dfvfs-bdetogo" {
            continue;
        }
        let image = copy_of(known.image());
        let key = credential(&known, secret);
        let volume = open(&image);
        let unlocked = match volume.unlock_decrypted() {
            Some(unlocked) => unlocked,
            None => volume
                .unlock(&key)
                .unwrap_or_else(|error| panic!("{}: {error}", known.name)),
        };
        let begun = Edit::begin(&volume, &unlocked, NOW);
        if let Some(is_expected) = refusal_of(&known.name) {
            let refused = begun
                .err()
                .unwrap_or_else(|| panic!("{} was not refused", known.name));
            assert!(is_expected(&refused), "{}: {refused:?}", known.name);
            continue;
        }
        let mut edit = begun.unwrap_or_else(|error| panic!("{}: {error}", known.name));
        let before = entries(&volume);
        let random = &mut numbers(seed);
        let added = edit.add(NewProtector::ExternalKey, random).expect("added");
        let gone = before.iter().find_map(|(id, _)| *id).expect("a protector");
        edit.remove(gone)
            .or_else(|_| edit.resume())
            .expect("another one is there now");
        let medium = keyhaven_disk::open_writable(&image).expect("it opens");
        edit.commit(&*medium)
            .unwrap_or_else(|error| panic!("{}: {error}", known.name));
        drop(medium);

        let volume = open(&image);
        assert!(
            volume.copies().iter().all(|copy| copy.problem.is_none()),
            "{}",
            known.name
        );
        let after = entries(&volume);
        let kept: Vec<_> = before.iter().filter(|(id, _)| *id != Some(gone)).collect();
        let same: Vec<_> = after.iter().filter(|(id, _)| *id != Some(added.id)).collect();
        assert_eq!(kept, same, "{}", known.name);
        let Some(RecordKey::ExternalKey(new)) = added.record.map(|record| record.key) else {
            panic!("a key file is made with its protector")
        };
        let unlocked = volume
            .unlock(&Credential::ExternalKey(new))
            .expect("the new key opens it");
        assert_eq!(unlocked.integrity(), Integrity::Right, "{}", known.name);
    }
}

#[test]
fn master_keys_of_windows_volumes_are_rotated() {
    for (seed, name) in (1..).zip([
        "cs-aes-xts-128",
        "cs-aes-cbc-elephant-128",
        "cs-aes-xts-128-startup-key",
        "cs-aes-xts-128-two-recovery",
        "cs-aes-xts-128-smart-card",
        "cs-togo-aes-cbc-128",
    ]) {
        let Some(known) = corpus::volume_or_skip(name) else {
            continue;
        };
        let image = copy_of(known.image());
        let first = credential(&known, &known.secrets[0]);
        let before = open(&image).unlock(&first).expect("it opens");
        let gone = edit(&image, &first, |edit| {
            edit.rotate_vmk(Unrenewable::Refuse, &mut numbers(seed))
        });
        assert_eq!(gone, [], "{name}");
        for secret in known.all_secrets() {
            let after = open(&image)
                .unlock(&credential(&known, secret))
                .unwrap_or_else(|error| panic!("{name}, {:?}: {error}", secret.kind));
            assert_ne!(after.vmk(), before.vmk(), "{name}");
            assert_eq!(
                after.fvek().map(|key| key.key()),
                before.fvek().map(|key| key.key()),
                "{name}"
            );
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
        .status
        .success()
}

/// Asks every reader here whether a way in opens the volume.
///
/// Dislocker decrypts everything to tell, which takes its time: it is asked only where `all`.
fn readers_say(image: &Path, way: &Way<'_>, all: bool) -> Vec<(&'static str, bool)> {
    let mut verdicts = Vec::new();
    if let Some(cryptsetup) = tool::find("cryptsetup") {
        let secret = image.with_extension("secret");
        let (Way::Password(text) | Way::RecoveryKey(text)) = way;
        std::fs::write(&secret, text).expect("written");
        let mut command = Command::new(cryptsetup);
        command
            .args(["open", "--type", "bitlk", "--test-passphrase", "--key-file"])
            .arg(&secret)
            .arg(image);
        verdicts.push(("cryptsetup", succeeds(&mut command)));
        std::fs::remove_file(&secret).expect("removed");
    }
    if let Some(dislocker) = tool::find("dislocker-file").filter(|_| all) {
        let out = image.with_extension("plain");
        let way = match way {
            Way::Password(text) => format!("-u{text}"),
            Way::RecoveryKey(text) => format!("-p{text}"),
        };
        let mut command = Command::new(dislocker);
        command.arg("-V").arg(image).arg(way).arg("--").arg(&out);
        let opened = succeeds(&mut command);
        let _ = std::fs::remove_file(&out);
        verdicts.push(("dislocker", opened));
    }
    if let Some(bdeinfo) = tool::find("bdeinfo") {
        let way = match way {
            Way::Password(text) => format!("-p{text}"),
            Way::RecoveryKey(text) => format!("-r{text}"),
        };
        let output = Command::new(bdeinfo)
            .arg(way)
            .arg(image)
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let opened = output.status.success() && !text.contains("is locked");
        verdicts.push(("bdeinfo", opened));
    }
    verdicts
}

enum Way<'a> {
    Password(&'a str),
    RecoveryKey(&'a str),
}

#[track_caller]
fn all_say(image: &Path, way: &Way<'_>, expected: bool) {
    let opens_with_recovery_key = matches!(way, Way::RecoveryKey(_)) && expected;
    let verdicts = readers_say(image, way, opens_with_recovery_key || !expected);
    assert!(
        verdicts.iter().all(|(_, opened)| *opened == expected),
        "{verdicts:?}"
    );
}

/// Gives a volume of Windows another recovery key, password and master key, suspends and resumes it.
fn judged(name: &str, seed: u64, judge_suspended: bool) {
    let Some(known) = corpus::volume_or_skip(name) else {
        return;
    };
    let image = copy_of(known.image());
    let old_recovery = known.recovery_keys()[0].to_owned();
    let old_password = known
        .secret(SecretKind::Password)
        .expect("the manifest lists one")
        .to_owned();
    let random = &mut numbers(seed);
    let new = RecoveryPassword::generate(random).expect("numbers");
    let digits = new.to_digits();
    let first = credential(&known, &known.secrets[0]);
    let added = edit(&image, &first, |edit| {
        edit.add(NewProtector::RecoveryPassword(new), random)
    });
    let key = Credential::RecoveryPassword(RecoveryPassword::parse(digits.expose_secret()).expect("digits"));
    edit(&image, &key, |edit| {
        let of = |edit: &Edit, kind| -> Vec<Guid> {
            let all = edit.protectors();
            all.iter()
                .filter(|own| own.kind() == kind)
                .map(|own| own.id())
                .collect()
        };
        for id in of(edit, ProtectorKind::RecoveryPassword) {
            if id != added.id {
                edit.remove(id)?;
            }
        }
        let password = of(edit, ProtectorKind::Password)[0];
        edit.change_password(password, Password::new(SecretText::copy_of(NEW_PASSWORD)), random)?;
        edit.rotate_vmk(Unrenewable::Refuse, random)
    });
    edit(&image, &key, |edit| edit.suspend(random));
    if let Some(dislocker) = tool::find("dislocker-file").filter(|_| judge_suspended) {
        let out = image.with_extension("plain");
        let mut command = Command::new(dislocker);
        command.arg("-V").arg(&*image).arg("-c").arg("--").arg(&out);
        assert!(succeeds(&mut command), "dislocker opens it without a key");
        std::fs::remove_file(&out).expect("removed");
    }
    edit(&image, &Credential::ClearKey, Edit::resume);

    all_say(&image, &Way::RecoveryKey(digits.expose_secret()), true);
    all_say(&image, &Way::RecoveryKey(&old_recovery), false);
    all_say(&image, &Way::Password(NEW_PASSWORD), true);
    all_say(&image, &Way::Password(&old_password), false);
}

#[test]
fn other_programs_open_a_changed_volume_of_windows_10() {
    judged("cs-aes-xts-128", 31, true);
}

#[test]
fn other_programs_open_a_changed_volume_with_large_sectors() {
    judged("cs-aes-xts-128-4k", 32, false);
}

#[test]
fn other_programs_open_a_changed_volume_of_windows_7() {
    judged("cs-aes-cbc-elephant-128", 33, false);
}

#[test]
fn other_programs_open_a_changed_volume_of_bitlocker_to_go() {
    judged("cs-togo-aes-cbc-128", 34, false);
}
