//! The key package: what of a volume's metadata opens its sector key, in a file of its own.
//!
//! Source: format spec 6. No sample of what Windows writes is public, so every framing is read that the entries can
//! sensibly have; what is written is the one that the same entries have elsewhere: a header and a list.

use zeroize::Zeroizing;

use super::block::{DatasetHeader, InformationBlock, MAX_REGION_LEN_BYTES, SIGNATURE};
use super::cursor::{Cursor, ShapeError};
use super::datum::{Datum, Value};

/// Metadata take at most so much, and a package is a part of them.
pub const MAX_LEN_BYTES: usize = MAX_REGION_LEN_BYTES;

/// What stands around the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// The header that entries have in metadata and in key files, and the entries.
    Dataset,
    /// A whole copy of the metadata, or the front of one.
    MetadataBlock,
    /// Nothing: the entries alone.
    Entries,
}

/// A key package.
#[derive(Debug)]
pub struct KeyPackageFile {
    /// What stood around the entries.
    pub framing: Framing,
    /// The header; its identifier is the volume's. `None` where the entries stand alone.
    pub header: Option<DatasetHeader>,
    /// The entries.
    pub datums: Vec<Datum>,
}

impl KeyPackageFile {
    /// Reads a package in any framing.
    ///
    /// # Errors
    /// [`ShapeError`] when there is no list of entries in it that has a key protector or a sector key.
    pub fn read(bytes: &[u8]) -> Result<Self, ShapeError> {
        let cursor = Cursor::new(bytes, "key package");
        if bytes.len() > MAX_LEN_BYTES {
            let found = format!("{} bytes", bytes.len());
            return Err(cursor.wrong("size", format!("at most {MAX_LEN_BYTES} bytes"), found));
        }
        let read = if bytes.starts_with(&SIGNATURE) {
            let block = InformationBlock::read(bytes)?;
            Self {
                framing: Framing::MetadataBlock,
                header: Some(block.dataset),
                datums: block.datums,
            }
        } else {
            // A list that stands alone begins with the length of its first entry, and that has 8 bytes of header: it
            // never makes a header whose list begins at byte 48.
            match Self::dataset(bytes) {
                Ok(read) => read,
                Err(error) => Self::entries(bytes).map_err(|_| error)?,
            }
        };
        let is_one = read.datums.iter().any(|datum| {
            matches!(datum.value, Value::Vmk { .. })
                || matches!(
                    (datum.role, &datum.value),
                    (super::datum::role::FVEK, Value::Sealed(_))
                )
        });
        if is_one {
            Ok(read)
        } else {
            Err(cursor.wrong("entries", "a key protector or a sector key", "neither"))
        }
    }

    fn dataset(bytes: &[u8]) -> Result<Self, ShapeError> {
        let header = DatasetHeader::read(bytes, "key package")?;
        let end = header.size.max(header.end) as usize;
        let cursor = Cursor::new(bytes, "key package");
        let list = bytes.get(header.start as usize..end).ok_or_else(|| {
            cursor.wrong(
                "size",
                format!("at most {} bytes", bytes.len()),
                format!("{end} bytes"),
            )
        })?;
        Ok(Self {
            framing: Framing::Dataset,
            header: Some(header),
            datums: Datum::read_list(list)?,
        })
    }

    fn entries(bytes: &[u8]) -> Result<Self, ShapeError> {
        Ok(Self {
            framing: Framing::Entries,
            header: None,
            datums: Datum::read_list(bytes)?,
        })
    }

    /// Writes the package: header and entries, with sizes as the content has them.
    ///
    /// # Errors
    /// [`ShapeError`] when it has no header, or is longer than metadata can be.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, ShapeError> {
        let mut list = Zeroizing::new(Vec::new());
        for datum in &self.datums {
            list.extend_from_slice(&datum.to_bytes());
        }
        let cursor = Cursor::new(&[], "key package");
        let header = self
            .header
            .ok_or_else(|| cursor.wrong("header", "the volume's", "none"))?;
        let size = u32::try_from(DatasetHeader::LEN_BYTES.saturating_add(list.len()))
            .ok()
            .filter(|size| *size as usize <= MAX_LEN_BYTES)
            .ok_or_else(|| cursor.wrong("size", format!("at most {MAX_LEN_BYTES} bytes"), "more"))?;
        let header = DatasetHeader {
            size,
            start: DatasetHeader::LEN_BYTES as u32,
            end: size,
            ..header
        };
        let mut bytes = Zeroizing::new(header.to_bytes().to_vec());
        bytes.extend_from_slice(&list);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::FileTime;
    use crate::format::datum::{SealedDatum, kind, role};
    use crate::guid::Guid;

    fn package() -> KeyPackageFile {
        let sealed = || SealedDatum {
            nonce: [1; 12],
            tag: [2; 16],
            ciphertext: vec![3; 44],
        };
        let vmk = Value::Vmk {
            id: Guid::from_bytes([4; 16]),
            modified: FileTime(5),
            unknown_18: 0,
            protector: 0x800,
            nested: vec![Datum::new(role::PROPERTY, kind::SEALED, Value::Sealed(sealed()))],
        };
        KeyPackageFile {
            framing: Framing::Dataset,
            header: Some(DatasetHeader {
                size: 0,
                version: 1,
                start: 0,
                end: 0,
                id: Guid::from_bytes([6; 16]),
                next_nonce_counter: 7,
                method: 0x8004,
                unknown_26: 0,
                created: FileTime(8),
            }),
            datums: vec![
                Datum::new(role::VMK, kind::VMK, vmk),
                Datum::new(role::FVEK, kind::SEALED, Value::Sealed(sealed())),
            ],
        }
    }

    #[test]
    fn each_framing_is_read() {
        let written = package().to_bytes().expect("it fits");
        let read = KeyPackageFile::read(&written).expect("a package");
        assert_eq!(read.framing, Framing::Dataset);
        assert_eq!(
            read.header.map(|header| header.id),
            Some(Guid::from_bytes([6; 16]))
        );
        assert_eq!(*read.to_bytes().expect("it fits"), *written);

        // What follows the list, such as the zeros of a sector, is no part of it.
        let longer = [&written[..], &[0; 100]].concat();
        assert_eq!(KeyPackageFile::read(&longer).expect("a package").datums.len(), 2);

        let alone = KeyPackageFile::read(&written[48..]).expect("a package");
        assert_eq!(alone.framing, Framing::Entries);
        assert_eq!(alone.datums.len(), 2);
        assert!(alone.to_bytes().is_err(), "nobody knows whose it is");
    }

    #[test]
    fn what_opens_nothing_is_no_package() {
        for bytes in [&[][..], &[0; 48], &[0xff; 300], b"-FVE-FS-"] {
            assert!(KeyPackageFile::read(bytes).is_err());
        }
        let written = package().to_bytes().expect("it fits");
        for len in 0..written.len() {
            assert!(KeyPackageFile::read(&written[..len]).is_err(), "{len} bytes");
        }
        assert!(KeyPackageFile::read(&vec![0; MAX_LEN_BYTES + 1]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_panic(at in 0usize..230, with in any::<u8>()) {
            let mut bytes = package().to_bytes().expect("it fits");
            if let Some(byte) = bytes.get_mut(at) {
                *byte = with;
            }
            if let Ok(read) = KeyPackageFile::read(&bytes) {
                let _ = read.to_bytes();
            }
        }
    }
}
