//! The key in the middle: every protector wraps it, and it wraps everything else.

use std::io;

use keyhaven_crypto::Secret;

use crate::randomness::{self, Randomness};

/// A volume master key, 256 bits.
#[derive(Debug, PartialEq, Eq)]
pub struct VolumeMasterKey(Secret<32>);

impl VolumeMasterKey {
    /// Takes 32 bytes; whether they are a volume's key shows when something is opened with them.
    #[must_use]
    pub fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    /// Makes a new key.
    ///
    /// # Errors
    /// What the source of randomness says.
    pub fn generate(random: &mut Randomness<'_>) -> io::Result<Self> {
        randomness::secret(random).map(Self)
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &Secret<32> {
        &self.0
    }
}
