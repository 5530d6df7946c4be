//! A key package in any form. Whatever is read must be written so that it is read the same.
#![no_main]

use keyhaven_fve::KeyPackage;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(package) = KeyPackage::read(bytes)
        && let Ok(written) = package.to_bytes()
    {
        let again = KeyPackage::read(&written).expect("what was written is read");
        assert_eq!(again.volume_id(), package.volume_id());
        assert_eq!(again.protectors().len(), package.protectors().len());
        assert_eq!(again.to_bytes().expect("it is written again"), written);
    }
    let _ = keyhaven_backup::key_package::read(bytes);
});
