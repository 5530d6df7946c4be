//! Threads that read a device, and may hang in it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::super::pipeline::CHUNK_LEN;
use crate::aligned::AlignedBuffer;
use crate::device::{Device, ReadError};

/// How long to wait for an answer before looking up.
const PATIENCE: Duration = Duration::from_millis(100);

/// A part of the device that was asked for.
#[derive(Debug)]
struct Question {
    offset: u64,
    len: usize,
    buffer: AlignedBuffer,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where it begins, in bytes from the start of the device.
    pub(super) offset: u64,
    len: usize,
    buffer: AlignedBuffer,
    read: Result<(), ReadError>,
}

impl Answer {
    /// Returns the first byte after it.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len as u64)
    }

    /// Returns whether it could be read.
    pub(super) fn is_read(&self) -> bool {
        self.read.is_ok()
    }

    /// Returns what was read; unspecified if it was not.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.first_mut(self.len)
    }
}

/// What a wait came to.
#[derive(Debug)]
pub(super) enum Patience {
    Answered(Answer),
    /// There is no answer yet.
    Over,
}

type Outcome = Result<Answer, Box<dyn Any + Send>>;

/// The threads, what they are asked and what they answer, in any order.
#[derive(Debug)]
pub(super) struct Asking {
    source: Device,
    ask: Sender<Question>,
    answers: Receiver<Outcome>,
    threads: usize,
    /// Answers of this thread, where the system gave no other.
    own: VecDeque<Outcome>,
    buffers: Vec<AlignedBuffer>,
}

impl Asking {
    pub(super) fn new(source: &Device, readers: usize) -> Self {
        let (ask, questions) = mpsc::channel::<Question>();
        let (reply, answers) = mpsc::channel();
        let questions = Arc::new(Mutex::new(questions));
        let mut threads = 0;
        for _ in 0..readers {
            let (source, questions, reply) = (Arc::clone(source), Arc::clone(&questions), reply.clone());
            let reader = thread::Builder::new().name("keyhaven-rescue".to_owned());
            let spawned = reader.spawn(move || {
                loop {
                    // One thread waits for the question, the others for their turn to wait.
                    let question = match questions.lock() {
                        Ok(questions) => questions.recv(),
                        Err(_) => return,
                    };
                    let Ok(question) = question else { return };
                    if reply.send(read(&source, question)).is_err() {
                        return;
                    }
                }
            });
            threads += usize::from(spawned.is_ok());
        }
        Self {
            source: Arc::clone(source),
            ask,
            answers,
            threads,
            own: VecDeque::new(),
            buffers: Vec::new(),
        }
    }

    /// Returns how many questions keep all threads busy.
    pub(super) fn full_depth(&self) -> usize {
        self.threads.saturating_add(1)
    }

    /// Asks for a range of at most [`CHUNK_LEN`] bytes.
    pub(super) fn ask(&mut self, offset: u64, len_bytes: u64) {
        let question = Question {
            offset,
            len: usize::try_from(len_bytes).map_or(CHUNK_LEN, |len| len.min(CHUNK_LEN)),
            buffer: self
                .buffers
                .pop()
                .unwrap_or_else(|| AlignedBuffer::new(CHUNK_LEN)),
        };
        if self.threads == 0 {
            self.own.push_back(read(&self.source, question));
        } else {
            // The threads end only after this does.
            let _ = self.ask.send(question);
        }
    }

    /// Waits a little for an answer to anything that was asked.
    ///
    /// # Panics
    /// When the source did: with its panic.
    pub(super) fn answer(&mut self) -> Patience {
        let outcome = match self.own.pop_front() {
            Some(own) => Ok(own),
            None => self.answers.recv_timeout(PATIENCE),
        };
        match outcome {
            Ok(Ok(answer)) => Patience::Answered(answer),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(RecvTimeoutError::Timeout) => Patience::Over,
            Err(RecvTimeoutError::Disconnected) => {
                // Panics of the source are caught, so a thread ends only when nobody asks any more.
                unreachable!("a reader ended that was still asked")
            }
        }
    }

    /// Takes back the memory of an answer.
    pub(super) fn give_back(&mut self, answer: Answer) {
        self.buffers.push(answer.buffer);
    }
}

fn read(source: &Device, mut question: Question) -> Outcome {
    let read = catch_unwind(AssertUnwindSafe(|| {
        source.read_at(question.offset, question.buffer.first_mut(question.len))
    }))?;
    Ok(Answer {
        offset: question.offset,
        len: question.len,
        buffer: question.buffer,
        read,
    })
}
