//! Requests and replies, once a client uses an export.
//!
//! A session has a few workers. One of them at a time, the leader, reads the next request; then it hands the reading
//! half of the connection to the next worker and does what was asked. So as many requests are in progress as there
//! are workers, replies come as they are done, and nobody queues anything: what is not read yet waits in the client's
//! socket. A worker has one buffer of [`PIECE_LEN`], whatever a client asks for, and larger requests go through it in
//! pieces.

use std::io::{self, IoSlice, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use keyhaven_disk::{AlignedBuffer, ReadError, Writable};

use super::event::{Event, Watch};
use super::export::{Export, MAX_REQUEST_LEN};
use super::extent::extents;
use super::failure::Failure;
use super::handshake::{Agreed, BASE_ALLOCATION_ID};
use super::reply::{Chunk, ErrorNumber, simple};
use super::request::{Command, Request, flag};

/// How much is read from or written to the device at once, in bytes.
pub(super) const PIECE_LEN: usize = 256 * 1024;

/// Zeros to be written.
static ZEROS: [u8; PIECE_LEN] = [0; PIECE_LEN];

/// Why a session ended other than by the client's wish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// What came is not a request.
    #[error("what the client sent is not a request of the protocol")]
    NotARequest,
    /// The device panicked in the middle of the data of a write.
    #[error("there is a bug in the server")]
    Bug,
}

/// A client that uses an export.
pub(super) struct Session<'a, R, W> {
    export: &'a Export,
    agreed: Agreed,
    is_stopping: &'a AtomicBool,
    watch: &'a Watch<'a>,
    reading: Mutex<Incoming<R>>,
    writing: Mutex<W>,
    /// Nothing more can be said to the client.
    is_broken: AtomicBool,
}

struct Incoming<R> {
    stream: R,
    is_over: bool,
    problem: Option<SessionError>,
}

/// A request that was read.
struct Job {
    request: Request,
    /// For [`Command::Write`]: what became of the data so far.
    written: Option<Written>,
}

/// A write of which all but the last piece is done.
struct Written {
    so_far: Result<(), Failure>,
    /// Where the last piece goes, which is in the worker's buffer.
    offset: u64,
    len: usize,
}

impl<'a, R: Read + Send, W: Write + Send> Session<'a, R, W> {
    pub(super) fn new(
        (reading, writing): (R, W),
        export: &'a Export,
        agreed: Agreed,
        is_stopping: &'a AtomicBool,
        watch: &'a Watch<'a>,
    ) -> Self {
        Self {
            export,
            agreed,
            is_stopping,
            watch,
            reading: Mutex::new(Incoming {
                stream: reading,
                is_over: false,
                problem: None,
            }),
            writing: Mutex::new(writing),
            is_broken: AtomicBool::new(false),
        }
    }

    /// Serves the client on the caller's thread and `workers - 1` others until it leaves, or the server is stopping
    /// and what was begun is done.
    pub(super) fn run(self, workers: usize) -> Result<(), SessionError> {
        thread::scope(|scope| {
            for _ in 1..workers {
                // Fewer workers are enough; the caller's thread is one.
                let _ = thread::Builder::new().spawn_scoped(scope, || self.work());
            }
            self.work();
        });
        let incoming = self.reading.into_inner().unwrap_or_else(PoisonError::into_inner);
        incoming.problem.map_or(Ok(()), Err)
    }

    fn work(&self) {
        let mut buffer = AlignedBuffer::new(PIECE_LEN);
        while let Some(job) = self.next(&mut buffer) {
            let request = job.request;
            // A bug in a device costs the request that met it, and nobody else.
            let answered = catch_unwind(AssertUnwindSafe(|| self.answer(job, &mut buffer)));
            let bug = Failure::new(ErrorNumber::Io, "there is a bug in the server");
            if let Err(error) = answered.unwrap_or_else(|_| self.say_failure(&request, &bug)) {
                self.is_broken.store(true, Ordering::Relaxed);
                let mut incoming = lock(&self.reading);
                incoming.problem.get_or_insert(error.into());
            }
        }
    }

    /// Reads the next request; [`None`] when there are no more.
    fn next(&self, buffer: &mut AlignedBuffer) -> Option<Job> {
        let mut incoming = lock(&self.reading);
        let is_broken = self.is_broken.load(Ordering::Relaxed);
        if incoming.is_over || is_broken || self.is_stopping.load(Ordering::Relaxed) {
            return None;
        }
        let taken = catch_unwind(AssertUnwindSafe(|| self.take(&mut incoming.stream, buffer)));
        match taken.unwrap_or(Err(SessionError::Bug)) {
            Ok(Some(job)) => return Some(job),
            Ok(None) => {}
            Err(error) => incoming.problem = Some(error),
        }
        incoming.is_over = true;
        None
    }

    fn take(&self, stream: &mut R, buffer: &mut AlignedBuffer) -> Result<Option<Job>, SessionError> {
        let mut header = [0; Request::LEN];
        if !fill_or_end(stream, &mut header)? {
            return Ok(None);
        }
        let request = Request::read(&header).ok_or(SessionError::NotARequest)?;
        let written = match request.command {
            Command::Disconnect => return Ok(None),
            Command::Write => Some(self.take_data(&request, stream, buffer)?),
            _ => None,
        };
        Ok(Some(Job { request, written }))
    }

    /// Takes the data of a write from the connection, all of them whatever happens, and writes all but the last piece.
    fn take_data(
        &self,
        request: &Request,
        stream: &mut R,
        buffer: &mut AlignedBuffer,
    ) -> Result<Written, SessionError> {
        let device = self.may_write(request);
        let mut written = Written {
            so_far: device.as_ref().map(|_| ()).map_err(Clone::clone),
            offset: request.offset,
            len: 0,
        };
        let mut left = request.len_bytes as usize;
        loop {
            let bytes = buffer.first_mut(left.min(PIECE_LEN));
            stream.read_exact(bytes)?;
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                written.len = bytes.len();
                return Ok(written);
            }
            if let (Ok(()), Ok(device)) = (&written.so_far, &device) {
                written.so_far = self.write_piece(device, written.offset, bytes);
            }
            written.offset = written.offset.saturating_add(bytes.len() as u64);
        }
    }

    /// Does what was asked and says so; an error means that the client cannot be told anything more.
    fn answer(&self, job: Job, buffer: &mut AlignedBuffer) -> io::Result<()> {
        let Job { request, written } = job;
        if let Err(failure) = check_flags(&request, self.agreed) {
            return self.say_failure(&request, &failure);
        }
        let outcome = match request.command {
            Command::Read => return self.read(&request, buffer),
            Command::BlockStatus => return self.block_status(&request),
            Command::Write => self.finish_write(&request, written, buffer),
            Command::Flush => self.flush(),
            Command::Trim => self.trim(&request),
            Command::WriteZeroes => self.write_zeroes(&request),
            Command::Disconnect | Command::Unknown(_) => {
                Err(Failure::invalid("this server does not know the command"))
            }
        };
        match outcome {
            Ok(()) => self.say(&[&simple(request.cookie, Ok(()))]),
            Err(failure) => self.say_failure(&request, &failure),
        }
    }

    fn read(&self, request: &Request, buffer: &mut AlignedBuffer) -> io::Result<()> {
        if let Err(failure) = self.may_read(request) {
            return self.say_failure(request, &failure);
        }
        if !self.agreed.has_structured_replies {
            return self.read_simply(request, buffer);
        }
        let end = request.offset.saturating_add(u64::from(request.len_bytes));
        if request.has(flag::DO_NOT_FRAGMENT) && request.len_bytes as usize > PIECE_LEN {
            let message = format!("one chunk has at most {PIECE_LEN} bytes here");
            return self.say_failure(request, &Failure::new(ErrorNumber::Overflow, message));
        }
        let mut offset = request.offset;
        while offset < end {
            let left = end.saturating_sub(offset);
            let hole = match request.has(flag::DO_NOT_FRAGMENT) {
                true => 0,
                false => self.export.device().hole_at(offset, left).min(left),
            };
            let len = if hole > 0 {
                hole
            } else {
                left.min(PIECE_LEN as u64)
            };
            // A request has less than 4 GiB, and so has each part of it.
            let len_bytes = u32::try_from(len).unwrap_or(u32::MAX);
            let next = offset.saturating_add(len);
            if hole > 0 {
                let chunk = Chunk::Hole { offset, len_bytes };
                self.say(&[&chunk.to_bytes(request.cookie, next >= end)])?;
            } else {
                let bytes = buffer.first_mut(len_bytes as usize);
                if let Err(error) = self.read_piece(offset, bytes) {
                    let mut failure = Failure::from(&error);
                    failure.offset = failure
                        .offset
                        .map(|at| at.clamp(request.offset, end.saturating_sub(1)));
                    return self.say_failure(request, &failure);
                }
                let chunk = Chunk::Data { offset, len_bytes };
                self.say(&[&chunk.to_bytes(request.cookie, next >= end), bytes])?;
            }
            offset = next;
        }
        if request.len_bytes == 0 {
            return self.say(&[&Chunk::Nothing.to_bytes(request.cookie, true)]);
        }
        Ok(())
    }

    /// Answers a read with one reply, which says before the data whether they could be read.
    fn read_simply(&self, request: &Request, buffer: &mut AlignedBuffer) -> io::Result<()> {
        let header = simple(request.cookie, Ok(()));
        let mut pieces = Pieces::of(request);
        if request.len_bytes as usize <= PIECE_LEN {
            let bytes = buffer.first_mut(request.len_bytes as usize);
            return match self.read_piece(request.offset, bytes) {
                Ok(()) => self.say(&[&header, bytes]),
                Err(error) => self.say_failure(request, &Failure::from(&error)),
            };
        }
        // It does not fit into the buffer, so it is read twice: there is no way to take the first words back.
        for (offset, len) in pieces.clone() {
            if let Err(error) = self.read_piece(offset, buffer.first_mut(len)) {
                return self.say_failure(request, &Failure::from(&error));
            }
        }
        let mut writing = self.writing()?;
        write_all(&mut *writing, &[&header])?;
        pieces.try_for_each(|(offset, len)| {
            let bytes = buffer.first_mut(len);
            self.read_piece(offset, bytes).map_err(io::Error::other)?;
            write_all(&mut *writing, &[bytes])
        })
    }

    fn block_status(&self, request: &Request) -> io::Result<()> {
        if !self.agreed.has_base_allocation {
            return self.say_failure(
                request,
                &Failure::invalid("no kind of block status was agreed on"),
            );
        }
        let is_inside = self.export.contains(request.offset, request.len_bytes);
        if !is_inside || request.len_bytes == 0 {
            return self.say_failure(request, &Failure::invalid("the range is not one of this export"));
        }
        let device = self.export.device();
        let only_one = request.has(flag::ONE_EXTENT);
        let extents = extents(device.as_ref(), request.offset, request.len_bytes, only_one);
        let chunk = Chunk::BlockStatus {
            context: BASE_ALLOCATION_ID,
            extents: &extents,
        };
        self.say(&[&chunk.to_bytes(request.cookie, true)])
    }

    fn finish_write(
        &self,
        request: &Request,
        written: Option<Written>,
        buffer: &mut AlignedBuffer,
    ) -> Result<(), Failure> {
        let device = self.may_write(request)?;
        if let Some(written) = written {
            written.so_far?;
            self.write_piece(device, written.offset, buffer.first_mut(written.len))?;
        }
        self.settle(request, device)
    }

    fn flush(&self) -> Result<(), Failure> {
        match self.export.writable() {
            Some(device) => self.flush_device(device),
            // Nothing was written, so all of it is on the medium.
            None => Ok(()),
        }
    }

    fn trim(&self, request: &Request) -> Result<(), Failure> {
        let device = self.writable()?;
        if !self.export.contains(request.offset, request.len_bytes) {
            return Err(Failure::invalid("the range ends past the end of the export"));
        }
        device
            .discard(request.offset, u64::from(request.len_bytes))
            .map_err(|error| {
                (self.watch)(Event::WriteFailed(&error));
                Failure::from(&error)
            })?;
        self.settle(request, device)
    }

    fn write_zeroes(&self, request: &Request) -> Result<(), Failure> {
        let device = self.writable()?;
        if !self.export.contains(request.offset, request.len_bytes) {
            return Err(past_end());
        }
        if request.has(flag::FAST_ZERO) {
            let message = "zeros are written like anything else here";
            return Err(Failure::new(ErrorNumber::NotSupported, message));
        }
        for (offset, len) in Pieces::of(request) {
            if self.is_stopping.load(Ordering::Relaxed) {
                return Err(Failure::new(
                    ErrorNumber::ShuttingDown,
                    "the server is about to end",
                ));
            }
            self.write_piece(device, offset, ZEROS.get(..len).unwrap_or(&ZEROS))?;
        }
        self.settle(request, device)
    }

    /// Brings to the medium what a request has changed, where it asks for that.
    fn settle(&self, request: &Request, device: &Writable) -> Result<(), Failure> {
        match request.has(flag::FORCE_UNIT_ACCESS) {
            true => self.flush_device(device),
            false => Ok(()),
        }
    }

    fn flush_device(&self, device: &Writable) -> Result<(), Failure> {
        device.flush().map_err(|error| {
            (self.watch)(Event::WriteFailed(&error));
            Failure::from(&error)
        })
    }

    fn may_read(&self, request: &Request) -> Result<(), Failure> {
        if request.len_bytes > MAX_REQUEST_LEN {
            return Err(too_long());
        }
        match self.export.contains(request.offset, request.len_bytes) {
            true => Ok(()),
            false => Err(Failure::invalid("the range ends past the end of the export")),
        }
    }

    fn may_write(&self, request: &Request) -> Result<&Writable, Failure> {
        let device = self.writable()?;
        check_flags(request, self.agreed)?;
        if request.len_bytes > MAX_REQUEST_LEN {
            return Err(too_long());
        }
        match self.export.contains(request.offset, request.len_bytes) {
            true => Ok(device),
            false => Err(past_end()),
        }
    }

    fn writable(&self) -> Result<&Writable, Failure> {
        let refused = || Failure::new(ErrorNumber::NotPermitted, "the export is read-only");
        self.export.writable().ok_or_else(refused)
    }

    fn read_piece(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        let outcome = self.export.device().read_at(offset, bytes);
        if let Err(error) = &outcome {
            (self.watch)(Event::ReadFailed(error));
        }
        outcome
    }

    fn write_piece(&self, device: &Writable, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        device.write_at(offset, bytes).map_err(|error| {
            (self.watch)(Event::WriteFailed(&error));
            Failure::from(&error)
        })
    }

    fn say_failure(&self, request: &Request, failure: &Failure) -> io::Result<()> {
        let number = failure.number;
        let message = failure.message.as_str();
        let takes_chunks = matches!(request.command, Command::Read | Command::BlockStatus);
        if !self.agreed.has_structured_replies || !takes_chunks {
            return self.say(&[&simple(request.cookie, Err(number))]);
        }
        let chunk = match failure.offset {
            Some(offset) => Chunk::ErrorAt {
                number,
                message,
                offset,
            },
            None => Chunk::Error { number, message },
        };
        self.say(&[&chunk.to_bytes(request.cookie, true)])
    }

    fn say(&self, parts: &[&[u8]]) -> io::Result<()> {
        write_all(&mut *self.writing()?, parts)
    }

    fn writing(&self) -> io::Result<MutexGuard<'_, W>> {
        // Whoever panicked may have said half a reply, and nobody could tell where the next begins.
        let broken = |_| io::Error::other("a worker failed in the middle of a reply");
        self.writing.lock().map_err(broken)
    }
}

/// The pieces of a request's range, in order: where each begins and how long it is, in bytes.
#[derive(Clone)]
struct Pieces {
    offset: u64,
    left: usize,
}

impl Pieces {
    fn of(request: &Request) -> Self {
        Self {
            offset: request.offset,
            left: request.len_bytes as usize,
        }
    }
}

impl Iterator for Pieces {
    type Item = (u64, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let len = self.left.min(PIECE_LEN);
        let piece = (self.offset, len);
        self.left = self.left.saturating_sub(len);
        self.offset = self.offset.saturating_add(len as u64);
        (len > 0).then_some(piece)
    }
}

/// Refuses a request with flags that its command does not have.
fn check_flags(request: &Request, agreed: Agreed) -> Result<(), Failure> {
    // "On the medium before the reply" may come with everything, and means nothing to most commands.
    let known = flag::FORCE_UNIT_ACCESS
        | match request.command {
            Command::Read if agreed.has_structured_replies => flag::DO_NOT_FRAGMENT,
            Command::WriteZeroes => flag::NO_HOLE | flag::FAST_ZERO,
            Command::BlockStatus => flag::ONE_EXTENT,
            _ => 0,
        };
    match request.flags & !known {
        0 => Ok(()),
        _ => Err(Failure::invalid("the command does not have these flags")),
    }
}

fn past_end() -> Failure {
    Failure::new(ErrorNumber::NoSpace, "the range ends past the end of the export")
}

fn too_long() -> Failure {
    Failure::invalid("requests have at most 32 MiB here")
}

/// Fills `bytes`; false where the stream ended before the first.
fn fill_or_end(stream: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    let first = loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => break outcome?,
        }
    };
    if first == 0 {
        return Ok(false);
    }
    stream.read_exact(bytes.get_mut(first..).unwrap_or_default())?;
    Ok(true)
}

/// Writes all parts, one after the other, in one call where the stream allows it.
fn write_all(stream: &mut impl Write, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    // Empty parts at the front would look like a stream that takes nothing.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match stream.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lock<R>(reading: &Mutex<Incoming<R>>) -> MutexGuard<'_, Incoming<R>> {
    // Panics are caught under this lock.
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}
