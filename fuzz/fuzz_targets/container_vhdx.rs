//! VHDX images: the input is the parts that have a shape, laid where they belong, with checksums that are right.
#![no_main]

use std::sync::Arc;

use crc::{CRC_32_ISCSI, Crc};
use keyhaven_disk::container::{self, Format, Spec};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Which parts of the image the input fills, one after the other: a header, a region table, two entries of the log, and
/// the starts of two regions, one of which has the table of metadata and their items, the other the table of blocks.
const PARTS: &[(usize, usize)] = &[
    (64 * KIB, 80),
    (192 * KIB, 80),
    (MIB, 160),
    (MIB + 8 * KIB, 160),
    (2 * MIB, 256),
    (2 * MIB + 64 * KIB, 128),
    (3 * MIB, 256),
    (3 * MIB + 64 * KIB, 128),
];

/// What has a checksum: where it begins, how long it is, and what it begins with.
const CHECKED: &[(usize, usize, &[u8; 4])] = &[
    (64 * KIB, 4 * KIB, b"head"),
    (192 * KIB, 64 * KIB, b"regi"),
    (MIB, 8 * KIB, b"loge"),
    (MIB + 8 * KIB, 8 * KIB, b"loge"),
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(format) = Spec::named("vhdx") else { return };
    let mut image = vec![0; 4 * MIB];
    image[..8].copy_from_slice(b"vhdxfile");
    let mut rest = bytes;
    for (start, len) in PARTS {
        let (part, behind) = rest.split_at(rest.len().min(*len));
        image[*start..start + part.len()].copy_from_slice(part);
        rest = behind;
    }
    for (start, len, signature) in CHECKED {
        let part = &mut image[*start..start + len];
        part[..8].fill(0);
        part[..4].copy_from_slice(*signature);
        let sum = CRC.checksum(part);
        part[4..8].copy_from_slice(&sum.to_le_bytes());
    }
    if let Ok(image) = container::open_inside(Arc::new(image), Format::Of(format)) {
        let mut buf = [0; 3000];
        let len = image.device.len_bytes();
        for at in [0, 1, MIB as u64 - 1000, len / 2, len.saturating_sub(3000), len] {
            let _ = image.device.read_at(at, &mut buf);
            image.device.hole_at(at, u64::MAX);
        }
    }
});
