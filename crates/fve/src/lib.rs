//! The BitLocker volume format and its meaning.
#![forbid(unsafe_code)]

mod encryption_method;
pub mod format;
mod guid;
pub mod keys;
mod record;

pub use encryption_method::EncryptionMethod;
pub use guid::{Guid, NotAGuid};
pub use record::{RecordKey, RecoveryRecord};
