//! Where new keys come from: the caller, because this crate makes no randomness itself.

use std::io;

use keyhaven_crypto::Secret;

use crate::guid::Guid;

/// Fills bytes with randomness that nobody can foresee: the operating system's.
///
/// Everything that a new volume's safety rests on comes from here; a source that repeats itself makes keys that repeat
/// themselves.
pub type Randomness<'a> = dyn FnMut(&mut [u8]) -> io::Result<()> + 'a;

/// Draws a secret straight into its own memory.
pub(crate) fn secret<const N: usize>(random: &mut Randomness<'_>) -> io::Result<Secret<N>> {
    let mut outcome = Ok(());
    let secret = Secret::init_with(|bytes| outcome = random(bytes));
    outcome.map(|()| secret)
}

/// Draws bytes that will lie open: a salt.
pub(crate) fn bytes<const N: usize>(random: &mut Randomness<'_>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    random(&mut bytes).map(|()| bytes)
}

/// Draws an identifier.
pub(crate) fn guid(random: &mut Randomness<'_>) -> io::Result<Guid> {
    bytes(random).map(Guid::from_random)
}
