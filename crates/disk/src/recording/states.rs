//! Which crash states a record of writes has, and each of them in turn.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pages::Pages;
use super::{CrashState, Event, Recorder};
use crate::conformance::Numbers;

/// What a medium writes whole or not at all.
const SECTOR: usize = 512;

/// Up to this many writes between two flushes, every subset of them is tried.
const FEW: usize = 8;

/// The crash states of a record, from the first to the last.
pub(super) struct States {
    /// All that was flushed before the epoch at hand.
    flushed: Pages,
    epoch: usize,
    epochs: Vec<Epoch>,
    plans: std::vec::IntoIter<Plan>,
}

/// The writes between two flushes.
#[derive(Default)]
struct Epoch {
    /// How many events there were before the first of the writes.
    first_event: usize,
    writes: Vec<(u64, Arc<[u8]>)>,
}

/// Which part of the writes of one epoch is there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Plan {
    epoch: usize,
    parts: Vec<Part>,
}

/// A write that is there, or some of its sectors.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    write: usize,
    /// Which sectors of it are there: none of the list means all.
    sectors: Option<Vec<usize>>,
}

impl States {
    pub(super) fn new(start: Pages, events: &[Event], limit: usize, seed: u64) -> Self {
        let epochs = epochs(events);
        let plans = plans(&epochs, limit, &mut Numbers::from_seed(seed));
        Self {
            flushed: start,
            epoch: 0,
            epochs,
            plans: plans.into_iter(),
        }
    }
}

impl Iterator for States {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        let plan = self.plans.next()?;
        while self.epoch < plan.epoch {
            for (offset, bytes) in &self.epochs[self.epoch].writes {
                put(&mut self.flushed, *offset, bytes);
            }
            self.epoch += 1;
        }
        let epoch = &self.epochs[plan.epoch];
        let mut content = self.flushed.clone();
        for part in &plan.parts {
            let (offset, bytes) = &epoch.writes[part.write];
            match &part.sectors {
                None => put(&mut content, *offset, bytes),
                Some(sectors) => {
                    for sector in sectors {
                        let (at, piece) = piece(*offset, bytes, *sector);
                        put(&mut content, at, piece);
                    }
                }
            }
        }
        let issued = plan.parts.last().map_or(0, |part| part.write + 1);
        Some(CrashState {
            device: Arc::new(Recorder::from_pages(content)),
            when: epoch.first_event + issued..=self.last_event(&plan),
            kept: describe(&plan, epoch),
        })
    }
}

impl States {
    /// Returns the highest number of events after which what a plan says is all there may be.
    fn last_event(&self, plan: &Plan) -> usize {
        let mut last = &self.epochs[plan.epoch];
        let everything =
            plan.parts.len() == last.writes.len() && plan.parts.iter().all(|part| part.sectors.is_none());
        if everything {
            // Then it is also what is there while nothing of the next epoch is.
            for next in &self.epochs[plan.epoch + 1..] {
                last = next;
                if !next.writes.is_empty() {
                    break;
                }
            }
        }
        last.first_event + last.writes.len()
    }
}

fn put(content: &mut Pages, offset: u64, bytes: &[u8]) {
    content
        .write(offset, bytes)
        .expect("only writes that succeeded are recorded");
}

fn epochs(events: &[Event]) -> Vec<Epoch> {
    let mut epochs = vec![Epoch::default()];
    for (at, event) in events.iter().enumerate() {
        let last = epochs.last_mut().expect("there is one from the start");
        match event {
            Event::Write { offset, bytes } => last.writes.push((*offset, Arc::clone(bytes))),
            // Two flushes in a row change nothing but the count.
            Event::Flush => epochs.push(Epoch {
                first_event: at + 1,
                writes: Vec::new(),
            }),
        }
    }
    epochs
}

/// Chooses at most `limit` plans, in the order of time: prefixes before all, then the rest as far as there is room.
fn plans(epochs: &[Epoch], limit: usize, numbers: &mut Numbers) -> Vec<Plan> {
    let mut chosen: BTreeSet<Plan> = BTreeSet::new();
    for (epoch, Epoch { writes, .. }) in epochs.iter().enumerate() {
        // The empty part of an epoch is the whole of the one before it.
        if writes.is_empty() && epoch > 0 {
            continue;
        }
        for count in usize::from(epoch > 0)..=writes.len() {
            chosen.insert(whole(epoch, 0..count));
        }
    }
    if chosen.len() >= limit {
        return evenly_spaced(chosen, limit);
    }

    let count: usize = epochs.iter().map(|epoch| epoch.writes.len()).sum();
    let tears = (limit / count.max(1)).clamp(4, 1000);
    let mut more: Vec<Plan> = Vec::new();
    for (epoch, Epoch { writes, .. }) in epochs.iter().enumerate() {
        more.extend(subsets(epoch, writes.len(), limit, numbers));
        for (write, (offset, bytes)) in writes.iter().enumerate() {
            more.extend(torn(epoch, write, sector_count(*offset, bytes), tears, numbers));
        }
    }
    numbers.shuffle(&mut more);
    for plan in more {
        if chosen.len() == limit {
            break;
        }
        chosen.insert(plan);
    }
    chosen.into_iter().collect()
}

fn evenly_spaced(plans: BTreeSet<Plan>, limit: usize) -> Vec<Plan> {
    let count = plans.len();
    let taken = |at: usize| (at + 1) * limit / count > at * limit / count;
    plans
        .into_iter()
        .enumerate()
        .filter(|(at, _)| taken(*at))
        .map(|(_, plan)| plan)
        .collect()
}

fn whole(epoch: usize, writes: impl IntoIterator<Item = usize>) -> Plan {
    let parts = writes.into_iter().map(|write| Part { write, sectors: None });
    Plan {
        epoch,
        parts: parts.collect(),
    }
}

/// Returns subsets of `count` writes: all where they are few, else each write alone, each one missing, and a sample.
fn subsets(epoch: usize, count: usize, limit: usize, numbers: &mut Numbers) -> Vec<Plan> {
    if count < 2 {
        return Vec::new();
    }
    if count <= FEW {
        return (1_usize..1 << count)
            .map(|set| whole(epoch, (0..count).filter(|write| set & 1 << write != 0)))
            .collect();
    }
    let alone = (0..count).map(|write| whole(epoch, [write]));
    let missing = (0..count).map(|gap| whole(epoch, (0..count).filter(|write| *write != gap)));
    let mut plans: Vec<Plan> = alone.chain(missing).collect();
    for _ in 0..(count * 8).min(limit) {
        let issued = 1 + numbers.below(count as u64) as usize;
        let subset: Vec<usize> = (0..issued).filter(|_| numbers.below(2) == 0).collect();
        plans.push(whole(epoch, subset));
    }
    // The empty subset is the end of the epoch before; only in the first epoch is it a plan, and there already.
    plans.retain(|plan| !plan.parts.is_empty());
    plans
}

/// Returns ways in which a write of `sectors` sectors tears, some `tears` of them by chance, with all writes before it
/// there, or some of them.
fn torn(epoch: usize, write: usize, sectors: usize, tears: usize, numbers: &mut Numbers) -> Vec<Plan> {
    if sectors < 2 {
        return Vec::new();
    }
    let mut kept: BTreeSet<Vec<usize>> = BTreeSet::new();
    for count in [1, sectors / 2, sectors - 1] {
        kept.insert((0..count).collect());
        kept.insert((sectors - count..sectors).collect());
    }
    for _ in 0..tears {
        let cut = 1 + numbers.below(sectors as u64 - 1) as usize;
        kept.insert((0..cut).collect());
        kept.insert((0..sectors).filter(|_| numbers.below(2) == 0).collect());
    }
    kept.retain(|sectors_kept| !sectors_kept.is_empty() && sectors_kept.len() < sectors);

    let mut plans = Vec::new();
    for sectors_kept in kept {
        let part = Part {
            write,
            sectors: Some(sectors_kept),
        };
        let mut in_order = whole(epoch, 0..write);
        in_order.parts.push(part.clone());
        plans.push(in_order);
        let some: Vec<usize> = (0..write).filter(|_| numbers.below(2) == 0).collect();
        let mut reordered = whole(epoch, some);
        reordered.parts.push(part);
        plans.push(reordered);
    }
    plans
}

/// Returns how many sectors a write touches.
fn sector_count(offset: u64, bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    let within = offset as usize % SECTOR;
    (within + bytes.len()).div_ceil(SECTOR)
}

/// Returns the part of a write that lies in the sector that is the `sector`th of those it touches.
fn piece(offset: u64, bytes: &[u8], sector: usize) -> (u64, &[u8]) {
    let within = offset as usize % SECTOR;
    let from = (sector * SECTOR).saturating_sub(within);
    let to = ((sector + 1) * SECTOR - within).min(bytes.len());
    (offset + from as u64, &bytes[from..to])
}

fn describe(plan: &Plan, epoch: &Epoch) -> String {
    let kept: Vec<String> = plan
        .parts
        .iter()
        .map(|part| {
            let (offset, bytes) = &epoch.writes[part.write];
            match &part.sectors {
                None => format!("#{} ({offset:#x}, {} bytes)", part.write, bytes.len()),
                Some(sectors) => format!(
                    "#{} ({offset:#x}, {} of its sectors: {sectors:?})",
                    part.write,
                    sectors.len()
                ),
            }
        })
        .collect();
    format!(
        "of the {} writes after event {}: {}",
        epoch.writes.len(),
        epoch.first_event,
        if kept.is_empty() {
            "none".to_owned()
        } else {
            kept.join(", ")
        }
    )
}
