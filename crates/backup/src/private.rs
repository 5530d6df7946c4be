//! Files and folders that are for their owner alone.
//!
//! A file system that knows no owners (FAT, exFAT) keeps them for everybody; that is how sticks are.

#[cfg(not(windows))]
mod modes;
#[cfg(windows)]
mod windows;

use std::fs::OpenOptions;

#[cfg(not(windows))]
use modes as system;
#[cfg(windows)]
use windows as system;

pub use system::create_folder;
pub(crate) use system::create_new;

/// Has files that are made be for their owner alone. On Windows the folder sees to that.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn nobody_else_gets_in() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = outer.path().join("a/b");
        create_folder(&folder).expect("made");
        create_folder(&folder).expect("there already");
        let path = folder.join("key");
        create_new(&path).expect("made");
        let taken = create_new(&path).expect_err("there already");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &std::path::Path| path.metadata().expect("there").permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&folder)), (0o600, 0o700));
            assert_eq!(mode(&outer.path().join("a")), 0o700);
        }
    }
}
