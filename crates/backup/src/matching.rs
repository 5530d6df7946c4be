//! Which keys of a pile are for which drives.
//!
//! Identifiers decide first, which costs nothing. Proving a pair costs the stretch that opening the drive would, and
//! pairs are proven on all cores.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use keyhaven_crypto::STRETCH_BATCH;
use keyhaven_fve::{Credential, Guid, ProtectorKind};

use crate::drive::Drive;
use crate::found::FoundContent;
use crate::pile::{Pile, PileKey};
use crate::verdict::{Effort, Verdict, judge};

/// Drives that are tried from several threads.
pub type Drives<'a> = [&'a (dyn Drive + Sync)];

/// A key of a pile and a drive that it may be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The number of the drive.
    pub drive: usize,
    /// The number of the key in its pile.
    pub key: usize,
    /// The drive's identifier that stands beside the key.
    pub marked: Option<Guid>,
    /// What came of trying it; `None` before.
    pub verdict: Option<Verdict>,
}

impl Pair {
    /// Tells whether the key was proven to open the drive.
    #[must_use]
    pub fn opens(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Opens { .. }))
    }
}

/// Returns the identifiers that a key for one of these drives may stand beside.
pub fn ids_of<'a>(drives: &'a Drives<'_>) -> impl Iterator<Item = Guid> + 'a {
    drives.iter().flat_map(|drive| {
        let protectors = drive.protectors().into_iter().map(|(id, _)| id);
        protectors.chain(std::iter::once(drive.volume_id()))
    })
}

/// Pairs keys and drives by their identifiers; sorted by drive, then by key.
#[must_use]
pub fn by_id(pile: &Pile, drives: &Drives<'_>) -> Vec<Pair> {
    // A volume that was copied is several drives with the same identifiers.
    let mut owners: HashMap<Guid, Vec<(usize, Option<ProtectorKind>)>> = HashMap::new();
    for (number, drive) in drives.iter().enumerate() {
        for (id, kind) in drive.protectors() {
            owners.entry(id).or_default().push((number, Some(kind)));
        }
        owners.entry(drive.volume_id()).or_default().push((number, None));
    }
    let mut pairs = Vec::new();
    for (key, of) in pile.keys().iter().enumerate() {
        let mut seen = Vec::new();
        for id in &of.ids {
            for (drive, kind) in owners.get(id).map(Vec::as_slice).unwrap_or_default() {
                // What is mistyped is of any kind; a volume's identifier says nothing of kinds.
                let fits = kind.is_none() || of.kind.is_none() || *kind == of.kind;
                if fits && !seen.contains(drive) {
                    seen.push(*drive);
                    pairs.push(Pair {
                        drive: *drive,
                        key,
                        marked: Some(*id),
                        verdict: None,
                    });
                }
            }
        }
    }
    pairs.sort_by_key(|pair| (pair.drive, pair.key));
    pairs
}

/// Pairs every drive that no key was proven on with every key that opened none and was not tried there: those without
/// an identifier first, since those with one are somebody's.
#[must_use]
pub fn left_over(pile: &Pile, drives: &Drives<'_>, pairs: &[Pair]) -> Vec<Pair> {
    let mut closed = vec![true; drives.len()];
    for pair in pairs.iter().filter(|pair| pair.opens()) {
        if let Some(closed) = closed.get_mut(pair.drive) {
            *closed = false;
        }
    }
    let used: HashSet<usize> = pairs
        .iter()
        .filter(|pair| pair.opens())
        .map(|pair| pair.key)
        .collect();
    let tried: HashSet<(usize, usize)> = pairs.iter().map(|pair| (pair.drive, pair.key)).collect();
    let is_tried_here = |drive: &&(dyn Drive + Sync), key: &PileKey| {
        key.found.is_some() && drive.protectors().iter().any(|(_, kind)| Some(*kind) == key.kind)
    };
    let mut trials = Vec::new();
    for has_id in [false, true] {
        for (drive, on) in drives.iter().enumerate() {
            for (key, of) in pile.keys().iter().enumerate() {
                let is_due = of.ids.is_empty() != has_id
                    && closed.get(drive) == Some(&true)
                    && is_tried_here(on, of)
                    && !used.contains(&key)
                    && !tried.contains(&(drive, key));
                if is_due {
                    trials.push(Pair {
                        drive,
                        key,
                        marked: None,
                        verdict: None,
                    });
                }
            }
        }
    }
    trials
}

/// Counts the stretches that trying these pairs may cost at most.
#[must_use]
pub fn stretches(pile: &Pile, drives: &Drives<'_>, pairs: &[Pair]) -> u64 {
    pairs
        .iter()
        .map(|pair| {
            let kind = pile.keys().get(pair.key).and_then(|key| key.kind);
            if kind != Some(ProtectorKind::RecoveryPassword) {
                return 0;
            }
            drives.get(pair.drive).map_or(0, |drive| {
                let protectors = drive.protectors();
                protectors.iter().filter(|(_, of)| Some(*of) == kind).count() as u64
            })
        })
        .sum()
}

/// Tries all pairs on `threads` threads and writes down what came of each.
///
/// With [`Effort::Everything`] keys are tried side by side, a drive that one of them opened is not tried further, and
/// the pairs left have no verdict.
/// `watch` is told how many pairs are done, on the caller's thread; when it breaks, the pairs under way are finished and
/// the others have no verdict.
pub fn prove(
    pile: &Pile,
    drives: &Drives<'_>,
    pairs: &mut [Pair],
    effort: Effort,
    threads: usize,
    watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let side_by_side = match effort {
        Effort::Everything => STRETCH_BATCH,
        // Each has a protector and so a salt of its own.
        Effort::ById => 1,
    };
    let batches: Vec<&mut [Pair]> = pairs
        .chunk_by_mut(|a, b| a.drive == b.drive)
        .flat_map(|of_one_drive| of_one_drive.chunks_mut(side_by_side))
        .collect();
    let trying = Trying {
        pile,
        drives,
        effort,
        opened: drives.iter().map(|_| AtomicBool::new(false)).collect(),
        stop: AtomicBool::new(false),
    };
    let threads = threads.clamp(1, batches.len().max(1));
    let queue = Mutex::new(batches.into_iter());
    let (send, receive) = mpsc::channel();
    let mut flow = ControlFlow::Continue(());
    thread::scope(|scope| {
        for _ in 0..threads {
            let send = send.clone();
            let (queue, trying) = (&queue, &trying);
            scope.spawn(move || {
                // The lock is held for no longer than it takes to get a batch, and not poisoned thereby.
                while let Some(batch) = queue.lock().ok().and_then(|mut queue| queue.next()) {
                    if trying.stop.load(Ordering::Relaxed) {
                        return;
                    }
                    trying.batch(batch);
                    // Nobody listens any more only where the caller panicked.
                    if send.send(batch.len()).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut done = 0;
        for count in receive {
            done += count;
            if flow.is_continue() {
                flow = watch(done);
            }
            if flow.is_break() {
                trying.stop.store(true, Ordering::Relaxed);
            }
        }
    });
    flow
}

struct Trying<'a> {
    pile: &'a Pile,
    drives: &'a Drives<'a>,
    effort: Effort,
    /// Which drives a key was found for.
    opened: Vec<AtomicBool>,
    stop: AtomicBool,
}

impl Trying<'_> {
    /// Tries pairs of one drive.
    fn batch(&self, pairs: &mut [Pair]) {
        let Some(number) = pairs.first().map(|pair| pair.drive) else {
            return;
        };
        let (Some(drive), Some(opened)) = (self.drives.get(number), self.opened.get(number)) else {
            return;
        };
        let found = |pair: &Pair| self.pile.keys().get(pair.key)?.found.as_ref();
        if self.effort == Effort::Everything {
            if opened.load(Ordering::Relaxed) {
                return;
            }
            let (numbers, keys): (Vec<usize>, Vec<&Credential>) = pairs
                .iter()
                .enumerate()
                .filter_map(|(number, pair)| match &found(pair)?.content {
                    FoundContent::Key(key @ Credential::RecoveryPassword(_)) => Some((number, key)),
                    _ => None,
                })
                .unzip();
            let opens = drive
                .first_that_opens(&keys)
                .and_then(|at| numbers.get(at).copied());
            for number in numbers.into_iter().filter(|number| Some(*number) != opens) {
                if let Some(pair) = pairs.get_mut(number) {
                    pair.verdict = Some(Verdict::OtherDrive);
                }
            }
        }
        for pair in pairs.iter_mut().filter(|pair| pair.verdict.is_none()) {
            pair.verdict = found(pair).map(|found| judge(*drive, found, self.effort));
            if pair.opens() {
                opened.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use keyhaven_crypto::Secret;
    use keyhaven_fve::UnlockError;
    use keyhaven_fve::keys::RecoveryPassword;

    use super::*;
    use crate::found::{FoundKey, Source};
    use crate::pile::Wanted;

    /// A drive with one recovery key, whose number is that of its protector too.
    struct Locked {
        number: u8,
        trials: AtomicUsize,
    }

    impl Drive for Locked {
        fn volume_id(&self) -> Guid {
            id(100 + self.number)
        }

        fn protectors(&self) -> Vec<(Guid, ProtectorKind)> {
            vec![(id(self.number), ProtectorKind::RecoveryPassword)]
        }

        fn try_key(&self, key: &Credential, _: Option<Guid>) -> Result<Guid, UnlockError> {
            self.trials.fetch_add(1, Ordering::Relaxed);
            match key {
                Credential::RecoveryPassword(key) if key.key().expose_secret() == &[self.number; 16] => {
                    Ok(id(self.number))
                }
                _ => Err(UnlockError::WrongKey { tried: vec![] }),
            }
        }
    }

    fn id(number: u8) -> Guid {
        Guid::from_bytes([number; 16])
    }

    fn locked(number: u8) -> Locked {
        Locked {
            number,
            trials: AtomicUsize::new(0),
        }
    }

    fn pile(keys: &[(&[u8], u8)]) -> Pile {
        let mut pile = Pile::new(Wanted::All);
        for (number, (ids, key)) in keys.iter().enumerate() {
            let found = FoundKey {
                ids: ids.iter().copied().map(id).collect(),
                content: FoundContent::Key(Credential::RecoveryPassword(RecoveryPassword::from_key(
                    Secret::from([*key; 16]),
                ))),
                source: Source::default(),
            };
            pile.add(&format!("file {number}"), found).expect("room");
        }
        pile
    }

    #[test]
    fn identifiers_pair_and_only_pairs_are_tried() {
        let all = [locked(1), locked(2), locked(2), locked(3)];
        let drives: Vec<&(dyn Drive + Sync)> = all.iter().map(|drive| drive as _).collect();
        let pile = pile(&[(&[2], 2), (&[101], 1), (&[9], 9), (&[], 3), (&[3], 7)]);
        let mut pairs = by_id(&pile, &drives);
        let paired: Vec<_> = pairs.iter().map(|pair| (pair.drive, pair.key)).collect();
        assert_eq!(
            paired,
            [(0, 1), (1, 0), (2, 0), (3, 4)],
            "a copy is a drive of its own"
        );
        assert_eq!(stretches(&pile, &drives, &pairs), 4);

        let mut done = 0;
        let flow = prove(&pile, &drives, &mut pairs, Effort::ById, 3, &mut |count| {
            done = count;
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue() && done == 4);
        let opens: Vec<bool> = pairs.iter().map(Pair::opens).collect();
        assert_eq!(opens, [true, true, true, false]);
        assert_eq!(pairs[3].verdict, Some(Verdict::WrongKey));
        let trials: Vec<usize> = all
            .iter()
            .map(|drive| drive.trials.load(Ordering::Relaxed))
            .collect();
        assert_eq!(trials, [1, 1, 1, 1]);

        let mut rest = left_over(&pile, &drives, &pairs);
        let left: Vec<_> = rest.iter().map(|pair| (pair.drive, pair.key)).collect();
        assert_eq!(left, [(3, 3), (3, 2)], "those without an identifier first");
        let flow = prove(&pile, &drives, &mut rest, Effort::Everything, 1, &mut |_| {
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue() && rest[0].opens());
        let others: Vec<_> = rest[1..].iter().map(|pair| &pair.verdict).collect();
        assert_eq!(others, [&Some(Verdict::OtherDrive)], "tried beside it");
    }

    #[test]
    fn what_was_found_before_a_stop_is_kept() {
        let all: Vec<Locked> = (1..=9).map(locked).collect();
        let drives: Vec<&(dyn Drive + Sync)> = all.iter().map(|drive| drive as _).collect();
        let pile = pile(&[(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 1)]);
        let mut pairs = by_id(&pile, &drives);
        let flow = prove(&pile, &drives, &mut pairs, Effort::ById, 1, &mut |_| {
            ControlFlow::Break(())
        });
        assert!(flow.is_break());
        assert!(pairs[0].opens());
        assert!(pairs.last().is_some_and(|pair| pair.verdict.is_none()) || pairs.len() == 9);
    }

    #[test]
    fn nothing_to_do_is_done() {
        let empty = Pile::new(Wanted::Ids(HashSet::new()));
        assert!(by_id(&empty, &[]).is_empty());
        assert!(
            prove(
                &empty,
                &[],
                &mut [],
                Effort::ById,
                4,
                &mut |_| ControlFlow::Break(())
            )
            .is_continue()
        );
    }
}
