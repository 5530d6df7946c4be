//! The region table, which says where the metadata and the table of blocks lie.

use uuid::{Uuid, uuid};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::ContainerError;
use super::{MIB, checksum};
use crate::device::Device;

/// Where the two copies of the table lie, in bytes.
pub(super) const OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
pub(super) const TABLE_LEN: usize = 64 << 10;

const WHAT: &str = "the region table";
const BAT: Uuid = uuid!("2DC27766-F623-4200-9D64-115E9BFD4A08");
const METADATA: Uuid = uuid!("8B7CA206-4790-4B9A-B8FE-575F050F886E");
/// The most entries that fit in.
const MAX_ENTRIES: u32 = 2047;
/// Bit 0: whoever does not know the region must not open the image.
const REQUIRED: u32 = 1;

/// As it lies in the file.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    signature: [u8; 4],
    checksum: U32,
    entry_count: U32,
    reserved: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    id: [u8; 16],
    offset: U64,
    len: U32,
    flags: U32,
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    /// Where it begins, in bytes: a whole number of MiB.
    pub(super) offset: u64,
    /// How long it is, in bytes: a whole number of MiB.
    pub(super) len: u32,
}

/// Where what lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Regions {
    pub(super) bat: Region,
    pub(super) metadata: Region,
    /// What is of no interest to readers.
    pub(super) others: Vec<Region>,
}

impl Regions {
    pub(super) fn read(file: &Device) -> Result<Self, ContainerError> {
        let [first, second] = OFFSETS.map(|offset| Self::read_copy(file, offset));
        match (first, second) {
            (Ok(regions), _) | (Err(_), Ok(regions)) => Ok(regions),
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn read_copy(file: &Device, offset: u64) -> Result<Self, ContainerError> {
        let mut bytes = vec![0; TABLE_LEN];
        file.read_at(offset, &mut bytes)
            .map_err(|source| ContainerError::Read { what: WHAT, source })?;
        let damaged = |problem: String| ContainerError::Damaged {
            what: WHAT,
            offset,
            problem,
        };
        let (raw, mut rest) =
            RawHeader::ref_from_prefix(&bytes).map_err(|_| damaged("it is too short".to_owned()))?;
        if raw.signature != *b"regi" {
            return Err(damaged("it does not begin with `regi`".to_owned()));
        }
        if !checksum::is_right(&bytes) {
            return Err(damaged(format!(
                "its checksum is {:#010x}, expected {:#010x}",
                raw.checksum.get(),
                checksum::of(&bytes)
            )));
        }
        if raw.entry_count.get() > MAX_ENTRIES {
            return Err(damaged(format!(
                "it has {} entries, expected at most {MAX_ENTRIES}",
                raw.entry_count.get()
            )));
        }
        let (mut bat, mut metadata, mut others) = (None, None, Vec::new());
        for number in 0..raw.entry_count.get() {
            let (entry, behind) =
                RawEntry::ref_from_prefix(rest).map_err(|_| damaged(format!("entry {number} leaves it")))?;
            rest = behind;
            let region = Region {
                offset: entry.offset.get(),
                len: entry.len.get(),
            };
            let is_aligned = region.offset >= MIB
                && region.offset.is_multiple_of(MIB)
                && u64::from(region.len).is_multiple_of(MIB)
                && region.len > 0;
            if !is_aligned {
                return Err(damaged(format!(
                    "a region begins at byte {:#x} and has {:#x}, expected whole MiB",
                    region.offset, region.len
                )));
            }
            let id = Uuid::from_bytes_le(entry.id);
            match id {
                BAT if bat.is_none() => bat = Some(region),
                METADATA if metadata.is_none() => metadata = Some(region),
                BAT | METADATA => return Err(damaged("a region is there twice".to_owned())),
                _ if entry.flags.get() & REQUIRED != 0 => {
                    return Err(ContainerError::Unsupported {
                        what: format!("it needs a region that is not known, {id}"),
                    });
                }
                _ => others.push(region),
            }
        }
        match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Self {
                bat,
                metadata,
                others,
            }),
            (None, _) => Err(damaged("it leads to no table of blocks".to_owned())),
            (_, None) => Err(damaged("it leads to no metadata".to_owned())),
        }
    }

    /// Returns the table of an image with these two regions, as it lies in the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = RawHeader {
            signature: *b"regi",
            checksum: 0.into(),
            entry_count: 2.into(),
            reserved: 0.into(),
        }
        .as_bytes()
        .to_vec();
        for (id, region) in [(BAT, self.bat), (METADATA, self.metadata)] {
            let entry = RawEntry {
                id: id.to_bytes_le(),
                offset: region.offset.into(),
                len: region.len.into(),
                flags: REQUIRED.into(),
            };
            bytes.extend_from_slice(entry.as_bytes());
        }
        bytes.resize(TABLE_LEN, 0);
        checksum::set(&mut bytes);
        bytes
    }
}
