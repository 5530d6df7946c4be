//! The volume: its sizes, its master file table, and how names are compared on it.

use keyhaven_disk::{Device, ReadError};

use crate::files::bytes::units;
use crate::files::medium::Medium;
use crate::files::ntfs::file::{File, ListEntry, list_entries, number_of, reference_to};
use crate::files::ntfs::geometry::Geometry;
use crate::files::ntfs::record::{Record, Value, kind};
use crate::files::ntfs::stream::{Clusters, NoUnits, Stream};
use crate::files::{FileSystemKind, FilesError, OpenFilesError};

/// Numbers of the records that every volume has.
pub(super) mod known {
    pub(crate) const MFT: u64 = 0;
    pub(crate) const LOG_FILE: u64 = 2;
    pub(crate) const VOLUME: u64 = 3;
    pub(crate) const ROOT: u64 = 5;
    pub(crate) const BITMAP: u64 = 6;
    pub(crate) const UPCASE: u64 = 10;
    /// The first that a person's file may have.
    pub(crate) const FIRST_OF_USERS: u64 = 24;
}

/// One upper-case unit for each unit, in bytes.
const UPCASE_LEN: usize = 2 * 65536;

/// The longest list of the table's own attributes that is read, in bytes.
const LIST_LEN_MAX: usize = 1 << 20;

/// A volume whose records can be read.
#[derive(Debug)]
pub(super) struct Volume {
    medium: Medium,
    geometry: Geometry,
    /// The master file table.
    mft: Stream,
    /// The upper-case unit of each unit.
    upcase: Vec<u16>,
}

/// What is wrong with a file.
pub(super) fn damaged(number: u64, what: &str) -> FilesError {
    FilesError::Damaged {
        what: format!("file record {number}: {what}"),
    }
}

impl Volume {
    /// Opens the volume on a device.
    pub(super) fn open(device: Device) -> Result<Self, OpenFilesError> {
        let medium = Medium::new(device);
        let mut sector = [0; 512];
        medium.read(0, &mut sector).map_err(unreadable)?;
        let geometry = Geometry::parse(&sector).map_err(|what| OpenFilesError::Damaged {
            kind: FileSystemKind::Ntfs,
            what,
        })?;

        let (record, mft) = open_mft(&medium, &geometry)?;
        let mut volume = Self {
            medium,
            geometry,
            mft,
            upcase: Vec::new(),
        };
        volume.complete_mft(&record).map_err(not_open)?;
        volume.upcase = volume.read_upcase();
        Ok(volume)
    }

    /// Follows the list of the table's own attributes, where it is in so many places that its first record cannot
    /// hold them: each part of the table says where the next is.
    fn complete_mft(&mut self, record: &Record) -> Result<(), FilesError> {
        let mut list = None;
        for attribute in record.attributes().filter_map(Result::ok) {
            if attribute.kind == kind::ATTRIBUTE_LIST {
                let stream = Stream::begin(&attribute, self).map_err(|what| damaged(known::MFT, what))?;
                let name = || "the list of attributes of the master file table".to_owned();
                list = Some(stream.read_whole(self, &name, LIST_LEN_MAX)?);
            }
        }
        let Some(list) = list else { return Ok(()) };
        for entry in list_entries(&list) {
            let entry = entry.ok_or_else(|| damaged(known::MFT, "its list of attributes breaks off"))?;
            if entry.kind == kind::DATA && !entry.is_named && entry.lowest_vcn != 0 {
                self.extend_mft(&entry)?;
            }
        }
        Ok(())
    }

    fn extend_mft(&mut self, entry: &ListEntry) -> Result<(), FilesError> {
        let record = self.record(number_of(entry.record))?;
        for attribute in record.attributes() {
            let attribute = attribute.map_err(|what| damaged(record.number(), what))?;
            if attribute.kind == kind::DATA
                && attribute.instance == entry.instance
                && let Value::Clusters(piece) = attribute.value
            {
                let clusters = Sizes(self.geometry);
                return self
                    .mft
                    .append(&piece, &clusters)
                    .map_err(|what| damaged(record.number(), what));
            }
        }
        Err(damaged(known::MFT, "a part of the master file table is missing"))
    }

    /// Returns a record by its number.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] past the end of the table, or what is wrong with the record.
    pub(super) fn record(&self, number: u64) -> Result<Record, FilesError> {
        let mut bytes = vec![0; self.geometry.record_len];
        let offset = number
            .checked_mul(bytes.len() as u64)
            .ok_or(FilesError::NotFound)?;
        let name = || "the master file table".to_owned();
        let len = self.mft.read(self, &NoUnits, &name, offset, &mut bytes)?;
        if len < bytes.len() {
            return Err(FilesError::NotFound);
        }
        Record::parse(bytes, number).map_err(|what| damaged(number, what))
    }

    /// Returns one of the files that every volume has.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn known_file(&self, number: u64) -> Result<File, FilesError> {
        File::gather(self, &self.record(number)?)
    }

    /// Returns a file by its reference.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] where the record is not, or no longer, that file's.
    pub(super) fn file(&self, reference: u64) -> Result<File, FilesError> {
        let record = self.record(number_of(reference))?;
        let is_it = record.is_in_use() && record.base() == 0 && reference == reference_to(&record);
        if !is_it {
            return Err(FilesError::NotFound);
        }
        File::gather(self, &record)
    }

    /// Returns the device.
    pub(super) fn device(&self) -> &Device {
        self.medium.device()
    }

    /// Compares two names as the directories of this volume are sorted: by their upper-case units.
    pub(super) fn compare(&self, one: &[u16], other: &[u16]) -> std::cmp::Ordering {
        let upper = |unit: &u16| self.upcase.get(usize::from(*unit)).copied().unwrap_or(*unit);
        one.iter().map(upper).cmp(other.iter().map(upper))
    }

    fn read_upcase(&self) -> Vec<u16> {
        let table = self.known_file(known::UPCASE).ok().and_then(|file| {
            let name = || "the table of upper-case letters".to_owned();
            file.data?.read_whole(self, &name, UPCASE_LEN).ok()
        });
        match table {
            Some(table) if table.len() == UPCASE_LEN => units(&table),
            // Good enough to find nearly every name where the volume's own table is damaged.
            _ => (0..=u16::MAX).map(simple_upcase).collect(),
        }
    }
}

/// The upper-case unit by Unicode, where it is one unit.
fn simple_upcase(unit: u16) -> u16 {
    let mut upper = char::from_u32(u32::from(unit))
        .into_iter()
        .flat_map(char::to_uppercase);
    match (upper.next(), upper.next()) {
        (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(unit),
        _ => unit,
    }
}

impl Clusters for Volume {
    fn cluster_len(&self) -> u64 {
        self.geometry.cluster_len
    }

    fn clusters(&self) -> u64 {
        self.geometry.clusters
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        // Records and blocks of directories have neighbours that are wanted soon; contents are read once.
        if buf.len() <= 4096 {
            self.medium.read(offset, buf)
        } else {
            self.medium.device().read_at(offset, buf)
        }
    }
}

/// The sizes alone, to decode runs with.
struct Sizes(Geometry);

impl Clusters for Sizes {
    fn cluster_len(&self) -> u64 {
        self.0.cluster_len
    }

    fn clusters(&self) -> u64 {
        self.0.clusters
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        Err(ReadError::PastEnd {
            offset,
            len_bytes: buf.len() as u64,
            end: 0,
        })
    }
}

/// Reads the first record of the table, or the copy of it, and what that says about where the table is.
fn open_mft(medium: &Medium, geometry: &Geometry) -> Result<(Record, Stream), OpenFilesError> {
    let first = open_mft_at(medium, geometry, geometry.mft_offset);
    if first.is_err()
        && geometry.mirror_offset != 0
        && let Ok(found) = open_mft_at(medium, geometry, geometry.mirror_offset)
    {
        return Ok(found);
    }
    first
}

fn open_mft_at(
    medium: &Medium,
    geometry: &Geometry,
    offset: u64,
) -> Result<(Record, Stream), OpenFilesError> {
    let mut bytes = vec![0; geometry.record_len];
    medium.read(offset, &mut bytes).map_err(unreadable)?;
    let wrong = |what: &str| OpenFilesError::Damaged {
        kind: FileSystemKind::Ntfs,
        what: format!("the record of the master file table at byte {offset}: {what}"),
    };
    let record = Record::parse(bytes, known::MFT).map_err(wrong)?;
    let mut stream = None;
    for attribute in record.attributes() {
        let attribute = attribute.map_err(wrong)?;
        if attribute.kind == kind::DATA && attribute.name.is_empty() && stream.is_none() {
            stream = Some(Stream::begin(&attribute, &Sizes(*geometry)).map_err(wrong)?);
        }
    }
    let stream = stream.ok_or_else(|| wrong("it does not say where the table is"))?;
    Ok((record, stream))
}

fn unreadable(source: ReadError) -> OpenFilesError {
    OpenFilesError::Read {
        kind: FileSystemKind::Ntfs,
        source,
    }
}

/// Restates why a file that is needed to open the volume could not be read.
pub(super) fn not_open(error: FilesError) -> OpenFilesError {
    match error {
        FilesError::Read(source) => unreadable(source),
        FilesError::Damaged { what } => OpenFilesError::Damaged {
            kind: FileSystemKind::Ntfs,
            what,
        },
        other => OpenFilesError::Damaged {
            kind: FileSystemKind::Ntfs,
            what: other.to_string(),
        },
    }
}
