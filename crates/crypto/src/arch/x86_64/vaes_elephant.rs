//! AES-CBC with the Elephant diffuser: the diffuser with AVX2 over eight sectors at once, the ciphers with VAES.
//!
//! The diffuser's passes are recurrences within a sector, so the lanes of a register are the same word of eight
//! sectors. Words are handled in fours, after which the rotations repeat.

// UNSAFETY: only to call code that is compiled for instructions which not every processor has.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::keys::{GROUP_BLOCKS, LANES, Schedule, Vaes, load, store};
use super::vaes_cbc::VaesCbc;
use crate::elephant::{A_CYCLES, B_CYCLES};
use crate::sector::Mode;

/// Words of the largest sector, 4096 bytes, in fours.
const MAX_FOURS: usize = 256;

/// The same four successive words of eight sectors.
type Four = [__m256i; 4];

pub(super) struct VaesElephant<const R: usize> {
    cbc: VaesCbc<R>,
    tweak: Schedule<R>,
}

impl<const R: usize> VaesElephant<R> {
    pub(super) fn new(vaes: Vaes, key: &[u8], tweak: &[u8]) -> Box<Self> {
        let mut mode = Box::new(Self {
            cbc: VaesCbc::empty(),
            tweak: Schedule::empty(),
        });
        mode.cbc.expand(vaes, key);
        mode.tweak.expand(vaes, tweak);
        mode
    }

    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    fn decrypt_run(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut words = [[_mm256_setzero_si256(); 4]; MAX_FOURS];
        let words = &mut words[..sector_size / 16];
        let mut offset = offset;
        for batch in run.chunks_mut(GROUP_BLOCKS * sector_size) {
            self.cbc.decrypt_run(offset, sector_size, batch);
            for eight in batch.chunks_mut(LANES * sector_size) {
                let keys = self.sector_keys(offset, sector_size as u64);
                offset = offset.wrapping_add(eight.len() as u64);
                gather(eight, sector_size, &[_mm256_setzero_si256(); LANES], words);
                undo_b(words);
                undo_a(words);
                scatter(words, &keys, sector_size, eight);
            }
        }
    }

    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    fn encrypt_run(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut words = [[_mm256_setzero_si256(); 4]; MAX_FOURS];
        let words = &mut words[..sector_size / 16];
        let mut offset = offset;
        for batch in run.chunks_mut(GROUP_BLOCKS * sector_size) {
            let start = offset;
            for eight in batch.chunks_mut(LANES * sector_size) {
                let keys = self.sector_keys(offset, sector_size as u64);
                offset = offset.wrapping_add(eight.len() as u64);
                gather(eight, sector_size, &keys, words);
                apply_a(words);
                apply_b(words);
                scatter(words, &[_mm256_setzero_si256(); LANES], sector_size, eight);
            }
            self.cbc.encrypt_run(start, sector_size, batch);
        }
    }

    /// Returns the 32 bytes that are XORed over each of the eight sectors from byte `offset` on, again and again.
    #[inline]
    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    fn sector_keys(&self, offset: u64, step: u64) -> [__m256i; LANES] {
        let mut keys = [_mm256_setzero_si256(); LANES];
        let mut offset = offset;
        for key in &mut keys {
            // The second half differs in its last byte.
            *key = _mm256_set_epi64x(i64::MIN, offset as i64, 0, offset as i64);
            offset = offset.wrapping_add(step);
        }
        self.tweak.encrypt(&mut keys);
        keys
    }
}

impl<const R: usize> Mode for VaesElephant<R> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        // SAFETY: `new` asked for proof that the processor has the instructions.
        unsafe { self.decrypt_run(offset, sector_size, run) }
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        // SAFETY: as above.
        unsafe { self.encrypt_run(offset, sector_size, run) }
    }
}

/// Brings word `i` of each sector together in one register, XORed with the sector's key. Lanes to spare, where there
/// are fewer than eight sectors, hold the last one again.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn gather(sectors: &[u8], sector_size: usize, keys: &[__m256i; LANES], words: &mut [Four]) {
    let last = sectors.len() / sector_size - 1;
    for (at, fours) in (0..sector_size).step_by(32).zip(words.as_chunks_mut::<2>().0) {
        let mut rows = *keys;
        for (lane, row) in rows.iter_mut().enumerate() {
            let start = lane.min(last) * sector_size + at;
            if let Some(bytes) = sectors[start..].first_chunk() {
                *row = _mm256_xor_si256(*row, load(bytes));
            }
        }
        let [a, b, c, d, e, f, g, h] = transpose(&rows);
        *fours = [[a, b, c, d], [e, f, g, h]];
    }
}

/// Puts the words back where they belong, XORed with each sector's key.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn scatter(words: &[Four], keys: &[__m256i; LANES], sector_size: usize, sectors: &mut [u8]) {
    for (at, fours) in (0..sector_size).step_by(32).zip(words.as_chunks::<2>().0) {
        let [[a, b, c, d], [e, f, g, h]] = *fours;
        let rows = transpose(&[a, b, c, d, e, f, g, h]);
        for ((sector, row), key) in sectors.chunks_exact_mut(sector_size).zip(rows).zip(keys) {
            if let Some(bytes) = sector[at..].first_chunk_mut() {
                store(bytes, _mm256_xor_si256(row, *key));
            }
        }
    }
}

/// Swaps rows and columns of eight times eight words.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn transpose(rows: &[__m256i; LANES]) -> [__m256i; LANES] {
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

// The passes of `elephant`, written out for four words. Undoing A and applying B use words which the same pass has
// just made: those stay in registers (`one` is the latest, `five` the oldest). The other two use words that it has
// not reached yet. The number of fours is a power of two, so indices wrap by masking.

#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn undo_a(words: &mut [Four]) {
    for _ in 0..A_CYCLES {
        let [.., [_, _, _, five], [four, three, two, one]] = *words else {
            return;
        };
        let (mut one, mut two, mut three, mut four, mut five) = (one, two, three, four, five);
        for at in words.iter_mut() {
            let [a, b, c, d] = *at;
            let a = _mm256_add_epi32(a, _mm256_xor_si256(two, rotate_left::<9, 23>(five)));
            let b = _mm256_add_epi32(b, _mm256_xor_si256(one, four));
            let c = _mm256_add_epi32(c, _mm256_xor_si256(a, rotate_left::<13, 19>(three)));
            let d = _mm256_add_epi32(d, _mm256_xor_si256(b, two));
            *at = [a, b, c, d];
            (one, two, three, four, five) = (d, c, b, a, one);
        }
    }
}

#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn apply_a(words: &mut [Four]) {
    let mask = words.len() - 1;
    for _ in 0..A_CYCLES {
        for i in (0..words.len()).rev() {
            let before = words[i.wrapping_sub(1) & mask];
            let far = words[i.wrapping_sub(2) & mask][3];
            let [a, b, c, d] = words[i];
            words[i] = [
                _mm256_sub_epi32(a, _mm256_xor_si256(before[2], rotate_left::<9, 23>(far))),
                _mm256_sub_epi32(b, _mm256_xor_si256(before[3], before[0])),
                _mm256_sub_epi32(c, _mm256_xor_si256(a, rotate_left::<13, 19>(before[1]))),
                _mm256_sub_epi32(d, _mm256_xor_si256(b, before[2])),
            ];
        }
    }
}

#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn undo_b(words: &mut [Four]) {
    let mask = words.len() - 1;
    for _ in 0..B_CYCLES {
        for i in 0..words.len() {
            let after = words[(i + 1) & mask];
            let far = words[(i + 2) & mask][0];
            let [a, b, c, d] = words[i];
            words[i] = [
                _mm256_add_epi32(a, _mm256_xor_si256(c, after[1])),
                _mm256_add_epi32(b, _mm256_xor_si256(d, rotate_left::<10, 22>(after[2]))),
                _mm256_add_epi32(c, _mm256_xor_si256(after[0], after[3])),
                _mm256_add_epi32(d, _mm256_xor_si256(after[1], rotate_left::<25, 7>(far))),
            ];
        }
    }
}

#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn apply_b(words: &mut [Four]) {
    for _ in 0..B_CYCLES {
        let [[one, two, three, four], [five, ..], ..] = *words else {
            return;
        };
        let (mut one, mut two, mut three, mut four, mut five) = (one, two, three, four, five);
        for at in words.iter_mut().rev() {
            let [a, b, c, d] = *at;
            let d = _mm256_sub_epi32(d, _mm256_xor_si256(two, rotate_left::<25, 7>(five)));
            let c = _mm256_sub_epi32(c, _mm256_xor_si256(one, four));
            let b = _mm256_sub_epi32(b, _mm256_xor_si256(d, rotate_left::<10, 22>(three)));
            let a = _mm256_sub_epi32(a, _mm256_xor_si256(c, two));
            *at = [a, b, c, d];
            (one, two, three, four, five) = (a, b, c, d, one);
        }
    }
}

/// Rotates each word by `LEFT` bits; `REST` is 32 less that.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn rotate_left<const LEFT: i32, const REST: i32>(words: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(words), _mm256_srli_epi32::<REST>(words))
}

#[cfg(test)]
mod tests {
    use aes::{Aes128, Aes256};

    use crate::arch::twin_test::assert_twins;
    use crate::elephant::Elephant;
    use crate::secret::Secret;

    #[test]
    fn equals_its_portable_twin() {
        assert_twins(|a: &Secret<16>, b| {
            (
                crate::arch::elephant(a, b),
                Box::new(Elephant::<Aes128>::new(a, b)),
            )
        });
        assert_twins(|a: &Secret<32>, b| {
            (
                crate::arch::elephant(a, b),
                Box::new(Elephant::<Aes256>::new(a, b)),
            )
        });
    }
}
