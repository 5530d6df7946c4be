//! EWF, the images of EnCase, FTK, SMART and ewfacquire: `.E01` with its `.E02` and on, `.s01`.
//!
//! The drive is kept in chunks, packed or not, each with a checksum. A chunk whose checksum is wrong is an error and not
//! data, and so are sectors that could not be read when the image was made: whoever keeps going past errors gets a
//! list of both. The hash of the whole drive that an image names is told, not checked: `ewfverify` does that.
//!
//! The second version of the format (`.Ex01`) and images of files (`.L01`) are refused by name. Read only.
//!
//! Source: Joachim Metz' "Expert Witness Compression Format specification"; seen in images of ewfacquire 20140813.

mod geometry;
mod section;
mod segment_name;
mod table;

use std::sync::Arc;

use geometry::Geometry;
use section::{Section, damaged};
use segment_name::SegmentNames;
use table::{Place, Places, Table};

use super::fault::Fault;
use super::mapped::{Kept, Mapped, Plan, Run};
use super::packing;
use super::parts::Parts;
use super::units::Cache;
use super::{ContainerError, Neighbours, Opened, Probe, Spec};
use crate::device::Device;

pub(super) const SPEC: Spec = Spec {
    name: "ewf",
    title: "an EWF image",
    extensions: &["e01", "s01"],
    detect: is_ewf,
    open,
    writing: None,
};

/// What files begin with that hold files and not a drive.
const MAGIC_OF_FILES: &[u8] = b"LVF\x09\x0D\x0A\xFF\x00";
/// What files of the second version begin with, of drives and of files.
const MAGICS_OF_VERSION_2: [&[u8]; 2] = [b"EVF2\x0D\x0A\x81\x00", b"LEF2\x0D\x0A\x81\x00"];

/// How many tables an image may have: enough for 128 TiB as EnCase makes them.
const MAX_TABLES: usize = 1 << 18;
/// How many runs of unread sectors are kept apart.
const MAX_UNREAD: u32 = 1 << 20;
/// What stands before the list of them: their number, zeros and a checksum.
const UNREAD_HEADER_LEN: usize = 520;

fn is_ewf(probe: &Probe) -> bool {
    let head = probe.head.as_slice();
    head.starts_with(&section::MAGIC)
        || head.starts_with(MAGIC_OF_FILES)
        || MAGICS_OF_VERSION_2.iter().any(|magic| head.starts_with(magic))
}

fn open(file: Device, neighbours: &Neighbours) -> Result<Opened, ContainerError> {
    refuse_kin(&file)?;
    let names = neighbours.own_name().and_then(SegmentNames::of);
    refuse_later_segment(&file, names.as_ref())?;
    let parts = Parts::beside(neighbours);
    let mut reading = Reading::default();
    let mut segment = file;
    loop {
        if reading.add(segment)? {
            break;
        }
        let number = u16::try_from(reading.segments.len().saturating_add(1)).unwrap_or(u16::MAX);
        let name = names
            .as_ref()
            .and_then(|names| names.name(number))
            .ok_or_else(|| ContainerError::Unsupported {
                what: format!("its file {number} cannot be found, since this one is not called `.E01`"),
            })?;
        segment = parts.open(&name)?;
        let found = section::segment_number(&*segment)?;
        if found != number {
            return Err(ContainerError::Unsupported {
                what: format!("{name:?} should be its file {number}, and says that it is file {found}"),
            });
        }
    }
    reading.finish()
}

/// Refuses what is no image of a drive, or not in the first version of the format.
fn refuse_kin(file: &Device) -> Result<(), ContainerError> {
    let mut magic = [0; 8];
    file.read_at(0, &mut magic)
        .map_err(|source| ContainerError::Read {
            what: "the start",
            source,
        })?;
    if magic == section::MAGIC {
        return Ok(());
    }
    if magic == MAGIC_OF_FILES {
        return Err(ContainerError::Unsupported {
            what: "it holds files that were copied from a drive (L01), and no drive".to_owned(),
        });
    }
    if MAGICS_OF_VERSION_2.contains(&magic.as_slice()) {
        return Err(ContainerError::Unsupported {
            what: "it is of the second version of the format (Ex01), which is not known here; \
                   `ewfexport` makes a raw image of it"
                .to_owned(),
        });
    }
    Err(ContainerError::NotThis { title: SPEC.title })
}

fn refuse_later_segment(file: &Device, names: Option<&SegmentNames>) -> Result<(), ContainerError> {
    let number = section::segment_number(&**file)?;
    if number == 1 {
        return Ok(());
    }
    let first = names.and_then(|names| names.name(1));
    Err(ContainerError::Unsupported {
        what: match first {
            Some(first) => format!("this is file {number} of it; name the first one, {first:?}"),
            None => format!("this is file {number} of it; name the first one"),
        },
    })
}

/// What is known of an image while its files are gone through.
#[derive(Debug, Default)]
struct Reading {
    segments: Vec<Device>,
    geometry: Option<Geometry>,
    tables: Vec<Table>,
    /// How many chunks the tables lead to.
    chunks: u64,
    unread: Vec<Unread>,
    md5: Option<String>,
    sha1: Option<String>,
}

/// Sectors that could not be read when the image was made, in bytes of the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unread {
    start: u64,
    end: u64,
}

impl Reading {
    /// Reads the sections of the next file, and tells whether it is the last.
    fn add(&mut self, file: Device) -> Result<bool, ContainerError> {
        let sections = section::sections(&*file)?;
        let segment = self.segments.len();
        let mut chunks = None;
        for section in &sections {
            match section.kind.as_str() {
                "volume" | "disk" | "data" => self.add_geometry(&file, section)?,
                "sectors" => chunks = Some(section),
                kind @ ("table" | "table2") => {
                    let has_checksum = self.geometry()?.has_table_checksums;
                    let table = Table::read(&*file, section, chunks, has_checksum)?;
                    self.add_table(table, segment, kind == "table2")?;
                }
                "error2" => self.add_unread(&file, section)?,
                // Of interest to people only: one that is damaged stands in nobody's way.
                "hash" => self.md5 = self.md5.take().or(hash(&file, section, 36, 0..16)),
                "digest" => {
                    self.md5 = hash(&file, section, 80, 0..16).or(self.md5.take());
                    self.sha1 = hash(&file, section, 80, 16..36);
                }
                _ => {}
            }
        }
        self.segments.push(file);
        Ok(sections.last().is_none_or(|section| section.kind == "done"))
    }

    fn geometry(&self) -> Result<&Geometry, ContainerError> {
        self.geometry
            .as_ref()
            .ok_or_else(|| damaged(0, "it does not tell how long the drive is"))
    }

    fn add_geometry(&mut self, file: &Device, section: &Section) -> Result<(), ContainerError> {
        let Some(known) = self.geometry else {
            self.geometry = Some(Geometry::read(&**file, section)?);
            return Ok(());
        };
        // Repeated in later files and at the end, where not all programs fill in what they know by then.
        match Geometry::read(&**file, section) {
            Ok(again) if !known.is_of_the_same_image(&again) => Err(damaged(
                section.at,
                format!(
                    "file {} belongs to another image",
                    self.segments.len().saturating_add(1)
                ),
            )),
            _ => Ok(()),
        }
    }

    fn add_table(&mut self, mut table: Table, segment: usize, is_copy: bool) -> Result<(), ContainerError> {
        table.segment = segment;
        if is_copy
            && let Some(last) = self.tables.last_mut()
            && last.copy.is_none()
            && last.is_copied_by(&table)
        {
            last.copy = Some(table.entries());
            return Ok(());
        }
        if self.tables.len() >= MAX_TABLES {
            return Err(damaged(table.entries(), format!("more than {MAX_TABLES} tables")));
        }
        table.first_chunk = self.chunks;
        self.chunks = self.chunks.saturating_add(u64::from(table.len));
        if table.len > 0 {
            self.tables.push(table);
        }
        Ok(())
    }

    fn add_unread(&mut self, file: &Device, section: &Section) -> Result<(), ContainerError> {
        let sector_size = u64::from(self.geometry()?.sector_size);
        let header = section::read(&**file, section, 0, UNREAD_HEADER_LEN)?;
        let count = header.first_chunk().map_or(0, |count| u32::from_le_bytes(*count));
        let known = u32::try_from(self.unread.len()).unwrap_or(u32::MAX);
        if !section::has_checksum(&header) || count > MAX_UNREAD.saturating_sub(known) {
            return Err(damaged(section.at, format!("a list of {count} unread ranges")));
        }
        let len = usize::try_from(count).unwrap_or_default().saturating_mul(8);
        let list = section::read(&**file, section, UNREAD_HEADER_LEN as u64, len.saturating_add(4))?;
        if !section::has_checksum(&list) {
            return Err(damaged(
                section.at,
                "the list of unread ranges has a wrong checksum",
            ));
        }
        for entry in list.chunks_exact(8) {
            let number = |at: usize| -> Option<u64> {
                let bytes = entry.get(at..)?.first_chunk()?;
                Some(u64::from(u32::from_le_bytes(*bytes)).saturating_mul(sector_size))
            };
            if let (Some(start), Some(len)) = (number(0), number(4)) {
                self.unread.push(Unread {
                    start,
                    end: start.saturating_add(len),
                });
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Opened, ContainerError> {
        let geometry = *self.geometry()?;
        let mut notes = Vec::new();
        let missing = geometry.chunk_count.saturating_sub(self.chunks);
        if missing > 0 {
            notes.push(format!(
                "the last {missing} of {} parts are missing and cannot be read",
                geometry.chunk_count
            ));
        }
        let unread = merged(std::mem::take(&mut self.unread));
        if !unread.is_empty() {
            let bytes: u64 = unread
                .iter()
                .map(|range| range.end.saturating_sub(range.start))
                .sum();
            notes.push(format!(
                "{bytes} bytes of the drive could not be read when it was made"
            ));
        }
        let hashes = [("MD5", &self.md5), ("SHA-1", &self.sha1)];
        for (name, hash) in hashes
            .into_iter()
            .filter_map(|(name, hash)| Some((name, hash.as_ref()?)))
        {
            notes.push(format!("the drive had the {name} {hash} when it was made"));
        }
        let title = match self.segments.len() {
            1 => SPEC.title.to_owned(),
            count => format!("{} in {count} files", SPEC.title),
        };
        let longest = self
            .tables
            .iter()
            .map(|table| table.len)
            .max()
            .unwrap_or_default();
        let plan = Ewf {
            geometry,
            segments: self.segments,
            tables: self.tables,
            places: Cache::of_entries(usize::try_from(longest).unwrap_or(usize::MAX).saturating_mul(4)),
            unread,
        };
        let mut opened = Opened::new(Arc::new(Mapped::new(plan, None)), title);
        opened.notes = notes;
        Ok(opened)
    }
}

/// Puts ranges in order, and those that touch into one.
fn merged(mut ranges: Vec<Unread>) -> Vec<Unread> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Unread> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Reads a hash in hexadecimal; `None` where there is none, or its section is damaged.
fn hash(file: &Device, section: &Section, len: usize, part: std::ops::Range<usize>) -> Option<String> {
    let bytes = section::read(&**file, section, 0, len).ok()?;
    if !section::has_checksum(&bytes) {
        return None;
    }
    let hash = bytes.get(part)?;
    let is_there = hash.iter().any(|byte| *byte != 0);
    is_there.then(|| hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where an EWF image keeps what.
#[derive(Debug)]
struct Ewf {
    geometry: Geometry,
    segments: Vec<Device>,
    tables: Vec<Table>,
    places: Cache<Places>,
    /// In order, and none touches the next.
    unread: Vec<Unread>,
}

impl Plan for Ewf {
    fn len_bytes(&self) -> u64 {
        self.geometry.len_bytes
    }

    fn sector_size(&self) -> u32 {
        self.geometry.sector_size
    }

    fn run_at(&self, offset: u64) -> Result<Run, Fault> {
        let chunk_bytes = self.geometry.chunk_bytes;
        let (unit, within) = (offset / chunk_bytes, offset % chunk_bytes);
        let mut len_bytes = chunk_bytes.saturating_sub(within);
        let next = self.unread.partition_point(|range| range.end <= offset);
        if let Some(range) = self.unread.get(next) {
            if range.start <= offset {
                return Err(Fault::NeverRead);
            }
            len_bytes = len_bytes.min(range.start.saturating_sub(offset));
        }
        Ok(Run {
            kept: Kept::Packed { unit, within },
            len_bytes,
        })
    }

    fn file(&self, _: usize) -> Option<&Device> {
        None
    }

    fn unpack(&self, chunk: u64) -> Result<Vec<u8>, Fault> {
        let (file, place) = self.place(chunk)?;
        let len = usize::try_from(self.geometry.len_of(chunk)).unwrap_or_default();
        if place.is_packed {
            return self.unpack_packed(chunk, file, place, len);
        }
        let mut bytes = vec![0; len.saturating_add(4)];
        if place.len_bytes < bytes.len() as u64 {
            return Err(Fault::damaged(format!(
                "chunk {chunk} has {} bytes",
                place.len_bytes
            )));
        }
        file.read_at(place.offset, &mut bytes)?;
        if !section::has_checksum(&bytes) {
            return Err(wrong_checksum(chunk, place));
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    fn unit_bytes(&self) -> usize {
        usize::try_from(self.geometry.chunk_bytes).unwrap_or(usize::MAX)
    }
}

impl Ewf {
    /// Finds a chunk, and the file that it lies in.
    fn place(&self, chunk: u64) -> Result<(&Device, Place), Fault> {
        let missing = || Fault::damaged(format!("chunk {chunk} is in none of its tables"));
        let number = self
            .tables
            .partition_point(|table| table.first_chunk <= chunk)
            .checked_sub(1)
            .ok_or_else(missing)?;
        let table = self.tables.get(number).ok_or_else(missing)?;
        let file = self.segments.get(table.segment).ok_or_else(missing)?;
        let places = self.places.get_or(number as u64, || table.places(&**file))?;
        let index = usize::try_from(chunk.saturating_sub(table.first_chunk)).unwrap_or(usize::MAX);
        let place = places.get(index).ok_or_else(missing)?;
        Ok((file, place))
    }

    fn unpack_packed(&self, chunk: u64, file: &Device, place: Place, len: usize) -> Result<Vec<u8>, Fault> {
        // What does not become smaller grows by some bytes at most; the rest is not its own.
        let most = self
            .geometry
            .chunk_bytes
            .saturating_add(self.geometry.chunk_bytes / 16 + 512);
        let mut packed = vec![0; usize::try_from(place.len_bytes.min(most)).unwrap_or_default()];
        file.read_at(place.offset, &mut packed)?;
        let unpacked = packing::inflate_checked(&packed, self.unit_bytes()).map_err(|_| {
            Fault::damaged(format!(
                "chunk {chunk}, packed at byte {:#x}, cannot be unpacked",
                place.offset
            ))
        })?;
        // The last one may be kept as long as the others.
        if unpacked.len() < len {
            return Err(Fault::damaged(format!(
                "chunk {chunk} has {} bytes",
                unpacked.len()
            )));
        }
        Ok(unpacked)
    }
}

fn wrong_checksum(chunk: u64, place: Place) -> Fault {
    Fault::damaged(format!(
        "chunk {chunk} at byte {:#x} has a wrong checksum",
        place.offset
    ))
}
