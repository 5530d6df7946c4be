//! Copies a device to a file or to another device, and holds the copy against its source ([`compare`]).
//!
//! [`export`] reads the source from its first byte to its last on all cores and gives it to a [`CopyTarget`] in
//! order, leaving out what is zero: in a new file those parts become holes. A copy is complete or an error.
//! [`rescue`] is for devices that fail: it copies what can be read, in an order that suits them, keeps a map of what
//! cannot, and can be gone on with.
//!
//! Reading a device may be work (an unlocked volume decrypts), and many threads can do it at once; writing is one
//! thread's. The pipeline between the two holds a few pieces of 128 KiB, whatever the size of the source.

mod compare;
mod pipeline;
mod rescue;
mod sparse;
mod target;

use std::io;
use std::ops::ControlFlow;

use crate::device::{Device, ReadError};
use crate::map::BadRange;
use pipeline::Content;
use sparse::SparseWriter;

pub use compare::{CompareError, compare};
pub use rescue::{Next, RescueOptions, RescueProgress, Watcher, rescue};
pub use target::{CopyTarget, DeviceTarget, FileTarget, ResumedFile};

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// How many threads read besides the caller's, which writes, and reads when it has nothing to write; `None` is
    /// one for each other core, and at least one.
    pub readers: Option<usize>,
}

impl CopyOptions {
    /// Sets how many threads read besides the caller's; with 0 that one does all the work.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = Some(readers);
        self
    }
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many bytes of the source are done with: copied, or known to be zero.
    pub done_bytes: u64,
    /// How many bytes the source has.
    pub total_bytes: u64,
}

/// What a copy came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// The length of the copy: that of the source.
    pub len_bytes: u64,
    /// How much of it was written rather than left as a hole.
    pub written_bytes: u64,
    /// What could not be read, in order, without overlaps; empty when the copy is complete.
    pub bad: Vec<BadRange>,
}

impl CopyReport {
    /// Returns how many bytes could not be read.
    #[must_use]
    pub fn bad_bytes(&self) -> u64 {
        self.bad.iter().map(|range| range.len_bytes).sum()
    }

    /// Returns whether every byte of the source was read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.bad.is_empty()
    }
}

/// Why a copy is not there. What was written so far stays; it is the caller's to remove.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source could not be read, and the copy was not to go on.
    #[error("reading the source failed at byte {offset}")]
    Read {
        /// Where, in bytes from the start of the source.
        offset: u64,
        /// What the source said.
        source: ReadError,
    },
    /// The target could not be written: full, or the medium failed.
    #[error("writing the copy failed at byte {offset}, after {written_bytes} bytes were written")]
    Write {
        /// Where the write began, in bytes from the start of the copy.
        offset: u64,
        /// How much had been written before, holes not counted.
        written_bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// All was written, but bringing it to the medium failed.
    #[error("finishing the copy failed after {written_bytes} bytes were written")]
    Finish {
        /// How much had been written, holes not counted.
        written_bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The map of what was read so far could not be kept.
    #[error("saving the map of what was read failed")]
    Save {
        /// What the operating system said.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("the copy was stopped at byte {offset}")]
    Stopped {
        /// How far it had come, in bytes from the start of the source.
        offset: u64,
    },
}

/// Copies all of `source` to `out`.
///
/// `progress` is called before the first piece and after every piece of at most 128 KiB (a longer hole counts as
/// one); it stops the copy by answering [`ControlFlow::Break`]. It and `out` are only called on the caller's thread, and no other thread is left when
/// this returns.
///
/// # Errors
/// See [`CopyError`]. Of several failures the first in the order of the source is the one returned.
///
/// # Panics
/// When the source or the target does: with its panic.
pub fn export(
    source: &Device,
    out: &mut dyn CopyTarget,
    options: CopyOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<CopyReport, CopyError> {
    let total_bytes = source.len_bytes();
    let skip_holes = out.starts_as_zeros();
    let readers = pipeline::reader_count(options.readers, total_bytes);
    let mut writer = SparseWriter::new(out);
    report(progress, 0, total_bytes)?;
    pipeline::for_each_piece(source, skip_holes, readers, &mut |piece| {
        let offset = piece.offset;
        match std::mem::replace(&mut piece.content, Content::Stored) {
            Content::Hole => {}
            Content::Stored => writer.write(offset, piece.bytes_mut())?,
            Content::Unreadable(error) => return Err(unreadable(offset, error)),
        }
        report(progress, offset.saturating_add(piece.len_bytes), total_bytes)
    })?;
    let written_bytes = writer.finish(total_bytes)?;
    Ok(CopyReport {
        len_bytes: total_bytes,
        written_bytes,
        bad: Vec::new(),
    })
}

/// Says how far the data go: the piece may have begun well before the damage.
fn unreadable(piece_offset: u64, source: ReadError) -> CopyError {
    let offset = match &source {
        ReadError::PastEnd { end, .. } => piece_offset.max(*end),
        _ => source.offset(),
    };
    CopyError::Read { offset, source }
}

fn report(
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    done_bytes: u64,
    total_bytes: u64,
) -> Result<(), CopyError> {
    match progress(Progress {
        done_bytes,
        total_bytes,
    }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(CopyError::Stopped { offset: done_bytes }),
    }
}

#[cfg(test)]
mod tests;
