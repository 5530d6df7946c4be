//! The key schedule of AES, and AES itself on several registers of two blocks.

// UNSAFETY: AES instructions are only reachable as intrinsics, and registers are filled from memory by pointer.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use zeroize::Zeroize;

/// Round keys of AES with a 128-bit key.
pub(super) const ROUND_KEYS_128: usize = 11;
/// Round keys of AES with a 256-bit key.
pub(super) const ROUND_KEYS_256: usize = 15;

/// Registers worked on at a time: enough to fill the latency of an AES round on two execution units.
pub(super) const LANES: usize = 8;
/// Blocks in that many registers.
pub(super) const GROUP_BLOCKS: usize = 2 * LANES;
/// Bytes in that many registers; every sector size is a multiple of it.
pub(super) const GROUP_BYTES: usize = 16 * GROUP_BLOCKS;

/// Proof that this processor has the instructions which the kernels are compiled for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vaes(());

impl Vaes {
    /// Asks the processor.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("aes"))
        .then_some(Self(()))
    }
}

/// A register of zeros.
// SAFETY: every bit pattern is a value of a register.
const ZERO: __m256i = unsafe { std::mem::transmute::<[u8; 32], __m256i>([0; 32]) };

/// Round keys in the order of use, each in both halves of a register.
struct RoundKeys<const R: usize>([__m256i; R]);

impl<const R: usize> Drop for RoundKeys<R> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A key made ready for both directions. Exists only where [`Vaes`] does once it is expanded.
pub(super) struct Schedule<const R: usize> {
    encrypt: RoundKeys<R>,
    decrypt: RoundKeys<R>,
}

impl<const R: usize> Schedule<R> {
    /// Words in a key: four for 128 bits, eight for 256.
    const KEY_WORDS: usize = R - 7;

    /// Makes an empty schedule, to be expanded where it will stay: moving a full one would leave copies behind.
    pub(super) const fn empty() -> Self {
        Self {
            encrypt: RoundKeys([ZERO; R]),
            decrypt: RoundKeys([ZERO; R]),
        }
    }

    /// Expands `key` (FIPS 197, 5.2; for decryption the "equivalent inverse cipher", 5.3.5).
    ///
    /// # Panics
    /// If the key is not of the schedule's size.
    pub(super) fn expand(&mut self, _: Vaes, key: &[u8]) {
        assert_eq!(key.len(), 4 * Self::KEY_WORDS, "the key's type fits the schedule");
        // SAFETY: the caller showed that the processor has the instructions.
        unsafe { self.expand_here(key) }
    }

    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    fn expand_here(&mut self, key: &[u8]) {
        let mut words = [[0u32; 4]; R];
        let flat = words.as_flattened_mut();
        for (word, bytes) in flat.iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut round_constant = 1u32;
        for i in Self::KEY_WORDS..4 * R {
            let mut word = flat[i - 1];
            // The instruction substitutes the bytes of its second word, without a table that a cache could betray.
            if i % Self::KEY_WORDS == 0 {
                let assisted = _mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word as i32));
                word = _mm_extract_epi32::<1>(assisted) as u32 ^ round_constant;
                round_constant = (round_constant << 1) ^ ((round_constant >> 7) * 0x11b);
            } else if Self::KEY_WORDS > 6 && i % Self::KEY_WORDS == 4 {
                let assisted = _mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word as i32));
                word = _mm_extract_epi32::<0>(assisted) as u32;
            }
            flat[i] = flat[i - Self::KEY_WORDS] ^ word;
        }

        for (i, words) in words.iter().enumerate() {
            let [a, b, c, d] = words.map(|word| word as i32);
            let key = _mm_set_epi32(d, c, b, a);
            self.encrypt.0[i] = _mm256_broadcastsi128_si256(key);
            let inverse = if i == 0 || i == R - 1 {
                key
            } else {
                _mm_aesimc_si128(key)
            };
            self.decrypt.0[R - 1 - i] = _mm256_broadcastsi128_si256(inverse);
        }
        words.zeroize();
    }

    /// Encrypts two blocks in each register.
    #[inline]
    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    pub(super) fn encrypt<const L: usize>(&self, state: &mut [__m256i; L]) {
        for lane in state.iter_mut() {
            *lane = _mm256_xor_si256(*lane, self.encrypt.0[0]);
        }
        for key in &self.encrypt.0[1..R - 1] {
            for lane in state.iter_mut() {
                *lane = _mm256_aesenc_epi128(*lane, *key);
            }
        }
        for lane in state.iter_mut() {
            *lane = _mm256_aesenclast_epi128(*lane, self.encrypt.0[R - 1]);
        }
    }

    /// Decrypts two blocks in each register.
    #[inline]
    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    pub(super) fn decrypt<const L: usize>(&self, state: &mut [__m256i; L]) {
        for lane in state.iter_mut() {
            *lane = _mm256_xor_si256(*lane, self.decrypt.0[0]);
        }
        for key in &self.decrypt.0[1..R - 1] {
            for lane in state.iter_mut() {
                *lane = _mm256_aesdec_epi128(*lane, *key);
            }
        }
        for lane in state.iter_mut() {
            *lane = _mm256_aesdeclast_epi128(*lane, self.decrypt.0[R - 1]);
        }
    }

    /// Encrypts the numbers `first`, `first + step`, … as little-endian blocks: the tweaks or start values of as
    /// many sectors.
    #[inline]
    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    pub(super) fn encrypt_numbers(&self, first: u64, step: u64) -> [__m128i; GROUP_BLOCKS] {
        let mut state = [ZERO; LANES];
        let mut number = first;
        for lane in &mut state {
            let next = number.wrapping_add(step);
            *lane = _mm256_set_epi64x(0, next as i64, 0, number as i64);
            number = next.wrapping_add(step);
        }
        self.encrypt(&mut state);
        let mut blocks = [_mm256_castsi256_si128(ZERO); GROUP_BLOCKS];
        for (pair, lane) in blocks.as_chunks_mut().0.iter_mut().zip(state) {
            *pair = [_mm256_castsi256_si128(lane), _mm256_extracti128_si256::<1>(lane)];
        }
        blocks
    }
}

/// Fills the registers from memory of any alignment.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
pub(super) fn load_group(bytes: &[u8; GROUP_BYTES]) -> [__m256i; LANES] {
    let mut state = [ZERO; LANES];
    for (lane, bytes) in state.iter_mut().zip(bytes.as_chunks().0) {
        *lane = load(bytes);
    }
    state
}

/// Writes the registers to memory of any alignment.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
pub(super) fn store_group(bytes: &mut [u8; GROUP_BYTES], state: &[__m256i; LANES]) {
    for (bytes, lane) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        store(bytes, *lane);
    }
}

/// Fills a register from memory of any alignment.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are there to be read, and the instruction asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Writes a register to memory of any alignment.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
pub(super) fn store(bytes: &mut [u8; 32], register: __m256i) {
    // SAFETY: 32 bytes are there to be written, and the instruction asks for no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), register) }
}
