//! `keyhaven ls`: the files inside a drive.

use std::ffi::OsString;

use clap::Parser;
use jiff::Timestamp;
use keyhaven_attach::files::{Attributes, FilesError, NodeId, NodeKind, StreamEntry};
use serde::Serialize;

use crate::commands::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::inside::{Descent, Found, Inside, InsideArgs, Links, join, shown, sorted_entries};

pub(super) const VERB: Verb = Verb::of::<Ls>();

/// List the files of a drive, without mounting it
///
/// `/` and `\` both separate the names in PATH, and capitals do not matter; `*` and `?` stand for any characters of a
/// name (quote them). Names of folders are shown with a `/` behind them. All times are UTC.
///
/// With --json each file is one line of JSON.
#[derive(Parser)]
#[command(name = "ls")]
struct Ls {
    #[command(flatten)]
    inside: InsideArgs,

    /// A file or folder on the drive, such as `Users/ann` [default: the top]
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,

    /// Show what each is (d folder, l link), whether it is read-only (r), hidden (h), the system's (s), its size in
    /// bytes and when it was last written
    #[arg(short, long)]
    long: bool,

    /// List what is in folders below too, with the path from the top
    #[arg(short = 'R', long)]
    recursive: bool,

    /// List the alternate data streams of files too, as `FILE:STREAM`
    #[arg(long)]
    streams: bool,
}

/// What is shown of one name.
struct Item {
    path: String,
    /// As it is shown: the path or only the name.
    label: String,
    node: NodeId,
    kind: NodeKind,
    attributes: Option<Attributes>,
    link_target: Option<String>,
    streams: Vec<StreamEntry>,
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    name: &'a str,
    kind: &'static str,
    /// `null` where the drive does not tell, here and below.
    size_bytes: Option<u64>,
    allocated_bytes: Option<u64>,
    created: Option<String>,
    modified: Option<String>,
    changed: Option<String>,
    accessed: Option<String>,
    read_only: Option<bool>,
    hidden: Option<bool>,
    system: Option<bool>,
    hard_links: Option<u32>,
    link_target: Option<&'a str>,
    /// `null` if nobody asked.
    streams: Option<Vec<StreamLine<'a>>>,
}

#[derive(Serialize)]
struct StreamLine<'a> {
    name: &'a str,
    size_bytes: u64,
}

impl Run for Ls {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let inside = self.inside.open(context)?;
        let top = [OsString::new()];
        let paths = if self.paths.is_empty() {
            &top[..]
        } else {
            &self.paths
        };
        let mut found = Vec::new();
        for path in paths {
            found.extend(inside.find(path, Links::Follow).or_else(|error| {
                // A link that leads nowhere can still be looked at.
                inside.find(path, Links::Keep).map_err(|_| error)
            })?);
        }
        let mut listing = Listing {
            args: &self,
            inside: &inside,
            context,
            descent: Descent::default(),
            is_whole: true,
        };
        let (folders, files): (Vec<Found>, Vec<Found>) = found.into_iter().partition(Found::is_folder);
        let items = files.into_iter().map(|file| listing.item_of(file)).collect();
        listing.print(items)?;
        // With several it is said what belongs to which.
        let has_several = folders.len() > 1 || paths.len() > 1;
        for folder in &folders {
            if has_several && !self.recursive && !context.ui.is_json() {
                context.ui.line(&format!("\n{}:", folder.shown_path()))?;
            }
            listing.folder(folder.node, &folder.path)?;
        }
        Ok(if listing.is_whole {
            Exit::Done
        } else {
            Exit::CouldNot
        })
    }
}

/// A listing under way.
struct Listing<'a> {
    args: &'a Ls,
    inside: &'a Inside,
    context: &'a Context,
    descent: Descent,
    is_whole: bool,
}

impl Listing<'_> {
    fn folder(&mut self, node: NodeId, path: &str) -> Result<(), CliError> {
        self.context.interrupt.check()?;
        if let Err(why) = self.descent.enter(node) {
            self.missing(path, why);
            return Ok(());
        }
        let (entries, problem) = sorted_entries(&*self.inside.tree, node);
        if let Some(error) = problem {
            self.missing(path, &CliError::chain(&error));
        }
        let needs_attributes = self.args.long || self.context.ui.is_json();
        let items: Vec<Item> = entries
            .into_iter()
            .map(|entry| {
                let path = join(path, &entry.name);
                let attributes = needs_attributes
                    .then(|| self.inside.tree.attributes(entry.node))
                    .and_then(|attributes| self.known(attributes, &path));
                let label = if self.args.recursive {
                    path.clone()
                } else {
                    entry.name
                };
                self.item(path, label, entry.node, entry.kind, attributes)
            })
            .collect();
        let below: Vec<(NodeId, String)> = items
            .iter()
            .filter(|item| self.args.recursive && item.kind == NodeKind::Directory)
            .map(|item| (item.node, item.path.clone()))
            .collect();
        self.print(items)?;
        for (node, path) in below {
            self.folder(node, &path)?;
        }
        self.descent.leave();
        Ok(())
    }

    fn item_of(&mut self, found: Found) -> Item {
        let kind = found.attributes.kind;
        let mut item = self.item(
            found.path.clone(),
            found.path,
            found.node,
            kind,
            Some(found.attributes),
        );
        // A stream that was asked for stands for itself.
        if let Some(stream) = found.stream {
            item.path = format!("{}:{stream}", item.path);
            item.label.clone_from(&item.path);
            let streams = self.known(self.inside.tree.streams(found.node), &item.path);
            let of_this_name = |other: &StreamEntry| other.name.to_lowercase() == stream.to_lowercase();
            let len = streams.unwrap_or_default().into_iter().find(of_this_name);
            if let (Some(attributes), Some(stream)) = (&mut item.attributes, len) {
                attributes.kind = NodeKind::File;
                attributes.len_bytes = stream.len_bytes;
                attributes.allocated_bytes = stream.len_bytes;
            }
            item.kind = NodeKind::File;
            item.streams.clear();
        }
        item
    }

    fn item(
        &mut self,
        path: String,
        label: String,
        node: NodeId,
        kind: NodeKind,
        attributes: Option<Attributes>,
    ) -> Item {
        let kind = attributes.map_or(kind, |attributes| attributes.kind);
        let link_target = (kind == NodeKind::SymbolicLink && attributes.is_some())
            .then(|| self.inside.tree.read_link(node).ok())
            .flatten();
        let streams = match self.args.streams {
            true => self
                .known(self.inside.tree.streams(node), &path)
                .unwrap_or_default(),
            false => Vec::new(),
        };
        Item {
            path,
            label,
            node,
            kind,
            attributes,
            link_target,
            streams,
        }
    }

    /// Returns what is known; what is not is said, and the listing counts as incomplete.
    fn known<T>(&mut self, answer: Result<T, FilesError>, path: &str) -> Option<T> {
        answer
            .map_err(|error| self.missing(path, &CliError::chain(&error)))
            .ok()
    }

    fn missing(&mut self, path: &str, why: &str) {
        self.is_whole = false;
        let path = if path.is_empty() { "/" } else { path };
        self.context.ui.warn(&format!("`{}`: {}", shown(path), why));
    }

    fn print(&self, items: Vec<Item>) -> Result<(), CliError> {
        if self.context.ui.is_json() {
            return items
                .iter()
                .try_for_each(|item| self.context.ui.json_line(&self.line(item)));
        }
        let sizes = items.iter().flat_map(|item| {
            let own = item.attributes.map_or(0, |attributes| attributes.len_bytes);
            item.streams.iter().map(|stream| stream.len_bytes).chain([own])
        });
        let width = sizes.max().unwrap_or_default().to_string().len();
        for item in &items {
            self.context.ui.line(&self.text(item, width))?;
            for stream in &item.streams {
                let name = shown(&format!("{}:{}", item.label, stream.name));
                let text = match self.args.long {
                    true => format!("s  ---  {:>width$}  {:19}  {name}", stream.len_bytes, ""),
                    false => name,
                };
                self.context.ui.line(&text)?;
            }
        }
        Ok(())
    }

    fn text(&self, item: &Item, width: usize) -> String {
        let mut name = shown(&item.label);
        if item.kind == NodeKind::Directory {
            name.push('/');
        }
        if !self.args.long {
            return name;
        }
        if let Some(target) = &item.link_target {
            name = format!("{name} -> {}", shown(target));
        }
        let kind = match item.kind {
            NodeKind::File => '-',
            NodeKind::Directory => 'd',
            NodeKind::SymbolicLink => 'l',
            NodeKind::Other => '?',
        };
        let Some(attributes) = item.attributes else {
            return format!("{kind}  ???  {:>width$}  {:19}  {name}", "?", "?");
        };
        let flag = |is_set: bool, letter: char| if is_set { letter } else { '-' };
        let size = match item.kind {
            NodeKind::File => attributes.len_bytes.to_string(),
            _ => "-".to_owned(),
        };
        let modified = attributes
            .modified
            .map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string());
        format!(
            "{kind}  {}{}{}  {size:>width$}  {:19}  {name}",
            flag(attributes.is_read_only, 'r'),
            flag(attributes.is_hidden, 'h'),
            flag(attributes.is_system, 's'),
            modified.as_deref().unwrap_or("-"),
        )
    }

    fn line<'i>(&self, item: &'i Item) -> Line<'i> {
        let attributes = item.attributes;
        let time = |of: fn(&Attributes) -> Option<Timestamp>| {
            attributes.as_ref().and_then(of).map(|time| time.to_string())
        };
        let stream = |stream: &'i StreamEntry| StreamLine {
            name: &stream.name,
            size_bytes: stream.len_bytes,
        };
        Line {
            path: &item.path,
            name: item.path.rsplit('/').next().unwrap_or_default(),
            kind: match item.kind {
                NodeKind::File => "file",
                NodeKind::Directory => "folder",
                NodeKind::SymbolicLink => "link",
                NodeKind::Other => "other",
            },
            size_bytes: attributes.map(|attributes| attributes.len_bytes),
            allocated_bytes: attributes.map(|attributes| attributes.allocated_bytes),
            created: time(|attributes| attributes.created),
            modified: time(|attributes| attributes.modified),
            changed: time(|attributes| attributes.changed),
            accessed: time(|attributes| attributes.accessed),
            read_only: attributes.map(|attributes| attributes.is_read_only),
            hidden: attributes.map(|attributes| attributes.is_hidden),
            system: attributes.map(|attributes| attributes.is_system),
            hard_links: attributes.map(|attributes| attributes.hard_links),
            link_target: item.link_target.as_deref(),
            streams: self
                .args
                .streams
                .then(|| item.streams.iter().map(stream).collect()),
        }
    }
}
