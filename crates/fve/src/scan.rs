//! Looking for metadata where the boot sector no longer says where they are.

use std::ops::{ControlFlow, Range};

use keyhaven_disk::{Device, ReadError};

use crate::format::block::{InformationBlock, MAX_REGION_LEN_BYTES, SIGNATURE};
use crate::format::eow::{EowInformation, INFORMATION_LEN_BYTES};

/// Metadata lie on sector boundaries.
const STEP: usize = 512;
const CHUNK: usize = 1 << 20;

/// How far a search has come.
#[derive(Debug, Clone, Copy)]
pub struct ScanProgress {
    /// Bytes looked at.
    pub done_bytes: u64,
    /// Bytes to look at.
    pub total_bytes: u64,
}

/// Asks whether to go on.
pub type Watch<'a> = dyn FnMut(ScanProgress) -> ControlFlow<()> + 'a;

/// What a search came to.
pub(crate) enum Found<T> {
    It(T),
    Nothing,
    Stopped,
}

/// Searches a volume for a metadata block that says it belongs where it lies, and returns where its copies are.
///
/// The first with a right checksum wins; without one, the first that has the shape. Unreadable parts are passed over.
pub(crate) fn metadata(device: &Device, watch: &mut Watch<'_>) -> Found<[u64; 3]> {
    let mut second_best = None;
    let outcome = at_signatures(device, &SIGNATURE, watch, |offset| {
        let block = InformationBlock::read(&read_up_to(device, offset, MAX_REGION_LEN_BYTES).ok()?).ok()?;
        if !block.metadata_offsets.contains(&offset) {
            return None;
        }
        if block.crc32_is_right() {
            return Some(block.metadata_offsets);
        }
        second_best.get_or_insert(block.metadata_offsets);
        None
    });
    match (outcome, second_best) {
        (Found::Nothing, Some(offsets)) => Found::It(offsets),
        (outcome, _) => outcome,
    }
}

/// Searches a volume for the record of encrypted chunks; returns where its two copies are.
///
/// `likely` is looked at first.
pub(crate) fn eow_information(device: &Device, likely: u64, watch: &mut Watch<'_>) -> Found<[u64; 2]> {
    let at = |offset: u64| {
        let bytes = read_up_to(device, offset, INFORMATION_LEN_BYTES).ok()?;
        let information = EowInformation::read(&bytes).ok()?;
        information
            .offsets
            .contains(&offset)
            .then_some(information.offsets)
    };
    match at(likely) {
        Some(offsets) => Found::It(offsets),
        None => at_signatures(device, b"FVE-EOW\0", watch, at),
    }
}

fn at_signatures<T>(
    device: &Device,
    signature: &[u8; 8],
    watch: &mut Watch<'_>,
    mut accept: impl FnMut(u64) -> Option<T>,
) -> Found<T> {
    each_chunk(device, 0..device.len_bytes(), watch, |at, bytes| {
        let mut sectors = (0..).step_by(STEP).zip(bytes.chunks(STEP));
        sectors.find_map(|(i, sector)| {
            let begins = sector.starts_with(signature);
            begins.then(|| accept(at + i)).flatten()
        })
    })
}

/// Goes through a part of a device until `see` has found what it looks for. Holes are left out, and what cannot be read
/// is zeros.
///
/// `range` begins at a sector. `see` is given where a chunk begins and the chunk.
pub(crate) fn each_chunk<T>(
    device: &Device,
    range: Range<u64>,
    watch: &mut Watch<'_>,
    mut see: impl FnMut(u64, &[u8]) -> Option<T>,
) -> Found<T> {
    let end = range.end.min(device.len_bytes());
    let total_bytes = end.saturating_sub(range.start);
    let mut chunk = vec![0; CHUNK];
    let mut at = range.start;
    while at < end {
        if watch(ScanProgress {
            done_bytes: at - range.start,
            total_bytes,
        })
        .is_break()
        {
            return Found::Stopped;
        }
        let len = (end - at).min(CHUNK as u64);
        let hole = device.hole_at(at, end - at);
        if hole >= len {
            // Onwards to the chunk in which the hole ends.
            at += (hole / CHUNK as u64).max(1) * CHUNK as u64;
            continue;
        }
        let bytes = &mut chunk[..len as usize];
        let mut readable = bytes.len();
        if device.read_at(at, bytes).is_err() {
            // Piece by piece around the damage.
            let mut ended = false;
            readable = 0;
            for (i, piece) in bytes.chunks_mut(STEP).enumerate() {
                match device.read_at(at + (i * STEP) as u64, piece) {
                    Ok(()) => readable = i * STEP + piece.len(),
                    Err(ReadError::PastEnd { .. }) => {
                        ended = true;
                        break;
                    }
                    Err(_) => piece.fill(0),
                }
            }
            if ended && readable == 0 {
                return Found::Nothing;
            }
        }
        if let Some(found) = see(at, &bytes[..readable]) {
            return Found::It(found);
        }
        at += len;
    }
    Found::Nothing
}

/// Reads `len` bytes, or as many from `offset` on as the device has before its end or the first damage.
pub(crate) fn read_up_to(device: &Device, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; len];
    let error = match device.read_at(offset, &mut bytes) {
        Ok(()) => return Ok(bytes),
        Err(error) => error,
    };
    // An image may be cut off within a sector.
    if let ReadError::PastEnd { end, .. } = error
        && let Some(there) = end
            .checked_sub(offset)
            .and_then(|there| usize::try_from(there).ok())
        && there > 0
        && there < len
        && device.read_at(offset, &mut bytes[..there]).is_ok()
    {
        bytes.truncate(there);
        return Ok(bytes);
    }
    let mut read = 0;
    while read < len {
        let piece = &mut bytes[read..(read + STEP).min(len)];
        if device.read_at(offset.saturating_add(read as u64), piece).is_err() {
            break;
        }
        read += piece.len();
    }
    bytes.truncate(read);
    if read == 0 { Err(error) } else { Ok(bytes) }
}
