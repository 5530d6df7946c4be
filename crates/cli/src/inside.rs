//! The files inside a drive, reached without mounting it: what `ls`, `cat` and `cp` share.

mod content;
mod descent;
mod path;

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::sync::Arc;

use keyhaven_attach::files::{self, Entry, FileTree, FilesError, NodeId, OpenFilesError};
use keyhaven_disk::Device;

use crate::content::ContentArgs;
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::CliError;
use crate::ui::printable;
use crate::unlocking::UnlockArgs;

pub(crate) use content::{Content, PIECE_LEN};
pub(crate) use descent::Descent;
pub(crate) use path::{Found, InsidePath, Links};

/// The arguments by which a verb takes a drive whose files it wants.
#[derive(Debug, clap::Args)]
pub(crate) struct InsideArgs {
    #[command(flatten)]
    drive: DriveArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// The files of an unlocked drive.
#[derive(Debug)]
pub(crate) struct Inside {
    /// What the drive is called.
    pub(crate) name: String,
    /// Its files.
    pub(crate) tree: Box<dyn FileTree>,
}

impl InsideArgs {
    /// Unlocks the drive and opens its file system.
    pub(crate) fn open(&self, context: &Context) -> Result<Inside, CliError> {
        let drive = self.drive.open(context)?;
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let device: Device = Arc::new(drive.content(unlocked, &ContentArgs::default())?);
        let tree = files::open(device).map_err(|error| {
            let refused =
                CliError::could_not("the drive is unlocked, but its files cannot be read").because(&error);
            match error {
                OpenFilesError::NotAFileSystem { .. } => refused,
                _ => refused.hint("Windows' `chkdsk`, or a rescue program on a copy, may mend it"),
            }
            .hint("`keyhaven export` writes the decrypted drive to an image, for other programs")
        })?;
        Ok(Inside {
            name: drive.name,
            tree,
        })
    }
}

impl Inside {
    /// Finds what one path leads to: several things where it has `*` or `?` in it.
    pub(crate) fn find(&self, path: &OsString, links: Links) -> Result<Vec<Found>, CliError> {
        InsidePath::parse(path)?.find(&*self.tree, links)
    }
}

/// Returns what is in a folder, sorted by name, and why there may be more of it.
pub(crate) fn sorted_entries(tree: &dyn FileTree, folder: NodeId) -> (Vec<Entry>, Option<FilesError>) {
    let mut entries = Vec::new();
    let listed = tree.list(folder, &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    });
    entries.sort_by_cached_key(|entry| (entry.name.to_lowercase(), entry.name.clone()));
    (entries, listed.err())
}

/// Joins a path inside a drive and a name in that folder.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// Writes a name or path on one line, so that it steers no terminal and can be given back as it is shown.
pub(crate) fn shown(name: &str) -> String {
    printable(name).replace('\n', "\\u{a}").replace('\t', "\\u{9}")
}
