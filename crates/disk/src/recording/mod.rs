//! A device that remembers what was written, and shows every content that a loss of power could have left.
//!
//! A [`Recorder`] stands in for the medium while code under test writes it. [`Recorder::states`] then gives the crash
//! states: all that was flushed is there; of what was written after that, any part may be. A write may be there whole,
//! not at all, or torn, in sectors of 512 bytes; writes between two flushes may have been reordered. What holds in
//! every state survives a crash at that point.
//!
//! ```
//! # use keyhaven_disk::{BlockDevice as _, WritableDevice as _, recording::Recorder};
//! let recorder = Recorder::over(&[0; 4096]);
//! recorder.write_at(0, &[1; 512])?;
//! recorder.flush()?;
//! recorder.write_at(512, &[2; 512])?;
//! for state in recorder.states(1000, 1) {
//!     let mut sectors = [0; 1024];
//!     state.device.read_at(0, &mut sectors)?;
//!     assert!(sectors[0] == 1 || sectors[512] == 0, "the second is never there without the first");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod pages;
mod states;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::{BlockDevice, ReadError};
use crate::writable::{WritableDevice, WriteError};
use pages::Pages;

/// A device in memory that remembers every write and every flush.
pub struct Recorder(Mutex<Record>);

struct Record {
    start: Pages,
    now: Pages,
    events: Vec<Event>,
}

/// What a [`Recorder`] was asked to do.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes were written.
    Write {
        /// Where they begin, in bytes from the start of the device.
        offset: u64,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// All that was written before was brought to the medium.
    Flush,
}

/// What a crash could have left.
#[derive(Debug)]
pub struct CrashState {
    /// The content; it can be read and written on, and is recorded again.
    pub device: Arc<Recorder>,
    /// How many events had been when the power went: any number from the first to the last gives this content.
    pub when: RangeInclusive<usize>,
    /// What is there of the writes since the last flush, for messages.
    pub kept: String,
}

impl Recorder {
    /// Makes a recorder whose content is `bytes`.
    #[must_use]
    pub fn over(bytes: &[u8]) -> Self {
        Self::from_pages(Pages::of(bytes))
    }

    fn from_pages(pages: Pages) -> Self {
        Self(Mutex::new(Record {
            start: pages.clone(),
            now: pages,
            events: Vec::new(),
        }))
    }

    /// Makes another recorder with the content of this one and nothing recorded, without copying it.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_pages(self.record().now.clone())
    }

    /// Returns a copy of all that reads back now.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.record().now.content()
    }

    /// Returns what it was asked to do so far, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.record().events.clone()
    }

    /// Returns how many events there were so far, to be held against [`CrashState::when`] later.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.record().events.len()
    }

    /// Gives at most `limit` crash states in the order of time, no two of them the same part of the same writes.
    ///
    /// Every prefix of the writes is among them, unless there are more than `limit`: then evenly spaced ones. The
    /// rest of `limit` is filled with torn writes, and with subsets of the writes between two flushes: all of them
    /// where they are few, else a sample that `seed` fixes.
    pub fn states(&self, limit: usize, seed: u64) -> impl Iterator<Item = CrashState> + use<> {
        let record = self.record();
        states::States::new(record.start.clone(), &record.events, limit, seed)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // A test that panicked while it held the record has failed already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockDevice for Recorder {
    fn len_bytes(&self) -> u64 {
        self.record().now.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.record().now.read(offset, buf)
    }
}

impl WritableDevice for Recorder {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let mut record = self.record();
        record.now.write(offset, bytes)?;
        record.events.push(Event::Write {
            offset,
            bytes: bytes.into(),
        });
        Ok(())
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.record().events.push(Event::Flush);
        Ok(())
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record();
        write!(
            f,
            "Recorder({} bytes, {} events)",
            record.now.len_bytes(),
            record.events.len()
        )
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { offset, bytes } => write!(f, "Write({} bytes at {offset:#x})", bytes.len()),
            Self::Flush => f.write_str("Flush"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECTOR: usize = 512;

    /// Writes a sector that holds nothing but `value`.
    fn put(recorder: &Recorder, sector: u64, value: u8) {
        recorder
            .write_at(sector * SECTOR as u64, &[value; SECTOR])
            .expect("it is inside");
    }

    /// Returns what every crash state has in its first bytes of the first sectors, each once.
    fn contents(recorder: &Recorder, sectors: usize, limit: usize) -> BTreeSet<Vec<u8>> {
        let firsts = |state: CrashState| {
            let bytes = state.device.content();
            (0..sectors).map(|sector| bytes[sector * SECTOR]).collect()
        };
        recorder.states(limit, 7).map(firsts).collect()
    }

    #[test]
    fn it_conforms() {
        let mut bytes: Vec<u8> = (0..50_000_u32).map(|number| (number % 251) as u8).collect();
        let recorder = Recorder::over(&bytes);
        crate::conformance::check_writes(&recorder, &mut bytes);
        assert_eq!(recorder.content(), bytes);
    }

    #[test]
    fn every_part_of_what_was_not_flushed_may_be_there_and_all_of_what_was() {
        let recorder = Recorder::over(&[0; 8 * SECTOR]);
        put(&recorder, 0, 1);
        recorder.flush().unwrap();
        put(&recorder, 1, 2);
        put(&recorder, 2, 3);
        put(&recorder, 0, 4);
        let expected: BTreeSet<Vec<u8>> = [
            [0, 0, 0],
            [1, 0, 0],
            [1, 2, 0],
            [1, 0, 3],
            [1, 2, 3],
            [4, 0, 0],
            [4, 2, 0],
            [4, 0, 3],
            [4, 2, 3],
        ]
        .into_iter()
        .map(Vec::from)
        .collect();
        assert_eq!(contents(&recorder, 3, 1000), expected);
    }

    #[test]
    fn a_missing_flush_is_found_and_a_flush_cures_it() {
        // The journey of every change: the new content first, then the mark that says it is there.
        let broken = |flushed: bool| {
            let recorder = Recorder::over(&[0; 64 * SECTOR]);
            for sector in 1..40 {
                put(&recorder, sector, 7);
            }
            if flushed {
                recorder.flush().unwrap();
            }
            put(&recorder, 0, 1);
            recorder.flush().unwrap();
            recorder.states(500, 3).any(|state| {
                let bytes = state.device.content();
                bytes[0] == 1 && (1..40).any(|sector| bytes[sector * SECTOR] != 7)
            })
        };
        assert!(broken(false));
        assert!(!broken(true));
    }

    #[test]
    fn writes_tear_between_sectors_and_never_inside_one() {
        let recorder = Recorder::over(&[0; 8 * SECTOR]);
        // From the middle of sector 1 to the middle of sector 4.
        recorder.write_at(768, &[9; 3 * SECTOR]).unwrap();
        let mut seen = BTreeSet::new();
        for state in recorder.states(1000, 7) {
            let bytes = state.device.content();
            let pieces = [768..1024, 1024..1536, 1536..2048, 2048..2304];
            seen.insert(pieces.map(|range| {
                assert!(
                    bytes[range.clone()]
                        .iter()
                        .all(|byte| *byte == bytes[range.start])
                );
                bytes[range.start]
            }));
        }
        assert!(seen.contains(&[9, 0, 0, 0]) && seen.contains(&[9, 9, 9, 0]));
        assert!(
            seen.iter().any(|pieces| pieces[0] == 0 && pieces[3] == 9),
            "sectors of a write come in any order: {seen:?}"
        );
    }

    #[test]
    fn every_prefix_is_there_and_no_more_states_than_asked_for() {
        let recorder = Recorder::over(&[0; 128 * SECTOR]);
        for sector in 0..100 {
            put(&recorder, sector, 1);
            if sector % 7 == 0 {
                recorder.flush().unwrap();
            }
        }
        let written = |state: CrashState| {
            let bytes = state.device.content();
            (0..100).map(|at| bytes[at * SECTOR]).collect::<Vec<u8>>()
        };
        let states: Vec<Vec<u8>> = recorder.states(700, 5).map(written).collect();
        assert!(states.len() <= 700 && states.len() > 500, "{}", states.len());
        for prefix in 0..=100 {
            let expected: Vec<u8> = (0..100).map(|at| u8::from(at < prefix)).collect();
            assert!(states.contains(&expected), "the first {prefix} writes");
        }
        assert_eq!(recorder.states(10, 5).count(), 10);
        let again: Vec<Vec<u8>> = recorder.states(700, 5).map(written).collect();
        assert_eq!(states, again, "a seed fixes the states");
    }

    #[test]
    fn a_state_says_when_it_can_be_and_is_recorded_on() {
        let recorder = Recorder::over(&[0; 8 * SECTOR]);
        put(&recorder, 0, 1);
        recorder.flush().unwrap();
        let done = recorder.event_count();
        put(&recorder, 1, 2);
        put(&recorder, 2, 3);
        for state in recorder.states(100, 1) {
            let bytes = state.device.content();
            assert!(bytes[0] == 1 || *state.when.end() < done, "{state:?}");
            if bytes[0] == 1 && bytes[SECTOR] == 0 && bytes[2 * SECTOR] == 0 {
                assert_eq!(
                    state.when,
                    1..=4,
                    "nothing of the second part may be there up to its end"
                );
            }
            if bytes[2 * SECTOR] == 3 {
                assert_eq!(state.when, 4..=4);
            }
            assert_eq!(state.device.event_count(), 0);
            put(&state.device, 5, 6);
            assert_eq!(state.device.states(100, 1).count(), 2);
        }
        assert_eq!(
            recorder.content()[5 * SECTOR],
            0,
            "states share nothing that is written"
        );
    }
}
