//! Copies of devices in memory, worn ones and slow ones, with any number of readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::pipeline::{CHUNK_LEN, buffer_count};
use super::sparse::ZERO_BLOCK_LEN;
use super::*;
use crate::{BlockDevice, View};

const RUN_LEN: usize = 8 * CHUNK_LEN;

/// A target in memory that is full after so many bytes.
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    pub(super) capacity: u64,
    pub(super) starts_as_zeros: bool,
    finished: Option<u64>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            capacity: u64::MAX,
            starts_as_zeros: true,
            finished: None,
        }
    }
}

impl CopyTarget for Memory {
    fn starts_as_zeros(&self) -> bool {
        self.starts_as_zeros
    }

    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if end as u64 > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        self.bytes.resize(len_bytes as usize, 0);
        self.finished = Some(len_bytes);
        Ok(())
    }
}

pub(super) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 + 1).collect()
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_copy_is_the_same_and_sparse_where_zero() {
    let mut bytes = content(3 * RUN_LEN + 777);
    bytes[ZERO_BLOCK_LEN..3 * ZERO_BLOCK_LEN].fill(0);
    bytes[2 * RUN_LEN..3 * RUN_LEN].fill(0);
    let source: Device = Arc::new(bytes.clone());
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut target = FileTarget::new(file.reopen().expect("open")).expect("a file");
    let mut seen = Vec::new();
    let report = export(&source, &mut target, CopyOptions::default(), &mut |progress| {
        seen.push(progress.done_bytes);
        ControlFlow::Continue(())
    })
    .expect("copied");
    assert_eq!(std::fs::read(file.path()).expect("readable"), bytes);
    assert!(report.is_complete());
    assert_eq!(
        report.written_bytes,
        (bytes.len() - RUN_LEN - 2 * ZERO_BLOCK_LEN) as u64
    );
    assert_eq!(seen.first().zip(seen.last()), Some((&0, &(bytes.len() as u64))));
}

#[test]
fn zeros_at_the_end_still_count() {
    let source: Device = Arc::new(vec![0; 100_000]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut target = FileTarget::new(file.reopen().expect("open")).expect("a file");
    let report = export(&source, &mut target, CopyOptions::default(), &mut go_on).expect("copied");
    assert_eq!(report.written_bytes, 0);
    assert_eq!(std::fs::read(file.path()).expect("readable"), vec![0; 100_000]);
}

#[test]
fn over_old_data_zeros_are_written() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), vec![0xFF; 300_000]).expect("old data");
    let source: Device = Arc::new(vec![0; 200_000]);
    let open = std::fs::OpenOptions::new()
        .write(true)
        .open(file.path())
        .expect("open");
    let mut target = FileTarget::new(open).expect("a file");
    let report = export(&source, &mut target, CopyOptions::default(), &mut go_on).expect("copied");
    assert_eq!(report.written_bytes, 200_000);
    assert_eq!(std::fs::read(file.path()).expect("readable"), vec![0; 200_000]);
}

#[test]
fn holes_of_the_source_are_not_read() {
    #[derive(Debug)]
    struct Hollow;
    impl BlockDevice for Hollow {
        fn len_bytes(&self) -> u64 {
            1 << 40
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
            assert!(offset < RUN_LEN as u64, "only the first MiB is stored");
            buf.fill(5);
            Ok(())
        }
        fn hole_at(&self, offset: u64, len: u64) -> u64 {
            if offset < RUN_LEN as u64 { 0 } else { len }
        }
    }
    let source: Device = Arc::new(Hollow);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut target = FileTarget::new(file.reopen().expect("open")).expect("a file");
    let report = export(&source, &mut target, CopyOptions::default(), &mut go_on).expect("copied");
    assert_eq!(
        (report.len_bytes, report.written_bytes),
        (1 << 40, RUN_LEN as u64)
    );
    assert_eq!(file.as_file().metadata().expect("there").len(), 1 << 40);
}

#[test]
fn a_short_source_is_an_error_with_the_offset() {
    let source: Device = Arc::new(View::new(Arc::new(content(RUN_LEN + 100)), 0, 3 * RUN_LEN as u64));
    let mut target = Memory::new();
    let error = export(&source, &mut target, CopyOptions::default(), &mut go_on).expect_err("short");
    let CopyError::Read {
        offset,
        source: ReadError::PastEnd { end, .. },
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((offset, end), (RUN_LEN as u64 + 100, RUN_LEN as u64 + 100));
    assert_eq!(target.finished, None, "an incomplete copy is not finished");
}

#[test]
fn a_full_target_says_where() {
    let source: Device = Arc::new(content(3 * RUN_LEN));
    let mut target = Memory {
        capacity: RUN_LEN as u64 + 5,
        ..Memory::new()
    };
    let error = export(&source, &mut target, CopyOptions::default(), &mut go_on).expect_err("full");
    let CopyError::Write {
        offset,
        written_bytes,
        source,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((offset, written_bytes), (RUN_LEN as u64, RUN_LEN as u64));
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn the_caller_stops_a_copy_between_runs() {
    let mut left = 2;
    let source: Device = Arc::new(content(3 * RUN_LEN));
    let stopped = export(&source, &mut Memory::new(), CopyOptions::default(), &mut |_| {
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(
        matches!(stopped, Err(CopyError::Stopped { offset }) if offset == CHUNK_LEN as u64),
        "{stopped:?}"
    );
}

/// A device with holes and marked bytes, whose reads take their time and are counted.
#[derive(Debug)]
struct Uneven {
    bytes: Vec<u8>,
    holes: Vec<std::ops::Range<u64>>,
    /// What reading the piece at an offset does besides.
    at_offset: fn(u64) -> Result<(), ReadError>,
    reads: Arc<AtomicU64>,
}

impl Uneven {
    fn new(bytes: Vec<u8>, at_offset: fn(u64) -> Result<(), ReadError>) -> Self {
        Self {
            bytes,
            holes: Vec::new(),
            at_offset,
            reads: Arc::default(),
        }
    }
}

impl BlockDevice for Uneven {
    fn len_bytes(&self) -> u64 {
        self.bytes.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        for hole in &self.holes {
            assert!(!hole.contains(&offset), "holes are not read");
        }
        (self.at_offset)(offset)?;
        self.bytes.read_at(offset, buf)
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let hole = self.holes.iter().find(|hole| hole.contains(&offset));
        hole.map_or(0, |hole| (hole.end - offset).min(len))
    }
}

fn chunk(index: u64) -> u64 {
    index * CHUNK_LEN as u64
}

fn failed(offset: u64) -> Result<(), ReadError> {
    Err(ReadError::Io {
        offset,
        len_bytes: 0,
        source: io::ErrorKind::Other.into(),
    })
}

fn pause(millis: u64) {
    std::thread::sleep(std::time::Duration::from_millis(millis));
}

/// Runs what panics, and returns what it said.
fn panic_of(run: impl FnOnce() -> Result<CopyReport, CopyError>) -> &'static str {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("it panics");
    panic.downcast_ref::<&'static str>().copied().expect("a message")
}

#[test]
fn of_several_failures_the_first_of_the_source_is_returned() {
    for readers in [0, 1, 2, 8] {
        // The later pieces fail at once, the earlier one after a while.
        let source: Device = Arc::new(Uneven::new(content(20 * CHUNK_LEN), |offset| {
            if offset == chunk(5) {
                pause(30);
            }
            if offset >= chunk(5) {
                failed(offset)
            } else {
                Ok(())
            }
        }));
        let mut target = Memory::new();
        let options = CopyOptions::default().readers(readers);
        let error = export(&source, &mut target, options, &mut go_on).expect_err("bad");
        assert!(
            matches!(error, CopyError::Read { offset, .. } if offset == chunk(5)),
            "{error:?}"
        );
        assert_eq!(target.bytes, content(5 * CHUNK_LEN), "what came before is there");
        assert_eq!(target.finished, None);
    }
}

#[test]
fn a_stop_and_a_full_target_end_the_reading() {
    for readers in [0, 1, 4] {
        let ahead = buffer_count(readers) as u64;
        let uneven = Uneven::new(content(100 * CHUNK_LEN), |_| Ok(()));
        let reads = uneven.reads.clone();
        let source: Device = Arc::new(uneven);
        let options = CopyOptions::default().readers(readers);

        let stopped = export(&source, &mut Memory::new(), options, &mut |progress| {
            if progress.done_bytes < chunk(10) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        assert!(
            matches!(stopped, Err(CopyError::Stopped { offset }) if offset == chunk(10)),
            "{stopped:?}"
        );
        assert!(reads.swap(0, Ordering::SeqCst) <= 10 + ahead);

        let mut target = Memory {
            capacity: chunk(3),
            ..Memory::new()
        };
        let full = export(&source, &mut target, options, &mut go_on);
        assert!(
            matches!(full, Err(CopyError::Write { offset, .. }) if offset == chunk(3)),
            "{full:?}"
        );
        assert!(reads.load(Ordering::SeqCst) <= 4 + ahead);
        assert_eq!(Arc::strong_count(&source), 1, "no reader holds the source");
    }
}

#[test]
fn readers_do_not_run_away_from_a_slow_writer() {
    struct Slow {
        reads: Arc<AtomicU64>,
        written: u64,
        furthest: u64,
    }
    impl CopyTarget for Slow {
        fn starts_as_zeros(&self) -> bool {
            true
        }
        fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            assert_eq!(offset, self.written * CHUNK_LEN as u64, "in order");
            assert_eq!(bytes.as_ptr().addr() % 4096, 0, "page-aligned");
            pause(2);
            self.furthest = self
                .furthest
                .max(self.reads.load(Ordering::SeqCst) - self.written);
            self.written += 1;
            Ok(())
        }
        fn finish(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    let uneven = Uneven::new(content(60 * CHUNK_LEN), |_| Ok(()));
    let mut target = Slow {
        reads: uneven.reads.clone(),
        written: 0,
        furthest: 0,
    };
    let source: Device = Arc::new(uneven);
    export(
        &source,
        &mut target,
        CopyOptions::default().readers(3),
        &mut go_on,
    )
    .expect("copied");
    assert_eq!(target.written, 60);
    assert!(target.furthest > 1, "the readers do run ahead");
    assert!(
        target.furthest <= buffer_count(3) as u64,
        "{} pieces in memory",
        target.furthest
    );
}

#[test]
fn a_panic_of_the_source_the_target_or_the_caller_reaches_the_caller() {
    #[derive(Debug)]
    struct PanicsAtHole;
    impl BlockDevice for PanicsAtHole {
        fn len_bytes(&self) -> u64 {
            chunk(10)
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), ReadError> {
            Ok(())
        }
        fn hole_at(&self, offset: u64, _: u64) -> u64 {
            assert!(offset < chunk(5));
            std::panic::panic_any("where are holes");
        }
    }
    struct PanickingTarget;
    impl CopyTarget for PanickingTarget {
        fn starts_as_zeros(&self) -> bool {
            false
        }
        fn write_all_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            std::panic::panic_any("a write")
        }
        fn finish(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }
    for readers in [0, 1, 4] {
        let options = CopyOptions::default().readers(readers);
        let source: Device = Arc::new(Uneven::new(content(40 * CHUNK_LEN), |offset| {
            if offset >= chunk(7) {
                std::panic::panic_any("a read");
            }
            Ok(())
        }));
        let mut target = Memory::new();
        let said = panic_of(|| export(&source, &mut target, options, &mut go_on));
        assert_eq!(said, "a read");
        assert_eq!(target.bytes.len() as u64, chunk(7), "what came before is there");

        let hollow: Device = Arc::new(PanicsAtHole);
        let said = panic_of(|| export(&hollow, &mut Memory::new(), options, &mut go_on));
        assert_eq!(said, "where are holes");

        let source: Device = Arc::new(content(40 * CHUNK_LEN));
        let said = panic_of(|| export(&source, &mut PanickingTarget, options, &mut go_on));
        assert_eq!(said, "a write");
        let said = panic_of(|| {
            export(&source, &mut Memory::new(), options, &mut |progress| {
                if progress.done_bytes > 0 {
                    std::panic::panic_any("the caller");
                }
                ControlFlow::Continue(())
            })
        });
        assert_eq!(said, "the caller");
    }
}

#[test]
fn there_are_never_more_readers_than_pieces() {
    assert_eq!(pipeline::reader_count(None, 0), 0);
    assert_eq!(pipeline::reader_count(Some(8), chunk(1)), 0);
    assert_eq!(pipeline::reader_count(Some(8), chunk(3) - 1), 3);
    assert_eq!(pipeline::reader_count(Some(1), u64::MAX), 1);
    assert_eq!(pipeline::reader_count(Some(0), u64::MAX), 0);
    assert!((1..=64).contains(&pipeline::reader_count(None, u64::MAX)));
    assert_eq!(pipeline::reader_count(Some(usize::MAX), u64::MAX), 64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn pieces_arrive_whole_and_in_order(
        len in 0usize..12 * CHUNK_LEN,
        holes in proptest::collection::vec((0usize..12 * CHUNK_LEN, 1usize..3 * CHUNK_LEN), 0..5),
        readers in 0usize..6,
        starts_as_zeros in any::<bool>(),
    ) {
        let mut uneven = Uneven::new(content(len), |offset| {
            // Later pieces often overtake earlier ones.
            if (offset / CHUNK_LEN as u64).is_multiple_of(3) {
                std::thread::yield_now();
            }
            Ok(())
        });
        for (start, hole_len) in holes {
            let (start, end) = (start.min(len), (start + hole_len).min(len));
            uneven.bytes[start..end].fill(0);
            // Over old data a hole has to be read and written like the rest.
            if starts_as_zeros && start < end {
                uneven.holes.push(start as u64..end as u64);
            }
        }
        let expected = uneven.bytes.clone();
        let source: Device = Arc::new(uneven);
        let mut target = Memory { starts_as_zeros, ..Memory::new() };
        if !starts_as_zeros {
            target.bytes = vec![0xEE; len];
        }
        let mut seen = Vec::new();
        let report = export(&source, &mut target, CopyOptions::default().readers(readers), &mut |progress| {
            seen.push(progress.done_bytes);
            ControlFlow::Continue(())
        })
        .expect("copied");
        prop_assert!(target.bytes == expected);
        prop_assert_eq!(target.finished, Some(len as u64));
        prop_assert!(report.is_complete());
        prop_assert!(seen.is_sorted_by(|left, right| left < right));
        prop_assert_eq!(seen.last(), Some(&(len as u64)));
    }
}
