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

/// A mode of operation that a volume's cipher keeps.
type BoxedMode = Box<dyn Mode + Send + Sync>;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{cbc, elephant, stretch, xts};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn xts<const N: usize>(_: &Secret<N>, _: &Secret<N>) -> Option<BoxedMode> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn cbc<const N: usize>(_: &Secret<N>) -> Option<BoxedMode> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn elephant<const N: usize>(_: &Secret<N>, _: &Secret<N>) -> Option<BoxedMode> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn stretch(_: &Secret<32>, _: &[u8; 16], _: u64) -> Option<Secret<32>> {
    None
}
