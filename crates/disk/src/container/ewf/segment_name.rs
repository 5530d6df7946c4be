//! What the files of an EWF image are called: `E01` to `E99`, then `EAA` to `EZZ`, `FAA` and on.
//!
//! Source: Joachim Metz' "Expert Witness Compression Format specification".

/// How many files are numbered in digits.
const IN_DIGITS: u32 = 99;
const LETTERS: u32 = 26;

/// The names of the files of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentNames {
    /// All before the ending, with its dot.
    stem: String,
    /// The letter of the first file: E or S, as a rule.
    letter: u8,
}

impl SegmentNames {
    /// Reads the name of one of the first files; `None` if it has no ending of this kind.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (stem, ending) = name.rsplit_once('.')?;
        match ending.as_bytes() {
            [letter, b'0'..=b'9', b'0'..=b'9'] if letter.is_ascii_alphabetic() => Some(Self {
                stem: format!("{stem}."),
                letter: *letter,
            }),
            // Later files are called so too, but so are many others, and they do not tell the first letter.
            _ => None,
        }
    }

    /// Returns the name of file `number`, counted from 1.
    pub(super) fn name(&self, number: u16) -> Option<String> {
        let number = u32::from(number);
        if number <= IN_DIGITS {
            return Some(format!("{}{}{number:02}", self.stem, char::from(self.letter)));
        }
        let (zero, last) = if self.letter.is_ascii_lowercase() {
            (b'a', b'z')
        } else {
            (b'A', b'Z')
        };
        let rest = number.checked_sub(IN_DIGITS + 1)?;
        let letter = |base: u8, index: u32| base.checked_add(u8::try_from(index).ok()?);
        let first = letter(self.letter, rest / (LETTERS * LETTERS)).filter(|first| *first <= last)?;
        let second = letter(zero, rest / LETTERS % LETTERS)?;
        let third = letter(zero, rest % LETTERS)?;
        Some(format!(
            "{}{}{}{}",
            self.stem,
            char::from(first),
            char::from(second),
            char::from(third)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_as_their_makers_do() {
        let names = SegmentNames::of("a.b.E01").expect("a name of this kind");
        for (number, name) in [
            (1, "a.b.E01"),
            (99, "a.b.E99"),
            (100, "a.b.EAA"),
            (125, "a.b.EAZ"),
            (126, "a.b.EBA"),
            (775, "a.b.EZZ"),
            (776, "a.b.FAA"),
            (14_971, "a.b.ZZZ"),
        ] {
            assert_eq!(names.name(number).as_deref(), Some(name));
        }
        assert_eq!(names.name(14_972), None);
        assert_eq!(names.name(u16::MAX), None);
        let names = SegmentNames::of("x.s07").expect("a name of this kind");
        assert_eq!(names.name(101).as_deref(), Some("x.sab"));
        for name in ["x", "x.E1", "x.E001", "x.001", "x.é1", "x.E0A", "x.bin"] {
            assert_eq!(SegmentNames::of(name), None, "{name}");
        }
    }
}
