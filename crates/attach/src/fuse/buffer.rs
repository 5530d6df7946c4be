//! The buffer that a thread reads into before the kernel takes it.

use std::cell::RefCell;

use fuser::KernelConfig;
use keyhaven_disk::AlignedBuffer;

/// The most that the kernel is to ask for at once, in bytes: it stays in a processor's cache from one step to the next,
/// and is little enough that the rest of what is read ahead is worked on at the same time.
const LEN_MAX: u32 = 256 * 1024;

thread_local! {
    static BUFFER: RefCell<AlignedBuffer> = RefCell::new(AlignedBuffer::new(0));
}

/// Agrees with the kernel on how much is read and written at once.
pub(super) fn agree(config: &mut KernelConfig) {
    // What is refused is more than the kernel can do, and it keeps to its own most then.
    let _ = config.set_max_write(LEN_MAX);
    let _ = config.set_max_readahead(LEN_MAX);
}

/// Calls `use_it` with `len` bytes of unspecified content that begin on a page.
pub(super) fn with<T>(len: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
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
    fn it_has_the_length_asked_for() {
        for len in [0, 1, 512, 131_072, 7, 1 << 20, 4096] {
            assert_eq!(with(len, |bytes| bytes.len()), len);
        }
    }
}
