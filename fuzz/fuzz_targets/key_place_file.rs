//! Taking recovery keys out of a file of whatever kind: tables, exports, documents, texts.
#![no_main]

use keyhaven_backup::reading::{NoSecrets, keys_in};
use keyhaven_backup::{paper, vault};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Pages and pictures are read on a thread of their own, which may panic; vaults need a key.
    if paper::is_pdf(bytes) || paper::is_picture(bytes) || vault::is_vault(bytes) {
        return;
    }
    let _ = keys_in(bytes, &mut NoSecrets);
});
