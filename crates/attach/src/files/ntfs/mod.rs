//! NTFS.
//!
//! A reader of our own, because none of the libraries can be relied on for the drives that people bring. `ntfs` 0.4
//! (the best known) knows neither a master file table in so many pieces that it needs a list of attributes, nor valid
//! data lengths, compression, or blocks of directories on clusters larger than they are; it joins the pieces of a long
//! file by attribute numbers that are only unique within a record, and follows circles in a directory for ever.
//! `ntfs-core` 0.9 replaces characters in names, refuses large clusters and sectors of 4 KiB, and reads whole files
//! into memory. What is left of either is the shape of a dozen structures, which stand here, bounded: nothing on a
//! volume makes this reader panic, run on, or take more memory than its own description of a file deserves.
//! Unpacking LZNT1 is left to `lznt1`.
//!
//! Sources of the format: the documentation of the Linux-NTFS project, MS-FSCC for reparse points; what Windows and
//! ntfs-3g write was looked at where they are silent.

mod allocation;
mod alternate;
mod compression;
mod file;
mod geometry;
mod index;
mod record;
mod reparse;
mod runs;
mod state;
mod stream;
mod volume;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use keyhaven_disk::Device;

use crate::files::ntfs::alternate::Alternates;
use crate::files::ntfs::file::{File, REPARSE_LEN_MAX, attribute, number_of};
use crate::files::ntfs::index::Index;
use crate::files::ntfs::record::{Value, kind};
use crate::files::ntfs::reparse::Target;
use crate::files::ntfs::stream::{Clusters, NoUnits, Stream, Units};
use crate::files::ntfs::volume::{Volume, known, not_open};
use crate::files::recent::Recent;
use crate::files::{
    Attributes, Entry, FileSystemKind, FileTree, FilesError, NodeId, NodeKind, OpenFilesError, Space,
    Storage, StreamEntry, name,
};

#[cfg(target_os = "linux")]
pub(crate) use allocation::places;
pub(crate) use allocation::{FreeRuns, free_runs};
pub(super) use state::state;

/// How much is kept of files that were used, in runs of clusters or the like: at most some 25 MiB.
const FILES_KEPT: u64 = 1 << 20;

/// How much is kept of alternate data streams that were used, in the same measure.
const ALTERNATES_KEPT: u64 = 1 << 18;

/// How many unpacked units of compressed files are kept; 64 KiB each, as Windows makes them.
const UNITS_KEPT: u64 = 64;

/// How much of the map of free space is read at once, and in all, in bytes: enough for 8 TiB in clusters of 4 KiB.
const BITMAP_STEP: usize = 1 << 20;
const BITMAP_LEN_MAX: u64 = 256 << 20;

/// Deeper than any path of Windows.
const DEPTH_MAX: usize = 256;

/// The longest link of Services for UNIX, in bytes.
const INTERIX_LEN_MAX: u64 = 16 * 1024;

/// Unpacked units, by file and number.
type RecentUnits = Recent<(u64, u64), Arc<[u8]>>;

/// An NTFS volume.
pub(super) struct NtfsTree {
    volume: Volume,
    root: NodeId,
    label: Option<String>,
    free_bytes: OnceLock<Option<u64>>,
    files: Mutex<Recent<u64, Arc<File>>>,
    alternates: Mutex<Recent<u64, Arc<Alternates>>>,
    units: Mutex<RecentUnits>,
}

impl NtfsTree {
    /// Opens the volume on a device.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub(super) fn open(device: Device) -> Result<Self, OpenFilesError> {
        let volume = Volume::open(device)?;
        let root = volume.known_file(known::ROOT).map_err(not_open)?;
        if !root.is_directory {
            return Err(not_open(FilesError::Damaged {
                what: format!("file record {}: the top directory is none", known::ROOT),
            }));
        }
        let label = read_label(&volume);
        Ok(Self {
            volume,
            root: NodeId(root.reference),
            label,
            free_bytes: OnceLock::new(),
            files: Mutex::new(Recent::new(FILES_KEPT)),
            alternates: Mutex::new(Recent::new(ALTERNATES_KEPT)),
            units: Mutex::new(Recent::new(UNITS_KEPT)),
        })
    }

    fn file(&self, node: NodeId) -> Result<Arc<File>, FilesError> {
        if let Some(file) = lock(&self.files).get(&node.0) {
            return Ok(file);
        }
        if is_hidden(node.0) && node != self.root {
            return Err(FilesError::NotFound);
        }
        let file = Arc::new(self.volume.file(node.0)?);
        lock(&self.files).insert(node.0, file.clone(), file.weight());
        Ok(file)
    }

    fn alternates(&self, node: NodeId) -> Result<Arc<Alternates>, FilesError> {
        if let Some(alternates) = lock(&self.alternates).get(&node.0) {
            return Ok(alternates);
        }
        let reference = self.file(node)?.reference;
        let base = self.volume.record(number_of(reference))?;
        let alternates = Arc::new(Alternates::gather(&self.volume, &base)?);
        lock(&self.alternates).insert(node.0, alternates.clone(), alternates.weight());
        Ok(alternates)
    }

    /// Returns what a file is, looking into its content where only that tells.
    fn kind_of(&self, file: &File) -> NodeKind {
        match file.kind() {
            NodeKind::File if self.interix_target(file).is_some() => NodeKind::SymbolicLink,
            kind => kind,
        }
    }

    /// A link as Services for UNIX and ntfs-3g keep it: a small file of the system's.
    fn interix_target(&self, file: &File) -> Option<Target> {
        if file.reparse.is_some() || file.standard.attributes & attribute::SYSTEM == 0 {
            return None;
        }
        let data = file.data.as_ref().filter(|data| data.len() <= INTERIX_LEN_MAX)?;
        let mut content = vec![0; usize::try_from(data.len()).ok()?];
        self.read_content(file, data, 0, &mut content).ok()?;
        reparse::interix_target(&content)
    }

    fn read_content(
        &self,
        file: &File,
        data: &Stream,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, FilesError> {
        let units = UnitsOf {
            tree: self,
            reference: file.reference,
        };
        let name = || format!("file record {}", number_of(file.reference));
        data.read(&self.volume, &units, &name, offset, buf)
    }

    fn target_of(&self, file: &File) -> Result<String, FilesError> {
        let number = number_of(file.reference);
        let target = match &file.reparse {
            Some((_, stream)) if file.kind() == NodeKind::SymbolicLink => {
                let name = || format!("the reparse point of file record {number}");
                let value = stream.read_whole(&self.volume, &name, REPARSE_LEN_MAX)?;
                reparse::target(&value).ok_or_else(|| volume::damaged(number, "its link leads nowhere"))?
            }
            _ => self.interix_target(file).ok_or(FilesError::NotALink)?,
        };
        Ok(match target {
            Target::Relative(path) | Target::AsWritten(path) => path,
            Target::Absolute { volume, path } => match self.relative_to(file, volume.as_deref(), &path) {
                Some(relative) => relative,
                None => match volume {
                    Some(volume) => format!("{volume}/{path}"),
                    None => format!("/{path}"),
                },
            },
        })
    }

    /// Says a path from the top of this volume relative to the directory of a link. Links with a drive letter may
    /// lead to another volume: they are taken to stay on this one only if there is something at their end.
    fn relative_to(&self, link: &File, volume: Option<&str>, path: &str) -> Option<String> {
        let mut names = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                // There is nothing above the top, least of all on the computer that shows it.
                ".." => _ = names.pop(),
                name => names.push(name),
            }
        }
        let mut node = self.root;
        for name in &names {
            match self.lookup(node, name) {
                Ok(Some(next)) => node = next,
                _ if volume.is_none() => break,
                _ => return None,
            }
        }

        let mut ups = 0;
        let mut parent = link.parent?;
        while parent != self.root.0 {
            ups += 1;
            if ups > DEPTH_MAX {
                return None;
            }
            parent = self.file(NodeId(parent)).ok()?.parent?;
        }
        let mut relative: Vec<&str> = vec![".."; ups];
        relative.extend(names);
        Some(if relative.is_empty() {
            ".".to_owned()
        } else {
            relative.join("/")
        })
    }

    fn count_free(&self) -> Option<u64> {
        let bitmap = self.volume.known_file(known::BITMAP).ok()?.data?;
        let clusters = self.volume.clusters();
        let len = clusters.div_ceil(8);
        if len > bitmap.len() || len > BITMAP_LEN_MAX {
            return None;
        }
        let name = || "the map of free clusters".to_owned();
        let mut used = 0u64;
        let mut step = vec![0; BITMAP_STEP];
        let mut offset = 0;
        while offset < len {
            let now = usize::try_from(len - offset)
                .unwrap_or(BITMAP_STEP)
                .min(BITMAP_STEP);
            let part = step.get_mut(..now)?;
            bitmap.read(&self.volume, &NoUnits, &name, offset, part).ok()?;
            used += part.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
            offset += now as u64;
        }
        // Bits past the end are set.
        let free = (len * 8).checked_sub(used)?.min(clusters);
        free.checked_mul(self.volume.cluster_len())
    }
}

impl FileTree for NtfsTree {
    fn kind(&self) -> FileSystemKind {
        FileSystemKind::Ntfs
    }

    fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    fn space(&self) -> Space {
        let cluster_len = self.volume.cluster_len();
        Space {
            total_bytes: self.volume.clusters().saturating_mul(cluster_len),
            free_bytes: *self.free_bytes.get_or_init(|| self.count_free()),
            block_len_bytes: u32::try_from(cluster_len).unwrap_or(u32::MAX),
        }
    }

    fn root(&self) -> NodeId {
        self.root
    }

    fn lookup(&self, directory: NodeId, name: &str) -> Result<Option<NodeId>, FilesError> {
        let directory = self.file(directory)?;
        let index = Index::of(&self.volume, &directory)?;
        let found = index.find(&name::from_text(name))?;
        Ok(found.filter(|reference| !is_hidden(*reference)).map(NodeId))
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, FilesError> {
        let file = self.file(node)?;
        let kind = self.kind_of(&file);
        let len_bytes = match kind {
            NodeKind::Directory => 0,
            NodeKind::SymbolicLink => self.target_of(&file).map_or(0, |target| target.len() as u64),
            NodeKind::File | NodeKind::Other => file.data.as_ref().map_or(0, Stream::len),
        };
        let allocated = match kind {
            NodeKind::Directory => &file.index_blocks,
            _ => &file.data,
        };
        let standard = &file.standard;
        Ok(Attributes {
            kind,
            len_bytes,
            allocated_bytes: allocated.as_ref().map_or(0, Stream::allocated),
            created: standard.created,
            modified: standard.modified,
            changed: standard.changed,
            accessed: standard.accessed,
            is_read_only: standard.attributes & attribute::READ_ONLY != 0,
            is_hidden: standard.attributes & attribute::HIDDEN != 0,
            is_system: standard.attributes & attribute::SYSTEM != 0,
            hard_links: file.names,
        })
    }

    fn list(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        let directory = self.file(directory)?;
        Index::of(&self.volume, &directory)?.walk(&mut |reference, name| {
            if is_hidden(reference) || name.is_short() || name.name.is_empty() {
                return ControlFlow::Continue(());
            }
            let node = NodeId(reference);
            let kind = match name.kind() {
                // Only its content tells whether it is a link.
                NodeKind::File if name.attributes & attribute::SYSTEM != 0 => {
                    self.file(node).map_or(NodeKind::File, |file| self.kind_of(&file))
                }
                kind => kind,
            };
            each(Entry {
                name: name::to_text(&name.name),
                node,
                kind,
            })
        })
    }

    fn read(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, FilesError> {
        let file = self.file(node)?;
        match content(&file)? {
            Some(data) => self.read_content(&file, data, offset, buf),
            None => Ok(0),
        }
    }

    fn hole_at(&self, node: NodeId, offset: u64, len_bytes: u64) -> Result<u64, FilesError> {
        let file = self.file(node)?;
        Ok(content(&file)?.map_or(0, |data| data.hole_at(&self.volume, offset, len_bytes)))
    }

    fn streams(&self, node: NodeId) -> Result<Vec<StreamEntry>, FilesError> {
        let alternates = self.alternates(node)?;
        let entry = |(units, stream): (&[u16], &Stream)| StreamEntry {
            name: name::to_text(units),
            len_bytes: stream.len(),
        };
        Ok(alternates.iter().map(entry).collect())
    }

    fn read_stream(
        &self,
        node: NodeId,
        stream: &str,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, FilesError> {
        let alternates = self.alternates(node)?;
        let found = alternates
            .find(&self.volume, &name::from_text(stream))
            .ok_or(FilesError::NoSuchStream)?;
        let name = || format!("a stream of file record {}", number_of(node.0));
        found.read(&self.volume, &NoUnits, &name, offset, buf)
    }

    fn read_link(&self, node: NodeId) -> Result<String, FilesError> {
        self.target_of(&*self.file(node)?)
    }
}

impl fmt::Debug for NtfsTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NtfsTree")
            .field("device", self.volume.device())
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Returns the content of a file that readers of it get; an error where that is not what the volume holds.
fn content(file: &File) -> Result<Option<&Stream>, FilesError> {
    let tag = file.reparse.as_ref().map(|(tag, _)| *tag);
    match file.kind() {
        NodeKind::Directory => return Err(FilesError::IsADirectory),
        NodeKind::File => {}
        NodeKind::SymbolicLink | NodeKind::Other => {
            return Err(FilesError::Unsupported {
                how: Storage::ReparsePoint {
                    reparse_tag: tag.unwrap_or_default(),
                },
            });
        }
    }
    if file.standard.attributes & attribute::ENCRYPTED != 0 {
        return Err(FilesError::Encrypted);
    }
    reparse::content_is_here(tag, file.standard.attributes)?;
    Ok(file.data.as_ref())
}

/// The unpacked units of one file, among those of all.
struct UnitsOf<'a> {
    tree: &'a NtfsTree,
    reference: u64,
}

impl Units for UnitsOf<'_> {
    fn get(&self, unit: u64) -> Option<Arc<[u8]>> {
        lock(&self.tree.units).get(&(self.reference, unit))
    }

    fn keep(&self, unit: u64, bytes: &Arc<[u8]>) {
        lock(&self.tree.units).insert((self.reference, unit), bytes.clone(), 1);
    }
}

/// Whether a file is one of those that the file system keeps for itself.
fn is_hidden(reference: u64) -> bool {
    number_of(reference) < known::FIRST_OF_USERS
}

fn read_label(volume: &Volume) -> Option<String> {
    let record = volume.record(known::VOLUME).ok()?;
    record
        .attributes()
        .filter_map(Result::ok)
        .find_map(|attribute| match attribute.value {
            Value::Resident(units) if attribute.kind == kind::VOLUME_NAME && !units.is_empty() => {
                Some(String::from_utf16_lossy(&crate::files::bytes::units(units)))
            }
            _ => None,
        })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is put in whole: nothing half-done can be seen after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
