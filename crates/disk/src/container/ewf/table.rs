//! The tables of an EWF image: where each chunk lies, and whether it is packed.
//!
//! Source: Joachim Metz' "Expert Witness Compression Format specification"; seen in images of ewfacquire 20140813.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::super::ContainerError;
use super::super::fault::Fault;
use super::section::{self, Section, damaged};
use crate::device::BlockDevice;

/// The longest table, in entries: 16 MiB. EnCase makes tables of 16375, ewfacquire of 65534.
pub(super) const MAX_LEN: u32 = 1 << 22;

/// Set in the entry of a chunk that is packed.
const PACKED: u32 = 1 << 31;

/// As it lies in the file.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    len: U32,
    padding: U32,
    base: U64,
    padding_2: U32,
    checksum: U32,
}

const HEADER_LEN: usize = size_of::<Raw>();

/// A table, and where its content lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// In which of the files it lies, with its chunks.
    pub(super) segment: usize,
    /// The number of its first chunk.
    pub(super) first_chunk: u64,
    /// How many chunks it leads to.
    pub(super) len: u32,
    /// What offsets are counted from.
    base: u64,
    /// Where its entries lie.
    entries: u64,
    /// The same of its copy.
    pub(super) copy: Option<u64>,
    /// Where the last of its chunks ends at the latest.
    end: u64,
    has_checksum: bool,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// How far it is to the next one.
    pub(super) len_bytes: u64,
    pub(super) is_packed: bool,
}

impl Table {
    /// Reads the header of a table, whose chunks lie in the section `chunks` where they are not in its own.
    ///
    /// # Errors
    /// It cannot be read, or has a wrong checksum or an impossible length.
    pub(super) fn read(
        file: &dyn BlockDevice,
        section: &Section,
        chunks: Option<&Section>,
        has_checksum: bool,
    ) -> Result<Self, ContainerError> {
        let bytes = section::read(file, section, 0, HEADER_LEN)?;
        if !section::has_checksum(&bytes) {
            return Err(damaged(section.at, "the start of the table has a wrong checksum"));
        }
        let raw = Raw::ref_from_bytes(&bytes).map_err(|_| damaged(section.at, "it is cut off"))?;
        let len = raw.len.get();
        let needed = u64::from(len)
            .saturating_mul(4)
            .saturating_add(HEADER_LEN as u64)
            .saturating_add(if has_checksum { 4 } else { 0 });
        if len > MAX_LEN || needed > section.len_bytes {
            return Err(damaged(
                section.at,
                format!("a table of {len} entries in {} bytes", section.len_bytes),
            ));
        }
        Ok(Self {
            segment: 0,
            first_chunk: 0,
            len,
            base: raw.base.get(),
            entries: section.data.saturating_add(HEADER_LEN as u64),
            copy: None,
            end: chunks.unwrap_or(section).end(),
            has_checksum,
        })
    }

    /// Tells whether another table is a copy of this one.
    pub(super) fn is_copied_by(&self, other: &Self) -> bool {
        (self.len, self.base, self.end) == (other.len, other.base, other.end)
    }

    /// Returns where its entries lie, for a copy of it.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads its entries, or those of its copy where they have a wrong checksum or cannot be read.
    ///
    /// # Errors
    /// Both are of no use.
    pub(super) fn places(&self, file: &dyn BlockDevice) -> Result<Places, Fault> {
        let entries = match (self.entries_at(file, self.entries), self.copy) {
            (Err(error), Some(copy)) => self.entries_at(file, copy).map_err(|_| error)?,
            (entries, _) => entries?,
        };
        Ok(Places::new(entries, self.base, self.end))
    }

    fn entries_at(&self, file: &dyn BlockDevice, at: u64) -> Result<Vec<u32>, Fault> {
        let len = usize::try_from(self.len).unwrap_or_default().saturating_mul(4);
        let mut bytes = vec![0; len.saturating_add(if self.has_checksum { 4 } else { 0 })];
        file.read_at(at, &mut bytes)?;
        if self.has_checksum && !section::has_checksum(&bytes) {
            return Err(Fault::damaged(format!(
                "the table at byte {at:#x} has a wrong checksum"
            )));
        }
        bytes.truncate(len);
        Ok(bytes
            .chunks_exact(4)
            .filter_map(|entry| entry.first_chunk().map(|entry| u32::from_le_bytes(*entry)))
            .collect())
    }
}

/// Where the chunks of a table lie.
#[derive(Debug)]
pub(super) struct Places {
    entries: Vec<u32>,
    /// From which entry on the highest bit is a part of the offset. EnCase 6.7 wrote more than 2 GiB of chunks behind
    /// one table like this, and packed none of them from there on.
    beyond: usize,
    base: u64,
    end: u64,
}

impl Places {
    fn new(entries: Vec<u32>, base: u64, end: u64) -> Self {
        let beyond = entries
            .windows(2)
            .position(|pair| match pair {
                [last, next] => next > last && next & !PACKED < last & !PACKED,
                _ => false,
            })
            .map_or(usize::MAX, |position| position.saturating_add(1));
        Self {
            entries,
            beyond,
            base,
            end,
        }
    }

    /// Returns where chunk `index` of the table lies.
    pub(super) fn get(&self, index: usize) -> Option<Place> {
        let (offset, is_packed) = self.start(index)?;
        let end = match index.checked_add(1).and_then(|next| self.start(next)) {
            Some((next, _)) => next,
            None => self.end,
        };
        Some(Place {
            offset,
            len_bytes: end.saturating_sub(offset),
            is_packed,
        })
    }

    fn start(&self, index: usize) -> Option<(u64, bool)> {
        let entry = *self.entries.get(index)?;
        let (offset, is_packed) = if index >= self.beyond {
            (entry, false)
        } else {
            (entry & !PACKED, entry & PACKED != 0)
        };
        Some((self.base.saturating_add(u64::from(offset)), is_packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(base: u64, end: u64, entries: &[u32]) -> Vec<(u64, u64, bool)> {
        let places = Places::new(entries.to_vec(), base, end);
        (0..entries.len())
            .map(|index| places.get(index).expect("inside"))
            .map(|place| (place.offset, place.len_bytes, place.is_packed))
            .collect()
    }

    #[test]
    fn entries_lead_to_chunks() {
        assert_eq!(
            places(1000, 1400, &[0x8000_0010, 0x40, 0x8000_0140]),
            [(1016, 48, true), (1064, 256, false), (1320, 80, true)]
        );
        assert_eq!(Places::new(vec![1], 0, 10).get(1), None);
    }

    #[test]
    fn offsets_beyond_two_gigabytes_use_the_highest_bit() {
        assert_eq!(
            places(
                0,
                0x8001_0200,
                &[0x8000_0040, 0x7FFF_F000, 0x8000_7100, 0x8000_F200]
            ),
            [
                (0x40, 0x7FFF_EFC0, true),
                (0x7FFF_F000, 0x8100, false),
                (0x8000_7100, 0x8100, false),
                (0x8000_F200, 0x1000, false)
            ]
        );
    }

    #[test]
    fn entries_that_go_backwards_have_no_length() {
        assert_eq!(
            places(0, 100, &[0x8000_0050, 0x8000_0010, 0x8000_0200]),
            [(0x50, 0, true), (0x10, 0x1F0, true), (0x200, 0, true)]
        );
    }
}
