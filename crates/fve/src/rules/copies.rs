//! The three copies and the checks behind each.

use super::subject::Subject;
use super::{Rule, rule};

pub(super) const RULES: &[Rule] = &[
    rule(
        "copies-present",
        "all three places hold metadata",
        "2.1; every image that is not cut off",
        present,
    ),
    rule(
        "copies-checksum",
        "the CRC-32 of every copy is right",
        "2.10; 30 images",
        checksum,
    ),
    rule(
        "copies-identical",
        "the three copies are the same, to the last byte",
        "2.1; every healthy image, the sealed hash too",
        identical,
    ),
    rule(
        "copies-rest-zero",
        "the rest of each place, behind the checks, is zeros",
        "2.1; always",
        rest_is_zero,
    ),
    rule(
        "block-size",
        "the size of the metadata is that of header and entries, rounded up to 16 bytes",
        "2.2; all images, both versions",
        block_size,
    ),
    rule(
        "block-padding",
        "what fills the metadata up to 16 bytes is zeros",
        "2.1",
        block_padding,
    ),
    rule(
        "checks-size",
        "the size of the checks counts the place to its end",
        "2.10; all images",
        checks_size,
    ),
    rule(
        "checks-version",
        "the checks have the version of the metadata",
        "2.10; 1 on Vista, 2 since",
        checks_version,
    ),
    rule(
        "checks-hash",
        "a hash follows the checksum: sealed, or in the clear on a decrypted drive",
        "2.10; 0x50 and 0x2C bytes",
        checks_hash,
    ),
];

fn present(subject: &Subject<'_>, found: &mut Vec<String>) {
    for (copy, region) in (1..).zip(&subject.regions) {
        match region {
            None => found.push(format!("metadata copy {copy} cannot be read")),
            Some(region) if region.block.is_none() => {
                found.push(format!(
                    "there are no metadata at byte {:#x} (copy {copy})",
                    region.offset
                ));
            }
            Some(_) => {}
        }
    }
}

fn checksum(subject: &Subject<'_>, found: &mut Vec<String>) {
    for (copy, region) in (1..).zip(&subject.regions) {
        let block = region.as_ref().and_then(|region| region.block.as_ref());
        if block.is_some_and(|block| !block.crc32_is_right()) {
            found.push(format!("the checksum of metadata copy {copy} is wrong"));
        }
    }
}

/// Told only of copies that are whole by themselves: others have findings of their own.
fn identical(subject: &Subject<'_>, found: &mut Vec<String>) {
    let whole: Vec<_> = (1..)
        .zip(&subject.regions)
        .filter_map(|(copy, region)| Some((copy, region.as_ref()?)))
        .filter(|(_, region)| region.block.as_ref().is_some_and(|block| block.crc32_is_right()))
        .collect();
    let Some((first, rest)) = whole.split_first() else {
        return;
    };
    for (copy, region) in rest {
        let differs = region
            .bytes
            .iter()
            .zip(&first.1.bytes)
            .position(|(own, other)| own != other);
        if let Some(at) = differs {
            found.push(format!(
                "metadata copy {copy} differs from copy {} at its byte {at:#x}",
                first.0
            ));
        }
    }
}

fn rest_is_zero(subject: &Subject<'_>, found: &mut Vec<String>) {
    for (copy, region) in (1..).zip(&subject.regions) {
        let Some(region) = region else { continue };
        let Some(block) = &region.block else { continue };
        let checks = block.validation.as_ref().map_or(0, |checks| {
            8 + checks
                .integrity
                .as_ref()
                .map_or(0, |datum| datum.to_bytes().len())
        });
        let end = block.size_bytes + checks;
        let rest = region.bytes.get(end..).unwrap_or_default();
        if let Some(at) = rest.iter().position(|byte| *byte != 0) {
            found.push(format!(
                "metadata copy {copy} has something at its byte {:#x}",
                end + at
            ));
        }
    }
}

fn block_size(subject: &Subject<'_>, found: &mut Vec<String>) {
    let block = subject.block();
    let expected = (64 + block.dataset.size as usize).next_multiple_of(16);
    if block.size_bytes != expected {
        found.push(format!(
            "the metadata say {} bytes, and have {expected}",
            block.size_bytes
        ));
    }
}

fn block_padding(subject: &Subject<'_>, found: &mut Vec<String>) {
    for (copy, region) in (1..).zip(&subject.regions) {
        let Some(region) = region else { continue };
        let Some(block) = &region.block else { continue };
        let end = 64 + block.dataset.size.max(block.dataset.end) as usize;
        let padding = region.bytes.get(end..block.size_bytes).unwrap_or_default();
        if padding.iter().any(|byte| *byte != 0) {
            found.push(format!(
                "metadata copy {copy} has something behind its last entry"
            ));
        }
    }
}

fn checks_size(subject: &Subject<'_>, found: &mut Vec<String>) {
    for (copy, region) in (1..).zip(&subject.regions) {
        let Some(region) = region else { continue };
        let Some(block) = &region.block else { continue };
        let Some(size) = region.bytes.get(block.size_bytes..block.size_bytes + 2) else {
            continue;
        };
        let size = usize::from(size[0]) | usize::from(size[1]) << 8;
        let expected = region.bytes.len() - block.size_bytes;
        if size != expected {
            found.push(format!(
                "the checks of metadata copy {copy} say {size:#x} bytes, not {expected:#x}"
            ));
        }
    }
}

fn checks_version(subject: &Subject<'_>, found: &mut Vec<String>) {
    let block = subject.block();
    match &block.validation {
        Some(checks) if checks.version != block.version => {
            found.push(format!(
                "they have version {}, the metadata {}",
                checks.version, block.version
            ));
        }
        _ => {}
    }
}

fn checks_hash(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(checks) = &subject.block().validation else {
        found.push("there are no checks behind the metadata".to_owned());
        return;
    };
    let (kind, len) = match &checks.integrity {
        None => {
            found.push("there is no hash".to_owned());
            return;
        }
        Some(datum) => (datum.kind, datum.to_bytes().len()),
    };
    let expected = if subject.is_decrypted() {
        (1, 0x2c)
    } else {
        (5, 0x50)
    };
    if (kind, len) != expected {
        found.push(format!(
            "its entry has type {kind} and {len:#x} bytes, not {} and {:#x}",
            expected.0, expected.1
        ));
    }
}
