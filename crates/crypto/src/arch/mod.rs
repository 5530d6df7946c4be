//! Kernels for the instructions of one architecture, chosen at run time.
//!
//! Every constructor returns `None` where the processor lacks the instructions; the caller then takes the portable
//! twin (`xts`, `cbc`, `elephant`, `stretch`), which is always there and which each kernel is tested against. This
//! is, with the locked memory of secrets, the only place of `unsafe` code.

#[cfg(all(test, target_arch = "x86_64"))]
mod twin_test;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(not(target_arch = "x86_64"))]
use crate::secret::Secret;
use crate::sector::Mode;
#[cfg(not(target_arch = "x86_64"))]
use crate::stretch::STRETCH_BATCH;

/// A mode of operation that a volume's cipher keeps.
type BoxedMode = Box<dyn Mode + Send + Sync>;

/// What kernels of the sector ciphers are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// AES on two blocks at once, everything else with AVX2.
    Vaes,
    /// AES on one block, everything else with AVX2: for what has more to it than AES.
    AesAvx2,
    /// AES on one block, everything else with SSE.
    Aes,
}

impl Instructions {
    /// All, the fastest first.
    pub const ALL: [Self; 3] = [Self::Vaes, Self::AesAvx2, Self::Aes];
}

/// Makes what `make` makes with the fastest instructions that this processor has.
pub(crate) fn fastest(make: impl Fn(Instructions) -> Option<BoxedMode>) -> Option<BoxedMode> {
    Instructions::ALL.into_iter().find_map(make)
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{cbc, elephant, stretch, stretch_batch, xts};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn xts<const N: usize>(_: Instructions, _: &Secret<N>, _: &Secret<N>) -> Option<BoxedMode> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn cbc<const N: usize>(_: Instructions, _: &Secret<N>) -> Option<BoxedMode> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn elephant<const N: usize>(_: Instructions, _: &Secret<N>, _: &Secret<N>) -> Option<BoxedMode> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn stretch(_: &Secret<32>, _: &[u8; 16], _: u64) -> Option<Secret<32>> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn stretch_batch(
    _: [&Secret<32>; STRETCH_BATCH],
    _: &[u8; 16],
    _: u64,
) -> Option<[Secret<32>; STRETCH_BATCH]> {
    None
}
