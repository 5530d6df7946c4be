//! Anything that is a run of sectors: image files, block devices, partitions, windows onto other devices.
//!
//! Everything readable implements [`BlockDevice`], what can be written [`WritableDevice`] as well; whoever consumes disks neither knows nor cares what is
//! behind it. This crate does not know the word BitLocker.
//!
//! The way in is [`open`] ([`open_writable`] to change what is there); [`partition::table`] finds the partitions of a whole disk, each a [`View`];
//! [`content::identify`] names what is on a device for messages; [`copy::export`] writes a device to a file;
//! [`os::Host`] lists the drives of this computer and tells which drive a path lives on.
//!
//! Units are bytes everywhere, from the start of the device at hand, unless a name says sectors.

mod aligned;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod container;
pub mod content;
pub mod copy;
mod device;
mod direct;
mod file;
mod file_writing;
mod free_space;
pub mod map;
mod memory;
pub mod os;
pub mod partition;
mod patchy;
#[cfg(any(test, feature = "conformance"))]
pub mod recording;
mod view;
mod writable;

pub use aligned::AlignedBuffer;
pub use device::{BlockDevice, Device, ReadError};
pub use file::{FileDevice, OpenError, open, open_uncached};
pub use file_writing::{WritableFile, open_writable};
pub use free_space::free_space;
pub use memory::MemoryDevice;
pub use patchy::PatchyDevice;
pub use view::View;
pub use writable::{Writable, WritableDevice, WriteError};
