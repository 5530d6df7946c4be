//! What is sealed under the master key.

use super::Rule;
use super::subject::Subject;
use crate::encryption_method::EncryptionMethod;
use crate::format::datum::{SealedDatum, Value, key_type, role};
use crate::metadata::Integrity;
use crate::protector::{KeyProtector, ProtectorKind, vmk_in};

pub(super) const RULES: &[Rule] = &[
    rule(
        "sealed-hash",
        "the sealed hash is that of the metadata",
        "2.10; matched on about 25 images",
        hash,
    ),
    rule(
        "sealed-sector-key",
        "the sector key opens, and is one for the drive's method",
        "3.8; every image with a key",
        sector_key,
    ),
    rule(
        "sealed-copies",
        "the copies of every way to unlock open, and have the type that its kind keeps",
        "2.7, 3.5; Vista, 7, 10 and 11",
        copies,
    ),
    rule(
        "sealed-copies-open",
        "the copy of a way to unlock opens the master key's box beside it",
        "2.7, 5.4: by that Windows changes the master key without asking for secrets",
        copies_open,
    ),
    rule(
        "sealed-open-key",
        "an open key opens the master key's box beside it",
        "2.7, 3.7; cs-aes-xts-128-clearkey-only",
        open_key,
    ),
    rule(
        "sealed-auto-unlock",
        "the key for other volumes, where there is one, opens",
        "2.5 (role 0xB); Vista, 7 and 11",
        auto_unlock,
    ),
];

/// Makes a rule that needs a key.
const fn rule(
    id: &'static str,
    sentence: &'static str,
    seen: &'static str,
    check: fn(&Subject<'_>, &mut Vec<String>),
) -> Rule {
    Rule {
        needs_key: true,
        ..super::rule(id, sentence, seen, check)
    }
}

fn hash(subject: &Subject<'_>, found: &mut Vec<String>) {
    match subject.metadata().integrity(subject.vmk) {
        Integrity::Right => {}
        Integrity::Altered => found.push("it is another: the metadata were changed".to_owned()),
        Integrity::Missing => {
            let checks = subject.block().validation.as_ref();
            if checks.is_some_and(|checks| checks.integrity.is_some()) {
                found.push("it does not open".to_owned());
            }
        }
    }
}

fn sector_key(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(vmk) = subject.vmk else { return };
    for datum in subject.datums().iter().filter(|datum| datum.role == role::FVEK) {
        let Value::Sealed(sealed) = &datum.value else {
            continue;
        };
        let method = subject.block().dataset.method;
        let expected = EncryptionMethod::from_code(method).map(EncryptionMethod::key_len_bytes);
        match sealed.open_key(vmk.key()) {
            None => found.push("it does not open".to_owned()),
            Some(inside) if expected.is_some() && inside.key_type != method => {
                found.push(format!("it is one for {:#06x}", inside.key_type));
            }
            // Vista and 7 kept shorter keys in 64 bytes, too.
            Some(inside) if expected.is_some_and(|len| len != inside.key.expose_secret().len()) => {
                if inside.key.expose_secret().len() != 64 {
                    found.push(format!("it has {} bytes", inside.key.expose_secret().len()));
                }
            }
            Some(_) => {}
        }
    }
}

fn copies(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(vmk) = subject.vmk else { return };
    for protector in subject.metadata().protectors() {
        let expected: &[u16] = match protector.kind() {
            ProtectorKind::RecoveryPassword => {
                &[key_type::RECOVERY_PASSWORD, key_type::STRETCHED_RECOVERY_PASSWORD]
            }
            ProtectorKind::Password => &[key_type::STRETCHED_PASSWORD],
            ProtectorKind::StartupKey => &[key_type::EXTERNAL],
            _ => continue,
        };
        let key_id = protector.id().key_id();
        for sealed in protector.kept_secrets() {
            match sealed.open_key(vmk.key()) {
                None => found.push(format!("{key_id}: one does not open")),
                Some(inside) if !expected.contains(&inside.key_type) => {
                    found.push(format!("{key_id}: one has the type {:#06x}", inside.key_type));
                }
                Some(_) => {}
            }
        }
        if protector.kept_secrets().next().is_none() {
            found.push(format!("{key_id}: there is none"));
        }
    }
}

fn copies_open(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(vmk) = subject.vmk else { return };
    for protector in subject.metadata().protectors() {
        let opens_by_itself = matches!(
            protector.kind(),
            ProtectorKind::Password | ProtectorKind::StartupKey | ProtectorKind::RecoveryPassword
        );
        if !opens_by_itself {
            continue;
        }
        let keys: Vec<_> = protector
            .kept_secrets()
            .filter_map(|sealed| {
                keyhaven_crypto::Secret::from_slice(sealed.open_key(vmk.key())?.key.expose_secret())
            })
            .collect();
        // Before Windows 10 only the 16 bytes of a recovery key were kept, and trying those takes its time.
        let opens = |key| boxes(&protector).any(|sealed| vmk_in(sealed, key).is_some_and(|own| own == *vmk));
        if !keys.is_empty() && !keys.iter().any(opens) {
            found.push(format!("{}: it does not", protector.id().key_id()));
        }
    }
}

fn open_key(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(vmk) = subject.vmk else { return };
    for protector in subject.metadata().protectors() {
        if protector.kind() != ProtectorKind::ClearKey {
            continue;
        }
        let key = protector.nested().iter().find_map(|datum| match &datum.value {
            Value::Key(key) => keyhaven_crypto::Secret::from_slice(key.key.expose_secret()),
            _ => None,
        });
        let opens = key.is_some_and(|key| {
            boxes(&protector).any(|sealed| vmk_in(sealed, &key).is_some_and(|own| own == *vmk))
        });
        if !opens {
            found.push(format!("{}: it does not", protector.id().key_id()));
        }
    }
}

fn auto_unlock(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(vmk) = subject.vmk else { return };
    for datum in subject
        .datums()
        .iter()
        .filter(|datum| datum.role == role::AUTO_UNLOCK)
    {
        let opened = match &datum.value {
            Value::Sealed(sealed) => sealed.open_key(vmk.key()),
            _ => None,
        };
        if opened.is_none_or(|inside| inside.key_type != key_type::EXTERNAL) {
            found.push("it does not".to_owned());
        }
    }
}

/// Returns the boxes directly in a protector: those of the master key.
fn boxes<'a>(protector: &KeyProtector<'a>) -> impl Iterator<Item = &'a SealedDatum> {
    protector.nested().iter().filter_map(|datum| match &datum.value {
        Value::Sealed(sealed) => Some(sealed),
        _ => None,
    })
}
