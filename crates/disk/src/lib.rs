//! Anything that is a run of sectors: image files, block devices, partitions, windows onto other devices.
//!
//! Everything readable implements [`BlockDevice`]; whoever consumes disks neither knows nor cares what is
//! behind it. This crate does not know the word BitLocker.

mod device;
mod view;

pub use device::{BlockDevice, Device, ReadError};
pub use view::View;
