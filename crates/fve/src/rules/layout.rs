//! Where things lie, and how far the encryption has come.

use super::subject::Subject;
use super::{Rule, rule};
use crate::format::datum::Value;
use crate::metadata::Conversion;

pub(super) const RULES: &[Rule] = &[
    rule(
        "state-known",
        "the state of the encryption is a known one",
        "2.3",
        state_known,
    ),
    rule(
        "state-offset",
        "the place up to which a drive is encrypted is a whole number of sectors, and all of it when that has ended",
        "2.3; StateOffset is the size of the volume in every image that is encrypted",
        state_offset,
    ),
    rule(
        "log-only-converting",
        "there is no conversion log but while a conversion is under way",
        "2.2",
        log_only_converting,
    ),
    rule(
        "places-aligned",
        "metadata and moved sectors begin and end with a sector",
        "2.1; clusters on NTFS, sectors on BitLocker To Go",
        aligned,
    ),
    rule(
        "places-apart",
        "metadata, moved sectors and the sectors in front do not overlap",
        "5.2; rule 1 precedes rule 2 in 4.1 because of that",
        apart,
    ),
    rule(
        "places-inside",
        "metadata and moved sectors lie inside the volume",
        "5.2",
        inside,
    ),
    rule(
        "moved-agrees",
        "the header and the entry for the moved sectors agree",
        "2.2, 2.6; every image of Windows 7 and later",
        moved_agrees,
    ),
];

fn state_known(subject: &Subject<'_>, found: &mut Vec<String>) {
    if let Conversion::Unknown { current, next } = subject.metadata().conversion() {
        found.push(format!("it is {current} going to {next}"));
    }
}

fn state_offset(subject: &Subject<'_>, found: &mut Vec<String>) {
    let block = subject.block();
    if subject.is_vista() {
        return;
    }
    if !block.state_offset.is_multiple_of(subject.sector()) {
        found.push(format!("byte {:#x} is inside a sector", block.state_offset));
    }
    let size = subject.volume.size_bytes();
    let ends = subject.reserved().into_iter().map(|(_, range)| range.end);
    let last = ends.filter(|end| *end <= size).max();
    if subject.metadata().conversion() == Conversion::Encrypted
        && last.is_some_and(|end| block.state_offset < end)
    {
        found.push(format!(
            "it is encrypted up to byte {:#x} only",
            block.state_offset
        ));
    }
}

fn log_only_converting(subject: &Subject<'_>, found: &mut Vec<String>) {
    let block = subject.block();
    let at_rest = matches!(
        subject.metadata().conversion(),
        Conversion::Encrypted | Conversion::Decrypted
    );
    if at_rest && block.state_len_bytes != 0 {
        found.push(format!("one of {:#x} bytes is named", block.state_len_bytes));
    }
}

fn aligned(subject: &Subject<'_>, found: &mut Vec<String>) {
    for (name, range) in subject.reserved() {
        let sector = subject.sector();
        if !range.start.is_multiple_of(sector) || !range.end.is_multiple_of(sector) {
            found.push(format!("{name}: bytes {:#x} to {:#x}", range.start, range.end));
        }
    }
}

fn apart(subject: &Subject<'_>, found: &mut Vec<String>) {
    let mut places = subject.reserved();
    places.sort_by_key(|(_, range)| range.start);
    for pair in places.windows(2) {
        if let [(first, one), (second, other)] = pair
            && one.end > other.start
        {
            found.push(format!("{first} and {second}"));
        }
    }
}

fn inside(subject: &Subject<'_>, found: &mut Vec<String>) {
    let size = subject.volume.size_bytes();
    for (name, range) in subject.reserved() {
        if range.end > size {
            found.push(format!(
                "{name} ends at byte {:#x}, the volume at byte {size:#x}",
                range.end
            ));
        }
    }
}

fn moved_agrees(subject: &Subject<'_>, found: &mut Vec<String>) {
    let block = subject.block();
    let entry = subject.datums().iter().find_map(|datum| match &datum.value {
        Value::Virtualization {
            offset, len_bytes, ..
        } => Some((*offset, *len_bytes)),
        _ => None,
    });
    let Some((offset, len_bytes)) = entry else { return };
    if offset != block.virtualized_offset {
        found.push(format!(
            "byte {:#x} or byte {offset:#x}",
            block.virtualized_offset
        ));
    }
    let stated = u64::from(block.virtualized_sectors) * subject.sector();
    // Early builds of Windows 7 left the field 0 (format spec 2.2).
    if stated != 0 && stated != len_bytes {
        found.push(format!("{stated} bytes or {len_bytes} bytes"));
    }
}
