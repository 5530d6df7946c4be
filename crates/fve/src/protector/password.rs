//! A password chosen by a person.

use super::{KeyProtector, ProtectorKind, Sealing, Spec};
use crate::credential::{Attempt, Credential, Stretches};
use crate::format::datum::{Datum, KEY_FLAG_PBKDF2, Value, key_type, kind, role};
use crate::keys::Password;
use crate::metadata_builder::MetadataError;

pub(super) static SPEC: Spec = Spec {
    kind: ProtectorKind::Password,
    code: 0x2000,
    json_name: "password",
    title: "password",
    unlock: Some(unlock),
};

fn unlock(protector: KeyProtector<'_>, credential: &Credential, stretches: &mut Stretches) -> Attempt {
    let Credential::Password(password) = credential else {
        return Attempt::NotMine;
    };
    let Some((key_flags, salt)) = protector.stretch_key() else {
        return Attempt::Damaged;
    };
    if key_flags & KEY_FLAG_PBKDF2 != 0 {
        return Attempt::UnknownStretch;
    }
    let opened = password.forms().iter().enumerate().find_map(|(i, (_, form))| {
        protector.open_vmk(stretches.get(i, salt, || Password::stretch(form, salt)))
    });
    opened.map_or(Attempt::WrongKey, Attempt::Opened)
}

/// Makes a protector for a password.
pub(crate) fn seal(
    password: &Password,
    salt: [u8; 16],
    mut sealing: Sealing<'_>,
) -> Result<Datum, MetadataError> {
    let stretched = Password::stretch(&password.composed(), &salt);
    let copy = sealing.keep(
        role::PROPERTY,
        key_type::STRETCHED_PASSWORD,
        stretched.expose_secret(),
    )?;
    let stretch_key = Value::StretchKey {
        key_type: key_type::PASSWORD,
        key_flags: 0,
        salt,
        nested: vec![copy],
    };
    let vmk = sealing.wrap(&stretched)?;
    let stretch_key = Datum::new(role::PROPERTY, kind::STRETCH_KEY, stretch_key);
    Ok(sealing.protector(SPEC.code, vec![stretch_key, vmk]))
}
