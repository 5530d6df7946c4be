//! Reads a device on several threads and hands it over in order.
//!
//! Readers take neighbouring pieces of the source one after the other, so that a spinning disk sees a sequential
//! read, and the caller's thread gets the pieces in that order; when it has none to write it reads too. A fixed set of buffers goes round: a reader that
//! finds none waits until the caller is done with one, which bounds the memory.
//!
//! The threads talk over two channels. Whoever holds the buffers' sending end is the one who wants more: when it
//! goes, by the end, an error or a panic of the caller, the readers stop. A reader that panics hands the panic over
//! in its piece's turn, so nobody waits for a piece that never comes.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::aligned::AlignedBuffer;
use crate::device::{Device, ReadError};

/// How much is read at once, in bytes, and what the pieces are aligned to.
///
/// A piece should still be in the cache when it is written; above 256 KiB that costs up to 1.6 times in the kernel,
/// below 64 KiB the calls themselves show.
pub(super) const CHUNK_LEN: usize = 128 * 1024;

/// More readers than this have never been kept busy by one writer.
const MAX_READERS: usize = 64;

/// A part of the source, in its turn.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where it begins, in bytes from the start of the source.
    pub(super) offset: u64,
    /// How long it is: at most [`CHUNK_LEN`] bytes unless it is a hole.
    pub(super) len_bytes: u64,
    /// What the source has there.
    pub(super) content: Content,
    /// Holes carry a buffer too: it is what bounds how far the readers run ahead.
    buffer: AlignedBuffer,
}

/// What the source has in a piece.
#[derive(Debug)]
pub(super) enum Content {
    /// Zeros that are not stored; they were not read.
    Hole,
    /// The bytes in the buffer.
    Stored,
    /// It could not be read; the buffer's content is unspecified.
    Unreadable(ReadError),
}

impl Piece {
    /// Returns the bytes of a piece that is not a hole.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer
            .first_mut(usize::try_from(self.len_bytes).unwrap_or(CHUNK_LEN))
    }
}

/// Returns how many threads read a source of `total_bytes` besides the caller's: `wanted`, or one for each core but
/// the caller's and at least one; none where there is nothing to share.
pub(super) fn reader_count(wanted: Option<usize>, total_bytes: u64) -> usize {
    let chunks = usize::try_from(total_bytes.div_ceil(CHUNK_LEN as u64)).unwrap_or(usize::MAX);
    if chunks <= 1 {
        return 0;
    }
    wanted
        .unwrap_or_else(|| {
            thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
        })
        .min(MAX_READERS)
        .min(chunks)
}

/// Returns how many buffers go round: one in each reader's hands, one in the writer's, and as many again to wait for
/// their turn.
pub(super) fn buffer_count(readers: usize) -> usize {
    readers.saturating_mul(2).saturating_add(2)
}

/// Calls `consume` on the caller's thread with every piece of `source` in order, and stops at its first error.
///
/// The pieces cover the source without gaps. With `skip_holes` those parts that the source says are holes are not
/// read. `readers` threads read, and the caller's when it has nothing to consume. All of them have ended when this
/// returns.
///
/// # Panics
/// When the source panics: with its panic.
pub(super) fn for_each_piece<E>(
    source: &Device,
    skip_holes: bool,
    readers: usize,
    consume: &mut dyn FnMut(&mut Piece) -> Result<(), E>,
) -> Result<(), E> {
    let (give_back, free) = mpsc::channel();
    for _ in 0..buffer_count(readers) {
        // The receiving end is right here, so this cannot fail.
        let _ = give_back.send(AlignedBuffer::new(CHUNK_LEN));
    }
    let reading = &Reading {
        source,
        skip_holes,
        total_bytes: source.len_bytes(),
        is_over: AtomicBool::new(false),
        cursor: Mutex::new(Cursor {
            free,
            number: 0,
            offset: 0,
        }),
    };
    thread::scope(|scope| {
        let mut consumer = Consumer {
            give_back,
            is_over: &reading.is_over,
            consume,
        };
        let (deliver, delivered) = mpsc::channel();
        for _ in 0..readers {
            let deliver = deliver.clone();
            let reader = thread::Builder::new().name("keyhaven-reader".to_owned());
            // Where the system gives no thread, the others do its share, and this one at the last.
            let _ = reader.spawn_scoped(scope, move || reading.run(&deliver));
        }
        drop(deliver);
        let mut early = BTreeMap::new();
        let mut next_number = 0u64;
        loop {
            while let Some(outcome) = early.remove(&next_number) {
                consumer.take(outcome)?;
                next_number = next_number.saturating_add(1);
            }
            // With nothing to write this thread reads too: where reading is the work, its core is not left idle.
            let arrived = delivered
                .try_recv()
                .ok()
                .or_else(|| reading.next(IfNoBuffer::Leave))
                .or_else(|| delivered.recv().ok());
            let Some((number, outcome)) = arrived else {
                return Ok(());
            };
            early.insert(number, outcome);
        }
    })
}

/// A piece, or the panic of the source that it came to.
type Outcome = Result<Piece, Box<dyn Any + Send>>;

/// What the readers share.
struct Reading<'a> {
    source: &'a Device,
    skip_holes: bool,
    total_bytes: u64,
    is_over: AtomicBool,
    cursor: Mutex<Cursor>,
}

/// What a thread does that finds no buffer free.
#[derive(Debug, Clone, Copy)]
enum IfNoBuffer {
    /// A reader waits for one.
    Wait,
    /// The caller's thread, which gives them back, must not.
    Leave,
}

/// Where the next piece begins, and the buffers to put it into.
struct Cursor {
    free: Receiver<AlignedBuffer>,
    number: u64,
    offset: u64,
}

impl Reading<'_> {
    fn run(&self, deliver: &Sender<(u64, Outcome)>) {
        while let Some(numbered) = self.next(IfNoBuffer::Wait) {
            if deliver.send(numbered).is_err() {
                return;
            }
        }
    }

    /// Reads the next piece that nobody has taken; `None` after the last one, when the caller wants no more, and
    /// when there is no buffer and no waiting.
    fn next(&self, if_no_buffer: IfNoBuffer) -> Option<(u64, Outcome)> {
        let (number, planned) = self.plan(if_no_buffer)?;
        let outcome = planned.and_then(|mut piece| {
            if matches!(piece.content, Content::Stored) {
                let (source, offset) = (self.source, piece.offset);
                // A panic drops the buffer with the piece, so nobody sees what it left behind.
                let read = catch_unwind(AssertUnwindSafe(|| source.read_at(offset, piece.bytes_mut())))?;
                if let Err(error) = read {
                    piece.content = Content::Unreadable(error);
                }
            }
            Ok(piece)
        });
        Some((number, outcome))
    }

    /// Takes the next piece: a hole, or bytes that are still to be read.
    fn plan(&self, if_no_buffer: IfNoBuffer) -> Option<(u64, Outcome)> {
        // Panics are caught below, so the lock is never poisoned.
        let mut cursor = match if_no_buffer {
            IfNoBuffer::Wait => self.cursor.lock().ok()?,
            // Whoever holds it may be waiting for a buffer.
            IfNoBuffer::Leave => self.cursor.try_lock().ok()?,
        };
        let offset = cursor.offset;
        if offset >= self.total_bytes {
            return None;
        }
        // Waiting under the lock is right: the others wait for the same, and pieces stay in order.
        let buffer = match if_no_buffer {
            IfNoBuffer::Wait => cursor.free.recv().ok()?,
            IfNoBuffer::Leave => cursor.free.try_recv().ok()?,
        };
        // Buffers that were free at the end are still received.
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let number = cursor.number;
        cursor.number = number.saturating_add(1);

        let remaining = self.total_bytes - offset;
        let hole = if self.skip_holes {
            catch_unwind(AssertUnwindSafe(|| self.source.hole_at(offset, remaining)))
        } else {
            Ok(0)
        };
        let planned = hole.map(|hole| {
            let (len_bytes, content) = if hole > 0 {
                (hole.min(remaining), Content::Hole)
            } else {
                // To the next boundary, so that reads are aligned again after a hole that ended anywhere.
                let to_boundary = CHUNK_LEN as u64 - offset % CHUNK_LEN as u64;
                (to_boundary.min(remaining), Content::Stored)
            };
            Piece {
                offset,
                len_bytes,
                content,
                buffer,
            }
        });
        cursor.offset = match &planned {
            Ok(piece) => offset.saturating_add(piece.len_bytes),
            // Nothing follows a panic.
            Err(_) => self.total_bytes,
        };
        Some((number, planned))
    }
}

/// The caller's side: takes the pieces and gives their buffers back. When it goes, the readers stop.
struct Consumer<'a, E> {
    give_back: Sender<AlignedBuffer>,
    is_over: &'a AtomicBool,
    consume: &'a mut dyn FnMut(&mut Piece) -> Result<(), E>,
}

impl<E> Consumer<'_, E> {
    fn take(&mut self, outcome: Outcome) -> Result<(), E> {
        let mut piece = outcome.unwrap_or_else(|panic| resume_unwind(panic));
        (self.consume)(&mut piece)?;
        // Fails only when every reader has gone, and then nobody needs it.
        let _ = self.give_back.send(piece.buffer);
        Ok(())
    }
}

impl<E> Drop for Consumer<'_, E> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
