//! Whole pages of memory that stay out of swap and core dumps and are wiped before they go.

// UNSAFETY: the pages are allocated, locked and freed by hand, because no safe container promises that a secret has
// a page to itself (unlocking one secret must not unlock its neighbour). `heap` is the portable twin.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::ptr::NonNull;

use zeroize::Zeroize;

const PAGE_BYTES: usize = 4096;

/// A zero-filled buffer on pages of its own.
///
/// Locking is asked for and not insisted on: a process may only lock so much (`RLIMIT_MEMLOCK`), and a person who
/// needs their drive open is better served by an unlocked page than by a refusal. Wiping always happens.
pub(super) struct Pages {
    start: NonNull<u8>,
    layout: Layout,
    len: usize,
    locked: bool,
}

// SAFETY: `Pages` owns its memory alone, like a `Box<[u8]>`.
unsafe impl Send for Pages {}
// SAFETY: shared access only reads.
unsafe impl Sync for Pages {}

impl Pages {
    pub(super) fn zeroed(len: usize) -> Self {
        let rounded = len
            .max(1)
            .checked_next_multiple_of(PAGE_BYTES)
            .expect("a secret is far smaller than memory");
        let layout = Layout::from_size_align(rounded, PAGE_BYTES).expect("a page is a valid alignment");
        // SAFETY: the layout's size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        let address = start.as_ptr().cast::<c_void>();
        // SAFETY: the range is one live allocation; locking it changes no content.
        let locked = unsafe { rustix::mm::mlock(address, rounded) }.is_ok();
        #[cfg(target_os = "linux")]
        // SAFETY: as above; the advice only concerns core dumps.
        let _ = unsafe { rustix::mm::madvise(address, rounded, rustix::mm::Advice::LinuxDontDump) };
        Self {
            start,
            layout,
            len,
            locked,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` are initialised and live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        let address = self.start.as_ptr().cast::<c_void>();
        #[cfg(target_os = "linux")]
        // SAFETY: the allocation is still live; the page goes back to the allocator as it came.
        let _ = unsafe { rustix::mm::madvise(address, self.layout.size(), rustix::mm::Advice::LinuxDoDump) };
        if self.locked {
            // SAFETY: the same range was locked in `zeroed`.
            let _ = unsafe { rustix::mm::munlock(address, self.layout.size()) };
        }
        // SAFETY: allocated in `zeroed` with this very layout, and never used again.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
