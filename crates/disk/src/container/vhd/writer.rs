//! Making VHD images, and changing dynamic ones where they lie.
//!
//! A new block is written behind the last one, over the footer; the footer is written behind it first, so that there is
//! one at the end again in any case but a loss of power, and then its copy at the start of the file serves. The table
//! leads to the block only when all of it is on the medium.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use uuid::Uuid;

use super::super::allocating::{Allocating, Blocks, Order};
use super::super::fault::Fault;
use super::super::mapped::{Plan, Run};
use super::super::{ContainerError, Growing, NewImage, Randomness};
use super::blocks::{DynamicDisk, UNUSED};
use super::footer::{DiskType, FOOTER_LEN, Footer, MAX_LEN, SECTOR_LEN};
use super::header::{HEADER_LEN, Header};
use crate::device::Device;
use crate::view::View;
use crate::writable::{Writable, WritableDevice, WriteError};

/// How long the blocks of new images are, in bytes: what everybody uses.
const NEW_BLOCK_BYTES: u32 = 2 << 20;
/// What the data of new blocks are aligned to in the file, in bytes, as Windows does for disks with large sectors.
const ALIGNMENT: u64 = 4096;
/// How much of a table is written or read at once, in bytes.
const PIECE_LEN: u64 = 64 << 10;
/// Seconds between 1970 and 2000.
const YEAR_2000: u64 = 946_684_800;
/// The most stored blocks of an image that is changed: they are all looked at before.
const MAX_BLOCKS: usize = 16 << 20;

/// The disk of a dynamic image that is written.
#[derive(Debug)]
pub(super) struct Writer {
    disk: DynamicDisk,
    file: Arc<dyn Growing>,
    /// As it stands at the start of the file, whoever made it.
    footer: [u8; FOOTER_LEN as usize],
    has_footer_at_end: bool,
    /// Where the next block begins at the earliest: the place of the footer, in bytes.
    end: Mutex<u64>,
    /// Held by whoever makes a bitmap complete.
    completing: Mutex<()>,
}

impl Writer {
    /// Looks at all that the table leads to: of an image whose blocks overlap, one would be written with another.
    pub(super) fn new(
        disk: DynamicDisk,
        file: Arc<dyn Growing>,
        footer: &Footer,
        header: &Header,
        has_footer_at_end: bool,
    ) -> Result<Self, ContainerError> {
        let len = file.len_bytes();
        let end = if has_footer_at_end { len - FOOTER_LEN } else { len }.next_multiple_of(SECTOR_LEN);
        let at = if has_footer_at_end { len - FOOTER_LEN } else { 0 };
        let mut bytes = [0; FOOTER_LEN as usize];
        file.read_at(at, &mut bytes)
            .map_err(|source| ContainerError::Read {
                what: "the footer",
                source,
            })?;
        let fixed = [
            (0, FOOTER_LEN),
            (header.offset, header.offset.saturating_add(HEADER_LEN)),
            (
                disk.bat_offset(),
                disk.entry_offset(disk.block_count()).next_multiple_of(SECTOR_LEN),
            ),
        ];
        check_places(&disk, &*file, &fixed, end)?;
        debug_assert_eq!(Footer::parse(&bytes).ok().as_ref(), Some(footer));
        Ok(Self {
            disk,
            file,
            footer: bytes,
            has_footer_at_end,
            end: Mutex::new(end),
            completing: Mutex::new(()),
        })
    }

    /// Makes all sectors of a stored block stored ones: those that were not are zeros.
    fn complete(&self, bitmap: u64) -> Result<(), ContainerError> {
        let sectors = self.disk.block_bytes() / SECTOR_LEN;
        let is_full = || {
            let full = self.disk.is_full(bitmap);
            full.map_err(|fault| fault_in_bitmap(bitmap, &fault))
        };
        if is_full()? {
            return Ok(());
        }
        let _alone = self.completing.lock().unwrap_or_else(PoisonError::into_inner);
        if is_full()? {
            return Ok(());
        }
        let data = bitmap.saturating_add(self.disk.bitmap_bytes());
        let written = |source| ContainerError::Write {
            what: "a block",
            source,
        };
        let mut sector = 0;
        while sector < sectors {
            let most = (sectors - sector).min(PIECE_LEN / SECTOR_LEN);
            let (is_stored, count) = self
                .disk
                .sectors_at(bitmap, sector, most)
                .map_err(|fault| fault_in_bitmap(bitmap, &fault))?;
            if !is_stored {
                let zeros = vec![0; (count * SECTOR_LEN) as usize];
                self.file
                    .write_at(data.saturating_add(sector * SECTOR_LEN), &zeros)
                    .map_err(written)?;
            }
            sector += count.max(1);
        }
        self.file.flush().map_err(written)?;
        self.write_full_bitmap(bitmap).map_err(written)
    }

    fn write_full_bitmap(&self, bitmap: u64) -> Result<(), WriteError> {
        let len = self.disk.bitmap_bytes();
        fill(&*self.file, bitmap, len, 0xFF)?;
        self.disk.forget(bitmap, len);
        Ok(())
    }
}

fn fault_in_bitmap(offset: u64, fault: &Fault) -> ContainerError {
    ContainerError::Damaged {
        what: "the bitmap of a block",
        offset,
        problem: fault.to_string(),
    }
}

/// Checks that no stored block overlaps another, or what is `fixed`, or ends behind `end`.
fn check_places(
    disk: &DynamicDisk,
    file: &dyn WritableDevice,
    fixed: &[(u64, u64)],
    end: u64,
) -> Result<(), ContainerError> {
    let block_len = disk.bitmap_bytes().saturating_add(disk.block_bytes());
    let mut places: Vec<u32> = Vec::new();
    let bat_end = disk.entry_offset(disk.block_count());
    let mut at = disk.bat_offset();
    while at < bat_end {
        let mut piece = vec![0; (bat_end - at).min(PIECE_LEN) as usize];
        file.read_at(at, &mut piece)
            .map_err(|source| ContainerError::Read {
                what: "the table of blocks",
                source,
            })?;
        let entries = piece.chunks_exact(4).filter_map(<[u8]>::first_chunk);
        for (index, entry) in entries.map(|entry| u32::from_be_bytes(*entry)).enumerate() {
            if entry == UNUSED {
                continue;
            }
            let start = u64::from(entry) * SECTOR_LEN;
            let past = start.saturating_add(block_len);
            if past > end || fixed.iter().any(|(from, to)| start < *to && *from < past) {
                return Err(ContainerError::Damaged {
                    what: "the table of blocks",
                    offset: at.saturating_add(index as u64 * 4),
                    problem: format!("a block lies from byte {start:#x} to {past:#x}, where it has no room"),
                });
            }
            if places.len() >= MAX_BLOCKS {
                return Err(ContainerError::Unsupported {
                    what: "it has too many small blocks to be changed".to_owned(),
                });
            }
            places.push(entry);
        }
        at = at.saturating_add(piece.len() as u64);
    }
    places.sort_unstable();
    let overlap = places.windows(2).find_map(|pair| match pair {
        [first, second] if u64::from(second - first) * SECTOR_LEN < block_len => Some(*second),
        _ => None,
    });
    match overlap {
        None => Ok(()),
        Some(entry) => Err(ContainerError::Damaged {
            what: "the table of blocks",
            offset: disk.bat_offset(),
            problem: format!(
                "the block at byte {:#x} overlaps another",
                u64::from(entry) * SECTOR_LEN
            ),
        }),
    }
}

impl Plan for Writer {
    fn len_bytes(&self) -> u64 {
        self.disk.len_bytes()
    }

    fn run_at(&self, offset: u64) -> Result<Run, Fault> {
        self.disk.run_at(offset)
    }

    fn file(&self, number: usize) -> Option<&Device> {
        self.disk.file(number)
    }
}

impl Blocks for Writer {
    fn block_bytes(&self) -> u64 {
        self.disk.block_bytes()
    }

    fn place_of(&self, block: u64) -> Result<Option<u64>, ContainerError> {
        let offset = self.disk.entry_offset(block);
        let bitmap = self
            .disk
            .bitmap_of(block)
            .map_err(|fault| ContainerError::Damaged {
                what: "the table of blocks",
                offset,
                problem: fault.to_string(),
            })?;
        let Some(bitmap) = bitmap else { return Ok(None) };
        self.complete(bitmap)?;
        Ok(Some(bitmap.saturating_add(self.disk.bitmap_bytes())))
    }

    fn make_place(&self) -> Result<u64, WriteError> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let bitmap_bytes = self.disk.bitmap_bytes();
        let data = end.saturating_add(bitmap_bytes).next_multiple_of(ALIGNMENT);
        let footer = data.saturating_add(self.disk.block_bytes());
        let bitmap = data - bitmap_bytes;
        let past = footer.saturating_add(FOOTER_LEN);
        if u32::try_from(past / SECTOR_LEN).is_err() {
            return Err(WriteError::PastEnd {
                offset: bitmap,
                len_bytes: past - bitmap,
                end: u64::from(u32::MAX) * SECTOR_LEN,
            });
        }
        self.file.grow(past)?;
        self.file.write_at(footer, &self.footer)?;
        // Over the old footer, of which nothing is in the data: a bitmap is as long.
        self.write_full_bitmap(bitmap)?;
        *end = footer;
        Ok(data)
    }

    fn enter(&self, block: u64, place: u64) -> Result<(), WriteError> {
        let sector = place.saturating_sub(self.disk.bitmap_bytes()) / SECTOR_LEN;
        let entry = u32::try_from(sector).unwrap_or(UNUSED);
        let offset = self.disk.entry_offset(block);
        self.file.write_at(offset, &entry.to_be_bytes())?;
        self.disk.forget(offset, 4);
        Ok(())
    }

    fn begin(&self) -> Result<(), WriteError> {
        if self.has_footer_at_end {
            return Ok(());
        }
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.grow(end.saturating_add(FOOTER_LEN))?;
        self.file.write_at(*end, &self.footer)
    }
}

fn fill(file: &dyn WritableDevice, offset: u64, len_bytes: u64, byte: u8) -> Result<(), WriteError> {
    let piece = vec![byte; len_bytes.min(PIECE_LEN) as usize];
    let end = offset.saturating_add(len_bytes);
    let mut at = offset;
    while at < end {
        let len = (end - at).min(PIECE_LEN);
        file.write_at(at, piece.get(..len as usize).unwrap_or_default())?;
        at = at.saturating_add(len);
    }
    Ok(())
}

/// Checks that an image can hold a disk.
pub(super) fn check(new: &NewImage) -> Result<(), ContainerError> {
    if new.sector_size != 512 {
        return Err(ContainerError::Unsupported {
            what: format!(
                "a VHD image has sectors of 512 bytes, not {}; VHDX can have those",
                new.sector_size
            ),
        });
    }
    if new.len_bytes > MAX_LEN || new.len_bytes == 0 || !new.len_bytes.is_multiple_of(SECTOR_LEN) {
        return Err(ContainerError::Unsupported {
            what: format!(
                "a VHD image has whole sectors and at most {MAX_LEN} bytes (2040 GiB), not {}; VHDX can have more",
                new.len_bytes
            ),
        });
    }
    Ok(())
}

/// Makes an image of a disk full of zeros.
pub(super) fn create(
    file: Arc<dyn Growing>,
    new: &NewImage,
    random: &mut Randomness<'_>,
) -> Result<Writable, ContainerError> {
    let mut id = [0; 16];
    random(&mut id).map_err(ContainerError::NoRandomness)?;
    let seconds = new
        .created
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let footer = Footer {
        header_offset: FOOTER_LEN,
        created: u32::try_from(seconds.saturating_sub(YEAR_2000)).unwrap_or(u32::MAX),
        len_bytes: new.len_bytes,
        disk_type: if new.is_fixed {
            DiskType::Fixed
        } else {
            DiskType::Dynamic
        },
        id: uuid::Builder::from_random_bytes(id).into_uuid(),
    };
    if new.is_fixed {
        write_fixed(&*file, &footer).map_err(written)?;
        let file: Arc<dyn WritableDevice> = file;
        return Ok(Arc::new(View::new(file, 0, new.len_bytes)));
    }
    let header = Header {
        offset: FOOTER_LEN,
        bat_offset: FOOTER_LEN + HEADER_LEN,
        block_bytes: NEW_BLOCK_BYTES,
        parent_id: Uuid::nil(),
        parent_names: Vec::new(),
    };
    write_empty(&*file, &footer, &header).map_err(written)?;
    let device: Device = file.clone();
    let disk = DynamicDisk::new(device, &footer, &header);
    let writer = Writer::new(disk, file.clone(), &footer, &header, true)?;
    Ok(Arc::new(Allocating::new(writer, file, Order::Irrelevant)))
}

fn written(source: WriteError) -> ContainerError {
    ContainerError::Write {
        what: "the image",
        source,
    }
}

fn write_fixed(file: &dyn Growing, footer: &Footer) -> Result<(), WriteError> {
    file.grow(footer.len_bytes.saturating_add(FOOTER_LEN))?;
    file.write_at(footer.len_bytes, &footer.to_bytes())
}

/// Writes a dynamic image with no block in it.
pub(super) fn write_empty(file: &dyn Growing, footer: &Footer, header: &Header) -> Result<(), WriteError> {
    let entry_count = footer.len_bytes.div_ceil(u64::from(header.block_bytes));
    let bat_len = entry_count.saturating_mul(4).next_multiple_of(SECTOR_LEN);
    let end = header.bat_offset.saturating_add(bat_len);
    file.grow(end.saturating_add(FOOTER_LEN))?;
    file.write_at(0, &footer.to_bytes())?;
    let entries = u32::try_from(entry_count).unwrap_or(u32::MAX);
    file.write_at(header.offset, &header.to_bytes(entries))?;
    // All ones: no entry is used.
    fill(file, header.bat_offset, bat_len, 0xFF)?;
    file.write_at(end, &footer.to_bytes())
}
