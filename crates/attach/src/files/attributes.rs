//! What is known about a file or directory beside its content.

use jiff::Timestamp;

/// What is known about a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: NodeKind,
    /// How many bytes can be read from it; 0 for a directory, the length of the target for a symbolic link.
    pub len_bytes: u64,
    /// How many bytes it takes up on the volume.
    pub allocated_bytes: u64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When its content was last written.
    pub modified: Option<Timestamp>,
    /// When its content or what is known about it was last changed; only NTFS tells.
    pub changed: Option<Timestamp>,
    /// When it was last read. FAT and exFAT tell it to the day or to two seconds.
    pub accessed: Option<Timestamp>,
    /// Whether it is marked as read-only.
    pub is_read_only: bool,
    /// Whether it is marked as hidden.
    pub is_hidden: bool,
    /// Whether it is marked as part of the operating system.
    pub is_system: bool,
    /// How many names it has, short ones (8.3) not counted; at least 1.
    pub hard_links: u32,
}

/// What a node of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link or a junction.
    SymbolicLink,
    /// Something else that Windows keeps under a name: a socket, a device, a reparse point of a program.
    Other,
}
