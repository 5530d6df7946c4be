//! Going through places and collecting the keys in them: what `verify`, `find` and `match` share.

use std::io::{IsTerminal, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;

use keyhaven_backup::found::FoundKey;
use keyhaven_backup::ledger::Entry;
use keyhaven_backup::place::Place;
use keyhaven_backup::reading::{self, Secrets};
use keyhaven_backup::search::{self, Event};
use keyhaven_disk::os::Host;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::CliError;

/// Standard input holds at most this much of keys, in bytes.
const STDIN_MAX: u64 = 16 << 20;

/// One thing that was found in a place.
pub(crate) enum Sight {
    /// A key.
    Key(Box<FoundKey>),
    /// No key, or none that could be read, and why.
    Problem {
        reason: String,
        /// The place itself is not there or cannot be read.
        is_missing: bool,
        /// There may be keys in it: it was not looked into.
        is_unread: bool,
    },
}

/// A place to look at, as it was named.
pub(crate) struct Target {
    /// What the person called it.
    pub(crate) name: String,
    /// Where that is.
    pub(crate) paths: Vec<PathBuf>,
    /// It is standard input.
    pub(crate) is_stdin: bool,
    /// It is a folder with who knows how many keys.
    pub(crate) is_pile: bool,
}

/// Understands the places that were given.
pub(crate) fn targets(places: &[String]) -> Result<Vec<Target>, CliError> {
    let target = |text: &String| {
        let (paths, is_stdin) = match Place::parse_to_read(text) {
            Place::File(path) | Place::Pdf(path) | Place::Vault(path) => (vec![path], false),
            Place::Stdout => (Vec::new(), true),
            Place::Usb(Some(path)) => (vec![path], false),
            Place::Usb(None) => (sticks()?, false),
            _ => {
                return Err(
                    CliError::could_not(format!("nothing can be looked for in `{text}`"))
                        .hint("give files, folders, `usb`, or `-` for standard input"),
                );
            }
        };
        let is_pile = paths.iter().any(|path| path.is_dir());
        Ok(Target {
            name: text.clone(),
            paths,
            is_stdin,
            is_pile,
        })
    };
    places.iter().map(target).collect()
}

/// The places to look at when none is given: where copies were noted, and removable drives.
pub(crate) fn usual_targets(entries: &[Entry]) -> Vec<Target> {
    let mut paths: Vec<PathBuf> = entries
        .iter()
        .filter_map(|entry| entry.path.as_ref().map(PathBuf::from))
        .collect();
    paths.sort();
    paths.dedup();
    paths.extend(sticks().unwrap_or_default());
    let target = |path: PathBuf| Target {
        name: path.display().to_string(),
        is_pile: path.is_dir(),
        paths: vec![path],
        is_stdin: false,
    };
    paths.into_iter().map(target).collect()
}

fn sticks() -> Result<Vec<PathBuf>, CliError> {
    let mounts = Host::system()
        .removable_mounts()
        .map_err(|error| CliError::could_not("cannot list the removable drives").because(&error))?;
    Ok(mounts.into_iter().map(|mount| mount.mount_point).collect())
}

/// Goes through a place. `see` is told the file and what is in it.
pub(crate) fn look(
    target: &Target,
    secrets: &mut dyn Secrets,
    context: &Context,
    see: &mut dyn FnMut(&str, Sight) -> Result<(), CliError>,
) -> Result<(), CliError> {
    if target.is_stdin {
        return look_at_stdin(target, secrets, context, see);
    }
    for path in &target.paths {
        let mut failure = None;
        let flow = search::look(path, secrets, &mut |file, event| {
            let name = file.display().to_string();
            let seen = match event {
                Event::Read(found) if found.is_empty() => see(
                    &name,
                    Sight::Problem {
                        reason: "there is no recovery key in it".to_owned(),
                        is_missing: false,
                        is_unread: false,
                    },
                ),
                Event::Read(found) => found
                    .into_iter()
                    .try_for_each(|key| see(&name, Sight::Key(Box::new(key)))),
                Event::Failed(error) => {
                    let is_missing = matches!(error, reading::ReadPlaceError::Io { .. }) && !target.is_pile;
                    see(
                        &name,
                        Sight::Problem {
                            reason: CliError::chain(&error),
                            is_missing,
                            is_unread: true,
                        },
                    )
                }
                // A folder within may be left out; the place itself may not.
                Event::FolderLeftOut(reason) => see(
                    &name,
                    Sight::Problem {
                        reason,
                        is_missing: file == path,
                        is_unread: true,
                    },
                ),
                _ => Ok(()),
            };
            match seen.and_then(|()| context.interrupt.check()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if flow.is_break() {
            return Err(failure.unwrap_or_else(CliError::stopped));
        }
    }
    Ok(())
}

fn look_at_stdin(
    target: &Target,
    secrets: &mut dyn Secrets,
    context: &Context,
    see: &mut dyn FnMut(&str, Sight) -> Result<(), CliError>,
) -> Result<(), CliError> {
    context.take_stdin("the saved key")?;
    if std::io::stdin().is_terminal() {
        context.ui.say("Paste the saved key, then press Ctrl-D.");
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    std::io::stdin()
        .lock()
        .take(STDIN_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::could_not("cannot read standard input").because(&error))?;
    let problem = |reason, is_unread| Sight::Problem {
        reason,
        is_missing: false,
        is_unread,
    };
    match reading::keys_in(&bytes, secrets) {
        Ok(found) if found.is_empty() => see(
            &target.name,
            problem("there is no recovery key in it".to_owned(), false),
        ),
        Ok(found) => found
            .into_iter()
            .try_for_each(|key| see(&target.name, Sight::Key(Box::new(key)))),
        Err(error) => see(&target.name, problem(CliError::chain(&error), true)),
    }
}
