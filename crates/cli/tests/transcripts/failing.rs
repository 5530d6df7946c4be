//! Transcripts of `keyhaven export --keep-going` on drives that fail, heal, hang and are pulled out.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use keyhaven_testkit::{copy_of, sha256_of, tool};

use crate::desk::Desk;
use crate::transcript::Transcript;

const NAME: &str = "cs-aes-xts-128";

fn rescue(desk: &Desk, volume: &Volume, drive: &Path, arguments: &[&str]) -> Transcript {
    let drive = drive.to_str().expect("a plain name");
    let out = desk.arg("out.img");
    let arguments = [
        &["--json", "export", drive, out.as_str(), "--keep-going"],
        arguments,
    ]
    .concat();
    let secret = volume.all_secrets().next().expect("the manifest lists one");
    desk.unlocking(&arguments, volume, secret)
}

/// The same command, of which the system makes some reads fail or wait.
fn under_strace(desk: &Desk, volume: &Volume, inject: &str) -> Option<Command> {
    let mut command = Command::new(tool::find("strace")?);
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e"])
        .arg(format!("inject=pread64:{inject}"))
        .arg(env!("CARGO_BIN_EXE_keyhaven"))
        .args([
            "export",
            "--keep-going",
            "--retry",
            "0",
            "--password",
            "env:KEYHAVEN_TEST_SECRET",
        ])
        .arg(volume.image())
        .arg(desk.path("out.img"))
        .env(
            "KEYHAVEN_TEST_SECRET",
            volume.secret(SecretKind::Password).expect("one"),
        )
        .env("XDG_STATE_HOME", desk.path("state"))
        .stdin(Stdio::null());
    Some(command)
}

fn is_whole(desk: &Desk, volume: &Volume) {
    let out = File::open(desk.path("out.img")).unwrap();
    assert_eq!(Some(sha256_of(out)), volume.plain_sha256);
    assert_eq!(
        desk.names_in("."),
        ["home", "keys", "out.img", "state"],
        "no map is left"
    );
}

#[test]
fn a_drive_that_fails_is_gone_on_with() {
    let Some(volume) = corpus::volume_or_skip(NAME) else {
        return;
    };
    let desk = Desk::new();
    // From the two hundredth read on, now and then one fails, and is not tried again.
    let Some(mut failing) = under_strace(&desk, &volume, "error=EIO:when=200+40") else {
        return;
    };
    let run = failing.output().unwrap();
    let told = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{told}");
    assert!(told.contains("the image is not complete: "), "{told}");
    assert!(
        told.contains("the same command tries again what is missing"),
        "{told}"
    );
    if let Some(ddrescuelog) = tool::find("ddrescuelog") {
        let judged = Command::new(ddrescuelog)
            .arg("-t")
            .arg(desk.path("out.img.map"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&judged.stdout);
        assert!(judged.status.success() && said.contains("rescued:"), "{said}");
    }
    // What the map claims is right already.
    let map = fs::read_to_string(desk.path("out.img.map")).unwrap();
    assert!(map.contains("# Volume: "), "{map}");

    let run = rescue(&desk, &volume, &volume.image(), &[]).exits(0);
    assert!(run.stderr.contains("going on with `"), "{run:#?}");
    assert_eq!(run.json()["complete"], true);
    is_whole(&desk, &volume);
}

#[test]
fn a_drive_that_hangs_can_be_left_and_gone_on_with() {
    let Some(volume) = corpus::volume_or_skip(NAME) else {
        return;
    };
    let desk = Desk::new();
    // Every read from the two hundredth on takes a minute.
    let Some(mut hanging) = under_strace(&desk, &volume, "delay_enter=60000000:when=200+") else {
        return;
    };
    let mut run = hanging.stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !desk.path("out.img.map").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no map");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(1000));
    // The second child of the shell would be strace itself, which passes nothing on.
    let child = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
    let interrupted = Instant::now();
    let sent = Command::new("kill")
        .args(["-INT", child.trim()])
        .status()
        .unwrap();
    assert!(sent.success());
    let map = loop {
        let map = fs::read_to_string(desk.path("out.img.map")).unwrap();
        if map.lines().any(|line| line.ends_with("  +")) {
            break map;
        }
        assert!(interrupted.elapsed() < Duration::from_secs(5), "it hangs: {map}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(
        desk.path("out.img.partial").exists() && !desk.path("out.img").exists(),
        "{map}"
    );
    // strace holds the thread that it delays.
    let _ = Command::new("kill").args(["-KILL", child.trim()]).status();
    let _ = run.kill();
    let _ = run.wait();

    let run = rescue(&desk, &volume, &volume.image(), &["--verify"]).exits(0);
    assert!(run.stderr.contains("going on with `"), "{run:#?}");
    is_whole(&desk, &volume);
}

#[test]
fn gaps_of_an_image_of_a_drive_are_not_taken_for_zeros() {
    let Some(volume) = corpus::volume_or_skip(NAME) else {
        return;
    };
    let desk = Desk::new();
    // As ddrescue leaves it: zeros where it could not read, and a map that says so.
    let image = copy_of(volume.image());
    let gap = 40 << 20..41 << 20u64;
    let bytes = fs::read(&image).unwrap();
    let mut gapped = bytes.clone();
    gapped[gap.start as usize..gap.end as usize].fill(0);
    fs::write(&image, &gapped).unwrap();
    let map = desk.write(
        "disk.map",
        format!(
            "# Mapfile. Created by GNU ddrescue version 1.27\n0x0 ? 1\n0 {} +\n{} {} ?\n{} {} +\n",
            gap.start,
            gap.start,
            gap.end - gap.start,
            gap.end,
            volume.size - gap.end
        ),
    );
    let run = rescue(&desk, &volume, &image, &["--source-map", &map]).exits(2);
    let answer = run.json();
    assert_eq!(answer["bad_bytes"], gap.end - gap.start);
    assert_eq!(answer["bad_ranges"][0]["offset"], gap.start);
    let out = fs::read(desk.path("out.img")).unwrap();
    assert!(
        out[gap.start as usize..gap.end as usize]
            .iter()
            .all(|byte| *byte == 0)
    );

    // ddrescue got the rest: only that is read.
    fs::write(&image, &bytes).unwrap();
    fs::write(desk.path("disk.map"), format!("0x0 + 1\n0 {} +\n", volume.size)).unwrap();
    let run = rescue(&desk, &volume, &image, &["--source-map", &map]).exits(0);
    assert!(
        run.stderr.contains("99.00 MiB of 100.00 MiB are there"),
        "{run:#?}"
    );
    let out = File::open(desk.path("out.img")).unwrap();
    assert_eq!(Some(sha256_of(out)), volume.plain_sha256);
}

#[test]
fn nothing_is_mixed_into_the_image_of_another_drive() {
    let (Some(volume), Some(other)) = (
        corpus::volume_or_skip(NAME),
        corpus::volume_or_skip("cs-aes-xts-128-crc"),
    ) else {
        return;
    };
    let desk = Desk::new();
    let map = |volume_id: &str, len: u64| {
        format!("# Mapfile. Created by Keyhaven\n{volume_id}0x0 + 1\n0 {len} +\n")
    };
    desk.write("out.img", "somebody's image");
    for (map, problem) in [
        (
            map("# Volume: 00000000-0000-0000-0000-000000000000\n", 16),
            "belong to another drive",
        ),
        (map("", 1 << 40), "belong to a larger drive"),
        (map("", 16), "were not made from this drive"),
        ("hello".to_owned(), "cannot use the map `"),
    ] {
        desk.write("out.img.map", &map);
        let run = rescue(&desk, &volume, &volume.image(), &[]).exits(2);
        assert!(run.stderr.contains(problem), "{problem:?} is missing: {run:#?}");
        assert_eq!(fs::read(desk.path("out.img")).unwrap(), b"somebody's image");
        assert_eq!(fs::read_to_string(desk.path("out.img.map")).unwrap(), map);
    }
    fs::remove_file(desk.path("out.img")).unwrap();
    let run = rescue(&desk, &other, &other.image(), &[]).exits(2);
    assert!(run.stderr.contains("no image `"), "{run:#?}");
    assert!(run.stderr.contains("`--source-map`"), "{run:#?}");
}

/// A disk on which a volume begins at 1 MiB, between things of others; nothing says so.
fn disk_without_a_table(desk: &Desk, volume: &Volume, boot_sector: bool) -> String {
    let mut disk = vec![0x5A; 1 << 20];
    disk.extend(fs::read(volume.image()).unwrap());
    if !boot_sector {
        disk[1 << 20..(1 << 20) + 512].fill(0);
    }
    disk.extend(vec![0xA5; 3 << 20]);
    desk.write("disk.img", disk)
}

#[test]
fn a_volume_is_found_that_no_table_lists() {
    let Some(volume) = corpus::volume_or_skip(NAME) else {
        return;
    };
    let desk = Desk::new();
    let disk = disk_without_a_table(&desk, &volume, false);
    // Whoever does not know is told how to look.
    let run = desk.keyhaven(["info", &disk]).go().exits(2);
    assert!(run.stderr.contains("`keyhaven info --scan "), "{run:#?}");

    let run = desk.keyhaven(["--json", "info", "--scan", &disk]).go().exits(0);
    let answer = run.json();
    let [found] = &answer["volumes"].as_array().unwrap()[..] else {
        panic!("one volume: {run:#?}");
    };
    let name = format!("{disk}@{}", 1 << 20);
    assert_eq!(found["drive"], name);
    assert_eq!(found["certain"], true);
    assert_eq!(found["metadata_copies"].as_array().unwrap().len(), 3);
    assert_eq!(found["size_bytes"], volume.size);
    let told = desk.keyhaven(["info", "--scan", &disk]).go().exits(0);
    assert!(
        told.stdout.contains("3 copies of its metadata agree on that"),
        "{told:#?}"
    );

    // What was found is a drive like any other, and ends where it says.
    let run = rescue(&desk, &volume, Path::new(&name), &[]).exits(0);
    assert_eq!(run.json()["size_bytes"], volume.size);
    let out = File::open(desk.path("out.img")).unwrap();
    assert_eq!(Some(sha256_of(out)), volume.plain_sha256);

    let run = desk.keyhaven(["info", &format!("{disk}@1000")]).go().exits(2);
    assert!(run.stderr.contains("is not the start of a sector"), "{run:#?}");
    let run = desk.keyhaven(["info", &format!("{disk}@1T")]).go().exits(2);
    assert!(run.stderr.contains("ends at byte"), "{run:#?}");
}

#[test]
fn a_single_copy_is_no_certainty_where_a_volume_begins() {
    let Some(volume) = corpus::volume_or_skip(NAME) else {
        return;
    };
    let desk = Desk::new();
    let disk = disk_without_a_table(&desk, &volume, false);
    let info = desk
        .keyhaven(["--json", "info", volume.image().to_str().unwrap()])
        .go()
        .exits(0)
        .json();
    let copies: Vec<u64> = (0..3)
        .map(|n| info["metadata_copies"][n]["offset"].as_u64().unwrap())
        .collect();
    let mut bytes = fs::read(&disk).unwrap();
    for copy in &copies[1..] {
        let at = (1 << 20) + *copy as usize;
        bytes[at..at + 0x10000].fill(0);
    }
    fs::write(&disk, bytes).unwrap();
    let answer = desk
        .keyhaven(["--json", "info", "--scan", &disk])
        .go()
        .exits(0)
        .json();
    let volumes = answer["volumes"].as_array().unwrap();
    assert!(
        volumes.iter().all(|volume| volume["certain"] == false),
        "{answer}"
    );
    assert!(
        volumes.iter().any(|volume| volume["start"] == 1 << 20),
        "{answer}"
    );

    let empty = desk.write("empty.img", vec![7; 1 << 20]);
    let run = desk.keyhaven(["info", "--scan", &empty]).go().exits(1);
    assert!(
        run.stderr.contains("no metadata of BitLocker are left on it"),
        "{run:#?}"
    );
}

/// Somebody wrote the image of an installation stick over the start of a disk.
#[test]
fn the_backup_of_an_overwritten_table_leads_to_the_volume() {
    let (Some(volume), Some(sfdisk)) = (corpus::volume_or_skip(NAME), tool::find("sfdisk")) else {
        return;
    };
    let desk = Desk::new();
    let mut disk = vec![0; 1 << 20];
    disk.extend(fs::read(volume.image()).unwrap());
    disk.extend(vec![0; 1 << 20]);
    let path = desk.write("disk.img", disk);
    let mut table = Command::new(sfdisk)
        .args(["--quiet", &path])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!("label: gpt\nstart=2048, size={}\n", volume.size / 512);
    std::io::Write::write_all(&mut table.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(table.wait().unwrap().success());
    desk.keyhaven(["info", &path]).go().exits(0);

    let mut bytes = fs::read(&path).unwrap();
    bytes[..1 << 20].fill(0x77);
    fs::write(&path, bytes).unwrap();
    let run = desk.keyhaven(["info", &path]).go().exits(2);
    let name = format!("{path}@{}+{}", 1 << 20, volume.size);
    assert!(run.stderr.contains("has lost its partition table"), "{run:#?}");
    assert!(run.stderr.contains(&format!("`{name}`")), "{run:#?}");
    desk.keyhaven(["info", &name]).go().exits(0);
}
