//! Copies a device to a file or to another device, and holds the copy against its source ([`compare`]).
//!
//! [`export`] reads the source from its first byte to its last on all cores and gives it to a [`CopyTarget`] in
//! order, leaving out what is zero: in a new file those parts become holes. A copy is complete or an error. With
//! [`CopyOptions::keep_going`] parts that cannot be read are narrowed down to sectors, left as zeros in the copy,
//! and listed in the [`CopyReport`].
//!
//! Reading a device may be work (an unlocked volume decrypts), and many threads can do it at once; writing is one
//! thread's. The pipeline between the two holds a few pieces of 128 KiB, whatever the size of the source.

mod compare;
mod narrow;
mod pipeline;
mod sparse;
mod target;

use std::io;
use std::ops::ControlFlow;

use crate::device::{Device, ReadError};
use crate::map::BadRange;
use narrow::BadRanges;
use pipeline::Content;
use sparse::SparseWriter;

pub use compare::{CompareError, compare};
pub use target::{CopyTarget, DeviceTarget, FileTarget};

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Goes on past parts that cannot be read: they become zeros and are reported.
    pub keep_going: bool,
    /// How many threads read besides the caller's, which writes, and reads when it has nothing to write; `None` is
    /// one for each other core, and at least one.
    pub readers: Option<usize>,
}

impl CopyOptions {
    /// Sets whether the copy goes on past parts that cannot be read.
    #[must_use]
    pub fn keep_going(mut self, keep_going: bool) -> Self {
        self.keep_going = keep_going;
        self
    }

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
    /// How many bytes of the source are done with: copied, known to be zero, or given up.
    pub done_bytes: u64,
    /// How many bytes the source has.
    pub total_bytes: u64,
    /// How many bytes could not be read so far.
    pub bad_bytes: u64,
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
    ///
    /// Above a million ranges the last one grows over the readable parts between, which are copied all the same.
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
/// one), and after every failed attempt while a bad part is being narrowed down; it stops the copy by answering
/// [`ControlFlow::Break`]. It and `out` are only called on the caller's thread, and no other thread is left when
/// this returns.
///
/// # Errors
/// See [`CopyError`]. Of several failures the first in the order of the source is the one returned. With
/// [`CopyOptions::keep_going`] a source that cannot be read is not an error but a range in [`CopyReport::bad`].
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
    let mut bad = BadRanges::default();
    report(progress, 0, total_bytes, &bad)?;
    pipeline::for_each_piece(source, skip_holes, readers, &mut |piece| {
        let offset = piece.offset;
        match std::mem::replace(&mut piece.content, Content::Stored) {
            Content::Hole => {}
            Content::Stored => writer.write(offset, piece.bytes_mut())?,
            Content::Unreadable(error) if options.keep_going => {
                narrow::narrow_down(source, offset, piece.bytes_mut(), &error, &mut bad, &mut |bad| {
                    report(progress, offset, total_bytes, bad)
                })?;
                writer.write(offset, piece.bytes_mut())?;
            }
            Content::Unreadable(error) => return Err(unreadable(offset, error)),
        }
        report(
            progress,
            offset.saturating_add(piece.len_bytes),
            total_bytes,
            &bad,
        )
    })?;
    let written_bytes = writer.finish(total_bytes)?;
    Ok(CopyReport {
        len_bytes: total_bytes,
        written_bytes,
        bad: bad.into_ranges(),
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
    bad: &BadRanges,
) -> Result<(), CopyError> {
    match progress(Progress {
        done_bytes,
        total_bytes,
        bad_bytes: bad.total_bytes(),
    }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(CopyError::Stopped { offset: done_bytes }),
    }
}

#[cfg(test)]
mod tests;
