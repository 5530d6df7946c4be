//! The files in which NTFS holds what BitLocker keeps on a drive that is encrypted in place.

use std::ops::Range;

use keyhaven_attach::reserve;
use keyhaven_disk::Writable;
use keyhaven_fve::create::{MOVED_LEN_BYTES, REGION_LEN_BYTES};

use crate::converting;
use crate::error::CliError;

/// The names that Windows gives the files which hold what BitLocker keeps (format spec 5.1).
const METADATA_FILE: &str = "FVE2.{e40ad34d-dae9-4bc7-95bd-b16218c10f72}";
const MOVED_FILE: &str = "FVE2.{24e6f0ae-6a00-4f73-984b-75ce9942852d}";
const SPARE_FILE: &str = "FVE2.{da392a22-cae0-4f0f-9a30-b8830385d046}";
const SPARE_LEN_BYTES: u64 = 65536;

/// Returns the names of all those files.
pub(in crate::commands) fn names() -> [String; 5] {
    [
        format!("{METADATA_FILE}.1"),
        format!("{METADATA_FILE}.2"),
        format!("{METADATA_FILE}.3"),
        MOVED_FILE.to_owned(),
        SPARE_FILE.to_owned(),
    ]
}

/// Makes them all; returns where they are, in bytes from the start of the drive.
pub(super) fn make(writable: &Writable) -> Result<[Range<u64>; 5], CliError> {
    let lens = [
        REGION_LEN_BYTES,
        REGION_LEN_BYTES,
        REGION_LEN_BYTES,
        MOVED_LEN_BYTES,
        SPARE_LEN_BYTES,
    ];
    let wanted: Vec<reserve::Wanted> = names()
        .into_iter()
        .zip(lens)
        .map(|(file_name, len_bytes)| reserve::Wanted { file_name, len_bytes })
        .collect();
    let folder = converting::work_folder()?;
    let places = reserve::make_files(writable, &wanted, folder.path(), converting::now())
        .map_err(|error| converting::no_room(&error))?;
    places
        .try_into()
        .map_err(|_| CliError::could_not("nothing was encrypted: not all files could be made"))
}
