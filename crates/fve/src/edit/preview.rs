//! A device with other metadata than it has.

use keyhaven_disk::{BlockDevice, Device, ReadError};

use crate::overlay::overlay;

/// Shows a device with the same bytes in the place of each metadata copy.
#[derive(Debug)]
pub(super) struct Preview {
    pub(super) device: Device,
    pub(super) offsets: [u64; 3],
    pub(super) region: Vec<u8>,
}

impl BlockDevice for Preview {
    fn len_bytes(&self) -> u64 {
        self.device.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.device.read_at(offset, buf)?;
        for start in self.offsets {
            overlay(buf, offset, &self.region, start);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_conforms() {
        let mut bytes: Vec<u8> = (0..9000_u32).map(|number| (number % 251) as u8).collect();
        let preview = Preview {
            device: Arc::new(bytes.clone()),
            offsets: [1000, 4000, 7500],
            region: vec![0xee; 1500],
        };
        for start in preview.offsets {
            bytes[start as usize..start as usize + 1500].fill(0xee);
        }
        keyhaven_disk::conformance::check(&preview, &bytes);
    }
}
