//! One metadata copy. What is read of its entries must be written back to the same bytes.
#![no_main]

use keyhaven_fve::format::block::InformationBlock;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(block) = InformationBlock::read(bytes) {
        let start = 64 + block.dataset.start as usize;
        let written: Vec<u8> = block.datums.iter().flat_map(|datum| datum.to_bytes().to_vec()).collect();
        assert!(bytes[start..].starts_with(&written));
        let _ = (block.crc32_is_right(), format!("{block:?}"));
    }
});
