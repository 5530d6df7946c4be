//! Transcripts of what is given as a drive and is none, or is damaged: one for each kind, with the message that names
//! it and the next step.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::transcript::{Transcript, keyhaven};
use keyhaven_testkit::{copy_of, corpus, patch};
use tempfile::TempDir;

const VOLUME: &str = "cs-aes-xts-128";

/// Where its three metadata copies lie, in bytes.
const COPIES: [u64; 3] = [35_213_312, 46_256_128, 57_909_248];

const MIB: u64 = 1 << 20;

fn info(drive: &Path) -> Transcript {
    keyhaven(["info".as_ref(), drive.as_os_str()]).go()
}

#[track_caller]
fn refused(drive: &Path, said: &[&str]) {
    let run = info(drive).exits(2);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.starts_with("error: "), "{run:#?}");
    for said in said {
        assert!(run.stderr.contains(said), "{said:?} is missing: {run:#?}");
    }
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Bytes without a pattern, the same every time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| (next() >> 32) as u8).collect()
}

#[test]
fn what_is_no_drive_is_named() {
    let folder = tempfile::tempdir().unwrap();
    refused(
        Path::new("/does/not/exist"),
        &["`/does/not/exist` does not exist", "hint: "],
    );
    refused(
        folder.path(),
        &["is a directory, not a drive or an image file", "hint: "],
    );
    refused(Path::new("/dev/null"), &["is a character device"]);
    refused(&file(&folder, "empty", b""), &["is empty", "hint: "]);
    refused(
        &file(&folder, "text", b"just a small text file here\n"),
        &["is not a BitLocker drive: it is a text file"],
    );
    refused(
        &file(&folder, "noise", &noise(1 << 20)),
        &[
            "is not a BitLocker drive: it is bytes without any pattern",
            "hint: it was searched",
        ],
    );
    refused(
        &file(&folder, "zeros", &vec![0; 2 << 20]),
        &[
            "is not a BitLocker drive: it is empty: nothing but zeros",
            "hint: it was searched",
        ],
    );
    let mut luks = vec![0; 1 << 20];
    luks[..8].copy_from_slice(b"LUKS\xBA\xBE\0\x02");
    refused(
        &file(&folder, "luks", &luks),
        &["a LUKS2 encrypted volume", "hint: `cryptsetup open`"],
    );
    let mut ext4 = vec![0; 1 << 20];
    ext4[1080..1082].copy_from_slice(&[0x53, 0xEF]);
    ext4[1124] = 0x40;
    refused(
        &file(&folder, "ext4", &ext4),
        &["is not a BitLocker drive: it is an ext4 file system"],
    );
    let mut ntfs = vec![0; 1 << 20];
    ntfs[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    ntfs[11..13].copy_from_slice(&512_u16.to_le_bytes());
    ntfs[13] = 8;
    ntfs[21] = 0xF8;
    ntfs[40..48].copy_from_slice(&2047_u64.to_le_bytes());
    ntfs[510..512].copy_from_slice(&[0x55, 0xAA]);
    refused(
        &file(&folder, "ntfs", &ntfs),
        &[
            "it is an NTFS file system (not encrypted)",
            "hint: it needs no key",
        ],
    );
}

#[test]
fn what_may_not_be_read_says_who_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "locked", b"x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        eprintln!("SKIPPED: root may read everything");
        return;
    }
    refused(&path, &["no permission to read", "hint: "]);
}

#[test]
fn a_copy_that_broke_off_says_where() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut image = File::open(volume.image()).unwrap();
    let mut start = |name: &str, len: u64| {
        image.rewind().unwrap();
        let mut bytes = Vec::new();
        Read::by_ref(&mut image)
            .take(len)
            .read_to_end(&mut bytes)
            .unwrap();
        file(&folder, name, &bytes)
    };
    refused(
        &start("300", 300),
        &["too short to be a drive (300 bytes)", "broke off"],
    );
    refused(
        &start("4k", 4096),
        &[
            "is a BitLocker volume, but none of its metadata copies can be used",
            "it ends after 4096 bytes",
        ],
    );
    let run = info(&start("40m", 40_000_000)).exits(0);
    assert!(run.stdout.contains("aes-xts-128"), "{run:#?}");
    assert!(
        run.stderr
            .contains("is cut off: the volume has 104857600 bytes, the last 64857600 of them are missing"),
        "{run:#?}"
    );
}

#[test]
fn damaged_metadata_are_worked_around_and_said() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let noise = noise(64 * 1024);

    let damaged = copy_of(volume.image());
    patch(&damaged, COPIES[0], &noise);
    let run = info(&damaged).exits(0);
    assert!(run.stderr.contains("warning: metadata copy 1 of"), "{run:#?}");
    assert!(run.stderr.contains("copy 2 is used"), "{run:#?}");

    patch(&damaged, COPIES[1], &noise);
    let run = info(&damaged).exits(0);
    assert!(run.stderr.contains("copy 3 is used"), "{run:#?}");

    patch(&damaged, COPIES[2], &noise);
    refused(
        &damaged,
        &[
            "is a BitLocker volume, but none of its metadata copies can be used",
            "hint: copy 3 at byte 0x373a000: ",
        ],
    );

    let headless = copy_of(volume.image());
    patch(&headless, 0, &[0; 512]);
    let run = info(&headless).exits(0);
    assert!(run.stderr.contains("warning: the boot sector of"), "{run:#?}");
}

#[test]
fn a_wrong_checksum_is_not_passed_over_in_silence() {
    // The metadata of this volume were edited: no copy has the right checksum.
    let Some(volume) = corpus::volume_or_skip("dfvfs-bdetogo") else {
        return;
    };
    let image = volume.image();
    let looked_at = keyhaven(["info".as_ref(), image.as_os_str()]).go().exits(0);
    assert!(
        looked_at.stderr.contains("warning: metadata copy 1"),
        "{looked_at:#?}"
    );
    let run = keyhaven(["verify".as_ref(), image.as_os_str(), image.as_os_str()])
        .go()
        .exits(2);
    for part in [
        "none of its metadata copies can be used",
        "hint: `--ignore-checksums`",
    ] {
        assert!(run.stderr.contains(part), "{run:#?}");
    }
}

/// Writes an MBR disk with partitions of 101 MiB from 1 MiB on; the volume is put into those that are named.
fn disk(folder: &TempDir, name: &str, volume: &corpus::Volume, filled: &[u32]) -> PathBuf {
    const PARTITION: u64 = 101 * MIB;
    let path = folder.path().join(name);
    let mut disk = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    disk.set_len(MIB + 2 * PARTITION).unwrap();
    for number in [1_u32, 2] {
        let start = MIB + u64::from(number - 1) * PARTITION;
        let mut entry = [0; 16];
        entry[4] = 7;
        entry[8..12].copy_from_slice(&u32::try_from(start / 512).unwrap().to_le_bytes());
        entry[12..16].copy_from_slice(&u32::try_from(PARTITION / 512).unwrap().to_le_bytes());
        disk.seek(SeekFrom::Start(446 + u64::from(number - 1) * 16))
            .unwrap();
        disk.write_all(&entry).unwrap();
        if filled.contains(&number) {
            // The metadata are all that `info` needs, and they end here.
            let mut volume = File::open(volume.image()).unwrap().take(COPIES[2] + MIB);
            disk.seek(SeekFrom::Start(start)).unwrap();
            std::io::copy(&mut volume, &mut disk).unwrap();
        }
    }
    disk.seek(SeekFrom::Start(510)).unwrap();
    disk.write_all(&[0x55, 0xAA]).unwrap();
    path
}

#[test]
fn the_only_bitlocker_partition_of_a_disk_is_used() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = disk(&folder, "disk.img", &volume, &[2]);
    let run = info(&path).exits(0);
    assert!(
        run.stderr.starts_with("using ") && run.stderr.contains("disk.img#2, "),
        "{run:#?}"
    );
    let run = keyhaven(["info", "--json", "disk.img#2"])
        .within(folder.path())
        .go()
        .exits(0);
    assert_eq!(run.json()["drive"], "disk.img#2");
    assert_eq!(run.stderr, "");

    let with_number = |number: u32| PathBuf::from(format!("{}#{number}", path.display()));
    refused(
        &with_number(1),
        &["disk.img#1` is not a BitLocker drive: it is empty"],
    );
    refused(
        &with_number(9),
        &[
            "has no partition 9",
            "hint: it is an MBR disk with partition 1: NTFS or exFAT",
        ],
    );

    // A file that is really called so wins.
    fs::write(with_number(2), "text").unwrap();
    refused(
        &with_number(2),
        &["disk.img#2` is not a BitLocker drive: it is a text file"],
    );
}

#[test]
fn several_bitlocker_partitions_are_listed() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = disk(&folder, "disk.img", &volume, &[1, 2]);
    refused(
        &path,
        &[
            "has 2 BitLocker partitions",
            "disk.img#1  NTFS or exFAT",
            "disk.img#2  NTFS or exFAT",
        ],
    );
}

#[test]
fn a_disk_without_bitlocker_says_what_it_has() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = disk(&folder, "disk.img", &volume, &[]);
    refused(
        &path,
        &["is an MBR disk with no BitLocker partition (partition 1: NTFS or exFAT, 101.00 MiB, "],
    );
    let mut with_number = volume.image().into_os_string();
    with_number.push("#1");
    refused(
        Path::new(&with_number),
        &["has no partitions, so there is no `#1`: it is a BitLocker volume by itself"],
    );
}
