//! What was used last, kept within a limit.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, of which those used longest ago give way when together they weigh more than a limit.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    kept: HashMap<K, Kept<V>>,
    weight: u64,
    weight_max: u64,
    clock: u64,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    weight: u64,
    used: u64,
}

impl<K: Copy + Eq + Hash, V: Clone> Recent<K, V> {
    /// Makes an empty store that holds up to `weight_max`.
    pub(super) fn new(weight_max: u64) -> Self {
        Self {
            kept: HashMap::new(),
            weight: 0,
            weight_max,
            clock: 0,
        }
    }

    /// Returns the value of a key, which thereby counts as used now.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let kept = self.kept.get_mut(key)?;
        kept.used = self.clock;
        Some(kept.value.clone())
    }

    /// Keeps a value; one that is too heavy alone is kept without others.
    pub(super) fn insert(&mut self, key: K, value: V, weight: u64) {
        if let Some(before) = self.kept.remove(&key) {
            self.weight -= before.weight;
        }
        if self.weight.saturating_add(weight) > self.weight_max {
            self.make_room(weight);
        }
        self.clock += 1;
        self.weight = self.weight.saturating_add(weight);
        let used = self.clock;
        self.kept.insert(key, Kept { value, weight, used });
    }

    /// Lets go of the oldest, and of some more: looking for them costs the same for one as for many.
    fn make_room(&mut self, weight: u64) {
        let mut by_age: Vec<(u64, K)> = self.kept.iter().map(|(key, kept)| (kept.used, *key)).collect();
        by_age.sort_unstable_by_key(|(used, _)| *used);
        let aim = self.weight_max - self.weight_max / 4;
        for (_, key) in by_age {
            if self.weight.saturating_add(weight) <= aim {
                break;
            }
            if let Some(gone) = self.kept.remove(&key) {
                self.weight -= gone.weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_longest_ago_gives_way() {
        let mut recent = Recent::new(3);
        recent.insert(1, "one", 1);
        recent.insert(2, "two", 1);
        recent.insert(3, "three", 1);
        assert_eq!(recent.get(&1), Some("one"));
        recent.insert(4, "four", 1);
        assert_eq!(recent.get(&2), None);
        assert_eq!(recent.get(&1), Some("one"));
        recent.insert(5, "heavy", 100);
        assert_eq!(recent.get(&5), Some("heavy"));
        assert_eq!(recent.kept.len(), 1);
        recent.insert(5, "lighter", 1);
        assert_eq!(recent.weight, 1);
    }
}
