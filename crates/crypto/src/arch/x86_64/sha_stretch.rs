//! The stretch with SHA instructions: the chain's state never leaves the registers.

// UNSAFETY: SHA instructions are only reachable as intrinsics, and registers are filled from memory by pointer.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::secret::Secret;
use crate::stretch::INITIAL_STATE;

/// Round constants of SHA-256 (FIPS 180-4, 4.2.2), in fours as the instructions take them.
const ROUND_CONSTANTS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// The length in bits of what each round hashes.
const HASHED_BITS: i32 = 88 * 8;

/// The state of SHA-256 in the order in which the instructions keep it.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// Stretches as [`crate::stretch`] does, for `rounds` rounds; `None` where the processor has no SHA instructions.
pub(crate) fn stretch(initial: &Secret<32>, salt: &[u8; 16], rounds: u64) -> Option<Secret<32>> {
    if !(is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")) {
        return None;
    }
    // SAFETY: the processor has just said that it has the instructions.
    Some(Secret::init_with(|out| unsafe {
        chain(initial.expose_secret(), salt, rounds, out)
    }))
}

#[target_feature(enable = "sha,sse4.1")]
fn chain(initial: &[u8; 32], salt: &[u8; 16], rounds: u64, out: &mut [u8; 32]) {
    let [initial_low, initial_high] = load_halves(initial);
    let salt = load(salt);
    let zero = _mm_setzero_si128();
    let padded_length = _mm_set_epi32(HASHED_BITS, 0, 0, 0);
    let [a, b, c, d, e, f, g, h] = INITIAL_STATE.map(|word| word as i32);
    let start = State {
        abef: _mm_set_epi32(a, b, e, f),
        cdgh: _mm_set_epi32(c, d, g, h),
    };

    let (mut last_low, mut last_high) = (zero, zero);
    for round in 0..rounds {
        // The number is hashed as eight little-endian bytes, and message words are big-endian.
        let (low, high) = ((round as u32).swap_bytes(), ((round >> 32) as u32).swap_bytes());
        let counted = _mm_set_epi32(0, i32::MIN, high as i32, low as i32);
        let state = compress(start, [last_low, last_high, initial_low, initial_high]);
        let state = compress(state, [salt, counted, zero, padded_length]);
        last_low = _mm_shuffle_epi32::<0b10_11_00_01>(_mm_unpackhi_epi64(state.abef, state.cdgh));
        last_high = _mm_shuffle_epi32::<0b10_11_00_01>(_mm_unpacklo_epi64(state.abef, state.cdgh));
    }

    let (halves, _) = out.as_chunks_mut::<16>();
    for (half, words) in halves.iter_mut().zip([last_low, last_high]) {
        // SAFETY: 16 bytes are there to be written, and the instruction asks for no alignment.
        unsafe { _mm_storeu_si128(half.as_mut_ptr().cast(), swap_words(words)) };
    }
}

/// Applies SHA-256's compression function to one block of sixteen message words.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn compress(start: State, message: [__m128i; 4]) -> State {
    let State { mut abef, mut cdgh } = start;
    let [mut w0, mut w1, mut w2, mut w3] = message;
    for constants in ROUND_CONSTANTS {
        let [a, b, c, d] = constants.map(|word| word as i32);
        let added = _mm_add_epi32(w0, _mm_set_epi32(d, c, b, a));
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32::<0b00_00_11_10>(added));
        // The last four turns need no more message; once unrolled, theirs falls away.
        let next = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
        (w0, w1, w2, w3) = (w1, w2, w3, _mm_sha256msg2_epu32(next, w3));
    }
    State {
        abef: _mm_add_epi32(abef, start.abef),
        cdgh: _mm_add_epi32(cdgh, start.cdgh),
    }
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn load_halves(bytes: &[u8; 32]) -> [__m128i; 2] {
    let mut halves = [_mm_setzero_si128(); 2];
    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
        *half = load(bytes);
    }
    halves
}

/// Reads four message words.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are there to be read, and the instruction asks for no alignment.
    swap_words(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// Turns big-endian words into the processor's, and back.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn swap_words(words: __m128i) -> __m128i {
    _mm_shuffle_epi8(
        words,
        _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::arch;
    use crate::secret::Secret;
    use crate::stretch::stretch_portably;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_its_portable_twin(initial: [u8; 32], salt: [u8; 16], rounds in 0u64..2000) {
            let initial = Secret::from(initial);
            if let Some(stretched) = arch::stretch(&initial, &salt, rounds) {
                prop_assert_eq!(stretched, stretch_portably(&initial, &salt, rounds));
            }
        }
    }
}
