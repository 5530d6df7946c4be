//! Reading a drive whose bytes are kept here and there: as they are, packed, in another image, or not at all.

use std::fmt;

use super::fault::Fault;
use super::units::Cache;
use crate::device::{BlockDevice, Device, ReadError};

/// How many pieces are looked at for one answer about holes.
const MAX_HOLE_STEPS: usize = 4096;

/// How the bytes of a run are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nowhere: they are zeros.
    Zeros,
    /// At the same place of the image below; they are zeros where there is none, or it is shorter.
    Below,
    /// As they are, from byte `offset` of a file on.
    AsIs {
        /// Which file: [`Plan::file`] has it.
        file: usize,
        /// Where they begin in it.
        offset: u64,
    },
    /// In a unit that is packed as a whole.
    Packed {
        /// Which unit: [`Plan::unpack`] has it.
        unit: u64,
        /// Where they begin in the unpacked unit.
        within: u64,
    },
}

/// A run of bytes that are kept the same way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// How.
    pub(super) kept: Kept,
    /// How many there are; at least one.
    pub(super) len_bytes: u64,
}

/// Where a container keeps which bytes of the drive.
pub(super) trait Plan: fmt::Debug + Send + Sync {
    /// Returns how many bytes the drive has.
    fn len_bytes(&self) -> u64;

    /// Returns the logical sector size of the drive in bytes, where the container tells.
    fn sector_size(&self) -> u32 {
        512
    }

    /// Returns the run that begins at byte `offset` of the drive, which lies inside it. It may reach past the end.
    ///
    /// # Errors
    /// Where the tables cannot be read or make no sense.
    fn run_at(&self, offset: u64) -> Result<Run, Fault>;

    /// Returns a file in which bytes are kept.
    fn file(&self, number: usize) -> Option<&Device>;

    /// Unpacks a unit, in containers that have any.
    ///
    /// # Errors
    /// Where it cannot be read, or is not what was packed.
    fn unpack(&self, _unit: u64) -> Result<Vec<u8>, Fault> {
        Err(Fault::damaged("nothing in it is packed"))
    }

    /// Returns how many bytes an unpacked unit has at most; a bound of memory.
    fn unit_bytes(&self) -> usize {
        // None are ever made.
        usize::MAX
    }
}

/// The drive inside a container.
#[derive(Debug)]
pub(super) struct Mapped<P> {
    plan: P,
    below: Option<Device>,
    units: Cache,
}

impl<P: Plan> Mapped<P> {
    /// Makes a device of a plan, and of the image that it is a change to.
    pub(super) fn new(plan: P, below: Option<Device>) -> Self {
        let units = Cache::of_entries(plan.unit_bytes());
        Self::within(units, plan, below)
    }

    /// Makes one that keeps what it unpacks in memory that others may share.
    pub(super) fn within(units: Cache, plan: P, below: Option<Device>) -> Self {
        Self { plan, below, units }
    }

    /// Returns the run at `offset` with all that goes on seamlessly behind it, `len` bytes at most.
    fn joined_run(&self, offset: u64, len: u64) -> Result<Run, Fault> {
        let mut run = self.plan.run_at(offset)?;
        while run.len_bytes < len && run.len_bytes > 0 {
            // A unit is unpacked by itself, and zeros are as fast in pieces.
            let Kept::AsIs { file, offset: start } = run.kept else {
                break;
            };
            let Some(behind) = offset.checked_add(run.len_bytes) else {
                break;
            };
            // What is wrong behind it is for the read that comes to it.
            match self.plan.run_at(behind) {
                Ok(next)
                    if next.len_bytes > 0
                        && (next.kept
                            == Kept::AsIs {
                                file,
                                offset: start.saturating_add(run.len_bytes),
                            }) =>
                {
                    run.len_bytes = run.len_bytes.saturating_add(next.len_bytes);
                }
                _ => break,
            }
        }
        run.len_bytes = run.len_bytes.min(len);
        Ok(run)
    }

    fn read_run(&self, offset: u64, kept: Kept, buf: &mut [u8]) -> Result<(), Fault> {
        match kept {
            Kept::Zeros => buf.fill(0),
            Kept::Below => self.read_below(offset, buf)?,
            Kept::AsIs { file, offset } => self
                .plan
                .file(file)
                .ok_or_else(|| Fault::damaged("it refers to a file that is not there"))?
                .read_at(offset, buf)?,
            Kept::Packed { unit, within } => {
                let bytes = self.units.get_or(unit, || self.plan.unpack(unit))?;
                let part = usize::try_from(within)
                    .ok()
                    .and_then(|start| bytes.get(start..start.checked_add(buf.len())?))
                    .ok_or_else(|| Fault::damaged("a packed part is too short"))?;
                buf.copy_from_slice(part);
            }
        }
        Ok(())
    }

    fn read_below(&self, offset: u64, buf: &mut [u8]) -> Result<(), Fault> {
        let Some(below) = &self.below else {
            buf.fill(0);
            return Ok(());
        };
        let there = usize::try_from(below.len_bytes().saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let (inside, past_it) = buf.split_at_mut_checked(there).unwrap_or_default();
        past_it.fill(0);
        if inside.is_empty() {
            return Ok(());
        }
        Ok(below.read_at(offset, inside)?)
    }

    /// Returns how much of a run reads as zeros without being stored.
    fn hole_in(&self, offset: u64, run: Run) -> u64 {
        match run.kept {
            Kept::Zeros => run.len_bytes,
            Kept::Below => match &self.below {
                Some(below) if offset < below.len_bytes() => below.hole_at(offset, run.len_bytes),
                _ => run.len_bytes,
            },
            Kept::AsIs { file, offset } => self
                .plan
                .file(file)
                .map_or(0, |file| file.hole_at(offset, run.len_bytes)),
            Kept::Packed { .. } => 0,
        }
    }
}

impl<P: Plan> BlockDevice for Mapped<P> {
    fn len_bytes(&self) -> u64 {
        self.plan.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.plan.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len_bytes = buf.len() as u64;
        ReadError::check_range(offset, len_bytes, self.len_bytes())?;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let run = self
                .joined_run(at, rest.len() as u64)
                .map_err(|fault| fault.at(offset, len_bytes))?;
            let count = usize::try_from(run.len_bytes).unwrap_or(usize::MAX);
            let Some((part, behind)) = rest.split_at_mut_checked(count).filter(|_| count > 0) else {
                return Err(Fault::damaged("its tables lead nowhere").at(offset, len_bytes));
            };
            self.read_run(at, run.kept, part)
                .map_err(|fault| fault.at(offset, len_bytes))?;
            at = at.saturating_add(run.len_bytes);
            rest = behind;
        }
        Ok(())
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let len = len.min(self.len_bytes().saturating_sub(offset));
        let mut hole = 0u64;
        for _ in 0..MAX_HOLE_STEPS {
            if hole >= len {
                break;
            }
            let at = offset.saturating_add(hole);
            let Ok(run) = self.plan.run_at(at) else { break };
            let found = self.hole_in(at, run).min(run.len_bytes);
            hole = hole.saturating_add(found);
            if found == 0 || found < run.len_bytes {
                break;
            }
        }
        hole.min(len)
    }
}
