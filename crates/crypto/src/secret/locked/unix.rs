//! Locking pages by `mlock`; on Linux, leaving them out of core dumps as well.

// UNSAFETY: asking the system takes raw addresses; `locked` owns the memory they are in.
#![allow(unsafe_code)]

use std::ffi::c_void;

/// Keeps a range out of swap and core dumps as far as the system lets us; returns whether it is out of swap.
///
/// # Safety
/// The range is memory of the caller's, whole pages of it.
pub(super) unsafe fn lock(address: *mut c_void, len_bytes: usize) -> bool {
    // SAFETY: the range is the caller's; locking it changes no content.
    let locked = unsafe { rustix::mm::mlock(address, len_bytes) }.is_ok();
    #[cfg(target_os = "linux")]
    // SAFETY: as above; the advice only concerns core dumps.
    let _ = unsafe { rustix::mm::madvise(address, len_bytes, rustix::mm::Advice::LinuxDontDump) };
    locked
}

/// Undoes [`lock`], so that the pages go back to the allocator as they came.
///
/// # Safety
/// As for [`lock`], which was called for this very range and returned `locked`.
pub(super) unsafe fn unlock(address: *mut c_void, len_bytes: usize, locked: bool) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is still the caller's.
    let _ = unsafe { rustix::mm::madvise(address, len_bytes, rustix::mm::Advice::LinuxDoDump) };
    if locked {
        // SAFETY: as above.
        let _ = unsafe { rustix::mm::munlock(address, len_bytes) };
    }
}
