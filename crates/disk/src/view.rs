//! A window onto another device.

use crate::device::{BlockDevice, Device, ReadError};

/// A contiguous part of another device, seen as a device of its own: a partition of a disk.
#[derive(Debug, Clone)]
pub struct View {
    inner: Device,
    start: u64,
    len_bytes: u64,
}

impl View {
    /// Makes a device of `len_bytes` bytes of `inner` from byte `start` on.
    ///
    /// The window may reach past the end of `inner`: a partition of a cut-off image keeps the length that its table
    /// gives, and reads of the missing part fail.
    #[must_use]
    pub fn new(inner: Device, start: u64, len_bytes: u64) -> Self {
        Self {
            inner,
            start,
            len_bytes,
        }
    }

    /// Returns where the window begins, in bytes from the start of the device behind it.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl BlockDevice for View {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len_bytes = buf.len() as u64;
        let past_end = || ReadError::PastEnd {
            offset,
            len_bytes,
            end: self.len_bytes,
        };
        let end = offset.checked_add(len_bytes).ok_or_else(past_end)?;
        if end > self.len_bytes {
            return Err(past_end());
        }
        let at = self.start.checked_add(offset).ok_or_else(past_end)?;
        self.inner
            .read_at(at, buf)
            .map_err(|error| error.relative_to(self.start))
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        match self.start.checked_add(offset) {
            Some(at) if offset < self.len_bytes => self.inner.hole_at(at, len.min(self.len_bytes - offset)),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_view_shows_its_part_in_its_own_coordinates() {
        let view = View::new(Arc::new((0u8..100).collect::<Vec<u8>>()), 10, 20);
        let mut buf = [0; 5];
        view.read_at(3, &mut buf).expect("inside");
        assert_eq!(buf, [13, 14, 15, 16, 17]);
        assert!(matches!(
            view.read_at(16, &mut buf),
            Err(ReadError::PastEnd {
                offset: 16,
                end: 20,
                ..
            })
        ));
        assert!(view.read_at(u64::MAX, &mut buf).is_err());
    }

    #[test]
    fn a_view_past_the_end_of_a_cut_off_image_keeps_its_length() {
        let view = View::new(Arc::new(vec![7u8; 16]), 8, 100);
        assert_eq!(view.len_bytes(), 100);
        let mut buf = [0; 4];
        view.read_at(4, &mut buf).expect("still there");
        assert!(matches!(
            view.read_at(6, &mut buf),
            Err(ReadError::PastEnd {
                offset: 6,
                end: 8,
                ..
            })
        ));
    }
}
