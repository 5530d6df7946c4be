//! A recovery key while it is being typed: block by block, several at once, or pasted whole.
//!
//! Knows no terminal: it is fed lines and says what to answer, so that a conversation can be tested.

use keyhaven_crypto::SecretText;
use keyhaven_fve::keys::{BLOCKS, MistypedRecoveryPassword, RecoveryPassword};
use zeroize::Zeroizing;

use crate::mistyped::{self, BadBlock, DIGITS};

/// The blocks that are there so far.
#[derive(Debug, Default)]
pub(crate) struct KeyEntry {
    blocks: [Option<SecretText>; BLOCKS],
}

impl KeyEntry {
    /// Says what to type, before the first prompt.
    pub(crate) const INTRODUCTION: &str = "\
The recovery key has 48 digits in 8 blocks of 6. Type one block at a time,
several, or all; each is checked at once. `b` goes back one block.
";

    /// Returns what to ask next.
    pub(crate) fn prompt(&self) -> String {
        let next = self.next_missing().map_or(BLOCKS, |missing| missing + 1);
        format!("Block {next} of {BLOCKS}: ")
    }

    /// Takes a line and returns what to say about it, nothing where all is well.
    pub(crate) fn feed(&mut self, line: &str) -> Zeroizing<String> {
        let line = line.trim();
        if line.eq_ignore_ascii_case("b") {
            return Zeroizing::new(self.go_back());
        }
        if let Err(error @ MistypedRecoveryPassword::NotDigits { .. }) = RecoveryPassword::parse(line) {
            return Zeroizing::new(format!("  {error}\n"));
        }
        let groups = blocks_in(line);
        let missing: Vec<usize> = (0..BLOCKS)
            .filter(|index| self.blocks[*index].is_none())
            .collect();
        let targets: Vec<usize> = if groups.len() == BLOCKS {
            // The whole key, whatever was there before.
            self.blocks = Default::default();
            (0..BLOCKS).collect()
        } else if groups.len() > missing.len() {
            let left = missing.len();
            return Zeroizing::new(format!(
                "  these are {} blocks, and only {left} {} missing\n",
                groups.len(),
                if left == 1 { "is" } else { "are" },
            ));
        } else {
            missing
        };
        let mut answer = Zeroizing::new(String::new());
        for (index, group) in targets.into_iter().zip(&groups) {
            match mistyped::problem_of(group) {
                None => self.blocks[index] = Some(SecretText::copy_of(group)),
                Some(problem) => {
                    let bad = BadBlock {
                        number: index + 1,
                        problem,
                        corrections: keyhaven_fve::keys::suggestions(group),
                    };
                    answer.push_str(&describe(&bad));
                }
            }
        }
        answer
    }

    /// Returns the key once all blocks are there.
    pub(crate) fn finished(&self) -> Option<RecoveryPassword> {
        let mut digits = Zeroizing::new(String::with_capacity(BLOCKS * (DIGITS * 4 + 1)));
        for block in &self.blocks {
            digits.push_str(block.as_ref()?.expose_secret());
            digits.push('-');
        }
        RecoveryPassword::parse(&digits).ok()
    }

    fn next_missing(&self) -> Option<usize> {
        self.blocks.iter().position(Option::is_none)
    }

    fn go_back(&mut self) -> String {
        let last = self.next_missing().unwrap_or(BLOCKS).checked_sub(1);
        match last.and_then(|last| self.blocks.get_mut(last)) {
            Some(block) => {
                *block = None;
                String::new()
            }
            None => "  this is the first block\n".to_owned(),
        }
    }
}

fn describe(bad: &BadBlock) -> Zeroizing<String> {
    let corrections = match bad.corrections_text() {
        Some(texts) => Zeroizing::new(format!("    did you mean {}?\n", *texts)),
        None => Zeroizing::default(),
    };
    Zeroizing::new(format!(
        "  block {} {}\n{}",
        bad.number, bad.problem, *corrections
    ))
}

/// Splits a line into blocks. A run of more digits than a doubled one explains is several blocks.
fn blocks_in(line: &str) -> Vec<Zeroizing<String>> {
    line.split(|c: char| !c.is_numeric())
        .filter(|group| !group.is_empty())
        .flat_map(|group| {
            if group.chars().count() <= DIGITS + 1 {
                vec![Zeroizing::new(group.to_owned())]
            } else {
                mistyped::split(group)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The recovery key of image df-recovery_password, format spec 9.3.
    const REAL: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

    fn assert_is_real(entry: &KeyEntry) {
        let key = entry.finished().expect("all blocks are there");
        assert_eq!(key.to_digits().expose_secret(), REAL);
    }

    #[test]
    fn block_by_block() {
        let mut entry = KeyEntry::default();
        for (i, block) in REAL.split('-').enumerate() {
            assert_eq!(entry.prompt(), format!("Block {} of 8: ", i + 1));
            assert!(entry.finished().is_none());
            assert_eq!(*entry.feed(block), "");
        }
        assert_is_real(&entry);
    }

    #[test]
    fn pasted_whole_in_any_form() {
        for text in [REAL.to_owned(), REAL.replace('-', ""), REAL.replace('-', "  ")] {
            let mut entry = KeyEntry::default();
            entry.feed("284867");
            assert_eq!(*entry.feed(&text), "");
            assert_is_real(&entry);
        }
    }

    #[test]
    fn only_the_wrong_block_is_asked_again() {
        let mut entry = KeyEntry::default();
        let answer = entry.feed(&REAL.replace("514998", "574998"));
        assert!(answer.starts_with("  block 3 is mistyped"), "{}", *answer);
        assert!(answer.contains("did you mean 514998"), "{}", *answer);
        assert_eq!(answer.lines().count(), 2);
        assert_eq!(entry.prompt(), "Block 3 of 8: ");
        assert_eq!(*entry.feed("514998"), "");
        assert_is_real(&entry);
    }

    #[test]
    fn a_block_too_long_or_short_says_so() {
        let mut entry = KeyEntry::default();
        assert!(
            entry
                .feed("28486")
                .contains("block 1 has 5 digits, expected 6\n    did you mean ")
        );
        assert!(entry.feed("2848677").contains("block 1 has 7 digits"));
        assert!(entry.feed("28486x").contains("character 6 is not"));
        assert_eq!(*entry.feed(""), "");
        assert_eq!(entry.prompt(), "Block 1 of 8: ");
    }

    #[test]
    fn going_back_takes_the_last_block_away() {
        let mut entry = KeyEntry::default();
        assert_eq!(*entry.feed("b"), "  this is the first block\n");
        entry.feed("284867 596541");
        assert_eq!(entry.prompt(), "Block 3 of 8: ");
        entry.feed("B");
        assert_eq!(entry.prompt(), "Block 2 of 8: ");
    }

    #[test]
    fn too_many_blocks_are_not_spread_over_the_wrong_places() {
        let mut entry = KeyEntry::default();
        entry.feed("284867-596541-514998-422114-660297-261613-215424");
        assert_eq!(
            *entry.feed("199408 199408"),
            "  these are 2 blocks, and only 1 is missing\n"
        );
        assert_eq!(*entry.feed("199408"), "");
        assert_is_real(&entry);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_lines_are_survived(lines in prop::collection::vec("[0-9０-９b \\-x²]{0,60}", 0..6)) {
            let mut entry = KeyEntry::default();
            for line in &lines {
                entry.feed(line);
            }
            let _ = (entry.prompt(), entry.finished());
        }
    }
}
