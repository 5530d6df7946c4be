//! Paths inside a drive, as people write them.
//!
//! `/` and `\` both separate, case does not matter, `C:` in front is left out, `..` goes up and never above the top,
//! `*` and `?` stand for any characters of a name, and `file:stream` is an alternate data stream. Links are followed
//! where they stay on the drive.

use std::ffi::OsStr;

use globset::{GlobBuilder, GlobMatcher};
use keyhaven_attach::files::{Attributes, FileTree, FilesError, NodeId, NodeKind};

use super::{Content, join, shown, sorted_entries};
use crate::error::CliError;

/// As many links in a row as Windows follows.
const LINKS_MAX: u32 = 63;

/// How alike two names must be for one to be offered for the other; 1 is the same.
const LIKENESS_MIN: f64 = 0.6;

/// How many are offered.
const OFFERED: usize = 3;

/// A path inside a drive.
#[derive(Debug)]
pub(crate) struct InsidePath {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Name(String),
    Pattern(String, Box<GlobMatcher>),
    Up,
}

/// What is done with a link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// What it leads to is meant.
    Follow,
    /// The link itself is meant.
    Keep,
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Its path from the top, in the drive's own spelling; empty for the top.
    pub(crate) path: String,
    /// Its name, or that of the link that led to it; empty for the top.
    pub(crate) name: String,
    /// What it is.
    pub(crate) node: NodeId,
    /// What is known about it.
    pub(crate) attributes: Attributes,
    /// The alternate data stream that is meant, instead of the content.
    pub(crate) stream: Option<String>,
}

impl Found {
    /// Returns what can be read there.
    pub(crate) fn content<'a>(&'a self, tree: &'a dyn FileTree) -> Content<'a> {
        Content::new(tree, self.node, self.stream.as_deref())
    }

    /// Returns whether a folder is meant, and not a stream of one.
    pub(crate) fn is_folder(&self) -> bool {
        self.attributes.kind == NodeKind::Directory && self.stream.is_none()
    }

    /// Returns its path with the stream, as it is shown and can be given again.
    pub(crate) fn shown_path(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        match &self.stream {
            Some(stream) => shown(&format!("{path}:{stream}")),
            None => shown(path),
        }
    }
}

impl InsidePath {
    /// Reads a path.
    ///
    /// # Errors
    /// It is no text, or a pattern that cannot be.
    pub(crate) fn parse(path: &OsStr) -> Result<Self, CliError> {
        let text = path.to_str().ok_or_else(|| {
            CliError::could_not(format!("`{}` is not a path of this drive", path.display()))
                .hint("give it in UTF-8, as `keyhaven ls` shows it")
        })?;
        let mut parts = Vec::new();
        for name in split(without_drive_letter(text)) {
            parts.push(match name.as_str() {
                "" | "." => continue,
                ".." => Part::Up,
                pattern if pattern.contains(['*', '?']) => {
                    Part::Pattern(name.clone(), Box::new(matcher(pattern)?))
                }
                _ => Part::Name(name),
            });
        }
        Ok(Self { parts })
    }

    /// Finds what the path leads to; more than one thing, or fewer, only where it has patterns.
    ///
    /// # Errors
    /// There is no such thing, or why it cannot be known.
    pub(crate) fn find(&self, tree: &dyn FileTree, links: Links) -> Result<Vec<Found>, CliError> {
        let mut search = Search {
            tree,
            links,
            followed: 0,
            found: Vec::new(),
        };
        search.walk(&Place::top(tree), &self.parts, false)?;
        if search.found.is_empty() {
            let pattern = self.parts.iter().find_map(|part| match part {
                Part::Pattern(pattern, _) => Some(pattern.as_str()),
                _ => None,
            });
            return Err(CliError::could_not(format!(
                "nothing on the drive matches `{}`",
                shown(pattern.unwrap_or_default())
            )));
        }
        Ok(search.found)
    }
}

/// A place on the way: the folders down to it, and their names.
#[derive(Debug, Clone)]
struct Place {
    top: NodeId,
    below: Vec<(String, NodeId)>,
}

impl Place {
    fn top(tree: &dyn FileTree) -> Self {
        Self {
            top: tree.root(),
            below: Vec::new(),
        }
    }

    fn node(&self) -> NodeId {
        self.below.last().map_or(self.top, |(_, node)| *node)
    }

    fn name(&self) -> String {
        self.below
            .last()
            .map(|(name, _)| name.clone())
            .unwrap_or_default()
    }

    fn path(&self) -> String {
        self.below
            .iter()
            .fold(String::new(), |path, (name, _)| join(&path, name))
    }

    fn child(&self, name: String, node: NodeId) -> Self {
        let mut child = self.clone();
        child.below.push((name, node));
        child
    }

    /// There is nothing above the top.
    fn up(&self) -> Self {
        let mut up = self.clone();
        up.below.pop();
        up
    }

    fn shown(&self) -> String {
        if self.below.is_empty() {
            "the top folder".to_owned()
        } else {
            format!("`{}`", shown(&self.path()))
        }
    }
}

struct Search<'a> {
    tree: &'a dyn FileTree,
    links: Links,
    followed: u32,
    found: Vec<Found>,
}

impl Search<'_> {
    /// Goes on from a folder. Below a pattern, what is not there is not missed.
    fn walk(&mut self, place: &Place, parts: &[Part], is_below_pattern: bool) -> Result<(), CliError> {
        let Some((part, rest)) = parts.split_first() else {
            return self.add(place, place.name(), None);
        };
        match part {
            Part::Up => self.walk(&place.up(), rest, is_below_pattern),
            Part::Name(name) => {
                self.need_folder(place)?;
                let Some((child, stream)) = self.child(place, name, rest.is_empty())? else {
                    return if is_below_pattern {
                        Ok(())
                    } else {
                        Err(self.missing(place, name))
                    };
                };
                let own_name = child.name();
                let child = self.through_link(child, rest.is_empty())?;
                if !rest.is_empty() {
                    if is_below_pattern && self.attributes(&child)?.kind != NodeKind::Directory {
                        return Ok(());
                    }
                    return self.walk(&child, rest, is_below_pattern);
                }
                self.add(&child, own_name, stream)
            }
            Part::Pattern(_, matcher) => {
                self.need_folder(place)?;
                let (entries, problem) = sorted_entries(self.tree, place.node());
                if let Some(error) = problem {
                    return Err(cannot_read(place, &error));
                }
                for entry in entries.into_iter().filter(|entry| matcher.is_match(&entry.name)) {
                    // A link would give the same folder twice: `All Users`, `Default User`.
                    if !rest.is_empty() && entry.kind != NodeKind::Directory {
                        continue;
                    }
                    self.walk(&place.child(entry.name, entry.node), rest, true)?;
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, place: &Place, name: String, stream: Option<String>) -> Result<(), CliError> {
        let attributes = self.attributes(place)?;
        self.found.push(Found {
            path: place.path(),
            name,
            node: place.node(),
            attributes,
            stream,
        });
        Ok(())
    }

    fn attributes(&self, place: &Place) -> Result<Attributes, CliError> {
        self.tree
            .attributes(place.node())
            .map_err(|error| cannot_read(place, &error))
    }

    fn need_folder(&self, place: &Place) -> Result<(), CliError> {
        if self.attributes(place)?.kind == NodeKind::Directory {
            Ok(())
        } else {
            Err(CliError::could_not(format!("{} is not a folder", place.shown())))
        }
    }

    /// Finds a name in a folder; at the end of a path, also a stream of what it names.
    fn child(
        &self,
        place: &Place,
        name: &str,
        is_last: bool,
    ) -> Result<Option<(Place, Option<String>)>, CliError> {
        if let Some(node) = self.lookup(place, name)? {
            let name = self.spelling(place, name, node);
            return Ok(Some((place.child(name, node), None)));
        }
        let Some((file, stream)) = name.split_once(':').filter(|_| is_last) else {
            return Ok(None);
        };
        let (child, stream) = if file.is_empty() {
            (place.clone(), stream)
        } else {
            match self.lookup(place, file)? {
                Some(node) => (place.child(self.spelling(place, file, node), node), stream),
                None => return Ok(None),
            }
        };
        // Windows' own way to say that it is a stream.
        let stream = match stream.rsplit_once(':') {
            Some((stream, kind)) if kind.eq_ignore_ascii_case("$DATA") => stream,
            _ => stream,
        };
        if stream.is_empty() {
            return Ok(Some((child, None)));
        }
        self.need_stream(&child, stream)?;
        Ok(Some((child, Some(stream.to_owned()))))
    }

    fn need_stream(&self, file: &Place, stream: &str) -> Result<(), CliError> {
        match self.tree.read_stream(file.node(), stream, 0, &mut []) {
            Err(FilesError::NoSuchStream) => {
                let refused =
                    CliError::could_not(format!("{} has no stream `{}`", file.shown(), shown(stream)));
                let streams = self.tree.streams(file.node()).unwrap_or_default();
                let names: Vec<String> = streams
                    .iter()
                    .take(OFFERED)
                    .map(|stream| format!("`{}`", shown(&stream.name)))
                    .collect();
                Err(if names.is_empty() {
                    refused
                } else {
                    refused.hint(format!("it has {}", names.join(", ")))
                })
            }
            // What else is wrong shows when it is read.
            _ => Ok(()),
        }
    }

    fn lookup(&self, place: &Place, name: &str) -> Result<Option<NodeId>, CliError> {
        self.tree
            .lookup(place.node(), name)
            .map_err(|error| cannot_read(place, &error))
    }

    /// Returns how the drive spells a name.
    fn spelling(&self, place: &Place, name: &str, node: NodeId) -> String {
        let (entries, _) = sorted_entries(self.tree, place.node());
        let mut same = entries.into_iter().filter(|entry| entry.node == node);
        let Some(first) = same.next() else {
            return name.to_owned();
        };
        // Of several names of one file, the one that was asked for.
        let wanted = name.to_lowercase();
        std::iter::once(first.name.clone())
            .chain(same.map(|entry| entry.name))
            .find(|name| name.to_lowercase() == wanted)
            .unwrap_or(first.name)
    }

    /// Follows a link to its end, as long as that is on this drive.
    fn through_link(&mut self, place: Place, is_last: bool) -> Result<Place, CliError> {
        if self.attributes(&place)?.kind != NodeKind::SymbolicLink || (is_last && self.links == Links::Keep) {
            return Ok(place);
        }
        let target = self
            .tree
            .read_link(place.node())
            .map_err(|error| cannot_read(&place, &error))?;
        let leads = || format!("{} is a link to `{}`", place.shown(), shown(&target));
        if target.starts_with('/')
            || target
                .split('/')
                .next()
                .is_some_and(|first| first.contains([':', '{']))
        {
            return Err(CliError::could_not(format!(
                "{}, which is not on this drive",
                leads()
            )));
        }
        self.followed += 1;
        if self.followed > LINKS_MAX {
            return Err(CliError::could_not(format!("{}, and so on for ever", leads())));
        }
        let mut reached = place.up();
        for name in target.split('/') {
            reached = match name {
                "" | "." => reached,
                ".." => reached.up(),
                name => {
                    self.need_folder(&reached)?;
                    let Some(node) = self.lookup(&reached, name)? else {
                        return Err(CliError::could_not(format!("{}, which is not there", leads())));
                    };
                    self.through_link(reached.child(name.to_owned(), node), false)?
                }
            };
        }
        Ok(reached)
    }

    fn missing(&self, place: &Place, name: &str) -> CliError {
        let refused = CliError::could_not(format!("there is no `{}` in {}", shown(name), place.shown()));
        let (entries, _) = sorted_entries(self.tree, place.node());
        let alike = most_alike(name, entries.iter().map(|entry| entry.name.as_str()));
        if !alike.is_empty() {
            let names: Vec<String> = alike.iter().map(|name| format!("`{}`", shown(name))).collect();
            return refused.hint(format!("did you mean {}?", names.join(" or ")));
        }
        refused.hint("`keyhaven ls` shows what there is")
    }
}

fn cannot_read(place: &Place, error: &FilesError) -> CliError {
    CliError::could_not(format!("cannot read {}", place.shown())).because(error)
}

/// Returns the names that were perhaps meant, the likeliest first.
fn most_alike<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let likeness = if lower.starts_with(&wanted) {
                1.0
            } else {
                strsim::normalized_damerau_levenshtein(&wanted, &lower)
            };
            (likeness >= LIKENESS_MIN).then_some((likeness, name))
        })
        .collect();
    scored.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    scored.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

/// Leaves out `C:` in front: there is only one drive.
fn without_drive_letter(path: &str) -> &str {
    let mut characters = path.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some(letter), Some(':'), None | Some('/' | '\\')) if letter.is_ascii_alphabetic() => {
            characters.as_str()
        }
        _ => path,
    }
}

/// Splits a path at `/` and `\`, but not where a backslash begins the escape by which a name is shown.
fn split(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        let mut len = character.len_utf8();
        let last = names.last_mut();
        match (escape(rest), last) {
            (Some((text, escape_len)), Some(name)) => {
                name.push_str(&text);
                len = escape_len;
            }
            (None, _) if matches!(character, '/' | '\\') => names.push(String::new()),
            (_, Some(name)) => name.push(character),
            (_, None) => {}
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    names
}

/// Reads the escape at the start of `rest`: how the file system spells it, and its length.
///
/// `\uD83D` is how a file system's listing spells what is no character, and stays; `\u{1b}` is what [`shown`] makes of
/// a character that steers terminals.
fn escape(rest: &str) -> Option<(String, usize)> {
    let after = rest.strip_prefix("\\u")?;
    if let Some(digits) = after.strip_prefix('{') {
        let (digits, _) = digits.split_once('}')?;
        let character = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
        return Some((character.to_string(), digits.len() + 4));
    }
    let digits = after.get(..4)?;
    let is_upper = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    let unit = u32::from_str_radix(digits, 16).ok().filter(|_| is_upper)?;
    // The only ones that are ever written so.
    let is_written_so =
        char::from_u32(unit).is_none_or(|character| matches!(character, '/' | '\\' | '\0' | '.'));
    is_written_so.then(|| (format!("\\u{digits}"), 6))
}

/// Makes a pattern for one name: only `*` and `?` are special.
fn matcher(pattern: &str) -> Result<GlobMatcher, CliError> {
    let mut escaped = String::with_capacity(pattern.len());
    for character in pattern.chars() {
        match character {
            '[' | '{' | '}' => {
                escaped.push('[');
                escaped.push(character);
                escaped.push(']');
            }
            character => escaped.push(character),
        }
    }
    let glob = GlobBuilder::new(&escaped)
        .case_insensitive(true)
        .literal_separator(false)
        .backslash_escape(false)
        .build()
        .map_err(|error| {
            CliError::could_not(format!("`{}` is not a pattern", shown(pattern))).because(&error)
        })?;
    Ok(glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_slashes_separate_and_escapes_do_not() {
        assert_eq!(split("a\\b/c"), ["a", "b", "c"]);
        assert_eq!(split("a\\uD83Db\\c"), ["a\\uD83Db", "c"]);
        assert_eq!(split("a\\u0041"), ["a", "u0041"], "nobody writes an A so");
        assert_eq!(split("a\\users\\u{1b}[2J"), ["a", "users\u{1b}[2J"]);
        assert_eq!(split("\\u002E."), ["\\u002E."]);
        assert_eq!(split("\\u{zz}\\u{110000}"), ["", "u{zz}", "u{110000}"]);
    }

    #[test]
    fn a_drive_letter_in_front_is_left_out() {
        assert_eq!(without_drive_letter("C:\\Users"), "Users");
        assert_eq!(without_drive_letter("e:"), "");
        assert_eq!(without_drive_letter("e:note"), "e:note");
        assert_eq!(without_drive_letter("ab:/x"), "ab:/x");
    }

    #[test]
    fn patterns_know_only_two_signs() {
        let matches = |pattern: &str, name: &str| matcher(pattern).unwrap().is_match(name);
        assert!(matches("*.DOC?", "letter.docx"));
        assert!(!matches("*.doc?", "letter.doc"));
        assert!(matches("[a]*{1}!", "[A] of {1}!"));
        assert!(!matches("[a]*", "a"));
        assert!(matches("*", ".hidden"));
        assert!(matches("a*", "a\\uD83D"));
    }

    #[test]
    fn names_that_were_perhaps_meant() {
        let names = ["Documents", "Downloads", "Desktop", "pagefile.sys"];
        assert_eq!(most_alike("documets", names.into_iter()), ["Documents"]);
        assert_eq!(most_alike("page", names.into_iter()), ["pagefile.sys"]);
        assert!(most_alike("Windows", names.into_iter()).is_empty());
    }
}
