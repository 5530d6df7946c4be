//! Windows: its disks and volumes, how they are named, and how they are opened raw.

mod answers;
#[cfg(windows)]
mod calls;
#[cfg(windows)]
mod drives;
mod names;
#[cfg(windows)]
pub(crate) mod raw;

#[cfg(windows)]
pub(crate) use calls::free_space;
