//! Tables in text files: cells between commas, semicolons, tabs or bars.

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};
use zeroize::Zeroizing;

use super::rows::{Rows, TooLong, Unit};

const DELIMITERS: [u8; 4] = *b",;\t|";

/// Reads a text as a table; `None` if it is none, or none with keys in cells of their own.
pub(super) fn read(text: &str) -> Result<Option<Rows>, TooLong> {
    let mut best = None;
    for delimiter in DELIMITERS {
        if !text.as_bytes().contains(&delimiter) {
            continue;
        }
        let mut keys = 0usize;
        let mut keys_in_row = 0;
        let mut has_more = false;
        for_each_cell(text, delimiter, |cell, ends_row| {
            if is_key(cell) {
                keys_in_row += 1;
            } else {
                has_more |= !cell.trim().is_empty();
            }
            if ends_row {
                // A key with nothing beside it is set off, not a row of a table.
                keys += if has_more { keys_in_row } else { 0 };
                (keys_in_row, has_more) = (0, false);
            }
            Ok(())
        })?;
        if keys > best.map_or(0, |(most, _)| most) {
            best = Some((keys, delimiter));
        }
    }
    let Some((_, delimiter)) = best else {
        return Ok(None);
    };
    let mut rows = Rows::with_room_for(text.len());
    rows.start_table(Unit::Row, None);
    let mut column = 0;
    for_each_cell(text, delimiter, |cell, ends_row| {
        rows.start_cell(column)?;
        rows.push(cell)?;
        column += 1;
        if ends_row {
            rows.end_row()?;
            column = 0;
        }
        Ok(())
    })?;
    Ok(Some(rows))
}

/// Calls `visit` with each cell, and whether it is the last of its row.
fn for_each_cell(
    text: &str,
    delimiter: u8,
    mut visit: impl FnMut(&str, bool) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    let mut reader: Reader = ReaderBuilder::new().delimiter(delimiter).build();
    // A cell is no longer than what it is read from. It is wiped, which is why the buffers are not the library's.
    let mut cell = Zeroizing::new(vec![0; text.len() + 1]);
    let mut rest = text.as_bytes();
    loop {
        let (result, read, written) = reader.read_field(rest, &mut cell);
        rest = rest.get(read..).unwrap_or_default();
        let content = || {
            cell.get(..written)
                .and_then(|cell| std::str::from_utf8(cell).ok())
                .unwrap_or_default()
        };
        match result {
            ReadFieldResult::Field { record_end } => {
                visit(content(), record_end)?;
            }
            // The next call, with nothing to read, ends the last cell; what was written of it is lost then.
            ReadFieldResult::InputEmpty if !content().is_empty() => {
                visit(content(), true)?;
                return Ok(());
            }
            ReadFieldResult::InputEmpty => {}
            ReadFieldResult::OutputFull | ReadFieldResult::End => return Ok(()),
        }
    }
}

/// Tells whether a cell holds a key, right or nearly so, and nothing else.
fn is_key(cell: &str) -> bool {
    let digits = cell.chars().filter(|sign| sign.is_numeric()).count();
    (45..=51).contains(&digits) && !cell.chars().any(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";
    const ID: &str = "64311DEA-4587-4029-924A-BA299647998E";

    #[test]
    fn tables_of_every_make_are_read() {
        for text in [
            format!("Computer,KeyID,Key\nPC-7,{ID},{KEY}\n"),
            format!("sep=;\r\nComputer;KeyID;Key\r\n\"PC-7\";\"{{{ID}}}\";\"{KEY}\"\r\n"),
            format!(
                "#TYPE Selected\n\"KeyID\",\"Computer\",\"Note\",\"Key\"\n\"{ID}\",\"PC-7\",\"two\nlines, \"\"so\"\"\",\"{KEY}\""
            ),
            format!("Key\tComputer\tKeyID\n{KEY}\tPC-7\t{ID}"),
            format!("Computer|Key|KeyID\nPC-7|{}|{ID}\n", KEY.replace('-', "")),
        ] {
            let found = read(&text).expect("room").expect("a table").into_keys();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].ids[0].to_string(), ID, "{text}");
            assert_eq!(found[0].source.device.as_deref(), Some("PC-7"), "{text}");
            let row = found[0].source.spot.as_ref().map(ToString::to_string);
            assert!(matches!(row.as_deref(), Some("row 2" | "row 3")), "{row:?}");
        }
    }

    #[test]
    fn what_is_no_table_is_none() {
        for text in [
            "",
            "\"",
            "a, b; c\n",
            &format!("Dear Ann, your key is {KEY}; keep it, {ID}\n"),
            &format!("\t{KEY}\n,,{KEY},\n"),
            &format!("Identifier:\n\n\t{ID}\n\nRecovery Key:\n\n\t{KEY}\n"),
        ] {
            assert!(read(text).expect("room").is_none(), "{text}");
        }
    }
}
