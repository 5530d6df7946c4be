//! What there is to copy, before the first file is made.

use std::collections::HashSet;
use std::path::Path;

use keyhaven_attach::files::{Attributes, FileTree, NodeId, NodeKind};

use super::CopyArgs;
use super::copying::is_time_of;
use super::destination::{Folder, There};
use crate::context::Context;
use crate::error::CliError;
use crate::inside::{Content, Descent, Found, join, sorted_entries};

/// What there is to copy.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Plan {
    /// The lengths of all files, for how far the work is.
    pub(super) total_bytes: u64,
    /// What they take up in the copy, holes left out.
    pub(super) stored_bytes: u64,
}

/// A walk that only adds up. What cannot be read is left to the copy to tell.
struct Planning<'a> {
    tree: &'a dyn FileTree,
    args: &'a CopyArgs,
    context: &'a Context,
    descent: Descent,
    seen: HashSet<NodeId>,
    plan: Plan,
}

impl Plan {
    /// Adds up what there is under what was found, leaving out what is in `into` already if that is wanted.
    ///
    /// # Errors
    /// Ctrl-C.
    pub(super) fn of(
        tree: &dyn FileTree,
        found: &[Found],
        into: &Folder,
        args: &CopyArgs,
        context: &Context,
    ) -> Result<Self, CliError> {
        let mut planning = Planning {
            tree,
            args,
            context,
            descent: Descent::default(),
            seen: HashSet::new(),
            plan: Self::default(),
        };
        for found in found {
            planning.descent = Descent::default();
            let into = Some(into);
            if found.stream.is_some() {
                // Short, as a rule; and nothing is lost if it is not.
                continue;
            }
            if found.is_folder() {
                let below = match found.name.as_str() {
                    "" => None,
                    name => into.and_then(|into| into.enter(Path::new(name)).ok()),
                };
                let below = if found.name.is_empty() {
                    into
                } else {
                    below.as_ref()
                };
                planning.folder(found.node, &found.path, below)?;
            } else {
                planning.file(found.node, &found.attributes, &found.name, into);
            }
        }
        Ok(planning.plan)
    }
}

impl Planning<'_> {
    fn folder(&mut self, node: NodeId, path: &str, into: Option<&Folder>) -> Result<(), CliError> {
        self.context.interrupt.check()?;
        if self.descent.enter(node).is_err() {
            return Ok(());
        }
        for entry in sorted_entries(self.tree, node).0 {
            let Ok(attributes) = self.tree.attributes(entry.node) else {
                continue;
            };
            match attributes.kind {
                NodeKind::Directory => {
                    let path = join(path, &entry.name);
                    let below = into.and_then(|into| {
                        let name = into.naming().safe(&entry.name).into_owned();
                        into.enter(Path::new(&name)).ok()
                    });
                    self.folder(entry.node, &path, below.as_ref())?;
                }
                NodeKind::File => self.file(entry.node, &attributes, &entry.name, into),
                _ => {}
            }
        }
        self.descent.leave();
        Ok(())
    }

    fn file(&mut self, node: NodeId, attributes: &Attributes, name: &str, into: Option<&Folder>) {
        if attributes.hard_links > 1 && !self.seen.insert(node) {
            return;
        }
        if self.args.go_on
            && let Some(into) = into
            && let Ok(There::File(there)) = into.look(Path::new(&*into.naming().safe(name)))
            && there.len() == attributes.len_bytes
            && there
                .modified()
                .is_ok_and(|time| is_time_of(time.into_std(), attributes))
        {
            return;
        }
        let len = attributes.len_bytes;
        self.plan.total_bytes = self.plan.total_bytes.saturating_add(len);
        let stored = if attributes.allocated_bytes < len {
            Content::new(self.tree, node, None).stored_len(len)
        } else {
            len
        };
        self.plan.stored_bytes = self.plan.stored_bytes.saturating_add(stored);
    }
}
