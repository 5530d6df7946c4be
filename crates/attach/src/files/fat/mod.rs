//! FAT and exFAT, read by `hadris-fat`.
//!
//! `hadris-fat` 3 is the one library found that has both, names its files by numbers, says where their clusters are,
//! and keeps to its limits on damaged volumes. (`fatfs` 0.3 wants to write, opens by path only and follows a chain
//! from its start at every seek; `exfat-fs`, `exfat` and `exfat-slim` read through a position of their own, or hold a
//! directory's contents in memory.) The driver is asked where things are, under a lock; what is there is read without
//! it.
//!
//! FAT keeps local time of an unknown zone: it is shown as if it were UTC, and so is exFAT's where it does not say its
//! zone.

mod driver;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hadris_fat::CacheOptions;
use hadris_fat::exfat::sync::ExFatFs;
use hadris_fat::sync::FatFs;
use hadris_fs::{
    Attributes as DosAttributes, DateTime, DirCursor, ErrorKind, Extent, FileType, MountError, MountOptions,
    Name,
};
use hadris_io::Error;
use jiff::Timestamp;
use keyhaven_disk::{Device, ReadError};

use crate::files::bytes::{u8_at, u16_at};
use crate::files::fat::driver::{Blocks, Driver};
use crate::files::medium::Medium;
use crate::files::recent::Recent;
use crate::files::state::{Cleanliness, Mark};
use crate::files::{
    Attributes, Entry, FileSystemKind, FileTree, FilesError, NodeId, NodeKind, OpenFilesError, Space, name,
};

/// How much is kept of where files are, in runs: at most some 40 MiB.
const RUNS_KEPT: u64 = 1 << 20;

/// More runs than a file has on a volume that is not made to harm.
const RUNS_MAX: usize = 4 << 20;

/// How many runs are asked for at a time; the next call walks the chain from its start again.
const RUNS_STEPS: [usize; 3] = [1 << 8, 1 << 13, 1 << 18];

/// How many names are kept, to be looked up again, and how many directories to be found again.
const NAMES_KEPT: u64 = 200_000;
const DIRECTORIES_KEPT: u64 = 50_000;

/// More entries than a directory has on a volume that is not made to harm.
const ENTRIES_MAX: usize = 1 << 20;

/// A label is eleven characters; this holds any.
const LABEL_LEN_MAX: usize = 64;

/// A FAT or exFAT volume.
struct FatTree<D> {
    kind: FileSystemKind,
    medium: Arc<Medium>,
    root: NodeId,
    label: Option<String>,
    cluster_len: u64,
    /// Counted when it is asked for: that reads the whole map of free clusters.
    space: OnceLock<Space>,
    driver: Mutex<Pinned<D>>,
    maps: Mutex<Recent<u64, Arc<Map>>>,
    names: Mutex<Recent<u64, Arc<HashMap<String, NodeId>>>>,
    /// Under which name a directory was seen, to pin it when it is listed.
    directories: Mutex<Recent<u64, (NodeId, Arc<str>)>>,
}

/// A driver, and the directories that it was told to remember: it reads on in them where it stopped.
struct Pinned<D> {
    driver: D,
    directories: HashSet<u64>,
}

/// Where the bytes of a file are.
struct Map {
    len: u64,
    runs: Vec<Extent>,
}

/// Opens the FAT volume on a device.
///
/// # Errors
/// What keeps it from being opened.
pub(super) fn open_fat(device: Device) -> Result<Box<dyn FileTree>, OpenFilesError> {
    let medium = Arc::new(Medium::new(device));
    let driver = mount_fat(&medium)?;
    Ok(Box::new(FatTree::new(FileSystemKind::Fat, medium, driver)))
}

/// Opens the exFAT volume on a device.
///
/// # Errors
/// What keeps it from being opened.
pub(super) fn open_exfat(device: Device) -> Result<Box<dyn FileTree>, OpenFilesError> {
    let medium = Arc::new(Medium::new(device));
    let driver = mount_exfat(&medium)?;
    Ok(Box::new(FatTree::new(FileSystemKind::ExFat, medium, driver)))
}

/// Returns how the FAT volume on a device was left.
///
/// # Errors
/// Why it cannot be opened.
pub(super) fn state_of_fat(device: &Device) -> Result<Cleanliness, OpenFilesError> {
    /// Where Windows marks a volume in use in the boot sector, on FAT12 and FAT16 and on FAT32.
    const MARKS: [usize; 2] = [0x25, 0x41];
    const IN_USE: u8 = 1;

    let medium = Arc::new(Medium::new(device.clone()));
    let driver = mount_fat(&medium)?;
    let mut sector = [0; 512];
    medium
        .read(0, &mut sector)
        .map_err(unreadable(FileSystemKind::Fat))?;
    // FAT32 has no length of the table in the old place.
    let [old, fat32] = MARKS;
    let mark = if u16_at(&sector, 0x16) == Some(0) {
        fat32
    } else {
        old
    };
    let is_marked = u8_at(&sector, mark).is_some_and(|byte| byte & IN_USE != 0);
    Ok(if Driver::was_dirty(&driver) || is_marked {
        Cleanliness::Dirty(Mark::InUse)
    } else {
        Cleanliness::Clean
    })
}

/// Returns how the exFAT volume on a device was left.
///
/// # Errors
/// Why it cannot be opened.
pub(super) fn state_of_exfat(device: &Device) -> Result<Cleanliness, OpenFilesError> {
    /// VolumeFlags, and its bits.
    const FLAGS: usize = 106;
    const DIRTY: u16 = 2;
    const MEDIA_FAILURE: u16 = 4;

    let medium = Arc::new(Medium::new(device.clone()));
    mount_exfat(&medium)?;
    let mut sector = [0; 512];
    medium
        .read(0, &mut sector)
        .map_err(unreadable(FileSystemKind::ExFat))?;
    let flags = u16_at(&sector, FLAGS).unwrap_or(DIRTY);
    Ok(if flags & DIRTY != 0 {
        Cleanliness::Dirty(Mark::InUse)
    } else if flags & MEDIA_FAILURE != 0 {
        Cleanliness::Dirty(Mark::MediaFailure)
    } else {
        Cleanliness::Clean
    })
}

fn mount_fat(medium: &Arc<Medium>) -> Result<FatFs<Blocks>, OpenFilesError> {
    FatFs::mount(Blocks(medium.clone()), MountOptions::new().read_only())
        .map(|driver| driver.with_cache(CacheOptions::new()))
        .map_err(|error| not_open(FileSystemKind::Fat, error))
}

fn mount_exfat(medium: &Arc<Medium>) -> Result<ExFatFs<Blocks>, OpenFilesError> {
    ExFatFs::mount(Blocks(medium.clone()), MountOptions::new().read_only())
        .map_err(|error| not_open(FileSystemKind::ExFat, error))
}

impl<D: Driver> FatTree<D> {
    fn new(kind: FileSystemKind, medium: Arc<Medium>, mut driver: D) -> Self {
        let mut label = [0; LABEL_LEN_MAX];
        // A label that cannot be read is not worth the files.
        let label = driver.label(&mut label).ok().flatten().map(str::to_owned);
        Self {
            kind,
            medium,
            root: NodeId(driver.root().get()),
            label: label.filter(|label| !label.is_empty()),
            cluster_len: driver.cluster_len().max(1),
            space: OnceLock::new(),
            driver: Mutex::new(Pinned {
                driver,
                directories: HashSet::new(),
            }),
            maps: Mutex::new(Recent::new(RUNS_KEPT)),
            names: Mutex::new(Recent::new(NAMES_KEPT)),
            directories: Mutex::new(Recent::new(DIRECTORIES_KEPT)),
        }
    }

    fn map(&self, node: NodeId) -> Result<Arc<Map>, FilesError> {
        if let Some(map) = lock(&self.maps).get(&node.0) {
            return Ok(map);
        }
        let map = Arc::new(self.read_map(node)?);
        lock(&self.maps).insert(node.0, map.clone(), 16 + map.runs.len() as u64);
        Ok(map)
    }

    fn read_map(&self, node: NodeId) -> Result<Map, FilesError> {
        let id = id(node)?;
        let mut held = lock(&self.driver);
        let driver = &mut held.driver;
        if id == driver.root() {
            return Err(FilesError::IsADirectory);
        }
        let metadata = driver.stat(id).map_err(failed)?;
        if metadata.file_type() == FileType::Dir {
            return Err(FilesError::IsADirectory);
        }
        let mut map = Map {
            len: metadata.len(),
            runs: Vec::new(),
        };
        let mut steps = RUNS_STEPS.into_iter();
        let mut step = 0;
        let mut from = 0;
        while from < map.len {
            step = steps.next().unwrap_or(step);
            let mut part = vec![Extent::new(0, 0); step];
            let count = driver.runs(id, from, &mut part).map_err(failed)?;
            part.truncate(count);
            let Some(last) = part.last() else { break };
            let end = last.file_offset().saturating_add(last.len());
            if end <= from || map.runs.len() + count > RUNS_MAX {
                return Err(FilesError::Damaged {
                    what: format!("file {}: its list of clusters runs in a circle", node.0),
                });
            }
            from = end;
            map.runs.append(&mut part);
        }
        Ok(map)
    }

    /// Lists a directory, and keeps its names.
    fn list_all(&self, directory: NodeId) -> Result<Vec<Entry>, FilesError> {
        let id = id(directory)?;
        let mut held = lock(&self.driver);
        self.pin(&mut held, directory);
        let driver = &mut held.driver;
        let mut entries = Vec::new();
        let mut cursor = DirCursor::START;
        while let Some(entry) = driver.readdir(id, cursor).map_err(failed)? {
            let next = entry.next_cursor();
            if next.into_raw() <= cursor.into_raw() || entries.len() >= ENTRIES_MAX {
                return Err(FilesError::Damaged {
                    what: format!("folder {}: it does not end", directory.0),
                });
            }
            cursor = next;
            let text = String::from_utf8_lossy(entry.name().as_bytes());
            let units: Vec<u16> = text.encode_utf16().collect();
            entries.push(Entry {
                name: name::to_text(&units),
                node: NodeId(entry.node().get()),
                kind: match entry.file_type() {
                    FileType::Dir => NodeKind::Directory,
                    _ => NodeKind::File,
                },
            });
        }
        drop(held);

        for entry in entries.iter().filter(|entry| entry.kind == NodeKind::Directory) {
            let name: Arc<str> = entry.name.as_str().into();
            lock(&self.directories).insert(entry.node.0, (directory, name), 1);
        }
        let mut names = HashMap::new();
        for entry in &entries {
            // Of two files with one name, which only damage makes, the first is found.
            names.entry(entry.name.clone()).or_insert(entry.node);
        }
        lock(&self.names).insert(directory.0, Arc::new(names), 1 + entries.len() as u64);
        Ok(entries)
    }

    /// Has the driver remember a directory that was seen under some name.
    fn pin(&self, held: &mut Pinned<D>, directory: NodeId) {
        if directory == self.root || held.directories.contains(&directory.0) {
            return;
        }
        let Some((parent, name)) = lock(&self.directories).get(&directory.0) else {
            return;
        };
        let name = String::from_utf16_lossy(&name::from_text(&name));
        // It is only slower without.
        if let Ok(parent) = id(parent)
            && let Ok(found) = held.driver.lookup(parent, Name::new(&name))
        {
            if found.get() == directory.0 {
                held.directories.insert(directory.0);
            } else {
                held.driver.forget(found, 1);
            }
        }
    }
}

impl<D: Driver> FileTree for FatTree<D> {
    fn kind(&self) -> FileSystemKind {
        self.kind
    }

    fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    fn space(&self) -> Space {
        *self
            .space
            .get_or_init(|| match lock(&self.driver).driver.statfs() {
                Ok(stats) => Space {
                    total_bytes: stats.total_bytes(),
                    free_bytes: Some(stats.free_bytes()),
                    block_len_bytes: stats.block_size(),
                },
                Err(_) => Space {
                    total_bytes: self.medium.device().len_bytes(),
                    free_bytes: None,
                    block_len_bytes: u32::try_from(self.cluster_len).unwrap_or(u32::MAX),
                },
            })
    }

    fn root(&self) -> NodeId {
        self.root
    }

    fn lookup(&self, directory: NodeId, name: &str) -> Result<Option<NodeId>, FilesError> {
        let kept = lock(&self.names).get(&directory.0);
        let names = match kept {
            Some(names) => names,
            None => {
                self.list_all(directory)?;
                lock(&self.names).get(&directory.0).unwrap_or_default()
            }
        };
        if let Some(node) = names.get(name) {
            return Ok(Some(*node));
        }
        // Spelt otherwise, or a short name: the driver knows what is the same.
        let name = String::from_utf16_lossy(&name::from_text(name));
        let mut held = lock(&self.driver);
        match held.driver.lookup(id(directory)?, Name::new(&name)) {
            Ok(found) => {
                held.driver.forget(found, 1);
                Ok(Some(NodeId(found.get())))
            }
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::NameTooLong => Ok(None),
                _ => Err(failed(error)),
            },
        }
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, FilesError> {
        let metadata = lock(&self.driver).driver.stat(id(node)?).map_err(failed)?;
        let has = |attribute| metadata.attributes().contains(attribute);
        let kind = match metadata.file_type() {
            FileType::Dir => NodeKind::Directory,
            _ => NodeKind::File,
        };
        Ok(Attributes {
            kind,
            len_bytes: match kind {
                NodeKind::File => metadata.len(),
                _ => 0,
            },
            allocated_bytes: metadata
                .len()
                .div_ceil(self.cluster_len)
                .saturating_mul(self.cluster_len),
            created: metadata.created().and_then(time),
            modified: metadata.modified().and_then(time),
            changed: None,
            accessed: metadata.accessed().and_then(time),
            is_read_only: has(DosAttributes::READ_ONLY),
            is_hidden: has(DosAttributes::HIDDEN),
            is_system: has(DosAttributes::SYSTEM),
            hard_links: 1,
        })
    }

    fn list(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        // The lock is let go of before: `each` may ask for more.
        for entry in self.list_all(directory)? {
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, FilesError> {
        let map = self.map(node)?;
        let len = usize::try_from(map.len.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let mut at = offset;
        let mut rest = buf.get_mut(..len).unwrap_or_default();
        let mut index = map.runs.partition_point(|run| end_of(run) <= at);
        while !rest.is_empty() {
            let run = map
                .runs
                .get(index)
                .filter(|run| (run.file_offset()..end_of(run)).contains(&at))
                .ok_or_else(|| FilesError::Damaged {
                    what: format!("file {}: its list of clusters ends before its content", node.0),
                })?;
            let skip = at - run.file_offset();
            let now = usize::try_from(run.len() - skip)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (head, tail) = rest.split_at_mut(now);
            if run.is_unwritten() {
                head.fill(0);
            } else {
                let place = run.offset().saturating_add(skip);
                self.medium.device().read_at(place, head)?;
            }
            rest = tail;
            at = at.saturating_add(now as u64);
            index += 1;
        }
        Ok(len)
    }

    fn hole_at(&self, node: NodeId, offset: u64, len_bytes: u64) -> Result<u64, FilesError> {
        let map = self.map(node)?;
        let end = map.len.min(offset.saturating_add(len_bytes));
        let index = map.runs.partition_point(|run| end_of(run) <= offset);
        let hole = map
            .runs
            .get(index)
            .filter(|run| run.is_unwritten() && run.file_offset() <= offset);
        Ok(hole.map_or(0, |run| end_of(run).min(end).saturating_sub(offset)))
    }

    fn read_link(&self, node: NodeId) -> Result<String, FilesError> {
        self.attributes(node)?;
        Err(FilesError::NotALink)
    }
}

impl<D> fmt::Debug for FatTree<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FatTree")
            .field("kind", &self.kind)
            .field("medium", &self.medium)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

fn end_of(run: &Extent) -> u64 {
    run.file_offset().saturating_add(run.len())
}

fn id(node: NodeId) -> Result<hadris_fs::NodeId, FilesError> {
    hadris_fs::NodeId::new(node.0).ok_or(FilesError::NotFound)
}

fn time(time: DateTime) -> Option<Timestamp> {
    let nanoseconds = i32::try_from(time.nanoseconds()).ok()?;
    Timestamp::new(time.unix_seconds(), nanoseconds).ok()
}

/// Says what the driver says as we say it.
fn failed(error: Error<ReadError>) -> FilesError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::InvalidHandle => FilesError::NotFound,
        ErrorKind::NotADirectory => FilesError::NotADirectory,
        ErrorKind::IsADirectory => FilesError::IsADirectory,
        _ => {
            let what = error.to_string();
            match error.into_device_error() {
                Some(source) => FilesError::Read(source),
                None => FilesError::Damaged { what },
            }
        }
    }
}

fn not_open(kind: FileSystemKind, error: MountError<Blocks, ReadError>) -> OpenFilesError {
    let (error, _) = error.into_parts();
    let what = error.to_string();
    match error.into_device_error() {
        Some(source) => OpenFilesError::Read { kind, source },
        None => OpenFilesError::Damaged { kind, what },
    }
}

fn unreadable(kind: FileSystemKind) -> impl Fn(ReadError) -> OpenFilesError {
    move |source| OpenFilesError::Read { kind, source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The driver only reads, and checks again what it reads: it cannot be left half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
