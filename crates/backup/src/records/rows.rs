//! Rows of cells, of whatever kind of file, and the keys in them.
//!
//! A file becomes a text with one row a line, which is looked through as any text is: a table need not be understood
//! for its keys to be found. What the columns are called adds whose they are.

use keyhaven_fve::Guid;
use zeroize::Zeroizing;

use super::columns::Column;
use super::directory;
use crate::found::{FoundKey, Source, Spot};
use crate::text;

/// What the lines of a part of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Line,
    Row,
    Entry,
}

/// The cells are more than is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// A file's rows so far.
pub(super) struct Rows {
    text: Zeroizing<String>,
    lines: usize,
    row_start: usize,
    cells: Vec<Cell>,
    tables: Vec<String>,
    sections: Vec<Section>,
    /// What each column of the table at hand is, once a row has named them.
    header: Option<Vec<Column>>,
    rows_without_header: usize,
    /// By the number of their line.
    notes: Vec<(usize, Note)>,
}

struct Cell {
    start: usize,
    column: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Index(usize),
    Named(Column),
}

struct Section {
    first_line: usize,
    first_number: usize,
    unit: Unit,
    table: Option<usize>,
}

impl Section {
    /// Returns the number of a row by its line. A file may number its rows as it likes, up to the largest number.
    fn number_of(&self, line: usize) -> usize {
        self.first_number
            .saturating_add(line.saturating_sub(self.first_line))
    }
}

/// What a row says of the key in it.
#[derive(Default)]
struct Note {
    source: Source,
    key_ids: Vec<Guid>,
    other_ids: Vec<Guid>,
    all_ids: Vec<Guid>,
    /// What stands in other rows is not about this one.
    is_by_itself: bool,
}

/// Rows with fewer digits hold no key. One that is nearly a key may lack a block.
const DIGITS_OF_A_KEY: usize = 40;
/// Names of columns hold no identifiers.
const DIGITS_IN_A_HEADER: usize = 8;
/// Titles and empty rows may stand above the names of columns, but not many.
const ROWS_ABOVE_HEADER: usize = 16;
/// More columns have no names that matter.
const MAX_COLUMNS: usize = 256;

impl Rows {
    /// Makes room for about `len_bytes` of text.
    pub(super) fn with_room_for(len_bytes: usize) -> Self {
        Self {
            text: Zeroizing::new(String::with_capacity(len_bytes.min(text::MAX_LEN_BYTES))),
            lines: 0,
            row_start: 0,
            cells: Vec::new(),
            tables: Vec::new(),
            sections: Vec::new(),
            header: None,
            rows_without_header: 0,
            notes: Vec::new(),
        }
    }

    /// Begins another table, whose rows have names of columns of their own.
    pub(super) fn start_table(&mut self, unit: Unit, name: Option<String>) {
        self.header = None;
        self.rows_without_header = 0;
        let table = name.map(|name| {
            self.tables.push(name);
            self.tables.len() - 1
        });
        self.section(unit, table, 1);
    }

    /// Says which number the next row of the table has, where it is not the next.
    pub(super) fn go_to_row(&mut self, number: usize) {
        if let Some(last) = self.sections.last()
            && last.number_of(self.lines) != number
        {
            let (unit, table) = (last.unit, last.table);
            self.section(unit, table, number);
        }
    }

    fn section(&mut self, unit: Unit, table: Option<usize>, first_number: usize) {
        let section = Section {
            first_line: self.lines,
            first_number,
            unit,
            table,
        };
        match self.sections.last_mut() {
            Some(last) if last.first_line == self.lines => *last = section,
            _ => self.sections.push(section),
        }
    }

    /// Begins a cell in a column of the table.
    pub(super) fn start_cell(&mut self, column: usize) -> Result<(), TooLong> {
        self.start(Place::Index(column))
    }

    /// Adds a cell of which it is known what it says.
    pub(super) fn named_cell(&mut self, column: Column, content: &str) -> Result<(), TooLong> {
        self.start(Place::Named(column))?;
        self.push(content)
    }

    fn start(&mut self, column: Place) -> Result<(), TooLong> {
        if self.text.len() > self.row_start {
            self.append("\t")?;
        }
        self.cells.push(Cell {
            start: self.text.len(),
            column,
        });
        Ok(())
    }

    /// Adds to the cell that was begun, or to the row.
    pub(super) fn push(&mut self, content: &str) -> Result<(), TooLong> {
        // A line is a row, whatever stands in a cell.
        let mut parts = content.split(['\n', '\r', '\t']);
        if let Some(first) = parts.next() {
            self.append(first)?;
        }
        for part in parts {
            self.append(" ")?;
            self.append(part)?;
        }
        Ok(())
    }

    fn append(&mut self, content: &str) -> Result<(), TooLong> {
        let needed = self.text.len() + content.len();
        if needed > text::MAX_LEN_BYTES {
            return Err(TooLong);
        }
        if needed > self.text.capacity() {
            // The buffer that was outgrown is wiped, which a string that grows by itself is not.
            let mut larger = Zeroizing::new(String::with_capacity((needed * 2).min(text::MAX_LEN_BYTES)));
            larger.push_str(&self.text);
            self.text = larger;
        }
        self.text.push_str(content);
        Ok(())
    }

    /// Ends the row.
    pub(super) fn end_row(&mut self) -> Result<(), TooLong> {
        let row = self.text.get(self.row_start..).unwrap_or_default();
        let digits = row.bytes().filter(u8::is_ascii_digit).count();
        if digits >= DIGITS_OF_A_KEY {
            let note = self.note();
            self.notes.push((self.lines, note));
        } else if self.header.is_none()
            && self.rows_without_header < ROWS_ABOVE_HEADER
            && digits <= DIGITS_IN_A_HEADER
        {
            self.header = self.names();
            self.rows_without_header += 1;
        }
        self.cells.clear();
        self.append("\n")?;
        self.row_start = self.text.len();
        self.lines += 1;
        Ok(())
    }

    /// Ends the row if there is something in it.
    pub(super) fn end_row_if_any(&mut self) -> Result<(), TooLong> {
        if self.text.len() > self.row_start {
            self.end_row()
        } else {
            self.cells.clear();
            Ok(())
        }
    }

    fn contents(&self) -> impl Iterator<Item = (Place, &str)> {
        let ends = self.cells.iter().skip(1).map(|cell| cell.start.saturating_sub(1));
        let ends = ends.chain(std::iter::once(self.text.len()));
        self.cells.iter().zip(ends).map(|(cell, end)| {
            let content = self.text.get(cell.start..end).unwrap_or_default();
            (cell.column, content.trim())
        })
    }

    /// Reads the row as names of columns; `None` if it has too few that are known.
    fn names(&self) -> Option<Vec<Column>> {
        let mut columns = Vec::new();
        for (place, name) in self.contents() {
            let Place::Index(index) = place else { return None };
            if index >= MAX_COLUMNS {
                break;
            }
            if columns.len() <= index {
                columns.resize(index + 1, Column::Other);
            }
            if let Some(column) = columns.get_mut(index) {
                *column = Column::named(name);
            }
        }
        // A form may have its names on the left: `Computer` beside `PC-7`.
        let known = columns.iter().filter(|column| **column != Column::Other).count();
        let is_header = known > 1 || columns.len() > 1 && columns.contains(&Column::Key);
        is_header.then_some(columns)
    }

    fn column_of(&self, place: Place) -> Column {
        match place {
            Place::Named(column) => column,
            Place::Index(index) => self
                .header
                .as_ref()
                .and_then(|header| header.get(index).copied())
                .unwrap_or(Column::Other),
        }
    }

    /// Collects what the row says besides the key.
    fn note(&self) -> Note {
        let row = self.text.get(self.row_start..).unwrap_or_default();
        let mut note = Note {
            all_ids: text::ids_in(row).collect(),
            is_by_itself: self.header.is_some()
                || self
                    .sections
                    .last()
                    .is_some_and(|section| section.unit == Unit::Entry),
            ..Note::default()
        };
        let mut name = None;
        for (place, content) in self.contents() {
            let column = self.column_of(place);
            if let Some(object) = directory::object(content) {
                note.key_ids.push(object.id);
                note.source.date = note.source.date.or(shown(object.date));
                if column == Column::DistinguishedName {
                    note.source.device = note.source.device.or_else(|| shown(&directory::parent(content)?));
                }
                continue;
            }
            let ids = || {
                let mut ids: Vec<Guid> = text::ids_in(content).collect();
                ids.extend(directory::binary_id(content));
                ids
            };
            match column {
                Column::Device => note.source.device = shown(content).or(note.source.device),
                Column::Name => name = name.or(shown(content)),
                Column::DistinguishedName => {
                    let parent = || shown(&directory::parent(content)?);
                    note.source.device = note.source.device.or_else(parent);
                }
                Column::KeyId => note.key_ids.extend(ids()),
                Column::VolumeId => note.source.volume_id = ids().first().copied(),
                Column::OtherId => note.other_ids.extend(ids()),
                Column::Date => {
                    let day = || serial_day(content).or_else(|| shown(content));
                    note.source.date = note.source.date.or_else(day);
                }
                Column::Key | Column::KeyPackage | Column::Other => {}
            }
        }
        note.source.device = note.source.device.or(name);
        note
    }

    /// Returns the keys in all rows, with what is said of them.
    pub(super) fn into_keys(mut self) -> Vec<FoundKey> {
        if self.text.len() > self.row_start {
            // At worst the last row is known by its digits only.
            let _ = self.end_row();
        }
        let mut found = text::scan(&self.text);
        for key in &mut found {
            let Some(Spot::Line(line)) = key.source.spot else {
                continue;
            };
            let line = line.saturating_sub(1);
            let spot = self.spot(line);
            let note = self
                .notes
                .binary_search_by_key(&line, |(of, _)| *of)
                .ok()
                .and_then(|at| self.notes.get(at));
            if let Some((_, note)) = note {
                if note.is_by_itself {
                    key.ids.retain(|id| note.all_ids.contains(id));
                }
                key.source = note.source.clone();
                key.ids = note.ids(&key.ids);
            }
            key.source.spot = spot;
        }
        found
    }

    fn spot(&self, line: usize) -> Option<Spot> {
        let at = self
            .sections
            .partition_point(|section| section.first_line <= line)
            .checked_sub(1)?;
        let section = self.sections.get(at)?;
        let number = section.number_of(line);
        Some(match section.unit {
            Unit::Line => Spot::Line(number),
            Unit::Entry => Spot::Entry(number),
            Unit::Row => Spot::Row {
                table: section
                    .table
                    .and_then(|table| Some(self.tables.get(table)?.clone())),
                row: number,
            },
        })
    }
}

impl Note {
    /// Puts those identifiers first that are the key's by name. Those of devices and users stay only where no better are.
    fn ids(&self, around: &[Guid]) -> Vec<Guid> {
        let mut ids = Vec::new();
        let mut add = |id: Guid| {
            if !ids.contains(&id) {
                ids.push(id);
            }
        };
        self.key_ids.iter().copied().for_each(&mut add);
        let of_others = |id: &Guid| self.other_ids.contains(id) || Some(*id) == self.source.volume_id;
        around
            .iter()
            .copied()
            .filter(|id| !of_others(id))
            .for_each(&mut add);
        self.source.volume_id.into_iter().for_each(&mut add);
        if self.key_ids.is_empty() {
            around.iter().copied().for_each(&mut add);
        }
        ids
    }
}

/// Reads a day as spreadsheets keep it: as the number of days since the end of 1899, with the hours as a fraction.
fn serial_day(content: &str) -> Option<String> {
    const FIRST: jiff::civil::Date = jiff::civil::date(1899, 12, 30);
    let (days, _) = content.split_once('.').unwrap_or((content, ""));
    let days: i32 = days.parse().ok()?;
    // From 1954 to 2118: other numbers are no days, and a year is none.
    let days = (20_000..80_000).contains(&days).then_some(days)?;
    let day = FIRST.checked_add(jiff::Span::new().days(days)).ok()?;
    Some(day.to_string())
}

/// Returns what may be shown of a cell: where columns are mixed up, it may be a key.
fn shown(content: &str) -> Option<String> {
    const LONGEST: usize = 120;
    const MOST_DIGITS: usize = 24;
    let content = content.trim();
    let digits = content.chars().filter(|sign| sign.is_numeric()).count();
    (!content.is_empty() && digits <= MOST_DIGITS).then(|| content.chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";
    const ID: &str = "64311DEA-4587-4029-924A-BA299647998E";
    const OTHER: &str = "11111111-2222-3333-4444-555555555555";

    fn rows(lines: &[&[&str]]) -> Vec<FoundKey> {
        let mut rows = Rows::with_room_for(0);
        rows.start_table(Unit::Row, Some("sheet `PCs`".to_owned()));
        for cells in lines {
            for (index, cell) in cells.iter().enumerate() {
                rows.start_cell(index).expect("room");
                rows.push(cell).expect("room");
            }
            rows.end_row().expect("room");
        }
        rows.into_keys()
    }

    #[test]
    fn columns_say_whose_a_key_is_in_any_order() {
        let found = rows(&[
            &["Our keys, as of today"],
            &[],
            &[
                "Device ID",
                "Recovery Key",
                "Created",
                "Computer",
                "Recovery Key ID",
            ],
            &[OTHER, KEY, "2026-03-01", "PC-7\n(Ann)", ID],
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ids[0].to_string(), ID);
        assert_eq!(found[0].ids.len(), 1, "the device's is not the key's");
        assert_eq!(
            found[0].source,
            Source {
                spot: Some(Spot::Row {
                    table: Some("sheet `PCs`".to_owned()),
                    row: 4
                }),
                device: Some("PC-7 (Ann)".to_owned()),
                volume_id: None,
                date: Some("2026-03-01".to_owned()),
            }
        );
    }

    #[test]
    fn a_table_without_names_is_read_as_text_is() {
        let found = rows(&[&["PC-7", KEY, ID], &["PC-8", OTHER, KEY]]);
        let ids: Vec<String> = found.iter().map(|key| key.ids[0].to_string()).collect();
        assert_eq!(ids, [ID, OTHER]);
        assert_eq!(found[0].source.device, None);
    }

    #[test]
    fn days_of_spreadsheets_are_dates() {
        assert_eq!(serial_day("46024").as_deref(), Some("2026-01-02"));
        assert_eq!(serial_day("46024.75").as_deref(), Some("2026-01-02"));
        for text in ["2026", "2026-01-02", "", "99999999999", "-46024"] {
            assert_eq!(serial_day(text), None, "{text}");
        }
    }

    #[test]
    fn a_form_is_no_table() {
        let found = rows(&[
            &["Computer", "PC-7"],
            &["Recovery key ID", ID],
            &["Recovery key", KEY],
        ]);
        assert_eq!(found[0].ids[0].to_string(), ID);
        assert_eq!(found[0].source.device, None);

        let found = rows(&[&["Computer", "Key"], &["PC-7", ID], &["PC-8", KEY]]);
        assert!(found[0].ids.is_empty(), "another row's");
    }

    #[test]
    fn a_key_in_a_wrong_column_is_not_taken_for_a_name() {
        let found = rows(&[&["Computer", "Recovery Key ID"], &[KEY, ID]]);
        assert_eq!(found[0].source.device, None);
        assert_eq!(shown(&KEY.replace('-', "")), None);
        assert_eq!(shown(&KEY[..40]), None);
        assert_eq!(shown(" DESKTOP-4587123 "), Some("DESKTOP-4587123".to_owned()));
    }

    #[test]
    fn rows_keep_their_numbers_over_gaps_and_grow_no_further_than_a_text() {
        let mut rows = Rows::with_room_for(0);
        rows.start_table(Unit::Row, None);
        rows.go_to_row(700_000);
        rows.start_cell(2).expect("room");
        rows.push(KEY).expect("room");
        rows.end_row().expect("room");
        rows.start_table(Unit::Line, None);
        rows.push(KEY).expect("room");
        let spots: Vec<String> = rows
            .into_keys()
            .into_iter()
            .filter_map(|key| Some(key.source.spot?.to_string()))
            .collect();
        assert_eq!(spots, ["row 700000", "line 1"]);

        let mut rows = Rows::with_room_for(usize::MAX);
        let part = "x".repeat(text::MAX_LEN_BYTES / 2);
        assert_eq!(rows.push(&part), Ok(()));
        assert_eq!(rows.push(&part), Ok(()));
        assert_eq!(rows.push("x"), Err(TooLong));
    }
}
