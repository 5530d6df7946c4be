//! The file of a startup key or external recovery key (.BEK).
//!
//! Source: format spec 3.6; seen as 148, 156, 180 and 202 bytes.

use super::block::DatasetHeader;
use super::cursor::{Cursor, ShapeError};
use super::datum::{Datum, Value, role};

/// A real file has about 200 bytes.
pub const MAX_LEN_BYTES: usize = 0x1_0000;

/// What a key file holds.
#[derive(Debug)]
pub struct ExternalKeyFile {
    /// Its header, whose identifier is the protector's.
    pub header: DatasetHeader,
    /// Its entries, of which the first of type 9 is the key.
    pub datums: Vec<Datum>,
}

impl ExternalKeyFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`ShapeError`] if the file is not exactly as long as it says, or has no key entry.
    pub fn read(bytes: &[u8]) -> Result<Self, ShapeError> {
        let cursor = Cursor::new(bytes, "key file");
        if bytes.len() > MAX_LEN_BYTES {
            return Err(cursor.wrong(
                "file size",
                format!("at most {MAX_LEN_BYTES}"),
                bytes.len().to_string(),
            ));
        }
        let header = DatasetHeader::read(bytes, "key file")?;
        if header.size as usize != bytes.len() {
            return Err(cursor.wrong("file size", header.size.to_string(), bytes.len().to_string()));
        }
        let list = bytes.get(header.start as usize..).unwrap_or_default();
        let datums = Datum::read_list(list)?;
        if !datums
            .iter()
            .any(|datum| matches!(datum.value, Value::ExternalKey { .. }))
        {
            return Err(cursor.wrong(
                "entries",
                format!("an external key (role {})", role::EXTERNAL_KEY),
                "none",
            ));
        }
        Ok(Self { header, datums })
    }

    /// Writes the file, with sizes as its content has them.
    #[must_use]
    pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let mut list = zeroize::Zeroizing::new(Vec::new());
        for datum in &self.datums {
            list.extend_from_slice(&datum.to_bytes());
        }
        let size = (DatasetHeader::LEN_BYTES + list.len()) as u32;
        let header = DatasetHeader {
            size,
            start: DatasetHeader::LEN_BYTES as u32,
            end: size,
            ..self.header
        };
        let mut bytes = zeroize::Zeroizing::new(header.to_bytes().to_vec());
        bytes.extend_from_slice(&list);
        bytes
    }
}
