//! Room on a device for things that a file system must leave alone for ever, and which parts it does not use.
//!
//! [`make_files`] makes files on NTFS, so that every driver knows that the clusters are taken; [`end_at`] makes FAT32 and
//! exFAT smaller by the little that is needed behind them. The file system has to be in order
//! ([`files::state`](crate::files::state)) and nobody may use it meanwhile. [`free_runs`] tells what is free.

mod exfat;
mod fat32;
#[cfg(target_os = "linux")]
mod ntfs;
mod ntfs_units;

use std::ops::Range;

use keyhaven_disk::content::{self, Content};
use keyhaven_disk::{Device, ReadError, Writable, WriteError};

use crate::files::OpenFilesError;

#[cfg(target_os = "linux")]
pub use ntfs::{make_files, remove_files};

/// Something to be kept in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The name of the file in `\System Volume Information`.
    pub file_name: String,
    /// Its length.
    pub len_bytes: u64,
}

/// What a file system counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Units {
    /// Its sectors, in bytes.
    pub sector_len: u32,
    /// Its clusters, in bytes.
    pub cluster_len: u32,
}

/// Why there is no room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// Nobody here knows how to reserve a part of it.
    #[error("no part of {0} can be reserved here")]
    Unsupported(Content),
    /// The file system says something that cannot be.
    #[error("the file system is damaged: {0}")]
    Damaged(String),
    /// The room at its end is taken.
    #[error("the last {needed} bytes of the file system are needed, and files are in them")]
    EndInUse {
        /// How many.
        needed: u64,
    },
    /// There are too few clusters.
    #[error("the file system would be too small afterwards")]
    TooSmall,
    /// No free run of clusters is as long as is needed.
    #[error("there is not enough free space in one piece for `{0}`")]
    Fragmented(String),
    /// The files could not be made through a driver of this computer.
    #[error("{what} failed")]
    Driver {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system cannot be read.
    #[error(transparent)]
    Files(#[from] OpenFilesError),
    /// The device cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The device cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Returns what the file system on a device counts in.
///
/// # Errors
/// [`ReserveError::Unsupported`] for file systems that are not known here, or why it cannot be read.
pub fn units(device: &Device) -> Result<Units, ReserveError> {
    match content::identify(device) {
        Content::Ntfs => ntfs_units::units(device),
        Content::Fat32 => fat32::units(device),
        Content::ExFat => exfat::units(device),
        other => Err(ReserveError::Unsupported(other)),
    }
}

/// Makes the file system on `device`, FAT32 or exFAT, end at byte `end` or in front of it; one that does is left alone.
///
/// # Errors
/// [`ReserveError::EndInUse`] where files are in the part that would go, [`ReserveError::Unsupported`] for other file
/// systems; all files are as before then.
pub fn end_at(device: &Writable, end: u64) -> Result<(), ReserveError> {
    let plain: Device = device.clone();
    match content::identify(&plain) {
        Content::Fat32 => fat32::end_at(device, end),
        Content::ExFat => exfat::end_at(device, end),
        other => Err(ReserveError::Unsupported(other)),
    }
}

/// Calls `each` with every part of the device that the file system does not use, in order, in bytes.
///
/// # Errors
/// [`ReserveError::Unsupported`] for file systems that are not known here, or why it cannot be read.
pub fn free_runs(device: &Device, each: &mut dyn FnMut(Range<u64>)) -> Result<(), ReserveError> {
    match content::identify(device) {
        Content::Ntfs => Ok(crate::files::ntfs::free_runs(device, each)?),
        Content::Fat32 => fat32::free_runs(device, each),
        Content::ExFat => exfat::free_runs(device, each),
        other => Err(ReserveError::Unsupported(other)),
    }
}

/// Finds a free part of the device, the first of `most` bytes, or else the longest.
///
/// # Errors
/// As [`free_runs`].
pub fn longest_free(device: &Device, most: u64) -> Result<Option<Range<u64>>, ReserveError> {
    let mut longest: Option<Range<u64>> = None;
    free_runs(device, &mut |run| {
        let len = (run.end - run.start).min(most);
        if longest
            .as_ref()
            .is_none_or(|longest| longest.end - longest.start < len)
        {
            longest = Some(run.start..run.start + len);
        }
    })?;
    Ok(longest)
}

/// Reads one sector or more.
fn read(device: &Device, offset: u64, len: usize) -> Result<Vec<u8>, ReserveError> {
    let mut bytes = vec![0; len];
    device.read_at(offset, &mut bytes)?;
    Ok(bytes)
}
