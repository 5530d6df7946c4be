//! A bug in a device or a file system costs the request that met it, and nobody else.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuser::Errno;

/// Asks a device or a file system; a panic is an error of the medium to whoever waits for the answer.
///
/// Without this the thread would end, and with the last one the mount.
pub(super) fn contained<T>(ask: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    // What was being worked on is this request's alone, or is behind a lock that says it was poisoned.
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or(Err(Errno::EIO))
}
