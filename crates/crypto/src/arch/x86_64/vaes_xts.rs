//! AES-XTS with VAES: sixteen blocks at a time, their tweaks side by side.

// UNSAFETY: only to call code that is compiled for instructions which not every processor has.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::keys::{GROUP_BLOCKS, GROUP_BYTES, LANES, Schedule, Vaes, load_group, store_group};
use crate::sector::Mode;

pub(super) struct VaesXts<const R: usize> {
    data: Schedule<R>,
    tweak: Schedule<R>,
}

impl<const R: usize> VaesXts<R> {
    pub(super) fn new(vaes: Vaes, data: &[u8], tweak: &[u8]) -> Box<Self> {
        let mut mode = Box::new(Self {
            data: Schedule::empty(),
            tweak: Schedule::empty(),
        });
        mode.data.expand(vaes, data);
        mode.tweak.expand(vaes, tweak);
        mode
    }

    #[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
    fn run<const ENCRYPT: bool>(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut index = offset / sector_size as u64;
        for batch in run.chunks_mut(GROUP_BLOCKS * sector_size) {
            let starts = self.tweak.encrypt_numbers(index, 1);
            index += GROUP_BLOCKS as u64;
            for (sector, start) in batch.chunks_exact_mut(sector_size).zip(starts) {
                let mut tweaks = first_tweaks(start);
                for group in sector.as_chunks_mut::<GROUP_BYTES>().0 {
                    let mut state = load_group(group);
                    xor(&mut state, &tweaks);
                    if ENCRYPT {
                        self.data.encrypt(&mut state);
                    } else {
                        self.data.decrypt(&mut state);
                    }
                    xor(&mut state, &tweaks);
                    store_group(group, &state);
                    next_tweaks(&mut tweaks);
                }
            }
        }
    }
}

impl<const R: usize> Mode for VaesXts<R> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        // SAFETY: `new` asked for proof that the processor has the instructions.
        unsafe { self.run::<false>(offset, sector_size, run) }
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        // SAFETY: as above.
        unsafe { self.run::<true>(offset, sector_size, run) }
    }
}

#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn xor(state: &mut [__m256i; LANES], tweaks: &[__m256i; LANES]) {
    for (lane, tweak) in state.iter_mut().zip(tweaks) {
        *lane = _mm256_xor_si256(*lane, *tweak);
    }
}

/// Returns the tweaks of a sector's first sixteen blocks: `start` times alpha to the powers 0 to 15, each computed
/// from the start and not from its neighbour, so that none waits for another.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn first_tweaks(start: __m128i) -> [__m256i; LANES] {
    let both = _mm256_broadcastsi128_si256(start);
    let pair = _mm256_blend_epi32::<0b1111_0000>(both, times_alpha_to::<1, 63>(both));
    [
        pair,
        times_alpha_to::<2, 62>(pair),
        times_alpha_to::<4, 60>(pair),
        times_alpha_to::<6, 58>(pair),
        times_alpha_to::<8, 56>(pair),
        times_alpha_to::<10, 54>(pair),
        times_alpha_to::<12, 52>(pair),
        times_alpha_to::<14, 50>(pair),
    ]
}

/// Moves all sixteen tweaks on by sixteen blocks.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn next_tweaks(tweaks: &mut [__m256i; LANES]) {
    for tweak in tweaks {
        let shifted = _mm256_slli_si256::<2>(*tweak);
        let overflow = _mm256_srli_si256::<14>(*tweak);
        *tweak = _mm256_xor_si256(shifted, _mm256_clmulepi64_epi128::<0>(overflow, polynomial()));
    }
}

/// Multiplies by alpha to the power `POWER`, below 57; `REST` is 64 less that.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn times_alpha_to<const POWER: i32, const REST: i32>(tweak: __m256i) -> __m256i {
    // What each 64-bit half shifts out: the lower one's goes into the upper, the upper one's is reduced.
    let carries = _mm256_srli_epi64::<REST>(tweak);
    let shifted = _mm256_xor_si256(_mm256_slli_epi64::<POWER>(tweak), _mm256_slli_si256::<8>(carries));
    _mm256_xor_si256(shifted, _mm256_clmulepi64_epi128::<1>(carries, polynomial()))
}

/// What alpha to the power 128 reduces to.
#[inline]
#[target_feature(enable = "vaes,vpclmulqdq,avx2,aes")]
fn polynomial() -> __m256i {
    _mm256_set1_epi64x(0x87)
}

#[cfg(test)]
mod tests {
    use aes::{Aes128, Aes256};

    use crate::arch::twin_test::assert_twins;
    use crate::secret::Secret;
    use crate::xts::Xts;

    #[test]
    fn equals_its_portable_twin() {
        assert_twins(|a: &Secret<16>, b| (crate::arch::xts(a, b), Box::new(Xts::<Aes128>::new(a, b))));
        assert_twins(|a: &Secret<32>, b| (crate::arch::xts(a, b), Box::new(Xts::<Aes256>::new(a, b))));
    }
}
