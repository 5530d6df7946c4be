//! Transcripts of `keyhaven unlock` and `keyhaven lock` with Keyhaven's own way of showing files.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use keyhaven_fve::EncryptionMethod;
use keyhaven_testkit::corpus::{self, SecretKind};
use keyhaven_testkit::{copy_of, kernel, sha256_of, tool};
use rustix::process::Signal;

use crate::desk::{Desk, image};
use crate::made_volume;
use crate::shown::{Shown, is_mounted, wait_until};

const PASSWORD: [&str; 2] = ["--password", "env:KEYHAVEN_TEST_PASSWORD"];

/// Makes a drive that needs no key, with something on it that is no file system; returns its path as an argument.
fn drive(desk: &Desk) -> String {
    let path = desk.path("drive.img");
    made_volume::make(&path, 64 << 20, EncryptionMethod::AesXts128);
    made_volume::write(&path, 0, b"no file system begins like this");
    desk.arg("drive.img")
}

/// A process that works in a mount, until it is dropped.
struct Worker(Child);

impl Worker {
    fn within(folder: &Path) -> Self {
        let child = Command::new("sleep")
            .arg("60")
            .current_dir(folder)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_files_of_a_real_drive_are_what_windows_wrote() {
    let Some(volume) = corpus::volume_or_skip("dfvfs-bdetogo") else {
        return;
    };
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    fs::create_dir(desk.path("mounted")).unwrap();
    let arguments = [
        "--json",
        "unlock",
        "--background",
        &image(&volume),
        &desk.arg("mounted"),
    ];
    let run = desk.with(SecretKind::Password, &arguments, &volume).exits(0);
    let mountpoint = desk.path("mounted").canonicalize().unwrap();
    let answer = run.json();
    assert_eq!(answer["kind"], "files");
    assert_eq!(answer["file_system"], "FAT");
    assert_eq!(answer["read_only"], true);
    assert_eq!(answer["mountpoint"], mountpoint.to_str().unwrap());
    assert_eq!(answer["image"], serde_json::Value::Null);
    let process = answer["pid"].as_u64().unwrap();
    assert!(Path::new(&format!("/proc/{process}")).exists());

    // As other programs read them from the decrypted volume.
    for (name, sha256) in [
        (
            "passwords.txt",
            "02a2a6af2f1ecf4720d7d49d640f0d0a269a7ec733e41973bdd34f09dad0e252",
        ),
        (
            "a_directory/a_file",
            "4a49638d0e1055fd9e4c17fef7fdf4d6ccf892b6d9c2f64164203c4bfb0ec92d",
        ),
        (
            "a_directory/another_file",
            "c7fbc0e821c0871805a99584c6a384533909f68a6bbe9a2a687d28d9f3b10c16",
        ),
        (
            "System Volume Information/FVE2.{24e6f0ae-6a00-4f73-984b-75ce9942852d}",
            "70042e08104f30712040364544777c75eea243d0ffe69cb05195dd70e331b5ef",
        ),
    ] {
        assert_eq!(
            sha256_of(File::open(mountpoint.join(name)).unwrap()),
            sha256,
            "{name}"
        );
    }

    let run = desk
        .keyhaven(["--json", "lock", &desk.arg("mounted")])
        .go()
        .exits(0);
    let answer = run.json();
    assert_eq!(answer["locked"], true);
    assert_eq!(answer["was_dead"], false);
    assert!(!is_mounted(&mountpoint));
    assert!(
        !Path::new(&format!("/proc/{process}/cwd")).exists(),
        "`lock` waits for the process"
    );
}

#[test]
fn the_image_of_a_real_drive_is_the_published_one() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let mut shown = Shown::new(&desk, &image(&volume), &["--as-image", PASSWORD[0], PASSWORD[1]]);
    let plain = File::open(shown.path("volume.img")).unwrap();
    assert_eq!(Some(sha256_of(&plain)), volume.plain_sha256);
    drop(plain);
    shown.signal(Signal::INT);
    let (code, said) = shown.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("/volume.img (read-only). Ctrl-C locks it again.\n"),
        "{said}"
    );
    assert!(said.ends_with("Locked again.\n"), "{said}");
    assert!(!is_mounted(shown.mountpoint()));
}

#[test]
fn every_signal_and_every_way_of_unmounting_ends_it_in_order() {
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = drive(&desk);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut shown = Shown::new(&desk, &drive, &["--as-image"]);
        shown.signal(signal);
        let (code, said) = shown.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(!is_mounted(shown.mountpoint()));
    }
    let mut shown = Shown::new(&desk, &drive, &["--as-image"]);
    let unmounted = Command::new("umount").arg(shown.mountpoint()).output();
    if unmounted.is_ok_and(|output| output.status.success()) {
        let (code, said) = shown.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("Locked again.\n"), "{said}");
    }
}

#[test]
fn what_is_written_is_encrypted_and_on_the_drive() {
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = drive(&desk);
    let shown = Shown::new(&desk, &drive, &["--as-image", "--write"]);
    assert!(shown.said().contains("(can be written)"), "{}", shown.said());
    let mut file = File::options()
        .write(true)
        .open(shown.path("volume.img"))
        .unwrap();
    file.write_all_at(b"written through a mount", 40 << 20).unwrap();
    file.flush().unwrap();
    drop(file);
    desk.keyhaven(["lock", &desk.arg("mounted")]).go().exits(0);

    use keyhaven_disk::BlockDevice;
    let mut found = [0; 23];
    made_volume::open(Path::new(&drive))
        .read_at(40 << 20, &mut found)
        .unwrap();
    assert_eq!(&found, b"written through a mount");
    let mut raw = [0; 23];
    File::open(&drive)
        .unwrap()
        .read_exact_at(&mut raw, 40 << 20)
        .unwrap();
    assert_ne!(raw, found, "on the drive it is encrypted");
}

#[test]
fn mountpoints_that_cannot_be_used_are_told_before_a_key_is_asked_for() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    desk.write("file", "");
    for (mountpoint, parts) in [
        ("none", ["there is no folder `", "make it first: `mkdir "]),
        ("file", ["` is not a folder", "give an empty folder"]),
        (".", ["` is not empty", "what is in it would be hidden"]),
    ] {
        let run = desk
            .keyhaven(["unlock", &image(&volume), &desk.arg(mountpoint)])
            .go()
            .exits(2);
        for part in parts {
            assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
        }
        assert!(
            run.stderr.starts_with("error: nothing was unlocked: "),
            "{run:#?}"
        );
    }
    let run = desk.keyhaven(["unlock", &image(&volume), "/proc"]).go().exits(2);
    assert!(
        run.stderr.contains("`proc` is mounted on `/proc` already"),
        "{run:#?}"
    );
}

#[test]
fn a_mountpoint_is_used_once() {
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = drive(&desk);
    let shown = Shown::new(&desk, &drive, &["--as-image"]);
    let run = desk
        .keyhaven(["unlock", "--as-image", &drive, &desk.arg("mounted")])
        .go()
        .exits(2);
    let mountpoint = shown.mountpoint().display();
    for part in [
        format!("`keyhaven:{drive}` is mounted on `{mountpoint}` already"),
        format!("`keyhaven lock {mountpoint}` ends it"),
    ] {
        assert!(run.stderr.contains(&part), "{part:?} is missing: {run:#?}");
    }
}

#[test]
fn what_is_no_file_system_is_named() {
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = drive(&desk);
    fs::create_dir(desk.path("mounted")).unwrap();
    let run = desk
        .keyhaven(["unlock", &drive, &desk.arg("mounted")])
        .go()
        .exits(2);
    for part in [
        "error: the drive is unlocked, but its files cannot be shown",
        "expected NTFS, exFAT or FAT, found ",
        "hint: `--as-image` shows the decrypted drive as one file",
    ] {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    assert!(!is_mounted(&desk.path("mounted")));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let desk = Desk::new();
    fs::create_dir(desk.path("mounted")).unwrap();
    for (options, part) in [
        (
            &["--driver", "built-in", "--write"][..],
            "the built-in driver only reads",
        ),
        (&["--driver", "system", "--as-image"], "cannot be used with"),
        (&["--allow-unclean"], "--write"),
    ] {
        let mountpoint = desk.arg("mounted");
        let arguments = [&["unlock", "none.img", &mountpoint], options].concat();
        let run = desk.keyhaven(arguments).go().exits(2);
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
}

#[test]
fn a_damaged_file_system_is_not_written_unless_told() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    fs::create_dir(desk.path("mounted")).unwrap();
    // Its makers left out nearly everything: there is a boot sector of NTFS, and noise.
    let copy = copy_of(volume.image());
    let copy = copy.to_str().unwrap();
    let arguments = ["unlock", "--as-image", "--write", copy, &desk.arg("mounted")];
    let run = desk.with(SecretKind::Password, &arguments, &volume).exits(2);
    for part in [
        "error: the drive must not be written now: the NTFS file system is damaged",
        "`--allow-unclean` writes all the same, and may damage files",
    ] {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    let shown = Shown::new(
        &desk,
        copy,
        &[
            "--as-image",
            "--write",
            "--allow-unclean",
            PASSWORD[0],
            PASSWORD[1],
        ],
    );
    assert!(
        shown
            .said()
            .contains("warning: the drive is written all the same: ")
    );
}

#[test]
fn who_uses_a_drive_is_named_and_keeps_it() {
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = drive(&desk);
    let mut shown = Shown::new(&desk, &drive, &["--as-image"]);
    let worker = Worker::within(shown.mountpoint());
    let run = desk.keyhaven(["lock", &desk.arg("mounted")]).go().exits(2);
    for part in [
        "is in use, so it stays unlocked",
        &format!("sleep (process {}) works in `", worker.0.id()),
        "`--force` takes it out of sight now",
    ] {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    assert!(is_mounted(shown.mountpoint()) && shown.is_running());

    let run = desk
        .keyhaven(["lock", "--force", &desk.arg("mounted")])
        .go()
        .exits(0);
    assert!(
        run.stderr.contains("it is locked when nobody uses it any more"),
        "{run:#?}"
    );
    assert!(!is_mounted(shown.mountpoint()) && shown.is_running());
    drop(worker);
    let (code, said) = shown.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn ctrl_c_takes_a_drive_in_use_out_of_sight_and_a_second_one_ends_it() {
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = drive(&desk);
    let mut shown = Shown::new(&desk, &drive, &["--as-image"]);
    let worker = Worker::within(shown.mountpoint());
    shown.signal(Signal::INT);
    wait_until(|| shown.said().contains("It is out of sight now"));
    assert!(
        shown
            .said()
            .contains(&format!("sleep (process {}) works in", worker.0.id()))
    );
    wait_until(|| !is_mounted(shown.mountpoint()));
    assert!(shown.is_running());
    shown.signal(Signal::INT);
    let (code, said) = shown.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_a_process_ended_by_force_leaves_is_cleared_away() {
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = drive(&desk);
    let shown = Shown::new(&desk, &drive, &["--as-image", "--write"]);
    let open = File::open(shown.path("volume.img")).unwrap();
    let mountpoint = shown.mountpoint().to_owned();
    shown.kill();
    assert!(is_mounted(&mountpoint));

    let run = desk
        .keyhaven(["unlock", "--as-image", &drive, &desk.arg("mounted")])
        .go()
        .exits(2);
    for part in ["whose program was ended by force", "` clears it away"] {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    let run = desk
        .keyhaven(["--json", "lock", &desk.arg("mounted")])
        .go()
        .exits(0);
    assert_eq!(run.json()["was_dead"], true);
    assert!(!is_mounted(&mountpoint));
    drop(open);
    drop(Shown::new(&desk, &drive, &["--as-image"]));
}

#[test]
fn what_is_not_keyhaven_s_is_left_alone() {
    let desk = Desk::new();
    let run = desk.keyhaven(["lock", "/proc"]).go().exits(2);
    assert!(
        run.stderr
            .contains("what is mounted on `/proc` is not Keyhaven's, and is left alone"),
        "{run:#?}"
    );
    let run = desk.keyhaven(["lock", &desk.arg("home")]).go().exits(2);
    assert!(run.stderr.contains("nothing is mounted on `"), "{run:#?}");
    let run = desk.keyhaven(["lock", &desk.arg("none")]).go().exits(2);
    assert!(run.stderr.contains("there is no folder `"), "{run:#?}");
}

#[test]
fn a_drive_that_disappears_gives_errors_and_is_told_of_once() {
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = drive(&desk);
    let mut shown = Shown::new(&desk, &drive, &["--as-image"]);
    let file = File::open(shown.path("volume.img")).unwrap();
    file.read_exact_at(&mut [0; 512], 0).unwrap();
    // What is left of it is what the kernel has read already.
    File::options()
        .write(true)
        .open(&drive)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    for offset in [50 << 20, 40 << 20, 30 << 20] {
        let error = file.read_exact_at(&mut [0; 512], offset).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    }
    wait_until(|| shown.said().contains("warning: "));
    assert!(shown.is_running());
    drop(file);
    shown.signal(Signal::TERM);
    let (code, said) = shown.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said.matches("warning: the drive cannot be read everywhere")
            .count(),
        1,
        "{said}"
    );
}

#[test]
fn a_failure_at_the_start_is_the_background_s_answer_too() {
    if !kernel::has_fuse() {
        return;
    }
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    fs::create_dir(desk.path("mounted")).unwrap();
    let run = desk
        .keyhaven([
            "unlock",
            "--background",
            &image(&volume),
            &desk.arg("mounted"),
            "--password=-",
        ])
        .stdin("wrong\n")
        .go()
        .exits(1);
    assert!(run.stderr.contains("does not open"), "{run:#?}");
    assert!(!is_mounted(&desk.path("mounted")));
}

#[test]
fn a_password_is_asked_for_on_the_terminal_that_is_then_left() {
    let (Some(volume), Some(script)) = (corpus::volume_or_skip("cs-aes-xts-128"), tool::find("script"))
    else {
        return;
    };
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    fs::create_dir(desk.path("mounted")).unwrap();
    let line = format!(
        "{} unlock --background --as-image {} {} --password",
        env!("CARGO_BIN_EXE_keyhaven"),
        image(&volume),
        desk.arg("mounted"),
    );
    let mut terminal = Command::new(script)
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = terminal.stdin.take().unwrap();
    keyboard.write_all(b"anaconda\n").unwrap();
    let output = terminal.wait_with_output().unwrap();
    drop(keyboard);
    let seen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{seen}");
    assert!(seen.contains("Password of the drive: "), "{seen}");
    assert!(seen.contains("` locks it again."), "{seen}");
    // The terminal is gone, and the drive is still there.
    assert!(desk.path("mounted/volume.img").exists());
    desk.keyhaven(["lock", &desk.arg("mounted")]).go().exits(0);
}

/// What root does in a name space of its own: users get at FUSE through fusermount3, whatever this machine allows.
const AS_A_USER: &str = r#"
    mknod "$1/fuse" c 10 229 && chmod 666 "$1/fuse" && mount --bind "$1/fuse" /dev/fuse || exit 77
    touch "$1/keyhaven" && mount --bind "$0" "$1/keyhaven" || exit 77
    chmod 755 "$1" && mkdir "$1/mine" && chown 65534:65534 "$1/mine" "$1/drive.img" && cd "$1" || exit 77
    as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    as_user ./keyhaven unlock --as-image --background drive.img mine || exit 1
    grep -q "user_id=65534" /proc/self/mountinfo || exit 2
    as_user dd if=mine/volume.img of=/dev/null bs=1M count=8 status=none || exit 3
    ls mine 2>/dev/null && exit 4
    as_user ./keyhaven lock mine || exit 5
    grep "$1/mine" /proc/self/mountinfo && exit 6
    as_user env PATH=/none ./keyhaven unlock --as-image drive.img mine; test $? = 2 || exit 7
    as_user ./keyhaven unlock --as-image drive.img keys; test $? = 2 || exit 8
    as_user ./keyhaven unlock --write drive.img mine; test $? = 2 || exit 9
"#;

#[test]
fn users_mount_with_the_help_of_fusermount3() {
    if !kernel::has_fuse() || tool::find("fusermount3").is_none() {
        return;
    }
    let desk = Desk::new();
    drive(&desk);
    let output = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            AS_A_USER,
            env!("CARGO_BIN_EXE_keyhaven"),
            &desk.arg("."),
        ])
        .output();
    let output = match output {
        Ok(output) if !matches!(output.status.code(), Some(77) | None) => output,
        _ => {
            eprintln!("SKIPPED: only root may make a name space to be another user in");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in [
        "the program `fusermount3`, with which users mount, is not installed",
        "install the package `fuse3`",
        "you may not mount on `",
        "only root may have a driver of this computer mount a drive",
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}
