//! `kill -9` while a drive is being written: what was acknowledged is there, what was under way is old or new sector by
//! sector, nothing else has changed, and the volume opens.
//!
//! `KEYHAVEN_KILLS` says how many times; a few unless told.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use keyhaven_disk::BlockDevice;
use keyhaven_fve::EncryptionMethod;

use crate::desk::Desk;
use crate::made_volume;

const SECTOR: u64 = 512;
/// What is written: the moved boot sectors and what follows.
const AREA: u64 = 2 << 20;
const WRITERS: u64 = 2;

/// A mount that is there, and the process behind it.
struct Mounted {
    process: Child,
    file: File,
}

impl Mounted {
    fn new(image: &str, mountpoint: &Path) -> Option<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
            .args(["--quiet", "unlock", "--as-image", "--write", image])
            .arg(mountpoint)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let file = mountpoint.join("volume.img");
        loop {
            if let Ok(file) = OpenOptions::new().read(true).write(true).open(&file) {
                return Some(Self { process, file });
            }
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the drive was not mounted: {status}");
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "the drive was not mounted"
            );
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a sector may hold: the number of the last write that ended, and of those that were under way.
#[derive(Clone, Default)]
struct Allowed {
    ended: u64,
    under_way: Option<u64>,
}

fn content(sector: u64, write: u64) -> [u8; SECTOR as usize] {
    let mut bytes = [0; SECTOR as usize];
    for (place, word) in bytes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let word_of_place = (write << 20) ^ (sector << 5) ^ place as u64;
        word[..8].copy_from_slice(&word_of_place.to_le_bytes());
        word[8..].copy_from_slice(&(!word_of_place).to_le_bytes());
    }
    bytes
}

/// Writes until the drive is gone. Each writer has its own half of the area, in stripes.
fn write_until_gone(file: &File, writer: u64, seed: u64, allowed: &Mutex<HashMap<u64, Allowed>>) {
    let mut state = seed | 1;
    let mut random = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    loop {
        // Sixteen sectors belong to one writer, the next sixteen to the other.
        let group = random(AREA / SECTOR / 16 / WRITERS) * WRITERS + writer;
        let (first, count) = {
            let skip = random(16);
            (group * 16 + skip, 1 + random(16 - skip))
        };
        let number = random(u64::MAX >> 24) | 1;
        let mut bytes = Vec::new();
        {
            let mut allowed = allowed.lock().unwrap();
            for sector in first..first + count {
                allowed.entry(sector).or_default().under_way = Some(number);
                bytes.extend(content(sector, number));
            }
        }
        if file.write_all_at(&bytes, first * SECTOR).is_err() {
            return;
        }
        let mut allowed = allowed.lock().unwrap();
        for sector in first..first + count {
            let sector = allowed.entry(sector).or_default();
            sector.ended = number;
            sector.under_way = None;
        }
    }
}

fn check(image: &Path, allowed: &mut HashMap<u64, Allowed>, original: &[u8], round: usize) {
    let volume = made_volume::open(image);
    let mut found = vec![0; original.len()];
    volume.read_at(0, &mut found).unwrap();
    for (sector, (found, original)) in (0..).zip(found.chunks(512).zip(original.chunks(512))) {
        let Some(state) = allowed.get_mut(&sector) else {
            assert!(
                found == original,
                "round {round}: sector {sector} was never written"
            );
            continue;
        };
        let is_old = if state.ended == 0 {
            found == original
        } else {
            found == content(sector, state.ended)
        };
        let is_new = state
            .under_way
            .is_some_and(|number| found == content(sector, number));
        assert!(
            is_old || is_new,
            "round {round}: sector {sector} is neither old nor new"
        );
        if is_new {
            state.ended = state.under_way.unwrap_or_default();
        }
        state.under_way = None;
    }
}

#[test]
fn killed_while_writing() {
    if !keyhaven_testkit::kernel::has_fuse() {
        return;
    }
    let kills = std::env::var("KEYHAVEN_KILLS").map_or(8, |text| text.parse().expect("a number"));
    let desk = Desk::new();
    let image = desk.path("drive.img");
    // Every method in turn would take as many times as long; of CBC with the diffuser a torn sector shows most.
    made_volume::make(&image, 64 << 20, EncryptionMethod::AesCbc128Diffuser);
    let mut original = vec![0; (AREA + (1 << 20)) as usize];
    made_volume::open(&image).read_at(0, &mut original).unwrap();
    let mountpoint = desk.path("mounted");
    std::fs::create_dir(&mountpoint).unwrap();

    let mut allowed = HashMap::new();
    for round in 0..kills {
        let Some(mut mounted) = Mounted::new(&desk.arg("drive.img"), &mountpoint) else {
            return;
        };
        let shared = Mutex::new(std::mem::take(&mut allowed));
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (file, shared) = (&mounted.file, &shared);
                let seed = (round as u64 + 1) * 0x9E37_79B9 + writer;
                scope.spawn(move || write_until_gone(file, writer, seed, shared));
            }
            thread::sleep(Duration::from_millis(20 + round as u64 * 7 % 40));
            mounted.process.kill().unwrap();
            mounted.process.wait().unwrap();
        });
        drop(mounted.file);
        allowed = shared.into_inner().unwrap();
        desk.keyhaven(["lock", &desk.arg("mounted")]).go().exits(0);
        check(&image, &mut allowed, &original, round);
    }
    assert!(allowed.len() > 100, "hardly anything was written");
}
