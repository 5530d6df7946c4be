//! AES-CBC with VAES: to decrypt, sixteen blocks of a sector at a time; to encrypt, a block of each of sixteen sectors.

// UNSAFETY: encryption goes through many sectors at once, which no one slice of blocks describes; and code is called
// that is compiled for instructions which not every processor has.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::keys::{GROUP_BLOCKS, GROUP_BYTES, LANES, Schedule, Vaes, load, load_group, store_group};
use crate::sector::Mode;

pub(super) struct VaesCbc<const R: usize> {
    key: Schedule<R>,
}

impl<const R: usize> VaesCbc<R> {
    /// Makes a mode without its key, to be expanded where it will stay.
    pub(super) const fn empty() -> Self {
        Self {
            key: Schedule::empty(),
        }
    }

    pub(super) fn expand(&mut self, vaes: Vaes, key: &[u8]) {
        self.key.expand(vaes, key);
    }

    pub(super) fn new(vaes: Vaes, key: &[u8]) -> Box<Self> {
        let mut mode = Box::new(Self::empty());
        mode.expand(vaes, key);
        mode
    }

    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    pub(super) fn decrypt_run(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut offset = offset;
        for batch in run.chunks_mut(GROUP_BLOCKS * sector_size) {
            let starts = self.key.encrypt_numbers(offset, sector_size as u64);
            offset = offset.wrapping_add(batch.len() as u64);
            for (sector, start) in batch.chunks_exact_mut(sector_size).zip(starts) {
                self.decrypt_sector(start, sector);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    fn decrypt_sector(&self, start: __m128i, sector: &mut [u8]) {
        let mut chained = start;
        for group in sector.as_chunks_mut::<GROUP_BYTES>().0 {
            let mut state = load_group(group);
            let first_pair = _mm256_inserti128_si256::<1>(
                _mm256_castsi128_si256(chained),
                _mm256_castsi256_si128(state[0]),
            );
            let last = _mm256_extracti128_si256::<1>(state[LANES - 1]);
            self.key.decrypt(&mut state);
            // Every block is XORed with the ciphertext before it, which still stands in the group.
            state[0] = _mm256_xor_si256(state[0], first_pair);
            for (lane, before) in state[1..].iter_mut().zip(group[16..].as_chunks().0) {
                *lane = _mm256_xor_si256(*lane, load(before));
            }
            store_group(group, &state);
            chained = last;
        }
    }

    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    pub(super) fn encrypt_run(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut offset = offset;
        for batch in run.chunks_mut(GROUP_BLOCKS * sector_size) {
            let starts = self.key.encrypt_numbers(offset, sector_size as u64);
            offset = offset.wrapping_add(batch.len() as u64);
            match batch.len() / sector_size {
                0 => {}
                1..=2 => self.encrypt_sectors::<1>(&starts, sector_size, batch),
                3..=4 => self.encrypt_sectors::<2>(&starts, sector_size, batch),
                5..=8 => self.encrypt_sectors::<4>(&starts, sector_size, batch),
                _ => self.encrypt_sectors::<LANES>(&starts, sector_size, batch),
            }
        }
    }

    /// Encrypts up to two sectors in each of `L` registers. A sector's blocks depend on each other, so that the
    /// registers hold blocks of different sectors. Halves to spare do the last sector's work once more.
    #[inline]
    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    fn encrypt_sectors<const L: usize>(
        &self,
        starts: &[__m128i; GROUP_BLOCKS],
        sector_size: usize,
        sectors: &mut [u8],
    ) {
        let last = sectors.len() / sector_size - 1;
        let sector_at = |half: usize| half.min(last) * sector_size;
        let mut places = [(0, 0); L];
        let mut chained = [_mm256_setzero_si256(); L];
        for (i, (place, lane)) in places.iter_mut().zip(&mut chained).enumerate() {
            let (low, high) = (2 * i, 2 * i + 1);
            *place = (sector_at(low), sector_at(high));
            *lane = _mm256_set_m128i(starts[high.min(last)], starts[low.min(last)]);
        }

        let base = sectors.as_mut_ptr();
        for block in (0..sector_size).step_by(16) {
            for (lane, (low, high)) in chained.iter_mut().zip(places) {
                // SAFETY: `low` and `high` are where whole sectors of the slice start and `block` is where a whole
                // block of a sector starts, so 16 bytes are there. No alignment is asked for.
                let pair = unsafe {
                    _mm256_loadu2_m128i(base.add(high + block).cast(), base.add(low + block).cast())
                };
                *lane = _mm256_xor_si256(*lane, pair);
            }
            self.key.encrypt(&mut chained);
            for (lane, (low, high)) in chained.iter().zip(places) {
                // SAFETY: as above, and the slice is ours alone.
                unsafe {
                    _mm256_storeu2_m128i(base.add(high + block).cast(), base.add(low + block).cast(), *lane);
                }
            }
        }
    }
}

impl<const R: usize> Mode for VaesCbc<R> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        // SAFETY: `expand` asked for proof that the processor has the instructions.
        unsafe { self.decrypt_run(offset, sector_size, run) }
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        // SAFETY: as above.
        unsafe { self.encrypt_run(offset, sector_size, run) }
    }
}

#[cfg(test)]
mod tests {
    use aes::{Aes128, Aes256};

    use crate::arch::twin_test::assert_twins;
    use crate::cbc::Cbc;
    use crate::secret::Secret;

    #[test]
    fn equals_its_portable_twin() {
        assert_twins(|key: &Secret<16>, _| (crate::arch::cbc(key), Box::new(Cbc::<Aes128>::new(key))));
        assert_twins(|key: &Secret<32>, _| (crate::arch::cbc(key), Box::new(Cbc::<Aes256>::new(key))));
    }
}
