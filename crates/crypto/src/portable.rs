//! The portable twins by themselves, whatever the processor has: for benchmarks, which compare. No part of the API.

use aes::{Aes128, Aes256};

use crate::cbc::Cbc;
use crate::elephant::Elephant;
use crate::secret::Secret;
use crate::sector::{SectorCipher, SectorSize};
use crate::stretch::{STRETCH_ROUNDS, stretch_portably};
use crate::xts::Xts;

/// Makes the twin of [`SectorCipher::aes_xts_128`].
#[must_use]
pub fn aes_xts_128(data: &Secret<16>, tweak: &Secret<16>, sector_size: SectorSize) -> SectorCipher {
    SectorCipher::of(
        "AES-XTS 128",
        Box::new(Xts::<Aes128>::new(data, tweak)),
        sector_size,
    )
}

/// Makes the twin of [`SectorCipher::aes_xts_256`].
#[must_use]
pub fn aes_xts_256(data: &Secret<32>, tweak: &Secret<32>, sector_size: SectorSize) -> SectorCipher {
    SectorCipher::of(
        "AES-XTS 256",
        Box::new(Xts::<Aes256>::new(data, tweak)),
        sector_size,
    )
}

/// Makes the twin of [`SectorCipher::aes_cbc_128`].
#[must_use]
pub fn aes_cbc_128(key: &Secret<16>, sector_size: SectorSize) -> SectorCipher {
    SectorCipher::of("AES-CBC 128", Box::new(Cbc::<Aes128>::new(key)), sector_size)
}

/// Makes the twin of [`SectorCipher::aes_cbc_256`].
#[must_use]
pub fn aes_cbc_256(key: &Secret<32>, sector_size: SectorSize) -> SectorCipher {
    SectorCipher::of("AES-CBC 256", Box::new(Cbc::<Aes256>::new(key)), sector_size)
}

/// Makes the twin of [`SectorCipher::aes_cbc_128_diffuser`].
#[must_use]
pub fn aes_cbc_128_diffuser(key: &Secret<16>, tweak: &Secret<16>, sector_size: SectorSize) -> SectorCipher {
    SectorCipher::of(
        "AES-CBC 128 + diffuser",
        Box::new(Elephant::<Aes128>::new(key, tweak)),
        sector_size,
    )
}

/// Makes the twin of [`SectorCipher::aes_cbc_256_diffuser`].
#[must_use]
pub fn aes_cbc_256_diffuser(key: &Secret<32>, tweak: &Secret<32>, sector_size: SectorSize) -> SectorCipher {
    SectorCipher::of(
        "AES-CBC 256 + diffuser",
        Box::new(Elephant::<Aes256>::new(key, tweak)),
        sector_size,
    )
}

/// Stretches as [`crate::stretch`] does.
#[must_use]
pub fn stretch(initial: &Secret<32>, salt: &[u8; 16]) -> Secret<32> {
    stretch_portably(initial, salt, STRETCH_ROUNDS)
}
