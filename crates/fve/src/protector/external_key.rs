//! A key file: startup key, external recovery key, or the key by which another volume unlocks this one.

use keyhaven_crypto::Secret;

use super::{KeyProtector, ProtectorKind, Sealing, Spec};
use crate::credential::{Attempt, Credential, Stretches};
use crate::format::datum::{Datum, Value, key_type, kind, role};
use crate::metadata_builder::MetadataError;

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

/// Makes a protector for the key of a key file.
pub(crate) fn seal(key: &Secret<32>, mut sealing: Sealing<'_>) -> Result<Datum, MetadataError> {
    let copy = sealing.keep(role::PROPERTY, key_type::EXTERNAL, key.expose_secret())?;
    let use_key = Value::UseKey {
        key_type: key_type::EXTERNAL,
        key_flags: 0,
        nested: vec![copy],
    };
    let vmk = sealing.wrap(key)?;
    let use_key = Datum::new(role::PROPERTY, kind::USE_KEY, use_key);
    Ok(sealing.protector(SPEC.code, vec![use_key, vmk]))
}
