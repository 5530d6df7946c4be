//! Exports of a directory: LDIF, as `ldifde` and `ldapsearch` write it.
//!
//! Source: RFC 2849.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::columns::Column;
use super::directory;
use super::rows::{Rows, TooLong, Unit};

/// Reads a text as LDIF; `None` if it is none.
pub(super) fn read(text: &str) -> Result<Option<Rows>, TooLong> {
    if !text
        .lines()
        .any(|line| attribute(line).is_some_and(|(name, ..)| name == "dn"))
    {
        return Ok(None);
    }
    let unfolded = unfolded(text);
    let mut rows = Rows::with_room_for(text.len());
    rows.start_table(Unit::Entry, None);
    let mut is_open = false;
    for line in unfolded.lines() {
        if line.trim().is_empty() {
            if std::mem::take(&mut is_open) {
                rows.end_row()?;
            }
            continue;
        }
        let Some((name, encoding, value)) = attribute(line) else {
            continue;
        };
        is_open |= name == "dn";
        let column = Column::named(name);
        match encoding {
            _ if column == Column::KeyPackage => {}
            Encoding::Text => rows.named_cell(column, value)?,
            Encoding::Base64 => match directory::binary_id(value) {
                Some(id) => rows.named_cell(column, &id.to_string())?,
                None => {
                    let decoded = STANDARD.decode(value).map(Zeroizing::new);
                    let decoded = decoded.as_deref().map(|bytes| std::str::from_utf8(bytes));
                    if let Ok(Ok(content)) = decoded {
                        rows.named_cell(column, content)?;
                    }
                }
            },
            Encoding::Elsewhere => {}
        }
    }
    Ok(Some(rows))
}

enum Encoding {
    Text,
    Base64,
    /// The value is in another file.
    Elsewhere,
}

/// Takes a line apart: the name without its options, and the value.
fn attribute(line: &str) -> Option<(&str, Encoding, &str)> {
    let (name, rest) = line.split_once(':')?;
    let (name, _) = name.split_once(';').unwrap_or((name, ""));
    if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    {
        return None;
    }
    Some(match rest.as_bytes().first() {
        Some(b':') => (name, Encoding::Base64, rest.get(1..)?.trim()),
        Some(b'<') => (name, Encoding::Elsewhere, ""),
        _ => (name, Encoding::Text, rest.trim()),
    })
}

/// Joins lines that were broken to be short, and leaves out comments.
fn unfolded(text: &str) -> Zeroizing<String> {
    let mut unfolded = Zeroizing::new(String::with_capacity(text.len() + 1));
    let mut is_comment = false;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix(' ') {
            if !is_comment {
                // Behind the line's end that the line before was given.
                unfolded.pop();
                unfolded.push_str(rest);
                unfolded.push('\n');
            }
            continue;
        }
        is_comment = line.starts_with('#');
        if !is_comment {
            unfolded.push_str(line);
            unfolded.push('\n');
        }
    }
    unfolded
}

#[cfg(test)]
mod tests {
    use keyhaven_fve::Guid;

    use super::*;

    const KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";
    const ID: &str = "64311DEA-4587-4029-924A-BA299647998E";

    fn bytes_of(id: &str) -> String {
        STANDARD.encode(id.parse::<Guid>().expect("an identifier").to_bytes())
    }

    #[test]
    fn entries_of_a_directory_are_read() {
        let name = format!("CN=2023-10-10T10:00:00-08:00{{{ID}}},CN=PC-7,OU=Büro,DC=example,DC=com");
        let (folded_from, folded_to) = KEY.split_at(20);
        let volume = "11111111-2222-3333-4444-555555555555";
        let text = format!(
            "# extended LDIF\r\n#\r\n version: 1\r\n\r\ndn:: {}\r\nobjectClass: top\r\nmsFVE-RecoveryPassword: {folded_from}\r\n \
             {folded_to}\r\nmsFVE-RecoveryGuid:: {}\r\nmsFVE-VolumeGuid:: {}\r\nmsFVE-KeyPackage:: AAAA\r\n AAAA\r\n\r\n\
             dn: CN=PC-8,DC=example\r\nmsFVE-RecoveryPassword:: {}\r\n",
            STANDARD.encode(&name),
            bytes_of(ID),
            bytes_of(volume),
            STANDARD.encode(KEY),
        );
        let found = read(&text).expect("room").expect("LDIF").into_keys();
        assert_eq!(found.len(), 2);
        let ids: Vec<String> = found[0].ids.iter().map(ToString::to_string).collect();
        assert_eq!(ids, [ID, volume]);
        assert_eq!(found[0].source.device.as_deref(), Some("PC-7"));
        assert_eq!(found[0].source.date.as_deref(), Some("2023-10-10T10:00:00-08:00"));
        assert_eq!(
            found[0].source.volume_id.map(|id| id.to_string()).as_deref(),
            Some(volume)
        );
        assert_eq!(
            found[0].source.spot.as_ref().map(ToString::to_string).as_deref(),
            Some("entry 1")
        );
        assert!(found[1].ids.is_empty());
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["", "Key: 1\n", "dnx: 1\n", " dn: folded\n", "é: x"] {
            assert!(read(text).expect("room").is_none(), "{text}");
        }
        assert!(
            read("dn:")
                .expect("room")
                .is_some_and(|rows| rows.into_keys().is_empty())
        );
    }
}
