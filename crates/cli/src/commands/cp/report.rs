//! What a copy came to, file by file where that matters.

use serde::Serialize;

/// How many of one sort are told one by one; the others are counted.
const TOLD_MAX: usize = 10_000;

/// What a copy came to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Whether everything that was asked for is there now.
    pub(super) complete: bool,
    pub(super) copied_files: u64,
    pub(super) copied_folders: u64,
    /// What was written for them, holes left out.
    pub(super) copied_bytes: u64,
    /// Links that were copied as links.
    pub(super) copied_links: u64,
    /// Files that were there already, with `--continue`.
    pub(super) already_there: u64,
    /// Links, without `--links`, and what is no content: sockets, entries of the app store.
    pub(super) left_out: u64,
    /// Files and folders whose times the target did not take.
    pub(super) times_lost: u64,
    /// Those that have another name than on the drive.
    pub(super) renamed: Told<Renamed>,
    /// Those that could not be copied.
    pub(super) failed: Told<Failed>,
}

/// Some that are told, and the number of all.
#[derive(Debug, Serialize)]
pub(super) struct Told<T> {
    pub(super) count: u64,
    /// The first of them.
    pub(super) listed: Vec<T>,
}

/// A name that the target could not hold, or had already.
#[derive(Debug, Serialize)]
pub(super) struct Renamed {
    /// Its path on the drive.
    pub(super) path: String,
    /// Its name in the copy.
    pub(super) name: String,
}

/// Something that was not copied.
#[derive(Debug, Serialize)]
pub(super) struct Failed {
    /// Its path on the drive.
    pub(super) path: String,
    pub(super) reason: String,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self {
            count: 0,
            listed: Vec::new(),
        }
    }
}

impl<T> Told<T> {
    pub(super) fn push(&mut self, one: T) {
        self.count = self.count.saturating_add(1);
        if self.listed.len() < TOLD_MAX {
            self.listed.push(one);
        }
    }

    /// Returns how many are not told.
    pub(super) fn untold(&self) -> u64 {
        self.count.saturating_sub(self.listed.len() as u64)
    }
}

impl Report {
    pub(super) fn failed(&mut self, path: &str, reason: impl Into<String>) {
        self.failed.push(Failed {
            path: path.to_owned(),
            reason: reason.into(),
        });
    }
}
