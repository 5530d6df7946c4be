//! The entries of the metadata.

use std::collections::HashSet;

use super::subject::Subject;
use super::{Rule, rule};
use crate::encryption_method::EncryptionMethod;
use crate::format::datum::{Datum, Value, key_type, kind, role};
use crate::guid::Guid;
use crate::protector::{KeyProtector, ProtectorKind};

pub(super) const RULES: &[Rule] = &[
    rule(
        "entries-header",
        "the entries begin after a header of 48 bytes and version 1, and end where its size says",
        "2.4; every image",
        header,
    ),
    rule(
        "volume-id",
        "the volume has an identifier",
        "2.4; every image",
        volume_id,
    ),
    rule(
        "method-known",
        "the method is one of the six, or 0 on a decrypted drive",
        "2.4; 0x8000 to 0x8005",
        method_known,
    ),
    rule(
        "method-twice",
        "the second field for the method is 0 or the method again",
        "2.4; both were seen",
        method_twice,
    ),
    rule(
        "description-one",
        "there is one description, which ends with a zero; a decrypted drive may have none",
        "2.5; every image, but for df-decrypted",
        description,
    ),
    rule(
        "sector-key-one",
        "there is one sector key, sealed, but on a decrypted drive",
        "2.5; every image",
        sector_key,
    ),
    rule(
        "moved-entry-one",
        "since Windows 7 there is one entry for the moved sectors; Vista has none",
        "2.6; every image up to build 26200",
        moved_entry,
    ),
    rule(
        "moved-entry-extended",
        "what Windows 8 and later add to that entry has 76 bytes and version 5",
        "2.6; builds 16299 to 26200",
        moved_extended,
    ),
    rule(
        "moved-entry-sector-size",
        "that entry has the size of a sector",
        "2.6; 512 and 4096",
        moved_sector_size,
    ),
    rule(
        "protector-ids",
        "every way to unlock has an identifier of its own",
        "2.7; every image",
        protector_ids,
    ),
    rule(
        "protector-reserved",
        "a reserved field of every way to unlock is 0",
        "2.7",
        protector_reserved,
    ),
    rule(
        "protector-parts",
        "every way to unlock has the parts of its kind, in their order",
        "2.7; all kinds but cards were decrypted on real data",
        protector_parts,
    ),
    rule(
        "protector-name-one",
        "a way to unlock has one name at most, in front of its parts",
        "2.7; cryptsetup refuses two",
        protector_name,
    ),
    rule(
        "entry-flags",
        "entries have 1 in their flags; an open key that was there from the beginning 3",
        "2.5; a suspended volume of build 21H2 had 0x105",
        entry_flags,
    ),
];

fn header(subject: &Subject<'_>, found: &mut Vec<String>) {
    let header = &subject.block().dataset;
    if header.version != 1 || header.start != 0x30 {
        found.push(format!(
            "version {}, beginning at {:#x}",
            header.version, header.start
        ));
    }
    if header.end != header.size {
        found.push(format!(
            "they end at {:#x}, and the size is {:#x}",
            header.end, header.size
        ));
    }
}

fn volume_id(subject: &Subject<'_>, found: &mut Vec<String>) {
    if subject.metadata().volume_id() == Guid::ZERO {
        found.push("it is zeros".to_owned());
    }
}

fn method_known(subject: &Subject<'_>, found: &mut Vec<String>) {
    let method = subject.block().dataset.method;
    let is_known = EncryptionMethod::from_code(method).is_some() || (method == 0 && subject.is_decrypted());
    if !is_known {
        found.push(format!("it is {method:#06x}"));
    }
}

fn method_twice(subject: &Subject<'_>, found: &mut Vec<String>) {
    let header = &subject.block().dataset;
    if header.unknown_26 != 0 && header.unknown_26 != header.method {
        found.push(format!(
            "it is {:#06x}, the method {:#06x}",
            header.unknown_26, header.method
        ));
    }
}

fn with_role<'d>(subject: &'d Subject<'_>, role: u16) -> impl Iterator<Item = &'d Datum> {
    subject.datums().iter().filter(move |datum| datum.role == role)
}

fn description(subject: &Subject<'_>, found: &mut Vec<String>) {
    let count = with_role(subject, role::DESCRIPTION).count();
    if count != 1 && !(count == 0 && subject.is_decrypted()) {
        found.push(format!("there are {count}"));
    }
    for datum in with_role(subject, role::DESCRIPTION) {
        if datum.kind != kind::TEXT || !datum.to_bytes().ends_with(&[0, 0]) {
            found.push("it is not text that ends with a zero".to_owned());
        }
    }
}

fn sector_key(subject: &Subject<'_>, found: &mut Vec<String>) {
    let keys: Vec<&Datum> = with_role(subject, role::FVEK).collect();
    match keys.as_slice() {
        [] if subject.is_decrypted() => {}
        [only] if only.kind == kind::SEALED || subject.is_decrypted() => {}
        [only] => found.push(format!("its entry has type {}", only.kind)),
        several => found.push(format!("there are {}", several.len())),
    }
}

fn moved_entry(subject: &Subject<'_>, found: &mut Vec<String>) {
    let count = subject
        .datums()
        .iter()
        .filter(|datum| datum.kind == kind::VIRTUALIZATION)
        .count();
    let expected = usize::from(!subject.is_vista());
    if count != expected {
        found.push(format!("there are {count}"));
    }
}

/// Returns what Windows 8 and later add.
fn extended<'d>(subject: &'d Subject<'_>) -> Option<&'d [u8]> {
    let extended = subject.datums().iter().find_map(|datum| match &datum.value {
        Value::Virtualization { extended, .. } => Some(extended.as_slice()),
        _ => None,
    });
    extended.filter(|bytes| !bytes.is_empty())
}

fn moved_extended(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(extended) = extended(subject) else { return };
    if extended.len() != 76 || !extended.starts_with(&[5, 0, 76, 0]) {
        found.push(format!(
            "it has {} bytes and begins with {:02x?}",
            extended.len(),
            &extended[..extended.len().min(4)]
        ));
    }
}

fn moved_sector_size(subject: &Subject<'_>, found: &mut Vec<String>) {
    let stated = extended(subject)
        .and_then(|extended| extended.get(28..32))
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes);
    if stated.is_some_and(|stated| u64::from(stated) != subject.sector()) {
        found.push(format!(
            "it says {}, and sectors have {}",
            stated.unwrap_or(0),
            subject.sector()
        ));
    }
}

fn protector_ids(subject: &Subject<'_>, found: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for protector in subject.metadata().protectors() {
        if protector.id() == Guid::ZERO || !seen.insert(protector.id()) {
            found.push(format!("{} is there twice, or no identifier", protector.id()));
        }
    }
}

fn protector_reserved(subject: &Subject<'_>, found: &mut Vec<String>) {
    for datum in subject.datums() {
        if let Value::Vmk { id, unknown_18, .. } = &datum.value
            && *unknown_18 != 0
        {
            found.push(format!("{}: it is {unknown_18:#x}", id.key_id()));
        }
    }
}

/// What a part of a protector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Key(u16),
    StretchKey(u16),
    UseKey(u16),
    Sealed,
}

fn protector_parts(subject: &Subject<'_>, found: &mut Vec<String>) {
    use Part::{Key, Sealed, StretchKey, UseKey};
    for protector in subject.metadata().protectors() {
        let expected: &[Part] = match protector.kind() {
            ProtectorKind::ClearKey => &[Key(key_type::CLEAR), Sealed],
            ProtectorKind::StartupKey => &[UseKey(key_type::EXTERNAL), Sealed],
            ProtectorKind::RecoveryPassword => &[StretchKey(key_type::RECOVERY_PASSWORD), Sealed],
            ProtectorKind::Password => &[StretchKey(key_type::PASSWORD), Sealed],
            _ => continue,
        };
        let parts: Vec<Part> = protector.nested().iter().filter_map(part_of).collect();
        if parts != expected {
            found.push(format!(
                "{} ({}): {parts:x?}",
                protector.id().key_id(),
                protector.kind()
            ));
        }
    }
}

fn part_of(datum: &Datum) -> Option<Part> {
    Some(match &datum.value {
        Value::Key(key) => Part::Key(key.key_type),
        Value::StretchKey { key_type, .. } => Part::StretchKey(*key_type),
        Value::UseKey { key_type, .. } => Part::UseKey(*key_type),
        Value::Sealed(_) => Part::Sealed,
        _ => return None,
    })
}

fn protector_name(subject: &Subject<'_>, found: &mut Vec<String>) {
    for protector in subject.metadata().protectors() {
        let names: Vec<usize> = protector
            .nested()
            .iter()
            .enumerate()
            .filter(|(_, datum)| datum.kind == kind::TEXT)
            .map(|(at, _)| at)
            .collect();
        if !matches!(names.as_slice(), [] | [0]) {
            found.push(format!("{} has {}", protector.id().key_id(), names.len()));
        }
    }
}

fn entry_flags(subject: &Subject<'_>, found: &mut Vec<String>) {
    const SUSPENDED_BY_21H2: u16 = 0x105;
    for datum in subject.datums() {
        let protector = KeyProtector::of(datum);
        let is_clear = protector.is_some_and(|own| own.kind() == ProtectorKind::ClearKey);
        let fits = match datum.flags {
            1 => true,
            3 => is_clear,
            SUSPENDED_BY_21H2 => protector.is_some(),
            _ => false,
        };
        if !fits {
            found.push(format!(
                "role {:#x}, type {:#x}: {:#x}",
                datum.role, datum.kind, datum.flags
            ));
        }
    }
}
