//! The map of a rescued drive, from anybody's hands.
#![no_main]

use keyhaven_disk::map::Mapfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(file) = Mapfile::read(text) else { return };
    let mut out = Vec::new();
    file.write(&mut out).expect("memory takes it");
    let again = Mapfile::read(std::str::from_utf8(&out).expect("text")).expect("our own");
    assert_eq!(again.map, file.map);
});
