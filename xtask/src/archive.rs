//! Archives that come out the same whenever and wherever they are made: sorted names, one time, nobody's user, two modes.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) is_program: bool,
}

/// The files of an archive by their paths in it, with slashes.
pub(crate) type Files = BTreeMap<String, File>;

/// Makes a `.tar.gz` of files that were all changed at `time`, in seconds since 1970.
pub(crate) fn tar_gz(files: &Files, time: u64) -> io::Result<Vec<u8>> {
    // Neither a name nor a time stands in the head of the compressed file.
    let compressed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(compressed);
    for (path, file) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(file.content.len() as u64);
        header.set_mode(mode(file));
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, path, file.content.as_slice())?;
    }
    archive.into_inner()?.finish()
}

/// Makes a `.zip` of files that were all changed at `time`, in seconds since 1970.
pub(crate) fn zip(files: &Files, time: u64) -> io::Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(dos_time(time));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, file) in files {
        archive.start_file(path, options.unix_permissions(mode(file)))?;
        archive.write_all(&file.content)?;
    }
    Ok(archive.finish()?.into_inner())
}

fn mode(file: &File) -> u32 {
    if file.is_program { 0o755 } else { 0o644 }
}

/// Returns a time as zip files have it: in UTC, whatever the clock around says, and not before 1980.
fn dos_time(time: u64) -> zip::DateTime {
    let seconds = i64::try_from(time).unwrap_or_default();
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    let time = TimeZone::UTC.to_datetime(time);
    let number = |value: i8| u8::try_from(value).unwrap_or_default();
    zip::DateTime::from_date_and_time(
        u16::try_from(time.year()).unwrap_or_default(),
        number(time.month()),
        number(time.day()),
        number(time.hour()),
        number(time.minute()),
        number(time.second()),
    )
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// 2026-11-24 15:35:42 UTC.
    const TIME: u64 = 1_795_534_542;

    fn files() -> Files {
        let file = |content: &str, is_program| File {
            content: content.as_bytes().to_vec(),
            is_program,
        };
        Files::from([
            ("keyhaven-1/README.md".to_owned(), file("read me", false)),
            ("keyhaven-1/keyhaven".to_owned(), file("run me", true)),
        ])
    }

    #[test]
    fn a_tar_has_what_was_put_in() {
        let packed = tar_gz(&files(), TIME).unwrap();
        assert_eq!(packed, tar_gz(&files(), TIME).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut found = Files::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), TIME);
            assert_eq!(entry.header().uid().unwrap(), 0);
            let is_program = entry.header().mode().unwrap() == 0o755;
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(path, File { content, is_program });
        }
        assert_eq!(found, files());
    }

    #[test]
    fn a_zip_has_what_was_put_in() {
        let packed = zip(&files(), TIME).unwrap();
        assert_eq!(packed, zip(&files(), TIME).unwrap());
        let mut archive = zip::ZipArchive::new(Cursor::new(packed)).unwrap();
        let mut found = Files::new();
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).unwrap();
            assert_eq!(entry.last_modified().unwrap().to_string(), "2026-11-24 15:35:42");
            let is_program = entry.unix_mode().unwrap() & 0o777 == 0o755;
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = entry.name().unwrap().into_owned();
            found.insert(path, File { content, is_program });
        }
        assert_eq!(found, files());
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let text = |time| dos_time(time).to_string();
        assert_eq!(text(0), "1980-01-01 00:00:00", "as early as a zip can say");
        assert_eq!(text(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(text(1_709_251_198), "2024-02-29 23:59:58");
        assert_eq!(text(1_709_251_200), "2024-03-01 00:00:00");
    }
}
