//! The footer, which says how large the disk is and how it is stored.

use uuid::Uuid;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// How long the footer is, in bytes.
pub(super) const FOOTER_LEN: u64 = 512;
pub(super) const SECTOR_LEN: u64 = 512;
pub(super) const COOKIE: [u8; 8] = *b"conectix";

/// The largest disk that Windows takes, in bytes: 2040 GiB.
pub(super) const MAX_LEN: u64 = 2040 << 30;

/// A bit that is always set.
const FEATURES: u32 = 2;
const VERSION: u32 = 0x0001_0000;
/// Where a fixed image has no further header.
const NO_OFFSET: u64 = u64::MAX;

/// As it lies in the file.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    cookie: [u8; 8],
    features: U32,
    version: U32,
    data_offset: U64,
    created: U32,
    creator: [u8; 4],
    creator_version: U32,
    creator_system: [u8; 4],
    original_len: U64,
    len: U64,
    cylinders: U16,
    heads: u8,
    sectors: u8,
    disk_type: U32,
    checksum: U32,
    id: [u8; 16],
    is_saved_state: u8,
    reserved: [u8; 427],
}

/// How the disk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskType {
    /// As it is.
    Fixed,
    /// In blocks, as far as they were written.
    Dynamic,
    /// The same, over another image.
    Differencing,
}

/// What the footer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    /// Where the header of a dynamic image lies, in bytes from the start of the file.
    pub(super) header_offset: u64,
    /// Seconds since the start of the year 2000.
    pub(super) created: u32,
    /// How large the disk is, in bytes: whole sectors.
    pub(super) len_bytes: u64,
    pub(super) disk_type: DiskType,
    pub(super) id: Uuid,
}

impl Footer {
    /// Reads a footer; else says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Ok(raw) = Raw::ref_from_bytes(bytes) else {
            return Err(format!("it has {} bytes, expected {FOOTER_LEN}", bytes.len()));
        };
        if raw.cookie != COOKIE {
            return Err("it does not begin with `conectix`".to_owned());
        }
        let expected = checksum(bytes, std::mem::offset_of!(Raw, checksum));
        if raw.checksum.get() != expected {
            return Err(format!(
                "its checksum is {:#010x}, expected {expected:#010x}",
                raw.checksum.get()
            ));
        }
        if raw.version.get() >> 16 != VERSION >> 16 {
            return Err(format!(
                "its version is {:#x}, expected {VERSION:#x}",
                raw.version.get()
            ));
        }
        let disk_type = match raw.disk_type.get() {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            other => return Err(format!("its disk type is {other}, expected 2, 3 or 4")),
        };
        let len_bytes = raw.len.get();
        if len_bytes == 0 || !len_bytes.is_multiple_of(SECTOR_LEN) {
            return Err(format!(
                "the disk has {len_bytes} bytes, which are not whole sectors"
            ));
        }
        Ok(Self {
            header_offset: raw.data_offset.get(),
            created: raw.created.get(),
            len_bytes,
            disk_type,
            id: Uuid::from_bytes(raw.id),
        })
    }

    /// Returns the bytes of the footer of an image that is made now.
    pub(super) fn to_bytes(&self) -> [u8; FOOTER_LEN as usize] {
        let (cylinders, heads, sectors) = geometry(self.len_bytes / SECTOR_LEN);
        let raw = Raw {
            cookie: COOKIE,
            features: FEATURES.into(),
            version: VERSION.into(),
            data_offset: match self.disk_type {
                DiskType::Fixed => NO_OFFSET.into(),
                _ => self.header_offset.into(),
            },
            created: self.created.into(),
            // Windows' own mark: with any other, QEMU takes the size from the geometry, which is often smaller.
            creator: *b"win ",
            creator_version: 0x000A_0000.into(),
            creator_system: *b"Wi2k",
            original_len: self.len_bytes.into(),
            len: self.len_bytes.into(),
            cylinders: cylinders.into(),
            heads,
            sectors,
            disk_type: match self.disk_type {
                DiskType::Fixed => 2,
                DiskType::Dynamic => 3,
                DiskType::Differencing => 4,
            }
            .into(),
            checksum: 0.into(),
            id: self.id.into_bytes(),
            is_saved_state: 0,
            reserved: [0; 427],
        };
        let mut bytes = [0; FOOTER_LEN as usize];
        bytes.copy_from_slice(raw.as_bytes());
        set_checksum(&mut bytes, std::mem::offset_of!(Raw, checksum));
        bytes
    }
}

/// Returns the complement of the sum of all bytes but the four of the checksum itself.
pub(super) fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = bytes
        .iter()
        .enumerate()
        .filter(|(index, _)| !(at..at + 4).contains(index))
        .fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    !sum
}

/// Puts the checksum where it belongs.
pub(super) fn set_checksum(bytes: &mut [u8], at: usize) {
    let sum = checksum(bytes, at);
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Returns cylinders, heads and sectors per track as the specification's appendix computes them: what they cover is at
/// most the disk.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    const MOST: u64 = 65_535 * 16 * 255;
    let sectors = sectors.min(MOST);
    let (per_track, heads, tracks) = if sectors >= 65_535 * 16 * 63 {
        (255, 16, sectors / 255)
    } else {
        let (mut per_track, mut tracks) = (17, sectors / 17);
        let mut heads = tracks.div_ceil(1024).max(4);
        if tracks >= heads * 1024 || heads > 16 {
            (per_track, heads, tracks) = (31, 16, sectors / 31);
        }
        if tracks >= heads * 1024 {
            (per_track, heads, tracks) = (63, 16, sectors / 63);
        }
        (per_track, heads, tracks)
    };
    let cylinders = u16::try_from(tracks / heads).unwrap_or(u16::MAX);
    (cylinders, heads as u8, per_track)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_reads_back_as_it_was_written() {
        for disk_type in [DiskType::Fixed, DiskType::Dynamic, DiskType::Differencing] {
            let footer = Footer {
                header_offset: if disk_type == DiskType::Fixed {
                    NO_OFFSET
                } else {
                    512
                },
                created: 800_000_000,
                len_bytes: 40 << 20,
                disk_type,
                id: Uuid::from_u128(7),
            };
            let bytes = footer.to_bytes();
            assert_eq!(Footer::parse(&bytes), Ok(footer));
            for at in 0..bytes.len() {
                let mut changed = bytes;
                changed[at] ^= 1;
                assert!(Footer::parse(&changed).is_err(), "a flip in byte {at}");
            }
        }
    }

    #[test]
    fn geometries_are_those_of_the_specification() {
        // As `qemu-img create -f vpc` computes them for these numbers of sectors.
        assert_eq!(geometry(20_400), (300, 4, 17));
        assert_eq!(geometry(65_535 * 16 * 255), (65_535, 16, 255));
        assert_eq!(geometry(u64::MAX / 512), (65_535, 16, 255));
        for sectors in [1u64, 100, 69_632, 81_920, 1 << 20, 1 << 25, 1 << 30] {
            let (cylinders, heads, per_track) = geometry(sectors);
            assert!(u64::from(cylinders) * u64::from(heads) * u64::from(per_track) <= sectors);
        }
    }
}
