//! Raw images in several files: `disk.001`, `disk.002`, … or `disk.raw.aa`, `disk.raw.ab`, …
//!
//! Nothing in such a file says that it is a part; its name does, and that the next one lies beside it. All parts have
//! the same size except the last, which may be shorter. A part that is missing or has another size is an error by
//! name: a disk with a part left out would look whole. Read only.

use std::sync::Arc;

use super::joined::{Joined, Piece};
use super::parts::Parts;
use super::{ContainerError, Format, Neighbours, Opened, Probe, Spec, open_inside};
use crate::device::Device;

pub(super) const SPEC: Spec = Spec {
    name: "split",
    title: "an image in several files",
    // A file that is made under such a name is a raw image like any other.
    extensions: &[],
    detect: is_a_part,
    open,
    writing: None,
};

/// How many parts an image may have: what five digits can count.
const MAX_PARTS: u64 = 100_000;
/// How far behind a missing part others are looked for.
const MAX_GAP: u64 = 16;

fn is_a_part(probe: &Probe) -> bool {
    let Some(part) = probe.neighbours.own_name().and_then(PartName::of) else {
        return false;
    };
    // Whatever part was named: those around it show that it is one.
    let has = |number: u64| part.with(number).is_some_and(|name| probe.neighbours.has(&name));
    has(part.number.saturating_add(1)) || part.number.checked_sub(1).is_some_and(has)
}

fn open(file: Device, neighbours: &Neighbours) -> Result<Opened, ContainerError> {
    let named = neighbours
        .own_name()
        .and_then(PartName::of)
        .ok_or(ContainerError::NotThis { title: SPEC.title })?;
    let first = named.first(neighbours);
    if named.number != first {
        let name = named.with(first).unwrap_or_default();
        return Err(ContainerError::Unsupported {
            what: if neighbours.has(&name) {
                format!("this is a part of it; name the first one, {name:?}")
            } else {
                format!("its first part, {name:?}, is missing")
            },
        });
    }
    let parts = Parts::beside(neighbours);
    let mut pieces = vec![Piece {
        offset: 0,
        len_bytes: file.len_bytes(),
        content: Some(file),
    }];
    let mut last = neighbours.own_name().unwrap_or_default().to_owned();
    for number in first.saturating_add(1)..first.saturating_add(MAX_PARTS) {
        let Some(name) = named.with(number).filter(|name| neighbours.has(name)) else {
            break;
        };
        let part = parts.open(&name)?;
        check_sizes(&pieces, &part, &last, &name)?;
        pieces.push(Piece {
            offset: 0,
            len_bytes: part.len_bytes(),
            content: Some(part),
        });
        last = name;
    }
    refuse_gap(&named, first.saturating_add(pieces.len() as u64), neighbours)?;
    let title = format!("an image in {} files", pieces.len());
    let disk: Device = match Joined::of(pieces) {
        Some(joined) => Arc::new(joined),
        None => {
            return Err(ContainerError::Unsupported {
                what: "it is longer than any disk".to_owned(),
            });
        }
    };
    // What was split may have been an image of another format.
    let inside = open_inside(disk, Format::Detected)?;
    Ok(match inside.container {
        None => Opened::new(inside.device, title),
        Some(container) => Opened {
            title: format!("{} inside {title}", container.title),
            notes: container.notes,
            ..Opened::new(inside.device, "")
        },
    })
}

/// Checks that a part fits behind those before it.
fn check_sizes(pieces: &[Piece], part: &Device, last: &str, name: &str) -> Result<(), ContainerError> {
    let (first_len, last_len) = (
        pieces.first().map_or(0, |piece| piece.len_bytes),
        pieces.last().map_or(0, |piece| piece.len_bytes),
    );
    let problem = if last_len != first_len {
        format!("{last:?} has {last_len} bytes and is not the last; the first has {first_len}")
    } else if part.len_bytes() > first_len {
        format!(
            "{name:?} has {} bytes, more than the first, which has {first_len}",
            part.len_bytes()
        )
    } else {
        return Ok(());
    };
    Err(ContainerError::Unsupported {
        what: format!("its parts do not fit together: {problem}"),
    })
}

/// Looks behind the last part for others, which would show that one is missing.
fn refuse_gap(named: &PartName<'_>, missing: u64, neighbours: &Neighbours) -> Result<(), ContainerError> {
    for number in missing.saturating_add(1)..missing.saturating_add(MAX_GAP) {
        if let Some(name) = named.with(number).filter(|name| neighbours.has(name)) {
            let missing = named.with(missing).unwrap_or_default();
            return Err(ContainerError::Unsupported {
                what: format!("its part {missing:?} is missing, and {name:?} is there"),
            });
        }
    }
    Ok(())
}

/// The name of a part: what all parts have in common, and a number in digits or letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartName<'a> {
    stem: &'a str,
    counting: Counting,
    width: u32,
    number: u64,
}

/// What parts are numbered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    Digits,
    Lower,
    Upper,
}

impl<'a> PartName<'a> {
    /// Reads a name like `disk.001`, `disk.raw.aa`.
    fn of(name: &'a str) -> Option<Self> {
        let (stem, ending) = name.rsplit_once('.')?;
        let width = u32::try_from(ending.len()).ok()?;
        let (counting, widths) = if ending.bytes().all(|byte| byte.is_ascii_digit()) {
            (Counting::Digits, 2..=5)
        } else if ending.bytes().all(|byte| byte.is_ascii_lowercase()) {
            (Counting::Lower, 2..=4)
        } else if ending.bytes().all(|byte| byte.is_ascii_uppercase()) {
            (Counting::Upper, 2..=4)
        } else {
            return None;
        };
        if stem.is_empty() || !widths.contains(&width) {
            return None;
        }
        let (base, zero) = counting.alphabet();
        let number = ending.bytes().try_fold(0u64, |number, byte| {
            number
                .checked_mul(base)?
                .checked_add(u64::from(byte.checked_sub(zero)?))
        })?;
        let part = Self {
            stem,
            counting,
            width,
            number,
        };
        // Most endings in letters are no numbers: `.img`, `.raw`. Counting begins with `aa`, and few get to `ba`.
        (counting == Counting::Digits || ending.bytes().next() == Some(zero)).then_some(part)
    }

    /// Returns the name of part `number`, if there can be one.
    fn with(&self, number: u64) -> Option<String> {
        let (base, zero) = self.counting.alphabet();
        let mut ending = Vec::new();
        let mut rest = number;
        for _ in 0..self.width {
            ending.push(zero.checked_add(u8::try_from(rest % base).ok()?)?);
            rest /= base;
        }
        ending.reverse();
        let ending = String::from_utf8(ending).ok()?;
        (rest == 0).then(|| format!("{}.{ending}", self.stem))
    }

    /// Returns the number of the first part: `aa`, and `000` where it is there, else `001`.
    fn first(&self, neighbours: &Neighbours) -> u64 {
        let counts_from_zero = self.counting != Counting::Digits
            || self.number == 0
            || self.with(0).is_some_and(|name| neighbours.has(&name));
        u64::from(!counts_from_zero)
    }
}

impl Counting {
    /// Returns how many signs there are, and the one for nothing.
    fn alphabet(self) -> (u64, u8) {
        match self {
            Self::Digits => (10, b'0'),
            Self::Lower => (26, b'a'),
            Self::Upper => (26, b'A'),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_parts_are_known() {
        for (name, next) in [
            ("disk.001", Some("disk.002")),
            ("disk.000", Some("disk.001")),
            ("disk.img.099", Some("disk.img.100")),
            ("disk.999", None),
            ("disk.00", Some("disk.01")),
            ("disk.raw.aa", Some("disk.raw.ab")),
            ("disk.raw.az", Some("disk.raw.ba")),
            ("DISK.AA", Some("DISK.AB")),
            ("x.aaaz", Some("x.aaba")),
        ] {
            let part = PartName::of(name).unwrap_or_else(|| panic!("{name} is the name of a part"));
            assert_eq!(part.with(part.number).as_deref(), Some(name));
            assert_eq!(part.with(part.number + 1).as_deref(), next, "behind {name}");
        }
        for name in [
            "disk",
            "disk.img",
            "disk.raw",
            "disk.1",
            "disk.123456",
            ".001",
            "disk.0a1",
            "disk.é1",
            "",
        ] {
            assert_eq!(PartName::of(name), None, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_name_is_safe(name in ".{0,12}") {
            if let Some(part) = PartName::of(&name) {
                let again = part.with(part.number);
                prop_assert_eq!(again.as_deref(), Some(name.as_str()));
            }
        }
    }
}
