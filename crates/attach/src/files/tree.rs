//! What a file system is to whoever shows it.

use std::fmt;
use std::ops::ControlFlow;

use crate::files::{Attributes, FilesError, NodeKind};

/// A file system, read-only.
///
/// All methods take `&self` and may be called from several threads at once.
pub trait FileTree: Send + Sync + fmt::Debug {
    /// Returns which file system this is.
    fn kind(&self) -> FileSystemKind;

    /// Returns the name of the volume, where it has one.
    fn label(&self) -> Option<&str>;

    /// Returns how large the file system is.
    fn space(&self) -> Space;

    /// Returns the top directory.
    fn root(&self) -> NodeId;

    /// Finds a name in a directory, in the spelling that [`FileTree::list`] gives; case does not matter, as in
    /// Windows.
    ///
    /// Where names differ only in case, the one that is spelt exactly so is preferred.
    ///
    /// # Errors
    /// [`FilesError::NotADirectory`], or why the directory cannot be read. A name that is not there is `None`.
    fn lookup(&self, directory: NodeId, name: &str) -> Result<Option<NodeId>, FilesError>;

    /// Returns what is known about a file or directory.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] for a node that is not of this tree, or why it cannot be read.
    fn attributes(&self, node: NodeId) -> Result<Attributes, FilesError>;

    /// Calls `each` for every entry of a directory, until it breaks: in an order that stays the same while the tree
    /// is open. There are no entries for the directory itself and for the one above it.
    ///
    /// # Errors
    /// [`FilesError::NotADirectory`], or why the rest of the directory cannot be read: the entries before it were
    /// reported.
    fn list(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FilesError>;

    /// Reads from byte `offset` of a file, and returns how many bytes were read: fewer than asked for only at the
    /// end of the file.
    ///
    /// # Errors
    /// [`FilesError::IsADirectory`], or why it cannot be read; the content of `buf` is unspecified then.
    fn read(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, FilesError>;

    /// Returns for how many bytes from `offset` on, at most `len_bytes`, a file surely reads as zeros that are not
    /// stored; 0 where something is, or where nobody knows.
    ///
    /// There may be more of them after that.
    ///
    /// # Errors
    /// As [`FileTree::read`].
    fn hole_at(&self, node: NodeId, offset: u64, len_bytes: u64) -> Result<u64, FilesError> {
        let _ = (node, offset, len_bytes);
        Ok(0)
    }

    /// Returns the alternate data streams of a file or directory, in the order of the file system; only NTFS has any.
    ///
    /// # Errors
    /// Why they cannot be known: the content of the file may be whole all the same.
    fn streams(&self, node: NodeId) -> Result<Vec<StreamEntry>, FilesError> {
        self.attributes(node).map(|_| Vec::new())
    }

    /// Reads from byte `offset` of an alternate data stream, as [`FileTree::read`] does of the content. Case does not
    /// matter in its name; one that is spelt exactly so is preferred.
    ///
    /// # Errors
    /// [`FilesError::NoSuchStream`], or why it cannot be read; the content of `buf` is unspecified then.
    fn read_stream(
        &self,
        node: NodeId,
        stream: &str,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, FilesError> {
        let _ = (stream, offset, buf);
        self.attributes(node)?;
        Err(FilesError::NoSuchStream)
    }

    /// Returns where a symbolic link or a junction leads, with forward slashes.
    ///
    /// What leads to this volume is given relative to the directory of the link, so that it can be followed wherever
    /// the tree is shown; anything else (another drive letter, a server) as Windows wrote it.
    ///
    /// # Errors
    /// [`FilesError::NotALink`], or why it cannot be read.
    fn read_link(&self, node: NodeId) -> Result<String, FilesError>;
}

/// A file or directory of a tree. It stays the same while the tree is open, and names with the same content (hard
/// links) share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name. Characters that a path cannot hold (a slash, a zero, half of a surrogate pair) and the backslash are
    /// written `\uXXXX`, which Windows never puts into a name, so that every name is unique and can be looked up.
    pub name: String,
    /// What it names.
    pub node: NodeId,
    /// What kind of thing it names, as far as the directory itself tells.
    ///
    /// [`FileTree::attributes`] looks closer.
    pub kind: NodeKind,
}

/// An alternate data stream: more content of a file, under a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its name, spelt as names of files are; without the colon.
    pub name: String,
    /// How many bytes can be read from it.
    pub len_bytes: u64,
}

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileSystemKind {
    /// NTFS.
    Ntfs,
    /// exFAT.
    ExFat,
    /// FAT with 12-, 16- or 32-bit entries.
    Fat,
}

impl fmt::Display for FileSystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ntfs => "NTFS",
            Self::ExFat => "exFAT",
            Self::Fat => "FAT",
        })
    }
}

/// How large a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What there is for files and structures, in bytes.
    pub total_bytes: u64,
    /// What is not in use, in bytes, where that is known.
    pub free_bytes: Option<u64>,
    /// What is allocated at once (the cluster), in bytes.
    pub block_len_bytes: u32,
}
