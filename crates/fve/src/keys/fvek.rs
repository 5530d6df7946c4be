//! The key that the sectors are encrypted with.

use std::io;

use keyhaven_crypto::{Secret, SectorCipher, SectorSize};

use crate::encryption_method::EncryptionMethod;
use crate::randomness::Randomness;

/// A full volume encryption key and the method that it is for.
#[derive(Debug)]
pub struct FullVolumeEncryptionKey {
    method: EncryptionMethod,
    key: Secret<64>,
}

impl FullVolumeEncryptionKey {
    /// Takes a key as a volume's metadata keep it; `None` if the length does not fit `method`.
    ///
    /// The expected lengths are those of [`EncryptionMethod::key_len_bytes`]; the CBC methods also come in a 64-byte
    /// container, of which the front is used (format spec 3.8).
    #[must_use]
    pub fn from_slice(method: EncryptionMethod, key: &[u8]) -> Option<Self> {
        let has_container = matches!(method, EncryptionMethod::AesCbc128 | EncryptionMethod::AesCbc256);
        let fits = key.len() == method.key_len_bytes() || (key.len() == 64 && has_container);
        fits.then(|| Self {
            method,
            key: Secret::init_with(|own| own[..key.len()].copy_from_slice(key)),
        })
    }

    /// Makes a new key, as long as a volume's metadata keep it.
    ///
    /// # Errors
    /// What the source of randomness says.
    pub fn generate(method: EncryptionMethod, random: &mut Randomness<'_>) -> io::Result<Self> {
        let mut outcome = Ok(());
        let key = Secret::init_with(|key: &mut [u8; 64]| {
            outcome = random(&mut key[..method.key_len_bytes()]);
        });
        outcome.map(|()| Self { method, key })
    }

    /// Returns the method that the key is for.
    #[must_use]
    pub fn method(&self) -> EncryptionMethod {
        self.method
    }

    /// Returns the key in a 64-byte container, zeros after its end.
    #[must_use]
    pub fn key(&self) -> &Secret<64> {
        &self.key
    }

    /// Returns the key as long as new metadata keep it.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.key.expose_secret()[..self.method.key_len_bytes()]
    }

    /// Makes the cipher for a volume with sectors of this size.
    ///
    /// The halves of the 64 bytes are data key and tweak key; where the cipher takes 128-bit keys with a diffuser,
    /// only the first 16 bytes of each half are used, the rest is noise on the disk (format spec 3.8).
    #[must_use]
    pub fn cipher(&self, sector_size: SectorSize) -> SectorCipher {
        match self.method {
            EncryptionMethod::AesCbc128Diffuser => {
                SectorCipher::aes_cbc_128_diffuser(&self.part(0), &self.part(32), sector_size)
            }
            EncryptionMethod::AesCbc256Diffuser => {
                SectorCipher::aes_cbc_256_diffuser(&self.part(0), &self.part(32), sector_size)
            }
            EncryptionMethod::AesCbc128 => SectorCipher::aes_cbc_128(&self.part(0), sector_size),
            EncryptionMethod::AesCbc256 => SectorCipher::aes_cbc_256(&self.part(0), sector_size),
            EncryptionMethod::AesXts128 => {
                SectorCipher::aes_xts_128(&self.part(0), &self.part(16), sector_size)
            }
            EncryptionMethod::AesXts256 => {
                SectorCipher::aes_xts_256(&self.part(0), &self.part(32), sector_size)
            }
        }
    }

    fn part<const N: usize>(&self, start: usize) -> Secret<N> {
        Secret::init_with(|part| part.copy_from_slice(&self.key.expose_secret()[start..start + N]))
    }
}
