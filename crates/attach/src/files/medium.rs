//! Reading a device in small pieces, many of them more than once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use keyhaven_disk::{Device, ReadError};

use crate::files::recent::Recent;

/// How much is read at once where little is needed, in bytes: neighbours (records, directory blocks) follow soon.
const BLOCK_LEN: u64 = 16 * 1024;

/// How many blocks are kept: 4 MiB.
const BLOCKS_KEPT: u64 = 256;

/// A device, with the blocks kept that were read last.
pub(super) struct Medium {
    device: Device,
    blocks: Mutex<Recent<u64, Arc<[u8]>>>,
}

impl Medium {
    /// Takes a device to read from.
    pub(super) fn new(device: Device) -> Self {
        Self {
            device,
            blocks: Mutex::new(Recent::new(BLOCKS_KEPT)),
        }
    }

    /// Returns the device, to read contents past the kept blocks.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Fills `buf` from `offset`, from kept blocks where they are there.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut at = offset;
        let mut rest = &mut *buf;
        while !rest.is_empty() {
            let start = at - at % BLOCK_LEN;
            let Some(block) = self.block(start) else {
                // At the end of a cut-off image, or beside an unreadable sector: exactly what is asked for.
                return self.device.read_at(at, rest);
            };
            let Some(found) = usize::try_from(at - start)
                .ok()
                .and_then(|skip| block.get(skip..))
                .filter(|found| !found.is_empty())
            else {
                return self.device.read_at(at, rest);
            };
            let len = found.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(found.get(..len).unwrap_or_default());
            rest = later;
            at = at.saturating_add(len as u64);
        }
        Ok(())
    }

    fn block(&self, start: u64) -> Option<Arc<[u8]>> {
        if let Some(block) = self.kept().get(&start) {
            return Some(block);
        }
        let len = self.device.len_bytes().checked_sub(start)?.min(BLOCK_LEN);
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        self.device.read_at(start, &mut bytes).ok()?;
        let block: Arc<[u8]> = bytes.into();
        self.kept().insert(start, block.clone(), 1);
        Some(block)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Recent<u64, Arc<[u8]>>> {
        // Blocks are put in whole: nothing half-done can be seen after a panic elsewhere.
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medium")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_across_blocks_and_up_to_the_end() {
        let bytes: Vec<u8> = (0..40_000u32).map(|index| (index % 251) as u8).collect();
        let medium = Medium::new(Arc::new(bytes.clone()));
        for (offset, len) in [(0, 10), (16_380, 10), (100, 39_900), (39_999, 1), (5, 0)] {
            for _ in 0..2 {
                let mut buf = vec![0; len];
                medium.read(offset as u64, &mut buf).unwrap();
                assert_eq!(buf, bytes[offset..offset + len]);
            }
        }
        assert!(medium.read(39_999, &mut [0; 2]).is_err());
        assert!(medium.read(u64::MAX, &mut [0; 2]).is_err());
    }
}
