//! What a person gets to see of a saved copy. Holds no secret.

use jiff::Timestamp;
use keyhaven_fve::Guid;
use serde::{Serialize, Serializer};

/// A copy of a key, and whether it was proven.
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// The place as the person named it.
    pub place: String,
    /// The file, where it is one.
    pub path: Option<String>,
    /// The protector whose key it is.
    #[serde(serialize_with = "as_text")]
    pub protector_id: Guid,
    /// When.
    #[serde(serialize_with = "as_text")]
    pub saved_at: Timestamp,
    /// Whether it was read back and opened the drive.
    pub proven: bool,
    /// What it was held against, where it is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven_by: Option<ProvenBy>,
    /// Whether the same key was there before.
    pub already_saved: bool,
    /// Why it is not proven, or what else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a key was held against to prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProvenBy {
    /// The drive itself, as it is read here: the key opened it.
    Drive,
    /// The key that Windows says opens the drive: it is the same.
    Windows,
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}
