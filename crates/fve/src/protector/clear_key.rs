//! Suspended protection: the key to the master key lies beside it.

use keyhaven_crypto::Secret;

use super::{KeyProtector, ProtectorKind, Spec};
use crate::credential::{Attempt, Credential, Stretches};
use crate::format::datum::{KeyDatum, Value};

pub(super) static SPEC: Spec = Spec {
    kind: ProtectorKind::ClearKey,
    code: 0x0000,
    json_name: "clear_key",
    title: "none (protection is suspended)",
    unlock: Some(unlock),
};

fn unlock(protector: KeyProtector<'_>, credential: &Credential, _: &mut Stretches) -> Attempt {
    let Credential::ClearKey = credential else {
        return Attempt::NotMine;
    };
    let key = protector.nested().iter().find_map(|datum| match &datum.value {
        Value::Key(KeyDatum { key, .. }) => Secret::from_slice(key.expose_secret()),
        _ => None,
    });
    key.and_then(|key| protector.open_vmk(&key))
        .map_or(Attempt::WrongKey, Attempt::Opened)
}
