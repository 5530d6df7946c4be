//! What is wrong with a recovery key that somebody typed, and what they may have meant.

use keyhaven_crypto::SecretText;
use keyhaven_fve::keys::{BLOCKS, BlockProblem, MistypedRecoveryPassword, RecoveryPassword, suggestions};
use zeroize::Zeroizing;

use crate::error::CliError;

/// Digits in a block.
pub(crate) const DIGITS: usize = 6;

/// A block that cannot be right.
#[derive(Debug)]
pub(crate) struct BadBlock {
    /// Its number, counted from 1.
    pub(crate) number: usize,
    /// What is wrong with it.
    pub(crate) problem: BlockProblem,
    /// The valid blocks nearest to it, likeliest first. They are part of a secret.
    pub(crate) corrections: Vec<SecretText>,
}

impl BadBlock {
    /// Lists the corrections, for the eyes of whoever typed the block.
    pub(crate) fn corrections_text(&self) -> Option<Zeroizing<String>> {
        let texts: Vec<&str> = self.corrections.iter().map(SecretText::expose_secret).collect();
        (!texts.is_empty()).then(|| Zeroizing::new(texts.join(", ")))
    }
}

/// Finds the wrong blocks of a text that is not a recovery key.
pub(crate) fn bad_blocks(text: &str, mistyped: &MistypedRecoveryPassword) -> Vec<BadBlock> {
    let problems = match mistyped {
        MistypedRecoveryPassword::Length { blocks, .. } | MistypedRecoveryPassword::Blocks(blocks) => {
            blocks.as_slice()
        }
        _ => &[],
    };
    let blocks = split(text);
    problems
        .iter()
        .map(|&(number, problem)| BadBlock {
            number,
            problem,
            corrections: blocks
                .get(number.saturating_sub(1))
                .map(|block| suggestions(block))
                .unwrap_or_default(),
        })
        .collect()
}

/// Says what is wrong with a recovery key that was given, and what may have been meant.
pub(crate) fn refusal(text: &str, mistyped: &MistypedRecoveryPassword) -> CliError {
    let bad = bad_blocks(text, mistyped);
    let numbers: Vec<String> = bad.iter().map(|bad| bad.number.to_string()).collect();
    let next = match (numbers.as_slice(), mistyped) {
        // The corrections are all but the key itself: they are shown where somebody asks for them.
        ([number], _) => {
            format!("look at block {number} again; `keyhaven key check` offers the likely corrections")
        }
        ([_, ..], _) => format!(
            "look at blocks {} again; `keyhaven key check` offers the likely corrections",
            numbers.join(", ")
        ),
        (_, MistypedRecoveryPassword::NotDigits { position }) => {
            let in_front = text.chars().take(position.saturating_sub(1));
            let digits = in_front.filter(|sign| sign.is_numeric()).count();
            format!(
                "look at block {}: the letter O may be a zero there, and I or l a one",
                digits / DIGITS + 1
            )
        }
        (_, MistypedRecoveryPassword::Length { digits, .. }) => {
            match (BLOCKS * DIGITS).checked_sub(*digits) {
                Some(DIGITS) => "6 digits are missing: a whole block may have been left out".to_owned(),
                Some(1) => "1 digit is missing: hold it against the original, block by block".to_owned(),
                Some(missing) if *digits > 0 => {
                    format!("{missing} digits are missing: hold it against the original, block by block")
                }
                Some(_) => "give all of its digits, with or without the hyphens".to_owned(),
                None => "there are digits too many: hold it against the original, block by block".to_owned(),
            }
        }
        _ => "a recovery key has 48 digits in 8 blocks of 6".to_owned(),
    };
    CliError::no(mistyped.to_string()).hint(next)
}

/// Looks at one block by itself.
pub(crate) fn problem_of(block: &str) -> Option<BlockProblem> {
    let with_others = Zeroizing::new(format!("{block}{}", "-000000".repeat(BLOCKS - 1)));
    match RecoveryPassword::parse(&with_others) {
        Ok(_) => None,
        Err(MistypedRecoveryPassword::Length { blocks, .. } | MistypedRecoveryPassword::Blocks(blocks)) => {
            blocks
                .first()
                .map(|(_, problem)| *problem)
                .or(Some(BlockProblem::Length(block.chars().count())))
        }
        Err(_) => Some(BlockProblem::Length(block.chars().count())),
    }
}

/// Splits digits into blocks: at the separators, or every six where there are none or the digits are 48.
pub(crate) fn split(text: &str) -> Vec<Zeroizing<String>> {
    let groups: Vec<&str> = text
        .split(|c: char| !c.is_numeric())
        .filter(|group| !group.is_empty())
        .collect();
    let digits = Zeroizing::new(groups.concat());
    if groups.len() > 1 && digits.chars().count() != BLOCKS * DIGITS {
        return groups
            .into_iter()
            .map(|group| Zeroizing::new(group.to_owned()))
            .collect();
    }
    let digits = Zeroizing::new(digits.chars().collect::<Vec<char>>());
    digits
        .chunks(DIGITS)
        .map(|block| Zeroizing::new(block.iter().collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The recovery key of image df-recovery_password, format spec 9.3.
    const REAL: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

    fn found(text: &str) -> Vec<BadBlock> {
        bad_blocks(text, &RecoveryPassword::parse(text).expect_err("mistyped"))
    }

    #[test]
    fn each_wrong_block_gets_its_own_corrections() {
        for text in [
            REAL.replace("514998", "514996").replace("199408", "199480"),
            REAL.replace("514998", "514996")
                .replace("199408", "199480")
                .replace('-', ""),
        ] {
            let bad = found(&text);
            assert_eq!(bad.iter().map(|bad| bad.number).collect::<Vec<_>>(), [3, 8]);
            assert!(bad[0].corrections_text().unwrap().contains("514998"));
            assert!(bad[1].corrections_text().unwrap().contains("199408"));
        }
        let bad = found(&REAL.replace("660297", "66029"));
        assert_eq!((bad[0].number, bad[0].problem), (5, BlockProblem::Length(5)));
        assert!(bad[0].corrections_text().unwrap().contains("660297"));
        assert!(found("28486x").is_empty());
    }

    #[test]
    fn a_block_is_judged_alone() {
        assert_eq!(problem_of("514998"), None);
        assert_eq!(problem_of("514996"), Some(BlockProblem::NotDivisibleBy11));
        assert_eq!(problem_of("999999"), Some(BlockProblem::TooLarge));
        assert_eq!(problem_of("51499"), Some(BlockProblem::Length(5)));
        assert_eq!(problem_of("5149988"), Some(BlockProblem::Length(7)));
    }
}
