//! What the file system knows about one file or directory, gathered from all of its records.

use jiff::Timestamp;

use crate::files::bytes::{u8_at, u16_at, u32_at, u64_at, units};
use crate::files::ntfs::record::{Attribute, Record, Value, kind};
use crate::files::ntfs::stream::Stream;
use crate::files::ntfs::volume::{Volume, damaged};
use crate::files::{FilesError, NodeKind, ntfs::reparse};

/// The longest list of attributes that is read, in bytes; Windows keeps to 256 KiB.
const LIST_LEN_MAX: usize = 1 << 20;

/// The name of a directory's index, in UTF-16.
const INDEX_NAME: &[u8] = b"$\0I\x003\x000\0";

/// The name space of short names (8.3), which stand beside a long one.
const DOS: u8 = 2;

/// The 48 bits of a reference that are a record's number; the rest say how often it was used.
const NUMBER_BITS: u32 = 48;

/// File attributes, as `$STANDARD_INFORMATION` and names give them.
pub(super) mod attribute {
    pub(crate) const READ_ONLY: u32 = 0x1;
    pub(crate) const HIDDEN: u32 = 0x2;
    pub(crate) const SYSTEM: u32 = 0x4;
    pub(crate) const REPARSE_POINT: u32 = 0x400;
    pub(crate) const ENCRYPTED: u32 = 0x4000;
    /// Only in names: a directory.
    pub(crate) const DIRECTORY: u32 = 0x1000_0000;
}

/// Returns the number of the record that a reference names.
pub(super) fn number_of(reference: u64) -> u64 {
    reference & ((1 << NUMBER_BITS) - 1)
}

/// Returns the reference to what a record describes.
pub(super) fn reference_to(record: &Record) -> u64 {
    (u64::from(record.sequence()) << NUMBER_BITS) | record.number()
}

/// A file or directory.
#[derive(Debug)]
pub(super) struct File {
    /// Its reference.
    pub(super) reference: u64,
    /// Whether it has an index of names.
    pub(super) is_directory: bool,
    /// Its times and attributes.
    pub(super) standard: Standard,
    /// How many names it has, short ones not counted.
    pub(super) names: u32,
    /// The directory of its first name.
    pub(super) parent: Option<u64>,
    /// Its content.
    pub(super) data: Option<Stream>,
    /// The top of its index of names.
    pub(super) index_root: Option<Vec<u8>>,
    /// The rest of its index.
    pub(super) index_blocks: Option<Stream>,
    /// The tag of its reparse point, and all of that.
    pub(super) reparse: Option<(u32, Stream)>,
}

/// What `$STANDARD_INFORMATION` says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Standard {
    pub(super) created: Option<Timestamp>,
    pub(super) modified: Option<Timestamp>,
    pub(super) changed: Option<Timestamp>,
    pub(super) accessed: Option<Timestamp>,
    /// See [`attribute`].
    pub(super) attributes: u32,
}

/// A name of a file, as directories and the file's own record hold it.
#[derive(Debug)]
pub(super) struct FileName {
    /// The directory that the name is in.
    pub(super) parent: u64,
    /// See [`attribute`]; no more than a copy.
    pub(super) attributes: u32,
    /// The tag of the reparse point, where the attributes speak of one.
    pub(super) reparse_tag: u32,
    namespace: u8,
    /// The name in UTF-16.
    pub(super) name: Vec<u16>,
}

impl FileName {
    /// Reads the value of a `$FILE_NAME` attribute, or the key of an entry of a directory.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let len = usize::from(u8_at(bytes, 0x40)?) * 2;
        Some(Self {
            parent: u64_at(bytes, 0)?,
            attributes: u32_at(bytes, 0x38)?,
            reparse_tag: u32_at(bytes, 0x3C)?,
            namespace: u8_at(bytes, 0x41)?,
            name: units(bytes.get(0x42..)?.get(..len)?),
        })
    }

    /// Returns whether this is a short name that stands beside a long one.
    pub(super) fn is_short(&self) -> bool {
        self.namespace == DOS
    }

    /// Returns what the name says the file is.
    pub(super) fn kind(&self) -> NodeKind {
        let is_directory = self.attributes & attribute::DIRECTORY != 0;
        if self.attributes & attribute::REPARSE_POINT != 0 {
            reparse::node_kind(self.reparse_tag, is_directory)
        } else if is_directory {
            NodeKind::Directory
        } else {
            NodeKind::File
        }
    }
}

impl File {
    /// Gathers what a record, and those that it names, say about a file.
    pub(super) fn gather(volume: &Volume, base: &Record) -> Result<Self, FilesError> {
        let mut file = Self {
            reference: reference_to(base),
            is_directory: base.is_directory(),
            standard: Standard::default(),
            names: 0,
            parent: None,
            data: None,
            index_root: None,
            index_blocks: None,
            reparse: None,
        };
        each_attribute(volume, base, is_wanted, &mut |record, attribute| {
            file.add(volume, record, attribute)
        })?;
        file.names = file.names.max(1);
        Ok(file)
    }

    fn add(&mut self, volume: &Volume, record: &Record, attribute: &Attribute<'_>) -> Result<(), FilesError> {
        let wrong = |what: &str| damaged(record.number(), what);
        match (attribute.kind, attribute.name, attribute.value) {
            (kind::STANDARD_INFORMATION, _, Value::Resident(bytes)) => {
                self.standard =
                    Standard::parse(bytes).ok_or_else(|| wrong("its times and attributes break off"))?;
            }
            (kind::FILE_NAME, _, Value::Resident(bytes)) => {
                let name = FileName::parse(bytes).ok_or_else(|| wrong("one of its names breaks off"))?;
                if !name.is_short() {
                    self.names = self.names.saturating_add(1);
                    self.parent.get_or_insert(name.parent);
                }
            }
            (kind::DATA, [], _) => add_piece(&mut self.data, volume, attribute).map_err(wrong)?,
            (kind::INDEX_ROOT, INDEX_NAME, Value::Resident(bytes)) => self.index_root = Some(bytes.to_vec()),
            (kind::INDEX_ALLOCATION, INDEX_NAME, _) => {
                add_piece(&mut self.index_blocks, volume, attribute).map_err(wrong)?;
            }
            (kind::REPARSE_POINT, [], _) => {
                let stream = Stream::begin(attribute, volume).map_err(wrong)?;
                let name = || format!("the reparse point of file {}", record.number());
                let whole = stream.read_whole(volume, &name, REPARSE_LEN_MAX)?;
                let tag = u32_at(&whole, 0).ok_or_else(|| wrong("its reparse point breaks off"))?;
                self.reparse = Some((tag, stream));
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns what it is, short of links that only their content shows.
    pub(super) fn kind(&self) -> NodeKind {
        match &self.reparse {
            Some((tag, _)) => reparse::node_kind(*tag, self.is_directory),
            None if self.is_directory => NodeKind::Directory,
            None => NodeKind::File,
        }
    }

    /// Returns how much memory it takes, in runs of clusters or the like.
    pub(super) fn weight(&self) -> u64 {
        let runs = |stream: &Option<Stream>| stream.as_ref().map_or(0, Stream::runs);
        64 + runs(&self.data) + runs(&self.index_blocks)
    }
}

/// The longest reparse point, in bytes, as Windows limits it.
pub(super) const REPARSE_LEN_MAX: usize = 16 * 1024 + 8;

/// Tells by its type, and whether it has a name, if an attribute belongs to what is gathered here.
fn is_wanted(attribute_kind: u32, is_named: bool) -> bool {
    match attribute_kind {
        kind::DATA => !is_named,
        kind::STANDARD_INFORMATION
        | kind::FILE_NAME
        | kind::INDEX_ROOT
        | kind::INDEX_ALLOCATION
        | kind::REPARSE_POINT => true,
        _ => false,
    }
}

/// Calls `each` for the attributes of a file that are wanted by their type and whether they have a name, with the
/// record that holds them.
///
/// # Errors
/// What is wrong with the file's records; those without a wanted attribute are not looked at.
pub(super) fn each_attribute(
    volume: &Volume,
    base: &Record,
    is_wanted: fn(u32, bool) -> bool,
    each: &mut dyn FnMut(&Record, &Attribute<'_>) -> Result<(), FilesError>,
) -> Result<(), FilesError> {
    let mut list = None;
    for attribute in base.attributes() {
        let attribute = attribute.map_err(|what| damaged(base.number(), what))?;
        if attribute.kind == kind::ATTRIBUTE_LIST {
            list = Some(Stream::begin(&attribute, volume).map_err(|what| damaged(base.number(), what))?);
        }
    }
    let Some(list) = list else {
        for attribute in base.attributes().filter_map(Result::ok) {
            if is_wanted(attribute.kind, !attribute.name.is_empty()) {
                each(base, &attribute)?;
            }
        }
        return Ok(());
    };
    let name = || format!("the list of attributes of file {}", base.number());
    let list = list.read_whole(volume, &name, LIST_LEN_MAX)?;
    for entry in list_entries(&list) {
        let entry = entry.ok_or_else(|| damaged(base.number(), "its list of attributes breaks off"))?;
        if is_wanted(entry.kind, entry.is_named) {
            listed_attribute(volume, base, &entry, each)?;
        }
    }
    Ok(())
}

/// Finds the attribute that an entry of the list names. The list is sorted by type, name and first cluster, so pieces
/// come in their order.
fn listed_attribute(
    volume: &Volume,
    base: &Record,
    entry: &ListEntry,
    each: &mut dyn FnMut(&Record, &Attribute<'_>) -> Result<(), FilesError>,
) -> Result<(), FilesError> {
    let other;
    let record = if number_of(entry.record) == base.number() {
        base
    } else {
        other = volume.record(number_of(entry.record))?;
        if number_of(other.base()) != base.number() || !other.is_in_use() {
            return Err(damaged(
                base.number(),
                &format!("record {} is listed as a part of it and is none", other.number()),
            ));
        }
        &other
    };
    for attribute in record.attributes() {
        let attribute = attribute.map_err(|what| damaged(record.number(), what))?;
        if attribute.kind == entry.kind && attribute.instance == entry.instance {
            return each(record, &attribute);
        }
    }
    Err(damaged(
        base.number(),
        &format!(
            "an attribute that is listed in record {} is not there",
            record.number()
        ),
    ))
}

/// Begins a stream with its first piece, or appends the next one; the error says what is wrong with it.
pub(super) fn add_piece(
    stream: &mut Option<Stream>,
    volume: &Volume,
    attribute: &Attribute<'_>,
) -> Result<(), &'static str> {
    match (stream.as_mut(), attribute.value) {
        (None, _) => *stream = Some(Stream::begin(attribute, volume)?),
        (Some(begun), Value::Clusters(piece)) => begun.append(&piece, volume)?,
        (Some(_), Value::Resident(_)) => return Err("it has two contents"),
    }
    Ok(())
}

impl Standard {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            created: time(u64_at(bytes, 0)?),
            modified: time(u64_at(bytes, 8)?),
            changed: time(u64_at(bytes, 16)?),
            accessed: time(u64_at(bytes, 24)?),
            attributes: u32_at(bytes, 32)?,
        })
    }
}

/// A time of Windows, in 100 ns since 1601; `None` for 0 and for what no calendar holds.
fn time(ticks: u64) -> Option<Timestamp> {
    const UNIX_EPOCH: i128 = 116_444_736_000_000_000;
    if ticks == 0 {
        return None;
    }
    Timestamp::from_nanosecond((i128::from(ticks) - UNIX_EPOCH) * 100).ok()
}

/// An entry of a list of attributes.
pub(super) struct ListEntry {
    /// The type of the attribute.
    pub(super) kind: u32,
    /// Whether the attribute has a name.
    pub(super) is_named: bool,
    /// The first cluster of the piece.
    pub(super) lowest_vcn: u64,
    /// The record that the attribute is in.
    pub(super) record: u64,
    /// Its number there.
    pub(super) instance: u16,
}

/// Returns the entries of a list of attributes; `None` for one that does not fit into it, which is then the last.
pub(super) fn list_entries(list: &[u8]) -> impl Iterator<Item = Option<ListEntry>> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let here = rest.take().filter(|here| !here.is_empty())?;
        let entry = (|| {
            let len = usize::from(u16_at(here, 4)?);
            let bytes = here.get(..len).filter(|bytes| bytes.len() >= 0x1A)?;
            let entry = ListEntry {
                kind: u32_at(bytes, 0)?,
                is_named: u8_at(bytes, 6)? != 0,
                lowest_vcn: u64_at(bytes, 8)?,
                record: u64_at(bytes, 0x10)?,
                instance: u16_at(bytes, 0x18)?,
            };
            rest = here.get(len..);
            Some(entry)
        })();
        Some(entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_windows() {
        assert_eq!(time(0), None);
        assert_eq!(time(116_444_736_000_000_000), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(
            time(133_801_632_001_234_567).unwrap().to_string(),
            "2025-01-01T00:00:00.1234567Z"
        );
        assert_eq!(time(u64::MAX), None);
    }

    #[test]
    fn a_list_that_breaks_off_ends_with_that() {
        let mut entry = vec![0u8; 0x20];
        entry[4] = 0x20;
        let mut list = entry.clone();
        list.extend_from_slice(&entry[..0x1F]);
        let entries: Vec<bool> = list_entries(&list).map(|entry| entry.is_some()).collect();
        assert_eq!(entries, [true, false]);
        assert_eq!(
            list_entries(&[0; 64])
                .map(|entry| entry.is_some())
                .collect::<Vec<_>>(),
            [false]
        );
    }
}
