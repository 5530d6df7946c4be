//! The stretch with SHA instructions: the state of a chain never leaves the registers, and several chains go side by
//! side where there are several keys to try.

// UNSAFETY: SHA instructions are only reachable as intrinsics, and registers are filled from memory by pointer.
#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::*;

use crate::secret::Secret;
use crate::stretch::{INITIAL_STATE, STRETCH_BATCH};

/// Round constants of SHA-256 (FIPS 180-4, 4.2.2), in fours as the instructions take them; after four of those the
/// message's ring has gone round.
const ROUND_CONSTANTS: [[[u32; 4]; 4]; 4] = [
    [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    ],
    [
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    ],
    [
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    ],
    [
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ],
];

/// The length in bits of what each round hashes.
const HASHED_BITS: i32 = 88 * 8;

/// Stretches as [`crate::stretch`] does, for `rounds` rounds; `None` where the processor has no SHA instructions.
pub(crate) fn stretch(initial: &Secret<32>, salt: &[u8; 16], rounds: u64) -> Option<Secret<32>> {
    // SAFETY: the processor has just said that it has the instructions.
    detected()
        .then(|| unsafe { one([initial], salt, rounds) })
        .map(|[stretched]| stretched)
}

/// Stretches a whole batch as [`stretch`] does one.
pub(crate) fn stretch_batch(
    initials: [&Secret<32>; STRETCH_BATCH],
    salt: &[u8; 16],
    rounds: u64,
) -> Option<[Secret<32>; STRETCH_BATCH]> {
    // SAFETY: the processor has just said that it has the instructions.
    detected().then(|| unsafe { six(initials, salt, rounds) })
}

fn detected() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")
}

/// Makes a function that stretches several secrets side by side, so that none waits for itself. The chains have names
/// and not numbers: that keeps their state in registers.
macro_rules! side_by_side {
    ($name:ident, $count:expr, $($chain:ident)+) => {
        #[target_feature(enable = "sha,sse4.1")]
        fn $name(initials: [&Secret<32>; $count], salt: &[u8; 16], rounds: u64) -> [Secret<32>; $count] {
            let [$(mut $chain),+] = initials.map(|initial| Chain::new(initial.expose_secret()));
            let salt = load(salt);
            let [first, second, third, last] = ROUND_CONSTANTS;
            for round in 0..rounds {
                $($chain.begin();)+
                for [k0, k1, k2, k3] in [first, second, third] {
                    $($chain.four_rounds_and_extend::<0>(k0);)+
                    $($chain.four_rounds_and_extend::<1>(k1);)+
                    $($chain.four_rounds_and_extend::<2>(k2);)+
                    $($chain.four_rounds_and_extend::<3>(k3);)+
                }
                let [k0, k1, k2, k3] = last;
                $($chain.four_rounds(add_constants($chain.message[0], k0));)+
                $($chain.four_rounds(add_constants($chain.message[1], k1));)+
                $($chain.four_rounds(add_constants($chain.message[2], k2));)+
                $($chain.four_rounds(add_constants($chain.message[3], k3));)+
                $($chain.end_block();)+
                // The second block has nothing of a chain's own, so its schedule serves all.
                for added in schedule_of_second_block(salt, round) {
                    $($chain.four_rounds(added);)+
                }
                $($chain.end_block();)+
            }
            [$($chain.finish()),+]
        }
    };
}
side_by_side!(one, 1, a);
side_by_side!(six, STRETCH_BATCH, a b c d e f);

/// The state of SHA-256 in the order in which the instructions keep it.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// A secret on its way: SHA-256 over a message that holds the last hash.
struct Chain {
    /// The secret, as message words.
    initial: [__m128i; 2],
    /// The state at the beginning of a block.
    start: State,
    state: State,
    /// Sixteen words of the message schedule.
    message: [__m128i; 4],
}

impl Chain {
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn new(initial: &[u8; 32]) -> Self {
        let zero = _mm_setzero_si128();
        let state = State {
            abef: zero,
            cdgh: zero,
        };
        Self {
            initial: load_halves(initial),
            start: state,
            state,
            message: [zero; 4],
        }
    }

    /// Begins a round with what the last has come to.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn begin(&mut self) {
        let [low, high] = self.words();
        self.message = [low, high, self.initial[0], self.initial[1]];
        let [a, b, c, d, e, f, g, h] = INITIAL_STATE.map(|word| word as i32);
        self.state = State {
            abef: _mm_set_epi32(a, b, e, f),
            cdgh: _mm_set_epi32(c, d, g, h),
        };
        self.start = self.state;
    }

    /// Returns the state in the order of the standard, which is also that of message words.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn words(&self) -> [__m128i; 2] {
        let State { abef, cdgh } = self.state;
        [
            _mm_shuffle_epi32::<0b10_11_00_01>(_mm_unpackhi_epi64(abef, cdgh)),
            _mm_shuffle_epi32::<0b10_11_00_01>(_mm_unpacklo_epi64(abef, cdgh)),
        ]
    }

    /// Applies four rounds of SHA-256's compression function; the argument is message and constants.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn four_rounds(&mut self, [lower, upper]: [__m128i; 2]) {
        let State { abef, cdgh } = &mut self.state;
        *cdgh = hold(_mm_sha256rnds2_epu32(*cdgh, *abef, lower));
        *abef = hold(_mm_sha256rnds2_epu32(*abef, *cdgh, upper));
    }

    /// Applies the rounds of the message's fours at `AT` and replaces these by those of sixteen rounds later.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn four_rounds_and_extend<const AT: usize>(&mut self, constants: [u32; 4]) {
        self.four_rounds(add_constants(self.message[AT], constants));
        extend::<AT>(&mut self.message);
    }

    /// Adds what the block began with.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn end_block(&mut self) {
        self.state.abef = _mm_add_epi32(self.state.abef, self.start.abef);
        self.state.cdgh = _mm_add_epi32(self.state.cdgh, self.start.cdgh);
        self.start = self.state;
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn finish(&self) -> Secret<32> {
        Secret::init_with(|out| {
            for (half, words) in out.as_chunks_mut::<16>().0.iter_mut().zip(self.words()) {
                // SAFETY: 16 bytes are there to be written, and the instruction asks for no alignment.
                unsafe { _mm_storeu_si128(half.as_mut_ptr().cast(), swap_words(words)) };
            }
        })
    }
}

/// Replaces four words of the message schedule, a ring that begins `AT` fours in, by the next.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn extend<const AT: usize>(message: &mut [__m128i; 4]) {
    let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|i| message[(AT + i) % 4]);
    let next = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    message[AT] = _mm_sha256msg2_epu32(next, w3);
}

/// Returns the whole message schedule of a round's second block, with the constants added.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn schedule_of_second_block(salt: __m128i, round: u64) -> [[__m128i; 2]; 16] {
    let zero = _mm_setzero_si128();
    // The number is hashed as eight little-endian bytes, and message words are big-endian.
    let (low, high) = ((round as u32).swap_bytes(), ((round >> 32) as u32).swap_bytes());
    let counted = _mm_set_epi32(0, i32::MIN, high as i32, low as i32);
    let mut message = [salt, counted, zero, _mm_set_epi32(HASHED_BITS, 0, 0, 0)];
    let mut schedule = [[zero; 2]; 16];
    for (added, [k0, k1, k2, k3]) in schedule.as_chunks_mut().0.iter_mut().zip(ROUND_CONSTANTS) {
        let [added0, added1, added2, added3] = added;
        *added0 = add_constants(message[0], k0);
        extend::<0>(&mut message);
        *added1 = add_constants(message[1], k1);
        extend::<1>(&mut message);
        *added2 = add_constants(message[2], k2);
        extend::<2>(&mut message);
        *added3 = add_constants(message[3], k3);
        extend::<3>(&mut message);
    }
    schedule
}

/// Adds the constants to four words and returns the sums twice: as the first two rounds take them and the last two.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn add_constants(words: __m128i, constants: [u32; 4]) -> [__m128i; 2] {
    let [a, b, c, d] = constants.map(|word| word as i32);
    let added = _mm_add_epi32(words, _mm_set_epi32(d, c, b, a));
    [added, _mm_shuffle_epi32::<0b00_00_11_10>(added)]
}

/// Returns the same register, but keeps the compiler from computing it before or after other held registers: it would
/// otherwise put one chain after the other, to need fewer registers at a time.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn hold(register: __m128i) -> __m128i {
    let mut held = register;
    // SAFETY: no instruction is in it.
    unsafe { asm!("/* {held} */", held = inout(xmm_reg) held, options(nomem, nostack, preserves_flags)) };
    held
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
    use crate::stretch::{STRETCH_BATCH, stretch_portably};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_its_portable_twin(
            initials: [[u8; 32]; STRETCH_BATCH],
            salt: [u8; 16],
            rounds in 0u64..2000,
        ) {
            let initials = initials.map(Secret::from);
            let by_twin = initials.each_ref().map(|initial| stretch_portably(initial, &salt, rounds));
            if let Some(stretched) = arch::stretch(&initials[0], &salt, rounds) {
                prop_assert_eq!(&stretched, &by_twin[0]);
            }
            if let Some(stretched) = arch::stretch_batch(initials.each_ref(), &salt, rounds) {
                prop_assert_eq!(stretched, by_twin);
            }
        }
    }
}
