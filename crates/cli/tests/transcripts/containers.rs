//! Drives inside image files of other programs: every verb takes them, and they give what the raw image gives.

use std::fs::File;
use std::process::Command;

use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use keyhaven_testkit::{sha256_of, tool};

use crate::desk::{Desk, image};

/// Runs another program on the desk; arguments are in one string and have no blanks in them.
fn run(desk: &Desk, program: &str, arguments: &str) -> Option<()> {
    let output = Command::new(tool::find(program)?)
        .args(arguments.split(' '))
        .current_dir(desk.path("."))
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    Some(())
}

/// Puts the raw image on the desk, under the name `disk.raw`.
fn desk_with(volume: &Volume) -> Desk {
    let desk = Desk::new();
    std::os::unix::fs::symlink(image(volume), desk.path("disk.raw")).expect("a link");
    desk
}

#[test]
fn a_real_drive_opens_in_every_kind_of_image() {
    let Some(volume) = corpus::volume_or_skip("dfvfs-bdetogo") else {
        return;
    };
    let convert = |options: &str, name: &str| format!("convert -O {options} disk.raw {name}");
    for (program, arguments, name, title) in [
        (
            "qemu-img",
            convert("qcow2 -c", "a.qcow2"),
            "a.qcow2",
            "a QCOW2 image",
        ),
        (
            "qemu-img",
            convert("vmdk -o subformat=streamOptimized", "a.vmdk"),
            "a.vmdk",
            "a VMDK image (streamOptimized)",
        ),
        (
            "ewfacquire",
            "-u -q -c fast -S 4194304 -t a disk.raw".to_owned(),
            "a.E01",
            "an EWF image",
        ),
        (
            "split",
            "-b 20M -d -a 3 disk.raw a.".to_owned(),
            "a.000",
            "an image in 4 files",
        ),
    ] {
        let desk = desk_with(&volume);
        if run(&desk, program, &arguments).is_none() {
            continue;
        }
        let drive = desk.arg(name);
        let told = desk
            .keyhaven(["info", drive.as_str(), "--ignore-checksums"])
            .go()
            .exits(0);
        assert!(told.stdout.contains(&format!("inside {title}")), "{told:#?}");

        let exported = desk
            .with(
                SecretKind::Password,
                &["export", &drive, &desk.arg("out.img")],
                &volume,
            )
            .exits(0);
        let out = File::open(desk.path("out.img")).expect("it was made");
        assert_eq!(Some(sha256_of(out)), volume.plain_sha256, "{name}: {exported:#?}");
    }
}

#[test]
fn an_image_that_lacks_a_part_says_which() {
    let Some(volume) = corpus::volume_or_skip("dfvfs-bdetogo") else {
        return;
    };
    let desk = desk_with(&volume);
    run(&desk, "split", "-b 20M -d -a 3 disk.raw a.").expect("every system has it");
    std::fs::remove_file(desk.path("a.002")).expect("it was made");
    let refused = desk.keyhaven(["info", &desk.arg("a.000")]).go().exits(2);
    assert!(
        refused
            .stderr
            .contains("its part \"a.002\" is missing, and \"a.003\" is there"),
        "{refused:#?}"
    );
    let refused = desk.keyhaven(["info", &desk.arg("a.001")]).go().exits(2);
    assert!(
        refused.stderr.contains("name the first one, \"a.000\""),
        "{refused:#?}"
    );
}

#[test]
fn images_that_are_only_read_say_how_to_get_one_that_can_be_changed() {
    let Some(volume) = corpus::volume_or_skip("dfvfs-bdetogo") else {
        return;
    };
    let desk = desk_with(&volume);
    if run(&desk, "qemu-img", "convert -O qcow2 disk.raw a.qcow2").is_none() {
        return;
    }
    let before = sha256_of(File::open(desk.path("a.qcow2")).expect("it was made"));
    let refused = desk
        .with(SecretKind::Password, &["suspend", &desk.arg("a.qcow2")], &volume)
        .exits(2);
    assert!(
        refused.stderr.contains("it cannot be changed where it lies"),
        "{refused:#?}"
    );
    assert!(refused.stderr.contains("qemu-img convert"), "{refused:#?}");
    assert_eq!(
        before,
        sha256_of(File::open(desk.path("a.qcow2")).expect("still there"))
    );
}
