//! What may stand in one place of a block, and what a block may be as it is read.

use keyhaven_fve::keys::digit_value;
use zeroize::{DefaultIsZeroes, Zeroizing};

/// Digits in a block.
pub(super) const DIGITS: usize = 6;

/// Blocks are numbers of sixteen bits times this.
pub(super) const FACTOR: u32 = 11;

/// How many values a block can have.
pub(super) const VALUES: u32 = 1 << 16;

/// The digits that one place may hold: a set of ten bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DigitSet(u16);

impl DefaultIsZeroes for DigitSet {}

impl DigitSet {
    /// Any digit: the place cannot be read.
    pub(super) const ANY: Self = Self(0x3FF);

    const NONE: Self = Self(0);

    /// Exactly this digit.
    pub(super) fn one(digit: u8) -> Self {
        Self(1 << (digit % 10))
    }

    pub(super) fn contains(self, digit: u8) -> bool {
        self.0 & (1 << (digit % 10)) != 0
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Returns the digit where there is only one.
    pub(super) fn known(self) -> Option<u8> {
        (self.count() == 1).then(|| self.0.trailing_zeros() as u8)
    }

    /// Returns the digits, the smallest first.
    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..10).filter(move |digit| self.contains(*digit))
    }

    /// Reads a sign that stands for a digit: the digits of any script, `?` and the like for one that cannot be read,
    /// and the letters that reading machines take digits for. `None` for everything else.
    pub(super) fn of(sign: char) -> Option<Self> {
        if let Some(digit) = digit_value(sign) {
            return Some(Self::one(digit));
        }
        Some(match sign {
            '?' | '*' | '#' | '_' | 'x' | 'X' | '\u{FF1F}' | '\u{00D7}' => Self::ANY,
            'O' | 'o' | 'D' | 'Q' => Self::one(0),
            'I' | 'l' | 'i' | '!' => Self::one(1),
            'Z' | 'z' => Self::one(2),
            'A' => Self::one(4),
            'S' | 's' => Self::one(5),
            'G' | 'b' => Self::one(6),
            'B' => Self::one(8),
            'g' | 'q' => Self::one(9),
            _ => return None,
        })
    }
}

/// A block as it is read: a set for each place, six where no digit was left out or typed twice.
pub(super) type Pattern = Zeroizing<Vec<DigitSet>>;

/// Returns the six digits of a value.
pub(super) fn digits_of(value: u16) -> [u8; DIGITS] {
    let mut rest = u32::from(value) * FACTOR;
    let mut digits = [0; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// Calls `found` with every value whose digits fit a pattern of six places, the smallest first.
pub(super) fn each_match(pattern: &[DigitSet], found: &mut impl FnMut(u16)) {
    let Ok(places) = <[DigitSet; DIGITS]>::try_from(pattern) else {
        return;
    };
    descend(&places, 0, found);
}

fn descend(places: &[DigitSet], number: u32, found: &mut impl FnMut(u16)) {
    match places {
        // The last digit follows from the others: at most one of ten makes a multiple of 11.
        [last] => {
            let tens = number * 10;
            let digit = (FACTOR - tens % FACTOR) % FACTOR;
            if digit < 10
                && last.contains(digit as u8)
                && let Ok(value) = u16::try_from((tens + digit) / FACTOR)
            {
                found(value);
            }
        }
        [first, rest @ ..] => {
            for digit in first.iter() {
                descend(rest, number * 10 + u32::from(digit), found);
            }
        }
        [] => {}
    }
}

/// Returns for each place the digits that the values have there.
pub(super) fn union_of(values: impl Iterator<Item = u16>) -> [DigitSet; DIGITS] {
    let mut union = [DigitSet::NONE; DIGITS];
    for value in values {
        for (set, digit) in union.iter_mut().zip(digits_of(value)) {
            *set = set.or(DigitSet::one(digit));
        }
    }
    union
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Zeroizing::new(
            text.chars()
                .map(|sign| DigitSet::of(sign).expect("a digit"))
                .collect(),
        )
    }

    fn matches(text: &str) -> Vec<u16> {
        let mut found = Vec::new();
        each_match(&pattern(text), &mut |value| found.push(value));
        found
    }

    #[test]
    fn every_value_has_six_digits_and_is_found_by_them() {
        assert_eq!(digits_of(0), [0; 6]);
        assert_eq!(digits_of(u16::MAX), [7, 2, 0, 8, 8, 5]);
        assert_eq!(matches("??????").len(), 65_536);
        assert!(matches("720896").is_empty());
        assert!(matches("28486O").is_empty());
        assert_eq!(matches("2B4867"), [25_897]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_walk_agrees_with_the_definition(value: u16, holes in 0u8..64) {
            let places: Vec<DigitSet> = digits_of(value)
                .into_iter()
                .enumerate()
                .map(|(i, digit)| if holes >> i & 1 == 1 { DigitSet::ANY } else { DigitSet::one(digit) })
                .collect();
            let mut found = Vec::new();
            each_match(&places, &mut |value| found.push(value));
            let fits = |value: &u16| digits_of(*value).iter().zip(&places).all(|(digit, set)| set.contains(*digit));
            let expected: Vec<u16> = (0..=u16::MAX).filter(fits).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
