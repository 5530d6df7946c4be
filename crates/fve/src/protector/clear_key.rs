//! Suspended protection: the key to the master key lies beside it.

use keyhaven_crypto::{Secret, SecretBytes};

use super::{KeyProtector, ProtectorKind, Sealing, Spec};
use crate::credential::{Attempt, Credential, Stretches};
use crate::format::datum::{Datum, KeyDatum, Value, key_type, kind, role};
use crate::metadata_builder::MetadataError;

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

/// The flags of a clear key that a volume has from its beginning; one that is added later has ordinary ones
/// (format spec 2.5).
pub(crate) const FLAGS_SINCE_CREATION: u16 = 3;

/// Makes a protector whose key lies beside it.
pub(crate) fn seal(key: &Secret<32>, mut sealing: Sealing<'_>) -> Result<Datum, MetadataError> {
    let open = Value::Key(KeyDatum {
        key_type: key_type::CLEAR,
        key_flags: 0,
        key: SecretBytes::copy_of(key.expose_secret()),
    });
    let vmk = sealing.wrap(key)?;
    let open = Datum::new(role::PROPERTY, kind::KEY, open);
    Ok(sealing.protector(SPEC.code, vec![open, vmk]))
}
