//! What a search goes through: guesses in the order of their likelihood, each found by its position.

/// Guesses that are found by their position, so that a search can be divided and taken up again without going through
/// what was tried.
pub trait Candidates: Sync {
    /// What is guessed.
    type Guess: Send;

    /// Returns how many positions there are; at least as many as there are guesses.
    fn positions(&self) -> u128;

    /// Makes the guess at a position; `None` where an earlier position has the same, and past the end.
    fn at(&self, position: u128) -> Option<Self::Guess>;
}

/// One of several parts of a search that share nothing and make up the whole.
///
/// A part takes every so-manieth position, so that each begins with what is likeliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    count: u64,
}

/// Why a text names no part of a search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a part of a search is written as in 3/8, the third of eight; it goes from 1 to at most a million")]
pub struct NotAShard;

impl Shard {
    /// The only part: everything.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    const COUNT_MAX: u64 = 1_000_000;

    /// Reads `I/N`, counted from 1.
    ///
    /// # Errors
    /// [`NotAShard`].
    pub fn parse(text: &str) -> Result<Self, NotAShard> {
        let (number, count) = text.split_once('/').ok_or(NotAShard)?;
        let number: u64 = number.trim().parse().map_err(|_| NotAShard)?;
        let count: u64 = count.trim().parse().map_err(|_| NotAShard)?;
        let is_one = (1..=Self::COUNT_MAX).contains(&count) && (1..=count).contains(&number);
        let index = number.checked_sub(1).filter(|_| is_one).ok_or(NotAShard)?;
        Ok(Self { index, count })
    }

    /// Returns how many of so many positions are this part's.
    #[must_use]
    pub fn share_of(self, positions: u128) -> u128 {
        let (index, count) = (u128::from(self.index), u128::from(self.count));
        positions.saturating_sub(index).div_ceil(count)
    }

    /// Returns the position of one of this part's, by its number within the part.
    #[must_use]
    pub fn position(self, number: u128) -> u128 {
        let (index, count) = (u128::from(self.index), u128::from(self.count));
        number.saturating_mul(count).saturating_add(index)
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!(Shard::parse("1/1"), Ok(Shard::WHOLE));
        assert_eq!(
            Shard::parse("3/8").map(|shard| shard.to_string()).as_deref(),
            Ok("3/8")
        );
        for text in ["", "0/1", "2/1", "1/0", "1", "a/b", "-1/2", "1/1000001"] {
            assert_eq!(Shard::parse(text), Err(NotAShard), "{text}");
        }
        assert_eq!(Shard::WHOLE.share_of(u128::MAX), u128::MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn parts_make_up_the_whole(positions in 0u128..500, count in 1u64..20) {
            let mut seen = vec![0; positions as usize];
            for index in 0..count {
                let shard = Shard { index, count };
                for number in 0..shard.share_of(positions) {
                    seen[shard.position(number) as usize] += 1;
                }
                prop_assert!(shard.position(shard.share_of(positions)) >= positions);
            }
            prop_assert!(seen.iter().all(|times| *times == 1));
        }
    }
}
