//! The record of which parts of an encrypted-on-write volume are encrypted.
//!
//! An information block lists the regions; each region has a bitmap with a bit for every chunk, kept in records of
//! which the newest counts. Source: format spec 4.3; seen in images cs-aes-xts-128-eow, df-eow_partial, df-decrypted.

use super::cursor::{Cursor, ShapeError};

/// What is read of an information block.
pub const INFORMATION_LEN_BYTES: usize = 0x1000;
/// Real volumes have six regions; a 16 TiB volume of 256 MiB regions would have 65,536.
pub const MAX_REGIONS: usize = 0x1_0000;
/// A bitmap takes 0x600 bytes on every volume seen.
pub const MAX_BITMAP_LEN_BYTES: usize = 0x10_0000;

/// All parts of the record begin with this.
pub const SIGNATURE_START: &[u8] = b"FVE-EOW";
const INFORMATION_SIGNATURE: [u8; 8] = *b"FVE-EOW\0";
const BITMAP_SIGNATURE: [u8; 10] = *b"FVE-EOWBM\0";
const RECORD_SIGNATURE: [u8; 10] = *b"FVE-EOWBR\0";

/// The information block: where the bitmaps are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EowInformation {
    /// Length in bytes, as far as the checksum goes.
    pub size_bytes: usize,
    /// How much of the volume one bit stands for, in bytes.
    pub chunk_len_bytes: u32,
    /// Length of each region's conversion log, in bytes.
    pub conversion_log_len_bytes: u32,
    /// Where the two copies of this block are.
    pub offsets: [u64; 2],
    /// Where each region's bitmap is.
    pub bitmap_offsets: Vec<u64>,
}

impl EowInformation {
    /// Returns how long the block at the start of `bytes` says it is, so that the rest of it can be read.
    #[must_use]
    pub fn announced_len_bytes(bytes: &[u8]) -> Option<usize> {
        let mut cursor = Cursor::new(bytes, "encrypt-on-write information");
        if cursor.array::<8>("signature").ok()? != INFORMATION_SIGNATURE {
            return None;
        }
        cursor.u16("header size").ok()?;
        cursor.u16("size").ok().map(usize::from)
    }

    /// Reads a block.
    ///
    /// # Errors
    /// [`ShapeError`] when the signature, the sizes or the checksum are wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, ShapeError> {
        let mut cursor = Cursor::new(bytes, "encrypt-on-write information");
        let signature = cursor.array::<8>("signature")?;
        if signature != INFORMATION_SIGNATURE {
            return Err(cursor.wrong("signature", "FVE-EOW", "something else"));
        }
        let header_size = usize::from(cursor.u16("header size")?);
        let size_bytes = usize::from(cursor.u16("size")?);
        cursor.take(8, "sector sizes")?;
        let chunk_len_bytes = cursor.u32("chunk size")?;
        let conversion_log_len_bytes = cursor.u32("conversion log size")?;
        cursor.take(4, "second half of the conversion log")?;
        let regions = cursor.u32("region count")? as usize;
        check_crc(&cursor, bytes, size_bytes, 0x24)?;
        cursor.take(4, "checksum")?;
        let offsets = [cursor.u64("offset 1")?, cursor.u64("offset 2")?];

        if regions > MAX_REGIONS
            || header_size
                .checked_add(regions * 8)
                .is_none_or(|end| end > size_bytes)
        {
            return Err(cursor.wrong(
                "region count",
                format!("what fits {size_bytes} bytes"),
                regions.to_string(),
            ));
        }
        if chunk_len_bytes == 0 || !chunk_len_bytes.is_multiple_of(512) {
            return Err(cursor.wrong("chunk size", "a multiple of 512", chunk_len_bytes.to_string()));
        }
        let list = bytes
            .get(header_size..header_size + regions * 8)
            .unwrap_or_default();
        let mut list = Cursor::new(list, "encrypt-on-write information");
        let bitmap_offsets = (0..regions)
            .map(|_| list.u64("bitmap offset"))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            size_bytes,
            chunk_len_bytes,
            conversion_log_len_bytes,
            offsets,
            bitmap_offsets,
        })
    }
}

/// A region of the volume and which of its chunks are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EowBitmap {
    /// Length of the bitmap with its records, in bytes.
    pub size_bytes: usize,
    /// Where the region starts, in bytes from the start of the volume.
    pub region_offset: u64,
    /// Length of the region in bytes.
    pub region_len_bytes: u64,
    /// Where its conversion log is.
    pub conversion_log_offset: u64,
    /// How many chunks the newest record tells of.
    pub chunks: u32,
    /// A bit for each chunk, lowest first: 1 is encrypted.
    bits: Vec<u8>,
}

impl EowBitmap {
    /// Returns how long the bitmap at the start of `bytes` says it is.
    #[must_use]
    pub fn announced_len_bytes(bytes: &[u8]) -> Option<usize> {
        let mut cursor = Cursor::new(bytes, "encrypt-on-write bitmap");
        if cursor.array::<10>("signature").ok()? != BITMAP_SIGNATURE {
            return None;
        }
        cursor.u16("header size").ok()?;
        cursor.u32("size").ok().map(|size| size as usize)
    }

    /// Reads a bitmap and chooses its newest valid record.
    ///
    /// # Errors
    /// [`ShapeError`] when signature, sizes or checksum of the header are wrong, or no record is valid.
    pub fn read(bytes: &[u8]) -> Result<Self, ShapeError> {
        let mut cursor = Cursor::new(bytes, "encrypt-on-write bitmap");
        if cursor.array::<10>("signature")? != BITMAP_SIGNATURE {
            return Err(cursor.wrong("signature", "FVE-EOWBM", "something else"));
        }
        cursor.u16("header size")?;
        let size_bytes = cursor.u32("size")? as usize;
        cursor.u32("index")?;
        let region_offset = cursor.u64("region offset")?;
        let region_len_bytes = cursor.u64("region size")?;
        let conversion_log_offset = cursor.u64("conversion log offset")?;
        let record_offsets = [
            cursor.u32("record offset")? as usize,
            cursor.u32("record offset")? as usize,
        ];
        let record_size = cursor.u32("record size")? as usize;
        check_crc(&cursor, bytes, record_offsets[0], 0x38)?;

        let newest = record_offsets
            .iter()
            .filter_map(|at| Record::read(bytes.get(*at..at.checked_add(record_size)?)?).ok())
            .max_by_key(|record| record.sequence)
            .ok_or_else(|| cursor.wrong("records", "one with a right checksum", "none"))?;
        Ok(Self {
            size_bytes,
            region_offset,
            region_len_bytes,
            conversion_log_offset,
            chunks: newest.chunks,
            bits: newest.bits,
        })
    }

    /// Tells whether a chunk of the region is encrypted; `None` for one that the record does not cover.
    #[must_use]
    pub fn is_encrypted(&self, chunk: u64) -> Option<bool> {
        if chunk >= u64::from(self.chunks) {
            return None;
        }
        let byte = self.bits.get(usize::try_from(chunk / 8).ok()?)?;
        Some(byte >> (chunk % 8) & 1 == 1)
    }
}

struct Record {
    sequence: u64,
    chunks: u32,
    bits: Vec<u8>,
}

impl Record {
    fn read(bytes: &[u8]) -> Result<Self, ShapeError> {
        let mut cursor = Cursor::new(bytes, "encrypt-on-write record");
        if cursor.array::<10>("signature")? != RECORD_SIGNATURE {
            return Err(cursor.wrong("signature", "FVE-EOWBR", "something else"));
        }
        cursor.u16("header size")?;
        let size = cursor.u32("size")? as usize;
        let chunks = cursor.u32("bit count")?;
        let sequence = cursor.u64("sequence")?;
        cursor.u32("flags")?;
        check_crc(&cursor, bytes, size, 0x20)?;
        cursor.take(4, "checksum")?;
        let bits = cursor.rest().to_vec();
        if (bits.len() as u64) * 8 < u64::from(chunks) {
            return Err(cursor.wrong(
                "bit count",
                format!("at most {}", bits.len() * 8),
                chunks.to_string(),
            ));
        }
        Ok(Self {
            sequence,
            chunks,
            bits,
        })
    }
}

/// Checks the CRC-32 at `at` over `bytes[..len]`, in which the checksum itself counts as zeros.
fn check_crc(cursor: &Cursor<'_>, bytes: &[u8], len: usize, at: usize) -> Result<(), ShapeError> {
    let covered = bytes
        .get(..len)
        .filter(|covered| covered.len() >= at + 4)
        .ok_or_else(|| {
            cursor.wrong(
                "size",
                format!("{} to {} bytes", at + 4, bytes.len()),
                len.to_string(),
            )
        })?;
    let stored = u32::from_le_bytes([covered[at], covered[at + 1], covered[at + 2], covered[at + 3]]);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&covered[..at]);
    hasher.update(&[0; 4]);
    hasher.update(&covered[at + 4..]);
    let actual = hasher.finalize();
    if actual == stored {
        Ok(())
    } else {
        Err(cursor.wrong("checksum", format!("{actual:#010x}"), format!("{stored:#010x}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..700), kind in 0..3) {
            let mut bytes = bytes;
            let signature: &[u8] =
                [&INFORMATION_SIGNATURE[..], &BITMAP_SIGNATURE[..], &RECORD_SIGNATURE[..]][kind as usize];
            if let Some(place) = bytes.get_mut(..signature.len()) {
                place.copy_from_slice(signature);
            }
            let _ = (EowInformation::read(&bytes), EowBitmap::read(&bytes), Record::read(&bytes).is_ok());
        }
    }
}
