//! The buffer that a thread reads into before the kernel takes it.

use std::cell::RefCell;

use keyhaven_disk::AlignedBuffer;

/// The kernel asks for no more at once, in bytes; a buffer never grows beyond this.
pub(super) const LEN_MAX: usize = 1 << 20;

thread_local! {
    static BUFFER: RefCell<AlignedBuffer> = RefCell::new(AlignedBuffer::new(0));
}

/// Calls `use_it` with `len` bytes of unspecified content, at most [`LEN_MAX`], that begin on a page.
pub(super) fn with<T>(len: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    let len = len.min(LEN_MAX);
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.first_mut(len).len() < len {
            // Most mounts are asked for far less than the most.
            *buffer = AlignedBuffer::new(len.next_power_of_two());
        }
        use_it(buffer.first_mut(len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_length_asked_for_up_to_the_most() {
        for (len, expected) in [(0, 0), (512, 512), (131_072, 131_072), (7, 7), (1 << 24, LEN_MAX)] {
            assert_eq!(with(len, |bytes| bytes.len()), expected);
        }
    }
}
