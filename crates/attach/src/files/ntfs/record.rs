//! File records: a header, and attributes one after the other.

use crate::files::bytes::{u8_at, u16_at, u32_at, u64_at};

/// Each run of this many bytes ends with two that say whether it was written with the rest, whatever a sector
/// measures.
const STRIDE: usize = 512;

/// What ends the attributes.
const END: u32 = 0xFFFF_FFFF;

/// The types of attributes that are read here.
pub(super) mod kind {
    pub(crate) const STANDARD_INFORMATION: u32 = 0x10;
    pub(crate) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(crate) const FILE_NAME: u32 = 0x30;
    pub(crate) const VOLUME_NAME: u32 = 0x60;
    pub(crate) const VOLUME_INFORMATION: u32 = 0x70;
    pub(crate) const DATA: u32 = 0x80;
    pub(crate) const INDEX_ROOT: u32 = 0x90;
    pub(crate) const INDEX_ALLOCATION: u32 = 0xA0;
    pub(crate) const REPARSE_POINT: u32 = 0xC0;
}

/// One record of the master file table, checked and with its original bytes put back.
#[derive(Debug)]
pub(super) struct Record {
    bytes: Vec<u8>,
    number: u64,
}

/// An attribute of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    /// Its type.
    pub(super) kind: u32,
    /// Its number within the record.
    pub(super) instance: u16,
    /// How its value is stored.
    pub(super) flags: u16,
    /// Its name in UTF-16, empty for most.
    pub(super) name: &'a [u8],
    /// Its value, or where that is.
    pub(super) value: Value<'a>,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// In the record.
    Resident(&'a [u8]),
    /// In clusters; a large one is described in pieces, in attributes of several records.
    Clusters(Piece<'a>),
}

/// Where a piece of a value is. The lengths are those of the whole value and count only in its first piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// The first cluster of the value that this piece describes.
    pub(super) lowest_vcn: u64,
    /// The runs, encoded.
    pub(super) runs: &'a [u8],
    /// The unit of compression, as a power of two of clusters; 0 for none.
    pub(super) unit_exponent: u8,
    /// What the value occupies, in bytes.
    pub(super) allocated: u64,
    /// How long the value is, in bytes.
    pub(super) len: u64,
    /// How much of it was written, in bytes; zeros follow.
    pub(super) initialized: u64,
}

impl Record {
    /// Takes the bytes of record `number`; the error says what is wrong with them.
    pub(super) fn parse(mut bytes: Vec<u8>, number: u64) -> Result<Self, &'static str> {
        if !bytes.starts_with(b"FILE") {
            return Err("it does not begin with FILE");
        }
        put_back(&mut bytes)?;
        Ok(Self { bytes, number })
    }

    /// Returns its number.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns how often the record was used for another file; with the number, this names a file for good.
    pub(super) fn sequence(&self) -> u16 {
        u16_at(&self.bytes, 0x10).unwrap_or_default()
    }

    /// Returns whether a file is described here.
    pub(super) fn is_in_use(&self) -> bool {
        self.flags() & 1 != 0
    }

    /// Returns whether it is that of a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.flags() & 2 != 0
    }

    /// Returns the reference of the file whose description this record continues; 0 where it begins one.
    pub(super) fn base(&self) -> u64 {
        u64_at(&self.bytes, 0x20).unwrap_or_default()
    }

    fn flags(&self) -> u16 {
        u16_at(&self.bytes, 0x16).unwrap_or_default()
    }

    /// Returns the attributes; an error says what is wrong with the one that follows.
    pub(super) fn attributes(&self) -> impl Iterator<Item = Result<Attribute<'_>, &'static str>> {
        let mut at = u16_at(&self.bytes, 0x14).map(usize::from);
        std::iter::from_fn(move || {
            let here = at.take()?;
            let rest = self.bytes.get(here..)?;
            if u32_at(rest, 0)? == END {
                return None;
            }
            match Attribute::parse(rest) {
                Some((attribute, len)) => {
                    at = here.checked_add(len);
                    Some(Ok(attribute))
                }
                None => Some(Err("an attribute does not fit into the record")),
            }
        })
    }
}

impl<'a> Attribute<'a> {
    /// Reads the attribute at the start of `rest`, and returns its length with it.
    fn parse(rest: &'a [u8]) -> Option<(Self, usize)> {
        let len = usize::try_from(u32_at(rest, 4)?)
            .ok()
            .filter(|len| *len >= 0x18)?;
        let bytes = rest.get(..len)?;
        let part = |start: usize, len: usize| bytes.get(start..start.checked_add(len)?);

        let name_len = usize::from(u8_at(bytes, 9)?) * 2;
        let name = match name_len {
            0 => &[],
            _ => part(usize::from(u16_at(bytes, 0x0A)?), name_len)?,
        };
        let value = if u8_at(bytes, 8)? == 0 {
            let len = usize::try_from(u32_at(bytes, 0x10)?).ok()?;
            Value::Resident(part(usize::from(u16_at(bytes, 0x14)?), len)?)
        } else {
            Value::Clusters(Piece {
                lowest_vcn: u64_at(bytes, 0x10)?,
                runs: bytes.get(usize::from(u16_at(bytes, 0x20)?)..)?,
                unit_exponent: u8_at(bytes, 0x22)?,
                // Compressed and sparse values say in one more field what they really occupy.
                allocated: match u16_at(bytes, 0x20)? {
                    0x48.. if u16_at(bytes, 0x0C)? & 0x8001 != 0 => u64_at(bytes, 0x40)?,
                    _ => u64_at(bytes, 0x28)?,
                },
                len: u64_at(bytes, 0x30)?,
                initialized: u64_at(bytes, 0x38)?,
            })
        };
        let attribute = Self {
            kind: u32_at(bytes, 0)?,
            instance: u16_at(bytes, 0x0E)?,
            flags: u16_at(bytes, 0x0C)?,
            name,
            value,
        };
        Some((attribute, len))
    }
}

/// Checks that all of a record or block was written at once, and puts back the bytes that the check had replaced.
pub(super) fn put_back(bytes: &mut [u8]) -> Result<(), &'static str> {
    const SHORT: &str = "its update sequence does not fit into it";
    let start = usize::from(u16_at(bytes, 4).ok_or(SHORT)?);
    let count = usize::from(u16_at(bytes, 6).ok_or(SHORT)?);
    if count != bytes.len() / STRIDE + 1 || !bytes.len().is_multiple_of(STRIDE) {
        return Err(SHORT);
    }
    let sequence = bytes
        .get(start..)
        .and_then(|rest| rest.get(..count * 2))
        .ok_or(SHORT)?
        .to_vec();
    let (mark, originals) = sequence.split_at_checked(2).ok_or(SHORT)?;
    for (stride, original) in bytes.chunks_exact_mut(STRIDE).zip(originals.chunks_exact(2)) {
        let Some(last) = stride.last_chunk_mut::<2>() else {
            return Err(SHORT);
        };
        if last != mark {
            return Err("it was not written to the end");
        }
        last.copy_from_slice(original);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with one resident attribute at its end.
    fn record() -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..4].copy_from_slice(b"FILE");
        bytes[4..6].copy_from_slice(&0x30u16.to_le_bytes());
        bytes[6..8].copy_from_slice(&3u16.to_le_bytes());
        bytes[0x14..0x16].copy_from_slice(&0x38u16.to_le_bytes());
        bytes[0x16..0x18].copy_from_slice(&1u16.to_le_bytes());
        bytes[0x30..0x36].copy_from_slice(&[7, 0, 1, 2, 3, 4]);
        bytes[510..512].copy_from_slice(&[7, 0]);
        bytes[1022..1024].copy_from_slice(&[7, 0]);
        bytes[0x38..0x3C].copy_from_slice(&kind::DATA.to_le_bytes());
        bytes[0x3C..0x40].copy_from_slice(&0x20u32.to_le_bytes());
        bytes[0x48..0x4C].copy_from_slice(&5u32.to_le_bytes());
        bytes[0x4C..0x4E].copy_from_slice(&0x18u16.to_le_bytes());
        bytes[0x50..0x55].copy_from_slice(b"hello");
        bytes[0x58..0x5C].copy_from_slice(&END.to_le_bytes());
        bytes
    }

    #[test]
    fn a_record_is_read_and_its_bytes_put_back() {
        let record = Record::parse(record(), 40).unwrap();
        assert_eq!(record.bytes[510..512], [1, 2]);
        assert_eq!(record.bytes[1022..1024], [3, 4]);
        assert!(record.is_in_use() && !record.is_directory());
        let attributes: Vec<_> = record.attributes().map(Result::unwrap).collect();
        assert!(matches!(
            attributes.as_slice(),
            [Attribute {
                kind: kind::DATA,
                value: Value::Resident(b"hello"),
                ..
            }]
        ));
    }

    #[test]
    fn a_half_written_record_is_refused() {
        let mut bytes = record();
        bytes[1022] = 6;
        assert_eq!(
            Record::parse(bytes, 1).unwrap_err(),
            "it was not written to the end"
        );
    }

    #[test]
    fn attributes_past_the_end_are_an_error_and_the_end() {
        for (at, byte) in [(0x3D, 0x10), (0x3C, 0), (0x49, 9), (0x4D, 8), (0x41, 200)] {
            let mut bytes = record();
            bytes[at] = byte;
            let record = Record::parse(bytes, 1).unwrap();
            let attributes: Vec<_> = record.attributes().collect();
            assert!(matches!(attributes.as_slice(), [Err(_)]), "byte {at:#x}");
        }
    }
}
