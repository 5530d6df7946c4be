//! A tree of files as a file system.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use keyhaven_attach::files::{
    Attributes, Entry, FileSystemKind, FileTree, FilesError, NodeId, NodeKind, Space, Storage,
};
use keyhaven_attach::fuse::{Mounted, Unmounting, mount_files};
use rustix::io::Errno;

use crate::place::{Place, is_over};

/// A tree in memory, with everything in it that a real one may have.
#[derive(Debug)]
struct Made {
    nodes: BTreeMap<u64, Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Directory(Vec<(String, u64)>),
    Damaged(Vec<(String, u64)>),
    File(Vec<u8>),
    Link(String),
    Encrypted,
    Compressed,
    Broken,
}

const ROOT: u64 = 5;
const WRITTEN: i64 = 1_234_567_890;

impl Made {
    fn node(&self, node: NodeId) -> Result<&Node, FilesError> {
        self.nodes.get(&node.0).ok_or(FilesError::NotFound)
    }
}

impl FileTree for Made {
    fn kind(&self) -> FileSystemKind {
        FileSystemKind::Ntfs
    }

    fn label(&self) -> Option<&str> {
        None
    }

    fn space(&self) -> Space {
        Space {
            total_bytes: 1000 * 4096,
            free_bytes: Some(300 * 4096),
            block_len_bytes: 4096,
        }
    }

    fn root(&self) -> NodeId {
        NodeId(ROOT)
    }

    fn lookup(&self, directory: NodeId, name: &str) -> Result<Option<NodeId>, FilesError> {
        match self.node(directory)? {
            Node::Directory(entries) | Node::Damaged(entries) => Ok(entries
                .iter()
                .find(|(own, _)| own.to_lowercase() == name.to_lowercase())
                .map(|(_, node)| NodeId(*node))),
            _ => Err(FilesError::NotADirectory),
        }
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, FilesError> {
        let (kind, len) = match self.node(node)? {
            Node::Directory(_) | Node::Damaged(_) => (NodeKind::Directory, 0),
            Node::File(content) => (NodeKind::File, content.len() as u64),
            Node::Link(target) => (NodeKind::SymbolicLink, target.len() as u64),
            Node::Encrypted | Node::Compressed => (NodeKind::File, 100),
            Node::Broken => {
                return Err(FilesError::Damaged {
                    what: "record 7".to_owned(),
                });
            }
        };
        let time = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        Ok(Attributes {
            kind,
            len_bytes: len,
            allocated_bytes: len.next_multiple_of(4096),
            created: time(WRITTEN - 1000),
            modified: time(WRITTEN),
            changed: time(WRITTEN + 1000),
            accessed: time(WRITTEN + 2000),
            is_read_only: false,
            is_hidden: false,
            is_system: false,
            hard_links: if node.0 == 10 { 2 } else { 1 },
        })
    }

    fn list(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        let (entries, is_damaged) = match self.node(directory)? {
            Node::Directory(entries) => (entries, false),
            Node::Damaged(entries) => (entries, true),
            _ => return Err(FilesError::NotADirectory),
        };
        for (name, node) in entries {
            let kind = match self.nodes.get(node) {
                Some(Node::Directory(_) | Node::Damaged(_)) => NodeKind::Directory,
                Some(Node::Link(_)) => NodeKind::SymbolicLink,
                _ => NodeKind::File,
            };
            let entry = Entry {
                name: name.clone(),
                node: NodeId(*node),
                kind,
            };
            if each(entry).is_break() {
                return Ok(());
            }
        }
        if is_damaged {
            return Err(FilesError::Damaged {
                what: "index block 3".to_owned(),
            });
        }
        Ok(())
    }

    fn read(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, FilesError> {
        match self.node(node)? {
            Node::File(content) => {
                let rest = content.get(offset as usize..).unwrap_or_default();
                let len = rest.len().min(buf.len());
                buf[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
            Node::Encrypted => Err(FilesError::Encrypted),
            Node::Compressed => Err(FilesError::Unsupported {
                how: Storage::SystemCompression,
            }),
            Node::Directory(_) | Node::Damaged(_) => Err(FilesError::IsADirectory),
            Node::Link(_) | Node::Broken => Err(FilesError::Damaged {
                what: "record 7".to_owned(),
            }),
        }
    }

    fn read_link(&self, node: NodeId) -> Result<String, FilesError> {
        match self.node(node)? {
            Node::Link(target) => Ok(target.clone()),
            _ => Err(FilesError::NotALink),
        }
    }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// More names than fit into one answer to the kernel.
const MANY: u64 = 3000;

fn show() -> Option<(Place, Mounted)> {
    let names = |entries: &[(&str, u64)]| {
        entries
            .iter()
            .map(|(name, node)| ((*name).to_owned(), *node))
            .collect::<Vec<_>>()
    };
    let many = |node| {
        (0..MANY)
            .map(|number| (format!("file number {number}"), node))
            .collect()
    };
    let nodes = BTreeMap::from([
        (
            ROOT,
            Node::Directory(names(&[
                ("Brief an Käthe.txt", 10),
                ("the same.txt", 10),
                ("Ordner", 11),
                ("Verknüpfung", 12),
                ("secret.txt", 13),
                ("notepad.exe", 14),
                ("broken", 15),
                ("many", 16),
                ("damaged", 17),
                ("first", 0),
            ])),
        ),
        // The smallest numbers are those that the kernel uses for itself.
        (0, Node::File(b"first".to_vec())),
        (1, Node::File(b"second".to_vec())),
        (10, Node::File(content())),
        (11, Node::Directory(names(&[("second", 1)]))),
        (12, Node::Link("Ordner/second".to_owned())),
        (13, Node::Encrypted),
        (14, Node::Compressed),
        (15, Node::Broken),
        (16, Node::Directory(many(10))),
        (17, Node::Damaged(many(10))),
    ]);
    let place = Place::or_skip()?;
    let mounted = mount_files(Arc::new(Made { nodes }), &place.mountpoint(), &place.options()).unwrap();
    Some((place, mounted))
}

fn end(mut mounted: Mounted) {
    mounted.unmount(Unmounting::IfUnused).unwrap();
    assert!(is_over(&mut mounted));
}

fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[track_caller]
fn assert_errno<T: std::fmt::Debug>(outcome: io::Result<T>, expected: Errno) {
    let error = outcome.unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(expected), "{error}");
}

#[test]
fn files_have_their_names_content_and_times() {
    let Some((place, mounted)) = show() else { return };
    let path = |name: &str| place.mountpoint().join(name);
    assert_eq!(
        names_in(&place.mountpoint()),
        [
            "Brief an Käthe.txt",
            "the same.txt",
            "Ordner",
            "Verknüpfung",
            "secret.txt",
            "notepad.exe",
            "broken",
            "many",
            "damaged",
            "first"
        ]
    );
    let letter = path("Brief an Käthe.txt");
    assert!(fs::read(&letter).unwrap() == content());
    let mut part = [0; 4];
    File::open(&letter)
        .unwrap()
        .read_exact_at(&mut part, 400_000)
        .unwrap();
    assert_eq!(u32::from_le_bytes(part), 100_000);
    // Windows does not tell capitals from small letters.
    assert!(fs::read(path("BRIEF AN KÄTHE.TXT")).unwrap() == content());

    let metadata = fs::metadata(&letter).unwrap();
    assert_eq!(metadata.len(), 1_200_000);
    assert_eq!(metadata.blocks(), 1_200_000_u64.next_multiple_of(4096) / 512);
    assert_eq!(metadata.mtime(), WRITTEN);
    assert_eq!(metadata.atime(), WRITTEN + 2000);
    assert_eq!(metadata.ctime(), WRITTEN + 1000);
    assert_eq!(metadata.nlink(), 2);
    assert_eq!(metadata.ino(), fs::metadata(path("the same.txt")).unwrap().ino());
    assert_eq!(metadata.mode() & 0o7777, 0o400);
    assert_eq!(metadata.uid(), rustix::process::getuid().as_raw());
    assert_eq!(fs::metadata(path("Ordner")).unwrap().mode() & 0o7777, 0o500);

    assert_eq!(
        fs::read_link(path("Verknüpfung")).unwrap(),
        PathBuf::from("Ordner/second")
    );
    assert_eq!(fs::read(path("Verknüpfung")).unwrap(), b"second");
    assert_eq!(fs::read(path("first")).unwrap(), b"first");
    let space = rustix::fs::statvfs(place.mountpoint()).unwrap();
    assert_eq!((space.f_blocks, space.f_bfree, space.f_bsize), (1000, 300, 4096));
    assert_eq!(place.reports(), Vec::<String>::new());
    end(mounted);
}

#[test]
fn what_cannot_be_read_says_why() {
    let Some((place, mounted)) = show() else { return };
    let path = |name: &str| place.mountpoint().join(name);
    assert_errno(fs::read(path("secret.txt")), Errno::ACCESS);
    assert_errno(fs::read(path("notepad.exe")), Errno::OPNOTSUPP);
    assert_errno(fs::metadata(path("broken")), Errno::IO);
    assert_errno(fs::metadata(path("none")), Errno::NOENT);
    assert_errno(fs::metadata(path("first/none")), Errno::NOTDIR);
    let no_unicode = std::ffi::OsStr::from_bytes(b"\xFF");
    assert_errno(fs::metadata(place.mountpoint().join(no_unicode)), Errno::NOENT);
    let reports = place.reports();
    for part in ["encrypted by Windows", "CompactOS", "record 7"] {
        assert!(
            reports.iter().any(|report| report.contains(part)),
            "{part}: {reports:?}"
        );
    }
    end(mounted);
}

#[test]
fn nothing_can_be_changed() {
    let Some((place, mounted)) = show() else { return };
    let path = |name: &str| place.mountpoint().join(name);
    assert_errno(File::create(path("new")), Errno::ROFS);
    assert_errno(File::options().append(true).open(path("first")), Errno::ROFS);
    assert_errno(fs::remove_file(path("first")), Errno::ROFS);
    assert_errno(fs::create_dir(path("folder")), Errno::ROFS);
    end(mounted);
}

#[test]
fn long_folders_are_whole_and_damaged_ones_end_with_an_error() {
    let Some((place, mounted)) = show() else { return };
    let expected: Vec<String> = (0..MANY).map(|number| format!("file number {number}")).collect();
    assert_eq!(names_in(&place.mountpoint().join("many")), expected);

    let entries: Vec<io::Result<_>> = fs::read_dir(place.mountpoint().join("damaged"))
        .unwrap()
        .collect();
    let names: Vec<String> = entries
        .iter()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, expected, "what is there is shown");
    let errors: Vec<_> = entries.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(Errno::from_io_error(&errors[0]), Some(Errno::IO));
    end(mounted);
}
