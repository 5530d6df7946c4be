//! The map of a copy as a file beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use keyhaven_disk::map::Mapfile;
use keyhaven_disk::map::mapfile::MAX_LEN_BYTES;

use crate::error::CliError;
use crate::target::with_suffix;

/// Reads a map, of ours or of GNU ddrescue.
pub(crate) fn read(path: &Path) -> Result<Mapfile, CliError> {
    let cannot = || CliError::could_not(format!("cannot use the map `{}`", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot().because(&error))?;
    let len = file
        .take(MAX_LEN_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| cannot().because(&error))?;
    if len > MAX_LEN_BYTES {
        return Err(cannot().hint("it is too large for a map"));
    }
    Mapfile::read(&text).map_err(|error| {
        cannot()
            .because(&error)
            .hint("a map is what `keyhaven export --keep-going` and GNU ddrescue write beside an image")
    })
}

/// Writes a map in the place of an older one, so that there is always a whole one.
pub(crate) fn write(path: &Path, mapfile: &Mapfile) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    let mut out = BufWriter::new(
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)?,
    );
    mapfile.write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    std::fs::rename(&new, path)
}
