//! All values of one block, the likeliest first.

use keyhaven_crypto::SecretBytes;
use zeroize::Zeroizing;

use super::digits::{DIGITS, DigitSet, VALUES, digits_of, each_match, union_of};
use super::hint::BlockHint;
use super::slips::{COSTS, Cost, LOST, cost, each_near};

/// The values of a block, in levels of equal likelihood. Every value is in exactly one of them.
pub(super) struct Choices {
    levels: Vec<Level>,
    /// Whether a single slip cannot be seen in it, because it is a block as it should be.
    pub(super) is_well_formed: bool,
    /// Whether no digit was left out or typed twice.
    has_six_places: bool,
}

struct Level {
    cost: Cost,
    values: Values,
}

/// Values of a block in rising order, where no swap and no core dump finds them.
struct Values(SecretBytes);

impl Values {
    fn of(values: &[u16]) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(values.len() * 2));
        for value in values {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Self(SecretBytes::copy_of(&bytes))
    }

    fn all(&self) -> &[[u8; 2]] {
        self.0.expose_secret().as_chunks().0
    }

    fn get(&self, index: usize) -> Option<u16> {
        self.all().get(index).map(|pair| u16::from_le_bytes(*pair))
    }

    fn contains(&self, value: u16) -> bool {
        self.all()
            .binary_search_by_key(&value, |pair| u16::from_le_bytes(*pair))
            .is_ok()
    }

    fn iter(&self) -> impl Iterator<Item = u16> {
        self.all().iter().map(|pair| u16::from_le_bytes(*pair))
    }
}

impl Choices {
    /// Ranks all values by how likely a block is meant that was written so; of a missing one, all are alike.
    pub(super) fn of(block: Option<&BlockHint>) -> Self {
        let readings = block.map_or(&[][..], |block| &block.readings);
        let mut by_cost: [Zeroizing<Vec<u16>>; COSTS.len()] =
            std::array::from_fn(|_| Zeroizing::new(Vec::with_capacity(VALUES as usize)));
        let mut is_near: Zeroizing<Vec<bool>> = Zeroizing::new(vec![readings.is_empty(); VALUES as usize]);
        for reading in readings {
            each_near(reading, &mut |pattern| {
                each_match(pattern, &mut |value| {
                    if let Some(near) = is_near.get_mut(usize::from(value)) {
                        *near = true;
                    }
                });
            });
        }
        for (value, is_near) in (0..=u16::MAX).zip(is_near.iter()) {
            let cost = if *is_near {
                cost(&digits_of(value), readings)
            } else {
                LOST
            };
            let level = COSTS.iter().position(|own| *own == cost);
            if let Some(level) = level.and_then(|level| by_cost.get_mut(level)) {
                level.push(value);
            }
        }
        let levels = COSTS
            .into_iter()
            .zip(&by_cost)
            .filter(|(_, values)| !values.is_empty());
        let levels = levels.map(|(cost, values)| Level {
            cost,
            values: Values::of(values),
        });
        let mut as_written = 0;
        if let [reading] = readings {
            each_match(reading, &mut |_| as_written += 1);
        }
        Self {
            levels: levels.collect(),
            is_well_formed: as_written == 1,
            has_six_places: readings.iter().any(|reading| reading.len() == DIGITS),
        }
    }

    /// Returns for each level what it costs and how many values it has.
    pub(super) fn levels(&self) -> impl Iterator<Item = (Cost, u32)> {
        self.levels.iter().map(|level| {
            (
                level.cost,
                u32::try_from(level.values.all().len()).unwrap_or(VALUES),
            )
        })
    }

    /// Returns a value by its level and its place there.
    pub(super) fn value(&self, level: usize, index: usize) -> Option<u16> {
        self.levels.get(level)?.values.get(index)
    }

    /// Returns what a value costs.
    pub(super) fn cost_of(&self, value: u16) -> Cost {
        let found = self.levels.iter().find(|level| level.values.contains(value));
        found.map_or(Cost::MAX, |level| level.cost)
    }

    /// Tells whether a value is one that was written.
    pub(super) fn is_as_written(&self, value: u16) -> bool {
        self.has_six_places && self.cost_of(value) == 0
    }

    /// Returns the digits that the likeliest values have in each place.
    pub(super) fn likeliest_digits(&self) -> [DigitSet; DIGITS] {
        union_of(self.likeliest())
    }

    /// Returns the likeliest values.
    pub(super) fn likeliest(&self) -> impl Iterator<Item = u16> {
        self.levels
            .first()
            .into_iter()
            .flat_map(|level| level.values.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::super::hint::Hint;
    use super::*;

    fn of(text: &str) -> Choices {
        Choices::of(Hint::parse(text).expect("a hint").blocks.first())
    }

    #[test]
    fn every_value_is_in_one_level() {
        for text in ["514998", "514996", "51499", "5149988", "5?4998", "[15]????8"] {
            let choices = of(text);
            assert_eq!(
                choices.levels().map(|(_, count)| count).sum::<u32>(),
                VALUES,
                "{text}"
            );
            for value in [0, 1, 46_818, 46_817, u16::MAX] {
                let places = (0..COSTS.len()).filter(|level| {
                    (0..)
                        .map_while(|i| choices.value(*level, i))
                        .any(|own| own == value)
                });
                assert_eq!(places.count(), 1, "{text}");
            }
        }
        assert_eq!(Choices::of(None).levels().collect::<Vec<_>>(), [(0, VALUES)]);
    }

    #[test]
    fn a_wrong_check_narrows_a_block_to_a_handful() {
        // 514998 with the last digit taken for another.
        let levels: Vec<_> = of("514996").levels().collect();
        assert_eq!(levels.first().map(|(cost, _)| *cost > 0), Some(true));
        let few: u32 = levels
            .iter()
            .filter(|(cost, _)| *cost <= 2)
            .map(|(_, count)| count)
            .sum();
        assert!((1..=12).contains(&few), "{levels:?}");
        assert!(of("514998").is_well_formed);
        assert!(!of("514996").is_well_formed);
        assert!(!of("?????8").is_well_formed);
    }
}
