//! Directories: a tree of names, sorted by their upper-case units.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::files::FilesError;
use crate::files::bytes::{u16_at, u32_at, u64_at};
use crate::files::ntfs::file::{File, FileName, number_of};
use crate::files::ntfs::record::put_back;
use crate::files::ntfs::stream::{Clusters, NoUnits, Stream};
use crate::files::ntfs::volume::{Volume, damaged};

/// Where the node begins in the top of an index, and in a block of it.
const NODE_IN_ROOT: usize = 16;
const NODE_IN_BLOCK: usize = 24;

/// The lengths of a block that are read, in bytes; Windows makes 4 KiB.
const BLOCK_LEN: std::ops::RangeInclusive<usize> = 512..=64 * 1024;

/// Deeper than any tree that Windows makes: a level holds dozens of times as many names as the one above it.
const DEPTH_MAX: usize = 24;

/// Flags of an entry.
const HAS_SUBNODE: u16 = 1;
const IS_LAST: u16 = 2;

/// The names of a directory.
#[derive(Debug)]
pub(super) struct Index<'a> {
    volume: &'a Volume,
    number: u64,
    root: &'a [u8],
    blocks: Option<&'a Stream>,
    block_len: usize,
    /// The unit in which blocks are numbered, in bytes.
    vcn_len: u64,
}

/// An entry of a node.
struct IndexEntry<'a> {
    reference: u64,
    key: Option<&'a [u8]>,
    subnode: Option<u64>,
}

impl<'a> Index<'a> {
    /// Takes the index of a directory.
    ///
    /// # Errors
    /// [`FilesError::NotADirectory`], or what is wrong with it.
    pub(super) fn of(volume: &'a Volume, directory: &'a File) -> Result<Self, FilesError> {
        if !directory.is_directory {
            return Err(FilesError::NotADirectory);
        }
        let number = number_of(directory.reference);
        let root = directory
            .index_root
            .as_deref()
            .ok_or_else(|| damaged(number, "it is a directory without names"))?;
        let block_len = u32_at(root, 8)
            .and_then(|len| usize::try_from(len).ok())
            .filter(|len| BLOCK_LEN.contains(len))
            .ok_or_else(|| damaged(number, "its names are in blocks of an impossible length"))?;
        // Where a cluster is longer than a block, blocks are counted in sectors of 512 bytes.
        let vcn_len = match volume.cluster_len() {
            cluster_len if cluster_len <= block_len as u64 => cluster_len,
            _ => 512,
        };
        Ok(Self {
            volume,
            number,
            root,
            blocks: directory.index_blocks.as_ref(),
            block_len,
            vcn_len,
        })
    }

    /// Calls `each` for every name, with the reference to its file, in the order of the names.
    ///
    /// # Errors
    /// What is wrong with the rest.
    pub(super) fn walk(
        &self,
        each: &mut dyn FnMut(u64, FileName) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        let node = self.root.get(NODE_IN_ROOT..).unwrap_or_default();
        self.walk_node(node, 0, &mut HashSet::new(), each).map(|_| ())
    }

    fn walk_node(
        &self,
        node: &[u8],
        depth: usize,
        seen: &mut HashSet<u64>,
        each: &mut dyn FnMut(u64, FileName) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, FilesError> {
        for entry in self.entries(node)? {
            let entry = entry?;
            if let Some(vcn) = entry.subnode {
                let block = self.block(vcn, depth, seen)?;
                let below = block.get(NODE_IN_BLOCK..).unwrap_or_default();
                if self.walk_node(below, depth + 1, seen, each)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if let Some(key) = entry.key
                && each(entry.reference, self.name(key)?).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Finds a name, and returns the reference to its file: case does not matter, and the same spelling is
    /// preferred.
    ///
    /// # Errors
    /// What is wrong with the part that was looked at.
    pub(super) fn find(&self, wanted: &[u16]) -> Result<Option<u64>, FilesError> {
        let mut found = Found::default();
        let node = self.root.get(NODE_IN_ROOT..).unwrap_or_default();
        self.find_below(node, 0, &mut HashSet::new(), wanted, &mut found)?;
        Ok(found.exactly.or(found.nearly))
    }

    /// Looks where names that differ only in case may be: between the last that is smaller and the first that is
    /// larger.
    fn find_below(
        &self,
        node: &[u8],
        depth: usize,
        seen: &mut HashSet<u64>,
        wanted: &[u16],
        found: &mut Found,
    ) -> Result<(), FilesError> {
        for entry in self.entries(node)? {
            let entry = entry?;
            let name = entry.key.map(|key| self.name(key)).transpose()?;
            let order = name
                .as_ref()
                .map_or(Ordering::Less, |name| self.volume.compare(wanted, &name.name));
            if order == Ordering::Greater {
                continue;
            }
            if let Some(vcn) = entry.subnode {
                let block = self.block(vcn, depth, seen)?;
                let below = block.get(NODE_IN_BLOCK..).unwrap_or_default();
                self.find_below(below, depth + 1, seen, wanted, found)?;
            }
            match name {
                Some(name) if order == Ordering::Equal => {
                    found.nearly.get_or_insert(entry.reference);
                    if name.name == wanted {
                        found.exactly = Some(entry.reference);
                    }
                }
                _ => break,
            }
            if found.exactly.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn name(&self, key: &[u8]) -> Result<FileName, FilesError> {
        FileName::parse(key).ok_or_else(|| damaged(self.number, "a name in the directory breaks off"))
    }

    /// Reads a block; one that was seen before is not read again: a tree has no circles.
    fn block(&self, vcn: u64, depth: usize, seen: &mut HashSet<u64>) -> Result<Vec<u8>, FilesError> {
        let wrong = |what: &str| damaged(self.number, &format!("block {vcn} of the directory {what}"));
        if depth >= DEPTH_MAX || !seen.insert(vcn) {
            return Err(wrong("is part of a circle"));
        }
        let blocks = self.blocks.ok_or_else(|| wrong("is missing"))?;
        let offset = vcn
            .checked_mul(self.vcn_len)
            .ok_or_else(|| wrong("is past its end"))?;
        let mut bytes = vec![0; self.block_len];
        let name = || format!("the directory in file record {}", self.number);
        let len = blocks.read(self.volume, &NoUnits, &name, offset, &mut bytes)?;
        if len < bytes.len() {
            return Err(wrong("is past its end"));
        }
        if !bytes.starts_with(b"INDX") {
            return Err(wrong("does not begin with INDX"));
        }
        put_back(&mut bytes).map_err(|what| wrong(&format!("is damaged: {what}")))?;
        if u64_at(&bytes, 16) != Some(vcn) {
            return Err(wrong("says that it is another one"));
        }
        Ok(bytes)
    }

    /// Returns the entries of a node; an error ends them.
    fn entries<'n>(
        &self,
        node: &'n [u8],
    ) -> Result<impl Iterator<Item = Result<IndexEntry<'n>, FilesError>> + use<'n>, FilesError> {
        let number = self.number;
        let wrong = move || damaged(number, "a part of the directory does not fit into its block");
        let bounds = || {
            let start = usize::try_from(u32_at(node, 0)?).ok()?;
            let end = usize::try_from(u32_at(node, 4)?).ok()?;
            node.get(start..end)
        };
        let mut rest = Some(bounds().ok_or_else(wrong)?);
        Ok(std::iter::from_fn(move || {
            let here = rest.take().filter(|here| !here.is_empty())?;
            match IndexEntry::parse(here) {
                Some((entry, len)) => {
                    // The last one has no name.
                    if entry.key.is_some() {
                        rest = here.get(len..);
                    }
                    Some(Ok(entry))
                }
                None => Some(Err(wrong())),
            }
        }))
    }
}

#[derive(Default)]
struct Found {
    exactly: Option<u64>,
    nearly: Option<u64>,
}

impl<'a> IndexEntry<'a> {
    /// Reads the entry at the start of `rest`, and returns its length with it.
    fn parse(rest: &'a [u8]) -> Option<(Self, usize)> {
        let len = usize::from(u16_at(rest, 8)?);
        let bytes = rest.get(..len).filter(|bytes| bytes.len() >= 16)?;
        let flags = u16_at(bytes, 12)?;
        let key_len = usize::from(u16_at(bytes, 10)?);
        let key = match flags & IS_LAST {
            0 => Some(bytes.get(16..)?.get(..key_len)?),
            _ => None,
        };
        let subnode = match flags & HAS_SUBNODE {
            0 => None,
            _ => Some(u64_at(bytes, len.checked_sub(8).filter(|at| *at >= 16)?)?),
        };
        let entry = Self {
            reference: u64_at(bytes, 0)?,
            key,
            subnode,
        };
        Some((entry, len))
    }
}
