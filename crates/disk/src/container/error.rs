//! Why the disk inside an image cannot be shown.

use std::io;

use crate::device::ReadError;
use crate::file::OpenError;
use crate::writable::WriteError;

/// Why the disk inside an image cannot be shown, or a part of it cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// A part of the image file cannot be read.
    #[error("cannot read {what}")]
    Read {
        /// The part: "the footer".
        what: &'static str,
        /// What the file said.
        source: ReadError,
    },
    /// A part of the image file cannot be written.
    #[error("cannot write {what}")]
    Write {
        /// The part: "the footer".
        what: &'static str,
        /// What the file said.
        source: WriteError,
    },
    /// No identifier could be made.
    #[error("the system gave no random bytes")]
    NoRandomness(#[source] io::Error),
    /// A part of the image contradicts the format, itself or another part.
    #[error("{what} at byte {offset:#x} is damaged: {problem}")]
    Damaged {
        /// The part: "the header".
        what: &'static str,
        /// Where it lies in the file, in bytes.
        offset: u64,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// The image is in order, but needs something that is not known here.
    #[error("{what}")]
    Unsupported {
        /// What, as a clause: "it is encrypted by its own format".
        what: String,
    },
    /// The image names a file that is not opened for it, wherever it leads.
    #[error("it names another file, {name:?}, and {problem}")]
    Escape {
        /// The name, as it stands in the image.
        name: String,
        /// Why it is refused, as a clause.
        problem: &'static str,
    },
    /// A file that the image needs cannot be opened.
    #[error("it needs the file {name:?} beside it")]
    Neighbour {
        /// The name, as it stands in the image.
        name: String,
        /// Why.
        source: OpenError,
    },
    /// The image builds on another one, which is of no use.
    #[error("it builds on {name:?}, which cannot be used")]
    Parent {
        /// The name, as it stands in the image.
        name: String,
        /// Why.
        source: Box<ContainerError>,
    },
    /// The image builds on another one, and what lies there under its name is not that.
    #[error("it builds on the image {expected}, but {name:?} is {found}")]
    OtherParent {
        /// The name, as it stands in the image.
        name: String,
        /// The identifier that it should have.
        expected: String,
        /// The one that it has.
        found: String,
    },
    /// Images build on images without end, as far as anybody looked.
    #[error("more than {limit} images build on one another")]
    TooDeep {
        /// How many there may be.
        limit: usize,
    },
    /// An image builds on itself, perhaps over others.
    #[error("the images build on one another in a circle, over {name:?}")]
    Circle {
        /// The name that leads back, as it stands in an image.
        name: String,
    },
    /// The file was said to have a format that it does not have.
    #[error("it is not {title}")]
    NotThis {
        /// What it was said to be, with its article.
        title: &'static str,
    },
    /// The disk inside can be read, but not changed where it lies.
    #[error("it cannot be changed where it lies: {reason}")]
    ReadOnly {
        /// Why, as a clause.
        reason: &'static str,
    },
}

impl ContainerError {
    /// Returns what is wrong with an image that builds on another one without a name for it.
    pub(crate) fn unnamed_parent(what: &'static str, offset: u64) -> Self {
        Self::Damaged {
            what,
            offset,
            problem: "it builds on another image, and does not name it".to_owned(),
        }
    }

    /// Restates the error as one of a write to the disk inside.
    pub(crate) fn into_write_error(self, offset: u64, len_bytes: u64) -> WriteError {
        WriteError::Io {
            offset,
            len_bytes,
            source: io::Error::new(io::ErrorKind::InvalidData, self),
        }
    }
}
