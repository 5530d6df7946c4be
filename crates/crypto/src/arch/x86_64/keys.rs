//! The key schedule of AES, and AES itself on several registers of blocks.

use zeroize::Zeroize;

use super::vector::{AesVector, LANES};

/// Round keys of AES with a 128-bit key.
pub(super) const ROUND_KEYS_128: usize = 11;
/// Round keys of AES with a 256-bit key.
pub(super) const ROUND_KEYS_256: usize = 15;

/// Sectors whose tweaks or start values are made at a time, and that are encrypted side by side in CBC.
pub(super) const BATCH_SECTORS: usize = 32;
/// A block for each of them.
pub(super) type BatchBlocks = [[u8; 16]; BATCH_SECTORS];

/// Round keys in the order of use, each in every block of a register.
struct RoundKeys<V: AesVector, const R: usize>([V::Register; R]);

impl<V: AesVector, const R: usize> Drop for RoundKeys<V, R> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A key made ready for both directions.
pub(super) struct Schedule<V: AesVector, const R: usize> {
    encrypt: RoundKeys<V, R>,
    decrypt: RoundKeys<V, R>,
}

impl<V: AesVector, const R: usize> Schedule<V, R> {
    /// Words in a key: four for 128 bits, eight for 256.
    const KEY_WORDS: usize = R - 7;

    /// Makes an empty schedule, to be expanded where it will stay: moving a full one would leave copies behind.
    pub(super) fn empty(v: V) -> Self {
        Self {
            encrypt: RoundKeys([v.zero(); R]),
            decrypt: RoundKeys([v.zero(); R]),
        }
    }

    /// Expands `key` (FIPS 197, 5.2; for decryption the "equivalent inverse cipher", 5.3.5).
    ///
    /// # Panics
    /// If the key is not of the schedule's size.
    pub(super) fn expand(&mut self, v: V, key: &[u8]) {
        assert_eq!(key.len(), 4 * Self::KEY_WORDS, "the key's type fits the schedule");
        v.within(
            #[inline(always)]
            || self.expand_within(v, key),
        );
    }

    #[inline(always)]
    fn expand_within(&mut self, v: V, key: &[u8]) {
        let mut words = [[0u32; 4]; R];
        let flat = words.as_flattened_mut();
        for (word, bytes) in flat.iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut round_constant = 1u32;
        for i in Self::KEY_WORDS..4 * R {
            let mut word = flat[i - 1];
            if i % Self::KEY_WORDS == 0 {
                word = v.substitute(word).rotate_right(8) ^ round_constant;
                round_constant = (round_constant << 1) ^ ((round_constant >> 7) * 0x11b);
            } else if Self::KEY_WORDS > 6 && i % Self::KEY_WORDS == 4 {
                word = v.substitute(word);
            }
            flat[i] = flat[i - Self::KEY_WORDS] ^ word;
        }

        let mut key = [0; 16];
        for (i, words) in words.iter().enumerate() {
            for (bytes, word) in key.as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = word.to_le_bytes();
            }
            self.encrypt.0[i] = v.broadcast(&key);
            if i != 0 && i != R - 1 {
                v.inverse_mix(&mut key);
            }
            self.decrypt.0[R - 1 - i] = v.broadcast(&key);
        }
        key.zeroize();
        words.zeroize();
    }

    /// Encrypts every block of the registers.
    #[inline(always)]
    pub(super) fn encrypt<const L: usize>(&self, v: V, state: &mut [V::Register; L]) {
        for lane in state.iter_mut() {
            *lane = v.xor(*lane, self.encrypt.0[0]);
        }
        for key in &self.encrypt.0[1..R - 1] {
            for lane in state.iter_mut() {
                *lane = v.hold(v.encrypt_round(*lane, *key));
            }
        }
        for lane in state.iter_mut() {
            *lane = v.encrypt_last(*lane, self.encrypt.0[R - 1]);
        }
    }

    /// Decrypts every block of the registers.
    #[inline(always)]
    pub(super) fn decrypt<const L: usize>(&self, v: V, state: &mut [V::Register; L]) {
        for lane in state.iter_mut() {
            *lane = v.xor(*lane, self.decrypt.0[0]);
        }
        for key in &self.decrypt.0[1..R - 1] {
            for lane in state.iter_mut() {
                *lane = v.hold(v.decrypt_round(*lane, *key));
            }
        }
        for lane in state.iter_mut() {
            *lane = v.decrypt_last(*lane, self.decrypt.0[R - 1]);
        }
    }

    /// Encrypts the numbers `first`, `first + step`, … as little-endian blocks: the tweaks or start values of `count`
    /// sectors.
    #[inline(always)]
    pub(super) fn encrypt_numbers(&self, v: V, first: u64, step: u64, count: usize) -> BatchBlocks {
        let mut blocks = [[0; 16]; BATCH_SECTORS];
        let mut number = first;
        for block in &mut blocks {
            *block = u128::from(number).to_le_bytes();
            number = number.wrapping_add(step);
        }
        self.encrypt_blocks(v, &mut blocks, count);
        blocks
    }

    /// Encrypts at least the first `count` blocks, each by itself.
    #[inline(always)]
    pub(super) fn encrypt_blocks(&self, v: V, blocks: &mut BatchBlocks, count: usize) {
        let (groups, _) = V::registers_mut(blocks.as_flattened_mut()).as_chunks_mut::<LANES>();
        for group in groups.iter_mut().take(count.div_ceil(LANES * V::BLOCKS)) {
            let mut state = v.load_all(group);
            self.encrypt(v, &mut state);
            v.store_all(group, state);
        }
    }
}
