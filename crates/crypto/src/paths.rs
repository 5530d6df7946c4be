//! Ciphers and stretches on a path that is named, whatever the processor would choose: for benchmarks and tests, which
//! compare. No part of the API.

use aes::{Aes128, Aes256};

use crate::arch;
pub use crate::arch::Instructions;
use crate::cbc::Cbc;
use crate::elephant::Elephant;
use crate::secret::Secret;
use crate::sector::{Mode, SectorCipher, SectorSize};
use crate::stretch::{STRETCH_ROUNDS, stretch_portably};
use crate::xts::Xts;

/// What does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// A kernel for these instructions.
    Kernel(Instructions),
    /// The portable twin.
    Portable,
}

impl Path {
    /// All, the fastest first.
    pub const ALL: [Self; 4] = [
        Self::Kernel(Instructions::Vaes),
        Self::Kernel(Instructions::AesAvx2),
        Self::Kernel(Instructions::Aes),
        Self::Portable,
    ];

    /// Makes a mode of operation on this path.
    fn make<M: Mode + Send + Sync + 'static>(
        self,
        kernel: impl FnOnce(Instructions) -> Option<Box<dyn Mode + Send + Sync>>,
        twin: impl FnOnce() -> M,
    ) -> Option<Box<dyn Mode + Send + Sync>> {
        match self {
            Self::Kernel(with) => kernel(with),
            Self::Portable => Some(Box::new(twin())),
        }
    }

    /// Makes what [`SectorCipher::aes_xts_128`] makes; `None` where the processor lacks the instructions.
    #[must_use]
    pub fn aes_xts_128(
        self,
        data: &Secret<16>,
        tweak: &Secret<16>,
        size: SectorSize,
    ) -> Option<SectorCipher> {
        let mode = self.make(
            |with| arch::xts(with, data, tweak),
            || Xts::<Aes128>::new(data, tweak),
        )?;
        Some(SectorCipher::of("AES-XTS 128", mode, size))
    }

    /// Makes what [`SectorCipher::aes_xts_256`] makes; `None` where the processor lacks the instructions.
    #[must_use]
    pub fn aes_xts_256(
        self,
        data: &Secret<32>,
        tweak: &Secret<32>,
        size: SectorSize,
    ) -> Option<SectorCipher> {
        let mode = self.make(
            |with| arch::xts(with, data, tweak),
            || Xts::<Aes256>::new(data, tweak),
        )?;
        Some(SectorCipher::of("AES-XTS 256", mode, size))
    }

    /// Makes what [`SectorCipher::aes_cbc_128`] makes; `None` where the processor lacks the instructions.
    #[must_use]
    pub fn aes_cbc_128(self, key: &Secret<16>, size: SectorSize) -> Option<SectorCipher> {
        let mode = self.make(|with| arch::cbc(with, key), || Cbc::<Aes128>::new(key))?;
        Some(SectorCipher::of("AES-CBC 128", mode, size))
    }

    /// Makes what [`SectorCipher::aes_cbc_256`] makes; `None` where the processor lacks the instructions.
    #[must_use]
    pub fn aes_cbc_256(self, key: &Secret<32>, size: SectorSize) -> Option<SectorCipher> {
        let mode = self.make(|with| arch::cbc(with, key), || Cbc::<Aes256>::new(key))?;
        Some(SectorCipher::of("AES-CBC 256", mode, size))
    }

    /// Makes what [`SectorCipher::aes_cbc_128_diffuser`] makes; `None` where the processor lacks the instructions.
    #[must_use]
    pub fn aes_cbc_128_diffuser(
        self,
        key: &Secret<16>,
        tweak: &Secret<16>,
        size: SectorSize,
    ) -> Option<SectorCipher> {
        let mode = self.make(
            |with| arch::elephant(with, key, tweak),
            || Elephant::<Aes128>::new(key, tweak),
        )?;
        Some(SectorCipher::of("AES-CBC 128 + diffuser", mode, size))
    }

    /// Makes what [`SectorCipher::aes_cbc_256_diffuser`] makes; `None` where the processor lacks the instructions.
    #[must_use]
    pub fn aes_cbc_256_diffuser(
        self,
        key: &Secret<32>,
        tweak: &Secret<32>,
        size: SectorSize,
    ) -> Option<SectorCipher> {
        let mode = self.make(
            |with| arch::elephant(with, key, tweak),
            || Elephant::<Aes256>::new(key, tweak),
        )?;
        Some(SectorCipher::of("AES-CBC 256 + diffuser", mode, size))
    }
}

/// Stretches as [`crate::stretch`] does, with what every processor has.
#[must_use]
pub fn stretch(initial: &Secret<32>, salt: &[u8; 16]) -> Secret<32> {
    stretch_portably(initial, salt, STRETCH_ROUNDS)
}
