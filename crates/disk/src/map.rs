//! A list of the parts of a device that could not be read, in the form that GNU ddrescue writes and reads.
//!
//! With the map beside an image, `ddrescue` can try the bad parts again, and viewers of maps can show them.
//!
//! Source: the GNU ddrescue manual, chapter "Mapfile structure".

use std::io::{self, Write};

/// A part of a device that could not be read, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRange {
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub len_bytes: u64,
}

impl BadRange {
    /// Returns the first byte after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len_bytes)
    }
}

/// Writes the map of a device of `len_bytes` bytes, in which all but the `bad` ranges was read.
///
/// `bad` must be in order and without overlaps, as an export returns it.
///
/// # Errors
/// What `out` says.
pub fn write(out: &mut dyn Write, len_bytes: u64, bad: &[BadRange]) -> io::Result<()> {
    writeln!(out, "# Mapfile. Created by Keyhaven")?;
    writeln!(out, "# current_pos  current_status  current_pass")?;
    writeln!(out, "0x{len_bytes:08X}     +               1")?;
    writeln!(out, "#      pos        size  status")?;
    let mut position = 0;
    for range in bad {
        write_line(out, position, range.start.saturating_sub(position), '+')?;
        write_line(out, range.start, range.len_bytes, '-')?;
        position = range.end();
    }
    write_line(out, position, len_bytes.saturating_sub(position), '+')
}

fn write_line(out: &mut dyn Write, position: u64, len_bytes: u64, status: char) -> io::Result<()> {
    if len_bytes == 0 {
        return Ok(());
    }
    writeln!(out, "0x{position:08X}  0x{len_bytes:08X}  {status}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(len_bytes: u64, bad: &[(u64, u64)]) -> String {
        let bad: Vec<_> = bad
            .iter()
            .map(|&(start, len_bytes)| BadRange { start, len_bytes })
            .collect();
        let mut out = Vec::new();
        write(&mut out, len_bytes, &bad).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_map_covers_the_device_without_gaps() {
        assert_eq!(
            map(0x10_0000, &[(0x1000, 0x200), (0xFFE00, 0x200)]),
            "# Mapfile. Created by Keyhaven\n\
             # current_pos  current_status  current_pass\n\
             0x00100000     +               1\n\
             #      pos        size  status\n\
             0x00000000  0x00001000  +\n\
             0x00001000  0x00000200  -\n\
             0x00001200  0x000FEC00  +\n\
             0x000FFE00  0x00000200  -\n"
        );
    }

    #[test]
    fn nothing_bad_is_one_line_and_all_bad_too() {
        assert!(map(512, &[]).ends_with("status\n0x00000000  0x00000200  +\n"));
        assert!(map(512, &[(0, 512)]).ends_with("status\n0x00000000  0x00000200  -\n"));
    }
}
