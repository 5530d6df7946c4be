//! SHA-256 of plain and of secret bytes.

use sha2::{Digest, Sha256};

/// Hashes bytes that are no secret: a metadata block.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Hashes straight into a secret's own memory.
pub(crate) fn sha256_into(bytes: &[u8], out: &mut [u8; 32]) {
    Sha256::new_with_prefix(bytes).finalize_into(out.into());
}
