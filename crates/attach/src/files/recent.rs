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
        while self.weight.saturating_add(weight) > self.weight_max {
            let Some(oldest) = self
                .kept
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(key, _)| *key)
            else {
                break;
            };
            if let Some(gone) = self.kept.remove(&oldest) {
                self.weight -= gone.weight;
            }
        }
        self.clock += 1;
        self.weight = self.weight.saturating_add(weight);
        let used = self.clock;
        self.kept.insert(key, Kept { value, weight, used });
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
