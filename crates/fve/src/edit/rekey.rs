//! Another master key: every box that was under the old one is made anew (format spec 5.4).

use keyhaven_crypto::{Secret, stretch};

use super::{EditError, Unrenewable, reseal, reseal_with};
use crate::format::FileTime;
use crate::format::datum::{Datum, KeyDatum, SealedDatum, Value, kind};
use crate::guid::Guid;
use crate::keys::VolumeMasterKey;
use crate::metadata_builder::MetadataBuilder;
use crate::protector::{KeyProtector, ProtectorKind, vmk_in};

/// Lists of what the Windows boot loader checks: nothing in them is sealed.
const VALIDATION_LIST: u16 = 0x07;

/// Puts `new` in the place of `old`; returns the protectors that had to be removed.
pub(super) fn rotate(
    metadata: &mut MetadataBuilder,
    old: &VolumeMasterKey,
    new: &VolumeMasterKey,
    time: FileTime,
    unrenewable: Unrenewable,
) -> Result<Vec<(Guid, ProtectorKind)>, EditError> {
    let datums = std::mem::take(&mut metadata.block_mut().datums);
    let mut renewed = Vec::with_capacity(datums.len());
    let mut gone = Vec::new();
    for mut datum in datums {
        let Some(protector) = KeyProtector::of(&datum) else {
            match &datum.value {
                Value::Other(_) if datum.kind != VALIDATION_LIST => {
                    return Err(EditError::UnknownEntries(datum.kind));
                }
                _ => renew_boxes(std::slice::from_mut(&mut datum), old, new, time, metadata)?,
            }
            renewed.push(datum);
            continue;
        };
        let (id, kind) = (protector.id(), protector.kind());
        if let Some(unknown) = protector.unknown_entries().first() {
            return Err(EditError::UnknownEntries(*unknown));
        }
        match (key_of(&protector, old), unrenewable) {
            (Some(key), _) => {
                renew_protector(&mut datum, &key, old, new, time, metadata)?;
                renewed.push(datum);
            }
            (None, Unrenewable::Remove) => gone.push((id, kind)),
            (None, Unrenewable::Refuse) => return Err(EditError::CannotRenew { id, kind }),
        }
    }
    metadata.block_mut().datums = renewed;
    Ok(gone)
}

/// Finds the key under which a protector has the master key: one that lies open, or one whose copy the master key opens.
///
/// Whatever the kind: that it opens the box is the proof. Kinds in which a chip has its part have no such key.
fn key_of(protector: &KeyProtector<'_>, vmk: &VolumeMasterKey) -> Option<Secret<32>> {
    let open = protector.nested().iter().filter_map(|datum| match &datum.value {
        Value::Key(KeyDatum { key, .. }) => Secret::from_slice(key.expose_secret()),
        _ => None,
    });
    let kept = protector.kept_secrets().filter_map(|sealed| {
        let inside = sealed.open_key(vmk.key())?;
        Secret::from_slice(inside.key.expose_secret())
    });
    // Before Windows 10, only the recovery password itself was kept.
    let stretched = protector.kept_secrets().filter_map(|sealed| {
        let (_, salt) = protector.stretch_key()?;
        let inside = sealed.open_key(vmk.key())?;
        let password: Secret<16> = Secret::from_slice(inside.key.expose_secret())?;
        Some(stretch(&password.sha256(), salt))
    });
    open.chain(kept)
        .chain(stretched)
        .find(|key| protector.open_vmk(key).is_some_and(|found| found == *vmk))
}

/// Makes the boxes of a protector anew: copies under the master key, and the master key under `key`.
fn renew_protector(
    datum: &mut Datum,
    key: &Secret<32>,
    old: &VolumeMasterKey,
    new: &VolumeMasterKey,
    time: FileTime,
    metadata: &mut MetadataBuilder,
) -> Result<(), EditError> {
    let Value::Vmk { nested, .. } = &mut datum.value else {
        return Ok(());
    };
    for part in nested {
        let holds_vmk = match &part.value {
            Value::Sealed(sealed) => vmk_in(sealed, key).is_some_and(|found| found == *old),
            _ => false,
        };
        let inside = match &part.value {
            Value::Sealed(sealed) if holds_vmk => sealed.open(key),
            _ => None,
        };
        match inside {
            Some(inside) => {
                let nonce = metadata.nonce(time)?;
                let sealed = reseal_with(inside, new.key(), key, nonce);
                part.value = Value::Sealed(sealed.ok_or(EditError::UnknownEntries(kind::SEALED))?);
            }
            None => renew_boxes(std::slice::from_mut(part), old, new, time, metadata)?,
        }
    }
    Ok(())
}

/// Makes every box under the old master key anew under the new one; other boxes stay as they are.
fn renew_boxes(
    datums: &mut [Datum],
    old: &VolumeMasterKey,
    new: &VolumeMasterKey,
    time: FileTime,
    metadata: &mut MetadataBuilder,
) -> Result<(), EditError> {
    for datum in datums {
        match &mut datum.value {
            Value::Sealed(sealed) => {
                if let Some(inside) = SealedDatum::open(sealed, old.key()) {
                    *sealed = reseal(&inside, new.key(), metadata.nonce(time)?);
                }
            }
            Value::StretchKey { nested, .. }
            | Value::UseKey { nested, .. }
            | Value::Vmk { nested, .. }
            | Value::ExternalKey { nested, .. } => renew_boxes(nested, old, new, time, metadata)?,
            _ => {}
        }
    }
    Ok(())
}
