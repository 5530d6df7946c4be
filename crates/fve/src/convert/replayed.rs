//! A volume as it will be when the steps that broke off are done.

use std::sync::Arc;

use keyhaven_disk::{BlockDevice, Device, ReadError};

use super::Direction;
use super::journal::{Journal, Pending};
use crate::keys::FullVolumeEncryptionKey;
use crate::metadata::{Conversion, Metadata};
use crate::overlay::overlay;

/// Finds out whether a conversion of ours broke off, and shows the volume as if it had ended its last steps; the number
/// says how far it is converted then. `None` where the volume is as its metadata say.
pub(crate) fn replayed(
    device: &Device,
    metadata: &Metadata,
    fvek: Option<&FullVolumeEncryptionKey>,
) -> Result<Option<(Device, u64)>, ReadError> {
    let direction = match metadata.conversion() {
        Conversion::Encrypting { .. } => Direction::Encrypt,
        Conversion::Decrypting { .. } => Direction::Decrypt,
        _ => return Ok(None),
    };
    let journal = metadata
        .conversion_log()
        .and_then(|(offset, len_bytes)| Journal::at(offset, len_bytes));
    let (Some(journal), Some(fvek)) = (journal, fvek) else {
        return Ok(None);
    };
    if journal.area().end > device.len_bytes() {
        return Ok(None);
    }
    let pending = Pending::find(device, &journal, fvek, direction, metadata.block().state_offset)?;
    let position = pending.position();
    Ok(position.map(|position| {
        let replayed: Device = Arc::new(Replayed {
            device: Arc::clone(device),
            pending,
        });
        (replayed, position)
    }))
}

/// A device with the writes of some steps over it.
#[derive(Debug)]
struct Replayed {
    device: Device,
    pending: Pending,
}

impl BlockDevice for Replayed {
    fn len_bytes(&self) -> u64 {
        self.device.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.device.read_at(offset, buf)?;
        for (at, bytes) in self.pending.writes() {
            overlay(buf, offset, bytes, at);
        }
        Ok(())
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let hole = self.device.hole_at(offset, len);
        self.pending.writes().fold(hole, |hole, (at, bytes)| {
            if at + bytes.len() as u64 <= offset || offset + hole <= at {
                hole
            } else {
                at.saturating_sub(offset)
            }
        })
    }
}
