//! Transcripts of places: those that Windows refuses, those that are none, and those that cannot be written.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use keyhaven_testkit::{copy_of, tool};

use crate::desk::{Desk, image};
use crate::transcript::Transcript;

const VOLUME: &str = "cs-aes-xts-128";

/// Behind all metadata of `VOLUME`, where tests put a file system of their own.
const FREE_AREA: u64 = 64 << 20;
const FREE_AREA_LEN: u64 = 32 << 20;

#[track_caller]
fn refused(run: Transcript, parts: &[&str]) {
    let run = run.exits(2);
    for part in parts {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    assert!(run.stderr.contains("error: "), "{run:#?}");
    assert_eq!(run.stdout, "");
}

/// Runs a shell script as root in a name space of its own, so that its mounts are gone with it. `KEYHAVEN` is the
/// program; `$1`, `$2`… are the arguments. Skips where it exits with 77: it could not mount.
fn with_mounts(desk: &Desk, volume: &Volume, script: &str, arguments: &[&str]) -> Option<Transcript> {
    let output = Command::new(tool::find("unshare")?)
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .args(arguments)
        .env("KEYHAVEN", env!("CARGO_BIN_EXE_keyhaven"))
        .env(
            "SECRET",
            volume
                .secret(SecretKind::Password)
                .expect("the manifest lists one"),
        )
        .env("XDG_STATE_HOME", desk.path("state"))
        .output()
        .expect("it runs");
    if output.status.code() == Some(77) || String::from_utf8_lossy(&output.stderr).starts_with("unshare: ") {
        eprintln!("SKIPPED: only root may mount file systems, and loop devices are needed");
        return None;
    }
    Some(Transcript {
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
        code: output.status.code(),
    })
}

/// Makes an empty ext4 file system in a file, or skips.
fn file_system(at: &Path) -> Option<()> {
    let mkfs = tool::find("mkfs.ext4")?;
    File::create(at).unwrap().set_len(FREE_AREA_LEN).unwrap();
    let made = Command::new(mkfs).arg("-q").arg(at).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
    Some(())
}

/// Unlocks with the password, and saves to a place that is the second argument.
const BACKUP: &str = r#""$KEYHAVEN" backup "$drive" --password env:SECRET --to "#;

#[test]
fn what_is_no_place_is_told_before_anything_is_asked() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let drive = image(&volume);
    // Nothing to unlock the drive with is given: places come first.
    let backup = |place: &str| desk.keyhaven(["backup", &drive, "--to", place]).go();
    for place in [
        "", "file:", "pdf:", "vault:", "usb:", "stdout:x", "account", "floppy", "FILE:x",
    ] {
        refused(
            backup(place),
            &[
                &format!("`{place}` is no place that is known"),
                "hint: `--to` with one of file:PATH, usb[:MOUNTPOINT], pdf:PATH",
            ],
        );
    }
    // A bare path could be meant in several ways.
    for place in [desk.arg("keys").as_str(), "./keys", "some/where"] {
        refused(
            backup(place),
            &[
                "is no place that is known",
                &format!("hint: for a file or folder: `--to file:{place}`"),
            ],
        );
    }
    refused(
        desk.keyhaven(["backup", &drive]).go(),
        &[
            "no place to save the key to was given",
            "hint: `--to` with one of file:PATH",
        ],
    );
    refused(
        desk.keyhaven(["backup", "--to", "stdout"]).go(),
        &["no drive was given", "hint: `keyhaven drives`"],
    );
}

#[test]
fn what_is_missing_at_a_place_is_said_with_what_to_do() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let vault = format!("vault:{}", desk.arg("keys.age"));
    let stick = format!("usb:{}", desk.arg("keys"));
    for (place, said) in [
        (
            &vault,
            &[
                "a vault needs something to close it with",
                "\nhint: `--passphrase SOURCE`, or `--recipient age1...`",
            ],
        ),
        (
            &stick,
            &[
                "cannot use a removable drive: no removable drive is mounted at",
                "\nhint: plug it in and mount it",
            ],
        ),
    ] {
        let arguments = ["backup", &image(&volume), "--to", place];
        let run = desk.with(SecretKind::Password, &arguments, &volume);
        refused(run, said);
        let json = [&["--json"][..], &arguments].concat();
        let run = desk.with(SecretKind::Password, &json, &volume).exits(2);
        let hints = run.json()["failures"][0]["hints"].clone();
        assert_eq!(hints.as_array().map(Vec::len), Some(1), "{run:#?}");
    }
    assert!(!desk.path("keys.age").exists());
}

#[test]
fn folders_that_are_not_there_are_not_made() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let passphrase = format!("file:{}", desk.write("passphrase", "vermilion-Zq7\n"));
    for (kind, name) in [
        ("file", "nowhere/"),
        ("file", "nowhere/key.txt"),
        ("pdf", "nowhere/page.pdf"),
        ("vault", "nowhere/keys.age"),
    ] {
        let place = format!("{kind}:{}", desk.arg(name));
        let arguments = [
            "backup",
            &image(&volume),
            "--to",
            &place,
            "--passphrase",
            &passphrase,
        ];
        let run = desk.with(SecretKind::Password, &arguments, &volume);
        refused(run, &["nowhere", "there is no folder"]);
        assert!(!desk.path("nowhere").exists());
    }
}

#[test]
fn the_top_folder_of_a_built_in_drive_is_refused_unless_forced() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    // It never comes to writing: the drive is not even unlocked.
    for place in ["file:/", "file:/key.txt", "pdf:/page.pdf", "vault:/keys.age"] {
        refused(
            desk.keyhaven(["backup", &image(&volume), "--to", place]).go(),
            &[
                "`/` is the top folder of a drive that is built in",
                "hint: choose another folder, a removable drive or paper; `--force-place` saves there all the same",
            ],
        );
    }

    if file_system(&desk.path("disk.img")).is_none() {
        return;
    }
    let script = format!(
        r#"mount -o loop "$1" "$2" || exit 77
        drive=$3
        {BACKUP} "file:$2" && exit 99
        ls "$2"
        {BACKUP} "file:$2" --force-place || exit 98
        ls "$2""#
    );
    let arguments = [desk.arg("disk.img"), desk.arg("keys"), image(&volume)];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(run) = with_mounts(&desk, &volume, &script, &arguments) else {
        return;
    };
    let run = run.exits(0);
    assert!(
        run.stderr
            .contains("keys` is the top folder of a drive that is built in"),
        "{run:#?}"
    );
    assert!(
        run.stderr.contains("saved and proven: key ID 64311DEA"),
        "{run:#?}"
    );
    assert_eq!(
        run.stdout,
        "lost+found\nBitLocker Recovery Key 64311DEA-4587-4029-924A-BA299647998E.TXT\nlost+found\n"
    );
}

/// As on a computer where the drive is unlocked and mounted: what is mounted lies on the drive's own bytes.
#[test]
fn encrypted_drives_are_refused_and_the_drive_itself_above_all() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    if file_system(&desk.path("inside.img")).is_none() {
        return;
    }
    let drive = copy_of(volume.image());
    let script = format!(
        r#"dd if="$1" of="$2" bs=1M seek={seek} conv=notrunc,sparse status=none || exit 77
        mount -o loop,offset={FREE_AREA},sizelimit={FREE_AREA_LEN} "$2" "$3" || exit 77
        mkdir "$3/folder"
        drive=$2
        {BACKUP} "file:$3/folder"; echo "$?"
        {BACKUP} "pdf:$3/folder/page.pdf"; echo "$?"
        drive=$4
        {BACKUP} "file:$3/folder"; echo "$?"
        ls "$3/folder"
        {BACKUP} "file:$3/folder" --force-place; echo "$?"
        ls "$3/folder""#,
        seek = FREE_AREA >> 20
    );
    let other = image(&volume);
    let (inside, keys) = (desk.arg("inside.img"), desk.arg("keys"));
    let arguments = [inside.as_str(), drive.to_str().unwrap(), &keys, &other];
    let Some(run) = with_mounts(&desk, &volume, &script, &arguments) else {
        return;
    };
    let run = run.exits(0);
    let on_itself =
        "is on the very drive that the key opens: locked out of one, you would be locked out of both";
    assert_eq!(run.stderr.matches(on_itself).count(), 2, "{run:#?}");
    let on_other = "is on a drive that is encrypted with BitLocker as well";
    assert_eq!(run.stderr.matches(on_other).count(), 1, "{run:#?}");
    assert_eq!(
        run.stdout, "2\n2\n2\n0\nBitLocker Recovery Key 64311DEA-4587-4029-924A-BA299647998E.TXT\n",
        "{run:#?}"
    );
}

#[test]
fn what_cannot_be_written_is_said_with_the_reason() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let script = format!(
        r#"mount -t tmpfs -o size=1m keyhaven-test "$1" || exit 77
        mkdir "$1/folder"; mount -o remount,ro "$1" || exit 77
        drive=$2
        {BACKUP} "file:$1/folder""#
    );
    let (keys, drive) = (desk.arg("keys"), image(&volume));
    let Some(run) = with_mounts(&desk, &volume, &script, &[&keys, &drive]) else {
        return;
    };
    refused(run, &["Read-only file system", &keys]);
}

#[test]
fn a_folder_in_memory_is_warned_of() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let script = format!(
        r#"mount -t tmpfs -o size=1m keyhaven-test "$1" || exit 77
        mkdir "$1/folder"
        drive=$2
        {BACKUP} "file:$1/folder""#
    );
    let (keys, drive) = (desk.arg("keys"), image(&volume));
    let Some(run) = with_mounts(&desk, &volume, &script, &[&keys, &drive]) else {
        return;
    };
    let run = run.exits(0);
    for part in [
        "warning: `",
        "is in memory, and gone when the computer is switched off",
        "saved and proven: key ID 64311DEA",
    ] {
        assert!(run.stderr.contains(part), "{run:#?}");
    }
}

#[test]
fn a_folder_that_may_not_be_written_stays_empty() {
    use std::os::unix::fs::PermissionsExt;

    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    fs::set_permissions(desk.path("keys"), fs::Permissions::from_mode(0o500)).unwrap();
    if File::create(desk.path("keys/probe")).is_ok() {
        eprintln!("SKIPPED: root may write everywhere");
        return;
    }
    let place = format!("file:{}", desk.arg("keys"));
    let run = desk.with(
        SecretKind::Password,
        &["backup", &image(&volume), "--to", &place],
        &volume,
    );
    refused(run, &["Permission denied", "keys"]);
    assert_eq!(desk.names_in("keys"), [""; 0]);
}
