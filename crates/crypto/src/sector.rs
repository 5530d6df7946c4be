//! The cipher of a volume, chosen once and applied to runs of sectors.

use std::fmt;

use aes::{Aes128, Aes256};

use crate::arch;
use crate::cbc::Cbc;
use crate::elephant::Elephant;
use crate::secret::Secret;
use crate::xts::Xts;

/// The size of a volume's sector in bytes, which is also the unit of encryption: 512, 1024, 2048 or 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectorSize(u16);

impl SectorSize {
    /// The usual size.
    pub const B512: Self = Self(512);
    /// The size on disks that are 4096 bytes a sector natively.
    pub const B4096: Self = Self(4096);

    /// Accepts one of the four sizes that occur.
    #[must_use]
    pub fn new(bytes: u32) -> Option<Self> {
        match bytes {
            512 | 1024 | 2048 | 4096 => Some(Self(bytes as u16)),
            _ => None,
        }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::from(self.0)
    }

    /// Returns the size in bytes, for offset arithmetic.
    #[must_use]
    pub fn bytes_u64(self) -> u64 {
        u64::from(self.0)
    }
}

/// Encrypts and decrypts runs of whole sectors in place.
///
/// Position matters: every sector is encrypted for the place where its ciphertext lies on the volume, given as the
/// byte offset of the run's first sector from the start of the volume.
///
/// Source: format spec 4.
pub struct SectorCipher {
    mode: Box<dyn Mode + Send + Sync>,
    name: &'static str,
    sector_size: SectorSize,
}

/// One mode of operation over one key. `run` is a whole number of sectors of `sector_size`.
pub(crate) trait Mode {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]);
    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]);
}

impl SectorCipher {
    /// Makes AES-XTS with 128-bit keys: one for the data, one for the tweak.
    #[must_use]
    pub fn aes_xts_128(data: &Secret<16>, tweak: &Secret<16>, sector_size: SectorSize) -> Self {
        let mode = arch::fastest(|with| arch::xts(with, data, tweak))
            .unwrap_or_else(|| Box::new(Xts::<Aes128>::new(data, tweak)));
        Self::of("AES-XTS 128", mode, sector_size)
    }

    /// Makes AES-XTS with 256-bit keys: one for the data, one for the tweak.
    #[must_use]
    pub fn aes_xts_256(data: &Secret<32>, tweak: &Secret<32>, sector_size: SectorSize) -> Self {
        let mode = arch::fastest(|with| arch::xts(with, data, tweak))
            .unwrap_or_else(|| Box::new(Xts::<Aes256>::new(data, tweak)));
        Self::of("AES-XTS 256", mode, sector_size)
    }

    /// Makes AES-CBC with a 128-bit key.
    #[must_use]
    pub fn aes_cbc_128(key: &Secret<16>, sector_size: SectorSize) -> Self {
        let mode =
            arch::fastest(|with| arch::cbc(with, key)).unwrap_or_else(|| Box::new(Cbc::<Aes128>::new(key)));
        Self::of("AES-CBC 128", mode, sector_size)
    }

    /// Makes AES-CBC with a 256-bit key.
    #[must_use]
    pub fn aes_cbc_256(key: &Secret<32>, sector_size: SectorSize) -> Self {
        let mode =
            arch::fastest(|with| arch::cbc(with, key)).unwrap_or_else(|| Box::new(Cbc::<Aes256>::new(key)));
        Self::of("AES-CBC 256", mode, sector_size)
    }

    /// Makes AES-CBC with the Elephant diffuser, 128-bit keys.
    #[must_use]
    pub fn aes_cbc_128_diffuser(key: &Secret<16>, tweak: &Secret<16>, sector_size: SectorSize) -> Self {
        let mode = arch::fastest(|with| arch::elephant(with, key, tweak))
            .unwrap_or_else(|| Box::new(Elephant::<Aes128>::new(key, tweak)));
        Self::of("AES-CBC 128 + diffuser", mode, sector_size)
    }

    /// Makes AES-CBC with the Elephant diffuser, 256-bit keys.
    #[must_use]
    pub fn aes_cbc_256_diffuser(key: &Secret<32>, tweak: &Secret<32>, sector_size: SectorSize) -> Self {
        let mode = arch::fastest(|with| arch::elephant(with, key, tweak))
            .unwrap_or_else(|| Box::new(Elephant::<Aes256>::new(key, tweak)));
        Self::of("AES-CBC 256 + diffuser", mode, sector_size)
    }

    pub(crate) fn of(name: &'static str, mode: Box<dyn Mode + Send + Sync>, sector_size: SectorSize) -> Self {
        Self {
            mode,
            name,
            sector_size,
        }
    }

    /// Returns the sector size that this cipher works in.
    #[must_use]
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// Decrypts a run of sectors whose first lies at byte `offset` of the volume.
    ///
    /// # Panics
    /// If `offset` or the run's length is not a whole number of sectors.
    pub fn decrypt(&self, offset: u64, run: &mut [u8]) {
        self.assert_whole_sectors(offset, run.len());
        self.mode.decrypt(offset, self.sector_size.bytes(), run);
    }

    /// Encrypts a run of sectors whose first will lie at byte `offset` of the volume.
    ///
    /// # Panics
    /// If `offset` or the run's length is not a whole number of sectors.
    pub fn encrypt(&self, offset: u64, run: &mut [u8]) {
        self.assert_whole_sectors(offset, run.len());
        self.mode.encrypt(offset, self.sector_size.bytes(), run);
    }

    fn assert_whole_sectors(&self, offset: u64, len: usize) {
        assert!(
            offset.is_multiple_of(self.sector_size.bytes_u64())
                && len.is_multiple_of(self.sector_size.bytes()),
            "a sector cipher works on whole sectors"
        );
    }
}

impl fmt::Debug for SectorCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SectorCipher({}, {} bytes a sector, keys redacted)",
            self.name, self.sector_size.0
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(sector_size: SectorSize) -> Vec<SectorCipher> {
        let (a, b) = (Secret::from([0x11; 16]), Secret::from([0x22; 16]));
        let (c, d) = (Secret::from([0x33; 32]), Secret::from([0x44; 32]));
        vec![
            SectorCipher::aes_xts_128(&a, &b, sector_size),
            SectorCipher::aes_xts_256(&c, &d, sector_size),
            SectorCipher::aes_cbc_128(&a, sector_size),
            SectorCipher::aes_cbc_256(&c, sector_size),
            SectorCipher::aes_cbc_128_diffuser(&a, &b, sector_size),
            SectorCipher::aes_cbc_256_diffuser(&c, &d, sector_size),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn decrypting_undoes_encrypting_and_runs_equal_single_sectors(
            size in prop::sample::select(vec![512u32, 1024, 2048, 4096]),
            count in 1usize..20,
            sector in 0u64..(1 << 50),
            seed in any::<u8>(),
        ) {
            let size = SectorSize::new(size).expect("listed");
            let plain: Vec<u8> = (0..count * size.bytes()).map(|i| (i as u8).wrapping_mul(seed)).collect();
            for cipher in all(size) {
                let offset = sector * size.bytes_u64();
                let mut run = plain.clone();
                cipher.encrypt(offset, &mut run);
                prop_assert_ne!(&run, &plain);

                let mut single = plain.clone();
                for (i, one) in single.chunks_exact_mut(size.bytes()).enumerate() {
                    cipher.encrypt(offset + i as u64 * size.bytes_u64(), one);
                }
                prop_assert_eq!(&run, &single);

                cipher.decrypt(offset, &mut run);
                prop_assert_eq!(&run, &plain);
            }
        }
    }
}
