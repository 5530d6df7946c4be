//! Excel's workbooks: XLSX.
//!
//! The parts are read here and not by a spreadsheet library, since those build a sheet in memory of its own: nothing
//! of it could be wiped, and a small file may ask for any amount of it.
//!
//! Source: ECMA-376, part 1, sections 18.3 and 18.4.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::DocumentError;
use super::document::{OFFICE_OPEN, PartError, read_part};
use super::markup::{self, Piece};
use super::package::Package;
use super::rows::{Rows, Unit};

/// The most different texts in the cells of a workbook.
const MAX_TEXTS: usize = 1 << 20;

/// Reads all sheets, and the notes and shapes on them.
pub(super) fn read(package: &mut Package<'_>, rows: &mut Rows) -> Result<(), DocumentError> {
    let texts = Texts::read(package)?;
    let names = sheet_names(package)?;
    for part in package.names("xl/worksheets/", ".xml") {
        let title = names.get(&part).map(|name| format!("sheet `{name}`"));
        rows.start_table(Unit::Row, title);
        if let Some(xml) = package.text(&part)? {
            read_sheet(&xml, &texts, rows).map_err(|error| error.of(&part))?;
            rows.end_row_if_any()?;
        }
    }
    for folder in ["xl/comments", "xl/threadedComments/", "xl/drawings/"] {
        for part in package.names(folder, ".xml") {
            read_part(package, &part, &OFFICE_OPEN, rows)?;
        }
    }
    Ok(())
}

/// The texts of all cells, which refer to them by number.
struct Texts {
    all: Zeroizing<String>,
    ends: Vec<usize>,
}

impl Texts {
    fn read(package: &mut Package<'_>) -> Result<Self, DocumentError> {
        const PART: &str = "xl/sharedStrings.xml";
        let mut texts = Self {
            all: Zeroizing::new(String::new()),
            ends: Vec::new(),
        };
        let Some(xml) = package.text(PART)? else {
            return Ok(texts);
        };
        texts.all = Zeroizing::new(String::with_capacity(xml.len()));
        let mut text = CellText::default();
        markup::visit(&xml, |piece| {
            match piece {
                Piece::End("si") if texts.ends.len() >= MAX_TEXTS => return Err(PartError::TooLong),
                Piece::End("si") => texts.ends.push(texts.all.len()),
                piece => text.piece(piece, |part| {
                    texts.all.push_str(part);
                    Ok(())
                })?,
            }
            Ok(())
        })
        .map_err(|error| error.of(PART))?;
        Ok(texts)
    }

    fn get(&self, number: usize) -> Option<&str> {
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.all.get(start..*self.ends.get(number)?)
    }
}

/// Passes on the text of a cell: that in `t`, without the pronunciation in `rPh`.
#[derive(Default)]
struct CellText {
    in_texts: usize,
    in_pronunciation: usize,
}

impl CellText {
    fn piece(
        &mut self,
        piece: Piece<'_>,
        mut pass_on: impl FnMut(&str) -> Result<(), PartError>,
    ) -> Result<(), PartError> {
        match piece {
            Piece::Start(element) if element.name == "t" => self.in_texts += 1,
            Piece::End("t") => self.in_texts = self.in_texts.saturating_sub(1),
            Piece::Start(element) if element.name == "rPh" => self.in_pronunciation += 1,
            Piece::End("rPh") => self.in_pronunciation = self.in_pronunciation.saturating_sub(1),
            Piece::Text(text) if self.in_texts > 0 && self.in_pronunciation == 0 => pass_on(text)?,
            _ => {}
        }
        Ok(())
    }
}

/// Returns what the sheets are called, by the names of their parts.
fn sheet_names(package: &mut Package<'_>) -> Result<HashMap<String, String>, DocumentError> {
    const WORKBOOK: &str = "xl/workbook.xml";
    const RELATIONS: &str = "xl/_rels/workbook.xml.rels";
    let mut parts = HashMap::new();
    if let Some(xml) = package.text(RELATIONS)? {
        markup::visit(&xml, |piece| {
            if let Piece::Start(element) = piece
                && element.name == "Relationship"
                && let (Some(id), Some(target)) = (element.attribute("Id"), element.attribute("Target"))
            {
                let part = match target.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None => format!("xl/{target}"),
                };
                parts.insert(id, part);
            }
            Ok::<_, PartError>(())
        })
        .map_err(|error| error.of(RELATIONS))?;
    }
    let mut names = HashMap::new();
    if let Some(xml) = package.text(WORKBOOK)? {
        markup::visit(&xml, |piece| {
            if let Piece::Start(element) = piece
                && element.name == "sheet"
                && let (Some(id), Some(name)) = (element.attribute("id"), element.attribute("name"))
                && let Some(part) = parts.get(&id)
            {
                names.insert(part.clone(), name);
            }
            Ok::<_, PartError>(())
        })
        .map_err(|error| error.of(WORKBOOK))?;
    }
    Ok(names)
}

fn read_sheet(xml: &str, texts: &Texts, rows: &mut Rows) -> Result<(), PartError> {
    let mut row = 0usize;
    let mut column = 0usize;
    let mut refers = false;
    let mut in_value = false;
    // A reference comes in pieces if it holds comments.
    let mut reference = String::new();
    let mut inline = CellText::default();
    markup::visit(xml, |piece| {
        match piece {
            Piece::Start(element) if element.name == "row" => {
                let number = element.attribute("r").and_then(|number| number.parse().ok());
                row = number.unwrap_or(row.saturating_add(1));
                column = 0;
                rows.go_to_row(row);
            }
            Piece::End("row") => rows.end_row()?,
            Piece::Start(element) if element.name == "c" => {
                column = element
                    .attribute("r")
                    .as_deref()
                    .and_then(column_of)
                    .unwrap_or(column);
                refers = element.attribute("t").as_deref() == Some("s");
                reference.clear();
                rows.start_cell(column)?;
                column = column.saturating_add(1);
            }
            Piece::Start(element) if element.name == "v" => in_value = true,
            Piece::End("v") => {
                in_value = false;
                if refers && let Some(text) = reference.parse().ok().and_then(|number| texts.get(number)) {
                    rows.push(text)?;
                }
            }
            Piece::Text(text) if in_value && refers => {
                if reference.len() < 16 {
                    reference.push_str(text);
                }
            }
            Piece::Text(text) if in_value => rows.push(text)?,
            piece => inline.piece(piece, |text| Ok(rows.push(text)?))?,
        }
        Ok(())
    })
}

/// Reads the column of a cell's name: `B` of `B7` is 1.
fn column_of(name: &str) -> Option<usize> {
    let letters = name.bytes().take_while(u8::is_ascii_alphabetic).take(4);
    let number = letters.fold(0, |number, letter| {
        number * 26 + usize::from(letter.to_ascii_uppercase() - b'A') + 1
    });
    number.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_letters() {
        for (name, column) in [
            ("A1", Some(0)),
            ("Z9", Some(25)),
            ("AA10", Some(26)),
            ("xfd1", Some(16383)),
        ] {
            assert_eq!(column_of(name), column);
        }
        assert_eq!(column_of("7"), None);
        assert_eq!(column_of(""), None);
    }
}
