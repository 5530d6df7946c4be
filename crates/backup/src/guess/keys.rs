//! The recovery keys that may have been meant, likeliest first.
//!
//! A key is eight values in some order of the blocks. The values of each block lie in levels of equal likelihood
//! ([`Choices`]), so all keys lie in cells: one level for each block, in one order. A cell is as large as the product of
//! its levels, and a key in it is found by its number. Beside the cells there are keys that come out when digits moved
//! over the ends of blocks ([`Shifts`]). Cells and shifts are sorted by what they cost, which is how unlikely they are;
//! a key that several of them have counts where it comes first.

use keyhaven_crypto::Secret;
use keyhaven_fve::keys::{BLOCKS, RecoveryPassword};
use zeroize::Zeroizing;

use super::candidates::Candidates;
use super::choices::Choices;
use super::digits::{DIGITS, VALUES};
use super::hint::Hint;
use super::order::{self, Order};
use super::shifts::{Blocks, Shifts};
use super::slips::{self, Cost};

/// What is less likely than the likeliest by more than this is not a candidate: it would be most keys there are.
const SLACK: Cost = 8;

/// What a single slip that moved all later digits costs where blocks were written, and two of them.
const MOVED_BY_ONE: Cost = 1;
const MOVED_WITHIN: Cost = 3;

/// The keys that may have been meant.
pub struct KeyGuesses {
    /// For each of eight slots (the blocks as they were written, then the missing ones) its values.
    slots: Vec<Choices>,
    /// How many of the slots were written; one more stands for all that are missing.
    written: usize,
    arrangements: Vec<Arrangement>,
    cells: Vec<Cell>,
    shifts: Vec<(Cost, Shifts)>,
    segments: Vec<Segment>,
    stages: Vec<Stage>,
    positions: u128,
}

/// An order of the slots.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Arrangement {
    cost: Cost,
    /// For each of the eight places its slot.
    slots: Order,
}

/// One level for each slot.
struct Cell {
    cost: Cost,
    levels: [u8; BLOCKS],
    count: u128,
}

/// A run of positions.
struct Segment {
    cost: Cost,
    start: u128,
    keys: Run,
}

#[derive(Clone, Copy)]
enum Run {
    Cell { arrangement: usize, cell: usize },
    Shifts(usize),
}

/// Guesses that are about equally likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// What is taken to have happened, for a person.
    pub about: &'static str,
    /// How many positions it has.
    pub candidates: u128,
    /// Whether it is among those that are tried: those before it may have used up what was allowed.
    pub is_tried: bool,
}

/// Why nothing can be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "too many digits cannot be read for a digit to be missing or doubled somewhere: say in which block it is"
)]
pub struct TooLittleKnown;

/// What a person could find out to make a search shorter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Help {
    /// A digit that cannot be read.
    Digit {
        /// The block, counted from 1.
        block: usize,
        /// The digit in it, counted from 1.
        digit: usize,
        /// How many times shorter the search for what was written is with it, on the average.
        times: f64,
    },
    /// Which of the blocks are missing.
    MissingBlocks {
        /// How many times shorter the search is then.
        times: f64,
    },
    /// A block that cannot be right as it was written.
    LookAgain {
        /// The block, counted from 1.
        block: usize,
    },
}

/// How one block was understood.
pub struct UnderstoodBlock {
    /// Its number, counted from 1; `None` where it is not known which blocks are missing.
    pub number: Option<usize>,
    /// What was written, or dots for its digits, or that it is missing. It is part of a secret.
    pub text: Zeroizing<String>,
    /// How many values it may have if nothing in it is wrong.
    pub candidates: u32,
    /// Whether something in it must be wrong.
    pub is_mistyped: bool,
}

impl KeyGuesses {
    /// Orders the keys that may have been meant. After the likeliest stage, further ones are tried as long as all
    /// together have no more than `most` positions.
    ///
    /// # Errors
    /// [`TooLittleKnown`].
    pub fn new(hint: &Hint, most: u128) -> Result<Self, TooLittleKnown> {
        let written = hint.blocks.len();
        let mut slots: Vec<Choices> = hint.blocks.iter().map(|block| Choices::of(Some(block))).collect();
        if written < BLOCKS && !hint.placements.is_empty() {
            slots.push(Choices::of(None));
        }
        let shifts = shifts_of(hint);
        if hint.placements.is_empty() && shifts.is_empty() {
            return Err(TooLittleKnown);
        }
        let mut guesses = Self {
            slots,
            written,
            arrangements: arrangements_of(hint),
            cells: Vec::new(),
            shifts,
            segments: Vec::new(),
            stages: Vec::new(),
            positions: 0,
        };
        if !guesses.arrangements.is_empty() {
            guesses.find_cells(0, 0, [0; BLOCKS], 1);
            guesses.cells.sort_by_key(|cell| cell.cost);
        }
        guesses.lay_out(most);
        Ok(guesses)
    }

    /// Returns the stages in their order, also those that are not tried.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Tells whether all eight blocks are as a key's should be: nothing points to a slip.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.written == BLOCKS && self.slots.iter().all(|slot| slot.is_well_formed)
    }

    /// Shows how the blocks were understood, with their digits or with dots for them.
    #[must_use]
    pub fn understood(&self, hint: &Hint, with_digits: bool) -> Vec<UnderstoodBlock> {
        let mut understood = Vec::new();
        for (i, (block, choices)) in hint.blocks.iter().zip(&self.slots).enumerate() {
            let mut text = Zeroizing::new(String::with_capacity(512));
            block.write_to(&mut text, with_digits);
            let (cost, candidates) = choices.levels().next().unwrap_or((0, 0));
            let has_six = block.readings.iter().any(|reading| reading.len() == DIGITS);
            understood.push(UnderstoodBlock {
                number: self.number_of(i),
                text,
                candidates: if cost == 0 { candidates } else { 0 },
                is_mistyped: cost > 0 || !has_six,
            });
        }
        for place in self.missing_places() {
            understood.push(UnderstoodBlock {
                number: Some(place),
                text: Zeroizing::new("missing".to_owned()),
                candidates: VALUES,
                is_mistyped: false,
            });
        }
        understood.sort_by_key(|block| block.number);
        understood
    }

    /// Returns the numbers of the blocks, counted from 1, that are not as they were written.
    #[must_use]
    pub fn corrected(&self, key: &RecoveryPassword) -> Vec<usize> {
        let Some(first) = self.arrangements.first().filter(|_| !self.is_gap_unknown()) else {
            return Vec::new();
        };
        let pairs = key.key().expose_secret().as_chunks().0;
        let values = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
        let places = values.zip(first.slots).enumerate();
        let differs = |(_, (value, slot)): &(usize, (u16, usize))| {
            self.slot(*slot).is_some_and(|own| !own.is_as_written(*value))
        };
        places.filter(differs).map(|(place, _)| place + 1).collect()
    }

    /// Returns what would make the search shorter, the best first.
    #[must_use]
    pub fn helps(&self) -> Vec<Help> {
        let mut helps: Vec<(f64, Help)> = Vec::new();
        if self.is_gap_unknown() {
            let times = self.arrangements.len() as f64;
            helps.push((times, Help::MissingBlocks { times }));
        }
        let missing = self
            .slots
            .get(self.written)
            .map(|missing| (missing, self.missing_places()));
        let known_places = self.slots.iter().take(self.written).enumerate();
        let numbered = known_places.filter_map(|(i, choices)| Some((choices, self.number_of(i)?)));
        let of_missing = missing
            .into_iter()
            .flat_map(|(choices, places)| places.into_iter().map(move |place| (choices, place)));
        for (choices, block) in numbered.chain(of_missing) {
            if choices.levels().next().is_some_and(|(cost, _)| cost > 0) {
                helps.push((1.0, Help::LookAgain { block }));
            } else if let Some((digit, times)) = best_digit(choices) {
                helps.push((times, Help::Digit { block, digit, times }));
            }
        }
        helps.sort_by(|a, b| b.0.total_cmp(&a.0));
        helps.into_iter().map(|(_, help)| help).collect()
    }

    fn is_gap_unknown(&self) -> bool {
        self.written < BLOCKS && self.arrangements.iter().filter(|one| one.cost == 0).count() > 1
    }

    /// Returns the number of a block that was written, where its place is known.
    fn number_of(&self, slot: usize) -> Option<usize> {
        if self.is_gap_unknown() {
            return None;
        }
        let first = self.arrangements.first()?;
        first
            .slots
            .iter()
            .position(|own| *own == slot)
            .map(|place| place + 1)
    }

    /// Returns the numbers of the missing blocks, where they are known.
    fn missing_places(&self) -> Vec<usize> {
        let first = self.arrangements.first().filter(|_| !self.is_gap_unknown());
        let places = first.map_or(&[][..], |first| &first.slots);
        let missing = places
            .iter()
            .enumerate()
            .filter(|(_, slot)| **slot >= self.written);
        missing.map(|(place, _)| place + 1).collect()
    }

    fn slot(&self, slot: usize) -> Option<&Choices> {
        // All missing blocks are alike.
        self.slots.get(slot.min(self.written))
    }

    /// Lists every choice of levels that is likely enough.
    fn find_cells(&mut self, slot: usize, cost: Cost, levels: [u8; BLOCKS], count: u128) {
        if slot == BLOCKS {
            self.cells.push(Cell { cost, levels, count });
            return;
        }
        let least_of = |slot: usize| {
            self.slot(slot)
                .and_then(|choices| choices.levels().next())
                .map_or(0, |(cost, _)| cost)
        };
        let least: Cost = (0..BLOCKS).map(least_of).sum();
        let still: Cost = (slot + 1..BLOCKS).map(least_of).sum();
        let of_slot: Vec<(Cost, u32)> = self
            .slot(slot)
            .map(|own| own.levels().collect())
            .unwrap_or_default();
        for (level, (own, values)) in (0_u8..).zip(of_slot) {
            if cost + own + still > least + SLACK {
                break;
            }
            let mut with_own = levels;
            if let Some(place) = with_own.get_mut(slot) {
                *place = level;
            }
            self.find_cells(
                slot + 1,
                cost + own,
                with_own,
                count.saturating_mul(values.into()),
            );
        }
    }

    /// Puts cells and shifts in their order and finds where the positions begin.
    fn lay_out(&mut self, most: u128) {
        let of_cells = self.cells.first().map(|cell| cell.cost);
        let of_shifts = self.shifts.iter().map(|(cost, _)| *cost).min();
        let Some(least) = of_cells.into_iter().chain(of_shifts).min() else {
            return;
        };
        let mut total = 0_u128;
        for cost in least..=least.saturating_add(SLACK) {
            let (before, start) = (self.segments.len(), total);
            for keys in self.runs_of(cost) {
                let count = self.len_of(keys);
                if count > 0 {
                    self.segments.push(Segment {
                        cost,
                        start: total,
                        keys,
                    });
                    total = total.saturating_add(count);
                }
            }
            if total == start {
                continue;
            }
            let is_tried = start == 0 || (total <= most && self.positions == start);
            self.stages.push(Stage {
                about: slips::describe(cost),
                candidates: total - start,
                is_tried,
            });
            if is_tried {
                self.positions = total;
            } else {
                self.segments.truncate(before);
            }
        }
    }

    /// Returns everything that costs exactly this, in its order: the blocks as they were written, what has moved, then
    /// the other orders.
    fn runs_of(&self, cost: Cost) -> Vec<Run> {
        let cells_of = |arrangement: usize| {
            let own = self
                .arrangements
                .get(arrangement)
                .and_then(|own| cost.checked_sub(own.cost));
            let (start, end) = own.map_or((0, 0), |own| {
                (
                    self.cells.partition_point(|cell| cell.cost < own),
                    self.cells.partition_point(|cell| cell.cost <= own),
                )
            });
            (start..end).map(move |cell| Run::Cell { arrangement, cell })
        };
        let mut runs: Vec<Run> = cells_of(0).collect();
        let shifts = self
            .shifts
            .iter()
            .enumerate()
            .filter(|(_, (own, _))| *own == cost);
        runs.extend(shifts.map(|(index, _)| Run::Shifts(index)));
        runs.extend((1..self.arrangements.len()).flat_map(cells_of));
        runs
    }

    fn len_of(&self, keys: Run) -> u128 {
        match keys {
            Run::Cell { cell, .. } => self.cells.get(cell).map_or(0, |cell| cell.count),
            Run::Shifts(index) => self
                .shifts
                .get(index)
                .map_or(0, |(_, shifts)| shifts.len() as u128),
        }
    }

    /// Returns the blocks of the key at a place of a segment.
    fn key_in(&self, keys: Run, mut index: u128) -> Option<Zeroizing<Blocks>> {
        let (arrangement, cell) = match keys {
            Run::Cell { arrangement, cell } => (self.arrangements.get(arrangement)?, self.cells.get(cell)?),
            Run::Shifts(shifts) => {
                let (_, shifts) = self.shifts.get(shifts)?;
                return shifts.get(usize::try_from(index).ok()?).map(Zeroizing::new);
            }
        };
        let mut by_slot = Zeroizing::new([0_u16; BLOCKS]);
        for (slot, (value, level)) in by_slot.iter_mut().zip(cell.levels).enumerate().rev() {
            let choices = self.slot(slot)?;
            let (_, count) = choices.levels().nth(level.into())?;
            let count = u128::from(count.max(1));
            *value = choices.value(level.into(), usize::try_from(index % count).ok()?)?;
            index /= count;
        }
        let mut blocks = Zeroizing::new([0_u16; BLOCKS]);
        for (block, slot) in blocks.iter_mut().zip(arrangement.slots) {
            *block = by_slot.get(slot).copied()?;
        }
        Some(blocks)
    }

    /// Tells whether a key comes earlier than where it was found.
    fn is_earlier(&self, key: &Blocks, cost: Cost, keys: Run) -> bool {
        let rank = |keys: Run| match keys {
            Run::Cell { arrangement: 0, .. } => 0,
            Run::Shifts(_) => 1,
            Run::Cell { arrangement, .. } => arrangement + 1,
        };
        let own = (cost, rank(keys));
        let by_shift = self.shifts.iter().enumerate().any(|(index, (cost, shifts))| {
            let other = (*cost, rank(Run::Shifts(index)));
            let is_before =
                other < own || (other == own && matches!(keys, Run::Shifts(found) if index < found));
            is_before && shifts.contains(key)
        });
        by_shift
            || self.arrangements.iter().enumerate().any(|(index, arrangement)| {
                let own_rank = rank(Run::Cell {
                    arrangement: index,
                    cell: 0,
                });
                if own_rank == own.1 {
                    return false;
                }
                let mut sum = arrangement.cost;
                for (value, slot) in key.iter().zip(arrangement.slots) {
                    // Past this it is not before what was found, whatever the other blocks are.
                    if (sum, own_rank) >= own {
                        return false;
                    }
                    sum = sum.saturating_add(self.slot(slot).map_or(Cost::MAX, |slot| slot.cost_of(*value)));
                }
                (sum, own_rank) < own
            })
    }
}

impl Candidates for KeyGuesses {
    type Guess = RecoveryPassword;

    fn positions(&self) -> u128 {
        self.positions
    }

    fn at(&self, position: u128) -> Option<RecoveryPassword> {
        if position >= self.positions {
            return None;
        }
        let after = self.segments.partition_point(|segment| segment.start <= position);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let key = self.key_in(segment.keys, position - segment.start)?;
        if self.is_earlier(&key, segment.cost, segment.keys) {
            return None;
        }
        Some(RecoveryPassword::from_key(Secret::init_with(|bytes| {
            for (pair, block) in bytes.as_chunks_mut().0.iter_mut().zip(key.iter()) {
                *pair = block.to_le_bytes();
            }
        })))
    }
}

impl std::fmt::Debug for KeyGuesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyGuesses({} positions, redacted)", self.positions)
    }
}

/// Returns the orders of the slots: where it is known which blocks are missing, all that are worth a try; else every
/// way in which they may be.
fn arrangements_of(hint: &Hint) -> Vec<Arrangement> {
    let of_placement = |placement: &[Option<usize>; BLOCKS], cost: Cost, order: &Order| {
        // Missing blocks are numbered in the order of their places, so that exchanging two of them changes nothing.
        let mut next_missing = hint.blocks.len();
        let slots = order.map(|place| match placement.get(place) {
            Some(Some(block)) => *block,
            _ => {
                next_missing += 1;
                next_missing - 1
            }
        });
        Arrangement { cost, slots }
    };
    let mut arrangements: Vec<Arrangement> = Vec::new();
    let mut add = |one: Arrangement| {
        if arrangements.iter().all(|known| known.slots != one.slots) {
            arrangements.push(one);
        }
    };
    match hint.placements.as_slice() {
        [only] => {
            for (cost, order) in order::all() {
                add(of_placement(only, cost, &order));
            }
        }
        several => {
            for placement in several {
                add(of_placement(placement, 0, &order::AS_WRITTEN));
            }
        }
    }
    arrangements
}

fn shifts_of(hint: &Hint) -> Vec<(Cost, Shifts)> {
    let Some(row) = &hint.row else { return Vec::new() };
    let in_order = |block: &super::hint::BlockHint| block.single().is_some_and(|one| one.len() == DIGITS);
    let has_blocks = !hint.placements.is_empty();
    let mut shifts = Vec::new();
    if row.len() == BLOCKS * DIGITS {
        if !hint.blocks.iter().all(in_order) {
            shifts.extend(Shifts::straight(row).map(|straight| (0, straight)));
        }
        shifts.extend(Shifts::of(row).map(|moved| (MOVED_WITHIN, moved)));
    } else {
        let cost = if has_blocks { MOVED_BY_ONE } else { 0 };
        shifts.extend(Shifts::of(row).map(|moved| (cost, moved)));
    }
    shifts
}

/// Returns the digit of a block that says most about it, and how much.
fn best_digit(choices: &Choices) -> Option<(usize, f64)> {
    let all = choices.likeliest().count() as f64;
    let unread = choices.likeliest_digits();
    let times = |digit: usize| {
        let mut counts = [0_u32; 10];
        for value in choices.likeliest() {
            let own = super::digits::digits_of(value).get(digit).copied().unwrap_or(0);
            if let Some(count) = counts.get_mut(usize::from(own)) {
                *count += 1;
            }
        }
        let squares: f64 = counts.iter().map(|count| f64::from(*count).powi(2)).sum();
        all * all / squares.max(1.0)
    };
    let readable = unread.iter().enumerate().filter(|(_, set)| set.count() > 1);
    readable
        .map(|(digit, _)| (digit + 1, times(digit)))
        .filter(|(_, times)| *times > 1.0)
        // The first of several that are as good.
        .fold(None, |best: Option<(usize, f64)>, one| match best {
            Some(best) if best.1 >= one.1 => Some(best),
            _ => Some(one),
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    // The recovery key of image df-recovery_password, format spec 9.3.
    const REAL: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

    fn guesses(text: &str) -> KeyGuesses {
        let hint = Hint::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        KeyGuesses::new(&hint, 20_000).expect("enough is known")
    }

    /// Returns how many guesses come before the key.
    fn rank_of(guesses: &KeyGuesses, key: &str) -> Option<usize> {
        let key = RecoveryPassword::parse(key).expect("a key");
        (0..guesses.positions())
            .filter_map(|position| guesses.at(position))
            .position(|guess| guess == key)
    }

    fn edited(at: usize, digit: char) -> String {
        REAL.chars()
            .enumerate()
            .map(|(i, sign)| if i == at { digit } else { sign })
            .collect()
    }

    #[test]
    fn every_wrong_digit_at_every_place_is_found_at_once() {
        for (at, sign) in REAL.char_indices().filter(|(_, sign)| sign.is_ascii_digit()) {
            let wrong = ['1', '8', '4', '7', '0', '3']
                .into_iter()
                .cycle()
                .skip(at)
                .find(|wrong| *wrong != sign);
            let written = edited(at, wrong.expect("another digit"));
            let rank = rank_of(&guesses(&written), REAL);
            assert!(rank.is_some_and(|rank| rank < 16), "{written}: {rank:?}");
        }
    }

    #[test]
    fn swaps_moves_and_drops_are_found_early() {
        let blocks: Vec<&str> = REAL.split('-').collect();
        let joined = |order: [usize; 8]| order.map(|i| blocks[i]).join("-");
        let run = REAL.replace('-', "");
        for (written, within) in [
            (REAL.to_owned(), 1),
            (REAL.replace("514998", "541998"), 8),
            (REAL.replace("514998", "51498"), 8),
            (REAL.replace("514998", "5114998"), 8),
            (REAL.replace("514998", "5149"), 2000),
            (joined([0, 1, 3, 2, 4, 5, 6, 7]), 100),
            (joined([7, 1, 2, 3, 4, 5, 6, 0]), 100),
            (joined([3, 4, 5, 6, 7, 0, 1, 2]), 200),
            (joined([0, 2, 3, 4, 5, 1, 6, 7]), 400),
            (joined([0, 4, 1, 5, 2, 6, 3, 7]), 200),
            (run[1..].to_owned(), 60),
            (run.replacen("514998", "5149988", 1), 60),
            (
                run.replacen("284867", "28486", 1)
                    .replacen("199408", "1994088", 1),
                500,
            ),
            (
                "28486-7596541-514998-422114-660297-261613-215424-199408".to_owned(),
                8,
            ),
            (joined([0, 1, 3, 2, 4, 5, 6, 7]).replace("215424", "215429"), 1500),
            (REAL.replace("514998", "5??998"), 12),
            (REAL.replace("514998", "maybe 514998 or 514993"), 3),
            (REAL.replace("284867", "284861").replace("199408", "199409"), 60),
        ] {
            let rank = rank_of(&guesses(&written), REAL);
            assert!(rank.is_some_and(|rank| rank < within), "{written}: {rank:?}");
        }
    }

    #[test]
    fn a_lost_block_is_counted_and_found_by_its_position() {
        let guesses = guesses(&REAL.replace("514998", "------"));
        assert_eq!(guesses.positions(), 65_536);
        let position = 46_818;
        let key = guesses.at(position).expect("each is new");
        assert_eq!(key.to_digits().expose_secret(), REAL);
        assert_eq!(guesses.missing_places(), [3]);
        let hint = Hint::parse(&REAL.replace("514998", "------")).expect("a hint");
        let numbers = guesses.understood(&hint, true);
        assert!(numbers.iter().map(|block| block.number).eq((1..=8).map(Some)));
        assert!(matches!(guesses.helps().first(), Some(Help::Digit { block: 3, times, .. }) if *times > 9.0));
    }

    #[test]
    fn a_block_that_is_missing_somewhere_has_eight_places() {
        let guesses = guesses(&REAL["284867-".len()..].replace("-514998", "-514998 "));
        assert_eq!(guesses.positions(), 8 * 65_536);
        assert!(matches!(
            guesses.helps().first(),
            Some(Help::Digit { .. } | Help::MissingBlocks { .. })
        ));
        assert!(guesses.helps().contains(&Help::MissingBlocks { times: 8.0 }));
    }

    #[test]
    fn two_lost_blocks_are_counted_and_more_do_not_overflow() {
        let two = guesses(&REAL.replace("514998", "?").replace("199408", "?"));
        assert_eq!(two.positions(), 1 << 32);
        let seven = guesses("284867-?-?-?-?-?-?-?");
        assert_eq!(seven.positions(), 1 << 112);
        assert!(seven.at((1 << 112) - 1).is_some());
    }

    #[test]
    fn what_would_help_is_said() {
        let helps = guesses(&REAL.replace("514998", "5???98")).helps();
        assert!(
            matches!(helps.as_slice(), [Help::Digit { block: 3, times, .. }] if *times > 5.0),
            "{helps:?}"
        );
        assert_eq!(
            guesses(&REAL.replace("514998", "514996")).helps(),
            [Help::LookAgain { block: 3 }]
        );
        assert!(guesses(REAL).is_well_formed() && guesses(REAL).helps().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]
        #[test]
        fn every_guess_is_made_once_and_all_of_a_cell_are(
            values: [u16; 8],
            slips in prop::collection::vec((0usize..55, 0u8..10), 0..3),
        ) {
            let key = RecoveryPassword::from_key(Secret::init_with(|bytes: &mut [u8; 16]| {
                for (pair, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *pair = value.to_le_bytes();
                }
            }));
            let mut written: Vec<u8> = key.to_digits().expose_secret().bytes().collect();
            for (at, digit) in slips {
                if written[at] != b'-' {
                    written[at] = b'0' + digit;
                }
            }
            let written = String::from_utf8(written).expect("ASCII");
            let hint = Hint::parse(&written).expect("a hint");
            let guesses = KeyGuesses::new(&hint, 3000).expect("enough is known");
            let mut seen = HashMap::new();
            let mut skipped = 0;
            for position in 0..guesses.positions().min(1500) {
                match guesses.at(position) {
                    Some(guess) => {
                        let before = seen.insert(guess.to_digits().expose_secret().to_owned(), position);
                        prop_assert_eq!(before, None);
                    }
                    None => skipped += 1,
                }
            }
            // Repeats are few: what is counted is what is tried.
            prop_assert!(skipped <= seen.len() / 2 + 60);
        }

        #[test]
        fn one_slip_in_any_key_is_found(values: [u16; 8], at in 0usize..48, by in 1u8..10) {
            let digits: Vec<u8> = values.iter().flat_map(|value| super::super::digits::digits_of(*value)).collect();
            let text = |digits: &[u8]| -> String { digits.iter().map(|digit| char::from(b'0' + digit)).collect() };
            let meant = text(&digits);
            let mut wrong = digits.clone();
            wrong[at] = (wrong[at] + by) % 10;
            prop_assert!(rank_of(&guesses(&text(&wrong)), &meant).is_some_and(|rank| rank < 16));
            if at % 6 < 5 && digits[at] != digits[at + 1] {
                let mut swapped = digits.clone();
                swapped.swap(at, at + 1);
                prop_assert!(rank_of(&guesses(&text(&swapped)), &meant).is_some_and(|rank| rank < 16));
            }
        }
    }
}
