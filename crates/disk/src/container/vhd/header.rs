//! The header of dynamic images, and the names of parents in it.

use uuid::Uuid;
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::ContainerError;
use super::footer::{self, Footer, SECTOR_LEN};
use crate::device::Device;

/// How long the header is, in bytes.
pub(super) const HEADER_LEN: u64 = 1024;

const COOKIE: [u8; 8] = *b"cxsparse";
const VERSION: u32 = 0x0001_0000;
const WHAT: &str = "the dynamic disk header";

/// A path of Windows, relative to the folder of the image, or from the root; both in UTF-16, little end first.
const WINDOWS_RELATIVE: &[u8; 4] = b"W2ru";
const WINDOWS_ABSOLUTE: &[u8; 4] = b"W2ku";
/// The longest path that is read, in bytes.
const MAX_PATH_LEN: u32 = 4096;

/// As it lies in the file.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    cookie: [u8; 8],
    data_offset: U64,
    bat_offset: U64,
    version: U32,
    entry_count: U32,
    block_bytes: U32,
    checksum: U32,
    parent_id: [u8; 16],
    parent_modified: U32,
    reserved_1: U32,
    /// Big end first, unlike the paths of the locators.
    parent_name: [u8; 512],
    locators: [Locator; 8],
    reserved_2: [u8; 256],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Locator {
    platform: [u8; 4],
    room: U32,
    len: U32,
    reserved: U32,
    offset: U64,
}

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Where it lies in the file, in bytes.
    pub(super) offset: u64,
    /// Where the BAT begins in the file, in bytes.
    pub(super) bat_offset: u64,
    /// How long a block is, in bytes: a power of two of at least a sector.
    pub(super) block_bytes: u32,
    /// The identifier of the image on which this one builds.
    pub(super) parent_id: Uuid,
    /// What that image may be called, without folders; the likeliest first. Empty where there is none.
    pub(super) parent_names: Vec<String>,
}

impl Header {
    /// Reads the header that `footer` leads to.
    pub(super) fn read(file: &Device, footer: &Footer) -> Result<Self, ContainerError> {
        let offset = footer.header_offset;
        let mut bytes = [0; HEADER_LEN as usize];
        file.read_at(offset, &mut bytes)
            .map_err(|source| ContainerError::Read { what: WHAT, source })?;
        let damaged = |problem| ContainerError::Damaged {
            what: WHAT,
            offset,
            problem,
        };
        let raw = Raw::ref_from_bytes(&bytes).map_err(|_| damaged("it is too short".to_owned()))?;
        if raw.cookie != COOKIE {
            return Err(damaged("it does not begin with `cxsparse`".to_owned()));
        }
        let expected = footer::checksum(&bytes, std::mem::offset_of!(Raw, checksum));
        if raw.checksum.get() != expected {
            return Err(damaged(format!(
                "its checksum is {:#010x}, expected {expected:#010x}",
                raw.checksum.get()
            )));
        }
        if raw.version.get() >> 16 != VERSION >> 16 {
            return Err(damaged(format!(
                "its version is {:#x}, expected {VERSION:#x}",
                raw.version.get()
            )));
        }
        let block_bytes = raw.block_bytes.get();
        if !block_bytes.is_power_of_two() || u64::from(block_bytes) < SECTOR_LEN {
            return Err(damaged(format!(
                "its blocks have {block_bytes} bytes, expected a power of two of at least {SECTOR_LEN}"
            )));
        }
        let needed = footer.len_bytes.div_ceil(u64::from(block_bytes));
        if u64::from(raw.entry_count.get()) < needed {
            return Err(damaged(format!(
                "its table has {} blocks, and the disk {needed}",
                raw.entry_count.get()
            )));
        }
        let bat_offset = raw.bat_offset.get();
        let bat_end = needed.saturating_mul(4).saturating_add(bat_offset);
        if !bat_offset.is_multiple_of(SECTOR_LEN) || bat_end > file.len_bytes() {
            return Err(damaged(format!(
                "its table lies at byte {bat_offset:#x} and ends at {bat_end:#x}, and the file at {:#x}",
                file.len_bytes()
            )));
        }
        let parent_names = match footer.disk_type {
            footer::DiskType::Differencing => parent_names(file, raw),
            _ => Vec::new(),
        };
        Ok(Self {
            offset,
            bat_offset,
            block_bytes,
            parent_id: Uuid::from_bytes(raw.parent_id),
            parent_names,
        })
    }

    /// Returns the bytes of the header of an image whose disk has `entry_count` blocks.
    pub(super) fn to_bytes(&self, entry_count: u32) -> [u8; HEADER_LEN as usize] {
        let mut parent_name = [0; 512];
        for (unit, place) in self
            .parent_names
            .first()
            .map(|name| name.encode_utf16().collect::<Vec<u16>>())
            .unwrap_or_default()
            .into_iter()
            .zip(parent_name.chunks_exact_mut(2))
        {
            place.copy_from_slice(&unit.to_be_bytes());
        }
        let raw = Raw {
            cookie: COOKIE,
            data_offset: u64::MAX.into(),
            bat_offset: self.bat_offset.into(),
            version: VERSION.into(),
            entry_count: entry_count.into(),
            block_bytes: self.block_bytes.into(),
            checksum: 0.into(),
            parent_id: self.parent_id.into_bytes(),
            parent_modified: 0.into(),
            reserved_1: 0.into(),
            parent_name,
            locators: [Locator {
                platform: [0; 4],
                room: 0.into(),
                len: 0.into(),
                reserved: 0.into(),
                offset: 0.into(),
            }; 8],
            reserved_2: [0; 256],
        };
        let mut bytes = [0; HEADER_LEN as usize];
        bytes.copy_from_slice(raw.as_bytes());
        footer::set_checksum(&mut bytes, std::mem::offset_of!(Raw, checksum));
        bytes
    }
}

/// Collects what the parent may be called: the last part of every path that the image has for it.
///
/// The paths are of another computer as a rule; that it is the right image shows its identifier.
fn parent_names(file: &Device, raw: &Raw) -> Vec<String> {
    let located = |platform: &'static [u8; 4]| {
        raw.locators
            .iter()
            .filter(move |locator| locator.platform == *platform && locator.len.get() <= MAX_PATH_LEN)
            .filter_map(|locator| {
                let mut bytes = vec![0; locator.len.get() as usize];
                file.read_at(locator.offset.get(), &mut bytes).ok()?;
                Some(text(&bytes, u16::from_le_bytes))
            })
    };
    let mut names: Vec<String> = Vec::new();
    let paths = located(WINDOWS_RELATIVE)
        .chain(located(WINDOWS_ABSOLUTE))
        .chain([text(&raw.parent_name, u16::from_be_bytes)]);
    for path in paths {
        let name = path.rsplit(['\\', '/']).next().unwrap_or_default();
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Reads UTF-16 up to its end or the first zero.
fn text(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.first_chunk().map(|pair| unit(*pair)))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
}
