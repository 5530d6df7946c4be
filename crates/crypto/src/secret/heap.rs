//! The portable twin of `locked`: ordinary memory that is wiped before it goes.

use zeroize::Zeroizing;

/// A zero-filled buffer on the heap.
pub(super) struct Pages(Zeroizing<Box<[u8]>>);

impl Pages {
    pub(super) fn zeroed(len: usize) -> Self {
        Self(Zeroizing::new(vec![0; len].into_boxed_slice()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
