//! The first sector as Windows 7 and later write it, field by field.
//!
//! Source: format spec 1.2; the geometry is not the same everywhere (image cs-aes-xts-128-startup-key). What a computer runs and prints when it is
//! started from such a drive is our own.

use super::block::SIGNATURE;
use super::boot_sector::{INFORMATION_OFFSET_GUID, LEN_BYTES};

/// What a first sector says about its volume; everything else in it is the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTemplate {
    /// Bytes in a sector, as the file system inside counts them; 0 where that is exFAT.
    pub bytes_per_sector: u16,
    /// Sectors in a cluster of the file system inside.
    pub sectors_per_cluster: u8,
    /// The disk's geometry as the file system inside has it: sectors on a track. Nothing uses it.
    pub sectors_per_track: u16,
    /// And heads.
    pub heads: u16,
    /// Sectors of the disk in front of the volume.
    pub hidden_sectors: u32,
    /// Where the three metadata copies are, in bytes from the start of the volume.
    pub metadata_offsets: [u64; 3],
}

/// Prints [`MESSAGE`] through the BIOS, then waits for ever: clear AX and DS; SI = 7D00h; print each byte with
/// interrupt 10h, function 0Eh, up to a zero; halt.
const BOOT_CODE: &[u8] = &[
    0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x00, 0x7d, 0xfc, 0xac, 0x84, 0xc0, 0x74, 0x09, 0xb4, 0x0e, 0xbb, 0x07,
    0x00, 0xcd, 0x10, 0xeb, 0xf2, 0xf4, 0xeb, 0xfd,
];

const MESSAGE: &[u8] = b"\r\nThis drive is encrypted. Start the computer from another one.\r\n\0";

impl BootTemplate {
    /// Writes the sector's first 512 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN_BYTES] {
        let mut sector = [0; LEN_BYTES];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        // A jump over the fields to the code, as in front of a FAT32 file system.
        put(0x00, &[0xeb, 0x58, 0x90]);
        put(0x03, &SIGNATURE);
        put(0x0b, &self.bytes_per_sector.to_le_bytes());
        put(0x0d, &[self.sectors_per_cluster]);
        put(0x15, &[0xf8]);
        put(0x18, &self.sectors_per_track.to_le_bytes());
        put(0x1a, &self.heads.to_le_bytes());
        put(0x1c, &self.hidden_sectors.to_le_bytes());
        put(0x24, &0x1fe0u32.to_le_bytes());
        put(0x30, &1u16.to_le_bytes());
        put(0x32, &6u16.to_le_bytes());
        put(0x40, &[0x80, 0x00, 0x29]);
        put(0x47, b"NO NAME    FAT32   ");
        put(0x5a, BOOT_CODE);
        put(0xa0, &INFORMATION_OFFSET_GUID.to_bytes());
        for (at, offset) in [0xb0, 0xb8, 0xc0].into_iter().zip(self.metadata_offsets) {
            put(at, &offset.to_le_bytes());
        }
        put(0x100, MESSAGE);
        put(0x198, &[b'x'; 0x50]);
        put(0x1e8, &[0xff; 0x13]);
        put(0x1fb, &[0x00, 0x1f, 0x2c, 0x55, 0xaa]);
        sector
    }
}

#[cfg(test)]
mod tests {
    use keyhaven_testkit::corpus;
    use proptest::prelude::*;

    use super::*;
    use crate::format::boot_sector::{BootLayout, BootSector};

    /// Where Windows has its own code and text.
    const PROGRAM: [std::ops::Range<usize>; 2] = [0x5a..0xa0, 0x100..0x198];

    #[test]
    fn real_first_sectors_are_written_back_but_for_the_program() {
        let mut seen = 0;
        for known in corpus::volumes() {
            let device = keyhaven_disk::open(&known.image()).expect("the image opens");
            let mut real = [0; LEN_BYTES];
            device.read_at(0, &mut real).expect("readable");
            let Some(BootSector {
                layout: BootLayout::Standard { metadata_offsets },
                bytes_per_sector,
                sectors_per_cluster,
                ..
            }) = BootSector::read(&real)
            else {
                continue;
            };
            let field = |at: usize| u16::from_le_bytes([real[at], real[at + 1]]);
            let mut written = BootTemplate {
                bytes_per_sector,
                sectors_per_cluster,
                sectors_per_track: field(0x18),
                heads: field(0x1a),
                hidden_sectors: u32::from_le_bytes(real[0x1c..0x20].try_into().expect("four bytes")),
                metadata_offsets,
            }
            .to_bytes();
            for range in PROGRAM {
                written[range.clone()].fill(0);
                real[range].fill(0);
            }
            assert_eq!(hex::encode(written), hex::encode(real), "{}", known.name);
            seen += 1;
        }
        assert!(
            seen > 10 || corpus::volumes().is_empty(),
            "the corpus has more of these"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_written_is_read(
            bytes_per_sector in any::<u16>(),
            sectors_per_cluster in any::<u8>(),
            hidden_sectors in any::<u32>(),
            metadata_offsets in any::<[u64; 3]>(),
        ) {
            let template = BootTemplate {
                bytes_per_sector,
                sectors_per_cluster,
                sectors_per_track: 61,
                heads: 32,
                hidden_sectors,
                metadata_offsets,
            };
            prop_assert_eq!(
                BootSector::read(&template.to_bytes()),
                Some(BootSector {
                    layout: BootLayout::Standard { metadata_offsets },
                    bytes_per_sector,
                    sectors_per_cluster,
                    total_sectors: None,
                })
            );
        }
    }
}
