//! A key file: startup key, external recovery key, or the key by which another volume unlocks this one.

use super::{KeyProtector, ProtectorKind, Spec};
use crate::credential::{Attempt, Credential, Stretches};

pub(super) static SPEC: Spec = Spec {
    kind: ProtectorKind::StartupKey,
    code: 0x0200,
    json_name: "startup_key",
    title: "startup key (.BEK file)",
    unlock: Some(unlock),
};

fn unlock(protector: KeyProtector<'_>, credential: &Credential, _: &mut Stretches) -> Attempt {
    let Credential::ExternalKey(key) = credential else {
        return Attempt::NotMine;
    };
    protector
        .open_vmk(key.key())
        .map_or(Attempt::WrongKey, Attempt::Opened)
}
