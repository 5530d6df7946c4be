//! VMDK images: sparse ones, and the texts that list files.
#![no_main]

use std::sync::Arc;

use keyhaven_disk::container::{self, Format, Spec};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(format) = Spec::named("vmdk") else { return };
    // As it is, as a sparse extent with a descriptor that names it, and as a text.
    let mut sparse = bytes.to_vec();
    sparse.resize(sparse.len().max(2048), 0);
    sparse[..8].copy_from_slice(b"KDMV\x01\0\0\0");
    sparse[28..44].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    sparse[512..540].copy_from_slice(b"RW 2048 SPARSE \"image.vmdk\"\n");
    sparse[540] = 0;
    let text = [b"# Disk DescriptorFile\n".as_slice(), bytes].concat();
    for image in [bytes.to_vec(), sparse, text] {
        if let Ok(image) = container::open_inside(Arc::new(image), Format::Of(format)) {
            let mut buf = [0; 3000];
            let len = image.device.len_bytes();
            for at in [0, 1, 70_000, len / 2, len.saturating_sub(3000), len] {
                let _ = image.device.read_at(at, &mut buf);
                image.device.hole_at(at, u64::MAX);
            }
        }
    }
});
