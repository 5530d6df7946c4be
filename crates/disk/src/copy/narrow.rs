//! Narrows parts that cannot be read down to sectors, and keeps the list of them.

use super::CopyError;
use crate::device::{Device, ReadError};
use crate::map::BadRange;

/// How many bad ranges are told apart before the last one grows instead: 16 MiB of memory at most.
const MAX_BAD_RANGES: usize = 1 << 20;

/// Saves what can be read of a range that failed as a whole, by halves down to single sectors.
///
/// The rest becomes zeros in `run` and ranges in `bad`. Only one thread does this: a failing drive is not helped by
/// several that try it again and again.
pub(super) fn narrow_down(
    source: &Device,
    offset: u64,
    run: &mut [u8],
    error: &ReadError,
    bad: &mut BadRanges,
    after_failure: &mut dyn FnMut(&BadRanges) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let sector_size = usize::try_from(source.sector_size()).unwrap_or(usize::MAX).max(1);
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

/// Ranges in the order in which they are found, which is that of the source; neighbours become one.
#[derive(Debug, Default)]
pub(super) struct BadRanges {
    ranges: Vec<BadRange>,
    total_bytes: u64,
}

impl BadRanges {
    /// Returns how many bytes were added.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub(super) fn into_ranges(self) -> Vec<BadRange> {
        self.ranges
    }

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
    use super::*;

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
}
