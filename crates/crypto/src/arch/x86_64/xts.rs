//! AES-XTS: eight registers of blocks at a time, their tweaks side by side.

use super::keys::{BATCH_SECTORS, Schedule};
use super::vector::{AesVector, LANES};
use crate::sector::Mode;

pub(super) struct Xts<V: AesVector, const R: usize> {
    v: V,
    data: Schedule<V, R>,
    tweak: Schedule<V, R>,
}

impl<V: AesVector, const R: usize> Xts<V, R> {
    pub(super) fn new(v: V, data: &[u8], tweak: &[u8]) -> Box<Self> {
        let mut mode = Box::new(Self {
            v,
            data: Schedule::empty(v),
            tweak: Schedule::empty(v),
        });
        mode.data.expand(v, data);
        mode.tweak.expand(v, tweak);
        mode
    }

    #[inline(always)]
    fn run<const ENCRYPT: bool>(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let v = self.v;
        let mut index = offset / sector_size as u64;
        for batch in run.chunks_mut(BATCH_SECTORS * sector_size) {
            let starts = self.tweak.encrypt_numbers(v, index, 1, batch.len() / sector_size);
            index += BATCH_SECTORS as u64;
            for (sector, start) in batch.chunks_exact_mut(sector_size).zip(&starts) {
                let mut tweaks = v.first_tweaks(start);
                let (groups, _) = V::registers_mut(sector).as_chunks_mut::<LANES>();
                let Some((first, rest)) = groups.split_first_mut() else {
                    continue;
                };
                self.group::<ENCRYPT>(&tweaks, first);
                for group in rest {
                    for tweak in &mut tweaks {
                        *tweak = v.next_tweaks(*tweak);
                    }
                    self.group::<ENCRYPT>(&tweaks, group);
                }
            }
        }
    }

    #[inline(always)]
    fn group<const ENCRYPT: bool>(&self, tweaks: &[V::Register; LANES], group: &mut [V::Bytes; LANES]) {
        let v = self.v;
        let mut state = v.load_all(group);
        v.xor_all(&mut state, tweaks);
        if ENCRYPT {
            self.data.encrypt(v, &mut state);
        } else {
            self.data.decrypt(v, &mut state);
        }
        v.xor_all(&mut state, tweaks);
        v.store_all(group, state);
    }
}

impl<V: AesVector, const R: usize> Mode for Xts<V, R> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.v.within(
            #[inline(always)]
            || self.run::<false>(offset, sector_size, run),
        );
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.v.within(
            #[inline(always)]
            || self.run::<true>(offset, sector_size, run),
        );
    }
}

#[cfg(test)]
mod tests {
    use aes::{Aes128, Aes256};

    use crate::arch::twin_test::assert_twins;
    use crate::arch::xts;
    use crate::secret::Secret;
    use crate::xts::Xts;

    #[test]
    fn equals_its_portable_twin() {
        assert_twins(xts, |a: &Secret<16>, b| Box::new(Xts::<Aes128>::new(a, b)));
        assert_twins(xts, |a: &Secret<32>, b| Box::new(Xts::<Aes256>::new(a, b)));
    }
}
