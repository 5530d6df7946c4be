//! What an EWF image says of the drive: how long it is, and in what chunks it is kept.
//!
//! Source: Joachim Metz' "Expert Witness Compression Format specification"; seen in images of ewfacquire 20140813.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::super::ContainerError;
use super::section::{self, Section, damaged};
use crate::device::BlockDevice;

/// The largest chunk, in bytes: 32768 sectors, the most that ewfacquire makes.
const MAX_CHUNK_BYTES: u64 = 16 << 20;

/// How long the section is in images of EnCase and its like.
const LONG: usize = 1052;
/// How long it is in those of SMART and the first of EnCase.
const SHORT: usize = 94;

/// Where the identifier of the image lies in the long form.
const SET_OFFSET: usize = 64;

/// The start of it, as it lies in the file.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    media: U32,
    chunk_count: U32,
    sectors_per_chunk: U32,
    bytes_per_sector: U32,
    /// In the short form half as long, with zeros behind it.
    sector_count: U64,
}

/// How a drive is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// The size of the drive, in bytes.
    pub(super) len_bytes: u64,
    /// The size of its sectors, in bytes.
    pub(super) sector_size: u32,
    /// The size of a chunk, in bytes; the last one is shorter.
    pub(super) chunk_bytes: u64,
    /// How many chunks there are.
    pub(super) chunk_count: u64,
    /// Whether the entries of tables have a checksum.
    pub(super) has_table_checksums: bool,
    /// What all files of one image have in common; zeros in old ones.
    set: [u8; 16],
}

impl Geometry {
    /// Reads the section.
    ///
    /// # Errors
    /// It cannot be read, its checksum is wrong, or its numbers contradict each other.
    pub(super) fn read(file: &dyn BlockDevice, section: &Section) -> Result<Self, ContainerError> {
        let is_short = section.len_bytes < LONG as u64;
        let bytes = section::read(file, section, 0, if is_short { SHORT } else { LONG })?;
        if !section::has_checksum(&bytes) {
            return Err(damaged(section.at, "its data have a wrong checksum"));
        }
        let (raw, _) = Raw::ref_from_prefix(&bytes).map_err(|_| damaged(section.at, "it is cut off"))?;
        let sector_size = raw.bytes_per_sector.get();
        let sector_count = if is_short {
            raw.sector_count.get() & u64::from(u32::MAX)
        } else {
            raw.sector_count.get()
        };
        let chunk_bytes = u64::from(raw.sectors_per_chunk.get()).saturating_mul(u64::from(sector_size));
        let odd = |problem: String| damaged(section.at, problem);
        if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
            return Err(odd(format!("sectors of {sector_size} bytes")));
        }
        if chunk_bytes == 0 || chunk_bytes > MAX_CHUNK_BYTES {
            return Err(odd(format!("chunks of {chunk_bytes} bytes")));
        }
        let len_bytes = sector_count
            .checked_mul(u64::from(sector_size))
            .filter(|len| *len > 0 && i64::try_from(*len).is_ok())
            .ok_or_else(|| odd(format!("a drive of {sector_count} sectors")))?;
        Ok(Self {
            len_bytes,
            sector_size,
            chunk_bytes,
            chunk_count: len_bytes.div_ceil(chunk_bytes),
            has_table_checksums: !is_short,
            set: match bytes.get(SET_OFFSET..).and_then(<[u8]>::first_chunk) {
                Some(set) if !is_short => *set,
                _ => [0; 16],
            },
        })
    }

    /// Tells whether another file that says this belongs to the same image.
    pub(super) fn is_of_the_same_image(&self, other: &Self) -> bool {
        (self.set, self.chunk_bytes, self.sector_size) == (other.set, other.chunk_bytes, other.sector_size)
    }

    /// Returns how many bytes of the drive are in a chunk.
    pub(super) fn len_of(&self, chunk: u64) -> u64 {
        self.len_bytes
            .saturating_sub(chunk.saturating_mul(self.chunk_bytes))
            .min(self.chunk_bytes)
    }
}
