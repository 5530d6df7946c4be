//! The same by the modes of Unix; elsewhere as the system has it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use super::private;

/// Makes a new file that only its owner can read, open for writing.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where the name is taken, by a link as well; what else the operating system says.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    private(&mut options).write(true).create_new(true).open(path)
}

/// Makes a folder that only its owner can look into, and those above it that are missing. One that is there is left as
/// it is.
///
/// # Errors
/// What the operating system says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
