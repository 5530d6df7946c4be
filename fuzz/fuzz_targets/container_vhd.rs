//! VHD images: the input is the parts that have a shape, with checksums that are right.
#![no_main]

use std::sync::Arc;

use keyhaven_disk::container::{self, Format, Spec};

const FOOTER_LEN: usize = 512;
const HEADER_LEN: usize = 1024;
const CHECKSUM_OF_FOOTER: usize = 64;
const CHECKSUM_OF_HEADER: usize = 36;

fn set_checksum(bytes: &mut [u8], at: usize) {
    let sum = bytes
        .iter()
        .enumerate()
        .filter(|(index, _)| !(at..at + 4).contains(index))
        .fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(format) = Spec::named("vhd") else { return };
    let mut image = bytes.to_vec();
    image.resize(image.len().max(4096), 0);
    if bytes.first().is_some_and(|byte| byte & 1 == 0) {
        image[..8].copy_from_slice(b"conectix");
        set_checksum(&mut image[..FOOTER_LEN], CHECKSUM_OF_FOOTER);
        image[FOOTER_LEN..FOOTER_LEN + 8].copy_from_slice(b"cxsparse");
        set_checksum(
            &mut image[FOOTER_LEN..FOOTER_LEN + HEADER_LEN],
            CHECKSUM_OF_HEADER,
        );
    }
    for format in [Format::Detected, Format::Of(format)] {
        if let Ok(image) = container::open_inside(Arc::new(image.clone()), format) {
            let mut buf = [0; 3000];
            let len = image.device.len_bytes();
            for at in [0, 1, 4000, len / 2, len.saturating_sub(3000), len] {
                let _ = image.device.read_at(at, &mut buf);
                image.device.hole_at(at, u64::MAX);
            }
        }
    }
});
