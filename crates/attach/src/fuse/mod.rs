//! Devices and files shown through FUSE, the kernel's way of asking a program for the content of a mount.
//!
//! [`mount_image`] shows a device as one file, [`mount_files`] the files inside it, [`system`] lets a driver of the
//! computer mount what such a file holds. A [`Mounted`] lasts until it is unmounted, by whomever. [`Ours`] finds the
//! mounts of Keyhaven from outside, also those whose process is gone, and [`users_of`] who keeps one busy.
//!
//! Sources: fuse(4), mount(8), fusermount3(1), the kernel's Documentation/filesystems/fuse/fuse.rst.

mod buffer;
mod bug;
mod errno;
mod files;
mod fusermount;
mod image;
mod mounted;
mod mounting;
mod options;
mod ours;
mod process_id;
pub mod system;
mod unmounting;
mod users;

use std::path::Path;
use std::sync::Arc;

use crate::Shown;
use crate::files::FileTree;

pub use mounted::Mounted;
pub use mounting::{MountError, check_mountpoint};
pub use options::{MountOptions, Report};
pub use ours::{OurMount, Ours};
pub use process_id::{process_behind, wait_for_end};
pub use unmounting::{UnmountError, Unmounting, unmount};
pub use users::{Use, User, users_of};

/// Shows a device as the one file `file_name` in `mountpoint`.
///
/// The file can be written where the device can, and is then as long as the device for ever: it cannot be cut or made
/// longer, as with a drive. A flush, and closing the file, bring everything to the medium.
///
/// # Errors
/// See [`MountError`]; nothing is mounted then.
pub fn mount_image(
    shown: Shown,
    file_name: &str,
    mountpoint: &Path,
    options: &MountOptions,
) -> Result<Mounted, MountError> {
    let read_only = shown.writable().is_none();
    let image = image::Image::new(shown, file_name, options);
    Mounted::start(image, mountpoint, options, read_only)
}

/// Shows the files of a tree in `mountpoint`, to be read.
///
/// # Errors
/// See [`MountError`]; nothing is mounted then.
pub fn mount_files(
    tree: Arc<dyn FileTree>,
    mountpoint: &Path,
    options: &MountOptions,
) -> Result<Mounted, MountError> {
    let files = files::Files::new(tree, options);
    Mounted::start(files, mountpoint, options, true)
}
