//! Where the sectors of a dynamic image lie.

use super::super::fault::Fault;
use super::super::mapped::{Kept, Plan, Run};
use super::super::units::Tables;
use super::footer::{Footer, SECTOR_LEN};
use super::header::Header;
use crate::device::Device;

/// The entry of a block that is not stored.
pub(super) const UNUSED: u32 = u32::MAX;
/// How many blocks that are not stored are taken together.
const MAX_JOINED: u64 = 64;
/// How many sectors of a block are taken together, for bitmaps that go on and off.
const MAX_SECTORS: u64 = 4096;

/// The disk of a dynamic or differencing image.
#[derive(Debug)]
pub(super) struct DynamicDisk {
    tables: Tables,
    len_bytes: u64,
    bat_offset: u64,
    block_bytes: u64,
}

impl DynamicDisk {
    /// Makes a plan of what lies in `file`.
    pub(super) fn new(file: Device, footer: &Footer, header: &Header) -> Self {
        Self {
            tables: Tables::of(file),
            len_bytes: footer.len_bytes,
            bat_offset: header.bat_offset,
            block_bytes: u64::from(header.block_bytes),
        }
    }

    /// Returns how long a block is, in bytes.
    pub(super) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Returns how long the bitmap in front of a block is, in bytes: whole sectors.
    pub(super) fn bitmap_bytes(&self) -> u64 {
        (self.block_bytes / SECTOR_LEN)
            .div_ceil(8)
            .next_multiple_of(SECTOR_LEN)
    }

    /// Returns how many blocks the disk has.
    pub(super) fn block_count(&self) -> u64 {
        self.len_bytes.div_ceil(self.block_bytes)
    }

    pub(super) fn bat_offset(&self) -> u64 {
        self.bat_offset
    }

    /// Returns where the entry of a block lies in the file.
    pub(super) fn entry_offset(&self, block: u64) -> u64 {
        self.bat_offset.saturating_add(block.saturating_mul(4))
    }

    /// Returns where the bitmap of a block lies in the file, if the block is stored.
    pub(super) fn bitmap_of(&self, block: u64) -> Result<Option<u64>, Fault> {
        let entry = u32::from_be_bytes(self.tables.bytes_at(self.entry_offset(block))?);
        Ok((entry != UNUSED).then_some(u64::from(entry) * SECTOR_LEN))
    }

    /// Returns whether a sector of a block is stored, and how many from there on are the same, up to `limit`.
    pub(super) fn sectors_at(&self, bitmap: u64, first: u64, limit: u64) -> Result<(bool, u64), Fault> {
        let mut state = None;
        let mut sector = first;
        while sector - first < limit {
            let [byte] = self.tables.bytes_at(bitmap.saturating_add(sector / 8))?;
            // The first sector is the highest bit.
            let is_stored = byte & (0x80 >> (sector % 8)) != 0;
            if *state.get_or_insert(is_stored) != is_stored {
                break;
            }
            let is_uniform = sector.is_multiple_of(8) && (byte == 0 || byte == 0xFF);
            sector += if is_uniform { 8 } else { 1 };
        }
        Ok((state.unwrap_or_default(), (sector - first).min(limit)))
    }

    /// Returns whether all bits of a bitmap are set, those of sectors behind the block among them.
    pub(super) fn is_full(&self, bitmap: u64) -> Result<bool, Fault> {
        let end = bitmap.saturating_add(self.bitmap_bytes());
        let mut at = bitmap;
        while at < end {
            if self.tables.bytes_at(at)? != [0xFF; SECTOR_LEN as usize] {
                return Ok(false);
            }
            at = at.saturating_add(SECTOR_LEN);
        }
        Ok(true)
    }

    /// Forgets what was read of a part of the file that has changed.
    pub(super) fn forget(&self, offset: u64, len_bytes: u64) {
        self.tables.forget(offset, len_bytes);
    }
}

impl Plan for DynamicDisk {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn run_at(&self, offset: u64) -> Result<Run, Fault> {
        let block = offset / self.block_bytes;
        let within = offset % self.block_bytes;
        let Some(bitmap) = self.bitmap_of(block)? else {
            let mut last = block;
            while last - block < MAX_JOINED
                && last + 1 < self.block_count()
                && matches!(self.bitmap_of(last + 1), Ok(None))
            {
                last += 1;
            }
            return Ok(Run {
                kept: Kept::Below,
                len_bytes: (last - block + 1) * self.block_bytes - within,
            });
        };
        let sector = within / SECTOR_LEN;
        let rest = self.block_bytes / SECTOR_LEN - sector;
        let (is_stored, count) = self.sectors_at(bitmap, sector, rest.min(MAX_SECTORS))?;
        Ok(Run {
            kept: if is_stored {
                Kept::AsIs {
                    file: 0,
                    offset: bitmap.saturating_add(self.bitmap_bytes()).saturating_add(within),
                }
            } else {
                Kept::Below
            },
            len_bytes: count * SECTOR_LEN - within % SECTOR_LEN,
        })
    }

    fn file(&self, number: usize) -> Option<&Device> {
        (number == 0).then(|| self.tables.file())
    }
}
