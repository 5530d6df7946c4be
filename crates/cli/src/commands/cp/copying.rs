//! A copy under way: one file after the other, whole or not at all.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use keyhaven_attach::files::{Attributes, FileTree, NodeId, NodeKind};

use super::CopyArgs;
use super::destination::{Folder, There};
use super::name::Names;
use super::report::{Renamed, Report};
use crate::context::Context;
use crate::error::CliError;
use crate::inside::{Content, Descent, Found, PIECE_LEN, join, sorted_entries};
use crate::ui::Progress;

/// FAT keeps times to two seconds.
const SAME_TIME: Duration = Duration::from_secs(2);

/// How many files with several names are remembered, to be copied once.
const HARD_LINKS_MAX: usize = 1 << 20;

/// What is copied, from where, and how far it is.
pub(super) struct Copying<'a> {
    tree: &'a dyn FileTree,
    args: &'a CopyArgs,
    context: &'a Context,
    progress: Progress,
    done_bytes: u64,
    descent: Descent,
    /// The folder from which the paths of copied files count.
    top: &'a Folder,
    copied: HashMap<NodeId, PathBuf>,
    piece: Vec<u8>,
    pub(super) report: Report,
}

/// One thing to be copied.
#[derive(Debug)]
struct Source<'a> {
    /// Its path on the drive.
    path: &'a str,
    node: NodeId,
    stream: Option<&'a str>,
    attributes: &'a Attributes,
}

/// A folder of the target, with the names given in it and its path from the top.
struct TargetFolder<'a> {
    folder: &'a Folder,
    names: Names,
    path: PathBuf,
}

/// Why a file was not copied.
enum Trouble {
    /// It concerns this file.
    Here(String),
    /// Nothing can be copied any more.
    Everywhere(CliError),
}

impl<'a> Copying<'a> {
    pub(super) fn new(
        tree: &'a dyn FileTree,
        args: &'a CopyArgs,
        top: &'a Folder,
        total_bytes: u64,
        context: &'a Context,
    ) -> Self {
        Self {
            tree,
            args,
            context,
            progress: context.ui.progress("copying", total_bytes),
            done_bytes: 0,
            descent: Descent::default(),
            top,
            copied: HashMap::new(),
            piece: vec![0; PIECE_LEN],
            report: Report::default(),
        }
    }

    /// Copies what was asked for into the top folder: under their own names, or the one of them under `name`.
    ///
    /// # Errors
    /// What keeps everything from being copied; the report tells the rest.
    pub(super) fn all(&mut self, found: &[Found], name: Option<&str>) -> Result<(), CliError> {
        let mut into = TargetFolder {
            folder: self.top,
            names: Names::new(self.top.naming()),
            path: PathBuf::new(),
        };
        for found in found {
            // Asked for twice, it is copied twice.
            self.descent = Descent::default();
            let source = Source {
                path: &found.path,
                node: found.node,
                stream: found.stream.as_deref(),
                attributes: &found.attributes,
            };
            match (name, &found.stream) {
                // The person's own name for it is not for us to judge.
                (Some(name), _) => self.one(&source, &mut into, name.to_owned())?,
                (None, None) if found.name.is_empty() => self.content_of_folder(&source, &mut into)?,
                (None, None) => self.named(&source, &mut into, &found.name)?,
                (None, Some(stream)) => {
                    self.named(&source, &mut into, &format!("{}:{stream}", found.name))?;
                }
            }
        }
        self.progress.describe("writing the rest to the medium");
        if let Err(error) = self.top.sync() {
            let path = self.top.path().display();
            return Err(CliError::could_not(format!(
                "`{path}` did not take everything that was written to it"
            ))
            .because(&error));
        }
        Ok(())
    }

    /// Copies something under the name that it has on the drive, or one like it.
    fn named(
        &mut self,
        source: &Source<'_>,
        into: &mut TargetFolder<'_>,
        wanted: &str,
    ) -> Result<(), CliError> {
        let name = into.names.give(wanted);
        if name != wanted {
            self.report.renamed.push(Renamed {
                path: source.path.to_owned(),
                name: name.clone(),
            });
        }
        self.one(source, into, name)
    }

    fn one(
        &mut self,
        source: &Source<'_>,
        into: &mut TargetFolder<'_>,
        name: String,
    ) -> Result<(), CliError> {
        self.context.interrupt.check()?;
        let done = match (source.stream, source.attributes.kind) {
            (None, NodeKind::Directory) => self.folder(source, into, &name),
            (None, NodeKind::SymbolicLink) => self.link(source, into, &name),
            (None, NodeKind::Other) => {
                self.report.left_out += 1;
                Ok(())
            }
            _ => self.file(source, into, &name),
        };
        match done {
            Ok(()) => {}
            Err(Trouble::Here(reason)) => self.report.failed(&path_of(source), reason),
            Err(Trouble::Everywhere(error)) => return Err(error),
        }
        if self.args.streams && source.stream.is_none() {
            self.streams(source, into, &name)?;
        }
        Ok(())
    }

    fn folder(
        &mut self,
        source: &Source<'_>,
        into: &mut TargetFolder<'_>,
        name: &str,
    ) -> Result<(), Trouble> {
        let path = Path::new(name);
        let mut is_new = false;
        match into
            .folder
            .look(path)
            .map_err(|error| self.cannot_write(&error))?
        {
            There::Nothing => {
                into.folder
                    .make(path)
                    .map_err(|error| self.cannot_write(&error))?;
                is_new = true;
            }
            There::Folder => {}
            There::File(_) | There::Other => {
                return Err(Trouble::Here("there is something else of this name".to_owned()));
            }
        }
        let folder = into
            .folder
            .enter(path)
            .map_err(|error| self.cannot_write(&error))?;
        let mut below = TargetFolder {
            names: Names::new(folder.naming()),
            folder: &folder,
            path: into.path.join(name),
        };
        self.report.copied_folders += u64::from(is_new);
        self.content_of_folder(source, &mut below)
            .map_err(Trouble::Everywhere)?;
        // After the last file in it: each changes the time.
        if is_new && into.folder.set_times(path, source.attributes).is_err() {
            self.report.times_lost += 1;
        }
        Ok(())
    }

    fn content_of_folder(
        &mut self,
        source: &Source<'_>,
        into: &mut TargetFolder<'_>,
    ) -> Result<(), CliError> {
        if let Err(why) = self.descent.enter(source.node) {
            self.report.failed(source.path, why);
            return Ok(());
        }
        let (entries, problem) = sorted_entries(self.tree, source.node);
        for entry in entries {
            let path = join(source.path, &entry.name);
            match self.tree.attributes(entry.node) {
                Ok(attributes) => {
                    let source = Source {
                        path: &path,
                        node: entry.node,
                        stream: None,
                        attributes: &attributes,
                    };
                    self.named(&source, into, &entry.name)?;
                }
                Err(error) => self.report.failed(&path, CliError::chain(&error)),
            }
        }
        if let Some(error) = problem {
            self.report.failed(
                source.path,
                format!(
                    "not all that is in this folder is known: {}",
                    CliError::chain(&error)
                ),
            );
        }
        self.descent.leave();
        Ok(())
    }

    fn link(&mut self, source: &Source<'_>, into: &mut TargetFolder<'_>, name: &str) -> Result<(), Trouble> {
        if !self.args.links {
            self.report.left_out += 1;
            return Ok(());
        }
        let target = self
            .tree
            .read_link(source.node)
            .map_err(|error| Trouble::Here(CliError::chain(&error)))?;
        let path = Path::new(name);
        match into
            .folder
            .look(path)
            .map_err(|error| self.cannot_write(&error))?
        {
            There::Nothing => {}
            _ if self.args.go_on => {
                self.report.already_there += 1;
                return Ok(());
            }
            _ => return Err(Trouble::Here(EXISTS.to_owned())),
        }
        into.folder
            .make_link(&target, path, leads_to_folder(&target))
            .map_err(|error| self.cannot_write(&error))?;
        if into.folder.set_times(path, source.attributes).is_err() {
            self.report.times_lost += 1;
        }
        self.report.copied_links += 1;
        Ok(())
    }

    fn streams(
        &mut self,
        source: &Source<'_>,
        into: &mut TargetFolder<'_>,
        name: &str,
    ) -> Result<(), CliError> {
        let streams = match self.tree.streams(source.node) {
            Ok(streams) => streams,
            Err(error) => {
                self.report.failed(
                    source.path,
                    format!("its streams are not known: {}", CliError::chain(&error)),
                );
                return Ok(());
            }
        };
        for stream in streams {
            let attributes = Attributes {
                kind: NodeKind::File,
                len_bytes: stream.len_bytes,
                hard_links: 1,
                ..*source.attributes
            };
            let source = Source {
                stream: Some(&stream.name),
                attributes: &attributes,
                ..*source
            };
            self.named(&source, into, &format!("{name}:{}", stream.name))?;
        }
        Ok(())
    }

    fn file(&mut self, source: &Source<'_>, into: &mut TargetFolder<'_>, name: &str) -> Result<(), Trouble> {
        let path = Path::new(name);
        let mut overwrite = false;
        match into
            .folder
            .look(path)
            .map_err(|error| self.cannot_write(&error))?
        {
            There::Nothing => {}
            There::Folder => return Err(Trouble::Here("there is a folder of this name".to_owned())),
            There::File(found)
                if self.args.go_on
                    && found.len() == source.attributes.len_bytes
                    && found
                        .modified()
                        .is_ok_and(|time| is_time_of(time.into_std(), source.attributes)) =>
            {
                self.report.already_there += 1;
                return Ok(());
            }
            There::File(_) | There::Other if self.args.overwrite => overwrite = true,
            There::File(_) if self.args.go_on => {
                return Err(Trouble::Here(
                    "there is another file of this name; `--overwrite` replaces it".to_owned(),
                ));
            }
            There::File(_) | There::Other => return Err(Trouble::Here(EXISTS.to_owned())),
        }
        let has_more_names = source.attributes.hard_links > 1 && source.stream.is_none();
        if has_more_names
            && !overwrite
            && let Some(copied) = self.copied.get(&source.node)
            && into.folder.make_hard_link(self.top, copied, path).is_ok()
        {
            self.report.copied_files += 1;
            return Ok(());
        }

        let before = self.done_bytes;
        let done = self.content(source, into.folder, name, overwrite);
        // What was not copied is done with as well.
        self.done_bytes = before.saturating_add(source.attributes.len_bytes);
        self.progress.set(self.done_bytes);
        done?;
        if has_more_names && self.copied.len() < HARD_LINKS_MAX {
            self.copied.insert(source.node, into.path.join(name));
        }
        Ok(())
    }

    /// Copies the content of a file to a new one, which gets its name when it is whole.
    fn content(
        &mut self,
        source: &Source<'_>,
        folder: &Folder,
        name: &str,
        overwrite: bool,
    ) -> Result<(), Trouble> {
        let content = Content::new(self.tree, source.node, source.stream);
        let unreadable = |error| Trouble::Here(CliError::chain(&error));
        let mut partial = folder.begin(name).map_err(|error| self.cannot_write(&error))?;
        let (mut offset, mut written) = (0u64, 0u64);
        loop {
            self.context.interrupt.check().map_err(Trouble::Everywhere)?;
            let hole = content.hole_at(offset).map_err(unreadable)?;
            if hole > 0 {
                partial.skip(hole).map_err(|error| self.cannot_write(&error))?;
                offset = offset.saturating_add(hole);
            } else {
                // In pieces that begin where the file system's own do.
                let aligned = PIECE_LEN - usize::try_from(offset % PIECE_LEN as u64).unwrap_or_default();
                let piece = self.piece.get_mut(..aligned).unwrap_or_default();
                let wanted = piece.len();
                let len = content.read(offset, piece).map_err(unreadable)?;
                let bytes = self.piece.get(..len).unwrap_or_default();
                partial.write(bytes).map_err(|error| self.cannot_write(&error))?;
                offset = offset.saturating_add(len as u64);
                written = written.saturating_add(len as u64);
                if len < wanted {
                    break;
                }
            }
            self.progress.set(self.done_bytes.saturating_add(offset));
        }
        if partial.set_times(source.attributes).is_err() {
            self.report.times_lost += 1;
        }
        partial
            .finish(Path::new(name), overwrite)
            .map_err(|error| self.cannot_write(&error))?;
        self.report.copied_files += 1;
        self.report.copied_bytes = self.report.copied_bytes.saturating_add(written);
        Ok(())
    }

    /// Says why the target did not take something, and whether it will take anything else.
    fn cannot_write(&self, error: &io::Error) -> Trouble {
        let top = self.top.path().display();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Trouble::Everywhere(
                CliError::could_not(format!("there is no room left in `{top}`"))
                    .hint("make room, and copy the rest with the same command and `--continue`"),
            ),
            ErrorKind::ReadOnlyFilesystem => {
                Trouble::Everywhere(CliError::could_not(format!("`{top}` cannot be written")).because(error))
            }
            ErrorKind::AlreadyExists => Trouble::Here(EXISTS.to_owned()),
            ErrorKind::FileTooLarge => Trouble::Here(
                "it is too long for the file system of the copy; FAT takes up to 4 GiB".to_owned(),
            ),
            _ => Trouble::Here(format!("it cannot be written: {}", CliError::chain(error))),
        }
    }
}

const EXISTS: &str = "there is a file of this name, which is not overwritten";

fn path_of(source: &Source<'_>) -> String {
    match source.stream {
        Some(stream) => format!("{}:{stream}", source.path),
        None => source.path.to_owned(),
    }
}

/// Tells whether a copy may be of this file, by when it was last written.
pub(super) fn is_time_of(copied: SystemTime, attributes: &Attributes) -> bool {
    attributes.modified.is_some_and(|modified| {
        let modified = SystemTime::from(modified);
        let apart = copied
            .duration_since(modified)
            .unwrap_or_else(|earlier| earlier.duration());
        apart < SAME_TIME
    })
}

/// Guesses what Windows wants to know when a link is made: folders rarely have an ending.
fn leads_to_folder(target: &str) -> bool {
    let name = target.rsplit('/').next().unwrap_or_default();
    !name.trim_start_matches('.').contains('.')
}
