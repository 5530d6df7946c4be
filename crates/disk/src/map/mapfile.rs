//! The file that GNU ddrescue keeps a map in.
//!
//! `ddrescue` can go on with a map that is written here, and what it writes is read here, also when it was written
//! years ago, without the number of the pass, or by hand. Viewers of maps show both.
//!
//! Source: the GNU ddrescue manual, chapter "Mapfile structure"; files that ddrescue 1.27 and 1.21 wrote.

use std::io::{self, Write};

use super::{MAX_RUNS, Map, Status};

/// More than a file with [`MAX_RUNS`] lines has, in bytes.
pub const MAX_LEN_BYTES: usize = 64 << 20;

/// What a file says: the map, where the copy was, and notes of whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapfile {
    /// What is known of each part. Its length is the end of the last part in the file.
    pub map: Map,
    /// Where the copy was.
    pub place: Place,
    /// Comments, without the `#`; those that name the columns are not kept.
    pub notes: Vec<String>,
}

/// Where a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The byte from which it reads next.
    pub position: u64,
    /// What it is doing.
    pub phase: Phase,
    /// How many times it has done that, with this one.
    pub pass: u32,
}

/// What a copy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It reads what nobody has tried yet, in large pieces.
    Copying,
    /// It looks for the edges of the bad parts.
    Trimming,
    /// It reads between the edges, sector by sector.
    Scraping,
    /// It tries bad sectors again.
    Retrying,
    /// Nothing any more.
    Finished,
}

/// Why a file is no map.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapfileError {
    /// It has more lines than a map has runs.
    #[error("the map has more than {MAX_RUNS} parts")]
    TooManyParts,
    /// It has no line that says where the copy was.
    #[error("this is no map of GNU ddrescue: the line that says where the copy was is missing")]
    NoPlace,
    /// A line is not what it should be.
    #[error("line {line} of the map is not {expected}")]
    Line {
        /// From 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// A part begins before the one above it ends.
    #[error("the part in line {line} of the map overlaps the one before it, or leaves what can be counted")]
    Overlap {
        /// From 1.
        line: usize,
    },
}

impl Mapfile {
    /// Reads the text of a file. What it leaves out is untried.
    ///
    /// # Errors
    /// [`MapfileError`].
    pub fn read(text: &str) -> Result<Self, MapfileError> {
        let mut notes = Vec::new();
        let mut place = None;
        let mut parts: Vec<(u64, u64, Status)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if let Some(note) = line.strip_prefix('#') {
                let note = note.trim();
                let is_heading = note.starts_with("current_pos") || note.starts_with("pos ");
                if !is_heading && notes.len() < MAX_NOTES {
                    notes.push(note.to_owned());
                }
                continue;
            }
            let fields: Vec<&str> = line.split_whitespace().take(4).collect();
            if fields.is_empty() {
                continue;
            }
            if place.is_none() {
                place = Some(read_place(&fields).ok_or(MapfileError::Line {
                    line: number,
                    expected: "a position, a status and a pass",
                })?);
                continue;
            }
            let (start, len, status) = read_part(&fields).ok_or(MapfileError::Line {
                line: number,
                expected: "a position, a size and a status",
            })?;
            let end = start.checked_add(len);
            let begins_late_enough = parts.last().is_none_or(|(_, end, _)| start >= *end);
            let Some(end) = end.filter(|_| begins_late_enough) else {
                return Err(MapfileError::Overlap { line: number });
            };
            if parts.len() >= MAX_RUNS {
                return Err(MapfileError::TooManyParts);
            }
            parts.push((start, end, status));
        }
        let place = place.ok_or(MapfileError::NoPlace)?;
        let mut map = Map::new(parts.last().map_or(0, |(_, end, _)| *end));
        for (start, end, status) in parts {
            map.set(start, end, status);
        }
        Ok(Self { map, place, notes })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for note in &self.notes {
            writeln!(out, "# {note}")?;
        }
        writeln!(out, "# current_pos  current_status  current_pass")?;
        let Place {
            position,
            phase,
            pass,
        } = self.place;
        writeln!(out, "0x{position:08X}     {}               {pass}", phase.sign())?;
        writeln!(out, "#      pos        size  status")?;
        for run in self.map.runs() {
            writeln!(
                out,
                "0x{:08X}  0x{:08X}  {}",
                run.start,
                run.len_bytes(),
                run.status.sign()
            )?;
        }
        Ok(())
    }
}

/// More notes than anybody leaves.
const MAX_NOTES: usize = 64;

fn read_place(fields: &[&str]) -> Option<Place> {
    let (position, phase, pass) = match fields {
        [position, phase] => (position, phase, 1),
        [position, phase, pass] => (position, phase, u32::try_from(number(pass)?).ok()?),
        _ => return None,
    };
    Some(Place {
        position: number(position)?,
        phase: Phase::of(phase)?,
        pass,
    })
}

fn read_part(fields: &[&str]) -> Option<(u64, u64, Status)> {
    let [start, len, status] = fields else {
        return None;
    };
    let status = Status::ALL
        .into_iter()
        .find(|own| status.chars().eq([own.sign()]))?;
    Some((number(start)?, number(len)?, status))
}

/// Reads a number as C does: hexadecimal after 0x, octal after 0, else decimal.
fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(digits, 16).ok()
    } else if let Some(digits) = text.strip_prefix('0').filter(|digits| !digits.is_empty()) {
        u64::from_str_radix(digits, 8).ok()
    } else {
        text.parse().ok()
    }
}

impl Status {
    fn sign(self) -> char {
        match self {
            Self::Untried => '?',
            Self::Untrimmed => '*',
            Self::Unscraped => '/',
            Self::Bad => '-',
            Self::Finished => '+',
        }
    }
}

impl Phase {
    fn sign(self) -> char {
        match self {
            Self::Copying => '?',
            Self::Trimming => '*',
            Self::Scraping => '/',
            Self::Retrying => '-',
            Self::Finished => '+',
        }
    }

    fn of(sign: &str) -> Option<Self> {
        Some(match sign {
            // Filling and generating are things that ddrescue does with whole maps.
            "?" | "F" | "G" => Self::Copying,
            "*" => Self::Trimming,
            "/" => Self::Scraping,
            "-" => Self::Retrying,
            "+" => Self::Finished,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(file: &Mapfile) -> String {
        let mut out = Vec::new();
        file.write(&mut out).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_ddrescue_wrote_is_read() {
        // ddrescue 1.27 on a disk with two bad places, stopped while trimming.
        let text = "# Mapfile. Created by GNU ddrescue version 1.27\n\
                    # Command line: ddrescue /dev/sdb disk.img disk.map\n\
                    # Start time:   2024-05-01 10:00:00\n\
                    # Copying non-tried blocks... Pass 1 (forwards)\n\
                    # current_pos  current_status  current_pass\n\
                    0x00010000     *               1\n\
                    #      pos        size  status\n\
                    0x00000000  0x00010000  +\n\
                    0x00010000  0x00010000  *\n\
                    0x00020000  0x000E0000  ?\n";
        let file = Mapfile::read(text).expect("a map");
        assert_eq!(file.place.phase, Phase::Trimming);
        assert_eq!(file.map.len_bytes(), 0x10_0000);
        assert_eq!(file.map.bytes(Status::Untrimmed), 0x1_0000);
        assert_eq!(file.map.bytes(Status::Finished), 0x1_0000);
        assert_eq!(file.notes.len(), 4);
        assert_eq!(written(&file), text);
    }

    #[test]
    fn older_files_and_gaps_are_understood() {
        let file = Mapfile::read("0 ?\n512 010 -\n1024 0x200 +\n").expect("a map");
        let runs: Vec<_> = file
            .map
            .runs()
            .map(|run| (run.start, run.end, run.status))
            .collect();
        assert_eq!(
            runs,
            [
                (0, 512, Status::Untried),
                (512, 520, Status::Bad),
                (520, 1024, Status::Untried),
                (1024, 1536, Status::Finished),
            ]
        );
        assert_eq!(file.place.pass, 1);
    }

    #[test]
    fn what_is_no_map_is_told_with_its_line() {
        let line = |line, expected| MapfileError::Line { line, expected };
        for (text, error) in [
            ("", MapfileError::NoPlace),
            ("# only talk\n", MapfileError::NoPlace),
            ("hello world\n", line(1, "a position, a status and a pass")),
            ("0 + 1\n0 512 x\n", line(2, "a position, a size and a status")),
            ("0 + 1\n0 512\n", line(2, "a position, a size and a status")),
            ("0 + 1\n0 512 + 7\n", line(2, "a position, a size and a status")),
            ("0 + 1\n0 512 +\n256 512 +\n", MapfileError::Overlap { line: 3 }),
            (
                "0 + 1\n0xFFFFFFFFFFFFFFFF 2 +\n",
                MapfileError::Overlap { line: 2 },
            ),
        ] {
            assert_eq!(Mapfile::read(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_written_is_read(
            len in 1u64..1 << 40,
            said in prop::collection::vec((0u64..1 << 40, 0u64..1 << 40, 0usize..5), 0..20),
            position: u64,
            pass: u32,
        ) {
            let mut map = Map::new(len);
            for (a, b, status) in said {
                map.set(a.min(b), a.max(b), Status::ALL[status]);
            }
            let place = Place { position, phase: Phase::Scraping, pass };
            let file = Mapfile { map, place, notes: vec!["Mapfile. Created by Keyhaven".to_owned()] };
            prop_assert_eq!(Mapfile::read(&written(&file)), Ok(file));
        }

        #[test]
        fn no_text_panics(text in "[-#0-9xA-F?*/+ \n]{0,200}") {
            let _ = Mapfile::read(&text);
        }
    }
}
