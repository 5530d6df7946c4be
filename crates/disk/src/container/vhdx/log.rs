//! The log: changes to the tables that were under way when the image was last written.
//!
//! It is a ring of entries. What counts is the run of entries with numbers one after the other whose last has the highest
//! number of all, and begins where that last entry says.

use std::sync::Arc;

use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::ContainerError;
use super::header::Header;
use super::{MIB, checksum};
use crate::device::{BlockDevice, Device, ReadError};

/// The log is made of these, in bytes.
pub(super) const SECTOR_LEN: usize = 4096;
/// The longest log that is read, in bytes; Windows and QEMU make logs of 1 MiB.
const MAX_LEN: u32 = 16 << 20;
/// How much is looked through for entries, in bytes: they may be claimed to lie over one another.
const MAX_CHECKED: usize = 256 << 20;
/// The most changes.
const MAX_PATCHES: usize = 32_768;
/// The most zeros, in bytes: more than the largest table of blocks has.
const MAX_ZEROS: u64 = 1 << 30;
/// The longest file: more than the largest disk takes.
pub(super) const MAX_FILE_LEN: u64 = 80 << 40;

const WHAT: &str = "the log";

/// As it lies in the file.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    signature: [u8; 4],
    checksum: U32,
    len: U32,
    tail: U32,
    sequence: U64,
    descriptor_count: U32,
    reserved: U32,
    log_id: [u8; 16],
    flushed_file_len: U64,
    last_file_len: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawDescriptor {
    signature: [u8; 4],
    /// The last four bytes of the sector, where the data sector has a part of its number.
    trailing: [u8; 4],
    /// The first eight bytes of the sector; or how many bytes are zeros.
    leading: [u8; 8],
    file_offset: U64,
    sequence: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawData {
    signature: [u8; 4],
    sequence_high: U32,
    data: [u8; 4084],
    sequence_low: U32,
}

/// A change of a part of the file.
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// What is there now; zeros where there is nothing.
    pub(super) bytes: Option<Vec<u8>>,
}

/// The changes, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    pub(super) patches: Arc<[Patch]>,
    /// How long the file is with them, in bytes, at least.
    pub(super) file_len: u64,
}

impl Changes {
    fn none() -> Self {
        Self {
            patches: Arc::new([]),
            file_len: 0,
        }
    }

    /// Returns whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.patches.is_empty() && self.file_len == 0
    }
}

/// An entry whose checksum is right.
struct Entry {
    /// Where it begins, in sectors of the log.
    at: usize,
    /// How long it is, in sectors.
    sectors: usize,
    /// Where the first entry of its run begins, in sectors.
    tail: usize,
    sequence: u64,
    descriptor_count: usize,
    flushed_file_len: u64,
    last_file_len: u64,
}

struct Log<'a> {
    bytes: &'a [u8],
    offset: u64,
}

/// Reads the changes that the header's log holds.
pub(super) fn read(file: &Device, header: &Header) -> Result<Changes, ContainerError> {
    if header.log_id.is_nil() {
        return Ok(Changes::none());
    }
    let damaged = |problem: String| ContainerError::Damaged {
        what: WHAT,
        offset: header.log_offset,
        problem,
    };
    let len = header.log_len;
    let is_placed = header.log_offset >= MIB && header.log_offset.is_multiple_of(MIB);
    if !is_placed || len == 0 || !u64::from(len).is_multiple_of(MIB) || len > MAX_LEN {
        return Err(damaged(format!(
            "it has {len} bytes, expected whole MiB and at most {MAX_LEN}"
        )));
    }
    ReadError::check_range(header.log_offset, u64::from(len), file.len_bytes())
        .map_err(|source| ContainerError::Read { what: WHAT, source })?;
    let mut bytes = vec![0; len as usize];
    file.read_at(header.log_offset, &mut bytes)
        .map_err(|source| ContainerError::Read { what: WHAT, source })?;
    let log = Log {
        bytes: &bytes,
        offset: header.log_offset,
    };
    let entries = log.entries(header.log_id).map_err(damaged)?;
    let run = log
        .active_run(&entries)
        .ok_or_else(|| damaged("no entries in it belong together".to_owned()))?;
    let mut patches = Vec::new();
    for entry in &run {
        log.patches(entry, &mut patches).map_err(damaged)?;
    }
    let last = run
        .last()
        .map_or((0, 0), |entry| (entry.flushed_file_len, entry.last_file_len));
    let (flushed_file_len, last_file_len) = last;
    if flushed_file_len > file.len_bytes() {
        return Err(damaged(format!(
            "the file had {flushed_file_len} bytes when it was written, and has {}",
            file.len_bytes()
        )));
    }
    let file_len = last_file_len.max(file.len_bytes());
    let is_inside = |patch: &Patch| {
        let end = patch.offset.checked_add(patch.len);
        end.is_some_and(|end| end <= file_len)
    };
    let zeros = patches.iter().filter(|patch| patch.bytes.is_none());
    let zeros = zeros.fold(0u64, |sum, patch| sum.saturating_add(patch.len));
    if file_len > MAX_FILE_LEN || zeros > MAX_ZEROS || !patches.iter().all(is_inside) {
        return Err(damaged("it changes parts that no file has".to_owned()));
    }
    Ok(Changes {
        patches: patches.into(),
        file_len,
    })
}

impl Log<'_> {
    fn sector_count(&self) -> usize {
        self.bytes.len() / SECTOR_LEN
    }

    /// Returns sectors of the ring.
    fn sectors(&self, first: usize, count: usize) -> Vec<u8> {
        let (start, len) = (first * SECTOR_LEN, count * SECTOR_LEN);
        let (behind, front) = self.bytes.split_at_checked(start).unwrap_or_default();
        let mut sectors = front.get(..len.min(front.len())).unwrap_or_default().to_vec();
        let rest = len - sectors.len();
        sectors.extend_from_slice(behind.get(..rest).unwrap_or_default());
        sectors
    }

    /// Finds all entries whose checksums are right.
    fn entries(&self, log_id: Uuid) -> Result<Vec<Entry>, String> {
        let mut checked = 0usize;
        let mut entries = Vec::new();
        for at in 0..self.sector_count() {
            let Some((raw, _)) = self
                .bytes
                .get(at * SECTOR_LEN..)
                .and_then(|bytes| RawEntry::ref_from_prefix(bytes).ok())
            else {
                break;
            };
            let (len, tail) = (raw.len.get() as usize, raw.tail.get() as usize);
            let is_shaped = raw.signature == *b"loge"
                && Uuid::from_bytes_le(raw.log_id) == log_id
                && raw.sequence.get() > 0
                && len > 0
                && len.is_multiple_of(SECTOR_LEN)
                && len <= self.bytes.len()
                && tail.is_multiple_of(SECTOR_LEN)
                && tail < self.bytes.len();
            if !is_shaped {
                continue;
            }
            checked = checked.saturating_add(len);
            if checked > MAX_CHECKED {
                return Err("its entries lie over one another".to_owned());
            }
            let sectors = len / SECTOR_LEN;
            if checksum::is_right(&self.sectors(at, sectors)) {
                entries.push(Entry {
                    at,
                    sectors,
                    tail: tail / SECTOR_LEN,
                    sequence: raw.sequence.get(),
                    descriptor_count: raw.descriptor_count.get() as usize,
                    flushed_file_len: raw.flushed_file_len.get(),
                    last_file_len: raw.last_file_len.get(),
                });
            }
        }
        Ok(entries)
    }

    /// Returns the entries that count, oldest first.
    fn active_run<'e>(&self, entries: &'e [Entry]) -> Option<Vec<&'e Entry>> {
        // By place; there is at most one at each.
        let mut by_place: Vec<Option<&Entry>> = vec![None; self.sector_count()];
        for entry in entries {
            if let Some(place) = by_place.get_mut(entry.at) {
                *place = Some(entry);
            }
        }
        let mut heads: Vec<&Entry> = entries.iter().collect();
        heads.sort_by_key(|entry| std::cmp::Reverse(entry.sequence));
        heads.into_iter().find_map(|head| {
            let mut run: Vec<&Entry> = Vec::new();
            let (mut at, mut sectors) = (head.tail, 0usize);
            loop {
                let entry = by_place.get(at).copied().flatten()?;
                let follows = run
                    .last()
                    .is_none_or(|before| before.sequence.checked_add(1) == Some(entry.sequence));
                sectors = sectors.saturating_add(entry.sectors);
                // A run does not bite its own tail.
                if !follows || sectors > self.sector_count() {
                    return None;
                }
                run.push(entry);
                if entry.at == head.at {
                    return Some(run);
                }
                at = (at + entry.sectors) % self.sector_count();
            }
        })
    }

    /// Adds the changes of one entry.
    fn patches(&self, entry: &Entry, patches: &mut Vec<Patch>) -> Result<(), String> {
        let place = self.offset.saturating_add((entry.at * SECTOR_LEN) as u64);
        let wrong = |what: &str| format!("the entry at byte {place:#x} {what}");
        let bytes = self.sectors(entry.at, entry.sectors);
        let head = size_of::<RawEntry>();
        let descriptors_len = entry
            .descriptor_count
            .checked_mul(size_of::<RawDescriptor>())
            .and_then(|len| len.checked_add(head)?.checked_next_multiple_of(SECTOR_LEN))
            .filter(|len| *len <= bytes.len())
            .ok_or_else(|| wrong("has more changes than it can hold"))?;
        let (front, data) = bytes.split_at(descriptors_len);
        let mut rest = front.get(head..).unwrap_or_default();
        let mut data = data.chunks_exact(SECTOR_LEN);
        for _ in 0..entry.descriptor_count {
            let (descriptor, behind) =
                RawDescriptor::ref_from_prefix(rest).map_err(|_| wrong("is too short"))?;
            rest = behind;
            if descriptor.sequence.get() != entry.sequence {
                return Err(wrong("has a change of another entry"));
            }
            let offset = descriptor.file_offset.get();
            let patch = match &descriptor.signature {
                b"zero" => Patch {
                    offset,
                    len: u64::from_le_bytes(descriptor.leading),
                    bytes: None,
                },
                b"desc" => {
                    let sector = data
                        .next()
                        .and_then(|sector| RawData::ref_from_bytes(sector).ok())
                        .ok_or_else(|| wrong("has too few data"))?;
                    let sequence =
                        u64::from(sector.sequence_high.get()) << 32 | u64::from(sector.sequence_low.get());
                    if sector.signature != *b"data" || sequence != entry.sequence {
                        return Err(wrong("has data of another entry"));
                    }
                    Patch {
                        offset,
                        len: SECTOR_LEN as u64,
                        bytes: Some([&descriptor.leading[..], &sector.data, &descriptor.trailing].concat()),
                    }
                }
                _ => return Err(wrong("has a change of an unknown kind")),
            };
            if !patch.offset.is_multiple_of(SECTOR_LEN as u64) || !patch.len.is_multiple_of(SECTOR_LEN as u64)
            {
                return Err(wrong("changes parts of sectors"));
            }
            if patches.len() >= MAX_PATCHES {
                return Err("it has too many changes".to_owned());
            }
            patches.push(patch);
        }
        Ok(())
    }
}

/// A file as it is with the changes of its log.
#[derive(Debug)]
pub(super) struct Replayed {
    file: Device,
    changes: Changes,
}

impl Replayed {
    /// Lays changes over a file.
    pub(super) fn new(file: Device, changes: Changes) -> Self {
        Self { file, changes }
    }
}

impl BlockDevice for Replayed {
    fn len_bytes(&self) -> u64 {
        self.file.len_bytes().max(self.changes.file_len)
    }

    fn sector_size(&self) -> u32 {
        self.file.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset, buf.len() as u64, self.len_bytes())?;
        let there = self.file.len_bytes().saturating_sub(offset).min(buf.len() as u64) as usize;
        let (inside, past) = buf.split_at_mut(there);
        if !inside.is_empty() {
            self.file.read_at(offset, inside)?;
        }
        past.fill(0);
        let end = offset.saturating_add(buf.len() as u64);
        for patch in self.changes.patches.iter() {
            let (from, to) = (
                patch.offset.max(offset),
                patch.offset.saturating_add(patch.len).min(end),
            );
            if from >= to {
                continue;
            }
            let place = (from - offset) as usize..(to - offset) as usize;
            let part = (from - patch.offset) as usize..(to - patch.offset) as usize;
            match (buf.get_mut(place), &patch.bytes) {
                (Some(place), None) => place.fill(0),
                (Some(place), Some(bytes)) => place.copy_from_slice(bytes.get(part).unwrap_or_default()),
                (None, _) => {}
            }
        }
        Ok(())
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let end = offset.saturating_add(len);
        let is_changed =
            |patch: &Patch| patch.offset < end && offset < patch.offset.saturating_add(patch.len);
        if self.changes.patches.iter().any(is_changed) || offset >= self.file.len_bytes() {
            return 0;
        }
        self.file.hole_at(offset, len)
    }
}
