//! The files on a device, shown as one tree: NTFS, exFAT and FAT.
//!
//! [`open`] recognises the file system by its boot sector and gives a [`FileTree`], which only reads. A tree serves
//! many threads at once; its memory does not grow with the size of the files, and no content of the device makes it
//! panic or run on.
//!
//! What cannot be read right is refused, never guessed: a file encrypted by Windows (EFS), a compression that is not
//! known here, a structure that does not hold together.
//!
//! [`state`] tells whether the file system was left in such an order that it may be written to.

mod attributes;
pub(crate) mod bytes;
mod error;
mod fat;
mod medium;
mod name;
pub(crate) mod ntfs;
mod recent;
mod state;
mod tree;

pub use attributes::{Attributes, NodeKind};
pub use error::{FilesError, OpenFilesError, Storage};
pub use state::{Cleanliness, Mark, state};
pub use tree::{Entry, FileSystemKind, FileTree, NodeId, Space, StreamEntry};

use keyhaven_disk::Device;
use keyhaven_disk::content::{self, Content};

/// Opens the file system on a device.
///
/// # Errors
/// [`OpenFilesError::NotAFileSystem`] says what is there instead when it is none of the file systems read here;
/// otherwise what keeps it from being opened.
pub fn open(device: Device) -> Result<Box<dyn FileTree>, OpenFilesError> {
    Ok(match content::identify(&device) {
        Content::Ntfs => Box::new(ntfs::NtfsTree::open(device)?),
        Content::ExFat => fat::open_exfat(device)?,
        Content::Fat12 | Content::Fat16 | Content::Fat32 => fat::open_fat(device)?,
        found => return Err(OpenFilesError::NotAFileSystem { found }),
    })
}
