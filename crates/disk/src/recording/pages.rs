//! The content of a device in pages that copies share until one of them writes.

use std::sync::Arc;

use crate::device::ReadError;
use crate::writable::WriteError;

/// Small enough that a changed sector costs little, large enough that an image of some MiB has few of them.
const PAGE: usize = 32 * 1024;

/// A run of bytes; a clone costs a reference for each page.
#[derive(Clone)]
pub(super) struct Pages {
    len_bytes: u64,
    pages: Vec<Arc<[u8; PAGE]>>,
}

impl Pages {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let zeros = Arc::new([0; PAGE]);
        let pages = bytes.chunks(PAGE).map(|chunk| {
            if chunk.iter().all(|byte| *byte == 0) {
                return Arc::clone(&zeros);
            }
            let mut page = [0; PAGE];
            page[..chunk.len()].copy_from_slice(chunk);
            Arc::new(page)
        });
        Self {
            len_bytes: bytes.len() as u64,
            pages: pages.collect(),
        }
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    pub(super) fn content(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.pages.iter().flat_map(|page| page.iter().copied()).collect();
        bytes.truncate(self.len_bytes as usize);
        bytes
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset, buf.len() as u64, self.len_bytes)?;
        let mut at = offset as usize;
        let mut rest = buf;
        while !rest.is_empty() {
            let within = at % PAGE;
            let size = rest.len().min(PAGE - within);
            let (piece, after) = rest.split_at_mut(size);
            piece.copy_from_slice(&self.pages[at / PAGE][within..within + size]);
            at += size;
            rest = after;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        WriteError::check_range(offset, bytes.len() as u64, self.len_bytes)?;
        let mut at = offset as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % PAGE;
            let (piece, after) = rest.split_at(rest.len().min(PAGE - within));
            Arc::make_mut(&mut self.pages[at / PAGE])[within..within + piece.len()].copy_from_slice(piece);
            at += piece.len();
            rest = after;
        }
        Ok(())
    }
}
