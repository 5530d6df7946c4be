//! Whole keys that come out when a digit was dropped or doubled and all that follow have moved, over the ends of blocks.

use keyhaven_crypto::SecretBytes;
use keyhaven_fve::keys::BLOCKS;
use zeroize::Zeroizing;

use super::digits::{DIGITS, DigitSet, each_match};

/// More keys than this are not kept: too little is known of the digits to say anything about those that moved.
const KEYS_MAX: usize = 1 << 17;

const PLACES: usize = BLOCKS * DIGITS;

/// A key as the numbers behind its blocks.
pub(super) type Blocks = [u16; BLOCKS];

/// Keys, each once, in rising order, where no swap and no core dump finds them.
pub(super) struct Shifts(SecretBytes);

impl Shifts {
    /// Reads 48 places as they stand.
    pub(super) fn straight(row: &[DigitSet]) -> Option<Self> {
        let mut keys = Keys::new();
        keys.add(row);
        keys.finish()
    }

    /// Finds the keys of which one digit too many or too few was written; or, of 48 places, both.
    ///
    /// `None` where there are too many to be kept.
    pub(super) fn of(row: &[DigitSet]) -> Option<Self> {
        let mut keys = Keys::new();
        match row.len().checked_sub(PLACES - 1) {
            Some(0) => each_insertion(row, &mut |row| keys.add(row)),
            Some(1) => {
                each_removal(row, &mut |shorter| {
                    each_insertion(shorter, &mut |row| keys.add(row))
                });
            }
            Some(2) => each_removal(row, &mut |row| keys.add(row)),
            _ => {}
        }
        keys.finish()
    }

    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    pub(super) fn get(&self, index: usize) -> Option<Blocks> {
        self.all().get(index).map(blocks_of)
    }

    pub(super) fn contains(&self, key: &Blocks) -> bool {
        self.all()
            .binary_search_by(|bytes| blocks_of(bytes).cmp(key))
            .is_ok()
    }

    fn all(&self) -> &[[u8; 2 * BLOCKS]] {
        self.0.expose_secret().as_chunks().0
    }
}

fn blocks_of(bytes: &[u8; 2 * BLOCKS]) -> Blocks {
    let mut blocks = [0; BLOCKS];
    for (block, pair) in blocks.iter_mut().zip(bytes.as_chunks().0) {
        *block = u16::from_le_bytes(*pair);
    }
    blocks
}

fn each_insertion(row: &[DigitSet], found: &mut impl FnMut(&[DigitSet])) {
    for at in 0..=row.len() {
        let mut longer = Zeroizing::new(Vec::with_capacity(row.len() + 1));
        longer.extend(row.iter().take(at));
        longer.push(DigitSet::ANY);
        longer.extend(row.iter().skip(at));
        found(&longer);
    }
}

fn each_removal(row: &[DigitSet], found: &mut impl FnMut(&[DigitSet])) {
    for at in 0..row.len() {
        // Of equal neighbours it does not matter which one goes.
        if at > 0 && row.get(at - 1) == row.get(at) {
            continue;
        }
        let mut shorter = Zeroizing::new(Vec::with_capacity(row.len()));
        shorter.extend(row.iter().take(at));
        shorter.extend(row.iter().skip(at + 1));
        found(&shorter);
    }
}

/// Keys while they are being collected.
struct Keys {
    all: Zeroizing<Vec<Blocks>>,
    are_too_many: bool,
}

impl Keys {
    fn new() -> Self {
        Self {
            // Room for all at once, so that no grown-out-of buffer stays behind.
            all: Zeroizing::new(Vec::with_capacity(2 * KEYS_MAX)),
            are_too_many: false,
        }
    }

    /// Adds every key that fits 48 places.
    fn add(&mut self, row: &[DigitSet]) {
        let mut values: [Zeroizing<Vec<u16>>; BLOCKS] = std::array::from_fn(|_| Zeroizing::default());
        let mut count = 1_usize;
        for (values, block) in values.iter_mut().zip(row.chunks_exact(DIGITS)) {
            each_match(block, &mut |value| values.push(value));
            count = count.saturating_mul(values.len());
            if count == 0 {
                return;
            }
        }
        if self.are_too_many || self.all.len().saturating_add(count) > 2 * KEYS_MAX {
            self.are_too_many = true;
            return;
        }
        for mut index in 0..count {
            let key = values.each_ref().map(|values| {
                let value = values.get(index % values.len()).copied();
                index /= values.len();
                value.unwrap_or_default()
            });
            self.all.push(key);
        }
    }

    fn finish(mut self) -> Option<Shifts> {
        self.all.sort_unstable();
        self.all.dedup();
        if self.are_too_many || self.all.len() > KEYS_MAX {
            return None;
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.all.len() * 2 * BLOCKS));
        bytes.extend(self.all.iter().flatten().flat_map(|block| block.to_le_bytes()));
        Some(Shifts(SecretBytes::copy_of(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::digits::digits_of;
    use super::*;

    // The recovery key of image df-recovery_password, format spec 9.3.
    const REAL: &str = "284867596541514998422114660297261613215424199408";

    fn row(text: &str) -> Vec<DigitSet> {
        text.chars()
            .map(|sign| DigitSet::of(sign).expect("a digit"))
            .collect()
    }

    fn real() -> Blocks {
        let blocks = Shifts::straight(&row(REAL)).expect("one");
        assert_eq!(blocks.len(), 1);
        blocks.get(0).expect("one")
    }

    #[test]
    fn a_dropped_or_doubled_digit_is_found_wherever_it_was() {
        let real = real();
        for at in 0..REAL.len() {
            let (before, after) = REAL.split_at(at);
            let dropped = Shifts::of(&row(&format!("{before}{}", &after[1..]))).expect("few");
            assert!(dropped.contains(&real), "without {at}");
            let doubled = Shifts::of(&row(&format!("{before}{}{after}", &after[..1]))).expect("few");
            assert!(doubled.contains(&real), "{at} twice");
            assert!(dropped.len() < 100 && doubled.len() < 100);
        }
    }

    #[test]
    fn both_at_once_are_found_too() {
        let real = real();
        let mut moved = REAL.to_owned();
        moved.remove(8);
        moved.insert(21, '4');
        let shifts = Shifts::of(&row(&moved)).expect("few");
        assert!(shifts.contains(&real));
        assert!(
            (0..shifts.len())
                .filter_map(|i| shifts.get(i))
                .is_sorted_by(|a, b| a < b)
        );
        assert!(!shifts.contains(&[0; BLOCKS]));
    }

    #[test]
    fn where_too_little_is_known_nothing_is_kept() {
        assert!(Shifts::of(&row(&format!("{}????????", &REAL[..40]))).is_none());
        assert!(Shifts::of(&row("12345")).is_some_and(|shifts| shifts.len() == 0));
        assert_eq!(digits_of(0), [0; DIGITS]);
    }
}
