//! x86-64: AES on two blocks an instruction (VAES with 256-bit registers), SHA-256 in hardware.

mod keys;
mod sha_stretch;
mod vaes_cbc;
mod vaes_elephant;
mod vaes_xts;

use super::BoxedMode;
use crate::secret::Secret;

use keys::{ROUND_KEYS_128, ROUND_KEYS_256, Vaes};
pub(crate) use sha_stretch::stretch;
use vaes_cbc::VaesCbc;
use vaes_elephant::VaesElephant;
use vaes_xts::VaesXts;

/// Makes AES-XTS over `data` and `tweak` keys of 16 or 32 bytes.
pub(crate) fn xts<const N: usize>(data: &Secret<N>, tweak: &Secret<N>) -> Option<BoxedMode> {
    let vaes = Vaes::detect()?;
    let (data, tweak) = (data.expose_secret(), tweak.expose_secret());
    match N {
        16 => Some(VaesXts::<ROUND_KEYS_128>::new(vaes, data, tweak)),
        32 => Some(VaesXts::<ROUND_KEYS_256>::new(vaes, data, tweak)),
        _ => None,
    }
}

/// Makes AES-CBC over a key of 16 or 32 bytes.
pub(crate) fn cbc<const N: usize>(key: &Secret<N>) -> Option<BoxedMode> {
    let vaes = Vaes::detect()?;
    match N {
        16 => Some(VaesCbc::<ROUND_KEYS_128>::new(vaes, key.expose_secret())),
        32 => Some(VaesCbc::<ROUND_KEYS_256>::new(vaes, key.expose_secret())),
        _ => None,
    }
}

/// Makes AES-CBC with the Elephant diffuser over keys of 16 or 32 bytes.
pub(crate) fn elephant<const N: usize>(key: &Secret<N>, tweak: &Secret<N>) -> Option<BoxedMode> {
    let vaes = Vaes::detect()?;
    let (key, tweak) = (key.expose_secret(), tweak.expose_secret());
    match N {
        16 => Some(VaesElephant::<ROUND_KEYS_128>::new(vaes, key, tweak)),
        32 => Some(VaesElephant::<ROUND_KEYS_256>::new(vaes, key, tweak)),
        _ => None,
    }
}
