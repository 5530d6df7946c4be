//! What a person types as a recovery key.
#![no_main]

use keyhaven_fve::keys::{RecoveryPassword, suggestions};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(key) = RecoveryPassword::parse(text) {
        assert_eq!(RecoveryPassword::parse(key.to_digits().expose_secret()).as_ref(), Ok(&key));
    }
    let _ = suggestions(text);
});
