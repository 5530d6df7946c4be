//! Errors of devices and file systems in the kernel's words.

use std::io;

use fuser::Errno;
use keyhaven_disk::WriteError;

use crate::files::FilesError;

/// What whoever writes is told.
pub(super) fn of_write(error: &WriteError) -> Errno {
    match error {
        // What a block device says of a write past its end.
        WriteError::PastEnd { .. } => Errno::ENOSPC,
        WriteError::Fixed { .. } => Errno::EPERM,
        WriteError::Io { source, .. } | WriteError::Flush(source) => of_medium(source),
        _ => Errno::EIO,
    }
}

/// A full medium is worth telling from a broken one.
fn of_medium(error: &io::Error) -> Errno {
    match error.kind() {
        io::ErrorKind::StorageFull => Errno::ENOSPC,
        io::ErrorKind::QuotaExceeded => Errno::EDQUOT,
        io::ErrorKind::ReadOnlyFilesystem => Errno::EROFS,
        _ => Errno::EIO,
    }
}

/// What whoever wants to see or read a file is told.
pub(super) fn of_files(error: &FilesError) -> Errno {
    match error {
        FilesError::NotFound => Errno::ENOENT,
        FilesError::NotADirectory => Errno::ENOTDIR,
        FilesError::IsADirectory => Errno::EISDIR,
        FilesError::NotALink => Errno::EINVAL,
        FilesError::NoSuchStream => Errno::ENODATA,
        // Only that account may read it, and only with its certificate.
        FilesError::Encrypted => Errno::EACCES,
        FilesError::Unsupported { .. } => Errno::EOPNOTSUPP,
        FilesError::Damaged { .. } | FilesError::Read(_) => Errno::EIO,
    }
}

/// Tells whether an error says something about the drive, and not only about the question.
pub(super) fn is_worth_reporting(error: &FilesError) -> bool {
    matches!(
        error,
        FilesError::Encrypted
            | FilesError::Unsupported { .. }
            | FilesError::Damaged { .. }
            | FilesError::Read(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_medium_is_told_from_a_broken_one() {
        let io = |kind: io::ErrorKind| WriteError::Io {
            offset: 0,
            len_bytes: 512,
            source: kind.into(),
        };
        assert_eq!(
            of_write(&io(io::ErrorKind::StorageFull)).code(),
            Errno::ENOSPC.code()
        );
        assert_eq!(of_write(&io(io::ErrorKind::Other)).code(), Errno::EIO.code());
        assert_eq!(
            of_write(&WriteError::Fixed { offset: 0 }).code(),
            Errno::EPERM.code()
        );
    }
}
