//! Damaged metadata: entries found again in any bytes, and a volume put together of them.
#![no_main]

use std::sync::Arc;

use keyhaven_fve::format::fragments::{BlockFields, dataset_header, entries_in};
use keyhaven_fve::salvage::{Remains, Search};
use keyhaven_fve::unwatched;

/// Where copies of metadata are put on a small volume.
const PLACES: [usize; 3] = [0x1_0000, 0x2_0000, 0x3_0000];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for found in entries_in(bytes) {
        let written = found.datum.to_bytes();
        assert_eq!(bytes.get(found.at..found.at + written.len()), Some(&written[..]));
    }
    let _ = (BlockFields::read(bytes), dataset_header(bytes));

    let mut volume = vec![0; 0x4_0000];
    let third = bytes.len().div_ceil(3).max(1);
    for (place, part) in PLACES.into_iter().zip(bytes.chunks(third)) {
        let len = part.len().min(0x1_0000);
        volume[place..place + len].copy_from_slice(&part[..len]);
    }
    let device: keyhaven_disk::Device = Arc::new(volume);
    if let Ok(found) = Search::run(&device, &mut unwatched) {
        let _ = found.volume_starts(&device);
    }
    if let Ok(remains) = Remains::collect(device, None, &mut unwatched) {
        let _ = remains.volume(&mut unwatched).map(|volume| volume.metadata().protectors().len());
    }
});
