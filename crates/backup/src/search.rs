//! Looking for keys in files and folders.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::found::FoundKey;
use crate::reading::{ReadPlaceError, Secrets, read_file};

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
    let mut seen = HashSet::new();
    let mut entries_left = MAX_ENTRIES;
    look_into_folder(place, 0, &mut entries_left, &mut seen, secrets, visit)
}

fn look_into_folder(
    folder: &Path,
    depth: usize,
    entries_left: &mut usize,
    seen: &mut HashSet<Identity>,
    secrets: &mut dyn Secrets,
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    if depth > MAX_DEPTH {
        return visit(
            folder,
            Event::FolderLeftOut(format!("it is nested more than {MAX_DEPTH} folders deep")),
        );
    }
    // That there is more was said where the count ran out.
    if *entries_left == 0 {
        return ControlFlow::Continue(());
    }
    // A mount may show a folder again that was looked into.
    let identity = match identity(folder) {
        Ok(identity) => identity,
        Err(error) => return visit(folder, Event::FolderLeftOut(error.to_string())),
    };
    if !seen.insert(identity) {
        return ControlFlow::Continue(());
    }
    let mut entries: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .take(*entries_left)
            .collect(),
        Err(error) => return visit(folder, Event::FolderLeftOut(error.to_string())),
    };
    *entries_left = entries_left.saturating_sub(entries.len());
    if *entries_left == 0 {
        visit(
            folder,
            Event::FolderLeftOut(format!("there are more than {MAX_ENTRIES} files")),
        )?;
    }
    entries.sort();
    for path in entries {
        let Ok(kind) = path.symlink_metadata() else {
            continue;
        };
        if kind.is_dir() {
            look_into_folder(&path, depth + 1, entries_left, seen, secrets, visit)?;
            continue;
        }
        match read_file(&path, secrets) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => visit(&path, Event::Read(found))?,
            // Most files in most folders are something else.
            Err(
                ReadPlaceError::UnknownKind
                | ReadPlaceError::TooLarge { .. }
                | ReadPlaceError::NotAFile { .. }
                | ReadPlaceError::Paper(_),
            ) => {}
            Err(error) => visit(&path, Event::Failed(error))?,
        }
    }
    ControlFlow::Continue(())
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
    use crate::reading::NoSecrets;
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
        let flow = look_into_folder(
            folder.path(),
            0,
            &mut 3,
            &mut HashSet::new(),
            &mut NoSecrets,
            &mut |path, event| {
                events.push((path.to_owned(), event));
                ControlFlow::Continue(())
            },
        );
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
