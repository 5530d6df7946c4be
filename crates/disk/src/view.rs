//! A window onto another device.

use std::sync::Arc;

use crate::device::{BlockDevice, ReadError};
use crate::writable::{WritableDevice, WriteError};

/// A contiguous part of another device, seen as a device of its own: a partition of a disk.
///
/// Of a device that can be written it is one too.
#[derive(Debug)]
pub struct View<D: ?Sized = dyn BlockDevice> {
    inner: Arc<D>,
    start: u64,
    len_bytes: u64,
}

impl<D: BlockDevice + ?Sized> View<D> {
    /// Makes a device of `len_bytes` bytes of `inner` from byte `start` on.
    ///
    /// The window may reach past the end of `inner`: a partition of a cut-off image keeps the length that its table
    /// gives, and reads of the missing part fail.
    #[must_use]
    pub fn new(inner: Arc<D>, start: u64, len_bytes: u64) -> Self {
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

impl<D: BlockDevice + ?Sized> BlockDevice for View<D> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len_bytes = buf.len() as u64;
        ReadError::check_range(offset, len_bytes, self.len_bytes)?;
        let at = self.start.checked_add(offset).ok_or(ReadError::PastEnd {
            offset,
            len_bytes,
            end: self.len_bytes,
        })?;
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

    fn unreadable_at(&self, offset: u64, len: u64) -> u64 {
        let len = len.min(self.len_bytes.saturating_sub(offset));
        match self.start.checked_add(offset) {
            Some(at) if at < self.inner.len_bytes() => self.inner.unreadable_at(at, len),
            _ => len,
        }
    }
}

impl<D: WritableDevice + ?Sized> WritableDevice for View<D> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.write_in_view(offset, bytes.len() as u64, |at| self.inner.write_at(at, bytes))
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.inner.flush()
    }

    fn can_discard(&self) -> bool {
        self.inner.can_discard()
    }

    fn discard(&self, offset: u64, len_bytes: u64) -> Result<(), WriteError> {
        self.write_in_view(offset, len_bytes, |at| self.inner.discard(at, len_bytes))
    }
}

impl<D: WritableDevice + ?Sized> View<D> {
    fn write_in_view(
        &self,
        offset: u64,
        len_bytes: u64,
        write: impl FnOnce(u64) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        WriteError::check_range(offset, len_bytes, self.len_bytes)?;
        let at = self.start.checked_add(offset).ok_or(WriteError::PastEnd {
            offset,
            len_bytes,
            end: self.len_bytes,
        })?;
        write(at).map_err(|error| error.relative_to(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryDevice, conformance};

    #[test]
    fn a_view_writes_its_part_only() {
        let inner = Arc::new(MemoryDevice::new(vec![7; 100_000]));
        let mut content = vec![7; 60_000];
        conformance::check_writes(&View::new(inner.clone(), 1000, 60_000), &mut content);
        let around = inner.content();
        assert_eq!(around[1000..61_000], content);
        assert!(
            around[..1000]
                .iter()
                .chain(&around[61_000..])
                .all(|byte| *byte == 7)
        );
    }

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
