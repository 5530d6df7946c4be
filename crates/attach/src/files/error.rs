//! Why a file or a file system could not be read.

use std::fmt;

use keyhaven_disk::ReadError;
use keyhaven_disk::content::Content;

use crate::files::FileSystemKind;

/// Why a file system could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFilesError {
    /// There is no file system here that could be read.
    #[error("the files cannot be read: expected NTFS, exFAT or FAT, found {found}")]
    NotAFileSystem {
        /// What is there.
        found: Content,
    },
    /// The file system cannot be opened because its own records do not hold together.
    #[error("the {kind} file system is damaged: {what}")]
    Damaged {
        /// What its boot sector says it is.
        kind: FileSystemKind,
        /// Which record, where, and what is wrong with it.
        what: String,
    },
    /// The device failed.
    #[error("the {kind} file system could not be read")]
    Read {
        /// What its boot sector says it is.
        kind: FileSystemKind,
        /// Where and why.
        source: ReadError,
    },
}

/// Why a file or directory could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The node is not of this tree, or its file is gone.
    #[error("there is no such file or folder")]
    NotFound,
    /// A directory was needed.
    #[error("this is not a folder")]
    NotADirectory,
    /// A file was needed.
    #[error("this is a folder")]
    IsADirectory,
    /// A symbolic link or junction was needed.
    #[error("this is not a symbolic link")]
    NotALink,
    /// The file has no alternate data stream of this name.
    #[error("the file has no stream of this name")]
    NoSuchStream,
    /// The content is encrypted by Windows for a user account (EFS), inside the encrypted drive.
    #[error("the file is encrypted by Windows for one user account (EFS)")]
    Encrypted,
    /// The content is kept in a way that is not known here.
    #[error("the content of the file is kept {how}, which cannot be read here")]
    Unsupported {
        /// How.
        how: Storage,
    },
    /// A record of the file system does not hold together.
    #[error("the file system is damaged: {what}")]
    Damaged {
        /// Which record, where, and what is wrong with it.
        what: String,
    },
    /// The device failed.
    #[error("the device could not be read")]
    Read(#[from] ReadError),
}

/// A way of Windows to keep a file's content that cannot be read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// Compressed by "CompactOS" or `compact /exe` (the Windows Overlay Filter).
    SystemCompression,
    /// In the chunk store of Windows Server's data deduplication.
    Deduplication,
    /// Not on this drive: in the cloud, a server's archive, or a container's image.
    Elsewhere {
        /// The tag of the reparse point, which says where.
        reparse_tag: u32,
    },
    /// In a form of compression that is not LZNT1.
    Compression {
        /// The compression unit's length as the record gives it, as a power of two of clusters.
        unit_exponent: u8,
    },
    /// By a program of its own, behind a reparse point.
    ReparsePoint {
        /// The tag that says which program.
        reparse_tag: u32,
    },
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SystemCompression => f.write_str("in Windows' compression of system files (CompactOS)"),
            Self::Deduplication => f.write_str("in the store of Windows Server's data deduplication"),
            Self::Elsewhere { reparse_tag } => {
                write!(
                    f,
                    "somewhere else than on this drive (reparse tag {reparse_tag:#010x})"
                )
            }
            Self::Compression { unit_exponent } => {
                write!(
                    f,
                    "in a compression unknown here (unit 2^{unit_exponent} clusters)"
                )
            }
            Self::ReparsePoint { reparse_tag } => {
                write!(f, "behind a reparse point of a program (tag {reparse_tag:#010x})")
            }
        }
    }
}
