//! Written documents, and sheets of those office programs that write them alike: DOCX, ODT, ODS.

use super::DocumentError;
use super::markup::{self, Piece};
use super::package::Package;
use super::rows::{Rows, Unit};

/// What the elements of a format are called.
pub(super) struct Vocabulary {
    paragraph: &'static [&'static str],
    /// The elements that hold text; `None` where it stands in paragraphs directly.
    text: Option<&'static str>,
    table: &'static str,
    row: &'static str,
    cell: &'static str,
    /// Elements that stand for signs.
    signs: &'static [(&'static str, &'static str)],
    line_break: &'static [&'static str],
    /// What is inside is not looked at: it is said elsewhere as well, or was deleted.
    passed_over: &'static [&'static str],
}

/// Word's, and that of notes and shapes in Excel's files.
pub(super) const OFFICE_OPEN: Vocabulary = Vocabulary {
    paragraph: &["p", "comment"],
    text: Some("t"),
    table: "tbl",
    row: "tr",
    cell: "tc",
    signs: &[("tab", "\t"), ("noBreakHyphen", "-"), ("softHyphen", "\u{ad}")],
    line_break: &["br", "cr"],
    passed_over: &["Fallback", "pPr", "rPr", "del"],
};

/// LibreOffice's.
pub(super) const OPEN_DOCUMENT: Vocabulary = Vocabulary {
    paragraph: &["p", "h"],
    text: None,
    table: "table",
    row: "table-row",
    cell: "table-cell",
    signs: &[("tab", "\t"), ("s", " ")],
    line_break: &["line-break"],
    passed_over: &["tracked-changes"],
};

/// Reads one part of a document into rows: paragraphs are lines, tables are tables.
pub(super) fn read_part(
    package: &mut Package<'_>,
    name: &str,
    words: &Vocabulary,
    rows: &mut Rows,
) -> Result<(), DocumentError> {
    let Some(xml) = package.text(name)? else {
        return Ok(());
    };
    let mut walk = Walk {
        words,
        rows,
        tables: 0,
        in_tables: 0,
        column: 0,
        row: 0,
        in_texts: 0,
        passed_over: 0,
        lines: 1,
    };
    walk.rows.start_table(Unit::Line, None);
    markup::visit(&xml, |piece| walk.piece(piece)).map_err(|error: PartError| error.of(name))?;
    walk.rows.end_row_if_any()?;
    Ok(())
}

/// What went wrong in a part, before it is said in which.
pub(super) enum PartError {
    Malformed,
    TooLong,
}

impl PartError {
    pub(super) fn of(self, part: &str) -> DocumentError {
        match self {
            Self::Malformed => DocumentError::Damaged {
                part: part.to_owned(),
            },
            Self::TooLong => super::rows::TooLong.into(),
        }
    }
}

impl From<markup::Malformed> for PartError {
    fn from(_: markup::Malformed) -> Self {
        Self::Malformed
    }
}

impl From<super::rows::TooLong> for PartError {
    fn from(_: super::rows::TooLong) -> Self {
        Self::TooLong
    }
}

struct Walk<'a> {
    words: &'a Vocabulary,
    rows: &'a mut Rows,
    tables: usize,
    in_tables: usize,
    column: usize,
    row: usize,
    in_texts: usize,
    passed_over: usize,
    lines: usize,
}

impl Walk<'_> {
    fn piece(&mut self, piece: Piece<'_>) -> Result<(), PartError> {
        match piece {
            Piece::Start(element) if self.words.passed_over.contains(&element.name) => self.passed_over += 1,
            Piece::End(name) if self.words.passed_over.contains(&name) => {
                self.passed_over = self.passed_over.saturating_sub(1);
            }
            _ if self.passed_over > 0 => {}
            Piece::Start(element) => self.start(&element)?,
            Piece::End(name) => self.end(name)?,
            Piece::Text(text) if self.in_texts > 0 => self.rows.push(text)?,
            Piece::Text(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, element: &markup::Element<'_>) -> Result<(), PartError> {
        let name = element.name;
        if self.holds_text(name) {
            self.in_texts += 1;
        } else if name == self.words.table {
            self.tables += 1;
            self.in_tables += 1;
            self.row = 0;
            self.rows.end_row_if_any()?;
            let title = match element.attribute("name") {
                Some(name) => format!("table `{name}`"),
                None => format!("table {}", self.tables),
            };
            self.rows.start_table(Unit::Row, Some(title));
        } else if name == self.words.row {
            self.row = self.row.saturating_add(1);
            self.column = 0;
            self.rows.go_to_row(self.row);
            let more = element
                .attribute("number-rows-repeated")
                .and_then(|number| number.parse().ok());
            self.row = self.row.saturating_add(more.unwrap_or(1usize).saturating_sub(1));
        } else if name == self.words.cell {
            self.rows.start_cell(self.column)?;
            let more = element
                .attribute("number-columns-repeated")
                .and_then(|number| number.parse().ok());
            self.column = self.column.saturating_add(more.unwrap_or(1));
        } else if self.words.line_break.contains(&name) {
            self.end_line()?;
        } else if let Some((_, sign)) = self.words.signs.iter().find(|(of, _)| *of == name) {
            self.rows.push(sign)?;
        }
        Ok(())
    }

    fn end(&mut self, name: &str) -> Result<(), PartError> {
        if self.holds_text(name) {
            self.in_texts = self.in_texts.saturating_sub(1);
        }
        if self.words.paragraph.contains(&name) {
            self.end_line()?;
        } else if name == self.words.row {
            self.rows.end_row_if_any()?;
        } else if name == self.words.table {
            self.in_tables = self.in_tables.saturating_sub(1);
            if self.in_tables == 0 {
                self.rows.end_row_if_any()?;
                self.rows.start_table(Unit::Line, None);
                self.rows.go_to_row(self.lines);
            }
        }
        Ok(())
    }

    fn holds_text(&self, name: &str) -> bool {
        match self.words.text {
            Some(text) => name == text,
            None => self.words.paragraph.contains(&name),
        }
    }

    fn end_line(&mut self) -> Result<(), PartError> {
        if self.in_tables > 0 {
            self.rows.push(" ")?;
        } else {
            self.lines += 1;
            self.rows.end_row()?;
        }
        Ok(())
    }
}
