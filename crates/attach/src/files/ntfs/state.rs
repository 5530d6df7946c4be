//! Whether an NTFS volume was left in order.
//!
//! As ntfs-3g decides before it writes: the mark in `$Volume`, the last page of the log, and what the file of a
//! hibernation begins with.

use keyhaven_disk::Device;

use crate::files::bytes::{u16_at, u64_at};
use crate::files::ntfs::NtfsTree;
use crate::files::ntfs::record::{Value, kind};
use crate::files::ntfs::stream::NoUnits;
use crate::files::ntfs::volume::known;
use crate::files::state::{Cleanliness, Mark};
use crate::files::{FileTree, FilesError, OpenFilesError};

/// The mark of `$VOLUME_INFORMATION` that asks for a check.
const IS_DIRTY: u16 = 1;

/// Where the two copies of the log's restart page are, in bytes.
const RESTART_PAGES: [u64; 2] = [0, 4096];

/// A restart area without open files says so in its flags, or has no client.
const VOLUME_IS_CLEAN: u16 = 2;
const NO_CLIENT: u16 = 0xFFFF;

/// Returns how the volume on a device was left.
///
/// # Errors
/// Why it cannot be opened.
pub(crate) fn state(device: &Device) -> Result<Cleanliness, OpenFilesError> {
    let tree = NtfsTree::open(device.clone())?;
    Ok(match read_state(&tree) {
        Ok(state) => state,
        Err(error) => Cleanliness::Unknown(error.to_string()),
    })
}

fn read_state(tree: &NtfsTree) -> Result<Cleanliness, FilesError> {
    // Before the others: a system that sleeps has left both marks as well.
    if is_hibernated(tree)? {
        return Ok(Cleanliness::Hibernated);
    }
    let record = tree.volume.record(known::VOLUME)?;
    let flags = record
        .attributes()
        .filter_map(Result::ok)
        .find_map(|attribute| match attribute.value {
            Value::Resident(bytes) if attribute.kind == kind::VOLUME_INFORMATION => u16_at(bytes, 10),
            _ => None,
        });
    let Some(flags) = flags else {
        return Ok(Cleanliness::Unknown("the volume does not say".to_owned()));
    };
    if flags & IS_DIRTY != 0 {
        return Ok(Cleanliness::Dirty(Mark::NeedsCheck));
    }
    Ok(if is_log_empty(tree)? {
        Cleanliness::Clean
    } else {
        Cleanliness::Dirty(Mark::UnfinishedLog)
    })
}

/// `hiberfil.sys` begins with "HIBR" while Windows sleeps, also after shutting down with fast startup; otherwise with
/// zeros or another word.
fn is_hibernated(tree: &NtfsTree) -> Result<bool, FilesError> {
    let Some(node) = tree.lookup(tree.root, "hiberfil.sys")? else {
        return Ok(false);
    };
    let mut start = [0; 4];
    tree.read(node, 0, &mut start)?;
    Ok(start.eq_ignore_ascii_case(b"hibr"))
}

/// Whether the log has nothing that Windows would still have to do.
fn is_log_empty(tree: &NtfsTree) -> Result<bool, FilesError> {
    let Some(log) = tree.volume.known_file(known::LOG_FILE)?.data else {
        return Ok(false);
    };
    let name = || "the log".to_owned();
    let mut newest: Option<(u64, bool)> = None;
    let mut is_blank = true;
    for offset in RESTART_PAGES {
        let mut page = [0; 512];
        log.read(&tree.volume, &NoUnits, &name, offset, &mut page)?;
        is_blank &= page.iter().all(|byte| *byte == 0xFF);
        if !page.starts_with(b"RSTR") {
            continue;
        }
        let area = u16_at(&page, 0x18).and_then(|at| page.get(usize::from(at)..));
        let read = area.and_then(|area| {
            let is_clean = u16_at(area, 12)? == NO_CLIENT || u16_at(area, 14)? & VOLUME_IS_CLEAN != 0;
            // Windows 8 and later go back to version 1.1 only when they let go of the volume.
            let is_clean = is_clean && u16_at(&page, 0x1C)? < 2;
            Some((u64_at(area, 0)?, is_clean))
        });
        newest = newest.max(read);
    }
    // A log that was never used is filled with ones.
    Ok(newest.map_or(is_blank, |(_, is_clean)| is_clean))
}
