//! Drives beyond the sizes at which 32 bits end: 4 TiB, of which nearly nothing was ever written.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use keyhaven_disk::BlockDevice;
use keyhaven_fve::EncryptionMethod;

use crate::desk::Desk;
use crate::made_volume;

const TIB: u64 = 1 << 40;

/// Where the test writes: the start, around 2 TiB (2^32 sectors), beyond it, and the end.
const PLACES: [u64; 5] = [8192, 2 * TIB - 512, 2 * TIB + 512, 3 * TIB + 4096, 4 * TIB - 1024];

/// What is at each of them: not the same anywhere.
fn mark(place: u64) -> Vec<u8> {
    (0..1024u64)
        .map(|at| ((place / 512 + at / 512) % 251 + at % 5) as u8 | 1)
        .collect()
}

/// Makes the drive; `None` where no file can be as large.
fn drive(desk: &Desk) -> Option<String> {
    let path = desk.path("big.img");
    if File::create(desk.path("probe"))
        .unwrap()
        .set_len(4 * TIB)
        .is_err()
    {
        eprintln!("SKIPPED: a file cannot have 4 TiB here");
        return None;
    }
    fs::remove_file(desk.path("probe")).unwrap();
    made_volume::make(&path, 4 * TIB, EncryptionMethod::AesXts128);
    for place in PLACES {
        made_volume::write(&path, place, &mark(place));
    }
    assert!(
        fs::metadata(&path).unwrap().blocks() * 512 < 4 << 20,
        "hardly anything is stored"
    );
    Some(desk.arg("big.img"))
}

#[test]
fn a_drive_of_4_tib_is_exported() {
    let desk = Desk::new();
    let Some(drive) = drive(&desk) else { return };
    let run = desk
        .keyhaven([
            "--json",
            "export",
            "--sparse",
            "--verify",
            &drive,
            &desk.arg("out.img"),
        ])
        .go()
        .exits(0);
    assert_eq!(run.json()["size_bytes"], 4 * TIB);
    let out = File::open(desk.path("out.img")).unwrap();
    assert!(out.metadata().unwrap().blocks() * 512 < 4 << 20);
    for place in PLACES {
        let mut found = vec![0; 1024];
        out.read_exact_at(&mut found, place).unwrap();
        assert!(found == mark(place), "at byte {place}");
    }
    let volume = made_volume::open(&desk.path("big.img"));
    assert_eq!(volume.len_bytes(), 4 * TIB);
}

#[test]
fn a_drive_of_4_tib_is_shown_as_a_file() {
    if !keyhaven_testkit::kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let Some(drive) = drive(&desk) else { return };
    let mountpoint = desk.arg("mounted");
    fs::create_dir(&mountpoint).unwrap();
    desk.keyhaven(["unlock", "--as-image", "--background", &drive, &mountpoint])
        .go()
        .exits(0);
    let image = File::open(desk.path("mounted/volume.img")).unwrap();
    assert_eq!(image.metadata().unwrap().len(), 4 * TIB);
    for place in PLACES {
        let mut found = vec![0; 1024];
        image.read_exact_at(&mut found, place).unwrap();
        assert!(found == mark(place), "at byte {place}");
    }
    drop(image);
    desk.keyhaven(["lock", &mountpoint]).go().exits(0);
}

#[test]
fn a_drive_of_4_tib_is_served() {
    let Some(copy) = keyhaven_testkit::tool::find("qemu-io") else {
        return;
    };
    let desk = Desk::new();
    let Some(drive) = drive(&desk) else { return };
    let socket = desk.arg("socket");
    let mut server = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
        .args(["--quiet", "serve", "--write", "--socket", &socket, &drive])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !desk.path("socket").exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing is served");
        thread::sleep(Duration::from_millis(10));
    }
    let place = 3 * TIB + (1 << 30);
    let pattern = format!("write -P 0x5a {place} 64k");
    let back = format!("read -P 0x5a {place} 64k");
    let run = Command::new(copy)
        .args(["-f", "raw", "-c", &pattern, "-c", "flush", "-c", &back])
        .arg(format!("nbd+unix:///?socket={socket}"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&server),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
    assert!(
        run.status.success() && !told.contains("Pattern verification failed"),
        "{told}"
    );

    let volume = made_volume::open(&desk.path("big.img"));
    let mut found = vec![0; 1 << 16];
    volume.read_at(place, &mut found).unwrap();
    assert!(found.iter().all(|byte| *byte == 0x5a));
    for place in PLACES {
        let mut found = vec![0; 1024];
        volume.read_at(place, &mut found).unwrap();
        assert!(found == mark(place), "at byte {place}");
    }
}
