//! 256-bit registers: two blocks of AES with VAES, eight words with AVX2.

// UNSAFETY: instructions are only reachable as intrinsics, which are unsafe to call where code is not compiled for
// them; the types below are the proof that they are there.
#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::*;

use super::narrow::{POLYNOMIAL, inverse_mix, substitute};
use super::vector::{AesVector, LANES, Vector, WordVector, instructions};

/// Proof of AVX2; with `VAES` also of AES instructions on two blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wide<const VAES: bool>(());

impl<const VAES: bool> Wide<VAES> {
    /// Asks the processor.
    pub(super) fn detect() -> Option<Self> {
        let aes = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq");
        (is_x86_feature_detected!("avx2") && (aes || !VAES)).then_some(Self(()))
    }
}

impl<const VAES: bool> Vector for Wide<VAES> {
    type Register = __m256i;
    type Bytes = [u8; 32];

    #[inline(always)]
    fn within<T>(self, work: impl FnOnce() -> T) -> T {
        #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
        fn with_vaes<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        #[target_feature(enable = "avx2")]
        fn without<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { if VAES { with_vaes(work) } else { without(work) } }
    }

    #[inline(always)]
    fn registers(bytes: &[u8]) -> &[[u8; 32]] {
        bytes.as_chunks().0
    }

    #[inline(always)]
    fn registers_mut(bytes: &mut [u8]) -> &mut [[u8; 32]] {
        bytes.as_chunks_mut().0
    }

    instructions! {
        fn zero() -> __m256i { _mm256_setzero_si256() }
        fn load(bytes: &[u8; 32]) -> __m256i { _mm256_loadu_si256(bytes.as_ptr().cast()) }
        fn store(bytes: &mut [u8; 32], register: __m256i) { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), register) }
        fn hold(register: __m256i) -> __m256i { hold(register) }
        fn xor(a: __m256i, b: __m256i) -> __m256i { _mm256_xor_si256(a, b) }
    }
}

impl AesVector for Wide<true> {
    const BLOCKS: usize = 2;

    #[inline(always)]
    fn load_column<const S: usize>(self, sectors: &[[[u8; 16]; S]], at: usize) -> __m256i {
        self.join(&sectors[0][at], &sectors[1][at])
    }

    #[inline(always)]
    fn store_column<const S: usize>(self, sectors: &mut [[[u8; 16]; S]], at: usize, register: __m256i) {
        let [first, second, ..] = sectors else { return };
        self.part(register, &mut first[at], &mut second[at]);
    }

    #[inline(always)]
    fn first_tweaks(self, start: &[u8; 16]) -> [__m256i; LANES] {
        let both = self.broadcast(start);
        let pair = self.merge(both, self.times_alpha_to::<1, 63>(both));
        [
            pair,
            self.times_alpha_to::<2, 62>(pair),
            self.times_alpha_to::<4, 60>(pair),
            self.times_alpha_to::<6, 58>(pair),
            self.times_alpha_to::<8, 56>(pair),
            self.times_alpha_to::<10, 54>(pair),
            self.times_alpha_to::<12, 52>(pair),
            self.times_alpha_to::<14, 50>(pair),
        ]
    }

    instructions! {
        fn broadcast(block: &[u8; 16]) -> __m256i {
            _mm256_broadcastsi128_si256(_mm_loadu_si128(block.as_ptr().cast()))
        }
        fn shift_in(before: __m256i, after: __m256i) -> __m256i { _mm256_permute2x128_si256::<0x21>(before, after) }
        fn encrypt_round(state: __m256i, key: __m256i) -> __m256i { _mm256_aesenc_epi128(state, key) }
        fn encrypt_last(state: __m256i, key: __m256i) -> __m256i { _mm256_aesenclast_epi128(state, key) }
        fn decrypt_round(state: __m256i, key: __m256i) -> __m256i { _mm256_aesdec_epi128(state, key) }
        fn decrypt_last(state: __m256i, key: __m256i) -> __m256i { _mm256_aesdeclast_epi128(state, key) }
        fn substitute(word: u32) -> u32 { substitute(word) }
        fn inverse_mix(key: &mut [u8; 16]) { inverse_mix(key) }
        fn next_tweaks(tweaks: __m256i) -> __m256i {{
            let overflow = _mm256_srli_si256::<14>(tweaks);
            let reduced = _mm256_clmulepi64_epi128::<0>(overflow, _mm256_set1_epi64x(POLYNOMIAL));
            _mm256_xor_si256(_mm256_slli_si256::<2>(tweaks), reduced)
        }}
    }
}

impl Wide<true> {
    instructions! {
        fn join(first: &[u8; 16], second: &[u8; 16]) -> __m256i {
            _mm256_loadu2_m128i(second.as_ptr().cast(), first.as_ptr().cast())
        }
        fn part(register: __m256i, first: &mut [u8; 16], second: &mut [u8; 16]) {
            _mm256_storeu2_m128i(second.as_mut_ptr().cast(), first.as_mut_ptr().cast(), register)
        }
        fn merge(first: __m256i, second: __m256i) -> __m256i { _mm256_blend_epi32::<0b1111_0000>(first, second) }
        fn times_alpha_to<const POWER: i32, const REST: i32>(tweaks: __m256i) -> __m256i {{
            // What each 64-bit half shifts out: the lower one's goes into the upper, the upper one's is reduced.
            let carries = _mm256_srli_epi64::<REST>(tweaks);
            let shifted = _mm256_xor_si256(_mm256_slli_epi64::<POWER>(tweaks), _mm256_slli_si256::<8>(carries));
            _mm256_xor_si256(shifted, _mm256_clmulepi64_epi128::<1>(carries, _mm256_set1_epi64x(POLYNOMIAL)))
        }}
    }
}

impl<const VAES: bool> WordVector for Wide<VAES> {
    const WORDS: usize = 8;
    type Square = [__m256i; 8];

    #[inline(always)]
    fn square(self) -> [__m256i; 8] {
        [self.zero(); 8]
    }

    instructions! {
        fn add(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(a, b) }
        fn sub(a: __m256i, b: __m256i) -> __m256i { _mm256_sub_epi32(a, b) }
        fn rotate_left<const LEFT: i32, const REST: i32>(words: __m256i) -> __m256i {
            _mm256_or_si256(_mm256_slli_epi32::<LEFT>(words), _mm256_srli_epi32::<REST>(words))
        }
        fn transpose(rows: &[__m256i; 8]) -> [__m256i; 8] { transpose(rows) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn hold(register: __m256i) -> __m256i {
    let mut held = register;
    // SAFETY: no instruction is in it.
    unsafe { asm!("/* {held} */", held = inout(ymm_reg) held, options(nomem, nostack, preserves_flags)) };
    held
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: &[__m256i; 8]) -> [__m256i; 8] {
    let [a, b, c, d, e, f, g, h] = *rows;
    let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    let (ef_low, ef_high) = (_mm256_unpacklo_epi32(e, f), _mm256_unpackhi_epi32(e, f));
    let (gh_low, gh_high) = (_mm256_unpacklo_epi32(g, h), _mm256_unpackhi_epi32(g, h));
    // Column 0 of four rows in the lower half, column 4 in the upper; then 1 and 5, 2 and 6, 3 and 7.
    let top = [
        _mm256_unpacklo_epi64(ab_low, cd_low),
        _mm256_unpackhi_epi64(ab_low, cd_low),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ];
    let bottom = [
        _mm256_unpacklo_epi64(ef_low, gh_low),
        _mm256_unpackhi_epi64(ef_low, gh_low),
        _mm256_unpacklo_epi64(ef_high, gh_high),
        _mm256_unpackhi_epi64(ef_high, gh_high),
    ];
    [
        _mm256_permute2x128_si256::<0x20>(top[0], bottom[0]),
        _mm256_permute2x128_si256::<0x20>(top[1], bottom[1]),
        _mm256_permute2x128_si256::<0x20>(top[2], bottom[2]),
        _mm256_permute2x128_si256::<0x20>(top[3], bottom[3]),
        _mm256_permute2x128_si256::<0x31>(top[0], bottom[0]),
        _mm256_permute2x128_si256::<0x31>(top[1], bottom[1]),
        _mm256_permute2x128_si256::<0x31>(top[2], bottom[2]),
        _mm256_permute2x128_si256::<0x31>(top[3], bottom[3]),
    ]
}
