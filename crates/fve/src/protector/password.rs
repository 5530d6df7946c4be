//! A password chosen by a person.

use super::{KeyProtector, ProtectorKind, Spec};
use crate::credential::{Attempt, Credential, Stretches};
use crate::format::datum::KEY_FLAG_PBKDF2;
use crate::keys::Password;

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
