//! 128-bit registers: a block of AES or four words, as every processor with AES instructions has them.

// UNSAFETY: instructions are only reachable as intrinsics, which are unsafe to call where code is not compiled for
// them; the types below are the proof that they are there.
#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::*;

use super::vector::{AesVector, LANES, Vector, WordVector, instructions};

/// Proof of AES instructions on one block, and of the SSE that every such processor has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Narrow(());

impl Narrow {
    /// Asks the processor.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("sse4.1"))
        .then_some(Self(()))
    }
}

impl Vector for Narrow {
    type Register = __m128i;
    type Bytes = [u8; 16];

    #[inline(always)]
    fn within<T>(self, work: impl FnOnce() -> T) -> T {
        #[target_feature(enable = "aes,pclmulqdq,sse4.1")]
        fn within<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { within(work) }
    }

    #[inline(always)]
    fn registers(bytes: &[u8]) -> &[[u8; 16]] {
        bytes.as_chunks().0
    }

    #[inline(always)]
    fn registers_mut(bytes: &mut [u8]) -> &mut [[u8; 16]] {
        bytes.as_chunks_mut().0
    }

    instructions! {
        fn zero() -> __m128i { _mm_setzero_si128() }
        fn load(bytes: &[u8; 16]) -> __m128i { _mm_loadu_si128(bytes.as_ptr().cast()) }
        fn store(bytes: &mut [u8; 16], register: __m128i) { _mm_storeu_si128(bytes.as_mut_ptr().cast(), register) }
        fn hold(register: __m128i) -> __m128i {{
            let mut held = register;
            asm!("/* {held} */", held = inout(xmm_reg) held, options(nomem, nostack, preserves_flags));
            held
        }}
        fn xor(a: __m128i, b: __m128i) -> __m128i { _mm_xor_si128(a, b) }
    }
}

impl AesVector for Narrow {
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn broadcast(self, block: &[u8; 16]) -> __m128i {
        self.load(block)
    }

    #[inline(always)]
    fn load_column<const S: usize>(self, sectors: &[[[u8; 16]; S]], at: usize) -> __m128i {
        self.load(&sectors[0][at])
    }

    #[inline(always)]
    fn store_column<const S: usize>(self, sectors: &mut [[[u8; 16]; S]], at: usize, register: __m128i) {
        self.store(&mut sectors[0][at], register);
    }

    #[inline(always)]
    fn shift_in(self, before: __m128i, _: __m128i) -> __m128i {
        before
    }

    #[inline(always)]
    fn first_tweaks(self, start: &[u8; 16]) -> [__m128i; LANES] {
        let start = self.load(start);
        [
            start,
            self.times_alpha_to::<1, 63>(start),
            self.times_alpha_to::<2, 62>(start),
            self.times_alpha_to::<3, 61>(start),
            self.times_alpha_to::<4, 60>(start),
            self.times_alpha_to::<5, 59>(start),
            self.times_alpha_to::<6, 58>(start),
            self.times_alpha_to::<7, 57>(start),
        ]
    }

    instructions! {
        fn encrypt_round(state: __m128i, key: __m128i) -> __m128i { _mm_aesenc_si128(state, key) }
        fn encrypt_last(state: __m128i, key: __m128i) -> __m128i { _mm_aesenclast_si128(state, key) }
        fn decrypt_round(state: __m128i, key: __m128i) -> __m128i { _mm_aesdec_si128(state, key) }
        fn decrypt_last(state: __m128i, key: __m128i) -> __m128i { _mm_aesdeclast_si128(state, key) }
        fn substitute(word: u32) -> u32 { substitute(word) }
        fn inverse_mix(key: &mut [u8; 16]) { inverse_mix(key) }
        fn next_tweaks(tweak: __m128i) -> __m128i {{
            let overflow = _mm_srli_si128::<15>(tweak);
            let reduced = _mm_clmulepi64_si128::<0>(overflow, _mm_set_epi64x(0, POLYNOMIAL));
            _mm_xor_si128(_mm_slli_si128::<1>(tweak), reduced)
        }}
    }
}

impl Narrow {
    instructions! {
        fn times_alpha_to<const POWER: i32, const REST: i32>(tweak: __m128i) -> __m128i {{
            // What each 64-bit half shifts out: the lower one's goes into the upper, the upper one's is reduced.
            let carries = _mm_srli_epi64::<REST>(tweak);
            let shifted = _mm_xor_si128(_mm_slli_epi64::<POWER>(tweak), _mm_slli_si128::<8>(carries));
            _mm_xor_si128(shifted, _mm_clmulepi64_si128::<1>(carries, _mm_set_epi64x(0, POLYNOMIAL)))
        }}
    }
}

impl WordVector for Narrow {
    const WORDS: usize = 4;
    type Square = [__m128i; 4];

    #[inline(always)]
    fn square(self) -> [__m128i; 4] {
        [self.zero(); 4]
    }

    instructions! {
        fn add(a: __m128i, b: __m128i) -> __m128i { _mm_add_epi32(a, b) }
        fn sub(a: __m128i, b: __m128i) -> __m128i { _mm_sub_epi32(a, b) }
        fn rotate_left<const LEFT: i32, const REST: i32>(words: __m128i) -> __m128i {
            _mm_or_si128(_mm_slli_epi32::<LEFT>(words), _mm_srli_epi32::<REST>(words))
        }
        fn transpose(rows: &[__m128i; 4]) -> [__m128i; 4] {{
            let [a, b, c, d] = *rows;
            let (ab_low, ab_high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
            [
                _mm_unpacklo_epi64(ab_low, cd_low),
                _mm_unpackhi_epi64(ab_low, cd_low),
                _mm_unpacklo_epi64(ab_high, cd_high),
                _mm_unpackhi_epi64(ab_high, cd_high),
            ]
        }}
    }
}

/// What alpha to the power 128 reduces to.
pub(super) const POLYNOMIAL: i64 = 0x87;

/// As [`AesVector::substitute`].
#[inline]
#[target_feature(enable = "aes")]
pub(super) fn substitute(word: u32) -> u32 {
    // The instruction substitutes the bytes of its second word.
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word as i32))) as u32
}

/// As [`AesVector::inverse_mix`].
#[inline]
#[target_feature(enable = "aes")]
pub(super) fn inverse_mix(key: &mut [u8; 16]) {
    // SAFETY: 16 bytes are there to be read and written, and the instructions ask for no alignment.
    unsafe {
        let mixed = _mm_aesimc_si128(_mm_loadu_si128(key.as_ptr().cast()));
        _mm_storeu_si128(key.as_mut_ptr().cast(), mixed);
    }
}
