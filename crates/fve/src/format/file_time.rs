//! Windows' clock.

use std::fmt;

/// A FILETIME: 100-nanosecond steps since the beginning of 1601, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileTime(pub u64);

/// Steps between 1601 and 1970.
const UNIX_EPOCH: i64 = 116_444_736_000_000_000;

impl FileTime {
    /// Returns the moment, if it is one that a calendar has.
    ///
    /// The top bit is not part of the time: Windows sets it in some (format spec 2.10).
    #[must_use]
    pub fn timestamp(self) -> Option<jiff::Timestamp> {
        let steps = i64::try_from(self.0 & !(1 << 63)).ok()?.checked_sub(UNIX_EPOCH)?;
        let nanos = i32::try_from(steps.rem_euclid(10_000_000)).ok()? * 100;
        jiff::Timestamp::new(steps.div_euclid(10_000_000), nanos).ok()
    }

    /// Returns the FILETIME of a moment; times before 1601 become its beginning.
    #[must_use]
    pub fn from_timestamp(time: jiff::Timestamp) -> Self {
        let steps = time.as_nanosecond() / 100 + i128::from(UNIX_EPOCH);
        Self(u64::try_from(steps).unwrap_or(0))
    }
}

impl fmt::Display for FileTime {
    /// Writes RFC 3339 in UTC, or the bare number where no calendar has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timestamp() {
            Some(time) => time.fmt(f),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for FileTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_as_utc() {
        // Creation time in the .BEK of image df-startup_key (format spec 9.6).
        let time = FileTime(u64::from_le_bytes([
            0x30, 0xd4, 0x00, 0xb9, 0x6f, 0xbc, 0xd7, 0x01,
        ]));
        assert_eq!(time.to_string(), "2021-10-08T18:10:06.195Z");
        assert_eq!(FileTime::from_timestamp(time.timestamp().expect("a date")), time);
        assert_eq!(FileTime(time.0 | 1 << 63).timestamp(), time.timestamp());
        assert!(!FileTime(u64::MAX).to_string().is_empty());
        assert_eq!(FileTime(0).to_string(), "1601-01-01T00:00:00Z");
    }
}
