//! The 48 digits that Windows calls the recovery key.

use std::{fmt, io};

use keyhaven_crypto::{Secret, SecretText, stretch};
use zeroize::Zeroizing;

use crate::randomness::{self, Randomness};

/// Blocks of six digits in a recovery password.
pub const BLOCKS: usize = 8;

const DIGITS_PER_BLOCK: usize = 6;

/// A recovery password: 128 bits, written as eight blocks of six digits.
///
/// Each block is a 16-bit number times eleven, which is why a mistyped block can be told (format spec 3.4).
/// Made from text by [`RecoveryPassword::parse`], from a volume's metadata by unlocking it.
#[derive(Debug, PartialEq, Eq)]
pub struct RecoveryPassword(Secret<16>);

impl RecoveryPassword {
    /// Reads what a person typed: 48 digits, in any grouping.
    ///
    /// Hyphens and dashes of all kinds, spaces and other blanks may stand between digits or be missing; full-width
    /// and other scripts' decimal digits count as digits.
    ///
    /// # Errors
    /// [`MistypedRecoveryPassword`] says what is wrong, block by block.
    pub fn parse(text: &str) -> Result<Self, MistypedRecoveryPassword> {
        let digits = digits_of(text)?;
        let blocks = blocks_of(text, &digits);
        let whole = digits.len() == BLOCKS * DIGITS_PER_BLOCK;
        // Forty-eight digits are eight blocks even where the separators are in odd places.
        let blocks = if whole { evenly(&digits) } else { blocks };

        let problems: Vec<(usize, BlockProblem)> = blocks
            .iter()
            .enumerate()
            .filter_map(|(i, block)| Some((i + 1, problem_of(block)?)))
            .collect();
        if !whole && (blocks.len() != BLOCKS || problems.is_empty()) {
            return Err(MistypedRecoveryPassword::Length {
                digits: digits.len(),
                blocks: problems,
            });
        }
        if !problems.is_empty() {
            return Err(MistypedRecoveryPassword::Blocks(problems));
        }
        Ok(Self(Secret::init_with(|key| {
            for (bytes, block) in key.chunks_exact_mut(2).zip(&blocks) {
                bytes.copy_from_slice(&((number(block) / 11) as u16).to_le_bytes());
            }
        })))
    }

    /// Takes the sixteen bytes that a volume's metadata keep (format spec 3.5); any value is valid.
    #[must_use]
    pub fn from_key(key: Secret<16>) -> Self {
        Self(key)
    }

    /// Makes a new one. Its blocks are divisible by 11 because they are written so, whatever the bytes.
    ///
    /// # Errors
    /// What the source of randomness says.
    pub fn generate(random: &mut Randomness<'_>) -> io::Result<Self> {
        randomness::secret(random).map(Self)
    }

    /// Returns the sixteen bytes behind the digits.
    #[must_use]
    pub fn key(&self) -> &Secret<16> {
        &self.0
    }

    /// Writes the key as eight blocks of six digits with hyphens between them, 55 characters.
    #[must_use]
    pub fn to_digits(&self) -> SecretText {
        let mut text = Zeroizing::new(String::with_capacity(BLOCKS * (DIGITS_PER_BLOCK + 1)));
        for block in self.blocks() {
            if !text.is_empty() {
                text.push('-');
            }
            text.push_str(block.expose_secret());
        }
        SecretText::copy_of(&text)
    }

    /// Writes each block of six digits on its own.
    pub fn blocks(&self) -> impl Iterator<Item = SecretText> {
        self.0.expose_secret().chunks_exact(2).map(|pair| {
            let value = u32::from(u16::from_le_bytes([pair[0], pair[1]])) * 11;
            SecretText::from(format!("{value:06}"))
        })
    }

    /// Stretches the key for one protector, whose salt this is. Costs a tenth of a second or more.
    #[must_use]
    pub fn stretch(&self, salt: &[u8; 16]) -> Secret<32> {
        stretch(&self.0.sha256(), salt)
    }
}

/// What is wrong with one block of a recovery key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockProblem {
    /// It has this many digits instead of six.
    Length(usize),
    /// It is not divisible by 11, as every block is: a digit is wrong, or two are swapped.
    NotDivisibleBy11,
    /// It is above 720885, the largest block there is.
    TooLarge,
}

impl fmt::Display for BlockProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(1) => write!(f, "has 1 digit, expected 6"),
            Self::Length(digits) => write!(f, "has {digits} digits, expected 6"),
            Self::NotDivisibleBy11 => write!(f, "is mistyped (its check does not come out)"),
            Self::TooLarge => write!(f, "is mistyped (no block is above 720885)"),
        }
    }
}

/// Why a text is not a recovery password. Says which blocks are wrong and never what they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MistypedRecoveryPassword {
    /// There are letters or signs in it that cannot be part of a recovery key.
    #[error("a recovery key has only digits, but character {position} is not one")]
    NotDigits {
        /// Which character, counted from 1.
        position: usize,
    },
    /// It does not have 48 digits.
    #[error("the recovery key has {digits} digits, expected 48 in 8 blocks of 6")]
    Length {
        /// How many digits there are.
        digits: usize,
        /// Blocks that can be told to be wrong, counted from 1; where the separators show no blocks, none.
        blocks: Vec<(usize, BlockProblem)>,
    },
    /// Some blocks are mistyped.
    #[error("{}", describe_blocks(.0))]
    Blocks(
        /// The wrong blocks, counted from 1.
        Vec<(usize, BlockProblem)>,
    ),
}

impl MistypedRecoveryPassword {
    /// Returns the numbers of the wrong blocks, counted from 1.
    #[must_use]
    pub fn bad_blocks(&self) -> Vec<usize> {
        match self {
            Self::NotDigits { .. } => Vec::new(),
            Self::Length { blocks, .. } | Self::Blocks(blocks) => {
                blocks.iter().map(|(block, _)| *block).collect()
            }
        }
    }
}

fn describe_blocks(blocks: &[(usize, BlockProblem)]) -> String {
    let parts: Vec<String> = blocks
        .iter()
        .map(|(block, problem)| format!("block {block} of the recovery key {problem}"))
        .collect();
    parts.join("; ")
}

/// Returns the valid blocks that differ from `block` by one digit or one swap of neighbours, likeliest first.
///
/// With six digits these are wrong digits and swaps; with five or seven, one digit left out or typed twice.
/// Look-alikes (1 and 7, 3 and 8, 5 and 6, 0 and 8) and swaps come first. The text may hold blanks; other lengths and
/// anything that is not digits give nothing.
#[must_use]
pub fn suggestions(block: &str) -> Vec<SecretText> {
    let Ok(digits) = digits_of(block) else {
        return Vec::new();
    };
    let mut found: Vec<(u8, u32)> = Vec::new();
    let mut offer = |rank: u8, candidate: &[u8]| {
        if problem_of(candidate).is_none() && !found.iter().any(|(_, known)| *known == number(candidate)) {
            found.push((rank, number(candidate)));
        }
    };
    match digits.len() {
        DIGITS_PER_BLOCK => {
            for i in 0..DIGITS_PER_BLOCK - 1 {
                let mut candidate = digits.clone();
                candidate.swap(i, i + 1);
                if candidate != digits {
                    offer(1, &candidate);
                }
            }
            for i in 0..DIGITS_PER_BLOCK {
                for digit in (0..10).filter(|digit| *digit != digits[i]) {
                    let mut candidate = digits.clone();
                    candidate[i] = digit;
                    offer(if look_alike(digits[i], digit) { 0 } else { 2 }, &candidate);
                }
            }
        }
        n if n + 1 == DIGITS_PER_BLOCK => {
            for i in 0..=n {
                for digit in 0..10 {
                    let mut candidate = digits.clone();
                    candidate.insert(i, digit);
                    // A doubled digit of which one was left out is likelier than any other.
                    let doubled = i.checked_sub(1).and_then(|before| digits.get(before)) == Some(&digit);
                    offer(u8::from(!doubled), &candidate);
                }
            }
        }
        n if n == DIGITS_PER_BLOCK + 1 => {
            for i in 0..n {
                let mut candidate = digits.clone();
                candidate.remove(i);
                let doubled = i > 0 && digits[i - 1] == digits[i];
                offer(u8::from(!doubled), &candidate);
            }
        }
        _ => {}
    }
    found.sort();
    found
        .into_iter()
        .map(|(_, value)| SecretText::from(format!("{value:06}")))
        .collect()
}

/// Tells whether two digits are taken for each other by people and by machines that read.
#[must_use]
pub fn look_alike(a: u8, b: u8) -> bool {
    matches!((a.min(b), a.max(b)), (1, 7) | (3, 8) | (5, 6) | (0, 8) | (0, 6))
}

/// Takes the digits out of a text; a sign that is neither digit nor separator is an error.
fn digits_of(text: &str) -> Result<Zeroizing<Vec<u8>>, MistypedRecoveryPassword> {
    let mut digits = Zeroizing::new(Vec::with_capacity(64));
    for (i, sign) in text.chars().enumerate() {
        match digit_value(sign) {
            // More digits than this are no recovery key, whatever follows.
            Some(_) if digits.len() >= 1000 => break,
            Some(digit) => digits.push(digit),
            None if is_separator(sign) => {}
            None => return Err(MistypedRecoveryPassword::NotDigits { position: i + 1 }),
        }
    }
    Ok(digits)
}

/// Returns the value of a decimal digit: ASCII, full-width, Arabic-Indic, Devanagari and the like.
#[must_use]
pub fn digit_value(sign: char) -> Option<u8> {
    // First digits of the decimal-digit runs of Unicode that keyboards and input methods produce.
    const ZEROS: [char; 13] = [
        '0', '\u{0660}', '\u{06F0}', '\u{0966}', '\u{09E6}', '\u{0A66}', '\u{0AE6}', '\u{0BE6}', '\u{0C66}',
        '\u{0CE6}', '\u{0D66}', '\u{0E50}', '\u{FF10}',
    ];
    ZEROS.iter().find_map(|zero| {
        let value = (sign as u32).checked_sub(*zero as u32)?;
        (value < 10).then_some(value as u8)
    })
}

/// Tells whether a sign may stand between the digits of a recovery key and means nothing.
#[must_use]
pub fn is_separator(sign: char) -> bool {
    sign.is_whitespace()
        || matches!(
            sign,
            '-' | '_' | '.' | ',' | '/' | '\u{00AD}' | '\u{200B}'..='\u{200F}' | '\u{2010}'..='\u{2015}'
                | '\u{2212}' | '\u{30FC}' | '\u{FE58}' | '\u{FE63}' | '\u{FEFF}' | '\u{FF0D}'
        )
}

/// Splits the digits where the text had separators.
fn blocks_of(text: &str, digits: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut blocks = Vec::new();
    let mut rest = digits;
    for group in text
        .split(is_separator)
        .map(|group| group.chars().filter(|c| digit_value(*c).is_some()).count())
    {
        if group > 0 {
            let (block, after) = rest.split_at(group.min(rest.len()));
            blocks.push(Zeroizing::new(block.to_vec()));
            rest = after;
        }
    }
    if blocks.len() <= 1 { evenly(digits) } else { blocks }
}

fn evenly(digits: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    digits
        .chunks(DIGITS_PER_BLOCK)
        .map(|block| Zeroizing::new(block.to_vec()))
        .collect()
}

fn problem_of(block: &[u8]) -> Option<BlockProblem> {
    if block.len() != DIGITS_PER_BLOCK {
        return Some(BlockProblem::Length(block.len()));
    }
    match number(block) {
        value if value % 11 != 0 => Some(BlockProblem::NotDivisibleBy11),
        value if value > 11 * u32::from(u16::MAX) => Some(BlockProblem::TooLarge),
        _ => None,
    }
}

/// Returns the number that up to six digits write.
fn number(block: &[u8]) -> u32 {
    block
        .iter()
        .take(DIGITS_PER_BLOCK)
        .fold(0, |number, digit| number * 10 + u32::from(*digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The recovery key of image df-recovery_password, format spec 9.3.
    const REAL: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

    fn problems(text: &str) -> MistypedRecoveryPassword {
        RecoveryPassword::parse(text).expect_err("mistyped")
    }

    #[test]
    fn a_real_key_is_its_sixteen_bytes() {
        let key = RecoveryPassword::parse(REAL).expect("a real key");
        assert_eq!(
            hex::encode(key.key().expose_secret()),
            "2965d7d3e2b6e6957beae75c804cd046"
        );
        assert_eq!(key.to_digits().expose_secret(), REAL);
    }

    #[test]
    fn every_way_of_writing_the_digits_is_taken() {
        let key = RecoveryPassword::parse(REAL).expect("a real key");
        for text in [
            REAL.replace('-', ""),
            REAL.replace('-', " "),
            REAL.replace('-', "\u{2013}"),
            format!("  {REAL}\r\n"),
            REAL.chars()
                .filter_map(|c| Some(char::from_u32(c.to_digit(10)? + 0xFF10)).flatten())
                .collect(),
            REAL.replace("-4", "4-"),
        ] {
            assert_eq!(RecoveryPassword::parse(&text).as_ref(), Ok(&key), "{text}");
        }
    }

    #[test]
    fn wrong_blocks_are_named() {
        assert_eq!(
            problems(&REAL.replace("514998", "514996")),
            MistypedRecoveryPassword::Blocks(vec![(3, BlockProblem::NotDivisibleBy11)])
        );
        assert_eq!(
            problems(&REAL.replace("199408", "999999")),
            MistypedRecoveryPassword::Blocks(vec![(8, BlockProblem::TooLarge)])
        );
        assert_eq!(problems(&REAL.replace("660297", "66029")).bad_blocks(), [5]);
        assert_eq!(
            problems(&REAL[7..]),
            MistypedRecoveryPassword::Length {
                digits: 42,
                blocks: vec![]
            },
            "a missing block cannot be placed"
        );
        assert_eq!(
            problems("28486x"),
            MistypedRecoveryPassword::NotDigits { position: 6 }
        );
        assert_eq!(
            problems(""),
            MistypedRecoveryPassword::Length {
                digits: 0,
                blocks: vec![]
            }
        );
        // A separator in the wrong place is no mistake, two wrong blocks are two.
        assert_eq!(
            problems(&REAL.replace("284867", "284868").replace("199408", "199409")).bad_blocks(),
            [1, 8]
        );
    }

    #[test]
    fn corrections_are_offered_likeliest_first() {
        let offered = |block: &str| -> Vec<String> {
            suggestions(block)
                .iter()
                .map(|block| block.expose_secret().to_owned())
                .collect()
        };
        assert!(
            offered("514996").contains(&"514998".to_owned()),
            "one wrong digit"
        );
        assert!(
            offered("541998").contains(&"514998".to_owned()),
            "two digits swapped"
        );
        assert_eq!(
            offered("574998").first().map(String::as_str),
            Some("514998"),
            "1 read as 7"
        );
        assert!(
            offered("51498").contains(&"514998".to_owned()),
            "a digit left out"
        );
        assert!(
            offered("5149988").contains(&"514998".to_owned()),
            "a digit typed twice"
        );
        assert!(offered("").is_empty() && offered("12345678").is_empty() && offered("abc").is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn digits_and_bytes_are_inverses(bytes in any::<[u8; 16]>()) {
            let key = RecoveryPassword::from_key(Secret::from(bytes));
            let digits = key.to_digits();
            prop_assert_eq!(digits.expose_secret().len(), 55);
            prop_assert_eq!(RecoveryPassword::parse(digits.expose_secret()), Ok(key));
        }

        #[test]
        fn one_wrong_digit_is_always_seen_and_its_block_named(
            bytes in any::<[u8; 16]>(), at in 0usize..48, by in 1u8..10,
        ) {
            let key = RecoveryPassword::from_key(Secret::from(bytes));
            let mut digits: Vec<u8> = key.to_digits().expose_secret().bytes().filter(u8::is_ascii_digit).collect();
            let right = String::from_utf8_lossy(&digits[at / 6 * 6..at / 6 * 6 + 6]).into_owned();
            digits[at] = (digits[at] - b'0' + by) % 10 + b'0';
            let text = String::from_utf8_lossy(&digits).into_owned();
            let error = RecoveryPassword::parse(&text).expect_err("mistyped");
            prop_assert_eq!(error.bad_blocks(), vec![at / 6 + 1]);
            let offered = suggestions(&text[at / 6 * 6..at / 6 * 6 + 6]);
            prop_assert!(offered.iter().any(|block| block.expose_secret() == right));
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = RecoveryPassword::parse(&text);
            let _ = suggestions(&text);
        }
    }
}
