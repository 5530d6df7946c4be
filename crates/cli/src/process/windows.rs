//! What Windows can be told about a process.

// UNSAFETY: these calls have no safe form, though they take nothing but flags and numbers.
#![allow(unsafe_code)]

use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::ErrorReporting::{WER_FAULT_REPORTING_FLAG_NOHEAP, WerSetFlags};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, SetProcessWorkingSetSize};

/// How much memory may be asked for to be locked, in bytes: secrets take a page each, and Windows lets a process lock
/// what fits in its smallest working set less a few pages.
const SMALLEST_WORKING_SET: usize = 4 << 20;

/// Above the other limit, as Windows wants it; it is no real limit as long as there is memory, in bytes.
const LARGEST_WORKING_SET: usize = 64 << 20;

/// Keeps memory out of error reports and makes room for locked secrets; no message box waits for somebody to click it.
pub(super) fn harden() {
    // SAFETY: all of them change settings of this process, whose own handle is always valid.
    unsafe {
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
        // There is nothing better to do where one of these is refused.
        let _ = WerSetFlags(WER_FAULT_REPORTING_FLAG_NOHEAP);
        let _ = SetProcessWorkingSetSize(GetCurrentProcess(), SMALLEST_WORKING_SET, LARGEST_WORKING_SET);
    }
}
