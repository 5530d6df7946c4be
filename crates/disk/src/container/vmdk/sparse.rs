//! A sparse extent: grains of the disk, packed or not, and two levels of tables that lead to them.
//!
//! Source: VMware's "Virtual Disk Format 5.0"; seen in images of qemu-img 10.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::super::ContainerError;
use super::super::fault::Fault;
use super::super::mapped::{Kept, Plan, Run};
use super::super::packing;
use super::super::units::Tables;
use crate::device::{BlockDevice, Device};

/// What every sparse extent begins with.
pub(super) const MAGIC: [u8; 4] = *b"KDMV";

const WHAT: &str = "the header";
const SECTOR: u64 = 512;

/// Where the directory is said to be when only the copy of the header at the end knows.
const AT_END: u64 = u64::MAX;
/// Where that copy lies, from the end of the file: before one last sector of marks.
const FOOTER_FROM_END: u64 = 2 * SECTOR;

/// The largest grain, in sectors: 2 MiB.
const MAX_GRAIN_SECTORS: u64 = 4096;
/// The same in bytes.
pub(super) const MAX_GRAIN_BYTES: usize = 2 << 20;
/// The longest table, in entries; images have 512.
const MAX_TABLE_LEN: u32 = 4096;

const FLAG_LINE_ENDINGS: u32 = 1 << 0;
const FLAG_ZERO_GRAINS: u32 = 1 << 2;
const FLAG_PACKED: u32 = 1 << 16;
const FLAG_MARKERS: u32 = 1 << 17;

/// What a copy over FTP as text would have changed.
const LINE_ENDINGS: [u8; 4] = *b"\n \r\n";

/// The entry of a grain that is all zeros, where there are such entries.
const ZERO_GRAIN: u32 = 1;

/// As it lies in the file.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 4],
    version: U32,
    flags: U32,
    sectors: U64,
    grain_sectors: U64,
    descriptor_sector: U64,
    descriptor_sectors: U64,
    table_len: U32,
    redundant_directory_sector: U64,
    directory_sector: U64,
    overhead_sectors: U64,
    is_unclean: u8,
    line_endings: [u8; 4],
    packing: U16,
}

/// What the header says, as far as reading needs it.
#[derive(Debug, Clone)]
pub(super) struct Header {
    flags: u32,
    /// How many bytes of the disk it has.
    pub(super) len_bytes: u64,
    grain_bytes: u64,
    /// How many grains a table leads to.
    table_len: u32,
    /// Where the directory of tables lies, in bytes.
    directory: u64,
    /// Where the descriptor lies and how long it may be, in bytes; `None` in one extent of several.
    pub(super) descriptor: Option<(u64, u64)>,
}

impl Header {
    /// Reads the header of an extent, and its copy at the end where that is the one that counts.
    ///
    /// # Errors
    /// It cannot be read, contradicts itself, or needs what is not known here.
    pub(super) fn read(file: &dyn BlockDevice) -> Result<Self, ContainerError> {
        let header = Self::read_at(file, 0)?;
        if header.directory != AT_END {
            return Ok(header);
        }
        let end = file.len_bytes().saturating_sub(FOOTER_FROM_END);
        let footer = Self::read_at(file, end)?;
        if footer.directory == AT_END || footer.len_bytes != header.len_bytes {
            return Err(damaged(
                end,
                "the copy at the end does not tell where the tables are",
            ));
        }
        Ok(Self {
            descriptor: header.descriptor,
            ..footer
        })
    }

    fn read_at(file: &dyn BlockDevice, at: u64) -> Result<Self, ContainerError> {
        let mut bytes = [0; size_of::<Raw>()];
        file.read_at(at, &mut bytes)
            .map_err(|source| ContainerError::Read { what: WHAT, source })?;
        let raw = Raw::ref_from_bytes(&bytes).map_err(|_| damaged(at, "it is cut off"))?;
        if raw.magic != MAGIC {
            return Err(damaged(at, "it does not begin with KDMV"));
        }
        let flags = raw.flags.get();
        if !(1..=3).contains(&raw.version.get()) {
            return Err(unsupported(format!(
                "it has version {} of its format, and 1 to 3 are known",
                raw.version
            )));
        }
        if flags & FLAG_LINE_ENDINGS != 0 && raw.line_endings != LINE_ENDINGS {
            return Err(damaged(
                at,
                "its line endings were changed, as if it had been copied as a text",
            ));
        }
        if raw.packing.get() > 1 || (flags & FLAG_PACKED != 0) != (raw.packing.get() == 1) {
            return Err(unsupported(format!(
                "its grains are packed in way {}, which is not known here",
                raw.packing
            )));
        }
        let (sectors, grain_sectors) = (raw.sectors.get(), raw.grain_sectors.get());
        let table_len = raw.table_len.get();
        if !grain_sectors.is_power_of_two() || grain_sectors > MAX_GRAIN_SECTORS {
            return Err(damaged(at, format!("grains of {grain_sectors} sectors")));
        }
        if table_len == 0 || table_len > MAX_TABLE_LEN {
            return Err(damaged(at, format!("tables of {table_len} entries")));
        }
        let len_bytes = in_bytes(sectors)
            .filter(|len| i64::try_from(*len).is_ok())
            .ok_or_else(|| damaged(at, format!("a disk of {sectors} sectors")))?;
        let directory = match raw.directory_sector.get() {
            AT_END => AT_END,
            sector => in_bytes(sector).ok_or_else(|| damaged(at, format!("tables in sector {sector}")))?,
        };
        let descriptor = match raw.descriptor_sector.get() {
            0 => None,
            sector => Some(
                in_bytes(sector)
                    .zip(in_bytes(raw.descriptor_sectors.get()))
                    .ok_or_else(|| damaged(at, format!("a descriptor in sector {sector}")))?,
            ),
        };
        Ok(Self {
            flags,
            len_bytes,
            grain_bytes: grain_sectors.saturating_mul(SECTOR),
            table_len,
            directory,
            descriptor,
        })
    }

    /// Tells whether grains are packed.
    pub(super) fn is_packed(&self) -> bool {
        self.flags & FLAG_PACKED != 0
    }
}

/// Where a sparse extent keeps what.
#[derive(Debug)]
pub(super) struct Sparse {
    header: Header,
    tables: Tables,
}

/// Where a grain is kept.
enum Grain {
    Below,
    Zeros,
    At(u64),
}

impl Sparse {
    /// Makes the plan of an extent.
    pub(super) fn new(header: Header, tables: Tables) -> Self {
        Self { header, tables }
    }

    /// Finds a grain; `None` where the whole table that would lead to it is missing.
    fn grain(&self, number: u64) -> Result<Option<Grain>, Fault> {
        let table_len = u64::from(self.header.table_len);
        let entry = |table: u64, index: u64| {
            let at = table.saturating_add(index.saturating_mul(4));
            self.tables.bytes_at(at).map(u32::from_le_bytes)
        };
        let table = entry(self.header.directory, number / table_len)?;
        if table == 0 {
            return Ok(None);
        }
        let table = u64::from(table).saturating_mul(SECTOR);
        Ok(Some(match entry(table, number % table_len)? {
            0 => Grain::Below,
            ZERO_GRAIN if self.header.flags & FLAG_ZERO_GRAINS != 0 => Grain::Zeros,
            // There is the descriptor, or a table.
            ZERO_GRAIN => return Err(Fault::damaged(format!("grain {number} would lie in its header"))),
            sector => Grain::At(u64::from(sector).saturating_mul(SECTOR)),
        }))
    }

    /// Returns how many bytes of the disk are in a grain.
    fn len_of(&self, number: u64) -> usize {
        let start = number.saturating_mul(self.header.grain_bytes);
        let len = self.header.len_bytes.saturating_sub(start);
        usize::try_from(len.min(self.header.grain_bytes)).unwrap_or_default()
    }
}

/// What stands before a packed grain.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Marker {
    first_sector: U64,
    packed_len: U32,
}

impl Plan for Sparse {
    fn len_bytes(&self) -> u64 {
        self.header.len_bytes
    }

    fn run_at(&self, offset: u64) -> Result<Run, Fault> {
        let grain_bytes = self.header.grain_bytes;
        let (number, within) = (offset / grain_bytes, offset % grain_bytes);
        let in_grain = grain_bytes.saturating_sub(within);
        Ok(match self.grain(number)? {
            None => {
                let span = grain_bytes.saturating_mul(u64::from(self.header.table_len));
                Run {
                    kept: Kept::Below,
                    len_bytes: span.saturating_sub(offset % span),
                }
            }
            Some(Grain::Below) => Run {
                kept: Kept::Below,
                len_bytes: in_grain,
            },
            Some(Grain::Zeros) => Run {
                kept: Kept::Zeros,
                len_bytes: in_grain,
            },
            Some(Grain::At(_)) if self.header.is_packed() => Run {
                kept: Kept::Packed { unit: number, within },
                len_bytes: in_grain,
            },
            Some(Grain::At(start)) => Run {
                kept: Kept::AsIs {
                    file: 0,
                    offset: start.saturating_add(within),
                },
                len_bytes: in_grain,
            },
        })
    }

    fn file(&self, _: usize) -> Option<&Device> {
        Some(self.tables.file())
    }

    fn unpack(&self, number: u64) -> Result<Vec<u8>, Fault> {
        let Some(Grain::At(start)) = self.grain(number)? else {
            return Err(Fault::damaged(format!("grain {number} is not there")));
        };
        let file = self.tables.file();
        // What does not become smaller grows by some bytes at most.
        let most = self
            .header
            .grain_bytes
            .saturating_add(self.header.grain_bytes / 16 + SECTOR);
        let (at, len) = if self.header.flags & FLAG_MARKERS == 0 {
            (start, most)
        } else {
            let mut bytes = [0; size_of::<Marker>()];
            file.read_at(start, &mut bytes)?;
            let marker = Marker::ref_from_bytes(&bytes)
                .map_err(|_| Fault::damaged(format!("the mark of grain {number}")))?;
            let first_sector = number.saturating_mul(self.header.grain_bytes / SECTOR);
            let packed_len = u64::from(marker.packed_len.get());
            if marker.first_sector.get() != first_sector || packed_len == 0 || packed_len > most {
                return Err(Fault::damaged(format!(
                    "grain {number} is marked as {packed_len} bytes of sector {}",
                    marker.first_sector
                )));
            }
            (start.saturating_add(bytes.len() as u64), packed_len)
        };
        let len = len.min(file.len_bytes().saturating_sub(at).max(1));
        let mut packed = vec![0; usize::try_from(len).unwrap_or_default()];
        file.read_at(at, &mut packed)?;
        let unpacked = packing::inflate_checked(&packed, self.unit_bytes())?;
        if unpacked.len() < self.len_of(number) {
            return Err(Fault::damaged(format!(
                "grain {number} has {} bytes",
                unpacked.len()
            )));
        }
        Ok(unpacked)
    }

    fn unit_bytes(&self) -> usize {
        usize::try_from(self.header.grain_bytes).unwrap_or(usize::MAX)
    }
}

fn in_bytes(sectors: u64) -> Option<u64> {
    sectors.checked_mul(SECTOR)
}

fn damaged(offset: u64, problem: impl Into<String>) -> ContainerError {
    ContainerError::Damaged {
        what: WHAT,
        offset,
        problem: problem.into(),
    }
}

fn unsupported(what: String) -> ContainerError {
    ContainerError::Unsupported { what }
}
