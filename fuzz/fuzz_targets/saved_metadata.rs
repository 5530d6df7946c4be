//! A file of saved metadata. What is read must be written back to the same bytes; whatever it is, it is put nowhere.
#![no_main]

use keyhaven_fve::SavedMetadata;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // With a right hash behind it, so that more than the first look is tried.
    let mut whole = bytes.to_vec();
    whole.extend_from_slice(&keyhaven_crypto::sha256(bytes));
    for bytes in [bytes, &whole] {
        if let Ok(saved) = SavedMetadata::read(bytes) {
            assert_eq!(&**saved.to_bytes(), bytes);
            let _ = saved.fits(&vec![0; 512], None, true);
        }
    }
});
