//! Transcripts of `keyhaven unlock` where a driver of this computer shows the files: as root, with `--write`.

use std::fs;
use std::path::Path;
use std::process::Command;

use keyhaven_fve::EncryptionMethod;
use keyhaven_testkit::{copy_of, corpus, kernel, tool};
use rustix::process::Signal;

use crate::desk::Desk;
use crate::made_volume;
use crate::shown::{Shown, is_mounted, wait_until};

/// The makers of file systems know nothing of the parts that BitLocker keeps for itself, and write in the middle: at this
/// length they stay clear of them.
const LEN: u64 = 48 << 20;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: only root may have a driver mount");
    }
    is_root
}

/// Returns a desk with the drive `drive.img`, on which `maker` has made a file system; `None` where it cannot be.
fn with_file_system(maker: &[&str]) -> Option<Desk> {
    if !kernel::has_fuse() {
        return None;
    }
    if !is_root() {
        return None;
    }
    let program = tool::find(maker[0])?;
    let desk = Desk::new();
    made_volume::make(&desk.path("drive.img"), LEN, EncryptionMethod::AesXts256);
    let shown = Shown::new(&desk, &desk.arg("drive.img"), &["--as-image", "--write"]);
    let made = Command::new(program)
        .args(&maker[1..])
        .arg(shown.path("volume.img"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    desk.keyhaven(["lock", &desk.arg("mounted")]).go().exits(0);
    Some(desk)
}

const NTFS: &[&str] = &["mkntfs", "--fast", "--force", "--label", "TEST"];
const EXT4: &[&str] = &["mke2fs", "-q", "-F", "-t", "ext4"];

fn has_private_folder(process: u32) -> bool {
    Path::new("/run/keyhaven").join(process.to_string()).exists()
}

/// Unlocks in the background, and returns the number of the process.
fn in_background(desk: &Desk, options: &[&str]) -> u32 {
    let (drive, mountpoint) = (desk.arg("drive.img"), desk.arg("mounted"));
    let arguments = [
        &["--json", "unlock", "--background", &drive, &mountpoint],
        options,
    ]
    .concat();
    let run = desk.keyhaven(arguments).go().exits(0);
    let answer = run.json();
    assert_eq!(answer["kind"], "system");
    u32::try_from(answer["pid"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_file_written_through_ntfs_3g_is_read_by_the_built_in_driver() {
    if tool::find("ntfs-3g").is_none() {
        return;
    }
    let Some(desk) = with_file_system(NTFS) else {
        return;
    };
    let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let process = in_background(&desk, &["--write"]);
    fs::create_dir(desk.path("mounted/Ordner")).unwrap();
    fs::write(desk.path("mounted/Ordner/Zahlen für später.bin"), &content).unwrap();
    assert!(has_private_folder(process));
    let run = desk
        .keyhaven(["--json", "lock", &desk.arg("mounted")])
        .go()
        .exits(0);
    assert_eq!(run.json()["locked"], true);
    assert!(!is_mounted(&desk.path("mounted")) && !has_private_folder(process));

    let shown = Shown::new(&desk, &desk.arg("drive.img"), &[]);
    assert!(shown.said().contains("(NTFS, read-only)"), "{}", shown.said());
    assert!(fs::read(shown.path("Ordner/Zahlen für später.bin")).unwrap() == content);
}

/// A real drive of Windows' own making, written through us, is read by somebody else's program.
#[test]
fn another_program_reads_what_was_written_to_a_drive_of_windows() {
    let (Some(volume), Some(dislocker), Some(ntfscat), Some(mkntfs), Some(_)) = (
        corpus::volume_or_skip("cs-aes-xts-128"),
        tool::find("dislocker-file"),
        tool::find("ntfscat"),
        tool::find("mkntfs"),
        tool::find("ntfs-3g"),
    ) else {
        return;
    };
    if !kernel::has_fuse() || !is_root() {
        return;
    }
    let desk = Desk::new();
    let drive = copy_of(volume.image());
    let drive = drive.to_str().unwrap();
    let password = ["--password", "env:KEYHAVEN_TEST_PASSWORD"];
    // Its makers left out nearly all of its file system, so it gets a new one.
    let options = [
        "--as-image",
        "--write",
        "--allow-unclean",
        password[0],
        password[1],
    ];
    let shown = Shown::new(&desk, drive, &options);
    let made = Command::new(mkntfs)
        .args(&NTFS[1..])
        .arg(shown.path("volume.img"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    desk.keyhaven(["lock", &desk.arg("mounted")]).go().exits(0);

    let content: Vec<u8> = (0..500_000u32).flat_map(u32::to_be_bytes).collect();
    let shown = Shown::new(&desk, drive, &["--write", password[0], password[1]]);
    fs::write(shown.path("file"), &content).unwrap();
    desk.keyhaven(["lock", &desk.arg("mounted")]).go().exits(0);

    let plain = desk.path("plain.img");
    let decrypted = Command::new(dislocker)
        .args(["--quiet", "--volume", drive, "--user-password=anaconda", "--"])
        .arg(&plain)
        .output()
        .unwrap();
    assert!(decrypted.status.success(), "{decrypted:?}");
    let found = Command::new(ntfscat)
        .arg("--force")
        .arg(&plain)
        .arg("file")
        .output()
        .unwrap();
    assert!(
        found.stdout == content,
        "{}",
        String::from_utf8_lossy(&found.stderr)
    );
}

#[test]
fn a_driver_of_the_kernel_writes_through_a_loop_device() {
    if !kernel::has_loop_devices() {
        return;
    }
    let Some(desk) = with_file_system(EXT4) else {
        return;
    };
    let drive = desk.arg("drive.img");
    let mut shown = Shown::new(&desk, &drive, &["--write"]);
    fs::write(shown.path("file"), "written by the kernel").unwrap();
    shown.signal(Signal::INT);
    let (code, said) = shown.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!is_mounted(shown.mountpoint()));

    // Read-only, and ended by somebody who knows nothing of Keyhaven.
    let mut shown = Shown::new(&desk, &drive, &["--driver", "system"]);
    assert_eq!(
        fs::read_to_string(shown.path("file")).unwrap(),
        "written by the kernel"
    );
    fs::write(shown.path("file"), "").unwrap_err();
    let unmounted = Command::new("umount").arg(shown.mountpoint()).status().unwrap();
    assert!(unmounted.success());
    let (code, said) = shown.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("Locked again.\n"), "{said}");
    assert!(!has_private_folder(shown.process_id()));
}

#[test]
fn what_a_process_ended_by_force_leaves_of_two_mounts_is_cleared_away() {
    for (maker, needs_loop) in [(NTFS, false), (EXT4, true)] {
        if needs_loop && !kernel::has_loop_devices() {
            continue;
        }
        let Some(desk) = with_file_system(maker) else {
            continue;
        };
        let shown = Shown::new(&desk, &desk.arg("drive.img"), &["--write"]);
        fs::write(shown.path("file"), "x").unwrap();
        let mountpoint = shown.mountpoint().to_owned();
        shown.kill();
        let run = desk
            .keyhaven(["--json", "lock", &desk.arg("mounted")])
            .go()
            .exits(0);
        assert_eq!(run.json()["was_dead"], true);
        assert!(!is_mounted(&mountpoint));
        // The loop device and the image are gone too: the drive can be written again.
        wait_until(|| {
            let run = desk.keyhaven([
                "--quiet",
                "unlock",
                "--as-image",
                "--write",
                "--allow-unclean",
                "--background",
                &desk.arg("drive.img"),
                &desk.arg("mounted"),
            ]);
            run.go().code == Some(0)
        });
        desk.keyhaven(["lock", &desk.arg("mounted")]).go().exits(0);
    }
}

#[test]
fn what_no_driver_reads_is_named() {
    let Some(desk) = with_file_system(&["true"]) else {
        return;
    };
    let run = desk
        .keyhaven([
            "unlock",
            "--driver",
            "system",
            &desk.arg("drive.img"),
            &desk.arg("mounted"),
        ])
        .go()
        .exits(2);
    for part in [
        "the drive is unlocked, but its files cannot be mounted: Linux has no driver for ",
        "`--as-image` shows the decrypted drive as one file",
    ] {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    assert!(!is_mounted(&desk.path("mounted")));
}
