//! Where the sectors of the disk lie.

use super::super::ContainerError;
use super::super::fault::Fault;
use super::super::mapped::{Kept, Plan, Run};
use super::super::units::Tables;
use super::MIB;
use super::metadata::Metadata;
use super::region::{Region, Regions};
use crate::device::Device;

// What an entry of the table says of its block. Of the others nothing is known but that they are zeros.
const NOT_PRESENT: u8 = 0;
pub(super) const PRESENT: u8 = 6;
const PARTIALLY_PRESENT: u8 = 7;
/// Where the content cannot be told, only that nobody relies on it.
const UNDEFINED: u8 = 1;
const ZERO: u8 = 2;
const UNMAPPED: u8 = 3;

/// How many sectors a block of bitmaps is about.
const SECTORS_IN_CHUNK: u64 = 1 << 23;
/// How many blocks that are not stored are taken together.
const MAX_JOINED: u64 = 64;
/// How many sectors of a block are taken together, for bitmaps that go on and off.
const MAX_SECTORS: u64 = 4096;

/// An entry of the table of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) state: u8,
    /// Where the block lies in the file, in bytes.
    pub(super) offset: u64,
}

impl Entry {
    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            state: (bits & 7) as u8,
            offset: bits & !(MIB - 1),
        }
    }

    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.state) | self.offset & !(MIB - 1)
    }
}

/// The disk of an image.
#[derive(Debug)]
pub(super) struct DynamicDisk {
    tables: Tables,
    len_bytes: u64,
    sector_size: u32,
    block_bytes: u64,
    /// How many blocks stand in the table before the entry of a block of bitmaps.
    chunk_ratio: u64,
    bat: Region,
    has_parent: bool,
}

impl DynamicDisk {
    /// Makes a plan of what lies in `file`.
    pub(super) fn new(file: Device, regions: &Regions, metadata: &Metadata) -> Result<Self, ContainerError> {
        let disk = Self {
            len_bytes: metadata.len_bytes,
            sector_size: metadata.sector_size,
            block_bytes: u64::from(metadata.block_bytes),
            chunk_ratio: chunk_ratio(metadata),
            bat: regions.bat,
            has_parent: metadata.parent.is_some(),
            tables: Tables::of(file),
        };
        let needed = disk.entry_count().saturating_mul(8);
        let file_len = disk.tables.file().len_bytes();
        if needed > u64::from(disk.bat.len) || disk.bat.offset.saturating_add(needed) > file_len {
            return Err(ContainerError::Damaged {
                what: "the table of blocks",
                offset: disk.bat.offset,
                problem: format!(
                    "it has {:#x} bytes and needs {needed:#x}, and the file ends at byte {file_len:#x}",
                    disk.bat.len
                ),
            });
        }
        Ok(disk)
    }

    /// Returns the file that the disk lies in.
    pub(super) fn image(&self) -> &Device {
        self.tables.file()
    }

    /// Returns how long a block is, in bytes.
    pub(super) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Returns how many blocks the disk has.
    pub(super) fn block_count(&self) -> u64 {
        self.len_bytes.div_ceil(self.block_bytes)
    }

    /// Returns how many entries the table has, those of bitmaps among them.
    pub(super) fn entry_count(&self) -> u64 {
        entry_count(self.block_count(), self.chunk_ratio, self.has_parent)
    }

    /// Returns where the entry of a block lies in the file.
    pub(super) fn entry_offset(&self, block: u64) -> u64 {
        self.entry_offset_of(block.saturating_add(block / self.chunk_ratio))
    }

    fn entry_offset_of(&self, index: u64) -> u64 {
        self.bat.offset.saturating_add(index.saturating_mul(8))
    }

    /// Returns the entry of a block.
    pub(super) fn entry(&self, block: u64) -> Result<Entry, Fault> {
        self.entry_at(self.entry_offset(block))
    }

    fn entry_at(&self, offset: u64) -> Result<Entry, Fault> {
        Ok(Entry::from_bits(u64::from_le_bytes(
            self.tables.bytes_at(offset)?,
        )))
    }

    /// Returns whether an entry is one of a block of bitmaps.
    pub(super) fn is_of_bitmaps(&self, index: u64) -> bool {
        index % (self.chunk_ratio + 1) == self.chunk_ratio
    }

    /// Forgets what was read of a part of the file that has changed.
    pub(super) fn forget(&self, offset: u64, len_bytes: u64) {
        self.tables.forget(offset, len_bytes);
    }

    /// Returns how a block that is not stored is kept, if that is known.
    fn kept_without_place(&self, state: u8) -> Option<Kept> {
        match state {
            NOT_PRESENT => Some(Kept::Below),
            UNDEFINED | ZERO | UNMAPPED => Some(Kept::Zeros),
            _ => None,
        }
    }

    /// Returns whether a sector of a block is stored, and how many from there on are the same, up to `limit`.
    fn sectors_at(&self, block: u64, first: u64, limit: u64) -> Result<(bool, u64), Fault> {
        let chunk = block / self.chunk_ratio;
        let index = chunk
            .saturating_mul(self.chunk_ratio + 1)
            .saturating_add(self.chunk_ratio);
        let bitmaps = self.entry_at(self.entry_offset_of(index))?;
        if bitmaps.state != PRESENT || bitmaps.offset == 0 {
            return Err(Fault::damaged(format!(
                "block {block} is stored in part, and which part is not"
            )));
        }
        let sectors_in_block = self.block_bytes / u64::from(self.sector_size);
        let base = block % self.chunk_ratio * sectors_in_block;
        let mut state = None;
        let mut sector = first;
        while sector - first < limit {
            let bit = base + sector;
            let [byte] = self.tables.bytes_at(bitmaps.offset.saturating_add(bit / 8))?;
            // The first sector is the lowest bit.
            let is_stored = byte & (1 << (bit % 8)) != 0;
            if *state.get_or_insert(is_stored) != is_stored {
                break;
            }
            let is_uniform = bit.is_multiple_of(8) && (byte == 0 || byte == 0xFF);
            sector += if is_uniform { 8 } else { 1 };
        }
        Ok((state.unwrap_or_default(), (sector - first).min(limit)))
    }
}

/// Returns how many blocks a block of bitmaps is about.
pub(super) fn chunk_ratio(metadata: &Metadata) -> u64 {
    let chunk_bytes = SECTORS_IN_CHUNK * u64::from(metadata.sector_size);
    (chunk_bytes / u64::from(metadata.block_bytes.max(1))).max(1)
}

/// Returns how many entries the table of so many blocks has.
pub(super) fn entry_count(block_count: u64, chunk_ratio: u64, has_parent: bool) -> u64 {
    if has_parent {
        block_count.div_ceil(chunk_ratio).saturating_mul(chunk_ratio + 1)
    } else {
        block_count.saturating_add(block_count.saturating_sub(1) / chunk_ratio)
    }
}

impl Plan for DynamicDisk {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn run_at(&self, offset: u64) -> Result<Run, Fault> {
        let block = offset / self.block_bytes;
        let within = offset % self.block_bytes;
        let entry = self.entry(block)?;
        let rest = self.block_bytes - within;
        if let Some(kept) = self.kept_without_place(entry.state) {
            let mut last = block;
            while last - block < MAX_JOINED
                && last + 1 < self.block_count()
                && matches!(self.entry(last + 1), Ok(next) if self.kept_without_place(next.state) == Some(kept))
            {
                last += 1;
            }
            return Ok(Run {
                kept,
                len_bytes: (last - block) * self.block_bytes + rest,
            });
        }
        if entry.offset == 0 {
            return Err(Fault::damaged(format!("block {block} is stored nowhere")));
        }
        let stored = Kept::AsIs {
            file: 0,
            offset: entry.offset.saturating_add(within),
        };
        match entry.state {
            PRESENT => Ok(Run {
                kept: stored,
                len_bytes: rest,
            }),
            PARTIALLY_PRESENT if self.has_parent => {
                let sector_size = u64::from(self.sector_size);
                let sector = within / sector_size;
                let most = (self.block_bytes / sector_size - sector).min(MAX_SECTORS);
                let (is_stored, count) = self.sectors_at(block, sector, most)?;
                Ok(Run {
                    kept: if is_stored { stored } else { Kept::Below },
                    len_bytes: count * sector_size - within % sector_size,
                })
            }
            state => Err(Fault::damaged(format!(
                "block {block} has the unknown state {state}"
            ))),
        }
    }

    fn file(&self, number: usize) -> Option<&Device> {
        (number == 0).then(|| self.tables.file())
    }
}
