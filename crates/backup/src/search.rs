//! Looking for keys in files and folders.

use std::collections::HashSet;
use std::fs;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::found::FoundKey;
use crate::reading::{NoSecrets, ReadPlaceError, Secrets, read_file};

/// Folders nested deeper than this are left out.
const MAX_DEPTH: usize = 32;
/// A place with more entries than this is not a place where keys are kept.
const MAX_ENTRIES: usize = 200_000;

/// What happened to one file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// It was looked into; the list may be empty.
    Read(Vec<FoundKey>),
    /// It could not be looked into.
    Failed(ReadPlaceError),
    /// A folder could not be listed, or was left out.
    FolderLeftOut(String),
}

/// Tells the caller about each file, and asks whether to go on.
pub type Visit<'a> = dyn FnMut(&Path, Event) -> ControlFlow<()> + 'a;

/// Looks into a file, or into all files of a folder and of the folders in it.
///
/// In a folder, files that are of no kind in which keys are kept, or too large for one, are passed over. Links to
/// folders are not followed. Sorted by name, so that the answer is the same every time.
pub fn look(place: &Path, secrets: &mut dyn Secrets, visit: &mut Visit<'_>) -> ControlFlow<()> {
    if !place.is_dir() {
        let event = match read_file(place, secrets) {
            Ok(found) => Event::Read(found),
            Err(error) => Event::Failed(error),
        };
        return visit(place, event);
    }
    let mut listing = Listing {
        items: Vec::new(),
        entries_left: MAX_ENTRIES,
        seen: HashSet::new(),
    };
    listing.add_folder(place, 0);
    look_into_all(&listing.items, secrets, visit)
}

/// What a folder and the folders in it hold.
struct Listing {
    items: Vec<Item>,
    entries_left: usize,
    seen: HashSet<Identity>,
}

enum Item {
    File(PathBuf),
    /// A folder, and why it is left out.
    LeftOut(PathBuf, String),
}

impl Listing {
    fn add_folder(&mut self, folder: &Path, depth: usize) {
        if depth > MAX_DEPTH {
            let reason = format!("it is nested more than {MAX_DEPTH} folders deep");
            return self.leave_out(folder, reason);
        }
        // That there is more was said where the count ran out.
        if self.entries_left == 0 {
            return;
        }
        // A mount may show a folder again that was looked into.
        let identity = match identity(folder) {
            Ok(identity) => identity,
            Err(error) => return self.leave_out(folder, error.to_string()),
        };
        if !self.seen.insert(identity) {
            return;
        }
        let mut entries: Vec<PathBuf> = match fs::read_dir(folder) {
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .take(self.entries_left)
                .collect(),
            Err(error) => return self.leave_out(folder, error.to_string()),
        };
        self.entries_left = self.entries_left.saturating_sub(entries.len());
        if self.entries_left == 0 {
            self.leave_out(folder, format!("there are more than {MAX_ENTRIES} files"));
        }
        entries.sort();
        for path in entries {
            match path.symlink_metadata() {
                Ok(kind) if kind.is_dir() => self.add_folder(&path, depth + 1),
                Ok(_) => self.items.push(Item::File(path)),
                Err(_) => {}
            }
        }
    }

    fn leave_out(&mut self, folder: &Path, reason: String) {
        self.items.push(Item::LeftOut(folder.to_owned(), reason));
    }
}

/// How many files are read at a time. Each may hold as many keys as a text may, and every key takes a page of its own,
/// of which a process has some 65,000.
const MAX_READERS: usize = 4;

/// Reads files on several threads and tells of them in their order.
fn look_into_all(items: &[Item], secrets: &mut dyn Secrets, visit: &mut Visit<'_>) -> ControlFlow<()> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let readers = cores.min(MAX_READERS);
    thread::scope(|scope| {
        // Reader 0 has the first item, and then every so many: whose turn it is needs no queue. It waits for its turn
        // with what it read, so that no more is held than each has in hand.
        let turns: Vec<Receiver<Event>> = (0..readers)
            .map(|first| {
                let (send, receive) = mpsc::sync_channel(0);
                scope.spawn(move || {
                    for item in items.iter().skip(first).step_by(readers) {
                        let event = match item {
                            Item::LeftOut(_, reason) => Event::FolderLeftOut(reason.clone()),
                            Item::File(path) => match read_file(path, &mut NoSecrets) {
                                Ok(found) => Event::Read(found),
                                Err(error) => Event::Failed(error),
                            },
                        };
                        // Nobody listens any more where the search was stopped.
                        if send.send(event).is_err() {
                            return;
                        }
                    }
                });
                receive
            })
            .collect();
        for (item, turn) in items.iter().zip(turns.iter().cycle()) {
            let (Item::File(path) | Item::LeftOut(path, _)) = item;
            let event = match turn.recv() {
                Ok(Event::Failed(ReadPlaceError::LockedVault)) => match read_file(path, secrets) {
                    Ok(found) => Event::Read(found),
                    Err(error) => Event::Failed(error),
                },
                Ok(event) => event,
                // It panicked, and the panic goes on when the threads are joined.
                Err(_) => return ControlFlow::Break(()),
            };
            match event {
                Event::Read(found) if found.is_empty() => {}
                // Most files in most folders are something else.
                Event::Failed(
                    ReadPlaceError::UnknownKind
                    | ReadPlaceError::TooLarge { .. }
                    | ReadPlaceError::NotAFile { .. }
                    | ReadPlaceError::Paper(_),
                ) => {}
                event => visit(path, event)?,
            }
        }
        ControlFlow::Continue(())
    })
}

/// What makes a folder the same, by whatever path it is reached.
#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = PathBuf;

#[cfg(unix)]
fn identity(folder: &Path) -> std::io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    folder.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(folder: &Path) -> std::io::Result<Identity> {
    folder.canonicalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::conformance;
    use crate::destination::{Destination, FileDestination};
    use crate::verdict::tests::drive;
    use crate::verdict::{Effort, Verdict, judge};

    fn all(place: &Path) -> Vec<(PathBuf, Event)> {
        let mut events = Vec::new();
        let flow = look(place, &mut NoSecrets, &mut |path, event| {
            events.push((path.to_owned(), event));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        events
    }

    #[test]
    fn a_folder_of_a_thousand_keys_costs_one_stretch() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = "284867-596541-514998-422114-660297-261613-215424-199408";
        for i in 0..1000 {
            let text = format!("{i:08X}-0000-0000-0000-000000000000\n{key}\n");
            std::fs::write(folder.path().join(format!("{i}.txt")), text).expect("written");
        }
        FileDestination::new(folder.path().to_owned())
            .save(&conformance::records()[..1], &conformance::context())
            .expect("saved");
        let drive = drive();
        let mut opens = 0;
        let mut others = 0;
        for (_, event) in all(folder.path()) {
            let Event::Read(found) = event else {
                panic!("{event:?}")
            };
            for key in found {
                match judge(&drive, &key, Effort::ById) {
                    Verdict::Opens { .. } => opens += 1,
                    Verdict::OtherDrive => others += 1,
                    verdict => panic!("{verdict:?}"),
                }
            }
        }
        assert_eq!((opens, others, drive.stretches.get()), (1, 1000, 1));
    }

    #[cfg(unix)]
    #[test]
    fn loops_pipes_and_other_files_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).expect("made");
        std::os::unix::fs::symlink(folder.path(), inner.join("loop")).expect("linked");
        std::fs::write(
            inner.join("data.bin"),
            (0..=255).cycle().take(9999).collect::<Vec<u8>>(),
        )
        .expect("written");
        std::fs::write(inner.join("letter.txt"), "no key here").expect("written");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            inner.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("a pipe");
        assert!(all(folder.path()).is_empty());
        let pipe = all(&inner.join("pipe"));
        assert!(matches!(
            pipe[0].1,
            Event::Failed(ReadPlaceError::NotAFile { .. })
        ));
    }

    #[test]
    fn too_many_folders_and_files_are_said_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join(vec!["d"; MAX_DEPTH + 3].join("/"));
        std::fs::create_dir_all(&deep).expect("made");
        let events = all(folder.path());
        assert!(
            matches!(&events[..], [(_, Event::FolderLeftOut(_))]),
            "{events:?}"
        );

        let mut events = Vec::new();
        for number in 0..5 {
            std::fs::create_dir(folder.path().join(format!("{number}"))).expect("made");
            std::fs::write(folder.path().join(format!("{number}/x")), "no key").expect("written");
        }
        let mut listing = Listing {
            items: Vec::new(),
            entries_left: 3,
            seen: HashSet::new(),
        };
        listing.add_folder(folder.path(), 0);
        let flow = look_into_all(&listing.items, &mut NoSecrets, &mut |path, event| {
            events.push((path.to_owned(), event));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        assert!(
            matches!(&events[..], [(_, Event::FolderLeftOut(_))]),
            "{events:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn hidden_key_files_and_links_to_files_are_looked_into() {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = tempfile::tempdir().expect("a folder");
        let key = "284867-596541-514998-422114-660297-261613-215424-199408";
        std::fs::write(folder.path().join(".hidden"), key).expect("written");
        std::fs::write(elsewhere.path().join("key"), key).expect("written");
        std::os::unix::fs::symlink(elsewhere.path().join("key"), folder.path().join("link")).expect("linked");
        std::os::unix::fs::symlink("nowhere", folder.path().join("torn")).expect("linked");
        let events = all(folder.path());
        let names: Vec<_> = events.iter().filter_map(|(path, _)| path.file_name()).collect();
        assert_eq!(names, [".hidden", "link", "torn"]);
        assert!(
            matches!(events[2].1, Event::Failed(_)),
            "a link to nothing is said"
        );
    }

    #[test]
    fn a_search_can_be_stopped() {
        let folder = tempfile::tempdir().expect("a folder");
        FileDestination::new(folder.path().to_owned())
            .save(&conformance::records(), &conformance::context())
            .expect("saved");
        let mut count = 0;
        let flow = look(folder.path(), &mut NoSecrets, &mut |_, _| {
            count += 1;
            ControlFlow::Break(())
        });
        assert!(flow.is_break() && count == 1);
    }
}
