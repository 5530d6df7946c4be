//! Looking for recovery keys in the bytes of any text file.
#![no_main]

use keyhaven_backup::text;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(decoded) = text::decode(bytes) {
        let _ = text::scan(&decoded);
    }
});
