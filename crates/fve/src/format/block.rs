//! The metadata block of which a volume has three copies ("FVE information block"), and the checks after it.
//!
//! Source: format spec 2.1 to 2.4 and 2.10.

use super::cursor::{Cursor, ShapeError};
use super::datum::Datum;
use super::file_time::FileTime;
use super::fragments::BlockFields;
use crate::guid::Guid;

/// Starts a metadata block; also in the boot sector, at another place.
pub const SIGNATURE: [u8; 8] = *b"-FVE-FS-";

/// The most that a copy takes on disk, and the most that is read of one.
pub const MAX_REGION_LEN_BYTES: usize = 0x1_0000;

const BLOCK_HEADER_LEN: usize = 64;
/// A block ends at a multiple of this; since version 2 it is also the unit of its size field.
const PADDED_TO: usize = 16;
const VALIDATION_HEADER_LEN: usize = 8;

/// A metadata block.
#[derive(Debug)]
pub struct InformationBlock {
    /// How many bytes the checks cover: header, entries and padding.
    pub size_bytes: usize,
    /// 1 on Windows Vista, 2 since.
    pub version: u16,
    /// Where the encryption of the volume stands (format spec 2.3).
    pub current_state: u16,
    /// Where it is going.
    pub next_state: u16,
    /// Version 2: how far the encryption has come, in bytes; the volume's size when it is complete.
    pub state_offset: u64,
    /// Length of the conversion log in bytes, at `state_offset`; 0 except while converting.
    pub state_len_bytes: u32,
    /// How many sectors at the start of the plaintext were moved; 0 in version 1.
    pub virtualized_sectors: u32,
    /// Where the three copies are, in bytes from the start of the volume.
    pub metadata_offsets: [u64; 3],
    /// Version 2: where the moved sectors are, in bytes. Version 1: the true cluster of the mirror of NTFS' MFT.
    pub virtualized_offset: u64,
    /// The header of the entries.
    pub dataset: DatasetHeader,
    /// The entries.
    pub datums: Vec<Datum>,
    /// The checks; `None` where they do not have their shape.
    pub validation: Option<Validation>,
    /// What the CRC-32 of the block really is.
    pub actual_crc32: u32,
    /// What the SHA-256 of the block really is.
    pub actual_sha256: [u8; 32],
}

/// The 48 bytes before a list of entries, in a metadata block and in a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatasetHeader {
    /// Length in bytes, with this header.
    pub size: u32,
    /// 1.
    pub version: u32,
    /// Where the entries start, from the start of this header.
    pub start: u32,
    /// Where they end; the same as `size`.
    pub end: u32,
    /// Of the volume; in a key file, of the protector.
    pub id: Guid,
    /// One more than the highest nonce counter used.
    pub next_nonce_counter: u32,
    /// How sectors are encrypted; 0 when they are not.
    pub method: u16,
    /// 0 or the method again.
    pub unknown_26: u16,
    /// When the volume was first encrypted, or the file written.
    pub created: FileTime,
}

/// The checks that follow a metadata block.
#[derive(Debug)]
pub struct Validation {
    /// 1 on Windows Vista, 2 since.
    pub version: u16,
    /// CRC-32 of the block.
    pub crc32: u32,
    /// SHA-256 of the block, sealed under the VMK (or in the clear on a decrypted volume); `None` if it is missing.
    pub integrity: Option<Datum>,
}

impl InformationBlock {
    /// Reads the block at the start of `region`, which is what the volume has for one copy, or as much of it as
    /// could be read.
    ///
    /// # Errors
    /// [`ShapeError`] when these bytes are not a metadata block, or one with sizes that cannot be right. Checksums
    /// are reported in the result, not judged.
    pub fn read(region: &[u8]) -> Result<Self, ShapeError> {
        let region = &region[..region.len().min(MAX_REGION_LEN_BYTES)];
        let mut cursor = Cursor::new(region, "metadata block");
        let signature = cursor.array::<8>("signature")?;
        if signature != SIGNATURE {
            let found = if signature == [0; 8] {
                "zeros"
            } else {
                "something else"
            };
            return Err(cursor.wrong("signature", "-FVE-FS-", found));
        }
        let size = usize::from(cursor.u16("size")?);
        let version = cursor.u16("version")?;
        let size_bytes = match version {
            1 => size,
            2 => size * 16,
            other => return Err(cursor.wrong("version", "1 or 2", other.to_string())),
        };
        let fields = BlockFields::read_after_version(&mut cursor, true, version)?;

        let least = BLOCK_HEADER_LEN + DatasetHeader::LEN_BYTES;
        let block = match region.get(..size_bytes) {
            Some(block) if size_bytes >= least => block,
            _ => {
                return Err(cursor.wrong(
                    "size",
                    format!("{least} to {}", region.len()),
                    size_bytes.to_string(),
                ));
            }
        };
        let dataset_bytes = &block[BLOCK_HEADER_LEN..];
        let dataset = DatasetHeader::read(dataset_bytes, "metadata block")?;
        // Some builds of Windows write entries past the size that the header says (they end where `end` says).
        let end = dataset.size.max(dataset.end) as usize;
        let list = dataset_bytes.get(dataset.start as usize..end).ok_or_else(|| {
            cursor.wrong(
                "entries",
                format!("within {} bytes", dataset_bytes.len()),
                format!("end at {end}"),
            )
        })?;
        let datums = Datum::read_list(list)?;

        let mut read = Self {
            size_bytes,
            validation: Validation::read(&region[size_bytes..]),
            actual_crc32: crc32fast::hash(block),
            actual_sha256: keyhaven_crypto::sha256(block),
            ..Self::of_entries(dataset, datums)
        };
        read.set_fields(&fields);
        Ok(read)
    }

    /// Returns the fields of its header.
    pub(crate) fn fields(&self) -> BlockFields {
        BlockFields {
            is_signed: true,
            version: self.version,
            current_state: self.current_state,
            next_state: self.next_state,
            state_offset: self.state_offset,
            state_len_bytes: self.state_len_bytes,
            virtualized_sectors: self.virtualized_sectors,
            metadata_offsets: self.metadata_offsets,
            virtualized_offset: self.virtualized_offset,
        }
    }

    /// Takes over the fields of a header.
    pub(crate) fn set_fields(&mut self, fields: &BlockFields) {
        self.version = fields.version;
        self.current_state = fields.current_state;
        self.next_state = fields.next_state;
        self.state_offset = fields.state_offset;
        self.state_len_bytes = fields.state_len_bytes;
        self.virtualized_sectors = fields.virtualized_sectors;
        self.metadata_offsets = fields.metadata_offsets;
        self.virtualized_offset = fields.virtualized_offset;
    }

    /// Puts entries into a block of which nothing else is known: no state, no places, no checks.
    pub(crate) fn of_entries(dataset: DatasetHeader, datums: Vec<Datum>) -> Self {
        Self {
            size_bytes: 0,
            version: 2,
            current_state: 0,
            next_state: 0,
            state_offset: 0,
            state_len_bytes: 0,
            virtualized_sectors: 0,
            metadata_offsets: [0; 3],
            virtualized_offset: 0,
            dataset,
            datums,
            validation: None,
            actual_crc32: 0,
            actual_sha256: [0; 32],
        }
    }

    /// Writes the block as the checks cover it: header, entries, zeros up to a whole 16 bytes. Sizes are those of the
    /// content; the checks and [`size_bytes`](Self::size_bytes) are not looked at.
    ///
    /// # Errors
    /// [`ShapeError`] when it is longer than its size field can say.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ShapeError> {
        let mut list = Vec::new();
        for datum in &self.datums {
            list.extend_from_slice(&datum.to_bytes());
        }
        let dataset_len = DatasetHeader::LEN_BYTES.saturating_add(list.len());
        let size_bytes = BLOCK_HEADER_LEN
            .saturating_add(dataset_len)
            .next_multiple_of(PADDED_TO);
        let unit = if self.version == 1 { 1 } else { PADDED_TO };
        let too_long = || ShapeError {
            what: "size",
            within: "metadata block",
            at: 8,
            expected: format!("at most {}", usize::from(u16::MAX) * unit),
            found: size_bytes.to_string(),
        };
        let size = u16::try_from(size_bytes / unit).map_err(|_| too_long())?;
        let dataset_len = u32::try_from(dataset_len).map_err(|_| too_long())?;

        let mut bytes = Vec::with_capacity(size_bytes);
        bytes.extend_from_slice(&SIGNATURE);
        for field in [size, self.version, self.current_state, self.next_state] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.state_offset.to_le_bytes());
        bytes.extend_from_slice(&self.state_len_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.virtualized_sectors.to_le_bytes());
        for offset in self.metadata_offsets {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.extend_from_slice(&self.virtualized_offset.to_le_bytes());
        let dataset = DatasetHeader {
            size: dataset_len,
            start: DatasetHeader::LEN_BYTES as u32,
            end: dataset_len,
            ..self.dataset
        };
        bytes.extend_from_slice(&dataset.to_bytes());
        bytes.extend_from_slice(&list);
        bytes.resize(size_bytes, 0);
        Ok(bytes)
    }

    /// Tells whether the stored CRC-32 is there and right.
    #[must_use]
    pub fn crc32_is_right(&self) -> bool {
        self.validation
            .as_ref()
            .is_some_and(|validation| validation.crc32 == self.actual_crc32)
    }
}

impl DatasetHeader {
    /// Length on disk.
    pub const LEN_BYTES: usize = 48;

    /// One that says nothing: what stands for a header that is lost.
    pub(crate) const LOST: Self = Self {
        size: 0,
        version: 1,
        start: 0,
        end: 0,
        id: Guid::ZERO,
        next_nonce_counter: 0,
        method: 0,
        unknown_26: 0,
        created: FileTime(0),
    };

    pub(crate) fn read(bytes: &[u8], within: &'static str) -> Result<Self, ShapeError> {
        let mut cursor = Cursor::new(bytes, within);
        let header = Self {
            size: cursor.u32("entries' size")?,
            version: cursor.u32("entries' version")?,
            start: cursor.u32("entries' start")?,
            end: cursor.u32("entries' end")?,
            id: Guid::from_bytes(cursor.array("identifier")?),
            next_nonce_counter: cursor.u32("nonce counter")?,
            method: cursor.u16("encryption method")?,
            unknown_26: cursor.u16("second encryption method")?,
            created: FileTime(cursor.u64("creation time")?),
        };
        if (header.start as usize) < Self::LEN_BYTES || header.start > header.size {
            let found = format!("start {} and size {}", header.start, header.size);
            return Err(cursor.wrong("entries' size", "at least 48 bytes before them", found));
        }
        Ok(header)
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN_BYTES] {
        let mut bytes = Vec::with_capacity(Self::LEN_BYTES);
        for field in [self.size, self.version, self.start, self.end] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.id.to_bytes());
        bytes.extend_from_slice(&self.next_nonce_counter.to_le_bytes());
        bytes.extend_from_slice(&self.method.to_le_bytes());
        bytes.extend_from_slice(&self.unknown_26.to_le_bytes());
        bytes.extend_from_slice(&self.created.0.to_le_bytes());
        std::array::from_fn(|i| bytes[i])
    }
}

impl Validation {
    /// Writes the checks that follow a block of `block_len` bytes in a region of `region_len`, without the zeros that
    /// fill the region. The size field counts the region to its end (format spec 2.10).
    ///
    /// # Errors
    /// [`ShapeError`] when the region has no room for them.
    pub fn to_bytes(&self, block_len: usize, region_len: usize) -> Result<Vec<u8>, ShapeError> {
        let integrity = self.integrity.as_ref().map(Datum::to_bytes);
        let len = VALIDATION_HEADER_LEN.saturating_add(integrity.as_ref().map_or(0, |datum| datum.len()));
        let left = region_len.saturating_sub(block_len);
        let size = u16::try_from(left)
            .ok()
            .filter(|_| len <= left)
            .ok_or(ShapeError {
                what: "size",
                within: "validation block",
                at: 0,
                expected: format!("{len} to {}", u16::MAX),
                found: left.to_string(),
            })?;
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.crc32.to_le_bytes());
        bytes.extend_from_slice(integrity.as_deref().map_or(&[], Vec::as_slice));
        Ok(bytes)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes, "validation block");
        // The size counts the region to its end, not what is used of it: it says nothing about this content.
        let size = usize::from(cursor.u16("size").ok()?);
        let version = cursor.u16("version").ok()?;
        let crc32 = cursor.u32("CRC-32").ok()?;
        if size < VALIDATION_HEADER_LEN {
            return None;
        }
        let rest = cursor.rest();
        let len = rest
            .get(..2)
            .map_or(0, |len| usize::from(u16::from_le_bytes([len[0], len[1]])));
        let integrity = rest
            .get(..len)
            .and_then(|one| Datum::read_list(one).ok())
            .and_then(|list| list.into_iter().next());
        Some(Self {
            version,
            crc32,
            integrity,
        })
    }
}
