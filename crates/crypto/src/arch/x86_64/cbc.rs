//! AES-CBC: to decrypt, eight registers of a sector's blocks at a time; to encrypt, a block of each of many sectors.

use super::keys::{BATCH_SECTORS, BatchBlocks, Schedule};
use super::vector::{AesVector, LANES};
use crate::sector::Mode;

/// Blocks of each sector that are encrypted side by side at a time: all of the smallest, a piece of a larger one.
const PIECE: usize = 32;

/// A piece of each sector, in lines of the cache.
#[repr(align(64))]
struct Pieces([[[u8; 16]; PIECE]; BATCH_SECTORS]);

pub(super) struct Cbc<V: AesVector, const R: usize> {
    v: V,
    key: Schedule<V, R>,
}

impl<V: AesVector, const R: usize> Cbc<V, R> {
    /// Makes a mode without its key, to be expanded where it will stay.
    pub(super) fn empty(v: V) -> Self {
        Self {
            v,
            key: Schedule::empty(v),
        }
    }

    pub(super) fn expand(&mut self, key: &[u8]) {
        self.key.expand(self.v, key);
    }

    pub(super) fn new(v: V, key: &[u8]) -> Box<Self> {
        let mut mode = Box::new(Self::empty(v));
        mode.expand(key);
        mode
    }

    #[inline(always)]
    fn decrypt_run(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut offset = offset;
        for batch in run.chunks_mut(BATCH_SECTORS * sector_size) {
            let starts =
                self.key
                    .encrypt_numbers(self.v, offset, sector_size as u64, batch.len() / sector_size);
            offset = offset.wrapping_add(batch.len() as u64);
            for (sector, start) in batch.chunks_exact_mut(sector_size).zip(&starts) {
                self.decrypt_sector(start, sector);
            }
        }
    }

    #[inline(always)]
    fn decrypt_sector(&self, start: &[u8; 16], sector: &mut [u8]) {
        let v = self.v;
        let mut chained = v.broadcast(start);
        let (groups, _) = V::registers_mut(sector).as_chunks_mut::<LANES>();
        for group in groups {
            let mut state = v.load_all(group);
            // Every block is XORed with the ciphertext before it.
            let mut before = [chained; LANES];
            let mut last = chained;
            for (before, cipher) in before.iter_mut().zip(state) {
                *before = v.shift_in(last, cipher);
                last = cipher;
            }
            chained = last;
            self.key.decrypt(v, &mut state);
            v.xor_all(&mut state, &before);
            v.store_all(group, state);
        }
    }

    #[inline(always)]
    fn encrypt_run(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut offset = offset;
        for batch in run.chunks_mut(BATCH_SECTORS * sector_size) {
            let sectors = batch.len() / sector_size;
            let mut chained = self
                .key
                .encrypt_numbers(self.v, offset, sector_size as u64, sectors);
            offset = offset.wrapping_add(batch.len() as u64);
            let (blocks, _) = batch.as_chunks_mut::<16>();
            match blocks.as_chunks_mut::<PIECE>().0.try_into() {
                Ok(whole) if sector_size == 16 * PIECE => {
                    self.encrypt_pieces(sectors, &mut chained, whole);
                }
                _ => self.encrypt_staged(sector_size / 16, &mut chained, blocks),
            }
        }
    }

    /// Encrypts sectors a piece at a time, which is brought together first: blocks that lie a large power of two apart
    /// would drive each other out of the cache.
    #[inline(always)]
    fn encrypt_staged(&self, sector_blocks: usize, chained: &mut BatchBlocks, blocks: &mut [[u8; 16]]) {
        let mut pieces = Pieces([[[0; 16]; PIECE]; BATCH_SECTORS]);
        let Pieces(pieces) = &mut pieces;
        let count = blocks.len() / sector_blocks;
        for (piece, sector) in pieces.iter_mut().zip(blocks.chunks_exact(sector_blocks)) {
            piece.copy_from_slice(&sector[..PIECE]);
        }
        for at in (0..sector_blocks).step_by(PIECE) {
            self.encrypt_pieces(count, chained, pieces);
            for (piece, sector) in pieces.iter_mut().zip(blocks.chunks_exact_mut(sector_blocks)) {
                // What comes next lies beside what is done, so that each sector is gone to once.
                let (done, rest) = sector[at..].split_at_mut(PIECE);
                done.copy_from_slice(piece);
                if let Some(next) = rest.first_chunk() {
                    *piece = *next;
                }
            }
        }
    }

    /// Encrypts at least the first `count` pieces. `chained` is what their first blocks are chained to, and then their
    /// last blocks.
    #[inline(always)]
    fn encrypt_pieces(
        &self,
        count: usize,
        chained: &mut BatchBlocks,
        pieces: &mut [[[u8; 16]; PIECE]; BATCH_SECTORS],
    ) {
        match count.div_ceil(V::BLOCKS) {
            1 => self.encrypt_groups::<1>(1, chained, pieces),
            2 => self.encrypt_groups::<2>(1, chained, pieces),
            3..=4 => self.encrypt_groups::<4>(1, chained, pieces),
            registers => self.encrypt_groups::<LANES>(registers.div_ceil(LANES), chained, pieces),
        }
    }

    /// Encrypts a block of each piece at a time, in `groups` groups of `L` registers: while one group waits for its
    /// last round, the next can begin.
    #[inline(always)]
    fn encrypt_groups<const L: usize>(
        &self,
        groups: usize,
        chained: &mut BatchBlocks,
        pieces: &mut [[[u8; 16]; PIECE]; BATCH_SECTORS],
    ) {
        let v = self.v;
        let (chained, _) = V::registers_mut(chained.as_flattened_mut()).as_chunks_mut::<L>();
        for at in 0..PIECE {
            let pieces = pieces.chunks_exact_mut(L * V::BLOCKS);
            for (pieces, chained) in pieces.zip(chained.iter_mut()).take(groups) {
                let mut state = v.load_all(chained);
                for (lane, pieces) in state.iter_mut().zip(pieces.chunks_exact(V::BLOCKS)) {
                    *lane = v.xor(*lane, v.load_column(pieces, at));
                }
                self.key.encrypt(v, &mut state);
                for (lane, pieces) in state.iter().zip(pieces.chunks_exact_mut(V::BLOCKS)) {
                    v.store_column(pieces, at, *lane);
                }
                v.store_all(chained, state);
            }
        }
    }
}

impl<V: AesVector, const R: usize> Mode for Cbc<V, R> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.v.within(
            #[inline(always)]
            || self.decrypt_run(offset, sector_size, run),
        );
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.v.within(
            #[inline(always)]
            || self.encrypt_run(offset, sector_size, run),
        );
    }
}

#[cfg(test)]
mod tests {
    use aes::{Aes128, Aes256};

    use crate::arch::cbc;
    use crate::arch::twin_test::assert_twins;
    use crate::cbc::Cbc;
    use crate::secret::Secret;

    #[test]
    fn equals_its_portable_twin() {
        assert_twins(
            |with, key: &Secret<16>, _| cbc(with, key),
            |key, _| Box::new(Cbc::<Aes128>::new(key)),
        );
        assert_twins(
            |with, key: &Secret<32>, _| cbc(with, key),
            |key, _| Box::new(Cbc::<Aes256>::new(key)),
        );
    }
}
