//! A volume that is not there yet, or not all of it, as a device.

use keyhaven_disk::{BlockDevice, ReadError, Writable, WritableDevice, WriteError};

use crate::overlay::overlay;

/// A device of which only some parts are anything but zeros.
#[derive(Debug)]
pub(super) struct Laid {
    /// Its size.
    pub(super) len_bytes: u64,
    /// What is there, and where it begins, in bytes.
    pub(super) parts: Vec<(u64, Vec<u8>)>,
}

impl BlockDevice for Laid {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset, buf.len() as u64, self.len_bytes)?;
        buf.fill(0);
        for (start, bytes) in &self.parts {
            overlay(buf, offset, bytes, *start);
        }
        Ok(())
    }
}

/// A medium that shows a boot sector which it does not have yet.
#[derive(Debug)]
pub(super) struct Fronted {
    /// The boot sector.
    pub(super) boot: Vec<u8>,
    /// What everything else is on.
    pub(super) medium: Writable,
}

impl BlockDevice for Fronted {
    fn len_bytes(&self) -> u64 {
        self.medium.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.medium.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.medium.read_at(offset, buf)?;
        overlay(buf, offset, &self.boot, 0);
        Ok(())
    }
}

impl WritableDevice for Fronted {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        // A volume keeps its content elsewhere.
        if offset < self.boot.len() as u64 {
            return Err(WriteError::Fixed { offset });
        }
        self.medium.write_at(offset, bytes)
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.medium.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyhaven_disk::MemoryDevice;

    use super::*;

    #[test]
    fn parts_show_wherever_a_read_meets_them() {
        let laid = Laid {
            len_bytes: 100,
            parts: vec![(0, vec![1; 10]), (50, vec![2; 10])],
        };
        let mut all = [9; 100];
        laid.read_at(0, &mut all).expect("inside");
        assert_eq!(
            (all[9], all[10], all[49], all[50], all[59], all[60]),
            (1, 0, 0, 2, 2, 0)
        );
        for (offset, len) in [(5, 10), (9, 42), (55, 2), (60, 40), (100, 0)] {
            let mut part = vec![9; len];
            laid.read_at(offset as u64, &mut part).expect("inside");
            assert_eq!(part, all[offset..offset + len]);
        }
        assert!(laid.read_at(91, &mut [0; 10]).is_err() && laid.read_at(u64::MAX, &mut [0]).is_err());
    }

    #[test]
    fn a_boot_sector_is_seen_before_it_is_there() {
        let medium = Arc::new(MemoryDevice::new(vec![7; 2048]));
        let fronted = Fronted {
            boot: vec![1; 512],
            medium: medium.clone(),
        };
        fronted.write_at(512, &[3; 512]).expect("elsewhere");
        let mut seen = [0; 1100];
        fronted.read_at(100, &mut seen).expect("inside");
        assert_eq!(
            (seen[0], seen[411], seen[412], seen[923], seen[924]),
            (1, 1, 3, 3, 7)
        );
        assert!(fronted.write_at(511, &[0; 2]).is_err());
        assert_eq!(medium.content()[..512], [7; 512]);
    }
}
