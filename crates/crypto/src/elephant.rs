//! AES-CBC with the Elephant diffuser, the cipher of Windows Vista and 7.
//!
//! Two unkeyed mixing passes over the whole sector and a sector key stand between plaintext and CBC, so that a
//! changed ciphertext bit disturbs the whole sector. All arithmetic is on 32-bit little-endian words, modulo 2^32,
//! with word indices wrapping around in the sector. Source: format spec 4, "Elephant".

use crate::block::{Aes, Block, index_block, keyed};
use crate::cbc::Cbc;
use crate::secret::Secret;
use crate::sector::Mode;

pub(crate) const A_CYCLES: usize = 5;
const A_ROTATIONS: [u32; 4] = [9, 0, 13, 0];
pub(crate) const B_CYCLES: usize = 3;
const B_ROTATIONS: [u32; 4] = [0, 10, 0, 25];

/// Words in the largest sector, 4096 bytes.
const MAX_WORDS: usize = 1024;

pub(crate) struct Elephant<C> {
    cbc: Cbc<C>,
    tweak: C,
}

impl<C: Aes> Elephant<C> {
    pub(crate) fn new<const N: usize>(key: &Secret<N>, tweak: &Secret<N>) -> Self {
        Self {
            cbc: Cbc::new(key),
            tweak: keyed(tweak),
        }
    }

    /// Returns the 32 bytes that are XORed over the sector at byte `offset`, again and again.
    fn sector_key(&self, offset: u64) -> [u32; 8] {
        let mut halves: [Block; 2] = [index_block(offset), index_block(offset)];
        halves[1][15] = 0x80;
        self.tweak.encrypt_blocks(&mut halves);
        let mut key = [0; 8];
        for (word, bytes) in key
            .iter_mut()
            .zip(halves.iter().flat_map(|half| half.chunks_exact(4)))
        {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        key
    }
}

impl<C: Aes> Mode for Elephant<C> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.cbc.decrypt(offset, sector_size, run);
        for (sector, offset) in run
            .chunks_exact_mut(sector_size)
            .zip((offset..=u64::MAX).step_by(sector_size))
        {
            let key = self.sector_key(offset);
            with_words(sector, |words| {
                undo_b(words);
                undo_a(words);
                xor_key(words, &key);
            });
        }
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        for (sector, offset) in run
            .chunks_exact_mut(sector_size)
            .zip((offset..=u64::MAX).step_by(sector_size))
        {
            let key = self.sector_key(offset);
            with_words(sector, |words| {
                xor_key(words, &key);
                apply_a(words);
                apply_b(words);
            });
        }
        self.cbc.encrypt(offset, sector_size, run);
    }
}

fn with_words(sector: &mut [u8], work: impl FnOnce(&mut [u32])) {
    let mut words = [0u32; MAX_WORDS];
    let words = &mut words[..sector.len() / 4];
    for (word, bytes) in words.iter_mut().zip(sector.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    work(words);
    for (word, bytes) in words.iter().zip(sector.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

fn xor_key(words: &mut [u32], key: &[u32; 8]) {
    for words in words.chunks_exact_mut(8) {
        for (word, key) in words.iter_mut().zip(key) {
            *word ^= key;
        }
    }
}

// Sector sizes are powers of two, so indices wrap by masking.

fn undo_a(words: &mut [u32]) {
    let mask = words.len() - 1;
    for _ in 0..A_CYCLES {
        for i in 0..words.len() {
            words[i] = words[i].wrapping_add(a_mix(words, mask, i));
        }
    }
}

fn apply_a(words: &mut [u32]) {
    let mask = words.len() - 1;
    for _ in 0..A_CYCLES {
        for i in (0..words.len()).rev() {
            words[i] = words[i].wrapping_sub(a_mix(words, mask, i));
        }
    }
}

fn a_mix(words: &[u32], mask: usize, i: usize) -> u32 {
    words[i.wrapping_sub(2) & mask] ^ words[i.wrapping_sub(5) & mask].rotate_left(A_ROTATIONS[i & 3])
}

fn undo_b(words: &mut [u32]) {
    let mask = words.len() - 1;
    for _ in 0..B_CYCLES {
        for i in 0..words.len() {
            words[i] = words[i].wrapping_add(b_mix(words, mask, i));
        }
    }
}

fn apply_b(words: &mut [u32]) {
    let mask = words.len() - 1;
    for _ in 0..B_CYCLES {
        for i in (0..words.len()).rev() {
            words[i] = words[i].wrapping_sub(b_mix(words, mask, i));
        }
    }
}

fn b_mix(words: &[u32], mask: usize, i: usize) -> u32 {
    words[(i + 2) & mask] ^ words[(i + 5) & mask].rotate_left(B_ROTATIONS[i & 3])
}
