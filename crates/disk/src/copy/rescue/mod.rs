//! Copies what can be read of a failing device, the easy parts first.
//!
//! A drive that fails may have hours left. So what reads well is read first: where a piece fails, [`rescue`] skips ahead,
//! further with every failure in a row, and comes back from the other side. Only then it looks for the edges of what
//! failed (trimming), reads between them sector by sector (scraping), and tries bad sectors again, forwards and
//! backwards in turn. That is how GNU ddrescue goes about it, and the [`Map`] means the same to both.
//!
//! The map calls finished what the target has been given, and nothing else. It is saved after the target was brought to
//! the medium, so a saved map never claims what a loss of power could take.
//!
//! A read of a failing drive may take minutes. Threads of their own wait for it, while the caller's thread goes on asking
//! whether to stop; a thread that hangs in the drive outlives the call then, and ends with its read.

mod asking;
mod skip;

use std::ops::ControlFlow;

use super::pipeline::{CHUNK_LEN, reader_count};
use super::sparse::SparseWriter;
use super::{CopyError, CopyReport, CopyTarget};
use crate::device::Device;
use crate::map::{Map, Phase, Place, Run, Status};
use asking::{Answer, Asking, Patience};
use skip::Skip;

/// How to copy a failing device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RescueOptions {
    /// How many times bad sectors are tried again after all else.
    pub retries: u32,
    /// How many threads read while nothing fails; `None` is one for each core. Where something failed, one reads.
    pub readers: Option<usize>,
}

impl RescueOptions {
    /// Sets how many times bad sectors are tried again.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets how many threads read while nothing fails.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = Some(readers);
        self
    }
}

/// How far a rescue has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RescueProgress {
    /// Where it is, and what it does there.
    pub place: Place,
    /// How many bytes the device has.
    pub total_bytes: u64,
    /// How many of them the copy has.
    pub finished_bytes: u64,
    /// How many are in parts that failed, so far.
    pub failed_bytes: u64,
    /// Whether the device has not answered for a while.
    pub is_waiting: bool,
}

/// What a rescue is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    GoOn,
    /// Save the map, then go on.
    Save,
    /// Save the map, then stop.
    Stop,
}

/// Watches over a rescue, and keeps its map.
pub trait Watcher {
    /// Is told how far it is, after each read and every tenth of a second while there is none.
    fn look(&mut self, progress: &RescueProgress) -> Next;

    /// Keeps the map; what it calls finished is on the medium.
    ///
    /// # Errors
    /// What the operating system says.
    fn save(&mut self, map: &Map, place: Place) -> std::io::Result<()>;
}

/// Copies what is not finished in `map` of `source` to `out`, and notes there what became of it.
///
/// What the source says it cannot read ([`unreadable_at`](crate::BlockDevice::unreadable_at)) is not tried and stays
/// untried: another time it may be there. What could not be read is not written, except for zeros over old content.
/// The report counts as bad what is not finished.
///
/// # Errors
/// [`CopyError::Write`], [`CopyError::Finish`], [`CopyError::Save`] and [`CopyError::Stopped`]; the map is saved before
/// where that is possible, and the same call goes on from there.
///
/// # Panics
/// When the source or the target does: with its panic.
pub fn rescue(
    source: &Device,
    out: &mut dyn CopyTarget,
    map: &mut Map,
    options: RescueOptions,
    watcher: &mut dyn Watcher,
) -> Result<CopyReport, CopyError> {
    let full = reader_count(options.readers, source.len_bytes()).max(1);
    let mut rescue = Rescue {
        source,
        skip_holes: out.starts_as_zeros(),
        writer: SparseWriter::new(out),
        asking: Asking::new(source, full),
        map,
        watcher,
        sector_len: u64::from(source.sector_size()).clamp(1, CHUNK_LEN as u64),
        place: Place {
            position: 0,
            phase: Phase::Copying,
            pass: 1,
        },
    };
    let outcome = rescue.run(options.retries);
    if outcome.is_ok() {
        rescue.place = Place {
            position: rescue.map.len_bytes(),
            phase: Phase::Finished,
            pass: 1,
        };
    }
    let saved = rescue.save();
    outcome.and(saved)?;
    Ok(CopyReport {
        len_bytes: rescue.map.len_bytes(),
        written_bytes: rescue.writer.written_bytes(),
        bad: rescue.map.missing(),
    })
}

struct Rescue<'a> {
    source: &'a Device,
    skip_holes: bool,
    writer: SparseWriter<'a>,
    asking: Asking,
    map: &'a mut Map,
    watcher: &'a mut dyn Watcher,
    sector_len: u64,
    place: Place,
}

/// How many bytes must be read well before several threads read again.
const WELL_AGAIN: u64 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl Rescue<'_> {
    fn run(&mut self, retries: u32) -> Result<(), CopyError> {
        self.look(false)?;
        // Skipping from both sides, then all that was skipped.
        for (pass, direction, skips) in [
            (1, Direction::Forward, true),
            (2, Direction::Backward, true),
            (3, Direction::Forward, false),
        ] {
            self.enter(Phase::Copying, pass);
            self.copy(direction, skips)?;
        }
        self.enter(Phase::Trimming, 1);
        let mut at = 0;
        while let Some(run) = self.map.next(at, Status::Untrimmed) {
            self.trim(run)?;
            at = run.end;
        }
        self.enter(Phase::Scraping, 1);
        self.each_sector(Status::Unscraped, Direction::Forward)?;
        for pass in 1..=retries {
            if self.map.bytes(Status::Bad) == 0 {
                break;
            }
            self.enter(Phase::Retrying, pass);
            // The last time they were tried forwards.
            let direction = if pass % 2 == 1 {
                Direction::Backward
            } else {
                Direction::Forward
            };
            self.each_sector(Status::Bad, direction)?;
        }
        self.blank()
    }

    fn enter(&mut self, phase: Phase, pass: u32) {
        self.place.phase = phase;
        self.place.pass = pass;
    }

    /// Reads what is untried in large pieces.
    fn copy(&mut self, direction: Direction, skips: bool) -> Result<(), CopyError> {
        let total = self.map.len_bytes();
        let mut at = if direction == Direction::Forward { 0 } else { total };
        let mut skip = Skip::new(total);
        let mut read_well = WELL_AGAIN;
        let mut in_flight = 0usize;
        loop {
            let depth = if read_well >= WELL_AGAIN {
                self.asking.full_depth()
            } else {
                1
            };
            while in_flight < depth
                && let Some((start, end)) = self.next_piece(&mut at, direction)
            {
                self.asking.ask(start, end.saturating_sub(start));
                in_flight = in_flight.saturating_add(1);
            }
            if in_flight == 0 {
                return Ok(());
            }
            let answer = self.wait()?;
            in_flight = in_flight.saturating_sub(1);
            let (start, end) = (answer.offset, answer.end());
            self.place.position = start;
            if self.take(answer, Status::Untrimmed)? {
                skip.reset();
                read_well = read_well.saturating_add(end.saturating_sub(start));
            } else {
                read_well = 0;
                if skips {
                    let skipped = skip.next();
                    at = match direction {
                        Direction::Forward => at.max(end.saturating_add(skipped)),
                        Direction::Backward => at.min(start.saturating_sub(skipped)),
                    };
                }
            }
        }
    }

    /// Finds the next piece that may be read, and moves `at` past it. Holes on the way are finished: they are zeros.
    fn next_piece(&mut self, at: &mut u64, direction: Direction) -> Option<(u64, u64)> {
        const CHUNK: u64 = CHUNK_LEN as u64;
        loop {
            let (start, end) = match direction {
                Direction::Forward => {
                    let run = self.map.next(*at, Status::Untried)?;
                    // To the next boundary, so that reads are aligned again.
                    let boundary = (run.start / CHUNK).saturating_add(1).saturating_mul(CHUNK);
                    (run.start, run.end.min(boundary))
                }
                Direction::Backward => {
                    let run = self.map.previous(*at, Status::Untried)?;
                    let boundary = run.end.saturating_sub(1) / CHUNK * CHUNK;
                    (run.start.max(boundary), run.end)
                }
            };
            let limit = match direction {
                Direction::Forward => self.map.next(start, Status::Untried)?.end,
                Direction::Backward => end,
            };
            let unreadable = self.source.unreadable_at(start, limit.saturating_sub(start));
            if unreadable > 0 {
                *at = match direction {
                    Direction::Forward => start.saturating_add(unreadable),
                    // The rest of the piece is found again, from its end.
                    Direction::Backward if unreadable < end.saturating_sub(start) => {
                        let start = start.saturating_add(unreadable);
                        *at = start;
                        return Some((start, end));
                    }
                    Direction::Backward => start,
                };
                continue;
            }
            let hole = if self.skip_holes {
                self.source.hole_at(start, limit.saturating_sub(start))
            } else {
                0
            };
            if hole > 0 {
                let hole_end = start.saturating_add(hole).min(limit);
                self.map.set(start, hole_end, Status::Finished);
                *at = match direction {
                    Direction::Forward => hole_end,
                    Direction::Backward if hole_end < end => end,
                    Direction::Backward => start,
                };
                continue;
            }
            *at = match direction {
                Direction::Forward => end,
                Direction::Backward => start,
            };
            return Some((start, end));
        }
    }

    /// Reads from both ends of a part that failed, up to the first bad sector from each.
    fn trim(&mut self, run: Run) -> Result<(), CopyError> {
        let (mut start, mut end) = (run.start, run.end);
        while start < end {
            let sector_end = self.sector_end(start).min(end);
            let is_read = self.try_one(start, sector_end)?;
            start = sector_end;
            if !is_read {
                break;
            }
        }
        while start < end {
            let sector_start = self.sector_start(end).max(start);
            let is_read = self.try_one(sector_start, end)?;
            end = sector_start;
            if !is_read {
                break;
            }
        }
        self.map.set(start, end, Status::Unscraped);
        Ok(())
    }

    /// Tries every sector of a status by itself.
    fn each_sector(&mut self, status: Status, direction: Direction) -> Result<(), CopyError> {
        let mut at = match direction {
            Direction::Forward => 0,
            Direction::Backward => self.map.len_bytes(),
        };
        loop {
            let (start, end) = match direction {
                Direction::Forward => {
                    let Some(run) = self.map.next(at, status) else {
                        return Ok(());
                    };
                    let unreadable = self.source.unreadable_at(run.start, run.len_bytes());
                    if unreadable > 0 {
                        at = run.start.saturating_add(unreadable);
                        self.map.set(run.start, at, Status::Untried);
                        continue;
                    }
                    (run.start, run.end.min(self.sector_end(run.start)))
                }
                Direction::Backward => {
                    let Some(run) = self.map.previous(at, status) else {
                        return Ok(());
                    };
                    (run.start.max(self.sector_start(run.end)), run.end)
                }
            };
            self.try_one(start, end)?;
            at = match direction {
                Direction::Forward => end,
                Direction::Backward => start,
            };
        }
    }

    /// Reads one sector, or what of it is in question; returns whether that could be done.
    fn try_one(&mut self, start: u64, end: u64) -> Result<bool, CopyError> {
        self.place.position = start;
        if self.source.unreadable_at(start, 1) > 0 {
            self.map.set(start, end, Status::Untried);
            return self.look(false).map(|()| false);
        }
        self.asking.ask(start, end.saturating_sub(start));
        let answer = self.wait()?;
        self.take(answer, Status::Bad)
    }

    /// Writes what was read and notes it, or notes what it is if not; returns whether it was read.
    fn take(&mut self, mut answer: Answer, if_not: Status) -> Result<bool, CopyError> {
        let (start, end) = (answer.offset, answer.end());
        let is_read = answer.is_read();
        if is_read {
            self.writer.write(start, answer.bytes_mut())?;
        }
        self.map
            .set(start, end, if is_read { Status::Finished } else { if_not });
        self.asking.give_back(answer);
        self.look(false)?;
        Ok(is_read)
    }

    fn wait(&mut self) -> Result<Answer, CopyError> {
        loop {
            match self.asking.answer() {
                Patience::Answered(answer) => return Ok(answer),
                Patience::Over => self.look(true)?,
            }
        }
    }

    /// Writes zeros over what was there before in the place of what could not be read.
    fn blank(&mut self) -> Result<(), CopyError> {
        if self.skip_holes {
            return Ok(());
        }
        let zeros = vec![0; CHUNK_LEN];
        for range in self.map.missing() {
            let mut at = range.start;
            while at < range.end() {
                let len = (range.end() - at).min(CHUNK_LEN as u64);
                self.writer
                    .write(at, zeros.get(..len as usize).unwrap_or(&zeros))?;
                at = at.saturating_add(len);
                self.look(false)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, is_waiting: bool) -> Result<(), CopyError> {
        let failed = [Status::Untrimmed, Status::Unscraped, Status::Bad];
        let progress = RescueProgress {
            place: self.place,
            total_bytes: self.map.len_bytes(),
            finished_bytes: self.map.bytes(Status::Finished),
            failed_bytes: failed.into_iter().map(|status| self.map.bytes(status)).sum(),
            is_waiting,
        };
        match self.watcher.look(&progress) {
            Next::GoOn => Ok(()),
            Next::Save => self.save(),
            Next::Stop => Err(CopyError::Stopped {
                offset: self.place.position,
            }),
        }
    }

    /// Brings the copy to the medium, then lets the map be saved that claims it.
    fn save(&mut self) -> Result<(), CopyError> {
        self.writer.sync(self.map.len_bytes())?;
        self.watcher
            .save(self.map, self.place)
            .map_err(|source| CopyError::Save { source })
    }

    fn sector_end(&self, at: u64) -> u64 {
        (at / self.sector_len)
            .saturating_add(1)
            .saturating_mul(self.sector_len)
    }

    /// Returns where the sector begins that `end` ends in or at.
    fn sector_start(&self, end: u64) -> u64 {
        end.saturating_sub(1) / self.sector_len * self.sector_len
    }
}

/// Watches over nothing: for copies that nobody stops, and maps that nobody keeps.
impl<F: FnMut(&RescueProgress) -> ControlFlow<()>> Watcher for F {
    fn look(&mut self, progress: &RescueProgress) -> Next {
        match self(progress) {
            ControlFlow::Continue(()) => Next::GoOn,
            ControlFlow::Break(()) => Next::Stop,
        }
    }

    fn save(&mut self, _: &Map, _: Place) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
