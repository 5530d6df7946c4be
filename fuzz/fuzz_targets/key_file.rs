//! A startup key file (.BEK).
#![no_main]

use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::ExternalKey;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = ExternalKey::from_bek(bytes) {
        let again = ExternalKey::from_bek(&key.to_bek(FileTime(0))).expect("what we write, we read");
        assert_eq!(again.key(), key.key());
        assert_eq!(again.protector_id(), key.protector_id());
        assert_eq!(again.volume_id(), key.volume_id());
    }
});
