//! The 48 digits that Windows calls the recovery key.

use super::{KeyProtector, ProtectorKind, Spec};
use crate::credential::{Attempt, Credential, Stretches};
use crate::format::datum::KEY_FLAG_PBKDF2;

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
