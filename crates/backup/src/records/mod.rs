//! Keys in tables, in exports of directories and consoles, and in documents.
//!
//! Each kind of file is read by a module of its own into rows, and rows are looked through as text is. So a
//! file whose columns nobody knows still gives its keys, and one whose columns are known says whose they are as well.
//! What third parties' readers keep in memory meanwhile is theirs and is not wiped; most of it is borrowed from buffers
//! that are.

mod columns;
mod delimited;
mod directory;
mod document;
mod json;
mod ldif;
mod markup;
mod package;
mod rows;
mod workbook;

use document::{OFFICE_OPEN, OPEN_DOCUMENT, read_part};
use package::Package;
use rows::Rows;

use crate::found::FoundKey;
use crate::text;

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// A part of it is not what it should be.
    #[error("its part `{part}` is damaged")]
    Damaged {
        /// The name of the part.
        part: String,
    },
    /// Its end is missing, where its parts are listed.
    #[error("it is cut off or damaged")]
    CutOff,
    /// It is protected by a password.
    #[error("it is protected by a password")]
    Encrypted,
    /// It grows to more than is looked through.
    #[error("it holds more than the {limit} bytes that are looked through")]
    TooLarge {
        /// The most, in bytes.
        limit: u64,
    },
}

impl From<rows::TooLong> for DocumentError {
    fn from(_: rows::TooLong) -> Self {
        Self::TooLarge {
            limit: text::MAX_LEN_BYTES as u64,
        }
    }
}

/// Finds the keys in a text, whatever it is: JSON, LDIF, a table, or letters to a friend.
pub(crate) fn keys_in_text(text: &str) -> Vec<FoundKey> {
    if let Some(rows) = json::read(text) {
        return rows.into_keys();
    }
    if let Ok(Some(rows)) = ldif::read(text) {
        return rows.into_keys();
    }
    let keys = text::scan(text);
    if keys.is_empty() {
        return keys;
    }
    match delimited::read(text) {
        // What looks like a table and is none may hide a key behind a quotation mark.
        Ok(Some(rows)) => Some(rows.into_keys())
            .filter(|in_rows| in_rows.len() >= keys.len())
            .unwrap_or(keys),
        _ => keys,
    }
}

/// Tells by its first bytes whether a file may be a document.
pub(crate) fn may_be_document(bytes: &[u8]) -> bool {
    bytes.starts_with(package::START) || bytes.starts_with(COMPOUND_FILE)
}

/// The container of older documents, and of those with a password.
const COMPOUND_FILE: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// Finds the keys in a document; `None` if the bytes are none of a kind that is read.
///
/// # Errors
/// [`DocumentError`] for a document of a known kind that cannot be read.
pub(crate) fn keys_in_document(bytes: &[u8]) -> Result<Option<Vec<FoundKey>>, DocumentError> {
    if bytes.starts_with(COMPOUND_FILE) {
        // The name of a stream is UTF-16.
        let name: Vec<u8> = "EncryptedPackage"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let is_encrypted = bytes.windows(name.len()).any(|window| window == name);
        return if is_encrypted {
            Err(DocumentError::Encrypted)
        } else {
            Ok(None)
        };
    }
    let Some(mut package) = Package::open(bytes)? else {
        return Ok(None);
    };
    let mut rows = Rows::with_room_for(64 << 10);
    if package.has("xl/workbook.xml") {
        workbook::read(&mut package, &mut rows)?;
    } else if package.has(WRITTEN) {
        read_part(&mut package, WRITTEN, &OFFICE_OPEN, &mut rows)?;
        for part in package.names("word/", ".xml") {
            if is_beside_the_text(&part) {
                read_part(&mut package, &part, &OFFICE_OPEN, &mut rows)?;
            }
        }
    } else if package.has("content.xml") && package.has("mimetype") {
        read_part(&mut package, "content.xml", &OPEN_DOCUMENT, &mut rows)?;
    } else {
        return Ok(None);
    }
    Ok(Some(rows.into_keys()))
}

/// The text of a written document.
const WRITTEN: &str = "word/document.xml";

/// Tells which other parts of a written document hold text.
fn is_beside_the_text(part: &str) -> bool {
    let name = part.strip_prefix("word/").unwrap_or(part);
    ["header", "footer", "footnotes", "endnotes", "comments"]
        .iter()
        .any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use keyhaven_fve::Credential;
    use proptest::prelude::*;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::found::FoundContent;
    use crate::reading::{NoSecrets, ReadPlaceError, keys_in};

    const KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";
    const ID: &str = "64311DEA-4587-4029-924A-BA299647998E";
    const OTHER: &str = "11111111-2222-3333-4444-555555555555";

    fn zipped(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in parts {
            writer
                .start_file(*name, SimpleFileOptions::default())
                .expect("a part");
            writer.write_all(content.as_bytes()).expect("written");
        }
        writer.finish().expect("an archive").into_inner()
    }

    fn workbook() -> Vec<u8> {
        zipped(&[
            (
                "xl/workbook.xml",
                r#"<workbook xmlns:r="r"><sheets><sheet name="Alle &amp; PCs" sheetId="1" r:id="rId1"/></sheets></workbook>"#,
            ),
            (
                "xl/_rels/workbook.xml.rels",
                r#"<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>"#,
            ),
            (
                "xl/sharedStrings.xml",
                &format!(
                    "<sst><si><t>Computer</t></si><si><t>Key ID</t></si><si><r><t>{}</t></r><r><t>{}</t></r><rPh><t>x</t></rPh></si></sst>",
                    &KEY[..30],
                    &KEY[30..]
                ),
            ),
            (
                "xl/worksheets/sheet1.xml",
                &format!(
                    r#"<worksheet><sheetData><row r="3"><c r="B3" t="s"><v>0</v></c><c r="D3" t="s"><v>1</v></c></row>
                    <row r="9"><c r="A9" t="s"><v>2</v></c><c r="B9" t="inlineStr"><is><t>PC&#45;7</t></is></c>
                    <c r="C9"><v>45000</v></c><c r="D9" t="str"><f>A1</f><v>{ID}</v></c></row></sheetData></worksheet>"#
                ),
            ),
            (
                "xl/comments1.xml",
                &format!(
                    "<comments><comment ref=\"A1\"><text><r><t>{OTHER}</t></r><r><t xml:space=\"preserve\"> {KEY}</t></r></text></comment></comments>"
                ),
            ),
        ])
    }

    fn written() -> Vec<u8> {
        let cell = |text: &str| format!("<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>");
        let broken = KEY.replacen('-', "</w:t><w:noBreakHyphen/><w:t>", 1);
        zipped(&[
            (
                "word/document.xml",
                &format!(
                    r#"<!DOCTYPE w [<!ENTITY big "{KEY}">]><w:document><w:body><w:p><w:r><w:t>For Ann &big;</w:t></w:r></w:p>
                    <w:p><w:r><w:t>{ID}</w:t><w:br/><w:t>{broken}</w:t></w:r></w:p>
                    <mc:AlternateContent><mc:Choice/><mc:Fallback><w:p><w:t>{KEY}</w:t></w:p></mc:Fallback></mc:AlternateContent>
                    <w:tbl><w:tr>{}{}</w:tr><w:tr>{}{}</w:tr></w:tbl></w:body></w:document>"#,
                    cell("Computer"),
                    cell("Schlüssel"),
                    cell("PC-7"),
                    cell(KEY),
                ),
            ),
            (
                "word/footer1.xml",
                &format!("<w:ftr><w:p><w:t>{OTHER} {KEY}</w:t></w:p></w:ftr>"),
            ),
            ("word/styles.xml", KEY),
        ])
    }

    fn open_sheet() -> Vec<u8> {
        zipped(&[
            ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
            (
                "content.xml",
                &format!(
                    r#"<office:document-content><table:table table:name="PCs"><table:table-row table:number-rows-repeated="4"><table:table-cell/></table:table-row>
                    <table:table-row><table:table-cell><text:p>Computer</text:p></table:table-cell><table:table-cell/></table:table-row>
                    <table:table-row><table:table-cell><text:p>PC-7</text:p></table:table-cell><table:table-cell table:number-columns-repeated="9"/>
                    <table:table-cell><text:p>{ID}<text:s/>{KEY}</text:p></table:table-cell></table:table-row></table:table></office:document-content>"#
                ),
            ),
        ])
    }

    /// Where each key stands, its first identifier and its device.
    fn told(bytes: &[u8]) -> Vec<String> {
        keys_in(bytes, &mut NoSecrets)
            .expect("readable")
            .iter()
            .map(|key| {
                assert!(matches!(
                    &key.content,
                    FoundContent::Key(Credential::RecoveryPassword(found)) if found.to_digits().expose_secret() == KEY
                ));
                let spot = key.source.spot.as_ref().map_or(String::new(), ToString::to_string);
                let id = key.ids.first().map_or("-".to_owned(), |id| id.key_id());
                format!("{spot}: {id} {}", key.source.device.as_deref().unwrap_or("-"))
            })
            .collect()
    }

    #[test]
    fn documents_give_their_keys_and_say_where() {
        assert_eq!(
            told(&workbook()),
            ["sheet `Alle & PCs`, row 9: 64311DEA PC-7", "line 1: 11111111 -"]
        );
        assert_eq!(
            told(&written()),
            [
                "line 3: 64311DEA -",
                "table 1, row 2: - PC-7",
                "line 1: 11111111 -"
            ]
        );
        assert_eq!(told(&open_sheet()), ["table `PCs`, row 6: 64311DEA -"]);
    }

    #[test]
    fn documents_that_grow_are_refused() {
        let large = "x".repeat(package_limit() + 1);
        let bomb = zipped(&[("word/document.xml", &large)]);
        assert!(bomb.len() < 1 << 20);
        assert!(matches!(
            keys_in(&bomb, &mut NoSecrets),
            Err(ReadPlaceError::Document(DocumentError::TooLarge { .. }))
        ));
        let half = &large[..package_limit() / 2 + 1];
        let bomb = zipped(&[("word/document.xml", half), ("word/footer1.xml", half)]);
        assert!(matches!(
            keys_in(&bomb, &mut NoSecrets),
            Err(ReadPlaceError::Document(DocumentError::TooLarge { .. }))
        ));
        // A small text that a sheet refers to again and again.
        let text = format!("<sst><si><t>{}</t></si></sst>", "x".repeat(100_000));
        let cells = r#"<c t="s"><v>0</v></c>"#.repeat(1000);
        let bomb = zipped(&[
            ("xl/workbook.xml", "<workbook/>"),
            ("xl/sharedStrings.xml", &text),
            ("xl/worksheets/sheet1.xml", &format!("<row>{cells}</row>")),
        ]);
        assert!(matches!(
            keys_in(&bomb, &mut NoSecrets),
            Err(ReadPlaceError::Document(DocumentError::TooLarge { .. }))
        ));
    }

    fn package_limit() -> usize {
        64 << 20
    }

    #[test]
    fn other_archives_and_closed_documents_are_told() {
        for parts in [&[("classes/A.class", "x")][..], &[("content.xml", "x")], &[]] {
            assert!(matches!(
                keys_in(&zipped(parts), &mut NoSecrets),
                Err(ReadPlaceError::UnknownKind)
            ));
        }
        let stream: Vec<u8> = "EncryptedPackage"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let whole = workbook();
        assert!(matches!(
            keys_in(&whole[..whole.len() / 2], &mut NoSecrets),
            Err(ReadPlaceError::Document(DocumentError::CutOff))
        ));
        let closed = [COMPOUND_FILE, &[0; 600], &stream].concat();
        assert!(matches!(
            keys_in(&closed, &mut NoSecrets),
            Err(ReadPlaceError::Document(DocumentError::Encrypted))
        ));
        assert!(matches!(
            keys_in(COMPOUND_FILE, &mut NoSecrets),
            Err(ReadPlaceError::UnknownKind)
        ));
    }

    #[test]
    fn a_text_is_what_it_looks_like() {
        let spot = |text: &str| {
            let found = keys_in_text(text);
            assert_eq!(found.len(), 1, "{text}");
            found[0].source.spot.as_ref().map(ToString::to_string)
        };
        let row = format!("{ID},{KEY}\n");
        assert_eq!(spot(&format!("\n\n{ID}\n{KEY}\n")).as_deref(), Some("line 4"));
        assert_eq!(spot(&format!("id,key\n{row}")).as_deref(), Some("row 2"));
        assert_eq!(
            spot(&format!("[{{\"key\":\"{KEY}\"}}]")).as_deref(),
            Some("entry 1")
        );
        assert_eq!(
            spot(&format!("dn: CN=PC-7\nx: {KEY}\n")).as_deref(),
            Some("entry 1")
        );
        assert_eq!(
            spot(&format!("{{\"key\":\"{KEY}\"")).as_deref(),
            Some("line 1"),
            "JSON that broke off"
        );
        // A quotation mark that is never closed.
        assert_eq!(keys_in_text(&format!("{row}\"{row}{row}{row}")).len(), 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_mutated_file_breaks_a_reader(
            kind in 0usize..7,
            at in any::<prop::sample::Index>(),
            byte: u8,
            cut in any::<prop::sample::Index>(),
            is_cut: bool,
        ) {
            let mut bytes = match kind {
                0 => workbook(),
                1 => written(),
                2 => open_sheet(),
                3 => format!("a;b;c\n\"{ID}\";\"{KEY}\";x\n").into_bytes(),
                4 => format!("dn: CN=x,CN=PC\n b\nmsFVE-RecoveryGuid:: AAAAAAAAAAAAAAAAAAAAAA==\nx: {KEY}\n").into_bytes(),
                5 => format!("{{\"a\":[{{\"id\":\"{ID}\",\"key\":\"{KEY}\"}}]}}").into_bytes(),
                _ => format!("Identifier:\r\n{ID}\r\n{KEY}\r\n").into_bytes(),
            };
            let index = at.index(bytes.len());
            bytes[index] = byte;
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let _ = keys_in(&bytes, &mut NoSecrets);
        }

        #[test]
        fn mutated_markup_breaks_no_reader(which in 0usize..3, at in any::<prop::sample::Index>(), replacement in "[<>/&;\"=a-z0-9]{0,3}") {
            // Behind the checksums of the archive.
            let (name, mut xml) = match which {
                0 => ("word/document.xml", "<w:tbl><w:tr><w:tc><w:p><w:t>a&amp;b</w:t></w:p></w:tc></w:tr></w:tbl><w:p/>".to_owned()),
                1 => ("content.xml", r#"<table:table table:name="a"><table:table-row table:number-rows-repeated="18446744073709551615"><table:table-cell table:number-columns-repeated="99"><text:p>a</text:p></table:table-cell></table:table-row><table:table-row/></table:table>"#.to_owned()),
                _ => ("xl/worksheets/sheet1.xml", r#"<row r="18446744073709551615"><c r="XFD1" t="s"><v>7</v></c></row><row><c><v>1</v></c></row>"#.to_owned()),
            };
            let at = at.index(xml.len());
            xml.replace_range(at..at + 1, &replacement);
            let bytes = zipped(&[("mimetype", "x"), ("xl/workbook.xml", "<x/>"), (name, &xml)]);
            let bytes = if which == 2 { bytes } else { zipped(&[("mimetype", "x"), (name, &xml)]) };
            let _ = keys_in(&bytes, &mut NoSecrets);
        }
    }
}
