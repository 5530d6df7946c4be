//! A list of metadata entries. Whatever is read must be written back to the same bytes.
#![no_main]

use keyhaven_fve::format::datum::Datum;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = Datum::read_list(bytes) {
        let written: Vec<u8> = list.iter().flat_map(|datum| datum.to_bytes().to_vec()).collect();
        assert!(bytes.starts_with(&written));
        assert!(bytes[written.len()..].iter().all(|byte| *byte == 0));
        let _ = format!("{list:?}");
    }
});
