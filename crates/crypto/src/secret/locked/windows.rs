//! Locking pages by `VirtualLock`.
//!
//! Single pages can be left out of error reports since Windows 10 only (`WerRegisterExcludedMemoryBlock`), and a program
//! that names that function does not start on older ones: the command turns the reports' memory off as a whole instead.

// UNSAFETY: asking the system takes raw addresses; `locked` owns the memory they are in.
#![allow(unsafe_code)]

use std::ffi::c_void;

use windows_sys::Win32::System::Memory::{VirtualLock, VirtualUnlock};

/// Keeps a range out of the page file as far as the system lets us; returns whether it is.
///
/// # Safety
/// The range is memory of the caller's, whole pages of it.
pub(super) unsafe fn lock(address: *mut c_void, len_bytes: usize) -> bool {
    // SAFETY: the range is the caller's; locking it changes no content.
    unsafe { VirtualLock(address, len_bytes) != 0 }
}

/// Undoes [`lock`], so that the pages go back to the allocator as they came.
///
/// # Safety
/// As for [`lock`], which was called for this very range and returned `locked`.
pub(super) unsafe fn unlock(address: *mut c_void, len_bytes: usize, locked: bool) {
    if locked {
        // SAFETY: the range is still the caller's.
        let _ = unsafe { VirtualUnlock(address, len_bytes) };
    }
}
