//! A tree of files as a file system that can be read.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use jiff::Timestamp;

use super::bug::contained;
use super::options::{MountOptions, Ownership, Report};
use super::{buffer, errno, process_id};
use crate::files::{Attributes, Entry, FileTree, FilesError, NodeId, NodeKind};

/// Nothing changes.
const FOR_A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The kernel takes no longer names, in bytes.
const NAME_LEN_MAX: usize = 1024;

/// The longest name of Windows, in characters.
const NAME_LEN_USUAL: u32 = 255;

/// Between the number of a node and that of its inode: 0 means nothing to the kernel, and 1 the top folder.
const FIRST_INODE: u64 = 2;

/// The files of a tree.
pub(super) struct Files {
    tree: Arc<dyn FileTree>,
    ownership: Ownership,
    made: SystemTime,
    report: Report,
    open: Mutex<HashMap<u64, Arc<Listing>>>,
    next_handle: AtomicU64,
}

/// A folder that somebody reads: read once, so that it costs the same however it is asked for.
struct Listing {
    entries: Vec<Entry>,
    /// Why entries are missing at the end.
    problem: Option<Errno>,
}

impl Files {
    pub(super) fn new(tree: Arc<dyn FileTree>, options: &MountOptions) -> Self {
        Self {
            tree,
            ownership: Ownership::of_this_process(options.allow_other),
            made: options.now,
            report: options.report.clone(),
            open: Mutex::new(HashMap::new()),
            next_handle: AtomicU64::new(1),
        }
    }

    fn inode(&self, node: NodeId) -> INodeNo {
        if node == self.tree.root() {
            INodeNo::ROOT
        } else {
            INodeNo(node.0.wrapping_add(FIRST_INODE))
        }
    }

    fn node(&self, inode: INodeNo) -> NodeId {
        if inode == INodeNo::ROOT {
            self.tree.root()
        } else {
            NodeId(inode.0.wrapping_sub(FIRST_INODE))
        }
    }

    /// Asks the tree; what goes wrong is reported, and put into the kernel's words.
    fn ask<T>(&self, question: impl FnOnce(&dyn FileTree) -> Result<T, FilesError>) -> Result<T, Errno> {
        contained(|| question(&*self.tree).map_err(|error| self.told(&error)))
    }

    fn attributes(&self, node: NodeId) -> Result<FileAttr, Errno> {
        let attributes = self.ask(|tree| tree.attributes(node))?;
        Ok(self.in_kernel_form(node, &attributes))
    }

    fn in_kernel_form(&self, node: NodeId, attributes: &Attributes) -> FileAttr {
        let permissions = match attributes.kind {
            NodeKind::Directory => self.ownership.permissions(0o500),
            NodeKind::SymbolicLink => 0o777,
            NodeKind::File | NodeKind::Other => self.ownership.permissions(0o400),
        };
        let time = |time: Option<Timestamp>| time.map(SystemTime::from);
        let created = time(attributes.created);
        let modified = time(attributes.modified).or(created).unwrap_or(self.made);
        FileAttr {
            ino: self.inode(node),
            size: attributes.len_bytes,
            blocks: attributes.allocated_bytes.div_ceil(512),
            atime: time(attributes.accessed).unwrap_or(modified),
            mtime: modified,
            ctime: time(attributes.changed).unwrap_or(modified),
            crtime: created.unwrap_or(modified),
            kind: file_type(attributes.kind),
            perm: permissions,
            nlink: attributes.hard_links,
            uid: self.ownership.uid,
            gid: self.ownership.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Describes what only its folder tells about.
    fn unknown(&self, entry: &Entry) -> FileAttr {
        let nothing = Attributes {
            kind: entry.kind,
            len_bytes: 0,
            allocated_bytes: 0,
            created: None,
            modified: None,
            changed: None,
            accessed: None,
            is_read_only: true,
            is_hidden: false,
            is_system: false,
            hard_links: 1,
        };
        self.in_kernel_form(entry.node, &nothing)
    }

    /// Reports an error that says something about the drive, and puts it into the kernel's words.
    fn told(&self, error: &FilesError) -> Errno {
        if errno::is_worth_reporting(error) {
            (self.report)(error);
        }
        errno::of_files(error)
    }

    fn listing(&self, directory: NodeId) -> Result<Listing, Errno> {
        let mut entries = Vec::new();
        let listed = self.ask(|tree| {
            tree.list(directory, &mut |entry| {
                if entry.name.len() <= NAME_LEN_MAX {
                    entries.push(entry);
                }
                ControlFlow::Continue(())
            })
        });
        match listed {
            Err(error) if entries.is_empty() => Err(error),
            listed => Ok(Listing {
                entries,
                problem: listed.err(),
            }),
        }
    }

    fn open_listings(&self) -> MutexGuard<'_, HashMap<u64, Arc<Listing>>> {
        // Entries are only ever put in or taken out whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ] {
            // An older kernel does without.
            let _ = config.add_capabilities(capability);
        }
        buffer::agree(config);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        // Names that are no Unicode are shown in another spelling.
        let found = match name.to_str() {
            Some(name) => self.ask(|tree| tree.lookup(self.node(parent), name)),
            None => Ok(None),
        };
        let attributes = match found {
            Ok(Some(node)) => self.attributes(node),
            Ok(None) => Err(Errno::ENOENT),
            Err(error) => Err(error),
        };
        match attributes {
            Ok(attributes) => reply.entry(&FOR_A_DAY, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(self.node(inode)) {
            Ok(attributes) => reply.attr(&FOR_A_DAY, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        match self.ask(|tree| tree.read_link(self.node(inode))) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // The mount is read-only, which the kernel sees to.
        reply.opened(
            FileHandle(0),
            FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
        );
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = usize::try_from(size).unwrap_or_default();
        buffer::with(len, |bytes| {
            match self.ask(|tree| tree.read(self.node(inode), offset, bytes)) {
                Ok(count) => reply.data(bytes.get(..count).unwrap_or_default()),
                Err(error) => reply.error(error),
            }
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.listing(self.node(inode)) {
            Ok(listing) => {
                let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
                self.open_listings().insert(handle, Arc::new(listing));
                reply.opened(
                    FileHandle(handle),
                    FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
                );
            }
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.open_listings().remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(listing) = self.open_listings().get(&handle.0).cloned() else {
            reply.error(Errno::EBADF);
            return;
        };
        let mut is_full = false;
        for (next, line) in lines(&listing, offset) {
            is_full = match line {
                // Nobody looks at the number of the folder above.
                Line::Dots(name) => reply.add(inode, next, FileType::Directory, name),
                Line::Entry(entry) => {
                    reply.add(self.inode(entry.node), next, file_type(entry.kind), &entry.name)
                }
            };
            if is_full {
                break;
            }
        }
        match listing.problem {
            // Whoever has seen all that there is asks once more for the rest.
            Some(problem) if !is_full && offset >= line_count(&listing) => reply.error(problem),
            _ => reply.ok(),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let Some(listing) = self.open_listings().get(&handle.0).cloned() else {
            reply.error(Errno::EBADF);
            return;
        };
        let own = match self.attributes(self.node(inode)) {
            Ok(own) => own,
            Err(error) => {
                reply.error(error);
                return;
            }
        };
        let mut is_full = false;
        for (next, line) in lines(&listing, offset) {
            is_full = match line {
                // The kernel knows where these two lead.
                Line::Dots(name) => reply.add(own.ino, next, name, &Duration::ZERO, &own, Generation(0)),
                Line::Entry(entry) => {
                    let attributes = contained(|| {
                        // Not reported: nobody has asked for this one yet.
                        self.tree
                            .attributes(entry.node)
                            .map_err(|error| errno::of_files(&error))
                    });
                    let (attributes, time) = match attributes {
                        Ok(attributes) => (self.in_kernel_form(entry.node, &attributes), FOR_A_DAY),
                        // It has a name all the same. With no time to live the kernel asks again for whoever wants to
                        // know more, who is then told why it cannot be.
                        Err(_) => (self.unknown(entry), Duration::ZERO),
                    };
                    reply.add(
                        attributes.ino,
                        next,
                        &entry.name,
                        &time,
                        &attributes,
                        Generation(0),
                    )
                }
            };
            if is_full {
                break;
            }
        }
        match listing.problem {
            Some(problem) if !is_full && offset >= line_count(&listing) => reply.error(problem),
            _ => reply.ok(),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let space = self.tree.space();
        let block_len = space.block_len_bytes.max(1);
        let blocks = |bytes: u64| bytes / u64::from(block_len);
        let free = space.free_bytes.map_or(0, blocks);
        reply.statfs(
            blocks(space.total_bytes),
            free,
            free,
            0,
            0,
            block_len,
            NAME_LEN_USUAL,
            block_len,
        );
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        process_id::answer(inode, name, size, reply);
    }
}

/// A line of a folder's listing.
enum Line<'a> {
    /// The folder itself, and the one above it.
    Dots(&'static str),
    Entry(&'a Entry),
}

/// Returns the lines from number `offset` on, each with the number of the next.
fn lines(listing: &Listing, offset: u64) -> impl Iterator<Item = (u64, Line<'_>)> {
    let dots = [".", ".."].into_iter().map(Line::Dots);
    let all = dots.chain(listing.entries.iter().map(Line::Entry));
    let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
    (1..).zip(all).skip(skipped)
}

fn line_count(listing: &Listing) -> u64 {
    (listing.entries.len() as u64).saturating_add(2)
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Directory => FileType::Directory,
        NodeKind::SymbolicLink => FileType::Symlink,
        // It has a name and a length of zero; why it cannot be read is told when it is.
        NodeKind::File | NodeKind::Other => FileType::RegularFile,
    }
}
