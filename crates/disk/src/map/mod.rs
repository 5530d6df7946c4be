//! Which parts of a device were read, which not, and what was tried on them.
//!
//! A [`Map`] is what a copy of a failing drive is made by and gone on with, and what tells the real zeros of an image
//! from its gaps. [`mapfile`] keeps it in a file, in the form that GNU ddrescue writes and reads.

pub mod mapfile;

use std::collections::BTreeMap;

pub use mapfile::{Mapfile, MapfileError, Phase, Place};

/// How many runs a map tells apart, which bounds its memory to some 50 MiB.
pub const MAX_RUNS: usize = 1 << 20;

/// A part of a device that could not be read, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRange {
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub len_bytes: u64,
}

impl BadRange {
    /// Returns the first byte after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len_bytes)
    }
}

/// What is known of a part of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nobody has tried to read it yet, or nobody can: the image at hand does not have it.
    Untried,
    /// It could not be read at once; where in it the bad sectors are is not known.
    Untrimmed,
    /// It lies between two bad sectors, and was not tried sector by sector.
    Unscraped,
    /// It could not be read when tried by itself.
    Bad,
    /// It was read, and the copy has it.
    Finished,
}

impl Status {
    /// Every status, from the least to the most that is known.
    pub const ALL: [Self; 5] = [
        Self::Untried,
        Self::Untrimmed,
        Self::Unscraped,
        Self::Bad,
        Self::Finished,
    ];
}

/// A part of a device of which the same is known throughout, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it begins.
    pub start: u64,
    /// The first byte after it.
    pub end: u64,
    /// What is known of it.
    pub status: Status,
}

impl Run {
    /// Returns how long it is.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// What is known of each byte of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    len_bytes: u64,
    /// Where each run begins; it ends where the next one does. Neighbours differ.
    runs: BTreeMap<u64, Status>,
    /// How many bytes have each status, in the order of [`Status::ALL`].
    bytes: [u64; 5],
}

impl Map {
    /// Makes the map of a device of which nothing was read yet.
    #[must_use]
    pub fn new(len_bytes: u64) -> Self {
        let runs = (len_bytes > 0).then_some((0, Status::Untried));
        Self {
            len_bytes,
            runs: runs.into_iter().collect(),
            bytes: [len_bytes, 0, 0, 0, 0],
        }
    }

    /// Returns the size of the device in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Returns how many bytes have a status.
    #[must_use]
    pub fn bytes(&self, status: Status) -> u64 {
        self.bytes[status as usize]
    }

    /// Returns whether every byte was read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.bytes(Status::Finished) == self.len_bytes
    }

    /// Returns the runs in order; they cover the device without gaps.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let ends = self.runs.keys().skip(1).copied();
        let ends = ends.chain(std::iter::once(self.len_bytes));
        self.runs
            .iter()
            .zip(ends)
            .map(|((&start, &status), end)| Run { start, end, status })
    }

    /// Returns what is not finished, in order, neighbours as one.
    #[must_use]
    pub fn missing(&self) -> Vec<BadRange> {
        let mut missing: Vec<BadRange> = Vec::new();
        for run in self.runs().filter(|run| run.status != Status::Finished) {
            match missing.last_mut() {
                Some(last) if last.end() == run.start => {
                    last.len_bytes = last.len_bytes.saturating_add(run.len_bytes());
                }
                _ => missing.push(BadRange {
                    start: run.start,
                    len_bytes: run.len_bytes(),
                }),
            }
        }
        missing
    }

    /// Returns what is known from byte `offset` on, up to where it changes; `None` past the end.
    #[must_use]
    pub fn run_at(&self, offset: u64) -> Option<Run> {
        let (&start, &status) = self.runs.range(..=offset).next_back()?;
        let end = self.end_of(start);
        (offset < end).then_some(Run {
            start: offset,
            end,
            status,
        })
    }

    /// Returns the first run of a status from byte `from` on, without what lies before that.
    #[must_use]
    pub fn next(&self, from: u64, status: Status) -> Option<Run> {
        let (&first, _) = self.runs.range(..=from).next_back()?;
        let run_of = |(&start, _): (&u64, &Status)| Run {
            start: start.max(from),
            end: self.end_of(start),
            status,
        };
        self.runs
            .range(first..)
            .filter(|(_, found)| **found == status)
            .map(run_of)
            .find(|run| run.end > from)
    }

    /// Returns the last run of a status before byte `before`, without what lies behind that.
    #[must_use]
    pub fn previous(&self, before: u64, status: Status) -> Option<Run> {
        let (&start, _) = self
            .runs
            .range(..before)
            .rev()
            .find(|(_, found)| **found == status)?;
        Some(Run {
            start,
            end: self.end_of(start).min(before),
            status,
        })
    }

    /// Notes what is known of a range; what lies past the end of the device is left out.
    ///
    /// A map that has [`MAX_RUNS`] is not divided further: then a range that would do that keeps what is known of it.
    pub fn set(&mut self, start: u64, end: u64, status: Status) {
        let end = end.min(self.len_bytes);
        if start >= end {
            return;
        }
        let is_border = |at: u64| at == self.len_bytes || self.runs.contains_key(&at);
        if self.runs.len() >= MAX_RUNS && !(is_border(start) && is_border(end)) {
            return;
        }
        let mut at = start;
        while let Some(run) = self.run_at(at).filter(|run| run.start < end) {
            let len = run.end.min(end).saturating_sub(at);
            let count = &mut self.bytes[run.status as usize];
            *count = count.saturating_sub(len);
            at = run.end;
        }
        let count = &mut self.bytes[status as usize];
        *count = count.saturating_add(end - start);

        let before = start.checked_sub(1).and_then(|at| self.run_at(at));
        let after = self.run_at(end);
        let inside: Vec<u64> = self.runs.range(start..end).map(|(&start, _)| start).collect();
        for start in inside {
            self.runs.remove(&start);
        }
        if before.is_none_or(|before| before.status != status) {
            self.runs.insert(start, status);
        }
        match after {
            Some(after) if after.status == status => {
                self.runs.remove(&end);
            }
            Some(after) => {
                self.runs.insert(end, after.status);
            }
            None => {}
        }
    }

    fn end_of(&self, start: u64) -> u64 {
        let next = self.runs.range(start.saturating_add(1)..).next();
        next.map_or(self.len_bytes, |(&start, _)| start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status() -> impl Strategy<Value = Status> {
        prop::sample::select(&Status::ALL[..])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_map_knows_of_every_byte_what_was_said_last(
            len in 0u64..100,
            said in prop::collection::vec((0u64..120, 0u64..120, status()), 0..30),
        ) {
            let mut map = Map::new(len);
            let mut bytes = vec![Status::Untried; len as usize];
            for (start, end, status) in said {
                map.set(start, end, status);
                for byte in bytes.iter_mut().take(end as usize).skip(start as usize) {
                    *byte = status;
                }
            }
            let mut at = 0;
            let mut last = None;
            for run in map.runs() {
                prop_assert_eq!(run.start, at);
                prop_assert!(run.end > run.start && last != Some(run.status));
                prop_assert!(bytes[run.start as usize..run.end as usize].iter().all(|byte| *byte == run.status));
                (at, last) = (run.end, Some(run.status));
            }
            prop_assert_eq!(at, len);
            for status in Status::ALL {
                let count = bytes.iter().filter(|byte| **byte == status).count();
                prop_assert_eq!(map.bytes(status), count as u64);
            }
            for at in 0..len {
                let run = map.run_at(at).expect("inside");
                prop_assert_eq!((run.start, run.status), (at, bytes[at as usize]));
                for status in Status::ALL {
                    let next = (at..len).find(|at| bytes[*at as usize] == status);
                    prop_assert_eq!(map.next(at, status).map(|run| run.start), next);
                    let previous = (0..at).rev().find(|at| bytes[*at as usize] == status);
                    prop_assert_eq!(map.previous(at, status).map(|run| run.end - 1), previous);
                }
            }
            let missing: u64 = map.missing().iter().map(|range| range.len_bytes).sum();
            prop_assert_eq!(missing + map.bytes(Status::Finished), len);
            prop_assert_eq!(map.run_at(len), None);
        }
    }

    #[test]
    fn a_full_map_claims_no_more_than_it_knows() {
        let mut map = Map::new(u64::MAX);
        let mut at = 0;
        while map.runs.len() < MAX_RUNS {
            map.set(at, at + 512, Status::Bad);
            at += 1024;
        }
        let (runs, bytes) = (map.runs.len(), map.bytes);
        map.set(at + 512, at + 1024, Status::Finished);
        assert_eq!((map.runs.len(), map.bytes), (runs, bytes));
        map.set(0, 512, Status::Finished);
        assert_eq!(map.bytes(Status::Finished), 512, "what divides nothing is noted");
    }
}
