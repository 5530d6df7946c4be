//! A file in memory that grows, and remembers what was written: images in tests are made and changed in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Growing;
use crate::device::{BlockDevice, Device, ReadError};
use crate::recording::Recorder;
use crate::writable::{WritableDevice, WriteError};

/// A file of changing length over a recorder of a fixed one.
#[derive(Debug)]
pub(super) struct RecordedFile {
    recorder: Recorder,
    len_bytes: AtomicU64,
}

impl RecordedFile {
    /// Makes a file of `bytes` that can grow up to `capacity`.
    pub(super) fn over(bytes: &[u8], capacity: usize) -> Arc<Self> {
        let mut room = bytes.to_vec();
        room.resize(capacity, 0);
        Arc::new(Self {
            recorder: Recorder::over(&room),
            len_bytes: AtomicU64::new(bytes.len() as u64),
        })
    }

    /// Returns all that is in it.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = self.recorder.content();
        content.truncate(self.len_bytes() as usize);
        content
    }

    /// Returns what it was asked to do.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl BlockDevice for RecordedFile {
    fn len_bytes(&self) -> u64 {
        self.len_bytes.load(Ordering::Acquire)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset, buf.len() as u64, self.len_bytes())?;
        self.recorder.read_at(offset, buf)
    }
}

impl WritableDevice for RecordedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        WriteError::check_range(offset, bytes.len() as u64, self.len_bytes())?;
        self.recorder.write_at(offset, bytes)
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.recorder.flush()
    }
}

impl Growing for RecordedFile {
    fn grow(&self, len_bytes: u64) -> Result<(), WriteError> {
        if len_bytes > self.recorder.len_bytes() {
            // As a disk that is full.
            return Err(WriteError::Io {
                offset: self.len_bytes(),
                len_bytes,
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.len_bytes.fetch_max(len_bytes, Ordering::AcqRel);
        Ok(())
    }
}

/// Writes to the disk inside an image, and checks that what a loss of power leaves is an image whose disk has, sector by
/// sector, what was flushed, or what was written after that.
///
/// `open_to_write` opens the image in a file, `open` the disk in what is left of it.
pub(super) fn check_losses_of_power(
    file: &Arc<RecordedFile>,
    disk: &dyn WritableDevice,
    open: impl Fn(Device) -> Device,
    states: usize,
) {
    const LEN: usize = 3000;

    let len = disk.len_bytes();
    let mut old = vec![0; len as usize];
    disk.read_at(0, &mut old).expect("inside");
    // After each number of events: what the disk held, and what it held when it was last flushed.
    let before = file.recorder.event_count();
    let mut history = vec![(before, old.clone(), old.clone())];
    let mut content = old.clone();
    let mut flushed = old;
    for round in 0..12u64 {
        // All over the disk, over the edges of blocks, and twice into one.
        let at = (round % 6 * (len / 6) + round * 700).min(len - LEN as u64);
        let bytes: Vec<u8> = (0..LEN)
            .map(|index| (index as u64 * 7 + round + 1) as u8 | 1)
            .collect();
        disk.write_at(at, &bytes).expect("room for it");
        content[at as usize..at as usize + LEN].copy_from_slice(&bytes);
        if round % 3 == 2 {
            disk.flush().expect("it can be flushed");
            flushed = content.clone();
        }
        history.push((file.recorder.event_count(), content.clone(), flushed.clone()));
    }
    let mut seen = 0;
    for state in file.recorder.states(states, 7) {
        if *state.when.end() < before {
            continue;
        }
        seen += 1;
        // What is there at least: the last step that was over before; at most: the one that was under way.
        let done = history
            .iter()
            .rfind(|(events, ..)| *events <= *state.when.start());
        let (_, _, least) = done.unwrap_or(&history[0]);
        let under_way = history.iter().find(|(events, ..)| *events >= *state.when.end());
        let (_, most, _) = under_way.unwrap_or(&history[history.len() - 1]);
        let image = open(state.device.clone());
        let mut found = vec![0; len as usize];
        image.read_at(0, &mut found).expect("the disk can be read");
        for (number, sector) in found.chunks(512).enumerate() {
            let range = number * 512..number * 512 + sector.len();
            let may_be = history
                .iter()
                .any(|(_, content, _)| sector == &content[range.clone()]);
            let is_kept = least[range.clone()] != most[range.clone()] || sector == &least[range.clone()];
            assert!(
                may_be && is_kept,
                "sector {number} after events {:?} ({})",
                state.when,
                state.kept
            );
        }
    }
    assert!(seen > 50, "{seen} states");
}
