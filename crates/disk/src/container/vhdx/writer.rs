//! Making VHDX images, and changing them where they lie.
//!
//! The log exists so that changes of several sectors of the tables happen together. Here a change of the tables is always
//! one entry of eight bytes, inside one sector, made when the block that it leads to is on the medium: whatever ends the
//! writing, the tables are whole, and the log stays empty.

use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::super::allocating::{Allocating, Blocks, Order};
use super::super::fault::Fault;
use super::super::mapped::{Plan, Run};
use super::super::{ContainerError, Growing, NewImage, Randomness};
use super::MIB;
use super::blocks::{self, DynamicDisk, Entry, PRESENT};
use super::header::{self, Header, Headers};
use super::log::{Changes, MAX_FILE_LEN};
use super::metadata::{MAX_LEN, Metadata};
use super::region::{self, Region, Regions};
use crate::device::Device;
use crate::writable::{Writable, WritableDevice, WriteError};

/// How long the blocks of new images are, in bytes: short, because what a volume stores is scattered.
const NEW_BLOCK_BYTES: u32 = 2 << 20;
/// And of disks of more than 4 TiB, whose table would take long to look through.
const NEW_LARGE_BLOCK_BYTES: u32 = 32 << 20;
const LARGE_LEN: u64 = 4 << 40;
/// How much of a table is written or read at once, in bytes.
const PIECE_LEN: u64 = 64 << 10;

/// The disk of an image that is written.
#[derive(Debug)]
pub(super) struct Writer {
    disk: DynamicDisk,
    file: Arc<dyn Growing>,
    headers: Mutex<Headers>,
    file_write_id: Uuid,
    data_write_id: Uuid,
}

impl Writer {
    pub(super) fn new(
        disk: DynamicDisk,
        file: Arc<dyn Growing>,
        headers: Headers,
        random: &mut Randomness<'_>,
    ) -> Result<Self, ContainerError> {
        Ok(Self {
            disk,
            file,
            headers: Mutex::new(headers),
            file_write_id: new_id(random)?,
            data_write_id: new_id(random)?,
        })
    }
}

fn new_id(random: &mut Randomness<'_>) -> Result<Uuid, ContainerError> {
    let mut bytes = [0; 16];
    random(&mut bytes).map_err(ContainerError::NoRandomness)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn written(source: WriteError) -> ContainerError {
    ContainerError::Write {
        what: "the image",
        source,
    }
}

/// Checks that no stored block overlaps another or a table, or ends behind the file: it would be written with that.
pub(super) fn check_places(
    disk: &DynamicDisk,
    regions: &Regions,
    header: &Header,
) -> Result<(), ContainerError> {
    let file = disk.image();
    let log = Region {
        offset: header.log_offset,
        len: header.log_len,
    };
    if file.len_bytes() > MAX_FILE_LEN {
        return Err(ContainerError::Unsupported {
            what: format!("its file is larger than any, with {} bytes", file.len_bytes()),
        });
    }
    let mut taken = Taken::of(file.len_bytes());
    let head = Region {
        offset: 0,
        len: MIB as u32,
    };
    for region in [head, log, regions.bat, regions.metadata]
        .iter()
        .chain(&regions.others)
    {
        taken.take(region.offset, u64::from(region.len))?;
    }
    let mut index = 0;
    let count = disk.entry_count();
    while index < count {
        let len = ((count - index) * 8).min(PIECE_LEN);
        let mut piece = vec![0; len as usize];
        let at = regions.bat.offset.saturating_add(index.saturating_mul(8));
        file.read_at(at, &mut piece)
            .map_err(|source| ContainerError::Read {
                what: "the table of blocks",
                source,
            })?;
        for bytes in piece.chunks_exact(8).filter_map(<[u8]>::first_chunk) {
            let entry = Entry::from_bits(u64::from_le_bytes(*bytes));
            if entry.state >= PRESENT && !disk.is_of_bitmaps(index) {
                taken.take(entry.offset, disk.block_bytes())?;
            }
            index += 1;
        }
    }
    Ok(())
}

/// Which MiB of a file something lies in.
struct Taken {
    file_len: u64,
    bits: Vec<u64>,
}

impl Taken {
    fn of(file_len: u64) -> Self {
        let words = file_len.div_ceil(MIB).div_ceil(64);
        Self {
            file_len,
            bits: vec![0; usize::try_from(words).unwrap_or_default()],
        }
    }

    fn take(&mut self, offset: u64, len: u64) -> Result<(), ContainerError> {
        let damaged = |problem| ContainerError::Damaged {
            what: "the table of blocks",
            offset,
            problem,
        };
        let end = offset.saturating_add(len);
        if end > self.file_len.next_multiple_of(MIB) {
            return Err(damaged(format!(
                "something lies from there to byte {end:#x}, and the file has {:#x}",
                self.file_len
            )));
        }
        for number in offset / MIB..end.div_ceil(MIB) {
            let word = usize::try_from(number / 64)
                .ok()
                .and_then(|at| self.bits.get_mut(at));
            let bit = 1 << (number % 64);
            match word {
                Some(word) if *word & bit == 0 => *word |= bit,
                _ => return Err(damaged("two things lie there".to_owned())),
            }
        }
        Ok(())
    }
}

/// Brings the changes of the log into the file, and empties the log.
pub(super) fn replay(
    file: &dyn Growing,
    headers: &mut Headers,
    changes: &Changes,
) -> Result<(), ContainerError> {
    if changes.is_empty() {
        return Ok(());
    }
    let old_len = file.len_bytes();
    file.grow(changes.file_len).map_err(written)?;
    for patch in changes.patches.iter() {
        match &patch.bytes {
            Some(bytes) => file.write_at(patch.offset, bytes),
            // What is new is zeros already.
            None => zero(
                file,
                patch.offset,
                patch.offset.saturating_add(patch.len).min(old_len),
            ),
        }
        .map_err(written)?;
    }
    file.flush().map_err(written)?;
    let emptied = Header {
        log_id: Uuid::nil(),
        ..headers.current.clone()
    };
    let (offset, bytes) = headers.advance(emptied);
    file.write_at(offset, &bytes).map_err(written)?;
    file.flush().map_err(written)
}

fn zero(file: &dyn WritableDevice, from: u64, to: u64) -> Result<(), WriteError> {
    let zeros = vec![0; PIECE_LEN as usize];
    let mut at = from;
    while at < to {
        let len = (to - at).min(PIECE_LEN);
        file.write_at(at, zeros.get(..len as usize).unwrap_or_default())?;
        at = at.saturating_add(len);
    }
    Ok(())
}

impl Plan for Writer {
    fn len_bytes(&self) -> u64 {
        self.disk.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
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
        let damaged = |problem| ContainerError::Damaged {
            what: "the table of blocks",
            offset: self.disk.entry_offset(block),
            problem,
        };
        let entry = self
            .disk
            .entry(block)
            .map_err(|fault| damaged(fault.to_string()))?;
        match entry.state {
            PRESENT => Ok(Some(entry.offset)),
            state if state < PRESENT => Ok(None),
            state => Err(damaged(format!("block {block} has the unknown state {state}"))),
        }
    }

    fn make_place(&self) -> Result<u64, WriteError> {
        let place = self.file.len_bytes().next_multiple_of(MIB);
        self.file.grow(place.saturating_add(self.disk.block_bytes()))?;
        Ok(place)
    }

    fn enter(&self, block: u64, place: u64) -> Result<(), WriteError> {
        let entry = Entry {
            state: PRESENT,
            offset: place,
        };
        let offset = self.disk.entry_offset(block);
        self.file.write_at(offset, &entry.to_bits().to_le_bytes())?;
        self.disk.forget(offset, 8);
        Ok(())
    }

    fn begin(&self) -> Result<(), WriteError> {
        let mut headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        let marked = Header {
            file_write_id: self.file_write_id,
            data_write_id: self.data_write_id,
            ..headers.current.clone()
        };
        let (offset, bytes) = headers.advance(marked);
        self.file.write_at(offset, &bytes)?;
        self.file.flush()
    }
}

/// Checks that an image can hold a disk.
pub(super) fn check(new: &NewImage) -> Result<(), ContainerError> {
    let is_whole =
        matches!(new.sector_size, 512 | 4096) && new.len_bytes.is_multiple_of(u64::from(new.sector_size));
    if !is_whole || new.len_bytes == 0 || new.len_bytes > MAX_LEN {
        return Err(ContainerError::Unsupported {
            what: format!(
                "a VHDX image has whole sectors of 512 or 4096 bytes and at most {MAX_LEN} bytes (64 TiB), not {} \
                 in sectors of {}",
                new.len_bytes, new.sector_size
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
    let metadata = Metadata {
        len_bytes: new.len_bytes,
        block_bytes: if new.len_bytes > LARGE_LEN {
            NEW_LARGE_BLOCK_BYTES
        } else {
            NEW_BLOCK_BYTES
        },
        sector_size: new.sector_size,
        is_fixed: new.is_fixed,
        disk_id: new_id(random)?,
        parent: None,
    };
    let headers = write_empty(&*file, &metadata, [new_id(random)?, new_id(random)?]).map_err(written)?;
    let device: Device = file.clone();
    let regions = Regions::read(&device)?;
    let disk = DynamicDisk::new(device, &regions, &metadata)?;
    if new.is_fixed {
        place_all(&disk, &*file).map_err(written)?;
    }
    let writer = Writer::new(disk, file.clone(), headers, random)?;
    Ok(Arc::new(Allocating::new(writer, file, Order::Irrelevant)))
}

/// Writes an image with no block in it; `ids` mark its first state.
pub(super) fn write_empty(
    file: &dyn Growing,
    metadata: &Metadata,
    ids: [Uuid; 2],
) -> Result<Headers, WriteError> {
    /// Where the log, the metadata and the table of blocks begin, in MiB.
    const LAYOUT: [u64; 3] = [1, 2, 3];

    let [log, metadata_at, bat] = LAYOUT.map(|number| number * MIB);
    let blocks = metadata.len_bytes.div_ceil(u64::from(metadata.block_bytes));
    let entries = blocks::entry_count(blocks, blocks::chunk_ratio(metadata), metadata.parent.is_some());
    let bat_len = entries.saturating_mul(8).next_multiple_of(MIB);
    let regions = Regions {
        bat: Region {
            offset: bat,
            len: u32::try_from(bat_len).unwrap_or(u32::MAX),
        },
        metadata: Region {
            offset: metadata_at,
            len: MIB as u32,
        },
        others: Vec::new(),
    };
    let [file_write_id, data_write_id] = ids;
    let first = Header {
        sequence: 1,
        file_write_id,
        data_write_id,
        log_id: Uuid::nil(),
        log_offset: log,
        log_len: MIB as u32,
    };
    let mut headers = Headers {
        current: first.clone(),
        next_offset: 0,
    };
    file.grow(bat.saturating_add(bat_len))?;
    let creator: Vec<u8> = "Keyhaven".encode_utf16().flat_map(u16::to_le_bytes).collect();
    file.write_at(0, &[&header::SIGNATURE[..], &creator].concat())?;
    for offset in header::OFFSETS {
        headers.next_offset = offset;
        let (offset, bytes) = headers.advance(first.clone());
        file.write_at(offset, &bytes)?;
    }
    for offset in region::OFFSETS {
        file.write_at(offset, &regions.to_bytes())?;
    }
    file.write_at(metadata_at, &metadata.to_bytes())?;
    Ok(headers)
}

/// Gives all blocks of a new image their places, one behind the other.
fn place_all(disk: &DynamicDisk, file: &dyn Growing) -> Result<(), WriteError> {
    let start = file.len_bytes().next_multiple_of(MIB);
    let place_of = |block: u64| start.saturating_add(block.saturating_mul(disk.block_bytes()));
    file.grow(place_of(disk.block_count()))?;
    let first = disk.entry_offset(0);
    let mut piece: Vec<u8> = Vec::new();
    let mut at = first;
    for block in 0..disk.block_count() {
        let entry = Entry {
            state: PRESENT,
            offset: place_of(block),
        };
        // Between the chunks lie entries of bitmaps, which there are none of.
        let gap = disk
            .entry_offset(block)
            .saturating_sub(at.saturating_add(piece.len() as u64));
        piece.resize(piece.len() + gap as usize, 0);
        piece.extend_from_slice(&entry.to_bits().to_le_bytes());
        if piece.len() as u64 >= PIECE_LEN {
            file.write_at(at, &piece)?;
            at = at.saturating_add(piece.len() as u64);
            piece.clear();
        }
    }
    file.write_at(at, &piece)?;
    disk.forget(first, at.saturating_add(piece.len() as u64).saturating_sub(first));
    Ok(())
}
