//! Writing to disks that are cut into blocks, which get a place in the file when they are first written.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::Fault;
use super::mapped::{Mapped, Plan, Run};
use super::{ContainerError, Growing};
use crate::device::{BlockDevice, Device, ReadError};
use crate::writable::{WritableDevice, WriteError};

/// A plan of blocks that knows how to give one a place.
pub(super) trait Blocks: Plan {
    /// Returns how long a block is, in bytes.
    fn block_bytes(&self) -> u64;

    /// Returns where in the file a block begins, ready to be written; `None` where it has no place.
    ///
    /// # Errors
    /// The tables cannot be read or are wrong, or the block cannot be made ready.
    fn place_of(&self, block: u64) -> Result<Option<u64>, ContainerError>;

    /// Makes the file long enough for one more block, which reads as zeros there, and returns where it begins.
    ///
    /// It is not the block's place before [`enter`](Self::enter). Never called by two threads at once.
    ///
    /// # Errors
    /// The file cannot be written.
    fn make_place(&self) -> Result<u64, WriteError>;

    /// Notes a place in the tables; what lies there is on the medium.
    ///
    /// # Errors
    /// The file cannot be written.
    fn enter(&self, block: u64, place: u64) -> Result<(), WriteError>;

    /// Does to the file what must be done before the first change.
    ///
    /// # Errors
    /// The file cannot be written.
    fn begin(&self) -> Result<(), WriteError>;
}

/// Whether what a new block holds is on the medium before the tables lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Yes: whatever ends the writing, the image is whole. Costs a flush for every new block.
    Kept,
    /// No: the file is thrown away if it does not get finished.
    Irrelevant,
}

/// A disk in blocks that can be written.
pub(super) struct Allocating<P> {
    plan: Arc<P>,
    reading: Mapped<Arc<P>>,
    file: Arc<dyn Growing>,
    order: Order,
    has_begun: AtomicBool,
    /// Held by whoever gives a block its place.
    giving_places: Mutex<()>,
}

impl<P: Blocks> Allocating<P> {
    /// Makes a device of a plan and the file that it is about.
    pub(super) fn new(plan: P, file: Arc<dyn Growing>, order: Order) -> Self {
        let plan = Arc::new(plan);
        Self {
            reading: Mapped::new(plan.clone(), None),
            plan,
            file,
            order,
            has_begun: AtomicBool::new(false),
            giving_places: Mutex::new(()),
        }
    }

    fn write_part(&self, block: u64, within: u64, part: &[u8]) -> Result<(), PartError> {
        if let Some(place) = self.plan.place_of(block)? {
            return Ok(self.file.write_at(place.saturating_add(within), part)?);
        }
        if part.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let _alone = self.places();
        // Somebody may have been quicker.
        if let Some(place) = self.plan.place_of(block)? {
            return Ok(self.file.write_at(place.saturating_add(within), part)?);
        }
        let place = self.plan.make_place()?;
        self.file.write_at(place.saturating_add(within), part)?;
        if self.order == Order::Kept {
            self.file.flush()?;
        }
        Ok(self.plan.enter(block, place)?)
    }

    fn begin(&self) -> Result<(), WriteError> {
        if self.has_begun.load(Ordering::Acquire) {
            return Ok(());
        }
        let _alone = self.places();
        if !self.has_begun.load(Ordering::Acquire) {
            self.plan.begin()?;
            self.has_begun.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn places(&self) -> MutexGuard<'_, ()> {
        // A place that was not entered is only lost.
        self.giving_places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes wrong with a part of a write, in the coordinates of the file.
enum PartError {
    File(WriteError),
    Image(ContainerError),
}

impl From<WriteError> for PartError {
    fn from(error: WriteError) -> Self {
        Self::File(error)
    }
}

impl From<ContainerError> for PartError {
    fn from(error: ContainerError) -> Self {
        Self::Image(error)
    }
}

impl PartError {
    /// Restates it as one of a write to the disk.
    fn at(self, offset: u64, len_bytes: u64) -> WriteError {
        let source = match self {
            Self::Image(error) => return error.into_write_error(offset, len_bytes),
            Self::File(WriteError::Flush(source)) => return WriteError::Flush(source),
            // The caller's coordinates replace those of the file.
            Self::File(WriteError::Io { source, .. }) => source,
            Self::File(error) => io::Error::other(error),
        };
        WriteError::Io {
            offset,
            len_bytes,
            source,
        }
    }
}

impl<P: Blocks> BlockDevice for Allocating<P> {
    fn len_bytes(&self) -> u64 {
        self.reading.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.reading.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.reading.read_at(offset, buf)
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        self.reading.hole_at(offset, len)
    }
}

impl<P: Blocks> WritableDevice for Allocating<P> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let len_bytes = bytes.len() as u64;
        WriteError::check_range(offset, len_bytes, self.len_bytes())?;
        let block_bytes = self.plan.block_bytes().max(1);
        let (mut at, mut rest) = (offset, bytes);
        if !rest.is_empty() {
            self.begin()
                .map_err(|error| PartError::File(error).at(offset, len_bytes))?;
        }
        while !rest.is_empty() {
            let within = at % block_bytes;
            let room = usize::try_from(block_bytes - within).unwrap_or(usize::MAX);
            let (part, later) = rest.split_at(room.min(rest.len()));
            self.write_part(at / block_bytes, within, part)
                .map_err(|error| error.at(offset, len_bytes))?;
            at = at.saturating_add(part.len() as u64);
            rest = later;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.file.flush()
    }
}

impl<P: Blocks> fmt::Debug for Allocating<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Allocating").field(&self.plan).finish()
    }
}

/// The plan of a disk that is read and written at once.
impl<P: Plan> Plan for Arc<P> {
    fn len_bytes(&self) -> u64 {
        (**self).len_bytes()
    }

    fn sector_size(&self) -> u32 {
        (**self).sector_size()
    }

    fn run_at(&self, offset: u64) -> Result<Run, Fault> {
        (**self).run_at(offset)
    }

    fn file(&self, number: usize) -> Option<&Device> {
        (**self).file(number)
    }

    fn unpack(&self, unit: u64) -> Result<Vec<u8>, Fault> {
        (**self).unpack(unit)
    }

    fn unit_bytes(&self) -> usize {
        (**self).unit_bytes()
    }
}
