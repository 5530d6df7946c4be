//! What a person calls a drive: a path, and which part of what is there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::size;

/// A path, and which part of what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DriveName {
    /// Where the device or the image file is.
    pub(crate) path: PathBuf,
    /// Which part of it is meant.
    pub(crate) part: Part,
}

/// A part of a device or an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it, or the only BitLocker partition.
    Any,
    /// `disk.img#2`: a partition.
    Number(u32),
    /// `disk.img@1M`: from a byte on. `disk.img@1M+100M`: so many bytes.
    At { start: u64, len_bytes: Option<u64> },
}

impl DriveName {
    /// Takes a name apart; a file that really has this name wins.
    pub(crate) fn of(drive: &OsStr) -> Self {
        let whole = || Self {
            path: PathBuf::from(drive),
            part: Part::Any,
        };
        if Path::new(drive).symlink_metadata().is_ok() {
            return whole();
        }
        drive.to_str().and_then(Self::with_part).unwrap_or_else(whole)
    }

    fn with_part(drive: &str) -> Option<Self> {
        let named = |path: &str, part| Self {
            path: PathBuf::from(path),
            part,
        };
        if let Some((path, number)) = drive.rsplit_once('#')
            && let Ok(number) = number.parse()
        {
            return Some(named(path, Part::Number(number)));
        }
        let (path, place) = drive.rsplit_once('@')?;
        let (start, len) = match place.split_once('+') {
            Some((start, len)) => (start, Some(size::parse(len).ok()?)),
            None => (place, None),
        };
        let start = if start == "0" { 0 } else { size::parse(start).ok()? };
        Some(named(
            path,
            Part::At {
                start,
                len_bytes: len,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_from_paths() {
        let at = |start, len_bytes| Part::At { start, len_bytes };
        for (name, path, part) in [
            ("disk.img", "disk.img", Part::Any),
            ("disk.img#2", "disk.img", Part::Number(2)),
            ("disk.img#two", "disk.img#two", Part::Any),
            ("disk.img@1048576", "disk.img", at(1 << 20, None)),
            ("disk.img@1.5M", "disk.img", at(3 << 19, None)),
            ("disk.img@0", "disk.img", at(0, None)),
            ("disk.img@1M+100M", "disk.img", at(1 << 20, Some(100 << 20))),
            ("ann@example/disk.img", "ann@example/disk.img", Part::Any),
            ("disk.img@1M+", "disk.img@1M+", Part::Any),
            ("a@b@512", "a@b", at(512, None)),
        ] {
            let path = PathBuf::from(path);
            assert_eq!(DriveName::of(name.as_ref()), DriveName { path, part }, "{name}");
        }
        // This file, whatever it is called.
        let name = std::env::temp_dir().join("keyhaven-test@512");
        std::fs::write(&name, "").expect("a file");
        assert_eq!(DriveName::of(name.as_os_str()).path, name);
        std::fs::remove_file(name).expect("ours");
    }
}
