//! A device shown to others.
//!
//! [`Shown`] is what is shown, and whether others may write it. This crate does not know the word BitLocker: it shows
//! any [`BlockDevice`](keyhaven_disk::BlockDevice).

pub mod files;
#[cfg(target_os = "linux")]
pub mod fuse;
#[cfg(unix)]
pub mod nbd;
pub mod reserve;
mod shown;

pub use shown::Shown;
