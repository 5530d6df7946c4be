//! An image with gaps, and the map that tells where they are.

use std::io;

use crate::device::{BlockDevice, Device, ReadError};
use crate::map::{Map, Status};

/// An image that was made of a failing drive: what its map does not call finished is unknown.
///
/// The image itself reads as zeros there, which nobody ever read from the drive.
#[derive(Debug)]
pub struct PatchyDevice {
    image: Device,
    map: Map,
}

impl PatchyDevice {
    /// Takes an image and its map. What the map leaves out is unknown.
    #[must_use]
    pub fn new(image: Device, map: Map) -> Self {
        Self { image, map }
    }

    /// Returns the first part of a range that is not there.
    fn first_gap(&self, offset: u64, len: u64) -> Option<(u64, u64)> {
        let end = offset.saturating_add(len);
        let mut at = offset;
        while at < end {
            match self.map.run_at(at) {
                Some(run) if run.status == Status::Finished => at = run.end,
                Some(run) => return Some((at, run.end.min(end))),
                None => return Some((at, end)),
            }
        }
        None
    }
}

impl BlockDevice for PatchyDevice {
    fn len_bytes(&self) -> u64 {
        self.image.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.image.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len_bytes = buf.len() as u64;
        ReadError::check_range(offset, len_bytes, self.len_bytes())?;
        if let Some((at, _)) = self.first_gap(offset, len_bytes) {
            return Err(ReadError::Io {
                offset,
                len_bytes,
                source: io::Error::other(format!(
                    "the map of the image says that byte {at} was never read from the drive"
                )),
            });
        }
        self.image.read_at(offset, buf)
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let known = match self.map.run_at(offset) {
            Some(run) if run.status == Status::Finished => run.end.saturating_sub(offset).min(len),
            _ => return 0,
        };
        self.image.hole_at(offset, known)
    }

    fn unreadable_at(&self, offset: u64, len: u64) -> u64 {
        let len = len.min(self.len_bytes().saturating_sub(offset));
        let mut at = offset;
        // Runs that are unknown for different reasons lie beside each other.
        while let Some((start, end)) = self.first_gap(at, offset.saturating_add(len).saturating_sub(at)) {
            if start > at {
                break;
            }
            at = end;
        }
        match at.saturating_sub(offset) {
            0 => self.image.unreadable_at(offset, len),
            unreadable => unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn patchy() -> PatchyDevice {
        let mut map = Map::new(1536);
        map.set(0, 512, Status::Finished);
        map.set(512, 600, Status::Bad);
        map.set(1024, 1536, Status::Finished);
        PatchyDevice::new(Arc::new(vec![7; 2048]), map)
    }

    #[test]
    fn only_what_the_map_calls_finished_is_there() {
        let device = patchy();
        let mut bytes = [0; 512];
        assert!(device.read_at(0, &mut bytes).is_ok() && bytes == [7; 512]);
        assert!(device.read_at(1024, &mut bytes).is_ok());
        for offset in [1, 512, 700, 1000, 1025, 1536] {
            let failed = device.read_at(offset, &mut bytes);
            assert!(matches!(failed, Err(ReadError::Io { .. })), "{offset}");
        }
        assert!(matches!(
            device.read_at(1537, &mut bytes),
            Err(ReadError::PastEnd { .. })
        ));
    }

    #[test]
    fn gaps_are_known_without_a_try() {
        let device = patchy();
        assert_eq!(device.unreadable_at(0, 2048), 0);
        assert_eq!(device.unreadable_at(512, 2048), 512, "of two reasons, one gap");
        assert_eq!(device.unreadable_at(600, 100), 100);
        assert_eq!(device.unreadable_at(1536, 4096), 512, "what the map leaves out");
        assert_eq!(device.hole_at(512, 512), 0);
    }
}
