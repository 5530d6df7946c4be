//! Keys found in a text, a file or a picture.

use std::fmt;

use keyhaven_fve::keys::MistypedRecoveryPassword;
use keyhaven_fve::{Credential, Guid};

/// A key that was found somewhere, and what the place says about whose it is.
#[derive(Debug)]
pub struct FoundKey {
    /// The identifiers that stand beside the key, the likeliest first; empty if there are none.
    pub ids: Vec<Guid>,
    /// The key.
    pub content: FoundContent,
    /// Where it stands and what is said of it there.
    pub source: Source,
}

/// What was found.
#[derive(Debug)]
#[non_exhaustive]
pub enum FoundContent {
    /// A key that can be tried: a recovery key or a key file.
    Key(Credential),
    /// Something that is a recovery key but for a few digits.
    Mistyped(MistypedRecoveryPassword),
}

/// Where in a file a key stands, and what the file says of it. Holds no digits of any key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Where in the file; `None` where the file is the key.
    pub spot: Option<Spot>,
    /// The computer or drive that the file names beside the key.
    pub device: Option<String>,
    /// The volume that the file names beside the key.
    pub volume_id: Option<Guid>,
    /// When the key was made or saved, as the file writes it.
    pub date: Option<String>,
}

impl From<Spot> for Source {
    fn from(spot: Spot) -> Self {
        Self {
            spot: Some(spot),
            ..Self::default()
        }
    }
}

/// A place in a file. All numbers count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spot {
    /// A line of a text.
    Line(usize),
    /// A row of a table.
    Row {
        /// What the table is called, where a file has several.
        table: Option<String>,
        /// The row.
        row: usize,
    },
    /// An entry of an export.
    Entry(usize),
    /// A page.
    Page(usize),
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row { table: None, row } => write!(f, "row {row}"),
            Self::Row {
                table: Some(table),
                row,
            } => write!(f, "{table}, row {row}"),
            Self::Entry(entry) => write!(f, "entry {entry}"),
            Self::Page(page) => write!(f, "page {page}"),
        }
    }
}
