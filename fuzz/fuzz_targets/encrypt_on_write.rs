//! The records of which parts of a volume are encrypted.
#![no_main]

use keyhaven_fve::format::eow::{EowBitmap, EowInformation};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = EowInformation::announced_len_bytes(bytes);
    let _ = EowInformation::read(bytes);
    let _ = EowBitmap::announced_len_bytes(bytes);
    if let Ok(bitmap) = EowBitmap::read(bytes) {
        for chunk in [0, 1, u64::from(bitmap.chunks), u64::MAX] {
            let _ = bitmap.is_encrypted(chunk);
        }
    }
});
