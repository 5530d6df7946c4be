//! How far to skip where a device fails.

use super::super::pipeline::CHUNK_LEN;

/// The length of the next skip: it doubles with every failure in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skip {
    first: u64,
    most: u64,
    next: u64,
}

impl Skip {
    /// Begins with a hundred-thousandth of the device, and ends with a hundredth or 1 GiB.
    pub(super) fn new(total_bytes: u64) -> Self {
        const CHUNK: u64 = CHUNK_LEN as u64;
        let most = (total_bytes / 100).clamp(CHUNK, 1 << 30);
        let first = (total_bytes / 100_000).clamp(CHUNK, most);
        Self {
            first,
            most,
            next: first,
        }
    }

    /// Returns how many bytes to skip after one more failure.
    pub(super) fn next(&mut self) -> u64 {
        let skipped = self.next;
        self.next = skipped.saturating_mul(2).min(self.most);
        skipped
    }

    /// Begins anew: something was read.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_bad_area_is_crossed_in_few_steps() {
        let terabyte = 1 << 40;
        let mut skip = Skip::new(terabyte);
        let mut at = 0;
        let mut steps = 0;
        while at < terabyte / 10 {
            at += skip.next();
            steps += 1;
        }
        assert!(steps < 120, "{steps}");
        skip.reset();
        assert!(skip.next() < 16 << 20);
        assert_eq!(Skip::new(100).next(), CHUNK_LEN as u64);
    }
}
