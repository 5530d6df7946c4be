//! Why a part of a container cannot be read.

use std::io;
use std::sync::Arc;

use crate::device::ReadError;

/// Why bytes of the drive inside a container cannot be told.
///
/// It becomes a [`ReadError`] of the range that was asked for: what is damaged is not there, and never zeros.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Fault {
    /// The file that the container is kept in could not be read.
    #[error("the image file cannot be read there")]
    Medium(#[source] Arc<ReadError>),
    /// Whoever made the image could not read the drive there.
    #[error("the drive could not be read there when the image was made")]
    NeverRead,
    /// What is kept contradicts itself.
    #[error("the image file is damaged: {0}")]
    Damaged(Arc<str>),
}

impl Fault {
    /// Says what is wrong, as a sentence that goes on after "the image file is damaged:".
    pub(super) fn damaged(what: impl Into<Arc<str>>) -> Self {
        Self::Damaged(what.into())
    }

    /// Restates it as the failure of a read of the drive inside.
    pub(super) fn at(self, offset: u64, len_bytes: u64) -> ReadError {
        let kind = match &self {
            Self::Medium(error) => match &**error {
                ReadError::Io { source, .. } => source.kind(),
                ReadError::PastEnd { .. } => io::ErrorKind::UnexpectedEof,
            },
            Self::NeverRead => io::ErrorKind::Other,
            Self::Damaged(_) => io::ErrorKind::InvalidData,
        };
        ReadError::Io {
            offset,
            len_bytes,
            source: io::Error::new(kind, self),
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Medium(Arc::new(error))
    }
}
