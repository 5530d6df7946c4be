//! Going through guesses on all cores, in order, until one is right.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::candidates::{Candidates, Shard};
use super::prover::Prover;

/// How long the caller is left without word, at most.
const WORD_EVERY: Duration = Duration::from_millis(100);

/// So many positions without a new guess among them are gone through before the caller gets a word.
const FRUITLESS_MAX: u128 = 4096;

/// How a search goes through its guesses.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// How many threads try guesses.
    pub jobs: NonZeroUsize,
    /// How many guesses a thread tries at a time: after a batch it looks whether it is to stop.
    pub batch: NonZeroUsize,
    /// The part of the positions that is gone through.
    pub shard: Shard,
    /// How many of the part's positions were gone through before.
    pub from: u128,
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many of the part's positions are behind it without a gap: where to go on another time.
    pub done: u128,
    /// How many guesses were tried, this time.
    pub tried: u64,
}

/// How a search ended.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending<G, P> {
    /// One is right.
    Found {
        /// The guess.
        guess: G,
        /// Its position.
        position: u128,
        /// What it opens.
        proof: P,
    },
    /// None of them is right.
    Exhausted,
    /// The caller wanted it to stop.
    Stopped,
}

/// Goes through a part of the guesses, likeliest first, until one is right.
///
/// The threads are this call's own and end with it. `watch` is called on the caller's thread, ten times a second and
/// more; once it breaks, what is being tried is tried to the end, and nothing more. What comes back says how far the
/// search came.
pub fn search<C, P>(
    candidates: &C,
    prover: &P,
    work: &Work,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> (Ending<C::Guess, P::Proof>, Progress)
where
    C: Candidates,
    P: Prover<C::Guess>,
{
    let share = work.shard.share_of(candidates.positions());
    let shared = Shared {
        candidates,
        prover,
        work,
        share,
        next: Mutex::new(work.from.min(share)),
        is_over: AtomicBool::new(false),
    };
    let mut progress = Progress {
        done: work.from.min(share),
        tried: 0,
    };
    let mut ahead = BTreeMap::new();
    let mut ending = Ending::Exhausted;
    thread::scope(|scope| {
        let (sender, words) = mpsc::channel();
        for _ in 0..work.jobs.get() {
            let (sender, shared) = (sender.clone(), &shared);
            scope.spawn(move || shared.try_batches(&sender));
        }
        drop(sender);
        loop {
            match words.recv_timeout(WORD_EVERY) {
                Ok(word) => {
                    progress.tried += word.tried;
                    for range in word.done {
                        ahead.insert(range.start, range.end);
                    }
                    while let Some(end) = ahead.remove(&progress.done) {
                        progress.done = end;
                    }
                    if let Some((guess, position, proof)) = word.found {
                        ending = Ending::Found {
                            guess,
                            position,
                            proof,
                        };
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Every thread is through.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if watch(progress).is_break() && !shared.is_over.swap(true, Ordering::Relaxed) {
                ending = Ending::Stopped;
            }
        }
    });
    // The last batch may have been under way when the caller wanted to stop.
    if matches!(ending, Ending::Stopped) && progress.done == share {
        ending = Ending::Exhausted;
    }
    (ending, progress)
}

/// What the threads of a search share.
struct Shared<'a, C, P> {
    candidates: &'a C,
    prover: &'a P,
    work: &'a Work,
    share: u128,
    next: Mutex<u128>,
    is_over: AtomicBool,
}

/// What a thread has to say after a batch.
struct Word<G, P> {
    /// Numbers within the part that are behind it.
    done: Vec<Range<u128>>,
    tried: u64,
    found: Option<(G, u128, P)>,
}

impl<C: Candidates, P: Prover<C::Guess>> Shared<'_, C, P> {
    fn try_batches(&self, words: &Sender<Word<C::Guess, P::Proof>>) {
        while !self.is_over.load(Ordering::Relaxed) {
            let (done, positions, mut guesses) = self.take();
            if done.is_empty() {
                return;
            }
            let right = if guesses.is_empty() {
                None
            } else {
                self.prover.prove(&guesses)
            };
            let tried = guesses.len() as u64;
            let found = right
                .filter(|(index, _)| *index < guesses.len())
                .and_then(|(index, proof)| {
                    let position = positions.get(index).copied()?;
                    Some((guesses.swap_remove(index), position, proof))
                });
            if found.is_some() {
                self.is_over.store(true, Ordering::Relaxed);
            }
            // The caller is gone only if it panicked.
            if words.send(Word { done, tried, found }).is_err() {
                return;
            }
        }
    }

    /// Takes the next guesses; fewer than a batch where there are no more, or many positions without one.
    fn take(&self) -> (Vec<Range<u128>>, Vec<u128>, Vec<C::Guess>) {
        let batch = self.work.batch.get();
        let (mut done, mut positions, mut guesses) = (Vec::new(), Vec::new(), Vec::with_capacity(batch));
        let mut taken = 0;
        while guesses.len() < batch && taken < FRUITLESS_MAX && !self.is_over.load(Ordering::Relaxed) {
            let range = self.claim((batch - guesses.len()) as u128);
            if range.is_empty() {
                break;
            }
            taken += range.end - range.start;
            for number in range.clone() {
                let position = self.work.shard.position(number);
                if let Some(guess) = self.candidates.at(position) {
                    positions.push(position);
                    guesses.push(guess);
                }
            }
            done.push(range);
        }
        (done, positions, guesses)
    }

    fn claim(&self, count: u128) -> Range<u128> {
        // A number is right whatever happened to the thread that held the lock.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *next;
        *next = start.saturating_add(count).min(self.share);
        start..*next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use proptest::prelude::*;

    use super::*;

    /// Numbers, of which every third is a repeat.
    struct Numbers(u128);

    impl Candidates for Numbers {
        type Guess = u128;

        fn positions(&self) -> u128 {
            self.0
        }

        fn at(&self, position: u128) -> Option<u128> {
            (position < self.0 && position % 3 != 2).then_some(position)
        }
    }

    /// Knows the right number and counts what it is asked.
    struct Knows {
        right: u128,
        asked: AtomicU64,
    }

    impl Knows {
        fn it_is(right: u128) -> Self {
            Self {
                right,
                asked: AtomicU64::new(0),
            }
        }
    }

    impl Prover<u128> for Knows {
        type Proof = &'static str;

        fn prove(&self, guesses: &[u128]) -> Option<(usize, &'static str)> {
            self.asked.fetch_add(guesses.len() as u64, Ordering::Relaxed);
            let index = guesses.iter().position(|guess| *guess == self.right)?;
            Some((index, "the drive"))
        }
    }

    fn work(jobs: usize, batch: usize) -> Work {
        Work {
            jobs: NonZeroUsize::new(jobs).expect("not zero"),
            batch: NonZeroUsize::new(batch).expect("not zero"),
            shard: Shard::WHOLE,
            from: 0,
        }
    }

    fn go_on(_: Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn the_right_one_is_found_and_nothing_far_behind_it_is_tried() {
        let prover = Knows::it_is(1000);
        let (ending, _) = search(&Numbers(1_000_000), &prover, &work(3, 6), &mut go_on);
        assert_eq!(
            ending,
            Ending::Found {
                guess: 1000,
                position: 1000,
                proof: "the drive"
            }
        );
        assert!(prover.asked.into_inner() < 100_000);
    }

    #[test]
    fn without_a_right_one_everything_is_tried_once() {
        let prover = Knows::it_is(2);
        let (ending, progress) = search(&Numbers(3000), &prover, &work(2, 7), &mut go_on);
        assert_eq!(ending, Ending::Exhausted);
        assert_eq!(
            progress,
            Progress {
                done: 3000,
                tried: 2000
            }
        );
        assert_eq!(prover.asked.into_inner(), 2000);
        let (ending, progress) = search(&Numbers(0), &Knows::it_is(0), &work(2, 7), &mut go_on);
        assert_eq!((ending, progress.done), (Ending::Exhausted, 0));
    }

    #[test]
    fn a_stopped_search_goes_on_where_it_was() {
        let mut work = work(2, 5);
        let (ending, progress) = search(
            &Numbers(1_000_000),
            &Knows::it_is(999_999),
            &work,
            &mut |progress| {
                if progress.done > 500 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        assert_eq!(ending, Ending::Stopped);
        assert!(progress.done > 500 && progress.done < 1_000_000);
        work.from = progress.done;
        let prover = Knows::it_is(999_999);
        let (ending, after) = search(&Numbers(1_000_000), &prover, &work, &mut go_on);
        assert!(matches!(ending, Ending::Found { guess: 999_999, .. }));
        assert_eq!(after.tried, prover.asked.into_inner());
        assert!(after.tried <= (1_000_000 - progress.done) as u64);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_parts_of_a_search_try_everything_once(
            positions in 0u128..400,
            count in 1u64..6,
            jobs in 1usize..4,
            batch in 1usize..8,
            right in 0u128..600,
        ) {
            let (mut found, mut tried) = (0, 0);
            for number in 1..=count {
                let mut work = work(jobs, batch);
                work.shard = Shard::parse(&format!("{number}/{count}")).expect("a part");
                let prover = Knows::it_is(right);
                let (ending, progress) = search(&Numbers(positions), &prover, &work, &mut go_on);
                tried += prover.asked.into_inner();
                match ending {
                    Ending::Found { guess, .. } => {
                        prop_assert_eq!(guess, right);
                        found += 1;
                    }
                    _ => prop_assert_eq!(progress.done, work.shard.share_of(positions)),
                }
            }
            let is_there = right < positions && right % 3 != 2;
            prop_assert_eq!(found, u32::from(is_there));
            if !is_there {
                prop_assert_eq!(tried, (0..positions).filter(|position| position % 3 != 2).count() as u64);
            }
        }
    }
}
