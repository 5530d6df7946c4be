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
    /// Whether the same key was there before.
    pub already_saved: bool,
    /// Why it is not proven, or what else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}
