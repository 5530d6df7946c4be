//! Randomness that is the same in every run.

use std::io;

/// Returns a source of bytes without a pattern, the same for the same seed (splitmix64). It never fails.
///
/// It stands in for the operating system's randomness where a test makes keys, which nobody may do elsewhere.
pub fn numbers(seed: u64) -> impl FnMut(&mut [u8]) -> io::Result<()> {
    let mut state = seed;
    move |bytes| {
        for part in bytes.chunks_mut(8) {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^= mixed >> 31;
            part.copy_from_slice(&mixed.to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}
