//! AES-CBC over runs of sectors: each sector stands alone, its start value is its encrypted byte offset.

use aes::cipher::Array;

use crate::block::{Aes, BATCH_BLOCKS, Block, index_block, keyed, xor_all};
use crate::secret::Secret;
use crate::sector::Mode;

/// Sectors encrypted at a time; as many of the smallest are a batch to decrypt.
const LANES: usize = BATCH_BLOCKS / 32;

pub(crate) struct Cbc<C> {
    cipher: C,
}

impl<C: Aes> Cbc<C> {
    pub(crate) fn new<const N: usize>(key: &Secret<N>) -> Self {
        Self { cipher: keyed(key) }
    }

    /// Returns the start values of the sectors from byte `offset` on.
    fn start_values(&self, offset: u64, sector_size: usize) -> [Block; LANES] {
        let mut starts = [Block::default(); LANES];
        for (start, offset) in starts.iter_mut().zip((offset..=u64::MAX).step_by(sector_size)) {
            *start = index_block(offset);
        }
        self.cipher.encrypt_blocks(&mut starts);
        starts
    }
}

impl<C: Aes> Mode for Cbc<C> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let blocks_per_sector = sector_size / 16;
        let mut previous = [Block::default(); BATCH_BLOCKS];
        let mut offset = offset;

        let (blocks, _) = Array::slice_as_chunks_mut(run);
        for batch in blocks.chunks_mut(BATCH_BLOCKS) {
            let previous = &mut previous[..batch.len()];
            let starts = self.start_values(offset, sector_size);
            offset += batch.len() as u64 * 16;
            // Every block is XORed with the ciphertext before it; the first of a sector with the start value.
            let (first, rest) = previous.split_at_mut(1);
            first.copy_from_slice(&starts[..1]);
            rest.copy_from_slice(&batch[..batch.len() - 1]);
            for (sector, start) in previous.chunks_exact_mut(blocks_per_sector).zip(starts) {
                sector[0] = start;
            }
            self.cipher.decrypt_blocks(batch);
            xor_all(batch, previous);
        }
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let blocks_per_sector = sector_size / 16;
        let mut offset = offset;

        let (blocks, _) = Array::slice_as_chunks_mut(run);
        // A sector's blocks depend on each other, so the lanes are sectors.
        for batch in blocks.chunks_mut(LANES * blocks_per_sector) {
            let mut chain = self.start_values(offset, sector_size);
            offset += batch.len() as u64 * 16;
            let sectors = batch.len() / blocks_per_sector;
            for block in 0..blocks_per_sector {
                for (lane, chained) in chain[..sectors].iter_mut().enumerate() {
                    let at = &batch[lane * blocks_per_sector + block];
                    *chained = (u128::from_ne_bytes(chained.0) ^ u128::from_ne_bytes(at.0))
                        .to_ne_bytes()
                        .into();
                }
                self.cipher.encrypt_blocks(&mut chain[..sectors]);
                for (lane, chained) in chain[..sectors].iter().enumerate() {
                    batch[lane * blocks_per_sector + block] = *chained;
                }
            }
        }
    }
}
