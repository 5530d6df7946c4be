//! The first sector of a volume.
//!
//! Source: format spec 1.

use super::block::SIGNATURE;
use crate::guid::Guid;

/// What is read of it, whatever the sector size.
pub const LEN_BYTES: usize = 512;

/// Stands before the three metadata offsets.
pub const INFORMATION_OFFSET_GUID: Guid = Guid::from_bytes([
    0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01,
]);

/// Stands before them where the volume is, or was last, encrypted on write; two more offsets follow.
pub const EOW_INFORMATION_OFFSET_GUID: Guid = Guid::from_bytes([
    0x3b, 0x4d, 0xa8, 0x92, 0x80, 0xdd, 0x0e, 0x4d, 0x9e, 0x4e, 0xb1, 0xe3, 0x28, 0x4e, 0xae, 0xd8,
]);

/// OEM name of a FAT boot sector as BitLocker To Go writes it; ordinary FAT volumes have it too.
const TO_GO_OEM_NAME: [u8; 8] = *b"MSWIN4.1";

/// A BitLocker volume's first sector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSector {
    /// Which of the four layouts it has.
    pub layout: BootLayout,
    /// Bytes in a sector, as the original file system had it; 0 when that was exFAT.
    pub bytes_per_sector: u16,
    /// Sectors in a cluster; 0 when the original file system did not say.
    pub sectors_per_cluster: u8,
    /// Size of the volume in sectors where the sector says it (Vista and To Go).
    pub total_sectors: Option<u64>,
}

/// The layouts of a boot sector, with what each says about where the metadata are. Offsets are in bytes from the start
/// of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootLayout {
    /// Windows 7 and later.
    Standard {
        /// The three metadata copies.
        metadata_offsets: [u64; 3],
    },
    /// Windows 8 and later, encrypted on write.
    EncryptOnWrite {
        /// The three metadata copies.
        metadata_offsets: [u64; 3],
        /// The two copies of the record of what is encrypted.
        eow_offsets: [u64; 2],
    },
    /// A removable drive with a small unencrypted file system in front ("discovery volume").
    ToGo {
        /// The three metadata copies.
        metadata_offsets: [u64; 3],
    },
    /// Windows Vista.
    Vista {
        /// The first metadata copy, as a cluster number.
        metadata_cluster: u64,
    },
}

impl BootSector {
    /// Recognises a BitLocker volume by its first 512 bytes; `None` if they belong to something else.
    ///
    /// The marker is searched at any place, as the driver does (format spec 1.1).
    #[must_use]
    pub fn read(sector: &[u8]) -> Option<Self> {
        let sector = sector.get(..LEN_BYTES)?;
        let oem_name = &sector[3..11];
        let marker = (0..=LEN_BYTES - 16).find_map(|at| {
            let bytes: [u8; 16] = sector[at..at + 16].try_into().ok()?;
            let guid = Guid::from_bytes(bytes);
            (guid == INFORMATION_OFFSET_GUID || guid == EOW_INFORMATION_OFFSET_GUID)
                .then_some((guid, at + 16))
        });
        let (layout, total_sectors) = match marker {
            Some((guid, at)) => {
                let metadata_offsets = [
                    u64_at(sector, at)?,
                    u64_at(sector, at + 8)?,
                    u64_at(sector, at + 16)?,
                ];
                if guid == EOW_INFORMATION_OFFSET_GUID {
                    let eow_offsets = [u64_at(sector, at + 24)?, u64_at(sector, at + 32)?];
                    (
                        BootLayout::EncryptOnWrite {
                            metadata_offsets,
                            eow_offsets,
                        },
                        None,
                    )
                } else if oem_name == TO_GO_OEM_NAME {
                    let total = u32::from_le_bytes(sector[0x20..0x24].try_into().ok()?);
                    (
                        BootLayout::ToGo { metadata_offsets },
                        Some(u64::from(total)).filter(|total| *total > 0),
                    )
                } else {
                    (BootLayout::Standard { metadata_offsets }, None)
                }
            }
            None if oem_name == SIGNATURE => {
                let layout = BootLayout::Vista {
                    metadata_cluster: u64_at(sector, 0x38)?,
                };
                // NTFS counts without the last sector, which holds the copy of the boot sector.
                let total = u64_at(sector, 0x28)?.checked_add(1).filter(|total| *total > 1);
                (layout, total)
            }
            None => return None,
        };
        Some(Self {
            layout,
            bytes_per_sector: u16::from_le_bytes([sector[0x0b], sector[0x0c]]),
            sectors_per_cluster: sector[0x0d],
            total_sectors,
        })
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_sectors_are_not_recognised() {
        assert_eq!(BootSector::read(&[0; 512]), None);
        assert_eq!(BootSector::read(&[]), None);
        let mut fat = [0; 512];
        fat[3..11].copy_from_slice(b"MSWIN4.1");
        assert_eq!(BootSector::read(&fat), None, "an ordinary FAT volume");
    }

    #[test]
    fn a_marker_is_found_at_any_place_that_leaves_room_for_its_offsets() {
        let mut sector = [0u8; 512];
        sector[0x120..0x130].copy_from_slice(&INFORMATION_OFFSET_GUID.to_bytes());
        sector[0x130] = 7;
        let found = BootSector::read(&sector).expect("a marker");
        assert_eq!(
            found.layout,
            BootLayout::Standard {
                metadata_offsets: [7, 0, 0]
            }
        );
        let mut sector = [0u8; 512];
        sector[496..].copy_from_slice(&INFORMATION_OFFSET_GUID.to_bytes());
        assert_eq!(BootSector::read(&sector), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0usize..512) {
            let mut bytes = bytes;
            let guid = EOW_INFORMATION_OFFSET_GUID.to_bytes();
            if let Some(place) = bytes.get_mut(at..at + 16) {
                place.copy_from_slice(&guid);
            }
            let _ = BootSector::read(&bytes);
        }
    }
}
