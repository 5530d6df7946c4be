//! How a block comes to be written wrong, and how likely each way is.

use keyhaven_fve::keys::look_alike;
use zeroize::Zeroizing;

use super::digits::{DIGITS, DigitSet, Pattern};

/// How far a block is from what was written: 0 is "as written", and each step is several times less likely.
///
/// The steps of several blocks, and of their order, add up.
pub(super) type Cost = u8;

/// One digit taken for its look-alike, two neighbours swapped; in a block of five or seven digits, one left out or typed
/// twice that has no equal beside it.
const SLIP: Cost = 1;

/// One wrong digit.
const WRONG_DIGIT: Cost = 2;

/// Two slips; or a digit left out and another typed twice, so that those between have moved by one.
const TWO_SLIPS: Cost = 3;

/// Two wrong digits, or a slip and a wrong digit.
const TWO_WRONG: Cost = 4;

/// Nothing of the block is as it was written.
pub(super) const LOST: Cost = 6;

/// The steps that blocks differ by, in order.
pub(super) const COSTS: [Cost; 6] = [0, SLIP, WRONG_DIGIT, TWO_SLIPS, TWO_WRONG, LOST];

/// What the costs from one on are called in front of a person, by their sum.
pub(super) fn describe(cost: Cost) -> &'static str {
    match cost {
        0 => "what was written",
        1 => {
            "one look-alike digit (1/7, 3/8, 5/6, 0/8), two neighbours swapped, or a digit dropped or doubled"
        }
        2 => "one wrong digit, or two blocks exchanged, or all of them rotated",
        3 => "two slips, or one block in another place",
        4 => "two wrong digits",
        5 => "three slips",
        6 => "one block that is wrong altogether",
        _ => "still more slips",
    }
}

/// Returns how far a block is from what was written, of all the ways to read that; a block of which nothing was written
/// is everything at once.
pub(super) fn cost(digits: &[u8; DIGITS], readings: &[Pattern]) -> Cost {
    readings
        .iter()
        .map(|reading| match reading.len() {
            DIGITS => whole(digits, reading),
            5 => dropped(digits, reading),
            7 => doubled(digits, reading),
            shorter if shorter < DIGITS => fits_within(digits, reading, LOST),
            _ => within_fits(digits, reading, LOST),
        })
        .min()
        .unwrap_or(0)
}

/// Calls `found` with patterns of six places that all values fit which are nearer to a reading than [`LOST`], and some
/// others: what is not among them need not be looked at.
pub(super) fn each_near(reading: &Pattern, found: &mut impl FnMut(&[DigitSet])) {
    let mut with_any = |pattern: &Pattern, places: &[usize]| {
        let mut own: Pattern = Zeroizing::new(pattern.to_vec());
        for place in places {
            if let Some(set) = own.get_mut(*place) {
                *set = DigitSet::ANY;
            }
        }
        found(&own);
    };
    match reading.len() {
        DIGITS => {
            for i in 0..DIGITS {
                let shorter = without(reading, i);
                for j in 0..DIGITS {
                    with_any(reading, &[i, j]);
                    with_any(&with(&shorter, j, DigitSet::ANY), &[]);
                    if i + 1 < DIGITS {
                        let mut swapped: Pattern = Zeroizing::new(reading.to_vec());
                        swapped.swap(i, i + 1);
                        with_any(&swapped, &[j]);
                    }
                }
            }
        }
        shorter if shorter < DIGITS => {
            // With one left out another may be wrong.
            let spare = usize::from(shorter + 1 == DIGITS);
            each_longer(reading, &mut |six| {
                (0..=spare * (DIGITS - 1)).for_each(|i| match spare {
                    0 => with_any(six, &[]),
                    _ => with_any(six, &[i]),
                })
            });
        }
        longer => {
            let spare = usize::from(longer == DIGITS + 1);
            each_shorter(reading, &mut |six| {
                (0..=spare * (DIGITS - 1)).for_each(|i| match spare {
                    0 => with_any(six, &[]),
                    _ => with_any(six, &[i]),
                })
            });
        }
    }
}

fn each_longer(pattern: &Pattern, found: &mut dyn FnMut(&Pattern)) {
    if pattern.len() >= DIGITS {
        return found(pattern);
    }
    for at in 0..=pattern.len() {
        each_longer(&with(pattern, at, DigitSet::ANY), found);
    }
}

fn each_shorter(pattern: &Pattern, found: &mut dyn FnMut(&Pattern)) {
    if pattern.len() <= DIGITS {
        return found(pattern);
    }
    for at in 0..pattern.len() {
        each_shorter(&without(pattern, at), found);
    }
}

fn with(pattern: &Pattern, at: usize, set: DigitSet) -> Pattern {
    let mut longer = Zeroizing::new(Vec::with_capacity(pattern.len() + 1));
    longer.extend(pattern.iter().take(at));
    longer.push(set);
    longer.extend(pattern.iter().skip(at));
    longer
}

fn without(pattern: &Pattern, at: usize) -> Pattern {
    let rest = pattern.iter().enumerate().filter(|(i, _)| *i != at);
    Zeroizing::new(rest.map(|(_, set)| *set).collect())
}

fn whole(digits: &[u8; DIGITS], reading: &[DigitSet]) -> Cost {
    let mut wrong = [0; DIGITS];
    let mut count = 0;
    for (i, (digit, set)) in digits.iter().zip(reading).enumerate() {
        if !set.contains(*digit) {
            if let Some(slot) = wrong.get_mut(count) {
                *slot = i;
            }
            count += 1;
        }
    }
    let taken_for_another = |i: usize| match (digits.get(i), reading.get(i).and_then(|set| set.known())) {
        (Some(digit), Some(written)) => look_alike(*digit, written),
        _ => false,
    };
    let swapped = |i: usize, j: usize| match (digits.get(i), digits.get(j), reading.get(i), reading.get(j)) {
        (Some(a), Some(b), Some(at_a), Some(at_b)) => at_a.contains(*b) && at_b.contains(*a),
        _ => false,
    };
    match (count, wrong) {
        (0, _) => 0,
        (1, [i, ..]) if taken_for_another(i) => SLIP,
        (1, _) => WRONG_DIGIT,
        (2, [i, j, ..]) if j == i + 1 && swapped(i, j) => SLIP,
        (2, [i, j, ..]) if swapped(i, j) || (taken_for_another(i) && taken_for_another(j)) => TWO_SLIPS,
        _ if has_moved(digits, reading) => TWO_SLIPS,
        (2, _) => TWO_WRONG,
        (3 | 4, _) if is_one_from_swapped(digits, reading) => TWO_WRONG,
        _ => LOST,
    }
}

/// Tells whether a digit was left out and another typed twice: without them both are the same.
fn has_moved(digits: &[u8; DIGITS], reading: &[DigitSet]) -> bool {
    let fits = |digit: Option<&u8>, set: Option<&DigitSet>| match (digit, set) {
        (Some(digit), Some(set)) => set.contains(*digit),
        _ => false,
    };
    (0..DIGITS).any(|from| {
        (0..DIGITS).any(|to| {
            from != to
                && (0..DIGITS - 1).all(|i| {
                    fits(
                        digits.get(i + usize::from(i >= from)),
                        reading.get(i + usize::from(i >= to)),
                    )
                })
        })
    })
}

fn is_one_from_swapped(digits: &[u8; DIGITS], reading: &[DigitSet]) -> bool {
    (0..DIGITS - 1).any(|i| {
        let mut back = *digits;
        back.swap(i, i + 1);
        back.iter()
            .zip(reading)
            .filter(|(digit, set)| !set.contains(**digit))
            .count()
            <= 1
    })
}

/// Five places: one digit was left out.
fn dropped(digits: &[u8; DIGITS], reading: &[DigitSet]) -> Cost {
    let mut best = LOST;
    for gone in 0..DIGITS {
        let rest = digits
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != gone)
            .map(|(_, digit)| digit);
        let wrong = rest
            .zip(reading)
            .filter(|(digit, set)| !set.contains(**digit))
            .count();
        let has_equal_neighbour = (gone > 0 && digits.get(gone - 1) == digits.get(gone))
            || digits.get(gone) == digits.get(gone + 1);
        best = best.min(match wrong {
            0 if has_equal_neighbour => 0,
            0 => SLIP,
            1 => TWO_WRONG,
            _ => LOST,
        });
    }
    best
}

/// Seven places: one digit was typed twice, or one that does not belong there.
fn doubled(digits: &[u8; DIGITS], reading: &[DigitSet]) -> Cost {
    let mut best = LOST;
    for extra in 0..=DIGITS {
        let rest = reading
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != extra)
            .map(|(_, set)| set);
        let wrong = digits
            .iter()
            .zip(rest)
            .filter(|(digit, set)| !set.contains(**digit))
            .count();
        let is_double = extra > 0 && reading.get(extra - 1) == reading.get(extra);
        best = best.min(match wrong {
            0 if is_double => 0,
            0 => SLIP,
            1 => TWO_WRONG,
            _ => LOST,
        });
    }
    best
}

/// Fewer places: some digits were left out, nobody knows which.
fn fits_within(digits: &[u8; DIGITS], reading: &[DigitSet], otherwise: Cost) -> Cost {
    let mut places = reading.iter().peekable();
    for digit in digits {
        places.next_if(|set| set.contains(*digit));
    }
    if places.peek().is_none() { 0 } else { otherwise }
}

/// More places: some digits do not belong there.
fn within_fits(digits: &[u8; DIGITS], reading: &[DigitSet], otherwise: Cost) -> Cost {
    let mut own = digits.iter().peekable();
    for set in reading {
        own.next_if(|digit| set.contains(**digit));
    }
    if own.peek().is_none() { 0 } else { otherwise }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::digits::{digits_of, each_match};
    use super::*;

    fn digits(text: &str) -> [u8; DIGITS] {
        let digits: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
        digits.try_into().expect("six digits")
    }

    fn of(meant: &str, written: &[&str]) -> Cost {
        let reading = |text: &&str| {
            Zeroizing::new(
                text.chars()
                    .map(|sign| DigitSet::of(sign).expect("a digit"))
                    .collect::<Vec<_>>(),
            )
        };
        cost(&digits(meant), &written.iter().map(reading).collect::<Vec<_>>())
    }

    #[test]
    fn each_slip_has_its_cost() {
        for (written, expected) in [
            ("514998", 0),
            ("??????", 0),
            ("51499?", 0),
            ("574998", SLIP),
            ("514993", SLIP),
            ("154998", SLIP),
            ("514989", SLIP),
            ("514991", WRONG_DIGIT),
            ("574993", TWO_SLIPS),
            ("594198", TWO_SLIPS),
            ("511498", TWO_WRONG.min(TWO_SLIPS)),
            ("514397", TWO_WRONG),
            ("154991", TWO_WRONG),
            ("284867", LOST),
            ("51498", 0),
            ("54998", SLIP),
            ("54991", TWO_WRONG),
            ("11111", LOST),
            ("5114998", 0),
            ("5124998", SLIP),
            ("5124991", TWO_WRONG),
            ("1111111", LOST),
            ("5998", 0),
            ("8995", LOST),
            ("51049980", 0),
            ("51049090", LOST),
        ] {
            assert_eq!(of("514998", &[written]), expected, "{written}");
        }
        assert_eq!(of("514998", &[]), 0);
        assert_eq!(of("514998", &["284867", "574998"]), SLIP);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn nothing_near_is_overlooked(places in prop::collection::vec(0u8..12, 3..=8), many: [u16; 32]) {
            let reading: Pattern = Zeroizing::new(
                places.iter().map(|digit| if *digit > 9 { DigitSet::ANY } else { DigitSet::one(*digit) }).collect(),
            );
            let mut near = vec![false; 1 << 16];
            each_near(&reading, &mut |pattern| {
                each_match(pattern, &mut |value| near[usize::from(value)] = true);
            });
            let readings = [reading];
            for value in many.into_iter().chain((0..=u16::MAX).step_by(7)) {
                let is_near = cost(&digits_of(value), &readings) < LOST;
                prop_assert!(near[usize::from(value)] || !is_near, "{}", value);
            }
        }
    }
}
