//! Room on a device for things that a file system must leave alone for ever, and which parts it does not use.
//!
//! [`make_room`] finds or makes the room: on NTFS as files, so that every driver knows that the clusters are taken; on
//! FAT32 and exFAT behind the file system, which is made smaller by the little that is needed. The file system has to be
//! in order ([`files::state`](crate::files::state)) and nobody may use it meanwhile. [`free_runs`] tells what is free.

mod exfat;
mod fat32;
#[cfg(target_os = "linux")]
mod ntfs;

use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use keyhaven_disk::content::{self, Content};
use keyhaven_disk::{Device, ReadError, Writable, WriteError};

use crate::files::OpenFilesError;

#[cfg(target_os = "linux")]
pub use ntfs::remove_files;

/// Something to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The name of the file in `\System Volume Information` that holds it on NTFS.
    pub file_name: String,
    /// Its length.
    pub len_bytes: u64,
}

/// Where the things may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// A place for each, in bytes from the start of the device.
    pub places: Vec<Range<u64>>,
    /// The sectors of the file system, in bytes.
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

/// Makes room for all of `wanted` in the file system on `device`, or behind it.
///
/// `folder` is an empty folder of the caller's, in which drivers may mount things meanwhile; `now` is the time that files
/// get. What is made stays: asked again, the same places are found where the file system knows them.
///
/// # Errors
/// [`ReserveError`]; all files are as before then.
pub fn make_room(
    device: &Writable,
    wanted: &[Wanted],
    folder: &Path,
    now: SystemTime,
) -> Result<Room, ReserveError> {
    let plain: Device = device.clone();
    match content::identify(&plain) {
        #[cfg(target_os = "linux")]
        Content::Ntfs => ntfs::make_files(device, wanted, folder, now),
        Content::Fat32 => fat32::make_room(device, wanted),
        Content::ExFat => exfat::make_room(device, wanted),
        other => {
            let _ = (folder, now);
            Err(ReserveError::Unsupported(other))
        }
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

/// How much a file system has to give up at its end.
struct Cut {
    /// Where it will end, in bytes.
    end: u64,
    /// How many clusters go.
    clusters: u64,
}

/// Lays what is wanted behind a file system of whole clusters that ends at `data_end`: the cut, and the places.
fn behind(
    device_len: u64,
    data_end: u64,
    cluster_len: u64,
    wanted: &[Wanted],
) -> Result<(Cut, Vec<Range<u64>>), ReserveError> {
    /// What every place starts at a multiple of: a page, and a sector of any drive.
    const ALIGNMENT: u64 = 4096;
    let needed = wanted.iter().fold(0, |sum: u64, one| {
        sum.saturating_add(one.len_bytes.next_multiple_of(ALIGNMENT))
    });
    let start = device_len.checked_sub(needed).ok_or(ReserveError::TooSmall)? / ALIGNMENT * ALIGNMENT;
    let clusters = data_end.saturating_sub(start).div_ceil(cluster_len);
    let end = data_end
        .checked_sub(clusters.saturating_mul(cluster_len))
        .ok_or(ReserveError::TooSmall)?;
    let mut at = start;
    let places = wanted.iter().map(|one| {
        let place = at..at + one.len_bytes;
        at += one.len_bytes.next_multiple_of(ALIGNMENT);
        place
    });
    let places = places.collect();
    Ok((Cut { end, clusters }, places))
}

/// Reads one sector or more.
fn read(device: &Device, offset: u64, len: usize) -> Result<Vec<u8>, ReserveError> {
    let mut bytes = vec![0; len];
    device.read_at(offset, &mut bytes)?;
    Ok(bytes)
}
