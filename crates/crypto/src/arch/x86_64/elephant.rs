//! AES-CBC with the Elephant diffuser: the diffuser over as many sectors at once as a register has words.
//!
//! The diffuser's passes are recurrences within a sector, so the lanes of a register are the same word of several
//! sectors. Words are handled in fours, after which the rotations repeat.

use super::cbc::Cbc;
use super::keys::{BATCH_SECTORS, BatchBlocks, Schedule};
use super::vector::{AesVector, Vector, WordVector};
use crate::elephant::{A_CYCLES, B_CYCLES};
use crate::sector::Mode;

/// Words of the largest sector, 4096 bytes, in fours.
const MAX_FOURS: usize = 256;

/// The same four successive words of several sectors.
type Four<W> = [<W as Vector>::Register; 4];

pub(super) struct Elephant<V: AesVector, W: WordVector, const R: usize> {
    v: V,
    diffuser: Diffuser<W>,
    cbc: Cbc<V, R>,
    tweak: Schedule<V, R>,
}

impl<V: AesVector, W: WordVector, const R: usize> Elephant<V, W, R> {
    pub(super) fn new(v: V, w: W, key: &[u8], tweak: &[u8]) -> Box<Self> {
        let mut mode = Box::new(Self {
            v,
            diffuser: Diffuser { w },
            cbc: Cbc::empty(v),
            tweak: Schedule::empty(v),
        });
        mode.cbc.expand(key);
        mode.tweak.expand(v, tweak);
        mode
    }

    /// Returns, in pairs, the 32 bytes that are XORed over each of the sectors from byte `offset` on, again and again.
    fn sector_keys(&self, offset: u64, step: u64) -> BatchBlocks {
        let mut keys = [[0; 16]; BATCH_SECTORS];
        let mut offset = offset;
        for [low, high] in keys.as_chunks_mut().0.iter_mut().take(W::WORDS) {
            *low = u128::from(offset).to_le_bytes();
            *high = *low;
            // The second half differs in its last byte.
            high[15] = 0x80;
            offset = offset.wrapping_add(step);
        }
        self.v.within(
            #[inline(always)]
            || self.tweak.encrypt_blocks(self.v, &mut keys, 2 * W::WORDS),
        );
        keys
    }
}

impl<V: AesVector, W: WordVector, const R: usize> Mode for Elephant<V, W, R> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut words = self.diffuser.words();
        let words = &mut words[..sector_size / 16];
        let mut offset = offset;
        for batch in run.chunks_mut(BATCH_SECTORS * sector_size) {
            self.cbc.decrypt(offset, sector_size, batch);
            for sectors in batch.chunks_mut(W::WORDS * sector_size) {
                let keys = self.sector_keys(offset, sector_size as u64);
                self.diffuser.undo(&keys, sector_size, sectors, words);
                offset = offset.wrapping_add(sectors.len() as u64);
            }
        }
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut words = self.diffuser.words();
        let words = &mut words[..sector_size / 16];
        let mut offset = offset;
        for batch in run.chunks_mut(BATCH_SECTORS * sector_size) {
            let start = offset;
            for sectors in batch.chunks_mut(W::WORDS * sector_size) {
                let keys = self.sector_keys(offset, sector_size as u64);
                self.diffuser.apply(&keys, sector_size, sectors, words);
                offset = offset.wrapping_add(sectors.len() as u64);
            }
            self.cbc.encrypt(start, sector_size, batch);
        }
    }
}

struct Diffuser<W> {
    w: W,
}

impl<W: WordVector> Diffuser<W> {
    /// Makes room for the words of sectors of any size.
    #[inline(always)]
    fn words(&self) -> [Four<W>; MAX_FOURS] {
        [[self.w.zero(); 4]; MAX_FOURS]
    }

    fn undo(&self, keys: &BatchBlocks, sector_size: usize, sectors: &mut [u8], words: &mut [Four<W>]) {
        self.w.within(
            #[inline(always)]
            || {
                self.gather(sectors, sector_size, None, words);
                self.undo_b(words);
                self.undo_a(words);
                self.scatter(words, Some(keys), sector_size, sectors);
            },
        );
    }

    fn apply(&self, keys: &BatchBlocks, sector_size: usize, sectors: &mut [u8], words: &mut [Four<W>]) {
        self.w.within(
            #[inline(always)]
            || {
                self.gather(sectors, sector_size, Some(keys), words);
                self.apply_a(words);
                self.apply_b(words);
                self.scatter(words, None, sector_size, sectors);
            },
        );
    }

    /// Brings word `i` of each sector together in one register, XORed with the sector's key. Lanes to spare, where there
    /// are fewer sectors than lanes, hold zeros.
    #[inline(always)]
    fn gather(&self, sectors: &[u8], sector_size: usize, keys: Option<&BatchBlocks>, words: &mut [Four<W>]) {
        let w = self.w;
        let columns = words.as_flattened_mut().chunks_exact_mut(W::WORDS);
        for (at, columns) in columns.enumerate() {
            let mut rows = w.square();
            let lanes = rows.as_mut().iter_mut().zip(sectors.chunks_exact(sector_size));
            for (lane, (row, sector)) in lanes.enumerate() {
                *row = w.load(&W::registers(sector)[at]);
                if let Some(keys) = keys {
                    *row = w.xor(*row, self.key(keys, lane, at));
                }
            }
            columns.copy_from_slice(w.transpose(&rows).as_ref());
        }
    }

    /// Puts the words back where they belong, XORed with each sector's key.
    #[inline(always)]
    fn scatter(&self, words: &[Four<W>], keys: Option<&BatchBlocks>, sector_size: usize, sectors: &mut [u8]) {
        let w = self.w;
        let columns = words.as_flattened().chunks_exact(W::WORDS);
        for (at, columns) in columns.enumerate() {
            let mut rows = w.square();
            rows.as_mut().copy_from_slice(columns);
            let rows = w.transpose(&rows);
            let lanes = rows.as_ref().iter().zip(sectors.chunks_exact_mut(sector_size));
            for (lane, (row, sector)) in lanes.enumerate() {
                let mut row = *row;
                if let Some(keys) = keys {
                    row = w.xor(row, self.key(keys, lane, at));
                }
                w.store(&mut W::registers_mut(sector)[at], row);
            }
        }
    }

    /// Returns what is XORed over register `at` of a sector.
    #[inline(always)]
    fn key(&self, keys: &BatchBlocks, lane: usize, at: usize) -> W::Register {
        let both = W::registers(keys[2 * lane..2 * lane + 2].as_flattened());
        self.w.load(&both[at % both.len()])
    }

    // The passes of `elephant`, written out for four words. Undoing A and applying B use words which the same pass has
    // just made: those stay in registers (`one` is the latest, `five` the oldest). The other two use words that it has
    // not reached yet. The number of fours is a power of two, so indices wrap by masking.

    #[inline(always)]
    fn undo_a(&self, words: &mut [Four<W>]) {
        let w = self.w;
        for _ in 0..A_CYCLES {
            let [.., [_, _, _, five], [four, three, two, one]] = *words else {
                return;
            };
            let (mut one, mut two, mut three, mut four, mut five) = (one, two, three, four, five);
            for at in words.iter_mut() {
                let [a, b, c, d] = *at;
                let a = w.add(a, w.xor(two, w.rotate_left::<9, 23>(five)));
                let b = w.add(b, w.xor(one, four));
                let c = w.add(c, w.xor(a, w.rotate_left::<13, 19>(three)));
                let d = w.add(d, w.xor(b, two));
                *at = [a, b, c, d];
                (one, two, three, four, five) = (d, c, b, a, one);
            }
        }
    }

    #[inline(always)]
    fn apply_a(&self, words: &mut [Four<W>]) {
        let w = self.w;
        let mask = words.len() - 1;
        for _ in 0..A_CYCLES {
            for i in (0..words.len()).rev() {
                let before = words[i.wrapping_sub(1) & mask];
                let far = words[i.wrapping_sub(2) & mask][3];
                let [a, b, c, d] = words[i];
                words[i] = [
                    w.sub(a, w.xor(before[2], w.rotate_left::<9, 23>(far))),
                    w.sub(b, w.xor(before[3], before[0])),
                    w.sub(c, w.xor(a, w.rotate_left::<13, 19>(before[1]))),
                    w.sub(d, w.xor(b, before[2])),
                ];
            }
        }
    }

    #[inline(always)]
    fn undo_b(&self, words: &mut [Four<W>]) {
        let w = self.w;
        let mask = words.len() - 1;
        for _ in 0..B_CYCLES {
            for i in 0..words.len() {
                let after = words[(i + 1) & mask];
                let far = words[(i + 2) & mask][0];
                let [a, b, c, d] = words[i];
                words[i] = [
                    w.add(a, w.xor(c, after[1])),
                    w.add(b, w.xor(d, w.rotate_left::<10, 22>(after[2]))),
                    w.add(c, w.xor(after[0], after[3])),
                    w.add(d, w.xor(after[1], w.rotate_left::<25, 7>(far))),
                ];
            }
        }
    }

    #[inline(always)]
    fn apply_b(&self, words: &mut [Four<W>]) {
        let w = self.w;
        for _ in 0..B_CYCLES {
            let [[one, two, three, four], [five, ..], ..] = *words else {
                return;
            };
            let (mut one, mut two, mut three, mut four, mut five) = (one, two, three, four, five);
            for at in words.iter_mut().rev() {
                let [a, b, c, d] = *at;
                let d = w.sub(d, w.xor(two, w.rotate_left::<25, 7>(five)));
                let c = w.sub(c, w.xor(one, four));
                let b = w.sub(b, w.xor(d, w.rotate_left::<10, 22>(three)));
                let a = w.sub(a, w.xor(c, two));
                *at = [a, b, c, d];
                (one, two, three, four, five) = (a, b, c, d, one);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aes::{Aes128, Aes256};

    use crate::arch::elephant;
    use crate::arch::twin_test::assert_twins;
    use crate::elephant::Elephant;
    use crate::secret::Secret;

    #[test]
    fn equals_its_portable_twin() {
        assert_twins(elephant, |a: &Secret<16>, b| {
            Box::new(Elephant::<Aes128>::new(a, b))
        });
        assert_twins(elephant, |a: &Secret<32>, b| {
            Box::new(Elephant::<Aes256>::new(a, b))
        });
    }
}
