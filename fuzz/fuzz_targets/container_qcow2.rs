//! QCOW2 images.
#![no_main]

use std::sync::Arc;

use keyhaven_disk::container::{self, Format, Spec};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(format) = Spec::named("qcow2") else {
        return;
    };
    let mut image = bytes.to_vec();
    // What every image must have, so that the input is about the rest.
    image.resize(image.len().max(4096), 0);
    image[..8].copy_from_slice(b"QFI\xFB\0\0\0\x03");
    let cluster_bits = 9 + u32::from(image[23]) % 13;
    image[20..24].copy_from_slice(&cluster_bits.to_be_bytes());
    if let Ok(image) = container::open_inside(Arc::new(image), Format::Of(format)) {
        let mut buf = [0; 3000];
        let len = image.device.len_bytes();
        for at in [0, 1, 40_000, len / 2, len.saturating_sub(3000), len] {
            let _ = image.device.read_at(at, &mut buf);
            image.device.hole_at(at, u64::MAX);
        }
    }
});
