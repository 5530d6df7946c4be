//! The BitLocker volume format and its meaning.
//!
//! A journey reads: [`Volume::open`] recognises a device and reads its metadata; [`Volume::prove`] says whether a key
//! opens it; [`Volume::unlock`] finds its keys; [`Volume::records`] gives the keys that are worth keeping elsewhere;
//! [`Volume::data`] shows the plaintext as a device again, and [`UnlockedVolume::writable`] one that can be
//! written.
//!
//! This crate opens no path, reads no clock, makes no randomness, starts no thread and prints nothing: all that comes
//! in as arguments. [`format`](mod@format) is shape without meaning; everything else is meaning.
#![forbid(unsafe_code)]

pub mod convert;
mod copies;
pub mod create;
mod credential;
pub mod edit;
mod encryption_method;
mod eow;
mod error;
pub mod format;
mod guid;
mod key_package;
pub mod keys;
mod layout;
mod metadata;
mod metadata_builder;
mod overlay;
pub mod protector;
mod randomness;
mod record;
pub mod rules;
pub mod salvage;
mod saved_metadata;
mod scan;
mod state;
mod unlocked;
mod volume;
mod writable;

pub use copies::MetadataCopy;
pub use credential::Credential;
pub use encryption_method::EncryptionMethod;
pub use error::{CopyProblem, DataError, EowProblem, OpenError, UnlockError};
pub use guid::{Guid, NotAGuid};
pub use key_package::{KeyPackage, NoKeyPackage, PackageKeys};
pub use layout::LayoutError;
pub use metadata::{Conversion, Integrity, Metadata};
pub use metadata_builder::{MetadataBuilder, MetadataError};
pub use protector::{BackupHint, KeyProtector, ProtectorKind};
pub use randomness::Randomness;
pub use record::{RecordKey, RecoveryRecord};
pub use saved_metadata::{NotSaved, NotSavedMetadata, RestoreError, SavedMetadata};
pub use scan::{ScanProgress, Watch};
pub use state::{VolumeFormat, VolumeState};
pub use unlocked::UnlockedVolume;
pub use volume::{OpenOptions, Proof, Unlocked, Volume, unwatched};
pub use writable::{NotWritable, WritableVolume};
