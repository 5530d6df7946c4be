//! Transcripts of `keyhaven encrypt` and `keyhaven decrypt`: real file systems, made and judged by other programs, keep
//! all files, whatever ends the program meanwhile.

use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhaven_attach::files::{self, FileTree};
use keyhaven_attach::reserve;
use keyhaven_disk::{BlockDevice, Device};
use keyhaven_fve::keys::ExternalKey;
use keyhaven_fve::{Credential, OpenOptions, Volume, VolumeState, unwatched};
use keyhaven_testkit::{kernel, tool};

use crate::desk::Desk;

const MIB: u64 = 1 << 20;
const PASSWORD: &str = "correct horse battery";

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// A run of bytes without a pattern, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A desk with `drive.img` on it, a FAT32 file system with four files.
fn with_fat32(len_bytes: u64) -> Option<Desk> {
    let (mkfs, mcopy) = (tool::find("mkfs.vfat")?, tool::find("mcopy")?);
    let desk = Desk::new();
    let image = desk.path("drive.img");
    fs::File::create_new(&image).unwrap().set_len(len_bytes).unwrap();
    run(Command::new(mkfs)
        .args(["-F", "32", "-s", "1", "-n", "HAVEN"])
        .arg(&image));
    for seed in 1..5 {
        let content = noise(seed, 700_000 * seed as usize + 1);
        let file = desk.write("file", content);
        run(Command::new(&mcopy)
            .arg("-i")
            .arg(&image)
            .arg(file)
            .arg(format!("::FILE{seed}")));
    }
    desk.write("password", PASSWORD);
    Some(desk)
}

/// Fails unless the four files are there.
fn check_files(device: Device) {
    let tree = files::open(device).unwrap();
    for seed in 1..5 {
        let content = noise(seed, 700_000 * seed as usize + 1);
        assert!(read_file(&*tree, &format!("FILE{seed}")) == content, "FILE{seed}");
    }
}

fn read_file(tree: &dyn FileTree, name: &str) -> Vec<u8> {
    let node = tree.lookup(tree.root(), name).unwrap().unwrap();
    let mut content = vec![0; tree.attributes(node).unwrap().len_bytes as usize];
    assert_eq!(tree.read(node, 0, &mut content).unwrap(), content.len());
    content
}

fn image(path: &Path) -> Device {
    keyhaven_disk::open(path).unwrap()
}

/// Holds what dislocker and cryptsetup make of the encrypted drive against the exported content.
fn judge(desk: &Desk, exported: &str) {
    let drive = desk.path("drive.img");
    if let Some(dislocker) = tool::find("dislocker-file") {
        let out = desk.path("by-dislocker");
        run(Command::new(dislocker)
            .arg("-V")
            .arg(&drive)
            .arg(format!("-u{PASSWORD}"))
            .args(["-r", "--"])
            .arg(&out));
        assert!(
            fs::read(&out).unwrap() == fs::read(desk.path(exported)).unwrap(),
            "dislocker"
        );
    }
    if let Some(cryptsetup) = tool::find("cryptsetup") {
        let mut command = Command::new(cryptsetup);
        let password = fs::File::open(desk.path("password")).unwrap();
        command
            .args(["bitlkOpen", "--test-passphrase", "--key-file", "-"])
            .arg(&drive)
            .stdin(password);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

fn encrypt<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "encrypt",
        "drive.img",
        "--to",
        "file:keys",
        "--password=file:password",
        "--yes",
    ];
    arguments.extend(options);
    arguments
}

#[test]
fn fat32_keeps_its_files() {
    let Some(desk) = with_fat32(48 * MIB) else { return };
    let fsck = tool::find("fsck.vfat");
    let run_of = desk.keyhaven(encrypt(&["--method", "aes-cbc-128"])).go().exits(0);
    assert!(run_of.stderr.contains("opens the drive"), "{run_of:#?}");
    assert_eq!(desk.names_in("keys").len(), 1);
    desk.keyhaven(["export", "drive.img", "out.img", "--password=file:password"])
        .go()
        .exits(0);
    check_files(image(&desk.path("out.img")));
    if let Some(fsck) = &fsck {
        run(Command::new(fsck).arg("-n").arg(desk.path("out.img")));
    }
    judge(&desk, "out.img");
    // The saved key opens it.
    desk.keyhaven(["verify", "drive.img", "file:keys"]).go().exits(0);
    let again = desk.keyhaven(encrypt(&[])).go().exits(1);
    assert!(
        again.stderr.contains("is a BitLocker drive already"),
        "{again:#?}"
    );

    let run_of = desk
        .keyhaven([
            "--json",
            "decrypt",
            "drive.img",
            "--password=file:password",
            "--yes",
        ])
        .go()
        .exits(0);
    assert_eq!(run_of.json()["state"], "decrypted");
    check_files(image(&desk.path("drive.img")));
    if let Some(fsck) = fsck {
        run(Command::new(fsck).arg("-n").arg(desk.path("drive.img")));
    }
    let again = desk
        .keyhaven(["decrypt", "drive.img", "--password=file:password", "--yes"])
        .go()
        .exits(2);
    assert!(again.stderr.contains("is not a BitLocker drive"), "{again:#?}");
}

#[cfg(target_os = "linux")]
#[test]
fn ntfs_keeps_its_files() {
    let (Some(mkntfs), Some(ntfscp), Some(ntfsfix)) =
        (tool::find("mkntfs"), tool::find("ntfscp"), tool::find("ntfsfix"))
    else {
        return;
    };
    if tool::find("ntfs-3g").is_none() || !kernel::has_fuse() || !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root may have a driver mount");
        return;
    }
    for sector in ["512", "4096"] {
        let desk = Desk::new();
        desk.write("password", PASSWORD);
        let drive = desk.path("drive.img");
        fs::File::create_new(&drive).unwrap().set_len(40 * MIB).unwrap();
        run(Command::new(&mkntfs)
            .args(["-Q", "-F", "-q", "-s", sector, "-L", "Haven"])
            .arg(&drive));
        for seed in 1..5 {
            let file = desk.write("file", noise(seed, 700_000 * seed as usize + 1));
            run(Command::new(&ntfscp)
                .arg(&drive)
                .arg(file)
                .arg(format!("FILE{seed}")));
        }
        let options: &[&str] = if sector == "512" {
            &[]
        } else {
            &["--used-space-only"]
        };
        desk.keyhaven(encrypt(options)).go().exits(0);
        desk.keyhaven(["export", "drive.img", "out.img", "--password=file:password"])
            .go()
            .exits(0);
        check_files(image(&desk.path("out.img")));
        run(Command::new(&ntfsfix).arg("-n").arg(desk.path("out.img")));
        if sector == "512" {
            judge(&desk, "out.img");
        }
        desk.keyhaven(["decrypt", "drive.img", "--password=file:password", "--yes"])
            .go()
            .exits(0);
        check_files(image(&drive));
        run(Command::new(&ntfsfix).arg("-n").arg(&drive));
        let tree = files::open(image(&drive)).unwrap();
        let folder = tree
            .lookup(tree.root(), "System Volume Information")
            .unwrap()
            .unwrap();
        let mut left = 0;
        tree.list(folder, &mut |_| {
            left += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(left, 0, "what BitLocker kept is gone");
    }
}

#[test]
fn exfat_stays_in_order() {
    let (Some(mkfs), Some(fsck)) = (tool::find("mkfs.exfat"), tool::find("fsck.exfat")) else {
        return;
    };
    let desk = Desk::new();
    desk.write("password", PASSWORD);
    let drive = desk.path("drive.img");
    fs::File::create_new(&drive).unwrap().set_len(40 * MIB).unwrap();
    run(Command::new(mkfs).args(["-L", "Haven"]).arg(&drive));
    desk.keyhaven(encrypt(&["--used-space-only", "--method", "aes-xts-256"]))
        .go()
        .exits(0);
    desk.keyhaven(["export", "drive.img", "out.img", "--password=file:password"])
        .go()
        .exits(0);
    run(Command::new(&fsck).arg("-n").arg(desk.path("out.img")));
    judge(&desk, "out.img");
    desk.keyhaven(["decrypt", "drive.img", "--password=file:password", "--yes"])
        .go()
        .exits(0);
    run(Command::new(&fsck).arg("-n").arg(&drive));
}

#[test]
fn nothing_is_changed_where_it_is_refused() {
    let Some(desk) = with_fat32(48 * MIB) else { return };
    let before = fs::read(desk.path("drive.img")).unwrap();
    let refused = |arguments: &[&str], code: i32, says: &str| {
        let refused = desk.keyhaven(arguments).go().exits(code);
        assert!(refused.stderr.contains(says), "{refused:#?}");
        assert!(
            fs::read(desk.path("drive.img")).unwrap() == before,
            "{arguments:?}"
        );
        assert!(desk.names_in("keys").is_empty(), "{arguments:?}");
    };
    refused(
        &["encrypt", "drive.img", "--yes"],
        2,
        "no place to save the recovery key",
    );
    refused(
        &["encrypt", "drive.img", "--yes", "--no-backup"],
        2,
        "nothing would open the drive",
    );
    refused(&["encrypt", "drive.img", "--to", "file:keys"], 2, "nobody to ask");
    refused(
        &encrypt(&["--resume"]),
        2,
        "is not a drive whose encryption was interrupted",
    );
    refused(&["decrypt", "drive.img", "--yes"], 2, "is not a BitLocker drive");
    refused(
        &["encrypt", "drive.img", "--to", "file:keys", "--dry-run"],
        0,
        "this is what would be done",
    );

    // One place of two cannot be written.
    let half = desk
        .keyhaven(encrypt(&["--to", "file:nowhere/at/all"]))
        .go()
        .exits(2);
    assert!(half.stderr.contains("so nothing was encrypted"), "{half:#?}");
    assert!(fs::read(desk.path("drive.img")).unwrap() == before);
    fs::remove_dir_all(desk.path("keys")).unwrap();
    fs::create_dir(desk.path("keys")).unwrap();

    // In use when it was unplugged.
    let mut dirty = before.clone();
    dirty[0x41] |= 1;
    fs::write(desk.path("drive.img"), &dirty).unwrap();
    let refused = desk.keyhaven(encrypt(&[])).go().exits(2);
    assert!(refused.stderr.contains("not removed safely"), "{refused:#?}");
    assert!(refused.stderr.contains("chkdsk"), "{refused:#?}");
    assert!(fs::read(desk.path("drive.img")).unwrap() == dirty);

    fs::write(desk.path("drive.img"), noise(9, 1 << 20)).unwrap();
    let refused = desk.keyhaven(encrypt(&[])).go().exits(2);
    assert!(
        refused.stderr.contains("cannot be encrypted in place"),
        "{refused:#?}"
    );
    assert!(desk.names_in("keys").is_empty());
}

/// What the drive's file system uses, and has to have for ever.
struct Expected {
    plain: Vec<u8>,
    used: Vec<Range<u64>>,
}

impl Expected {
    /// Looks at a file system that was made smaller as it will be.
    fn of(path: &Path) -> Self {
        let plain = fs::read(path).unwrap();
        let device: Device = Arc::new(plain.clone());
        let mut used = Vec::new();
        let mut from = 0;
        reserve::free_runs(&device, &mut |free| {
            used.push(from..free.start);
            from = free.end;
        })
        .unwrap();
        Self { plain, used }
    }

    fn check(&self, shown: &dyn BlockDevice, when: &str) {
        for range in &self.used {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            shown.read_at(range.start, &mut bytes).unwrap();
            let plain = &self.plain[range.start as usize..range.end as usize];
            let differs = bytes.iter().zip(plain).position(|(one, other)| one != other);
            assert_eq!(differs, None, "behind byte {}, {when}", range.start);
        }
    }
}

/// Opens the drive with its startup key; `None` where it is a plain one.
fn open(desk: &Desk) -> Option<(Device, VolumeState)> {
    let device = image(&desk.path("drive.img"));
    let options = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    let Ok(volume) = Volume::open(device, &options, &mut unwatched) else {
        return None;
    };
    let name = desk.names_in("startup").pop().expect("it was saved before");
    let bytes = fs::read(desk.path("startup").join(name)).unwrap();
    let key = Credential::ExternalKey(ExternalKey::from_bek(&bytes).unwrap());
    let unlocked = volume.unlock(&key).expect("the saved key opens it");
    let state = volume.state();
    Some((Arc::new(volume.data(unlocked).unwrap()), state))
}

/// `KEYHAVEN_KILLS` says how many times; a few unless told.
#[test]
fn kill_9_loses_nothing() {
    let kills = std::env::var("KEYHAVEN_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok());
    let kills: u32 = kills.unwrap_or(20);
    let Some(desk) = with_fat32(56 * MIB) else { return };
    fs::create_dir(desk.path("startup")).unwrap();
    // As it will be when room was made, which is done before anything is encrypted.
    let encrypted = desk
        .keyhaven([
            "encrypt",
            "drive.img",
            "--to",
            "file:keys",
            "--startup-key",
            "startup",
            "--yes",
        ])
        .go();
    encrypted.exits(0);
    let (content, _) = open(&desk).unwrap();
    let mut plain = vec![0; content.len_bytes() as usize];
    content.read_at(0, &mut plain).unwrap();
    drop(content);
    fs::write(desk.path("plain"), &plain).unwrap();
    let expected = Expected::of(&desk.path("plain"));

    let mut wait = noise(3, 4096).into_iter();
    let (mut direction, mut killed, mut seen) = ("decrypt", 0, [0; 3]);
    while killed < kills {
        // There is none where it was killed before it could save one.
        let key = desk.names_in("startup").pop().unwrap_or_default();
        let key = format!("startup/{key}");
        let arguments: Vec<&str> = match (direction, open(&desk)) {
            ("encrypt", None) => {
                // The key of the drive that is gone is for no other.
                for folder in ["startup", "keys"] {
                    fs::remove_dir_all(desk.path(folder)).unwrap();
                    fs::create_dir(desk.path(folder)).unwrap();
                }
                vec![
                    "encrypt",
                    "drive.img",
                    "--to",
                    "file:keys",
                    "--startup-key",
                    "startup",
                    "--yes",
                ]
            }
            _ => vec![direction, "drive.img", "--startup-key", &key, "--yes"],
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
            .args(&arguments)
            .current_dir(desk.path("."))
            .env("XDG_STATE_HOME", desk.path("state"))
            .env("HOME", desk.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let time = Duration::from_millis(u64::from(wait.next().unwrap_or(80)) * 3);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if started.elapsed() > time {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let when = format!("kill {killed}, {arguments:?}");
        let found = open(&desk);
        let state = found.as_ref().map(|(_, state)| *state);
        match found {
            Some((content, state)) => {
                seen[usize::from(state != VolumeState::Encrypted)] += 1;
                expected.check(&*content, &when);
            }
            None => {
                seen[2] += 1;
                expected.check(&*image(&desk.path("drive.img")), &when);
            }
        }
        if let Some(status) = status {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            // The one before may have been killed when nothing was left to be done.
            let is_done = match direction {
                "encrypt" => state == Some(VolumeState::Encrypted),
                _ => state.is_none(),
            };
            assert!(status.success() || is_done, "{when}: {said}");
            direction = if direction == "encrypt" {
                "decrypt"
            } else {
                "encrypt"
            };
        }
    }
    eprintln!("encrypted, half-way, plain: {seen:?}");
    check_files(match open(&desk) {
        Some((content, _)) => content,
        None => image(&desk.path("drive.img")),
    });
}
