//! The first sector of a volume.
#![no_main]

use keyhaven_fve::format::boot_sector::BootSector;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = BootSector::read(bytes);
});
