//! AES-XTS over runs of sectors (IEEE 1619; the data unit is a sector, the tweak its index).

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};

use crate::secret::Secret;
use crate::sector::Mode;

/// A block of AES, 16 bytes.
pub(crate) type Block = Array<u8, U16>;

/// AES with either key size.
pub(crate) trait Aes:
    BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit
{
}
impl<C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit> Aes for C {}

/// Blocks worked on at a time: 4 KiB, so that tweaks and data stay in the first-level cache.
pub(crate) const BATCH_BLOCKS: usize = 256;

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

/// Expands the key schedule of `key`.
pub(crate) fn keyed<C: KeyInit, const N: usize>(key: &Secret<N>) -> C {
    C::new_from_slice(key.expose_secret()).expect("the key's type fits the cipher")
}

/// Returns a number as the little-endian block that becomes a tweak or a start value.
pub(crate) fn index_block(index: u64) -> Block {
    u128::from(index).to_le_bytes().into()
}

/// XORs each block with its partner.
pub(crate) fn xor_all(blocks: &mut [Block], others: &[Block]) {
    for (block, other) in blocks.iter_mut().zip(others) {
        *block = (u128::from_ne_bytes(block.0) ^ u128::from_ne_bytes(other.0))
            .to_ne_bytes()
            .into();
    }
}

/// Multiplies by the primitive element of GF(2^128), without branches.
fn times_alpha(tweak: u128) -> u128 {
    (tweak << 1) ^ ((tweak >> 127) * 0x87)
}
