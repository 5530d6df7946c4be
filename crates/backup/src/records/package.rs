//! The files that a document is made of: office formats are ZIP archives.

use std::io::{Cursor, Read};

use zeroize::Zeroizing;
use zip::ZipArchive;
use zip::result::ZipError;

use super::DocumentError;

/// All parts together are expanded to no more than this, which bounds memory whatever the archive promises.
const MAX_EXPANDED_BYTES: u64 = 64 << 20;

/// What an archive with something in it begins with.
pub(super) const START: &[u8] = b"PK\x03\x04";

/// An archive of parts.
pub(super) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    bytes_left: u64,
}

impl<'a> Package<'a> {
    /// Opens an archive; `None` if the bytes are none, or one that begins as no document does.
    ///
    /// # Errors
    /// [`DocumentError::CutOff`] for a document without the list of its parts, which stands at the end.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Option<Self>, DocumentError> {
        // The library also finds archives behind other data, which no document is.
        if !bytes.starts_with(START) {
            return Ok(None);
        }
        match ZipArchive::new(Cursor::new(bytes)) {
            Ok(archive) => Ok(Some(Self {
                archive,
                bytes_left: MAX_EXPANDED_BYTES,
            })),
            Err(_) if starts_as_document(bytes) => Err(DocumentError::CutOff),
            Err(_) => Ok(None),
        }
    }

    /// Tells whether there is a part of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(name).is_some()
    }

    /// Returns the names of those parts that start and end like this, sorted.
    pub(super) fn names(&self, start: &str, end: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .archive
            .file_names()
            .flatten()
            .filter(|name| name.starts_with(start) && name.ends_with(end))
            .map(|name| name.into_owned())
            .collect();
        names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        names
    }

    /// Reads a part, which must be UTF-8; `None` if there is none of this name.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<Zeroizing<String>>, DocumentError> {
        let damaged = || DocumentError::Damaged {
            part: name.to_owned(),
        };
        let part = match self.archive.by_name(name) {
            Ok(part) => part,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => {
                return Err(DocumentError::Encrypted);
            }
            Err(_) => return Err(damaged()),
        };
        let promised = part.size();
        if promised > self.bytes_left {
            return Err(DocumentError::TooLarge {
                limit: MAX_EXPANDED_BYTES,
            });
        }
        // Never more than was promised, so that the buffer is not outgrown and left behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(promised as usize + 1));
        let mut part = part.take(promised + 1);
        part.read_to_end(&mut bytes).map_err(|_| damaged())?;
        let actual = bytes.len() as u64;
        if actual > promised {
            return Err(damaged());
        }
        self.bytes_left -= actual;
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(damaged())
            }
        }
    }
}

/// Tells by the name of its first part whether an archive was a document.
fn starts_as_document(bytes: &[u8]) -> bool {
    const NAME_AT: usize = 30;
    const NAMES: [&[u8]; 6] = [
        b"[Content_Types]",
        b"_rels/",
        b"docProps/",
        b"word/",
        b"xl/",
        b"mimetype",
    ];
    let name = bytes.get(NAME_AT..).unwrap_or_default();
    NAMES.iter().any(|start| name.starts_with(start))
}
