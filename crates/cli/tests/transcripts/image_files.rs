//! Drives made, changed and exported as VHD and VHDX files.

use std::fs::{self, File};
use std::process::Command;

use keyhaven_testkit::corpus::{self, SecretKind};
use keyhaven_testkit::{sha256_of, tool};

use crate::desk::{Desk, image};

const PASSWORD: &str = "correct horse battery";

/// Runs a verb with the password of the drive.
fn with_password(desk: &Desk, arguments: &[&str]) -> crate::transcript::Transcript {
    desk.keyhaven([arguments, &["--password=env:SECRET"]].concat())
        .env("SECRET", PASSWORD)
        .go()
}

/// Returns what another program finds inside an image.
fn content_by_qemu(desk: &Desk, format: &str, name: &str) -> Option<String> {
    let qemu_img = tool::find("qemu-img")?;
    let raw = desk.path("by-qemu.raw");
    let status = Command::new(qemu_img)
        .args(["convert", "-f", format, "-O", "raw"])
        .args([desk.path(name), raw.clone()])
        .status()
        .unwrap();
    assert!(status.success());
    Some(sha256_of(File::open(raw).unwrap()))
}

#[test]
fn a_drive_in_an_image_file_is_made_changed_and_exported() {
    for (drive, out, format, title, other) in [
        ("a.vhdx", "out.vhd", "vpc", "a dynamic VHDX image", "a.vhdx"),
        ("a.vhd", "out.vhdx", "vhdx", "a dynamic VHD image", "a.vhd"),
    ] {
        let desk = Desk::new();
        let place = format!("file:{}/", desk.arg("keys"));
        let new = [
            "create",
            drive,
            "--size=64M",
            "--fs=exfat",
            "--to",
            place.as_str(),
        ];
        with_password(&desk, &new).exits(0);
        let stored = fs::metadata(desk.path(drive)).unwrap().len();
        assert!(stored < 24 << 20, "{stored} bytes");
        let told = desk.keyhaven(["info", drive]).go().exits(0);
        assert!(
            told.stdout.contains(&format!("{other}, inside {title}")),
            "{told:?}"
        );
        let json = desk.keyhaven(["--json", "info", drive]).go().exits(0).json();
        let ending = drive.rsplit('.').next().unwrap();
        assert_eq!(json["container"]["format"], ending);
        // Changed where it lies: another recovery key, and protection taken away and given back.
        let add = [
            "protector",
            "add",
            "--yes",
            "--new-recovery-key",
            drive,
            "--to",
            place.as_str(),
        ];
        with_password(&desk, &add).exits(0);
        with_password(&desk, &["suspend", "--yes", drive]).exits(0);
        desk.keyhaven(["resume", "--yes", drive]).go().exits(0);
        desk.keyhaven(["check", drive]).go().exits(0);
        assert_eq!(desk.names_in("keys").len(), 2);

        with_password(&desk, &["export", drive, "raw.img", "--sparse"]).exits(0);
        with_password(&desk, &["export", drive, out, "--verify", "--sparse"]).exits(0);
        let expected = sha256_of(File::open(desk.path("raw.img")).unwrap());
        if let Some(found) = content_by_qemu(&desk, format, out) {
            assert_eq!(found, expected);
        }
        assert!(fs::metadata(desk.path(out)).unwrap().len() < 24 << 20);
    }
}

#[test]
fn a_volume_of_windows_gives_the_published_content_through_image_files() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let Some(qemu_img) = tool::find("qemu-img") else {
        return;
    };
    for (format, options, ending) in [
        ("vhdx", "subformat=dynamic", "vhdx"),
        ("vpc", "subformat=dynamic,force_size=on", "vhd"),
    ] {
        let desk = Desk::new();
        let drive = desk.arg("drive.img");
        let status = Command::new(&qemu_img)
            .args(["convert", "-O", format, "-o", options, &image(&volume), &drive])
            .status()
            .unwrap();
        assert!(status.success());
        let secret = volume.all_secrets().next().expect("the manifest lists one");
        let out = format!("out.{ending}");
        desk.unlocking(&["export", &drive, &out, "--fixed"], &volume, secret)
            .exits(0);
        desk.unlocking(&["export", &drive, "out.img"], &volume, secret)
            .exits(0);
        let raw = sha256_of(File::open(desk.path("out.img")).unwrap());
        assert_eq!(Some(&raw), volume.plain_sha256.as_ref());
        assert_eq!(content_by_qemu(&desk, format, &out), Some(raw));
    }
}

#[test]
fn what_cannot_be_made_is_refused_before_anybody_types_a_key() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    let drive = image(&volume);
    for (arguments, message) in [
        (
            &["export", drive.as_str(), "out.qcow2"][..],
            "`out.qcow2` would be a QCOW2 image, and those can only be read",
        ),
        (
            &["export", &drive, "out.img", "--fixed"],
            "`--fixed` is for vhd and vhdx files",
        ),
        (
            &["export", &drive, "out.img", "--format=vmdk"],
            "a VMDK image can only be read",
        ),
        (
            &["export", &drive, "out.vhdx", "--keep-going"],
            "`--keep-going` writes raw images, and `out.vhdx` would be a VHDX image",
        ),
        (
            &["create", "new.vhd", "--size=3T", "--fs=none", "--no-backup"],
            "a VHD image has whole sectors and at most 2190433320960 bytes (2040 GiB), not 3298534883328",
        ),
        (
            &[
                "create",
                "new.vhd",
                "--size=1G",
                "--fs=none",
                "--no-backup",
                "--sector-size=4096",
            ],
            "a VHD image has sectors of 512 bytes, not 4096",
        ),
    ] {
        let run = desk.with(SecretKind::Password, arguments, &volume).exits(2);
        assert!(run.stderr.contains(message), "{message:?} is missing: {run:?}");
        assert_eq!(desk.names_in("."), ["home", "keys", "state"]);
    }
}

#[test]
fn a_damaged_image_file_is_told_by_name() {
    let desk = Desk::new();
    let place = format!("file:{}/", desk.arg("keys"));
    with_password(
        &desk,
        &["create", "a.vhdx", "--size=64M", "--fs=none", "--to", &place],
    )
    .exits(0);
    let whole = fs::read(desk.path("a.vhdx")).unwrap();
    desk.write("cut.vhdx", &whole[..100_000]);
    let run = desk.keyhaven(["info", "cut.vhdx"]).go().exits(2);
    for part in [
        "`cut.vhdx` is a VHDX image that cannot be used",
        "get the whole of it again",
    ] {
        assert!(run.stderr.contains(part), "{run:?}");
    }
    let run = desk.keyhaven(["info", "a.vhdx", "--image-format=raw"]).go();
    assert_ne!(run.code, Some(0), "{run:?}");
    let run = desk
        .keyhaven(["info", "a.vhdx", "--image-format=vmdk"])
        .go()
        .exits(2);
    assert!(run.stderr.contains("it is not a VMDK image"), "{run:?}");
    let run = desk
        .keyhaven(["info", "a.vhdx", "--image-format=floppy"])
        .go()
        .exits(2);
    assert!(run.stderr.contains("expected raw or one of"), "{run:?}");
}
