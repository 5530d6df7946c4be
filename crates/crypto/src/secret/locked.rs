//! Whole pages of memory that stay out of swap and core dumps and are wiped before they go.

// UNSAFETY: the pages are allocated, locked and freed by hand, because no safe container promises that a secret has
// a page to itself (unlocking one secret must not unlock its neighbour). `heap` is the portable twin.
#![allow(unsafe_code)]

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use zeroize::Zeroize;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

const PAGE_BYTES: usize = 4096;

/// A zero-filled buffer on pages of its own.
///
/// Locking is asked for and not insisted on: a process may only lock so much (`RLIMIT_MEMLOCK`; on Windows, its smallest
/// working set), and a person who needs their drive open is better served by an unlocked page than by a refusal. Wiping
/// always happens.
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
        // SAFETY: the range is one live allocation of whole pages.
        let locked = unsafe { system::lock(start.as_ptr().cast(), rounded) };
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
        // SAFETY: the same range was given to `lock` in `zeroed`, and is still live.
        unsafe { system::unlock(self.start.as_ptr().cast(), self.layout.size(), self.locked) };
        // SAFETY: allocated in `zeroed` with this very layout, and never used again.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
