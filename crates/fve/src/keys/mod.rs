//! The keys of a volume and the secrets that lead to them.

mod external_key;
mod fvek;
mod password;
mod recovery_password;
mod vmk;

pub use external_key::{ExternalKey, NotAnExternalKey};
pub use fvek::FullVolumeEncryptionKey;
pub use password::{Normalization, Password};
pub use recovery_password::{
    BLOCKS, BlockProblem, MistypedRecoveryPassword, RecoveryPassword, digit_value, is_separator, look_alike,
    suggestions,
};
pub use vmk::VolumeMasterKey;
