//! The first sector.

use super::subject::Subject;
use super::{Rule, rule};
use crate::format::block::SIGNATURE;
use crate::format::boot_sector::BootLayout;

pub(super) const RULES: &[Rule] = &[
    rule(
        "boot-recognised",
        "the first sector is one of BitLocker's",
        "1.1",
        recognised,
    ),
    rule(
        "boot-jump",
        "the first sector begins with EB 58 90, on Vista with EB 52 90",
        "1.1; cryptsetup, libbde and every image",
        jump,
    ),
    rule(
        "boot-mark",
        "the first sector ends with 55 AA",
        "1.1; every image",
        mark,
    ),
    rule(
        "boot-template",
        "the fields of the first sector that a file system would use are those of the template",
        "1.2; 30 images, byte for byte",
        template,
    ),
    rule(
        "boot-sector-size",
        "the first sector has the size of a sector, or 0 where exFAT was before",
        "1.2; 512 and 4096",
        sector_size,
    ),
    rule(
        "boot-offsets",
        "the first sector and the metadata agree on where the metadata are",
        "2.2; cryptsetup insists on it",
        offsets,
    ),
];

fn recognised(subject: &Subject<'_>, found: &mut Vec<String>) {
    if subject.layout.is_none() {
        found.push("it is not".to_owned());
    }
}

fn jump(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(layout) = subject.layout else { return };
    let expected: [u8; 3] = match layout {
        BootLayout::Vista { .. } => [0xeb, 0x52, 0x90],
        _ => [0xeb, 0x58, 0x90],
    };
    if !subject.boot.starts_with(&expected) {
        found.push(format!("it begins with {:02x?}", &subject.boot[..3]));
    }
}

fn mark(subject: &Subject<'_>, found: &mut Vec<String>) {
    if subject.layout.is_some() && !subject.boot.ends_with(&[0x55, 0xaa]) {
        found.push("it does not".to_owned());
    }
}

fn template(subject: &Subject<'_>, found: &mut Vec<String>) {
    const FIELDS: &[(usize, &[u8])] = &[
        (0x03, &SIGNATURE),
        (0x0e, &[0; 7]),
        (0x15, &[0xf8, 0, 0]),
        (0x20, &[0; 4]),
        (0x24, &[0xe0, 0x1f, 0, 0]),
        (0x28, &[0; 8]),
        (0x30, &[1, 0, 6, 0]),
        (0x34, &[0; 12]),
        (0x40, &[0x80, 0, 0x29, 0, 0, 0, 0]),
        (0x47, b"NO NAME    FAT32   "),
    ];
    let is_template = matches!(
        subject.layout,
        Some(BootLayout::Standard { .. } | BootLayout::EncryptOnWrite { .. })
    );
    if !is_template {
        return;
    }
    for (at, expected) in FIELDS {
        let own = subject.boot.get(*at..*at + expected.len()).unwrap_or_default();
        if own != *expected {
            found.push(format!("at byte {at:#x} it has {own:02x?}, not {expected:02x?}"));
        }
    }
}

fn sector_size(subject: &Subject<'_>, found: &mut Vec<String>) {
    if subject.layout.is_none() {
        return;
    }
    let stated = subject.boot_u16(0x0b);
    if stated != 0 && u64::from(stated) != subject.sector() {
        found.push(format!(
            "it says {stated}, and sectors have {} bytes",
            subject.sector()
        ));
    }
}

fn offsets(subject: &Subject<'_>, found: &mut Vec<String>) {
    let own = subject.block().metadata_offsets;
    let stated = match subject.layout {
        Some(
            BootLayout::Standard { metadata_offsets }
            | BootLayout::EncryptOnWrite { metadata_offsets, .. }
            | BootLayout::ToGo { metadata_offsets },
        ) => metadata_offsets,
        Some(BootLayout::Vista { metadata_cluster }) => {
            let cluster =
                u64::from(*subject.boot.get(0x0d).unwrap_or(&0)) * u64::from(subject.boot_u16(0x0b));
            [metadata_cluster.saturating_mul(cluster), own[1], own[2]]
        }
        None => return,
    };
    for ((copy, stated), own) in (1..).zip(stated).zip(own) {
        if stated != own {
            found.push(format!("metadata copy {copy}: byte {stated:#x} or byte {own:#x}"));
        }
    }
}
