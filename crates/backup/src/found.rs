//! Keys found in a text, a file or a picture.

use keyhaven_fve::keys::MistypedRecoveryPassword;
use keyhaven_fve::{Credential, Guid};

/// A key that was found somewhere, and what the place says about whose it is.
#[derive(Debug)]
pub struct FoundKey {
    /// The identifiers that stand beside the key, the likeliest first; empty if there are none.
    pub ids: Vec<Guid>,
    /// The key.
    pub content: FoundContent,
}

/// What was found.
#[derive(Debug)]
#[non_exhaustive]
pub enum FoundContent {
    /// A key that can be tried: a recovery key or a key file.
    Key(Credential),
    /// Something that is a recovery key but for a few digits.
    Mistyped(MistypedRecoveryPassword),
}
