//! What leaves a volume to be kept elsewhere.

use crate::format::FileTime;
use crate::guid::Guid;
use crate::keys::{ExternalKey, RecoveryPassword};

/// One key of one volume, ready to be saved: the thing that a backup is a backup of.
#[derive(Debug)]
pub struct RecoveryRecord {
    /// The volume that the key opens.
    pub volume_id: Guid,
    /// The key protector that it belongs to; its first eight characters are the key ID.
    pub protector_id: Guid,
    /// What Windows noted when the volume was first encrypted: computer, label or letter, date.
    pub description: Option<String>,
    /// When the protector was last changed.
    pub modified: FileTime,
    /// The key.
    pub key: RecordKey,
}

/// The key in a record.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordKey {
    /// 48 digits, which people call the recovery key.
    RecoveryPassword(RecoveryPassword),
    /// A key file.
    ExternalKey(ExternalKey),
}
