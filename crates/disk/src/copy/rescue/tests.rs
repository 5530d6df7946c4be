//! Devices that fail by pattern, heal, hang and end early.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex};

use proptest::prelude::*;

use super::super::tests::{Memory, content};
use super::*;
use crate::map::{BadRange, Mapfile};
use crate::{BlockDevice, PatchyDevice, ReadError, View};

const SECTOR: u64 = 512;

/// A device of which sectors fail so many times, and then no more.
#[derive(Debug)]
struct Failing {
    bytes: Vec<u8>,
    sectors: Mutex<BTreeMap<u64, u32>>,
    /// Where each read began, how long it was, and whether it succeeded.
    reads: Mutex<Vec<(u64, usize, bool)>>,
}

impl Failing {
    fn new(bytes: Vec<u8>, sectors: impl IntoIterator<Item = (u64, u32)>) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            sectors: Mutex::new(sectors.into_iter().collect()),
            reads: Mutex::default(),
        })
    }

    fn failures(&self) -> usize {
        let reads = self.reads.lock().expect("no panic");
        reads.iter().filter(|(_, _, is_read)| !is_read).count()
    }
}

impl BlockDevice for Failing {
    fn len_bytes(&self) -> u64 {
        self.bytes.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        // Even a failed read leaves something in the buffer.
        buf.fill(0xBD);
        let len_bytes = buf.len() as u64;
        let touched = offset / SECTOR..(offset + len_bytes).div_ceil(SECTOR);
        let mut sectors = self.sectors.lock().expect("no panic");
        let failing = sectors.range_mut(touched).find(|(_, tries)| **tries > 0);
        let is_read = failing.is_none();
        self.reads
            .lock()
            .expect("no panic")
            .push((offset, buf.len(), is_read));
        match failing {
            None => self.bytes.read_at(offset, buf),
            Some((_, tries)) => {
                if *tries < u32::MAX {
                    *tries -= 1;
                }
                Err(ReadError::Io {
                    offset,
                    len_bytes,
                    source: io::ErrorKind::Other.into(),
                })
            }
        }
    }
}

/// A target whose content can be looked at while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl CopyTarget for Shared {
    fn starts_as_zeros(&self) -> bool {
        true
    }

    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut own = self.0.lock().expect("no panic");
        let end = offset as usize + bytes.len();
        let len = own.len().max(end);
        own.resize(len, 0);
        own[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        self.0.lock().expect("no panic").resize(len_bytes as usize, 0);
        Ok(())
    }
}

/// Stops after so many looks, and holds every map that is saved against the bytes of the device.
struct Judge<'a> {
    expected: &'a [u8],
    target: Shared,
    looks_left: u64,
    saved: String,
}

impl Watcher for Judge<'_> {
    fn look(&mut self, progress: &RescueProgress) -> Next {
        assert!(progress.finished_bytes + progress.failed_bytes <= progress.total_bytes);
        self.looks_left = self.looks_left.saturating_sub(1);
        match self.looks_left {
            0 => Next::Stop,
            left if left.is_multiple_of(5) => Next::Save,
            _ => Next::GoOn,
        }
    }

    fn save(&mut self, map: &Map, place: Place) -> io::Result<()> {
        let copy = self.target.0.lock().expect("no panic");
        for run in map.runs().filter(|run| run.status == Status::Finished) {
            let range = run.start as usize..run.end as usize;
            assert!(copy[range.clone()] == self.expected[range], "{run:?} is claimed");
        }
        let file = Mapfile {
            map: map.clone(),
            place,
            notes: vec![],
        };
        let mut text = Vec::new();
        file.write(&mut text)?;
        self.saved = String::from_utf8(text).expect("text");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever fails, however often it is stopped: what is claimed is right, and only what never heals is missing.
    #[test]
    fn what_is_claimed_is_right_and_all_that_can_be_read_is(
        len in 1usize..700_000,
        areas in prop::collection::vec((0u64..1400, 1u64..300, prop::sample::select(vec![1, 2, 3, 9, u32::MAX])), 0..8),
        stops in prop::collection::vec(1u64..400, 0..6),
        readers in 1usize..4,
        zeros in 0usize..300_000,
    ) {
        let mut bytes = content(len);
        bytes[len.min(zeros)..len.min(zeros + 150_000)].fill(0);
        let sectors = areas.iter().flat_map(|(start, count, tries)| (*start..start + count).map(|at| (at, *tries)));
        let sectors: BTreeMap<u64, u32> = sectors.collect();
        let device = Failing::new(bytes.clone(), sectors.clone());
        let source: Device = device.clone();
        let mut target = Shared::default();
        let mut map = Map::new(len as u64);
        // Each stop loses the place; the map alone is gone on with. At the last nothing stops it.
        let mut report = None;
        for looks_left in stops.into_iter().chain([u64::MAX, u64::MAX]) {
            let mut judge = Judge { expected: &bytes, target: target.clone(), looks_left, saved: String::new() };
            let options = RescueOptions::default().readers(readers).retries(10);
            match rescue(&source, &mut target, &mut map, options, &mut judge) {
                Ok(done) => report = Some(done),
                Err(CopyError::Stopped { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
            let saved = Mapfile::read(&judge.saved).expect("a map").map;
            prop_assert_eq!(&saved, &map);
        }
        let lost = |at: usize| sectors.get(&(at as u64 / SECTOR)) == Some(&u32::MAX);
        let expected: Vec<u8> =
            bytes.iter().enumerate().map(|(at, byte)| if lost(at) { 0 } else { *byte }).collect();
        prop_assert!(*target.0.lock().expect("no panic") == expected);
        let lost = (0..len).filter(|at| lost(*at)).count() as u64;
        let report = report.expect("the last is not stopped");
        prop_assert_eq!(report.bad_bytes(), lost);
        prop_assert_eq!(map.bytes(Status::Bad), lost);
        prop_assert_eq!(map.bytes(Status::Finished), len as u64 - lost);
    }
}

fn go_on(_: &RescueProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn what_reads_well_is_read_before_a_bad_area_is_looked_into() {
    const MIB: usize = 1 << 20;
    // A third of the device is bad.
    let bad = (20 * MIB as u64 / SECTOR)..(40 * MIB as u64 / SECTOR);
    let device = Failing::new(content(60 * MIB), bad.clone().map(|sector| (sector, u32::MAX)));
    let source: Device = device.clone();
    let mut map = Map::new(source.len_bytes());
    let mut failures = 0;
    let mut watch = |progress: &RescueProgress| {
        if progress.finished_bytes >= 39 * MIB as u64 && failures == 0 {
            failures = device.failures();
        }
        match progress.place.phase {
            Phase::Copying => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    let stopped = rescue(
        &source,
        &mut Memory::new(),
        &mut map,
        RescueOptions::default(),
        &mut watch,
    );
    assert!(
        matches!(stopped, Err(CopyError::Stopped { .. })),
        "at the first trim"
    );
    assert!((1..60).contains(&failures), "{failures} of 160 pieces");
    assert_eq!(
        map.bytes(Status::Finished) + map.bytes(Status::Untrimmed) + map.bytes(Status::Bad),
        source.len_bytes(),
        "every piece was tried"
    );
}

#[test]
fn bad_sectors_are_tried_from_both_sides_and_only_as_often_as_asked() {
    let device = Failing::new(content(100_000), [(7, 5), (90, u32::MAX)]);
    let source: Device = device.clone();
    let mut map = Map::new(source.len_bytes());
    let mut run = |retries| {
        device.reads.lock().expect("no panic").clear();
        let options = RescueOptions::default().retries(retries);
        let report = rescue(&source, &mut Memory::new(), &mut map, options, &mut go_on).expect("goes on");
        let reads = device.reads.lock().expect("no panic");
        let tried: Vec<u64> = reads.iter().map(|(offset, _, _)| offset / SECTOR).collect();
        (report.bad_bytes(), tried)
    };
    // One read of all, then trimming from both ends up to the first bad sector: the sectors between are good.
    let (bad, tried) = run(0);
    assert_eq!(bad, 2 * SECTOR);
    assert_eq!(tried.iter().filter(|sector| **sector == 7).count(), 1);
    assert_eq!(run(1).1, [90, 7], "backwards first, and nothing but these");
    assert_eq!(run(2).1, [90, 7, 7, 90]);
    assert_eq!(run(0).1, [0; 0]);
    assert_eq!(run(1), (SECTOR, vec![90, 7]), "the sixth try of sector 7");
}

#[test]
fn a_drive_that_hangs_does_not_keep_anybody_from_stopping() {
    #[derive(Debug, Default)]
    struct Hanging {
        is_let_go: Mutex<bool>,
        changed: Condvar,
    }
    impl BlockDevice for Hanging {
        fn len_bytes(&self) -> u64 {
            10 << 20
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), ReadError> {
            let mut is_let_go = self.is_let_go.lock().expect("no panic");
            while !*is_let_go {
                is_let_go = self.changed.wait(is_let_go).expect("no panic");
            }
            Ok(())
        }
    }
    let device = Arc::new(Hanging::default());
    let source: Device = device.clone();
    let mut map = Map::new(source.len_bytes());
    let mut watch = |progress: &RescueProgress| {
        if progress.is_waiting {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let stopped = rescue(
        &source,
        &mut Shared::default(),
        &mut map,
        RescueOptions::default(),
        &mut watch,
    );
    assert!(
        matches!(stopped, Err(CopyError::Stopped { offset: 0 })),
        "{stopped:?}"
    );
    *device.is_let_go.lock().expect("no panic") = true;
    device.changed.notify_all();
}

#[test]
fn what_is_known_to_be_missing_is_not_tried_and_found_another_time() {
    let bytes = content(3_000_000);
    let there = 1_000_700;
    let device = Failing::new(bytes[..there].to_vec(), []);
    let cut_off: Device = Arc::new(View::new(device.clone(), 0, bytes.len() as u64));
    let mut map = Map::new(bytes.len() as u64);
    let mut target = Memory::new();
    let options = RescueOptions::default();
    let report = rescue(&cut_off, &mut target, &mut map, options, &mut go_on).expect("goes on");
    // The sector in which the medium ends was tried, and is lost as a whole.
    let first_missing = there as u64 / SECTOR * SECTOR;
    let missing = BadRange {
        start: first_missing,
        len_bytes: bytes.len() as u64 - first_missing,
    };
    assert_eq!(report.bad, [missing]);
    assert!(map.bytes(Status::Bad) <= SECTOR && map.bytes(Status::Untried) > 1_900_000);
    assert!(device.reads.lock().expect("no panic").len() < 300);

    let whole: Device = Arc::new(bytes.clone());
    let report =
        rescue(&whole, &mut target, &mut map, options.retries(1), &mut go_on).expect("all is there now");
    assert!(report.is_complete() && target.bytes == bytes);
}

#[test]
fn gaps_of_an_image_are_unknown_until_they_are_filled() {
    let bytes = content(2_000_000);
    let mut known = Map::new(bytes.len() as u64);
    known.set(0, 300_000, Status::Finished);
    known.set(300_000, 300_100, Status::Bad);
    known.set(1_500_000, 2_000_000, Status::Finished);
    let mut map = Map::new(bytes.len() as u64);
    let mut target = Memory::new();
    let options = RescueOptions::default();
    let mut image = bytes.clone();
    image[300_000..1_500_000].fill(0);
    let patchy: Device = Arc::new(PatchyDevice::new(Arc::new(image), known.clone()));
    let report = rescue(&patchy, &mut target, &mut map, options, &mut go_on).expect("goes on");
    let [gap] = report.bad[..] else {
        panic!("{report:?}")
    };
    assert!(gap.start <= 300_000 && gap.start > 300_000 - SECTOR);
    assert!(gap.end() >= 1_500_000 && gap.end() < 1_500_000 + SECTOR);

    known.set(300_000, 1_500_000, Status::Finished);
    let filled: Device = Arc::new(PatchyDevice::new(Arc::new(bytes.clone()), known));
    let report =
        rescue(&filled, &mut target, &mut map, options.retries(1), &mut go_on).expect("all is there now");
    assert!(report.is_complete() && target.bytes == bytes);
}

#[test]
fn what_was_there_before_does_not_show_through() {
    let device: Device = Failing::new(content(400_000), (100..400).map(|sector| (sector, u32::MAX)));
    let mut target = Memory::new();
    target.starts_as_zeros = false;
    target.bytes = vec![0xEE; 400_000];
    let mut map = Map::new(device.len_bytes());
    rescue(
        &device,
        &mut target,
        &mut map,
        RescueOptions::default(),
        &mut go_on,
    )
    .expect("goes on");
    let mut expected = content(400_000);
    expected[100 * 512..400 * 512].fill(0);
    assert!(target.bytes == expected);
}

#[test]
fn a_full_target_is_gone_on_with_when_there_is_room() {
    let bytes = content(3_000_000);
    let source: Device = Arc::new(bytes.clone());
    let mut target = Memory::new();
    target.capacity = 1_000_000;
    let mut map = Map::new(source.len_bytes());
    let full = rescue(
        &source,
        &mut target,
        &mut map,
        RescueOptions::default(),
        &mut go_on,
    );
    assert!(matches!(full, Err(CopyError::Write { .. })), "{full:?}");
    let finished = map.bytes(Status::Finished);
    assert!(finished > 0 && finished <= 1_000_000);
    target.capacity = u64::MAX;
    let report = rescue(
        &source,
        &mut target,
        &mut map,
        RescueOptions::default(),
        &mut go_on,
    )
    .expect("room");
    assert_eq!(report.written_bytes, bytes.len() as u64 - finished);
    assert!(target.bytes == bytes);
}

#[test]
#[should_panic(expected = "the source is broken")]
fn a_panic_of_the_source_is_the_callers() {
    #[derive(Debug)]
    struct Broken;
    impl BlockDevice for Broken {
        fn len_bytes(&self) -> u64 {
            1 << 20
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), ReadError> {
            panic!("the source is broken")
        }
    }
    let source: Device = Arc::new(Broken);
    let _ = rescue(
        &source,
        &mut Memory::new(),
        &mut Map::new(1 << 20),
        RescueOptions::default(),
        &mut go_on,
    );
}

#[test]
fn a_file_that_is_gone_on_with_stays_sparse() {
    use std::os::unix::fs::MetadataExt;

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), vec![0xEE; 300_000]).expect("what was there before");
    let mut bytes = vec![0; 3_000_000];
    bytes[2_000_000..2_001_000].fill(5);
    let source: Device = Arc::new(bytes.clone());
    let mut target = super::super::ResumedFile::new(file.reopen().expect("open"));
    let mut map = Map::new(source.len_bytes());
    rescue(
        &source,
        &mut target,
        &mut map,
        RescueOptions::default(),
        &mut go_on,
    )
    .expect("goes on");
    assert!(std::fs::read(file.path()).expect("readable") == bytes);
    let stored = file.as_file().metadata().expect("there").blocks() * 512;
    assert!(stored < 600_000, "{stored}");
}
