//! What a conversion does next: which bytes, and how far the volume is converted after them.

use std::ops::Range;

use super::{Direction, UsedSpace};

/// A step of a conversion: the bytes in `runs` change their form, and then all between `from` and `to` has the new one.
///
/// What lies between and is in no run is of no matter: metadata, the journal, free space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// How far the volume was converted before.
    pub(super) from: u64,
    /// How far it is afterwards; in front of `from` when decrypting.
    pub(super) to: u64,
    /// In order, without overlaps.
    pub(super) runs: Vec<Range<u64>>,
}

impl Batch {
    pub(super) fn len_bytes(&self) -> u64 {
        self.runs
            .iter()
            .fold(0, |sum: u64, run| sum.saturating_add(run.end - run.start))
    }
}

/// Where on the volume there is something to convert. All places are at the starts of sectors.
#[derive(Debug)]
pub(super) struct Plan {
    /// What lies in front has been moved away, and is encrypted or not where it is now.
    pub(super) first: u64,
    /// The end of the volume.
    pub(super) end: u64,
    /// Where the moved sectors are: no step ends inside, so that they are encrypted as a whole or not at all.
    pub(super) moved: Range<u64>,
    /// What is never converted.
    pub(super) kept: Kept,
    /// What is to be encrypted, where that is not everything.
    pub(super) used: Option<UsedSpace>,
    /// The most that one step changes, in bytes.
    pub(super) max_len: u64,
    /// The most runs that it has.
    pub(super) max_runs: usize,
}

/// Ranges in order that do not touch.
#[derive(Debug)]
pub(super) struct Kept(Vec<Range<u64>>);

impl Kept {
    pub(super) fn new(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// Returns the first byte from `at` on that is not kept, and where the run of such bytes ends.
    fn gap_from(&self, at: u64) -> (u64, u64) {
        let next = self.0.partition_point(|range| range.end <= at);
        match (self.0.get(next), self.0.get(next + 1)) {
            (Some(range), after) if range.start <= at => {
                (range.end, after.map_or(u64::MAX, |after| after.start))
            }
            (range, _) => (at, range.map_or(u64::MAX, |range| range.start)),
        }
    }

    /// Returns the last place up to `at` in front of which a byte is that is not kept, and where the run of such bytes
    /// begins.
    fn gap_up_to(&self, at: u64) -> (u64, u64) {
        let before = self.0.partition_point(|range| range.start < at);
        let last = before.checked_sub(1).and_then(|index| self.0.get(index));
        let last_but_one = before.checked_sub(2).and_then(|index| self.0.get(index));
        match last {
            Some(range) if range.end >= at => (range.start, last_but_one.map_or(0, |range| range.end)),
            range => (at, range.map_or(0, |range| range.end)),
        }
    }

    /// Tells whether a range has a byte in common with one of these.
    pub(super) fn touches(&self, range: &Range<u64>) -> bool {
        self.0
            .iter()
            .any(|kept| kept.start < range.end && range.start < kept.end)
    }
}

impl Plan {
    /// Returns the step from `from` on; `None` when all is done.
    pub(super) fn next(&self, from: u64, direction: Direction) -> Option<Batch> {
        match direction {
            Direction::Encrypt => self.next_up(from.max(self.first)),
            Direction::Decrypt => self.next_down(from.min(self.end)),
        }
    }

    fn next_up(&self, from: u64) -> Option<Batch> {
        if from >= self.end {
            return None;
        }
        let mut runs = Runs::default();
        let mut at = from;
        while let Some(run) = self.run_from(at) {
            let room = self.max_len.saturating_sub(runs.len_bytes);
            let mut end = run.end.min(run.start.saturating_add(room));
            if end == run.start || !runs.have_room_for(&run, self.max_runs) {
                break;
            }
            if self.moved.start < end && end < self.moved.end {
                end = match run.start {
                    start if start < self.moved.start => self.moved.start,
                    // Whoever paused here did not heed that.
                    start if start > self.moved.start => end,
                    _ if runs.len_bytes > 0 => break,
                    _ => end,
                };
            }
            runs.push_behind(run.start..end);
            at = end;
        }
        // What follows and is left out is done with too.
        let to = self.run_from(at).map_or(self.end, |run| run.start);
        Some(Batch {
            from,
            to,
            runs: runs.list,
        })
    }

    /// Returns the first run from `at` on that is to be converted.
    fn run_from(&self, at: u64) -> Option<Range<u64>> {
        let mut at = at;
        loop {
            let (start, end) = self.kept.gap_from(at);
            let gap = start..end.min(self.end);
            if gap.start >= gap.end {
                return None;
            }
            let Some(used) = &self.used else {
                return Some(gap);
            };
            let run = used.run_from(gap.start)?;
            if run.start < gap.end {
                return Some(run.start..run.end.min(gap.end));
            }
            at = run.start;
        }
    }

    fn next_down(&self, from: u64) -> Option<Batch> {
        if from <= self.first {
            return None;
        }
        let mut runs = Runs::default();
        let mut at = from;
        while let Some(run) = self.run_up_to(at) {
            let room = self.max_len.saturating_sub(runs.len_bytes);
            let mut start = run.start.max(run.end.saturating_sub(room));
            if start == run.end || !runs.have_room_for(&run, self.max_runs) {
                break;
            }
            if self.moved.start < start && start < self.moved.end {
                start = match run.end {
                    end if end > self.moved.end => self.moved.end,
                    end if end < self.moved.end => start,
                    _ if runs.len_bytes > 0 => break,
                    _ => start,
                };
            }
            runs.push_in_front(start..run.end);
            at = start;
        }
        let to = self.run_up_to(at).map_or(self.first, |run| run.end);
        runs.list.reverse();
        Some(Batch {
            from,
            to,
            runs: runs.list,
        })
    }

    fn run_up_to(&self, at: u64) -> Option<Range<u64>> {
        let (end, start) = self.kept.gap_up_to(at);
        let start = start.max(self.first);
        (start < end).then_some(start..end)
    }
}

#[derive(Default)]
struct Runs {
    list: Vec<Range<u64>>,
    len_bytes: u64,
}

impl Runs {
    /// Tells whether one more can be taken; a run that touches the last one always can.
    fn have_room_for(&self, run: &Range<u64>, max: usize) -> bool {
        let touches = |last: &Range<u64>| last.end == run.start || last.start == run.end;
        self.list.len() < max || self.list.last().is_some_and(touches)
    }

    fn push_behind(&mut self, run: Range<u64>) {
        self.len_bytes += run.end - run.start;
        match self.list.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => self.list.push(run),
        }
    }

    fn push_in_front(&mut self, run: Range<u64>) {
        self.len_bytes += run.end - run.start;
        match self.list.last_mut() {
            Some(last) if last.start == run.end => last.start = run.start,
            _ => self.list.push(run),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECTOR: u64 = 512;

    fn plan() -> impl Strategy<Value = Plan> {
        let ranges = prop::collection::vec((16u64..3000, 1u64..200), 0..5);
        (17u64..3000, ranges, 16u64..3000, 32u64..400, 2usize..6).prop_map(
            |(end, kept, moved, max_len, max_runs)| {
                let in_bytes = |start: u64, len: u64| start * SECTOR..(start + len).min(end) * SECTOR;
                let moved = moved * SECTOR..(moved + 16) * SECTOR;
                let kept = kept.into_iter().map(|(start, len)| in_bytes(start, len));
                let kept = kept.filter(|range| range.start < range.end);
                let apart = kept.filter(|range| range.end <= moved.start || range.start >= moved.end);
                Plan {
                    first: 16 * SECTOR,
                    end: end * SECTOR,
                    kept: Kept::new(apart.collect()),
                    moved,
                    used: None,
                    max_len: max_len * SECTOR,
                    max_runs,
                }
            },
        )
    }

    fn check(plan: &Plan, direction: Direction) -> Result<(), TestCaseError> {
        let mut converted = vec![0u8; (plan.end / SECTOR) as usize];
        let (mut at, goal) = match direction {
            Direction::Encrypt => (plan.first, plan.end),
            Direction::Decrypt => (plan.end, plan.first),
        };
        while let Some(batch) = plan.next(at, direction) {
            prop_assert_eq!(batch.from, at);
            prop_assert!(batch.len_bytes() <= plan.max_len && batch.runs.len() <= plan.max_runs);
            prop_assert!(batch.len_bytes() > 0 || batch.to == goal);
            let span = batch.from.min(batch.to)..batch.from.max(batch.to);
            prop_assert!(span.start < span.end);
            prop_assert!(batch.to <= plan.moved.start || batch.to >= plan.moved.end || batch.to == goal);
            for run in &batch.runs {
                prop_assert!(span.start <= run.start && run.start < run.end && run.end <= span.end);
                for sector in run.start / SECTOR..run.end / SECTOR {
                    converted[sector as usize] += 1;
                }
            }
            prop_assert!(batch.runs.array_windows().all(|[one, next]| one.end < next.start));
            at = batch.to;
        }
        prop_assert_eq!(at, goal);
        for (sector, times) in (0u64..).zip(converted) {
            let place = sector * SECTOR..(sector + 1) * SECTOR;
            let wanted = place.start >= plan.first && !plan.kept.touches(&place);
            prop_assert_eq!(times, u8::from(wanted), "sector {}", sector);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn steps_convert_every_sector_once(plan in plan()) {
            check(&plan, Direction::Encrypt)?;
            check(&plan, Direction::Decrypt)?;
        }

        #[test]
        fn what_is_used_is_converted(plan in plan(), marks in prop::collection::vec((0u64..3000, 1u64..300), 0..6)) {
            let mut used = UsedSpace::new(plan.end);
            for (start, len) in &marks {
                used.mark(start * SECTOR..(start + len) * SECTOR);
            }
            let plan = Plan { used: Some(used), ..plan };
            let mut converted = Vec::new();
            let mut at = plan.first;
            while let Some(batch) = plan.next(at, Direction::Encrypt) {
                prop_assert!(batch.to > at && batch.len_bytes() <= plan.max_len);
                prop_assert!(batch.runs.len() <= plan.max_runs);
                converted.extend(batch.runs);
                at = batch.to;
            }
            prop_assert_eq!(at, plan.end);
            for (start, len) in marks {
                for sector in start..(start + len).min(plan.end / SECTOR) {
                    let place = sector * SECTOR..(sector + 1) * SECTOR;
                    if place.start >= plan.first && !plan.kept.touches(&place) {
                        prop_assert!(converted.iter().any(|run| run.start <= place.start && place.end <= run.end));
                    }
                }
            }
        }
    }
}
