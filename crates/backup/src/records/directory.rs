//! How Active Directory names its objects and writes its identifiers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyhaven_fve::Guid;

/// What the name of a recovery object says.
pub(super) struct Object<'a> {
    /// When it was made, with its offset from UTC.
    pub(super) date: &'a str,
    /// The identifier of the key.
    pub(super) id: Guid,
}

/// Reads the name of a recovery object, `2023-10-10T10:00:00-08:00{GUID}`, by itself or as the first part of a
/// distinguished name.
pub(super) fn object(text: &str) -> Option<Object<'_>> {
    let name = text
        .get(..3)
        .filter(|start| start.eq_ignore_ascii_case("cn="))
        .and_then(|_| text.get(3..))
        .unwrap_or(text);
    let (date, rest) = name.split_once('{')?;
    // In a distinguished name signs may be escaped.
    let looks_like_a_date = (10..=32).contains(&date.len())
        && date.contains('T')
        && date
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"T:+-\\.Z".contains(&byte));
    let (id, _) = rest.split_once('}')?;
    Some(Object {
        date,
        id: looks_like_a_date.then(|| id.parse().ok()).flatten()?,
    })
}

/// Returns the name of the object above: the computer that a recovery object lies under.
pub(super) fn parent(distinguished_name: &str) -> Option<String> {
    let second = parts(distinguished_name).nth(1)?;
    let (_, name) = second.split_once('=')?;
    Some(name.replace('\\', ""))
}

/// Cuts a distinguished name at its commas, except those that are escaped.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    name.split(move |sign| {
        let cuts = sign == ',' && !is_escaped;
        is_escaped = sign == '\\' && !is_escaped;
        cuts
    })
}

/// Reads an identifier that is written as its sixteen bytes: base64, or hexadecimal digits (`X'...'` in some exports).
pub(super) fn binary_id(text: &str) -> Option<Guid> {
    let text = text.trim();
    let bytes: [u8; 16] = match text.len() {
        24 => STANDARD.decode(text).ok()?.try_into().ok()?,
        32 => from_hex(text)?,
        35 => from_hex(
            text.strip_prefix("X'")
                .or(text.strip_prefix("x'"))?
                .strip_suffix('\'')?,
        )?,
        _ => return None,
    };
    Some(Guid::from_bytes(bytes))
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|sign| sign.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[high, low]| high << 4 | low)
        .collect();
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "64311DEA-4587-4029-924A-BA299647998E";

    #[test]
    fn names_of_recovery_objects_are_read() {
        for name in [
            format!("2023-10-10T10:00:00-08:00{{{ID}}}"),
            format!("CN=2023-10-10T10:00:00-08:00{{{ID}}},CN=PC-7,OU=Berlin,DC=example,DC=com"),
        ] {
            let object = object(&name).expect("a recovery object");
            assert_eq!(object.id.to_string(), ID);
            assert_eq!(object.date, "2023-10-10T10:00:00-08:00");
        }
        for name in [
            "",
            "PC-7",
            "é{",
            &format!("{{{ID}}}"),
            &format!("T{{{ID}}}"),
            &format!("2023-10-10T10:00:00 PC {{{ID}}}"),
        ] {
            assert!(object(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_computer_stands_above_its_keys() {
        assert_eq!(parent("CN=x,CN=PC-7\\, Ann,OU=a").as_deref(), Some("PC-7, Ann"));
        assert_eq!(parent("CN=x"), None);
        assert_eq!(parent(""), None);
    }

    #[test]
    fn identifiers_of_bytes_are_read() {
        let id: Guid = ID.parse().expect("an identifier");
        let hex: String = id.to_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
        for text in [
            STANDARD.encode(id.to_bytes()),
            hex.clone(),
            format!("X'{}'", hex.to_lowercase()),
        ] {
            assert_eq!(binary_id(&text), Some(id), "{text}");
        }
        for text in ["", ID, "X'zz'", &"é".repeat(16), &"=".repeat(24), &"é".repeat(12)] {
            assert_eq!(binary_id(text), None, "{text}");
        }
    }
}
