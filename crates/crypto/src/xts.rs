//! AES-XTS over runs of sectors (IEEE 1619; the data unit is a sector, the tweak its index).

use aes::cipher::Array;

use crate::block::{Aes, BATCH_BLOCKS, Block, index_block, keyed, xor_all};
use crate::secret::Secret;
use crate::sector::Mode;

pub(crate) struct Xts<C> {
    data: C,
    tweak: C,
}

impl<C: Aes> Xts<C> {
    pub(crate) fn new<const N: usize>(data: &Secret<N>, tweak: &Secret<N>) -> Self {
        Self {
            data: keyed(data),
            tweak: keyed(tweak),
        }
    }

    /// Applies `cipher` between two XORs with the tweaks, batch by batch.
    fn run(&self, offset: u64, sector_size: usize, run: &mut [u8], cipher: impl Fn(&C, &mut [Block])) {
        let mut tweaks = [Block::default(); BATCH_BLOCKS];
        let blocks_per_sector = sector_size / 16;
        // XTS tweaks are the sector's index; CBC's start values are its byte offset.
        let mut sector = offset / sector_size as u64;

        let (blocks, _) = Array::slice_as_chunks_mut(run);
        for batch in blocks.chunks_mut(BATCH_BLOCKS) {
            let tweaks = &mut tweaks[..batch.len()];
            self.expand_tweaks(sector, blocks_per_sector, tweaks);
            sector += (batch.len() / blocks_per_sector) as u64;
            xor_all(batch, tweaks);
            cipher(&self.data, batch);
            xor_all(batch, tweaks);
        }
    }

    /// Fills in the tweak of every block of the sectors from `first` on.
    fn expand_tweaks(&self, first: u64, blocks_per_sector: usize, tweaks: &mut [Block]) {
        // One encryption for each sector, all at once, so that the processor can overlap them.
        let mut starts = [Block::default(); BATCH_BLOCKS / 32];
        let sectors = tweaks.len() / blocks_per_sector;
        for (start, sector) in starts.iter_mut().zip(first..) {
            *start = index_block(sector);
        }
        self.tweak.encrypt_blocks(&mut starts[..sectors]);
        for (sector, start) in tweaks.chunks_exact_mut(blocks_per_sector).zip(starts) {
            let mut tweak = u128::from_le_bytes(start.0);
            for block in sector {
                *block = tweak.to_le_bytes().into();
                tweak = times_alpha(tweak);
            }
        }
    }
}

impl<C: Aes> Mode for Xts<C> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.run(offset, sector_size, run, |cipher, blocks| {
            cipher.decrypt_blocks(blocks)
        });
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.run(offset, sector_size, run, |cipher, blocks| {
            cipher.encrypt_blocks(blocks)
        });
    }
}

/// Multiplies by the primitive element of GF(2^128), without branches.
fn times_alpha(tweak: u128) -> u128 {
    (tweak << 1) ^ ((tweak >> 127) * 0x87)
}
