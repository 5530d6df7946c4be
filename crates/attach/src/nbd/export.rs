//! A device as clients see it: under a name, with a size, and with what can be done to it.

use keyhaven_disk::{Device, Writable};

use super::ServeError;
use crate::shown::Shown;

/// The most that can be read or written with one request, in bytes.
pub const MAX_REQUEST_LEN: u32 = 32 << 20;

/// The size of requests that are served best, in bytes: a page.
const PREFERRED_LEN: u32 = 4096;

/// A device that is offered to clients under a name.
#[derive(Debug, Clone)]
pub struct Export {
    name: String,
    shown: Shown,
    device: Device,
    len_bytes: u64,
}

/// What clients are told about an export, each a bit.
mod flag {
    pub(super) const HAS_FLAGS: u16 = 1;
    pub(super) const READ_ONLY: u16 = 1 << 1;
    pub(super) const SEND_FLUSH: u16 = 1 << 2;
    pub(super) const SEND_FORCE_UNIT_ACCESS: u16 = 1 << 3;
    pub(super) const SEND_TRIM: u16 = 1 << 5;
    pub(super) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(super) const SEND_DO_NOT_FRAGMENT: u16 = 1 << 7;
    pub(super) const CAN_MULTI_CONN: u16 = 1 << 8;
    pub(super) const SEND_FAST_ZERO: u16 = 1 << 11;
}

impl Export {
    /// Offers a device under the empty name, which is what clients ask for that are told none.
    #[must_use]
    pub fn new(shown: Shown) -> Self {
        let device = shown.device();
        Self {
            name: String::new(),
            // It is not to change under a client, who is told it once.
            len_bytes: device.len_bytes(),
            device,
            shown,
        }
    }

    /// Gives the export a name. The empty name leads to it too.
    ///
    /// # Errors
    /// [`ServeError::NameTooLong`] above the protocol's 4096 bytes.
    pub fn named(self, name: impl Into<String>) -> Result<Self, ServeError> {
        let name = name.into();
        if name.len() > 4096 {
            return Err(ServeError::NameTooLong { len: name.len() });
        }
        Ok(Self { name, ..self })
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Tells whether clients may not write.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writable().is_none()
    }

    /// Tells whether a client who asks for `name` gets this export.
    pub(super) fn is_called(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn writable(&self) -> Option<&Writable> {
        self.shown.writable()
    }

    /// Returns what a client is told about it, as the protocol's bits.
    pub(super) fn flags(&self, has_structured_replies: bool) -> u16 {
        // All connections share one device: what one has written the others read, and a flush is everybody's.
        let mut flags = flag::HAS_FLAGS | flag::CAN_MULTI_CONN;
        if has_structured_replies {
            flags |= flag::SEND_DO_NOT_FRAGMENT;
        }
        match self.writable() {
            None => flags |= flag::READ_ONLY,
            Some(device) => {
                flags |= flag::SEND_FLUSH | flag::SEND_FORCE_UNIT_ACCESS;
                flags |= flag::SEND_WRITE_ZEROES | flag::SEND_FAST_ZERO;
                if device.can_discard() {
                    flags |= flag::SEND_TRIM;
                }
            }
        }
        flags
    }

    /// Returns the sizes of requests in bytes: the least, the best, the most.
    pub(super) fn request_sizes(&self) -> [u32; 3] {
        // Devices are read and written at any position; what that takes is between them and their sectors.
        [1, PREFERRED_LEN, MAX_REQUEST_LEN]
    }

    /// Tells whether a range lies within the export.
    pub(super) fn contains(&self, offset: u64, len_bytes: u32) -> bool {
        offset
            .checked_add(u64::from(len_bytes))
            .is_some_and(|end| end <= self.len_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyhaven_disk::MemoryDevice;

    use super::*;

    #[test]
    fn it_is_read_only_unless_it_can_be_written() {
        let read_only = Export::new(Shown::ReadOnly(Arc::new(vec![0; 1000])));
        assert!(read_only.is_read_only());
        assert_eq!(read_only.flags(true), 0b1_1000_0011);
        let writable = Export::new(Shown::Writable(Arc::new(MemoryDevice::new(vec![0; 1000]))));
        assert!(!writable.is_read_only());
        // The device cannot discard, and the client cannot take chunks.
        assert_eq!(writable.flags(false), 0b1001_0100_1101);
    }

    #[test]
    fn only_ranges_inside_are_inside() {
        let export = Export::new(Shown::ReadOnly(Arc::new(vec![0; 1000])));
        assert!(export.contains(0, 1000) && export.contains(1000, 0) && export.contains(999, 1));
        assert!(!export.contains(0, 1001) && !export.contains(1000, 1) && !export.contains(u64::MAX, 1));
    }

    #[test]
    fn the_empty_name_leads_to_it_too() {
        let export = Export::new(Shown::ReadOnly(Arc::new(vec![0; 1000])));
        assert!(export.is_called(b"") && !export.is_called(b"disk"));
        let export = export.named("disk").unwrap();
        assert!(export.is_called(b"") && export.is_called(b"disk") && !export.is_called(b"disk2"));
        assert!(matches!(
            export.named("n".repeat(4097)),
            Err(ServeError::NameTooLong { len: 4097 })
        ));
    }
}
