//! The sections of an EWF file: a chain of descriptors, each with its data behind it.
//!
//! Source: Joachim Metz' "Expert Witness Compression Format specification"; seen in images of ewfacquire 20140813.

use adler2::adler32_slice;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::super::ContainerError;
use crate::device::BlockDevice;

/// What every file of a drive begins with.
pub(super) const MAGIC: [u8; 8] = *b"EVF\x09\x0D\x0A\xFF\x00";

/// How many sections a file may have: more than a thousand tables.
const MAX_SECTIONS: usize = 1 << 18;

/// As it lies in the file.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFileHeader {
    magic: [u8; 8],
    fields_start: u8,
    segment: U16,
    fields_end: U16,
}

/// As it lies in the file.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSection {
    kind: [u8; 16],
    next: U64,
    len: U64,
    padding: [u8; 40],
    checksum: U32,
}

/// A section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// What it is: `table`.
    pub(super) kind: String,
    /// Where its descriptor lies in the file, in bytes.
    pub(super) at: u64,
    /// Where its data begin.
    pub(super) data: u64,
    /// How many bytes of data it has.
    pub(super) len_bytes: u64,
}

impl Section {
    /// Returns where it ends.
    pub(super) fn end(&self) -> u64 {
        self.data.saturating_add(self.len_bytes)
    }
}

/// Returns the number of the file among those of the image, from 1 on.
///
/// # Errors
/// It cannot be read, or is no file of this format.
pub(super) fn segment_number(file: &dyn BlockDevice) -> Result<u16, ContainerError> {
    const WHAT: &str = "the start";
    let mut bytes = [0; size_of::<RawFileHeader>()];
    file.read_at(0, &mut bytes)
        .map_err(|source| ContainerError::Read { what: WHAT, source })?;
    match RawFileHeader::ref_from_bytes(&bytes) {
        Ok(raw) if raw.magic == MAGIC && raw.fields_start == 1 && raw.fields_end.get() == 0 => {
            Ok(raw.segment.get())
        }
        _ => Err(ContainerError::Damaged {
            what: WHAT,
            offset: 0,
            problem: "it is not that of an EWF file".to_owned(),
        }),
    }
}

/// Follows the chain of sections to its end.
///
/// Each lies behind the one before, so that the chain is no circle.
///
/// # Errors
/// A descriptor cannot be read, or has a wrong checksum, or leads nowhere.
pub(super) fn sections(file: &dyn BlockDevice) -> Result<Vec<Section>, ContainerError> {
    let mut sections = Vec::new();
    let mut at = size_of::<RawFileHeader>() as u64;
    loop {
        let (section, next) = section(file, at)?;
        let is_last = matches!(section.kind.as_str(), "next" | "done");
        sections.push(section);
        if is_last {
            return Ok(sections);
        }
        if next <= at || sections.len() >= MAX_SECTIONS {
            return Err(damaged(at, format!("the next one would lie at byte {next:#x}")));
        }
        at = next;
    }
}

fn section(file: &dyn BlockDevice, at: u64) -> Result<(Section, u64), ContainerError> {
    const DESCRIPTOR_LEN: usize = size_of::<RawSection>();
    let mut bytes = [0; DESCRIPTOR_LEN];
    file.read_at(at, &mut bytes)
        .map_err(|source| ContainerError::Read {
            what: "a section",
            source,
        })?;
    let raw = RawSection::ref_from_bytes(&bytes).map_err(|_| damaged(at, "it is cut off"))?;
    let (checked, _) = bytes.split_at(DESCRIPTOR_LEN - size_of::<U32>());
    if adler32_slice(checked) != raw.checksum.get() {
        return Err(damaged(at, "its checksum is wrong"));
    }
    let kind: Vec<u8> = raw.kind.iter().copied().take_while(|byte| *byte != 0).collect();
    let data = at.saturating_add(DESCRIPTOR_LEN as u64);
    let next = raw.next.get();
    // Some programs leave the length out: the data then reach to the next section.
    let len_bytes = raw
        .len
        .get()
        .checked_sub(DESCRIPTOR_LEN as u64)
        .unwrap_or_else(|| next.saturating_sub(data));
    Ok((
        Section {
            kind: String::from_utf8_lossy(&kind).into_owned(),
            at,
            data,
            len_bytes,
        },
        next,
    ))
}

/// Reads the data of a section that has at least `len` bytes.
///
/// # Errors
/// It is shorter, or cannot be read.
pub(super) fn read(
    file: &dyn BlockDevice,
    section: &Section,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, ContainerError> {
    let end = offset.saturating_add(len as u64);
    if end > section.len_bytes {
        return Err(damaged(
            section.at,
            format!("it has {} bytes, and {end} are needed", section.len_bytes),
        ));
    }
    let mut bytes = vec![0; len];
    file.read_at(section.data.saturating_add(offset), &mut bytes)
        .map_err(|source| ContainerError::Read {
            what: "a section",
            source,
        })?;
    Ok(bytes)
}

/// Tells whether the last four bytes are the checksum of all before them.
pub(super) fn has_checksum(bytes: &[u8]) -> bool {
    match bytes.split_last_chunk() {
        Some((checked, checksum)) => adler32_slice(checked) == u32::from_le_bytes(*checksum),
        None => false,
    }
}

pub(super) fn damaged(offset: u64, problem: impl Into<String>) -> ContainerError {
    ContainerError::Damaged {
        what: "the section",
        offset,
        problem: problem.into(),
    }
}
