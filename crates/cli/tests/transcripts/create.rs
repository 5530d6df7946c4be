//! Transcripts of `keyhaven create`: what is made is whole and opens everywhere, and what fails leaves nothing.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Output};

use keyhaven_testkit::tool;

use crate::desk::Desk;
use crate::loop_device::LoopDevice;
use crate::transcript::Transcript;

const PASSWORD: &str = "correct horse battery";
const RECOVERY_KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

/// Creates `drive.img` with the password, and its key saved in `keys`.
fn create(desk: &Desk, arguments: &[&str]) -> Transcript {
    let (drive, place) = (desk.arg("drive.img"), format!("file:{}/", desk.arg("keys")));
    let common = ["create", &drive, "--password=env:SECRET", "--to", &place];
    desk.keyhaven([&common, arguments].concat())
        .env("SECRET", PASSWORD)
        .go()
}

fn has_tools(tools: &[&str]) -> bool {
    tools.iter().all(|tool| tool::find(tool).is_some())
}

#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// What others find on a drive with a file system: it opens with each of its keys, is whole, and has its name.
fn check_with_others(kind: &str, sector_size: &str, size: &str, checker: &[&str]) {
    if !has_tools(&[checker[0]]) {
        return;
    }
    let desk = Desk::new();
    fs::create_dir(desk.path("stick")).unwrap();
    let arguments = [
        "--json",
        "--size",
        size,
        "--fs",
        kind,
        "--sector-size",
        sector_size,
        "--label",
        "JUDGED",
        "--startup-key",
        &desk.arg("stick"),
        "--recovery-key=env:DIGITS",
    ];
    let (drive, place) = (desk.arg("drive.img"), format!("file:{}/", desk.arg("keys")));
    let common = ["create", &drive, "--password=env:SECRET", "--to", &place];
    let answer = desk
        .keyhaven([&common[..], &arguments].concat())
        .env("SECRET", PASSWORD)
        .env("DIGITS", RECOVERY_KEY)
        .go()
        .exits(0)
        .json();
    assert_eq!(answer["created"], true);
    assert_eq!(answer["file_system"]["kind"], kind);
    assert_eq!(answer["sector_size"].to_string(), sector_size);
    assert_eq!(answer["receipts"][0]["proven"], true);
    let kinds: Vec<&str> = answer["protectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|protector| protector["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["password", "recovery_password", "startup_key"]);
    let stored = fs::metadata(desk.path("drive.img")).unwrap().blocks() * 512;
    assert!(stored < 4 << 20, "{stored} bytes of {size} are stored");

    let startup_key = answer["startup_key"].as_str().unwrap();
    let mode = fs::metadata(startup_key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // `create` has tried each key itself; here each opens it for another program.
    let out = desk.arg("exported.img");
    desk.keyhaven(["export", &drive, &out, "--startup-key", startup_key, "--sparse"])
        .go()
        .exits(0);
    succeeds(Command::new(checker[0]).args(&checker[1..]).arg(&out));
    if let Some(cryptsetup) = tool::find("cryptsetup") {
        let secret = desk.write("secret", RECOVERY_KEY);
        succeeds(
            Command::new(cryptsetup)
                .args(["open", "--type", "bitlk", "--test-passphrase", &drive])
                .stdin(File::open(secret).unwrap()),
        );
    }
    let Some(dislocker) = tool::find("dislocker-file") else {
        return;
    };
    let plain = desk.arg("plain.img");
    succeeds(
        Command::new(dislocker)
            .args(["-V", &drive, &format!("-u{PASSWORD}"), "--"])
            .arg(&plain),
    );
    let checked = succeeds(Command::new(checker[0]).args(&checker[1..]).arg(&plain));
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(!said.contains("BAD") && !said.contains("WARN"), "{said}");
}

#[test]
fn ntfs_is_whole() {
    check_with_others("ntfs", "512", "16M", &["ntfsfix", "-n"]);
    check_with_others("ntfs", "4096", "16M", &["ntfsfix", "-n"]);
}

#[test]
fn exfat_is_whole() {
    check_with_others("exfat", "512", "16M", &["fsck.exfat", "-n"]);
    check_with_others("exfat", "4096", "16M", &["fsck.exfat", "-n"]);
}

#[test]
fn fat32_is_whole() {
    check_with_others("fat32", "512", "40M", &["fsck.fat", "-n"]);
    // With sectors of 4096 bytes it has 256 MiB at least: see scripts/judges/matrix.
}

#[test]
fn every_method_makes_a_drive() {
    for method in [
        "aes-xts-128",
        "aes-xts-256",
        "aes-cbc-128",
        "aes-cbc-256",
        "aes-cbc-128-diffuser",
        "aes-cbc-256-diffuser",
    ] {
        let desk = Desk::new();
        create(&desk, &["--size", "44M", "--fs", "none", "--method", method]).exits(0);
        let info = desk
            .keyhaven(["info", "--json", &desk.arg("drive.img")])
            .go()
            .exits(0)
            .json();
        assert_eq!(info["encryption_method"], method);
        assert_eq!(info["state"], "encrypted");
    }
}

#[test]
fn what_was_made_is_said() {
    if !has_tools(&["mkntfs"]) {
        return;
    }
    let desk = Desk::new();
    let run = create(&desk, &["--size", "16M"]).exits(0);
    assert_eq!(run.stdout, "");
    for part in [
        "saved and proven: key ID ",
        "Every copy was read back and opens the drive.\n",
        "drive.img`: 16.00 MiB, aes-xts-128, NTFS.\n",
        "It was read back, and opens with its password and with its recovery key",
    ] {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    assert_eq!(desk.names_in("."), ["drive.img", "home", "keys", "state"]);
    let mode = fs::metadata(desk.path("drive.img")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The list of saved keys knows it, and so every other verb.
    let status = desk
        .keyhaven(["status", "--json", &desk.arg("drive.img")])
        .go()
        .exits(0);
    assert!(
        status.stdout.contains("keys/BitLocker Recovery Key "),
        "{status:#?}"
    );
}

/// Checks that nothing but what was there before is there, and returns the error.
#[track_caller]
fn refused(desk: &Desk, arguments: &[&str], code: i32, parts: &[&str]) {
    let before = desk.names_in(".");
    let run = create(desk, arguments).exits(code);
    for part in parts {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    assert_eq!(run.stdout, "");
    assert_eq!(desk.names_in("."), before, "nothing was made");
    assert_eq!(desk.names_in("keys"), [""; 0], "no key was saved");
}

#[test]
fn wrong_sizes_are_told() {
    let desk = Desk::new();
    for (size, fs, part) in [
        (
            "4M",
            "ntfs",
            "is too small for a drive with NTFS: it takes 8.00 MiB at least",
        ),
        ("32M", "fat32", "is too small for a drive with FAT32"),
        (
            "40M",
            "none",
            "the drive cannot be made: the volume has 41943040 bytes",
        ),
        ("3T", "fat32", "is too large for FAT32"),
        ("0", "ntfs", "is no size"),
        ("12 parsecs", "ntfs", "is no size"),
    ] {
        refused(&desk, &["--size", size, "--fs", fs], 2, &[part]);
    }
    refused(&desk, &[], 2, &["how large the image is to be was not given"]);
    refused(&desk, &["--size", "16M", "--sector-size", "1024"], 2, &["1024"]);
    refused(
        &desk,
        &["--size", "16M", "--method", "rot13"],
        2,
        &["expected one of aes-cbc-128-diffuser"],
    );
    refused(
        &desk,
        &["--size", "16M", "--fs", "exfat", "--label", "much too long"],
        2,
        &["the label is too long for exFAT: it has 13 characters"],
    );
}

#[test]
fn an_existing_file_stays_as_it_is() {
    let desk = Desk::new();
    desk.write("drive.img", "somebody's drive");
    refused(
        &desk,
        &["--size", "16M"],
        2,
        &["exists already and is not overwritten"],
    );
    // Nor by way of an option that is for devices.
    refused(&desk, &["--size", "16M", "--overwrite"], 2, &["exists already"]);
    assert_eq!(fs::read(desk.path("drive.img")).unwrap(), b"somebody's drive");
}

#[test]
fn a_tool_that_is_missing_is_named_with_its_package() {
    let desk = Desk::new();
    let place = format!("file:{}/", desk.arg("keys"));
    for (fs, tool, package) in [
        ("ntfs", "`mkntfs`", "ntfs-3g"),
        ("exfat", "`mkfs.exfat`", "exfatprogs"),
        ("fat32", "`mkfs.fat`", "dosfstools"),
    ] {
        let run = desk
            .keyhaven([
                "create",
                &desk.arg("drive.img"),
                "--size",
                "64M",
                "--fs",
                fs,
                "--to",
                &place,
            ])
            .env("PATH", &desk.arg("home"))
            .go()
            .exits(2);
        let hint = format!("hint: install the package {package}\n");
        assert!(
            run.stderr.contains(tool) && run.stderr.contains(&hint),
            "{run:#?}"
        );
    }
    // A tool that fails: what it said is passed on.
    let script = desk.write(
        "home/mkntfs",
        "#!/bin/sh\necho the moon is in the wrong phase >&2\nexit 3\n",
    );
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    let run = desk
        .keyhaven(["create", &desk.arg("drive.img"), "--size", "64M", "--to", &place])
        .env("PATH", &desk.arg("home"))
        .go()
        .exits(2);
    assert!(
        run.stderr.contains("it said: the moon is in the wrong phase"),
        "{run:#?}"
    );
    assert_eq!(desk.names_in("keys"), [""; 0]);
    assert!(!desk.path("drive.img").exists());
    // None is needed for none.
    desk.keyhaven([
        "create",
        &desk.arg("drive.img"),
        "--size",
        "44M",
        "--fs",
        "none",
        "--to",
        &place,
    ])
    .env("PATH", &desk.arg("home"))
    .go()
    .exits(0);
}

#[test]
fn nothing_is_made_where_the_key_cannot_be_saved() {
    let desk = Desk::new();
    let drive = desk.arg("drive.img");
    let run = desk
        .keyhaven(["create", &drive, "--size", "44M", "--fs", "none"])
        .go()
        .exits(2);
    assert!(
        run.stderr
            .contains("no place to save the recovery key to was given"),
        "{run:#?}"
    );
    assert!(run.stderr.contains("`--no-backup`"), "{run:#?}");

    // One place of two fails.
    let good = format!("file:{}/", desk.arg("keys"));
    let bad = format!("file:{}", desk.arg("none/key.txt"));
    for json in [&[][..], &["--json"]] {
        let run = desk
            .keyhaven(
                [
                    &[
                        "create", &drive, "--size", "44M", "--fs", "none", "--to", &good, "--to", &bad,
                    ],
                    json,
                ]
                .concat(),
            )
            .go()
            .exits(2);
        for part in ["so nothing was made", "none/key.txt"] {
            assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
        }
        assert_eq!(run.stdout, "");
        assert!(!desk.path("drive.img").exists() && !desk.path("drive.img.partial").exists());
    }

    // The person takes the risk; but something has to open it.
    let run = desk
        .keyhaven(["create", &drive, "--size", "44M", "--fs", "none", "--no-backup"])
        .go()
        .exits(2);
    assert!(run.stderr.contains("nothing would open the drive"), "{run:#?}");
    let run = desk
        .keyhaven([
            "create",
            &drive,
            "--size",
            "44M",
            "--fs",
            "none",
            "--no-backup",
            "--password=-",
        ])
        .stdin(PASSWORD)
        .go()
        .exits(0);
    assert!(
        run.stderr.contains("warning: the recovery key is saved nowhere"),
        "{run:#?}"
    );
}

#[test]
fn secrets_that_nobody_could_use_are_refused() {
    let desk = Desk::new();
    let place = format!("file:{}/", desk.arg("keys"));
    let common = [
        "create",
        "drive.img",
        "--size",
        "44M",
        "--fs",
        "none",
        "--to",
        &place,
    ];
    let with = |arguments: &[&str], stdin: &str| {
        let run = desk.keyhaven([&common, arguments].concat()).stdin(stdin).go();
        // A mistyped key is an answer.
        let code = if arguments == ["--recovery-key=-"] { 1 } else { 2 };
        run.exits(code)
    };
    let run = with(&["--password=-"], "short");
    assert!(
        run.stderr.contains("8 to 256 characters") && !run.stderr.contains("short"),
        "{run:#?}"
    );
    let run = with(
        &["--recovery-key=-"],
        "284867-596541-514998-422114-660297-261613-215424-199409",
    );
    assert!(!run.stderr.contains("284867"), "{run:#?}");
    let run = with(&["--recovery-key=-", "--password=-"], "long enough");
    assert!(run.stderr.contains("not both"), "{run:#?}");
    let run = with(&["--startup-key", "nowhere"], "");
    assert!(run.stderr.contains("there is no folder `nowhere`"), "{run:#?}");
    assert_eq!(desk.names_in("."), ["home", "keys", "state"]);
    assert_eq!(desk.names_in("keys"), [""; 0]);
    let generated = desk
        .keyhaven([&common[..], &["--recovery-key", "generate"]].concat())
        .go()
        .exits(0);
    assert!(
        generated.stderr.contains("Every copy was read back"),
        "{generated:#?}"
    );
}

#[test]
fn a_trial_run_makes_nothing() {
    if !has_tools(&["mkntfs"]) {
        return;
    }
    let desk = Desk::new();
    let run = create(&desk, &["--size", "1T", "--dry-run", "--json"]).exits(0);
    let answer = run.json();
    assert_eq!(answer["created"], false);
    assert_eq!(answer["size_bytes"], 1u64 << 40);
    assert_eq!(answer["file_system"]["cluster_bytes"], 16 << 10);
    assert_eq!(answer.get("volume_id"), None);
    assert_eq!(desk.names_in("."), ["home", "keys", "state"]);
    assert_eq!(desk.names_in("keys"), [""; 0]);
}

#[test]
fn a_tebibyte_takes_what_its_file_system_takes() {
    // What each stores at once, in MiB: NTFS has a log file of 64, FAT32 two tables of 128.
    for (fs, tool, most) in [
        ("none", "true", 1),
        ("exfat", "mkfs.exfat", 12),
        ("ntfs", "mkntfs", 80),
    ] {
        if !has_tools(&[tool]) {
            continue;
        }
        let desk = Desk::new();
        create(&desk, &["--size", "1T", "--fs", fs]).exits(0);
        let drive = fs::metadata(desk.path("drive.img")).unwrap();
        assert_eq!(drive.len(), 1 << 40);
        assert!(
            drive.blocks() * 512 < most << 20,
            "{fs}: {}",
            drive.blocks() * 512
        );
    }
}

/// Runs in a name space where a small file system is mounted over a folder; `None` where only root could.
fn with_little_room(desk: &Desk, arguments: &[&str]) -> Option<(Output, Vec<String>)> {
    fs::create_dir(desk.path("small")).unwrap();
    let script = r#"mount -t tmpfs -o size=200k keyhaven-test "$1" || exit 77
        program=$0; shift; "$program" "$@"; code=$?
        ls -A small; exit $code"#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_keyhaven")])
        .arg(desk.path("small"))
        .args(arguments)
        .current_dir(desk.path("."))
        .env("SECRET", PASSWORD)
        .env("XDG_STATE_HOME", desk.path("state"))
        .output();
    match output {
        Ok(output) if matches!(output.status.code(), Some(0 | 2)) => {
            let names = String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(str::to_owned)
                .collect();
            Some((output, names))
        }
        _ => {
            eprintln!("SKIPPED: only root may mount a small file system");
            None
        }
    }
}

#[test]
fn a_full_disk_leaves_no_drive() {
    let desk = Desk::new();
    let place = format!("file:{}/", desk.arg("keys"));
    let arguments = [
        "create",
        "small/drive.img",
        "--size",
        "44M",
        "--fs",
        "none",
        "--to",
        &place,
    ];
    let Some((output, left)) = with_little_room(&desk, &arguments) else {
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in [
        "error: cannot write `small/drive.img`; no image was left behind: ",
        "No space left on device",
        "is for no drive: delete it",
    ] {
        assert!(stderr.contains(part), "{part:?} is missing: {stderr}");
    }
    assert_eq!(left, [""; 0]);
}

/// Ended by force at any time, it leaves nothing that looks like the drive and is not, and no drive without its key.
#[test]
fn what_is_killed_leaves_a_whole_drive_or_none() {
    let (mut none, mut some) = (0, 0);
    for number in 0..24 {
        let desk = Desk::new();
        let (drive, place) = (desk.path("drive.img"), format!("file:{}/", desk.arg("keys")));
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
            .args([
                "create",
                "drive.img",
                "--size",
                "44M",
                "--fs",
                "none",
                "--to",
                &place,
            ])
            .current_dir(desk.path("."))
            .env("XDG_STATE_HOME", desk.path("state"))
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(number * number));
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = desk.path("drive.img.partial");
        if begun.exists() || drive.exists() {
            some += 1;
            assert_eq!(desk.names_in("keys").len(), 1, "the key comes first");
        } else {
            none += 1;
        }
        if drive.exists() {
            desk.keyhaven(["verify", &desk.arg("drive.img"), &desk.arg("keys")])
                .go()
                .exits(0);
        } else if begun.exists() {
            let again = create(&desk, &["--size", "44M", "--fs", "none"]).exits(2);
            assert!(again.stderr.contains("ended by force"), "{again:#?}");
            fs::remove_file(&begun).unwrap();
            create(&desk, &["--size", "44M", "--fs", "none"]).exits(0);
        }
    }
    assert!(none + some == 24 && none > 0, "{none} {some}");
}

#[test]
fn a_device_is_written_over_only_on_purpose() {
    if !has_tools(&["mkfs.exfat"]) {
        return;
    }
    let desk = Desk::new();
    let old = vec![0xEE; 32 << 20];
    desk.write("disk", &old);
    let Some(device) = LoopDevice::over(&desk.path("disk"), "4096") else {
        return;
    };
    let place = format!("file:{}/", desk.arg("keys"));
    let with = |arguments: &[&str]| {
        let common = ["create", &device.0, "--fs", "exfat", "--to", &place];
        desk.keyhaven([&common, arguments].concat()).go()
    };
    for (arguments, part) in [
        (&[][..], "would be lost"),
        (&["--overwrite", "--size", "16M"], "`--size` is for image files"),
        (
            &["--overwrite", "--sector-size", "512"],
            "the device has sectors of 4096 bytes",
        ),
    ] {
        let run = with(arguments).exits(2);
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    assert!(fs::read(desk.path("disk")).unwrap() == old, "nothing was changed");
    assert_eq!(desk.names_in("keys"), [""; 0]);

    let answer = with(&["--overwrite", "--json"]).exits(0).json();
    assert_eq!(answer["sector_size"], 4096);
    assert_eq!(answer["size_bytes"], 32 << 20);
    let verified = desk
        .keyhaven(["verify", &device.0, &desk.arg("keys")])
        .go()
        .exits(0);
    assert!(verified.stdout.contains("opens"), "{verified:#?}");

    // Once more over itself, while a mount would be in the way: there is none.
    with(&["--overwrite"]).exits(0);
}

#[test]
fn a_drive_in_use_is_left_alone() {
    if !has_tools(&["mke2fs", "mkfs.exfat"]) {
        return;
    }
    let desk = Desk::new();
    desk.write("disk", vec![0; 32 << 20]);
    let Some(device) = LoopDevice::over(&desk.path("disk"), "512") else {
        return;
    };
    succeeds(Command::new("mke2fs").args(["-q", &device.0]));
    fs::create_dir(desk.path("mounted")).unwrap();
    let mounted = Command::new("mount")
        .arg(&device.0)
        .arg(desk.path("mounted"))
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: only root may mount");
        return;
    }
    let place = format!("file:{}/", desk.arg("keys"));
    let run = desk
        .keyhaven([
            "create",
            &device.0,
            "--fs",
            "exfat",
            "--overwrite",
            "--to",
            &place,
        ])
        .go();
    let unmounted = Command::new("umount").arg(desk.path("mounted")).status().unwrap();
    assert!(unmounted.success());
    let run = run.exits(2);
    assert!(run.stderr.contains("hint: unmount it first"), "{run:#?}");
    assert_eq!(desk.names_in("keys"), [""; 0]);
}
