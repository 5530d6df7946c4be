//! Copies a device to a file.
//!
//! [`export`] reads the source from its first byte to its last in runs of 1 MiB and gives them to a [`CopyTarget`],
//! leaving out what is zero: in a new file those parts become holes. A copy is complete or an error. With
//! [`CopyOptions::keep_going`] parts that cannot be read are narrowed down to sectors, left as zeros in the copy,
//! and listed in the [`CopyReport`].
//!
//! The source is read by one function (`read_run`) and written by one trait, so that a faster engine can put a
//! pipeline between the two.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use crate::device::{Device, ReadError};
use crate::map::BadRange;

/// How much is read at once, in bytes.
const RUN_LEN: usize = 1 << 20;

/// The grain of holes: an all-zero block of this size is not written, in bytes.
const ZERO_BLOCK_LEN: usize = 64 * 1024;

/// How many bad ranges are told apart before the last one grows instead: 16 MiB of memory at most.
const MAX_BAD_RANGES: usize = 1 << 20;

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Goes on past parts that cannot be read: they become zeros and are reported.
    pub keep_going: bool,
}

impl CopyOptions {
    /// Sets whether the copy goes on past parts that cannot be read.
    #[must_use]
    pub fn keep_going(mut self, keep_going: bool) -> Self {
        self.keep_going = keep_going;
        self
    }
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many bytes of the source are done with: copied, known to be zero, or given up.
    pub done_bytes: u64,
    /// How many bytes the source has.
    pub total_bytes: u64,
    /// How many bytes could not be read so far.
    pub bad_bytes: u64,
}

/// What a copy came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// The length of the copy: that of the source.
    pub len_bytes: u64,
    /// How much of it was written rather than left as a hole.
    pub written_bytes: u64,
    /// What could not be read, in order, without overlaps; empty when the copy is complete.
    ///
    /// Above a million ranges the last one grows over the readable parts between, which are copied all the same.
    pub bad: Vec<BadRange>,
}

impl CopyReport {
    /// Returns how many bytes could not be read.
    #[must_use]
    pub fn bad_bytes(&self) -> u64 {
        self.bad.iter().map(|range| range.len_bytes).sum()
    }

    /// Returns whether every byte of the source was read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.bad.is_empty()
    }
}

/// Why a copy is not there. What was written so far stays; it is the caller's to remove.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source could not be read, and the copy was not to go on.
    #[error("reading the source failed at byte {offset}")]
    Read {
        /// Where, in bytes from the start of the source.
        offset: u64,
        /// What the source said.
        source: ReadError,
    },
    /// The target could not be written: full, or the medium failed.
    #[error("writing the copy failed at byte {offset}, after {written_bytes} bytes were written")]
    Write {
        /// Where the write began, in bytes from the start of the copy.
        offset: u64,
        /// How much had been written before, holes not counted.
        written_bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// All was written, but bringing it to the medium failed.
    #[error("finishing the copy failed after {written_bytes} bytes were written")]
    Finish {
        /// How much had been written, holes not counted.
        written_bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("the copy was stopped at byte {offset}")]
    Stopped {
        /// How far it had come, in bytes from the start of the source.
        offset: u64,
    },
}

/// What a copy is written to.
pub trait CopyTarget {
    /// Returns whether parts that are never written read as zeros.
    fn starts_as_zeros(&self) -> bool;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the copy `len_bytes` long and brings it to the medium.
    ///
    /// # Errors
    /// What the operating system says.
    fn finish(&mut self, len_bytes: u64) -> io::Result<()>;
}

/// A file or a block device as the target of a copy.
///
/// A file that was just created is written sparsely. Over anything else, zeros are written out.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    is_regular: bool,
    was_empty: bool,
}

impl FileTarget {
    /// Takes a file that is open for writing.
    ///
    /// # Errors
    /// What the operating system says when it is asked what the file is.
    pub fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let is_regular = metadata.is_file();
        Ok(Self {
            file,
            is_regular,
            was_empty: is_regular && metadata.len() == 0,
        })
    }
}

impl CopyTarget for FileTarget {
    fn starts_as_zeros(&self) -> bool {
        self.was_empty
    }

    #[cfg(unix)]
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        if self.is_regular {
            self.file.set_len(len_bytes)?;
        }
        self.file.sync_all()
    }
}

/// Copies all of `source` to `out`.
///
/// `progress` is called before the first run and after every run of at most 1 MiB (a longer hole counts as one),
/// and after every failed attempt while a bad part is being narrowed down; it stops the copy by answering
/// [`ControlFlow::Break`].
///
/// # Errors
/// See [`CopyError`]. With [`CopyOptions::keep_going`] a source that cannot be read is not an error but a range in
/// [`CopyReport::bad`].
pub fn export(
    source: &Device,
    out: &mut dyn CopyTarget,
    options: CopyOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<CopyReport, CopyError> {
    let total_bytes = source.len_bytes();
    let mut bad = BadRanges::default();
    let mut written_bytes = 0u64;
    let mut buf = vec![0; RUN_LEN];
    let mut offset = 0u64;
    loop {
        report(progress, offset, total_bytes, &bad)?;
        if offset >= total_bytes {
            break;
        }
        let remaining = total_bytes - offset;
        let hole = if out.starts_as_zeros() {
            source.hole_at(offset, remaining).min(remaining)
        } else {
            0
        };
        if hole > 0 {
            offset += hole;
            continue;
        }
        let len = usize::try_from(remaining).unwrap_or(RUN_LEN).min(RUN_LEN);
        let run = buf.get_mut(..len).unwrap_or_default();
        read_run(source, offset, run, options, &mut bad, &mut |bad| {
            report(progress, offset, total_bytes, bad)
        })?;
        write_run(out, offset, run, &mut written_bytes)?;
        offset += len as u64;
    }
    out.finish(total_bytes).map_err(|source| CopyError::Finish {
        written_bytes,
        source,
    })?;
    Ok(CopyReport {
        len_bytes: total_bytes,
        written_bytes,
        bad: bad.ranges,
    })
}

fn report(
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    done_bytes: u64,
    total_bytes: u64,
    bad: &BadRanges,
) -> Result<(), CopyError> {
    match progress(Progress {
        done_bytes,
        total_bytes,
        bad_bytes: bad.total_bytes,
    }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(CopyError::Stopped { offset: done_bytes }),
    }
}

/// Fills `run` from `offset`; what cannot be read becomes zeros in it and a range in `bad`, if that is wanted.
fn read_run(
    source: &Device,
    offset: u64,
    run: &mut [u8],
    options: CopyOptions,
    bad: &mut BadRanges,
    after_failure: &mut dyn FnMut(&BadRanges) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    match source.read_at(offset, run) {
        Ok(()) => Ok(()),
        Err(source) if !options.keep_going => {
            // The run began before the damage: what a person wants to know is how far the data go.
            let offset = match &source {
                ReadError::PastEnd { end, .. } => offset.max(*end),
                _ => source.offset(),
            };
            Err(CopyError::Read { offset, source })
        }
        Err(error) => narrow_down(source, offset, run, &error, bad, after_failure),
    }
}

/// Saves what can be read of a range that failed as a whole, by halves down to single sectors.
fn narrow_down(
    source: &Device,
    offset: u64,
    run: &mut [u8],
    error: &ReadError,
    bad: &mut BadRanges,
    after_failure: &mut dyn FnMut(&BadRanges) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let sector_size = usize::try_from(source.sector_size()).unwrap_or(RUN_LEN).max(1);
    if run.len() <= sector_size || is_all_missing(source, offset, run.len(), sector_size, error) {
        run.fill(0);
        bad.add(offset, run.len() as u64);
        return after_failure(bad);
    }
    // Halves meet on a sector boundary, so that no sector is asked for twice.
    let middle = run
        .len()
        .div_ceil(2)
        .next_multiple_of(sector_size)
        .min(run.len() - 1);
    let (left, right) = run.split_at_mut(middle);
    for (at, half) in [(offset, left), (offset.saturating_add(middle as u64), right)] {
        if let Err(error) = source.read_at(at, half) {
            narrow_down(source, at, half, &error, bad, after_failure)?;
        }
    }
    Ok(())
}

/// Returns whether the medium ended before this range, so that a long missing tail costs four reads a run and not
/// one for every sector.
fn is_all_missing(source: &Device, offset: u64, len: usize, sector_size: usize, error: &ReadError) -> bool {
    let is_missing = |at: usize| {
        let mut sector = vec![0; sector_size.min(len)];
        let at = at.min(len.saturating_sub(sector.len()));
        matches!(
            source.read_at(offset.saturating_add(at as u64), &mut sector),
            Err(ReadError::PastEnd { .. })
        )
    };
    matches!(error, ReadError::PastEnd { .. }) && [0, len / 2, len].into_iter().all(is_missing)
}

/// Writes the blocks of `run` that are not zero, neighbours together.
fn write_run(
    out: &mut dyn CopyTarget,
    offset: u64,
    run: &[u8],
    written_bytes: &mut u64,
) -> Result<(), CopyError> {
    if !out.starts_as_zeros() {
        return write_part(out, offset, run, written_bytes);
    }
    let is_zero = |block: &[u8]| block.iter().all(|byte| *byte == 0);
    let mut position = offset;
    let blocks: Vec<&[u8]> = run.chunks(ZERO_BLOCK_LEN).collect();
    for group in blocks.chunk_by(|left, right| is_zero(left) == is_zero(right)) {
        let len: usize = group.iter().map(|block| block.len()).sum();
        if group.first().is_some_and(|block| !is_zero(block)) {
            let start = usize::try_from(position - offset).unwrap_or_default();
            let part = run.get(start..start.saturating_add(len)).unwrap_or_default();
            write_part(out, position, part, written_bytes)?;
        }
        position = position.saturating_add(len as u64);
    }
    Ok(())
}

fn write_part(
    out: &mut dyn CopyTarget,
    offset: u64,
    part: &[u8],
    written_bytes: &mut u64,
) -> Result<(), CopyError> {
    out.write_all_at(offset, part)
        .map_err(|source| CopyError::Write {
            offset,
            written_bytes: *written_bytes,
            source,
        })?;
    *written_bytes = written_bytes.saturating_add(part.len() as u64);
    Ok(())
}

/// Ranges in the order in which they are found, which is that of the source; neighbours become one.
#[derive(Debug, Default)]
struct BadRanges {
    ranges: Vec<BadRange>,
    total_bytes: u64,
}

impl BadRanges {
    fn add(&mut self, start: u64, len_bytes: u64) {
        self.total_bytes = self.total_bytes.saturating_add(len_bytes);
        let is_full = self.ranges.len() >= MAX_BAD_RANGES;
        match self.ranges.last_mut() {
            Some(last) if last.end() == start || is_full => {
                last.len_bytes = start.saturating_add(len_bytes).saturating_sub(last.start);
            }
            _ => self.ranges.push(BadRange { start, len_bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::{BlockDevice, View};

    /// A target in memory that is full after so many bytes.
    struct Memory {
        bytes: Vec<u8>,
        capacity: u64,
        starts_as_zeros: bool,
        finished: Option<u64>,
    }

    impl Memory {
        fn new() -> Self {
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

    /// A device with bad sectors, counting the reads.
    #[derive(Debug)]
    struct Worn {
        bytes: Vec<u8>,
        bad_sectors: Vec<u64>,
        reads: AtomicU64,
    }

    impl Worn {
        fn new(bytes: Vec<u8>, bad_sectors: Vec<u64>) -> Self {
            Self {
                bytes,
                bad_sectors,
                reads: AtomicU64::new(0),
            }
        }
    }

    impl BlockDevice for Worn {
        fn len_bytes(&self) -> u64 {
            self.bytes.len_bytes()
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.bytes.read_at(offset, buf)?;
            let len_bytes = buf.len() as u64;
            let touched = offset / 512..(offset + len_bytes).div_ceil(512);
            if self.bad_sectors.iter().any(|sector| touched.contains(sector)) {
                return Err(ReadError::Io {
                    offset,
                    len_bytes,
                    source: io::ErrorKind::Other.into(),
                });
            }
            Ok(())
        }
    }

    fn content(len: usize) -> Vec<u8> {
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
                assert_eq!(offset, 0, "only the first MiB is stored");
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
    fn keep_going_narrows_bad_parts_down_to_sectors() {
        let bytes = content(2 * RUN_LEN + 300);
        let last = (2 * RUN_LEN / 512) as u64;
        let worn = Arc::new(Worn::new(bytes.clone(), vec![3, 7, 8, 2047, 2048, last]));
        let source: Device = worn.clone();
        let mut target = Memory::new();
        let report = export(
            &source,
            &mut target,
            CopyOptions::default().keep_going(true),
            &mut go_on,
        )
        .expect("copied");
        let bad: Vec<_> = report
            .bad
            .iter()
            .map(|range| (range.start / 512, range.len_bytes))
            .collect();
        assert_eq!(bad, [(3, 512), (7, 1024), (2047, 1024), (last, 300)]);
        assert_eq!(report.bad_bytes(), 512 + 1024 + 1024 + 300);
        let mut expected = bytes;
        for range in &report.bad {
            expected[range.start as usize..range.end() as usize].fill(0);
        }
        assert_eq!(target.bytes, expected);
        let reads = worn.reads.load(Ordering::Relaxed);
        assert!(reads < 150, "{reads} reads to find six bad sectors");
    }

    #[test]
    fn keep_going_gives_a_missing_tail_up_run_by_run() {
        let there = RUN_LEN + 700;
        let worn = Arc::new(Worn::new(content(there), vec![]));
        let source: Device = Arc::new(View::new(worn.clone(), 0, 50 * RUN_LEN as u64));
        let mut target = Memory::new();
        let report = export(
            &source,
            &mut target,
            CopyOptions::default().keep_going(true),
            &mut go_on,
        )
        .expect("copied");
        // The sector in which the medium ends is lost as a whole.
        let first_missing = (RUN_LEN + 512) as u64;
        assert_eq!(
            report.bad,
            [BadRange {
                start: first_missing,
                len_bytes: 50 * RUN_LEN as u64 - first_missing
            }]
        );
        assert_eq!(target.bytes[..RUN_LEN + 512], content(there)[..RUN_LEN + 512]);
        assert!(worn.reads.load(Ordering::Relaxed) < 300);
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
    fn the_caller_stops_a_copy_between_runs_and_while_narrowing_down() {
        let stop_after = |source: Device, calls: u64, keep_going| {
            let mut left = calls;
            let mut target = Memory::new();
            export(
                &source,
                &mut target,
                CopyOptions::default().keep_going(keep_going),
                &mut |_| {
                    left -= 1;
                    if left == 0 {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                },
            )
        };
        let stopped = stop_after(Arc::new(content(3 * RUN_LEN)), 2, false);
        assert!(
            matches!(stopped, Err(CopyError::Stopped { offset }) if offset == RUN_LEN as u64),
            "{stopped:?}"
        );
        let worn: Device = Arc::new(Worn::new(content(3 * RUN_LEN), (0..2048).collect()));
        let stopped = stop_after(worn, 10, true);
        assert!(
            matches!(stopped, Err(CopyError::Stopped { offset: 0 })),
            "{stopped:?}"
        );
    }

    #[test]
    fn bad_ranges_stay_within_their_bound() {
        let mut bad = BadRanges::default();
        for sector in 0..MAX_BAD_RANGES as u64 + 10 {
            bad.add(sector * 1024, 512);
        }
        assert_eq!(bad.ranges.len(), MAX_BAD_RANGES);
        assert_eq!(
            bad.ranges.last().map(BadRange::end),
            Some((MAX_BAD_RANGES as u64 + 9) * 1024 + 512)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn exactly_the_bad_sectors_are_lost(
            len in 1usize..200_000,
            bad in proptest::collection::btree_set(0u64..400, 0..12),
            starts_as_zeros in any::<bool>(),
        ) {
            let bytes = content(len);
            let source: Device = Arc::new(Worn::new(bytes.clone(), bad.iter().copied().collect()));
            let mut target = Memory { starts_as_zeros, ..Memory::new() };
            let report =
                export(&source, &mut target, CopyOptions::default().keep_going(true), &mut go_on).expect("copied");
            let mut expected = bytes;
            for sector in &bad {
                let start = (*sector as usize * 512).min(len);
                expected[start..(start + 512).min(len)].fill(0);
            }
            prop_assert_eq!(&target.bytes, &expected);
            let lost = expected.iter().filter(|byte| **byte == 0).count() as u64;
            prop_assert_eq!(report.bad_bytes(), lost);
        }
    }
}
