//! AES by the batch: what the modes of operation share.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};

use crate::secret::Secret;

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
