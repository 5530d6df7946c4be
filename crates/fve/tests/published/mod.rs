//! The secrets that came with real volumes.

use keyhaven_crypto::SecretText;
use keyhaven_fve::Credential;
use keyhaven_fve::keys::{ExternalKey, Password, RecoveryPassword};
use keyhaven_testkit::corpus::{Secret, SecretKind, Volume};

/// Returns a published secret of a volume as what it is.
pub(crate) fn credential(volume: &Volume, secret: &Secret) -> Credential {
    match secret.kind {
        SecretKind::Password => Credential::Password(Password::new(SecretText::copy_of(&secret.value))),
        SecretKind::Recovery => {
            Credential::RecoveryPassword(RecoveryPassword::parse(&secret.value).expect("a published key"))
        }
        SecretKind::Bek => {
            let bytes = std::fs::read(volume.secret_path(secret)).expect("a published file");
            Credential::ExternalKey(ExternalKey::from_bek(&bytes).expect("a published key file"))
        }
        SecretKind::Clear => Credential::ClearKey,
    }
}
