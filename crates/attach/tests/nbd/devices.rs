//! Devices with what real ones have: holes, bad places, slowness, terabytes.

use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, MutexGuard};

use keyhaven_disk::{BlockDevice, MemoryDevice, ReadError, WritableDevice, WriteError};

/// A device in memory that can be told what goes wrong, and counts.
#[derive(Debug)]
pub(crate) struct Moody {
    pub(crate) memory: MemoryDevice,
    /// Reads that touch it fail.
    pub(crate) unreadable: Range<u64>,
    /// Writes that touch it fail as full.
    pub(crate) full: Range<u64>,
    /// Writes that touch it are refused.
    pub(crate) fixed: Range<u64>,
    /// Reads and writes that touch it panic.
    pub(crate) bug: Range<u64>,
    pub(crate) flushes: AtomicUsize,
    /// The length of the longest read or write, in bytes.
    pub(crate) longest: AtomicUsize,
    pub(crate) flush_fails: bool,
}

impl Moody {
    pub(crate) fn new(content: Vec<u8>) -> Self {
        Self {
            memory: MemoryDevice::new(content),
            unreadable: 0..0,
            full: 0..0,
            fixed: 0..0,
            bug: 0..0,
            flushes: AtomicUsize::new(0),
            longest: AtomicUsize::new(0),
            flush_fails: false,
        }
    }

    fn note(&self, offset: u64, len: usize) {
        self.longest.fetch_max(len, Ordering::SeqCst);
        assert!(!touch(&self.bug, offset, len), "a bug, as the test wants it");
    }
}

fn touch(range: &Range<u64>, offset: u64, len: usize) -> bool {
    offset < range.end && range.start < offset + len as u64
}

impl BlockDevice for Moody {
    fn len_bytes(&self) -> u64 {
        self.memory.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.note(offset, buf.len());
        if touch(&self.unreadable, offset, buf.len()) {
            return Err(ReadError::Io {
                offset: offset.max(self.unreadable.start),
                len_bytes: buf.len() as u64,
                source: io::Error::other("a bad sector"),
            });
        }
        self.memory.read_at(offset, buf)
    }
}

impl WritableDevice for Moody {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.note(offset, bytes.len());
        if touch(&self.fixed, offset, bytes.len()) {
            return Err(WriteError::Fixed { offset });
        }
        if touch(&self.full, offset, bytes.len()) {
            return Err(WriteError::Io {
                offset,
                len_bytes: bytes.len() as u64,
                source: io::ErrorKind::StorageFull.into(),
            });
        }
        self.memory.write_at(offset, bytes)
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        match self.flush_fails {
            true => Err(WriteError::Flush(io::Error::other("the cable is out"))),
            false => Ok(()),
        }
    }

    fn can_discard(&self) -> bool {
        true
    }

    fn discard(&self, offset: u64, len_bytes: u64) -> Result<(), WriteError> {
        // "Anything, but always the same".
        self.memory.write_at(offset, &vec![0xDC; len_bytes as usize])
    }
}

/// A device whose reads wait until they are let go.
#[derive(Debug)]
pub(crate) struct Slow {
    content: Vec<u8>,
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Slow {
    pub(crate) fn new(content: Vec<u8>) -> Self {
        Self {
            content,
            state: Mutex::new((0, false)),
            changed: Condvar::new(),
        }
    }

    /// Waits until so many reads wait.
    pub(crate) fn wait_for_readers(&self, count: usize) {
        let state: MutexGuard<'_, _> = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.0 < count).unwrap());
    }

    pub(crate) fn let_go(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl BlockDevice for Slow {
    fn len_bytes(&self) -> u64 {
        self.content.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.1).unwrap());
        self.content.read_at(offset, buf)
    }
}

/// Terabytes of holes with islands of computed bytes: the first mebibyte of each 256 GiB.
#[derive(Debug)]
pub(crate) struct Archipelago {
    pub(crate) len_bytes: u64,
}

impl Archipelago {
    pub(crate) const EVERY: u64 = 256 << 30;
    pub(crate) const ISLAND: u64 = 1 << 20;

    /// The bytes of a sector: its number, again and again; zeros off the islands.
    pub(crate) fn fill(offset: u64, buf: &mut [u8]) {
        for (at, byte) in (offset..).zip(buf) {
            let number = (at / 512).to_be_bytes();
            *byte = match at % Self::EVERY < Self::ISLAND {
                true => number[(at % 8) as usize] ^ 0x5A,
                false => 0,
            };
        }
    }
}

impl BlockDevice for Archipelago {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        Self::fill(offset, buf);
        Ok(())
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let within = offset % Self::EVERY;
        if within < Self::ISLAND {
            return 0;
        }
        (Self::EVERY - within).min(len)
    }
}
