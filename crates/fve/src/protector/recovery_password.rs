//! The 48 digits that Windows calls the recovery key.

use super::{KeyProtector, ProtectorKind, Sealing, Spec};
use crate::credential::{Attempt, Credential, Stretches};
use crate::format::datum::{Datum, KEY_FLAG_PBKDF2, Value, key_type, kind, role};
use crate::keys::RecoveryPassword;
use crate::metadata_builder::MetadataError;

pub(super) static SPEC: Spec = Spec {
    kind: ProtectorKind::RecoveryPassword,
    code: 0x0800,
    json_name: "recovery_password",
    title: "recovery key (48 digits)",
    unlock: Some(unlock),
};

fn unlock(protector: KeyProtector<'_>, credential: &Credential, stretches: &mut Stretches) -> Attempt {
    let Credential::RecoveryPassword(password) = credential else {
        return Attempt::NotMine;
    };
    let Some((key_flags, salt)) = protector.stretch_key() else {
        return Attempt::Damaged;
    };
    if key_flags & KEY_FLAG_PBKDF2 != 0 {
        return Attempt::UnknownStretch;
    }
    let key = stretches.get(0, salt, || password.stretch(salt));
    protector.open_vmk(key).map_or(Attempt::WrongKey, Attempt::Opened)
}

/// Makes a protector for a recovery password, with the two copies that Windows 10 and later keep.
pub(crate) fn seal(
    password: &RecoveryPassword,
    salt: [u8; 16],
    mut sealing: Sealing<'_>,
) -> Result<Datum, MetadataError> {
    let stretched = password.stretch(&salt);
    let copies = vec![
        sealing.keep(
            role::RECOVERY_PASSWORD,
            key_type::RECOVERY_PASSWORD,
            password.key().expose_secret(),
        )?,
        sealing.keep(
            role::STRETCHED_RECOVERY_PASSWORD,
            key_type::STRETCHED_RECOVERY_PASSWORD,
            stretched.expose_secret(),
        )?,
    ];
    let stretch_key = Value::StretchKey {
        key_type: key_type::RECOVERY_PASSWORD,
        key_flags: 0,
        salt,
        nested: copies,
    };
    let vmk = sealing.wrap(&stretched)?;
    let stretch_key = Datum::new(role::PROPERTY, kind::STRETCH_KEY, stretch_key);
    Ok(sealing.protector(SPEC.code, vec![stretch_key, vmk]))
}
