//! Which parts of a volume hold something, for a conversion that leaves out the rest.

use std::ops::Range;

/// The finest that is told apart, in bytes. Free space in smaller pieces is encrypted along: a spinning disk would not
/// skip it in less time.
const MIN_CHUNK_LEN: u64 = 64 * 1024;

/// The most bits that are kept: 16 MiB of memory, whatever the size of the volume.
const MAX_CHUNKS: u64 = 1 << 27;

/// The parts of a volume that are in use, in chunks of at least 64 KiB.
///
/// It starts with nothing in use; what is marked stays marked. A file system says what its files and its own
/// structures take; all that lies outside of its clusters has to be marked as well, such as the copy of the boot sector
/// in the last sector of NTFS.
#[derive(Debug, Clone)]
pub struct UsedSpace {
    chunk_len: u64,
    len_bytes: u64,
    bits: Vec<u64>,
}

impl UsedSpace {
    /// Starts with nothing in use on a volume of `len_bytes`.
    #[must_use]
    pub fn new(len_bytes: u64) -> Self {
        let mut chunk_len = MIN_CHUNK_LEN;
        while len_bytes / chunk_len >= MAX_CHUNKS {
            chunk_len *= 2;
        }
        let words = len_bytes.div_ceil(chunk_len).div_ceil(64);
        Self {
            chunk_len,
            len_bytes,
            bits: vec![0; words as usize],
        }
    }

    /// Marks a range as in use; what of it lies outside of the volume is left out.
    pub fn mark(&mut self, range: Range<u64>) {
        let end = range.end.min(self.len_bytes);
        if range.start >= end {
            return;
        }
        for chunk in range.start / self.chunk_len..end.div_ceil(self.chunk_len) {
            if let Some(word) = self.bits.get_mut((chunk / 64) as usize) {
                *word |= 1 << (chunk % 64);
            }
        }
    }

    /// Returns how many bytes of the volume are in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let chunks: u64 = self.bits.iter().map(|word| u64::from(word.count_ones())).sum();
        (chunks * self.chunk_len).min(self.len_bytes)
    }

    /// Returns the first run in use that ends after `at`, from `at` on.
    pub(super) fn run_from(&self, at: u64) -> Option<Range<u64>> {
        let first = self.next(at / self.chunk_len, true)?;
        let past = self.next(first, false).unwrap_or(u64::MAX / self.chunk_len);
        let run = (first * self.chunk_len).max(at)..(past * self.chunk_len).min(self.len_bytes);
        (run.start < run.end).then_some(run)
    }

    /// Finds the first chunk from `chunk` on that is in use, or is not.
    fn next(&self, chunk: u64, used: bool) -> Option<u64> {
        let wanted = |word: u64| if used { word } else { !word };
        let mut index = (chunk / 64) as usize;
        let mut word = wanted(*self.bits.get(index)?) & (u64::MAX << (chunk % 64));
        while word == 0 {
            index += 1;
            word = wanted(*self.bits.get(index)?);
        }
        Some(index as u64 * 64 + u64::from(word.trailing_zeros()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_large_volume_takes_little_memory() {
        let used = UsedSpace::new(1 << 50);
        assert!(used.bits.len() <= 1 << 21);
        assert_eq!(used.run_from(0), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_marked_is_found_again(
            len_bytes in 1u64..40_000_000,
            marks in prop::collection::vec((0u64..45_000_000, 0u64..9_000_000), 0..12),
        ) {
            let mut used = UsedSpace::new(len_bytes);
            let mut model = vec![false; len_bytes.div_ceil(MIN_CHUNK_LEN) as usize];
            for (start, len) in marks {
                used.mark(start..start + len);
                let end = (start + len).min(len_bytes);
                if start < end {
                    for chunk in start / MIN_CHUNK_LEN..end.div_ceil(MIN_CHUNK_LEN) {
                        model[chunk as usize] = true;
                    }
                }
            }
            let mut found = vec![false; model.len()];
            let mut at = 0;
            while let Some(run) = used.run_from(at) {
                prop_assert!(run.start >= at && run.end <= len_bytes);
                for chunk in run.start / MIN_CHUNK_LEN..run.end.div_ceil(MIN_CHUNK_LEN) {
                    found[chunk as usize] = true;
                }
                at = run.end;
            }
            prop_assert_eq!(found, model);
        }
    }
}
