//! x86-64: AES on two blocks an instruction (VAES with 256-bit registers) or on one, SHA-256 in hardware.

mod cbc;
mod elephant;
mod keys;
mod narrow;
mod sha_stretch;
mod vector;
mod wide;
mod xts;

use super::{BoxedMode, Instructions};
use crate::secret::Secret;

use cbc::Cbc;
use elephant::Elephant;
use keys::{ROUND_KEYS_128, ROUND_KEYS_256};
use narrow::Narrow;
pub(crate) use sha_stretch::{stretch, stretch_batch};
use vector::{AesVector, WordVector};
use wide::Wide;
use xts::Xts;

/// Makes AES-XTS over `data` and `tweak` keys of 16 or 32 bytes.
pub(crate) fn xts<const N: usize>(
    with: Instructions,
    data: &Secret<N>,
    tweak: &Secret<N>,
) -> Option<BoxedMode> {
    fn on<V: AesVector>(v: V, data: &[u8], tweak: &[u8]) -> Option<BoxedMode> {
        match data.len() {
            16 => Some(Xts::<V, ROUND_KEYS_128>::new(v, data, tweak)),
            32 => Some(Xts::<V, ROUND_KEYS_256>::new(v, data, tweak)),
            _ => None,
        }
    }
    let (data, tweak) = (data.expose_secret(), tweak.expose_secret());
    match with {
        Instructions::Vaes => on(Wide::<true>::detect()?, data, tweak),
        Instructions::AesAvx2 => None,
        Instructions::Aes => on(Narrow::detect()?, data, tweak),
    }
}

/// Makes AES-CBC over a key of 16 or 32 bytes.
pub(crate) fn cbc<const N: usize>(with: Instructions, key: &Secret<N>) -> Option<BoxedMode> {
    fn on<V: AesVector>(v: V, key: &[u8]) -> Option<BoxedMode> {
        match key.len() {
            16 => Some(Cbc::<V, ROUND_KEYS_128>::new(v, key)),
            32 => Some(Cbc::<V, ROUND_KEYS_256>::new(v, key)),
            _ => None,
        }
    }
    let key = key.expose_secret();
    match with {
        Instructions::Vaes => on(Wide::<true>::detect()?, key),
        Instructions::AesAvx2 => None,
        Instructions::Aes => on(Narrow::detect()?, key),
    }
}

/// Makes AES-CBC with the Elephant diffuser over keys of 16 or 32 bytes.
pub(crate) fn elephant<const N: usize>(
    with: Instructions,
    key: &Secret<N>,
    tweak: &Secret<N>,
) -> Option<BoxedMode> {
    fn on<V: AesVector, W: WordVector>(v: V, w: W, key: &[u8], tweak: &[u8]) -> Option<BoxedMode> {
        match key.len() {
            16 => Some(Elephant::<V, W, ROUND_KEYS_128>::new(v, w, key, tweak)),
            32 => Some(Elephant::<V, W, ROUND_KEYS_256>::new(v, w, key, tweak)),
            _ => None,
        }
    }
    let (key, tweak) = (key.expose_secret(), tweak.expose_secret());
    match with {
        Instructions::Vaes => on(Wide::<true>::detect()?, Wide::<false>::detect()?, key, tweak),
        Instructions::AesAvx2 => on(Narrow::detect()?, Wide::<false>::detect()?, key, tweak),
        Instructions::Aes => on(Narrow::detect()?, Narrow::detect()?, key, tweak),
    }
}
