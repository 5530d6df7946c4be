//! Many keys, each of them once, however many files it is in.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use keyhaven_fve::{Credential, Guid, ProtectorKind};

use crate::found::{FoundContent, FoundKey, Source};

/// The most keys that are kept to be tried.
///
/// Each lies on a page of memory of its own, of which a process has some 65,000, and those of the files that are being
/// read need theirs.
pub const MAX_KEPT: usize = 10_000;

/// A pile of keys.
#[derive(Debug)]
pub struct Pile {
    keys: Vec<PileKey>,
    by_content: HashMap<u128, usize>,
    kept: usize,
    wanted: Wanted,
    hashers: [RandomState; 2],
}

/// Which keys of a pile are kept to be tried; of the others it is remembered where they are.
#[derive(Debug)]
pub enum Wanted {
    /// Those with one of these identifiers.
    Ids(HashSet<Guid>),
    /// All.
    All,
}

/// One key, wherever it is.
#[derive(Debug)]
pub struct PileKey {
    /// All identifiers that stand beside it anywhere, the likeliest first.
    pub ids: Vec<Guid>,
    /// What it opens; `None` if it is mistyped.
    pub kind: Option<ProtectorKind>,
    /// The key, if it is kept: with the identifiers of all places.
    pub found: Option<FoundKey>,
    /// Where it is, in the order in which it was found; at least one.
    pub places: Vec<KeyPlace>,
}

/// A file with a key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPlace {
    /// The file as it was named.
    pub file: String,
    /// Where in it, and what it says of the key.
    pub source: Source,
}

/// There are more keys than can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {MAX_KEPT} different keys to try")]
pub struct TooMany;

impl Pile {
    /// Starts a pile.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self {
            keys: Vec::new(),
            by_content: HashMap::new(),
            kept: 0,
            wanted,
            hashers: Default::default(),
        }
    }

    /// Returns the keys in the order in which they were found first.
    #[must_use]
    pub fn keys(&self) -> &[PileKey] {
        &self.keys
    }

    /// Adds a key; one that is there already gets another place.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn add(&mut self, file: &str, mut found: FoundKey) -> Result<(), TooMany> {
        let place = KeyPlace {
            file: file.to_owned(),
            source: std::mem::take(&mut found.source),
        };
        let mark = self.mark(&found);
        let known = mark.and_then(|mark| self.by_content.get(&mark).copied());
        let is_wanted = match &self.wanted {
            Wanted::All => true,
            Wanted::Ids(wanted) => found.ids.iter().any(|id| wanted.contains(id)),
        };
        if let Some(key) = known.and_then(|at| self.keys.get_mut(at)) {
            for id in &found.ids {
                if !key.ids.contains(id) {
                    key.ids.push(*id);
                }
            }
            key.places.push(place);
            if key.found.is_none() && is_wanted {
                self.kept = kept_after(self.kept)?;
                key.found = Some(found);
            }
            if let Some(kept) = &mut key.found {
                kept.ids.clone_from(&key.ids);
            }
            return Ok(());
        }
        if is_wanted {
            self.kept = kept_after(self.kept)?;
        }
        if let Some(mark) = mark {
            self.by_content.insert(mark, self.keys.len());
        }
        self.keys.push(PileKey {
            ids: found.ids.clone(),
            kind: match &found.content {
                FoundContent::Key(key) => key.protector_kind(),
                FoundContent::Mistyped(_) => None,
            },
            found: is_wanted.then_some(found),
            places: vec![place],
        });
        Ok(())
    }

    /// Returns by what the same key is known again, in this process only; `None` for one that is mistyped.
    fn mark(&self, found: &FoundKey) -> Option<u128> {
        let FoundContent::Key(key) = &found.content else {
            return None;
        };
        let bytes: &[u8] = match key {
            Credential::RecoveryPassword(key) => key.key().expose_secret(),
            Credential::ExternalKey(key) => key.key().expose_secret(),
            _ => return None,
        };
        let [first, second] = self.hashers.each_ref().map(|hasher| hasher.hash_one(bytes));
        Some(u128::from(first) << 64 | u128::from(second))
    }
}

fn kept_after(kept: usize) -> Result<usize, TooMany> {
    if kept < MAX_KEPT {
        Ok(kept + 1)
    } else {
        Err(TooMany)
    }
}

#[cfg(test)]
mod tests {
    use keyhaven_crypto::Secret;
    use keyhaven_fve::keys::RecoveryPassword;

    use super::*;
    use crate::found::Spot;
    use crate::text;

    fn id(number: u8) -> Guid {
        Guid::from_bytes([number; 16])
    }

    fn found(ids: &[Guid], key: [u8; 16], line: usize) -> FoundKey {
        FoundKey {
            ids: ids.to_vec(),
            content: FoundContent::Key(Credential::RecoveryPassword(RecoveryPassword::from_key(
                Secret::from(key),
            ))),
            source: Spot::Line(line).into(),
        }
    }

    #[test]
    fn a_key_in_many_files_is_one_key() {
        let mut pile = Pile::new(Wanted::Ids([id(2)].into()));
        pile.add("a", found(&[id(1)], [7; 16], 3)).expect("room");
        pile.add("b", found(&[id(3)], [8; 16], 1)).expect("room");
        assert!(pile.keys()[0].found.is_none(), "nobody asks for it");
        pile.add("c", found(&[id(2)], [7; 16], 5)).expect("room");
        let [key, other] = pile.keys() else {
            panic!("{pile:?}")
        };
        assert_eq!(key.ids, [id(1), id(2)]);
        assert_eq!(key.found.as_ref().map(|found| &found.ids), Some(&key.ids));
        let places: Vec<_> = key.places.iter().map(|place| place.file.as_str()).collect();
        assert_eq!(places, ["a", "c"]);
        assert_eq!(key.places[1].source.spot, Some(Spot::Line(5)));
        assert!(other.found.is_none() && other.kind == Some(ProtectorKind::RecoveryPassword));
    }

    #[test]
    fn mistyped_keys_stay_apart_and_silent() {
        let typo = "284867-596541-514998-422114-660297-261613-215424-199409";
        let mut pile = Pile::new(Wanted::All);
        for _ in 0..2 {
            for key in text::scan(typo) {
                pile.add("a", key).expect("room");
            }
        }
        assert_eq!(pile.keys().len(), 2);
        assert!(pile.keys()[0].kind.is_none());
        assert!(!format!("{pile:?}").contains("284867"));
    }

    #[test]
    fn no_more_keys_are_kept_than_there_are_pages_for() {
        let mut pile = Pile::new(Wanted::Ids(HashSet::new()));
        pile.kept = MAX_KEPT;
        pile.add("a", found(&[], [1; 16], 1)).expect("not kept");
        pile.wanted = Wanted::All;
        assert_eq!(pile.add("a", found(&[], [2; 16], 1)), Err(TooMany));
        assert_eq!(pile.add("b", found(&[], [1; 16], 1)), Err(TooMany));
    }
}
