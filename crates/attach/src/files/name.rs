//! Names between the UTF-16 of the file systems and text.

use std::fmt::Write as _;

/// Turns a name into text that a path can hold.
///
/// Units that are no character (half of a surrogate pair), a slash, a zero and the backslash become `\uXXXX`, and so
/// does the first dot of `.` and `..`; [`from_text`] turns them back.
pub(super) fn to_text(units: &[u16]) -> String {
    let is_dots = matches!(units, [0x2E] | [0x2E, 0x2E]);
    let mut text = String::with_capacity(units.len());
    for (index, decoded) in char::decode_utf16(units.iter().copied()).enumerate() {
        let escaped = match decoded {
            Ok(character) if matches!(character, '/' | '\\' | '\0') => character as u32,
            Ok('.') if is_dots && index == 0 => '.' as u32,
            Ok(character) => {
                text.push(character);
                continue;
            }
            Err(half) => u32::from(half.unpaired_surrogate()),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "\\u{escaped:04X}");
    }
    text
}

/// Turns what [`to_text`] made back into a name.
pub(super) fn from_text(text: &str) -> Vec<u16> {
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let escaped = rest
            .strip_prefix("\\u")
            .and_then(|digits| digits.get(..4))
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let len = match escaped {
            Some(unit) => {
                units.push(unit);
                6
            }
            None => {
                units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
                character.len_utf8()
            }
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    units
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["a.txt", "Größe.docx", "漢字 🎉", "...", "x."] {
            let units: Vec<u16> = name.encode_utf16().collect();
            assert_eq!(to_text(&units), name);
        }
    }

    #[test]
    fn what_a_path_cannot_hold_is_escaped() {
        assert_eq!(to_text(&[0x61, 0xD83D, 0x62]), "a\\uD83Db");
        assert_eq!(to_text(&[0x2F, 0x5C, 0]), "\\u002F\\u005C\\u0000");
        assert_eq!(to_text(&[0x2E]), "\\u002E");
        assert_eq!(to_text(&[0x2E, 0x2E]), "\\u002E.");
    }

    proptest! {
        #[test]
        fn every_name_comes_back(units in proptest::collection::vec(
            prop_oneof![any::<u16>(), 0xD800u16..0xE000, Just(0x5Cu16), Just(0x75), 0x30u16..0x47], 0..40)
        ) {
            let text = to_text(&units);
            prop_assert!(!text.contains(['/', '\0']) && text != "." && text != "..");
            prop_assert_eq!(from_text(&text), units);
        }
    }
}
