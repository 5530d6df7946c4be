//! What a person still has of a recovery key, understood: digits, places that cannot be read, blocks that are missing.

mod tokens;

use std::fmt::Write as _;

use keyhaven_fve::keys::BLOCKS;
use zeroize::Zeroizing;

use super::digits::{DIGITS, DigitSet, Pattern};
use tokens::Unit;

/// Longer texts are not read, in characters.
const CHARACTERS_MAX: usize = 4096;

/// A block with more signs than this is not one block.
const SIGNS_MAX: usize = 8;

/// A block is read in no more ways than this.
const READINGS_MAX: usize = 64;

/// A recovery key as far as it is known.
///
/// Understands eight blocks of six digits and everything that people write instead: `?` for a digit that cannot be
/// read, `[17]`, `7/1` or `maybe 7 or 1` for one of several, `------`, `?` or nothing for a block that is missing, blocks
/// of five or seven digits, fewer than eight blocks, letters that look like digits, any separators and digits of any
/// script. `Debug` shows none of it.
pub struct Hint {
    /// The blocks that were written, in their order.
    pub(super) blocks: Vec<BlockHint>,
    /// Where the blocks may stand: for each of the eight places a block, or `None` for one that is missing.
    pub(super) placements: Vec<[Option<usize>; BLOCKS]>,
    /// All places in a row, where they are about as many as a key has: digits may have moved from block to block.
    pub(super) row: Option<Pattern>,
}

/// One block as it was written.
pub(super) struct BlockHint {
    /// The ways to read it; none if nothing is known of it.
    pub(super) readings: Vec<Pattern>,
}

/// Why a text cannot be understood as part of a recovery key. Says where, and never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HintError {
    /// It is too long for a key.
    #[error("the text is longer than {CHARACTERS_MAX} characters")]
    TooLong,
    /// There is not a single digit in it.
    #[error("there is no digit in it: nothing is known of the key")]
    NothingKnown,
    /// A sign or word that means nothing here.
    #[error(
        "character {position}, in block {block}, is neither a digit nor one of the signs for what cannot be read"
    )]
    NotUnderstood {
        /// Which character, counted from 1.
        position: usize,
        /// The block that it is in, counted from 1.
        block: usize,
    },
    /// A bracket that is not closed, or is empty.
    #[error("the bracket at character {position}, in block {block}, has no digits or no end")]
    Bracket {
        /// Which character, counted from 1.
        position: usize,
        /// The block that it is in, counted from 1.
        block: usize,
    },
    /// An "or" that does not stand between digits, or between runs that are not equally long.
    #[error(
        "the \"or\" at character {position}, in block {block}, does not stand between equally many digits"
    )]
    Or {
        /// Which character, counted from 1.
        position: usize,
        /// The block that it is in, counted from 1.
        block: usize,
    },
    /// Too many "or" in one block.
    #[error("block {block} can be read in more than {READINGS_MAX} ways")]
    TooManyReadings {
        /// Which block, counted from 1.
        block: usize,
    },
    /// A run of digits that is no block, nor several.
    #[error("block {block} has {signs} digits, expected 6, or 5 or 7 where one was left out or typed twice")]
    BlockLength {
        /// Which block, counted from 1.
        block: usize,
        /// How many places it has.
        signs: usize,
    },
    /// More blocks than a key has.
    #[error("there are {blocks} blocks, expected 8")]
    TooManyBlocks {
        /// How many there are.
        blocks: usize,
    },
    /// Digits without separators whose number fits nothing.
    #[error(
        "there are {signs} digits in one row, expected 48, or 47 or 49 where one was left out or typed twice, or \
         whole blocks of 6"
    )]
    RowLength {
        /// How many there are.
        signs: usize,
    },
}

/// What was written, before blocks are counted.
enum Item {
    Block(BlockHint),
    /// One block or several are missing.
    Gap,
}

impl Hint {
    /// Understands what a person wrote.
    ///
    /// # Errors
    /// [`HintError`] says which block is not understood.
    pub fn parse(text: &str) -> Result<Self, HintError> {
        if text.chars().nth(CHARACTERS_MAX).is_some() {
            return Err(HintError::TooLong);
        }
        let groups = tokens::groups(tokens::read(text)?)?;
        let is_known = |unit: &Unit| !matches!(unit, Unit::Place(set) if *set == DigitSet::ANY);
        if !groups.iter().flat_map(|group| group.units.iter()).any(is_known) {
            return Err(HintError::NothingKnown);
        }
        let row = row_of(&groups);
        let signs = row.as_ref().map_or(0, |row| row.len());
        let items = items_of(&groups)?;
        let whole_row = row.filter(|row| (BLOCKS * DIGITS - 1..=BLOCKS * DIGITS + 1).contains(&row.len()));
        let odd = items.iter().any(|item| item.is_err())
            || items.iter().filter(|item| is_block(item)).count() != BLOCKS;
        if let Some(row) = whole_row {
            if !odd {
                return Self::of_items(items, Some(row));
            }
            if signs == BLOCKS * DIGITS {
                let blocks = row
                    .chunks(DIGITS)
                    .map(|block| Ok(Item::Block(BlockHint::of(block))));
                return Self::of_items(blocks.collect(), Some(row.clone()));
            }
            return Ok(Self {
                blocks: Vec::new(),
                placements: Vec::new(),
                row: Some(row),
            });
        }
        Self::of_items(items, None)
    }

    fn of_items(items: Vec<Result<Item, HintError>>, row: Option<Pattern>) -> Result<Self, HintError> {
        let items: Vec<Item> = items.into_iter().collect::<Result<_, _>>()?;
        let written = items.iter().filter(|item| matches!(item, Item::Block(_))).count();
        if written > BLOCKS {
            return Err(HintError::TooManyBlocks { blocks: written });
        }
        let gaps = if written == BLOCKS {
            0
        } else {
            items.len() - written
        };
        // With a gap marked, blocks are missing there; with none, anywhere.
        let may_be_missing = |before: usize| {
            gaps == 0 || {
                let mut seen = 0;
                items.iter().any(|item| match item {
                    Item::Block(_) => {
                        seen += 1;
                        false
                    }
                    Item::Gap => seen == before,
                })
            }
        };
        let missing = BLOCKS - written;
        if gaps > missing {
            return Err(HintError::TooManyBlocks {
                blocks: written + gaps,
            });
        }
        let slots: Vec<(usize, usize)> = (0..=written)
            .filter(|before| may_be_missing(*before))
            .map(|before| {
                // Each marked gap is at least one block wide.
                let mut seen = 0;
                let marked = items
                    .iter()
                    .filter(|item| match item {
                        Item::Block(_) => {
                            seen += 1;
                            false
                        }
                        Item::Gap => gaps > 0 && seen == before,
                    })
                    .count();
                (before, marked)
            })
            .collect();
        let mut placements = Vec::new();
        place(&slots, missing, &mut [0; BLOCKS + 1], &mut |widths| {
            let mut placement = [None; BLOCKS];
            let mut place = 0;
            for (before, width) in widths.iter().enumerate().take(written + 1) {
                place += width;
                if before < written
                    && let Some(slot) = placement.get_mut(place)
                {
                    *slot = Some(before);
                    place += 1;
                }
            }
            placements.push(placement);
        });
        let blocks = items.into_iter().filter_map(|item| match item {
            Item::Block(block) => Some(block),
            Item::Gap => None,
        });
        Ok(Self {
            blocks: blocks.collect(),
            placements,
            row,
        })
    }

    /// Returns how many blocks were written.
    #[must_use]
    pub fn blocks_written(&self) -> usize {
        self.blocks.len()
    }

    /// Tells whether it is not known which of the blocks are missing.
    #[must_use]
    pub fn is_gap_unknown(&self) -> bool {
        self.placements.len() > 1
    }

    /// Finds the line that is a recovery key in a longer text: a file that has its name, its ID and a date as well.
    ///
    /// # Errors
    /// That of the whole text, if no line of it holds most of a key.
    pub fn find(text: &str) -> Result<Self, HintError> {
        let whole = Self::parse(text);
        let Err(HintError::NotUnderstood { .. } | HintError::TooLong) = whole else {
            return whole;
        };
        // What is in front of a tab or colon may be a label.
        let values = text
            .lines()
            .flat_map(|line| [line, line.rsplit(['\t', ':']).next().unwrap_or(line)]);
        let hints = values.filter_map(|line| Self::parse(line).ok());
        hints
            .map(|hint| (hint.known_digits(), hint))
            .filter(|(known, _)| *known >= BLOCKS * DIGITS / 2)
            .max_by_key(|(known, _)| (*known).min(BLOCKS * DIGITS))
            .map_or(whole, |(_, hint)| Ok(hint))
    }

    fn known_digits(&self) -> usize {
        let known = |pattern: &Pattern| pattern.iter().filter(|set| set.known().is_some()).count();
        let in_blocks = self
            .blocks
            .iter()
            .filter_map(|block| block.readings.first())
            .map(known)
            .sum();
        self.row.as_ref().map_or(in_blocks, known)
    }

    /// Returns everything that was understood, in a form that tells hints apart. It is as secret as the key.
    #[must_use]
    pub fn canonical(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(1024));
        for block in &self.blocks {
            block.write_to(&mut text, true);
            text.push('-');
        }
        for placement in &self.placements {
            let _ = write!(text, "{placement:?}");
        }
        if let Some(row) = &self.row {
            write_pattern(row, &mut text, true);
        }
        text
    }
}

impl std::fmt::Debug for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hint({} blocks, redacted)", self.blocks.len())
    }
}

impl BlockHint {
    fn of(signs: &[DigitSet]) -> Self {
        Self {
            readings: vec![Zeroizing::new(signs.to_vec())],
        }
    }

    /// Returns the only way to read it.
    pub(super) fn single(&self) -> Option<&Pattern> {
        match self.readings.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Writes the block for a person: its digits, or a dot for each where they are not to be seen.
    pub(super) fn write_to(&self, text: &mut String, with_digits: bool) {
        for (i, reading) in self.readings.iter().enumerate() {
            if i > 0 {
                text.push_str(" or ");
            }
            write_pattern(reading, text, with_digits);
        }
    }
}

fn write_pattern(pattern: &Pattern, text: &mut String, with_digits: bool) {
    for set in pattern.iter() {
        match set.known() {
            Some(_) if !with_digits => text.push('\u{b7}'),
            Some(digit) => text.push(char::from(b'0' + digit)),
            None if *set == DigitSet::ANY || !with_digits => text.push('?'),
            None => {
                text.push('[');
                text.extend(set.iter().map(|digit| char::from(b'0' + digit)));
                text.push(']');
            }
        }
    }
}

/// Distributes the missing blocks over the slots, each of which has at least so many.
fn place(
    slots: &[(usize, usize)],
    missing: usize,
    widths: &mut [usize; BLOCKS + 1],
    found: &mut impl FnMut(&[usize]),
) {
    match slots {
        [] if missing == 0 => found(widths),
        [] => {}
        [(slot, least), rest @ ..] => {
            for width in *least..=missing {
                if let Some(own) = widths.get_mut(*slot) {
                    *own = width;
                }
                place(rest, missing - width, widths, found);
            }
            if let Some(own) = widths.get_mut(*slot) {
                *own = 0;
            }
        }
    }
}

/// Returns all places in a row where none is missing and each is one set.
fn row_of(groups: &[tokens::Group]) -> Option<Pattern> {
    let mut row = Zeroizing::new(Vec::with_capacity(CHARACTERS_MAX));
    for group in groups {
        if group.units.is_empty() {
            return None;
        }
        for unit in group.units.iter() {
            match unit {
                Unit::Place(set) => row.push(*set),
                Unit::Either(_) => return None,
            }
        }
    }
    Some(row)
}

fn is_block(item: &Result<Item, HintError>) -> bool {
    matches!(item, Ok(Item::Block(_)))
}

/// Makes blocks of groups; one that is no block is an error in its place.
fn items_of(groups: &[tokens::Group]) -> Result<Vec<Result<Item, HintError>>, HintError> {
    let mut items = Vec::new();
    for group in groups {
        let block = items.len() + 1;
        let signs: usize = group.units.iter().map(Unit::len).sum();
        let is_unknown = group
            .units
            .iter()
            .all(|unit| matches!(unit, Unit::Place(set) if *set == DigitSet::ANY));
        if is_unknown && signs < DIGITS {
            items.push(Ok(Item::Gap));
        } else if signs > SIGNS_MAX && signs.is_multiple_of(DIGITS) {
            let mut places: Pattern = Zeroizing::new(Vec::with_capacity(signs));
            for unit in group.units.iter() {
                match unit {
                    Unit::Place(set) => places.push(*set),
                    Unit::Either(_) => return Err(HintError::BlockLength { block, signs }),
                }
            }
            items.extend(
                places
                    .chunks(DIGITS)
                    .map(|block| Ok(Item::Block(BlockHint::of(block)))),
            );
        } else if signs > SIGNS_MAX {
            items.push(Err(match groups.len() {
                1 => HintError::RowLength { signs },
                _ => HintError::BlockLength { block, signs },
            }));
        } else {
            items.push(Ok(Item::Block(BlockHint {
                readings: readings_of(&group.units, block)?,
            })));
        }
    }
    Ok(items)
}

/// Writes out what a block may be where it has alternatives.
fn readings_of(units: &[Unit], block: usize) -> Result<Vec<Pattern>, HintError> {
    let mut readings: Vec<Pattern> = vec![Zeroizing::new(Vec::with_capacity(2 * SIGNS_MAX))];
    for unit in units {
        match unit {
            Unit::Place(set) => readings.iter_mut().for_each(|reading| reading.push(*set)),
            Unit::Either(alternatives) => {
                if readings.len().saturating_mul(alternatives.len()) > READINGS_MAX {
                    return Err(HintError::TooManyReadings { block });
                }
                let mut longer = Vec::with_capacity(readings.len() * alternatives.len());
                for reading in &readings {
                    for alternative in alternatives {
                        let mut one: Pattern = Zeroizing::new(Vec::with_capacity(2 * SIGNS_MAX));
                        one.extend_from_slice(reading);
                        one.extend_from_slice(alternative);
                        longer.push(one);
                    }
                }
                readings = longer;
            }
        }
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The recovery key of image df-recovery_password, format spec 9.3.
    const REAL: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

    fn shown(text: &str) -> String {
        let hint = Hint::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let blocks: Vec<String> = hint
            .blocks
            .iter()
            .map(|block| {
                let mut text = String::new();
                block.write_to(&mut text, true);
                text
            })
            .collect();
        match hint.placements.as_slice() {
            [] => "row".to_owned(),
            [only] => only
                .map(|block| block.map_or("-", |i| blocks[i].as_str()))
                .join(" "),
            several => format!("{} placements of {}", several.len(), blocks.join(" ")),
        }
    }

    #[test]
    fn whole_keys_in_any_form_are_eight_blocks() {
        let plain = REAL.replace('-', " ");
        for text in [
            REAL.to_owned(),
            plain.clone(),
            REAL.replace('-', ""),
            REAL.replace('-', "_"),
            REAL.replace('-', " - "),
            REAL.replace('-', "/"),
            REAL.replace('-', ".\n"),
            REAL.replacen('-', " ", 3),
            REAL.replace('2', "\u{FF12}").replace('-', "\u{2013}"),
            "2848 675 96541 514 998 422114 660297 261613 215424 199408".to_owned(),
        ] {
            assert_eq!(shown(&text), plain, "{text}");
        }
    }

    #[test]
    fn places_that_cannot_be_read() {
        for (written, block) in [
            ("5?4998", "5?4998"),
            ("5*4x98", "5?4?98"),
            ("5_4998", "5?4998"),
            ("5[17]4998", "5[17]4998"),
            ("5(1/7)4998", "5[17]4998"),
            ("5{1,7}4998", "5[17]4998"),
            ("5 1/7 4998", "5[17]4998"),
            ("5 maybe 7 or 1 4998", "5[17]4998"),
            ("51499 [0-3]", "51499[0123]"),
            ("5 (14 or 41) 998", "514998 or 541998"),
            ("maybe 514998 or 514993", "514998 or 514993"),
            ("S14gg8", "514998"),
            ("51499", "51499"),
            ("5149988", "5149988"),
            ("??????", "??????"),
            ("?", "-"),
            ("--", "-"),
            ("missing", "-"),
            ("------", "-"),
            ("", "-"),
        ] {
            let expected = REAL.replace('-', " ").replace("514998", block);
            assert_eq!(shown(&REAL.replace("514998", written)), expected, "{written}");
        }
        assert_eq!(
            shown("284867 596541 ? 422114 660297 261613 215424 199408"),
            REAL.replace('-', " ").replace("514998", "-")
        );
    }

    #[test]
    fn missing_blocks_are_placed_where_they_may_have_been() {
        let placements = |text: &str| Hint::parse(text).expect("a hint").placements.len();
        assert_eq!(placements(&REAL["284867-".len()..]), 8);
        assert_eq!(placements(&REAL["284867-596541-".len()..]), 28);
        assert_eq!(placements(&REAL["284867".len()..]), 1);
        assert_eq!(placements("284867-596541-...-660297"), 1);
        assert_eq!(placements("284867-...-596541-...-660297"), 4);
        assert_eq!(placements("284867"), 8);
        assert_eq!(shown(&REAL.replace('-', "")[..42]).split(' ').next(), Some("8"));
        let run = REAL.replace('-', "");
        assert_eq!(shown(&run[1..]), "row");
        assert_eq!(shown(&format!("{run}8")), "row");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |text: &str| Hint::parse(text).expect_err(text);
        assert_eq!(error(""), HintError::NothingKnown);
        assert_eq!(error("?-?-??????"), HintError::NothingKnown);
        assert_eq!(
            error("284867-596541-hello"),
            HintError::NotUnderstood {
                position: 15,
                block: 3
            }
        );
        assert_eq!(
            error("284867-5965[41"),
            HintError::Bracket {
                position: 12,
                block: 2
            }
        );
        assert_eq!(
            error("284867-5965[]41"),
            HintError::Bracket {
                position: 12,
                block: 2
            }
        );
        assert_eq!(
            error("284867-or-5"),
            HintError::Or {
                position: 8,
                block: 2
            }
        );
        assert_eq!(
            error("284867-123456789"),
            HintError::BlockLength { block: 2, signs: 9 }
        );
        assert_eq!(error("12345678901"), HintError::RowLength { signs: 11 });
        assert_eq!(
            error(&format!("{REAL}-{REAL}")),
            HintError::TooManyBlocks { blocks: 16 }
        );
        assert_eq!(error(&"1".repeat(5000)), HintError::TooLong);
        assert_eq!(
            error("[1,22]"),
            HintError::Or {
                position: 1,
                block: 1
            },
            "alternatives of different length"
        );
        assert_eq!(
            error("(12,21)(12,21)(12,21)(12,21,13)(12,21)(12,21)(12,21)"),
            HintError::RowLength { signs: 14 }
        );
    }

    #[test]
    fn a_key_is_found_in_the_file_that_windows_saves() {
        let text = format!(
            "BitLocker Drive Encryption recovery key\r\n\r\nIdentifier:\r\n\r\n\
             \t64311DEA-1111-2222-3333-123456789012\r\n\r\nRecovery Key:\r\n\r\n\t{}\r\n",
            REAL.replace("514998", "51?998")
        );
        let hint = Hint::find(&text).expect("a hint");
        assert_eq!(hint.placements.len(), 1);
        assert_eq!(hint.known_digits(), 47);
        assert_eq!(
            Hint::find(&format!("Key: {REAL}"))
                .expect("a hint")
                .known_digits(),
            48
        );
        assert!(matches!(
            Hint::find("nothing here"),
            Err(HintError::NotUnderstood { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_text_is_survived(text in "[0-9?*x\\-_/|,. \\[\\](){}…ormaybelO٣２\n]{0,80}") {
            let _ = Hint::find(&text);
            if let Ok(hint) = Hint::parse(&text) {
                prop_assert!(hint.placements.len() <= 128);
                prop_assert!(hint.blocks.len() <= BLOCKS);
                let _ = hint.canonical();
            }
        }
    }
}
