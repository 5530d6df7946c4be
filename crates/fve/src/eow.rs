//! Which parts of an encrypted-on-write volume are encrypted, put together from its records.

use std::ops::Range;

use keyhaven_disk::Device;

use crate::error::EowProblem;
use crate::format::eow::{EowBitmap, EowInformation, INFORMATION_LEN_BYTES, MAX_BITMAP_LEN_BYTES};
use crate::scan::read_up_to;

/// The least that one bit stands for: 8 MiB on real volumes; this bounds the memory that a made-up one can ask for.
const MIN_CHUNK_LEN_BYTES: u32 = 0x1_0000;

/// The encrypted and the plain parts, and where the records themselves are.
#[derive(Debug)]
pub(crate) struct EowMap {
    /// Parts that lie next to each other and differ; sorted, without overlaps. True is encrypted.
    parts: Vec<(Range<u64>, bool)>,
    /// What the records take up: it reads as zeros.
    reserved: Vec<Range<u64>>,
}

impl EowMap {
    /// Reads the information block and every region's bitmap. One unreadable bitmap spoils the map: which parts are
    /// encrypted is never guessed.
    pub(crate) fn read(device: &Device, offsets: [u64; 2]) -> Result<Self, EowProblem> {
        let (information, found_at) = read_information(device, offsets)?;
        if information.chunk_len_bytes < MIN_CHUNK_LEN_BYTES {
            let reason = format!(
                "one bit stands for {} bytes, expected 65536 or more",
                information.chunk_len_bytes
            );
            return Err(EowProblem {
                what: "the record of encrypted parts".to_owned(),
                offset: found_at,
                reason,
            });
        }
        let mut reserved: Vec<Range<u64>> = offsets
            .iter()
            .map(|offset| {
                *offset..offset.saturating_add((information.size_bytes as u64).next_multiple_of(512))
            })
            .collect();
        let mut parts = Vec::new();
        for (number, offset) in (1..).zip(&information.bitmap_offsets) {
            let bitmap = read_bitmap(device, *offset, number)?;
            reserved.push(*offset..offset.saturating_add(bitmap.size_bytes as u64));
            let log = bitmap.conversion_log_offset;
            reserved.push(log..log.saturating_add(u64::from(information.conversion_log_len_bytes)));
            add_region(
                &mut parts,
                &bitmap,
                u64::from(information.chunk_len_bytes),
                *offset,
                number,
            )?;
        }
        parts.sort_by_key(|(range, _): &(Range<u64>, bool)| range.start);
        if let Some([_, (second, _)]) = parts.array_windows().find(|[(a, _), (b, _)]| a.end > b.start) {
            return Err(EowProblem {
                what: "the record of encrypted parts".to_owned(),
                offset: found_at,
                reason: format!("two regions overlap at byte {:#x}", second.start),
            });
        }
        Ok(Self {
            parts: merged(parts),
            reserved,
        })
    }

    /// Returns where the last region ends.
    pub(crate) fn end(&self) -> u64 {
        self.parts.last().map_or(0, |(range, _)| range.end)
    }

    /// Returns the bytes that are encrypted.
    pub(crate) fn encrypted_bytes(&self) -> u64 {
        self.parts
            .iter()
            .filter(|(_, encrypted)| *encrypted)
            .map(|(range, _)| range.end - range.start)
            .sum()
    }

    pub(crate) fn is_wholly_encrypted(&self) -> bool {
        self.parts.iter().all(|(_, encrypted)| *encrypted)
    }

    pub(crate) fn parts(&self) -> &[(Range<u64>, bool)] {
        &self.parts
    }

    pub(crate) fn reserved(&self) -> &[Range<u64>] {
        &self.reserved
    }
}

fn read_information(device: &Device, offsets: [u64; 2]) -> Result<(EowInformation, u64), EowProblem> {
    let mut first_problem = None;
    for offset in offsets {
        let read = || -> Result<EowInformation, String> {
            let mut bytes =
                read_up_to(device, offset, INFORMATION_LEN_BYTES).map_err(|error| error.to_string())?;
            if let Some(len) = EowInformation::announced_len_bytes(&bytes).filter(|len| *len > bytes.len()) {
                bytes = read_up_to(device, offset, len).map_err(|error| error.to_string())?;
            }
            EowInformation::read(&bytes).map_err(|error| error.to_string())
        };
        match read() {
            Ok(information) => return Ok((information, offset)),
            Err(reason) => {
                first_problem.get_or_insert(EowProblem {
                    what: "the record of encrypted parts".to_owned(),
                    offset,
                    reason,
                });
            }
        }
    }
    Err(first_problem.unwrap_or_else(|| unreachable!("there are two places")))
}

fn read_bitmap(device: &Device, offset: u64, number: u32) -> Result<EowBitmap, EowProblem> {
    let problem = |reason: String| EowProblem {
        what: format!("bitmap {number} of encrypted parts"),
        offset,
        reason,
    };
    let mut bytes =
        read_up_to(device, offset, INFORMATION_LEN_BYTES).map_err(|error| problem(error.to_string()))?;
    if let Some(len) = EowBitmap::announced_len_bytes(&bytes).filter(|len| *len > bytes.len()) {
        if len > MAX_BITMAP_LEN_BYTES {
            return Err(problem(format!(
                "it claims {len} bytes, expected at most {MAX_BITMAP_LEN_BYTES}"
            )));
        }
        bytes = read_up_to(device, offset, len).map_err(|error| problem(error.to_string()))?;
    }
    EowBitmap::read(&bytes).map_err(|error| problem(error.to_string()))
}

/// Adds the runs of equal chunks of one region.
fn add_region(
    parts: &mut Vec<(Range<u64>, bool)>,
    bitmap: &EowBitmap,
    chunk_len: u64,
    offset: u64,
    number: u32,
) -> Result<(), EowProblem> {
    let problem = |reason: String| EowProblem {
        what: format!("bitmap {number} of encrypted parts"),
        offset,
        reason,
    };
    let end = bitmap
        .region_offset
        .checked_add(bitmap.region_len_bytes)
        .ok_or_else(|| problem("its region has no end".to_owned()))?;
    let mut at = bitmap.region_offset;
    let mut chunk = 0;
    while at < end {
        let encrypted = bitmap
            .is_encrypted(chunk)
            .ok_or_else(|| problem(format!("it has no bit for byte {at:#x}")))?;
        let next = at.saturating_add(chunk_len).min(end);
        match parts.last_mut() {
            Some((range, last)) if range.end == at && *last == encrypted => range.end = next,
            _ => parts.push((at..next, encrypted)),
        }
        at = next;
        chunk += 1;
    }
    Ok(())
}

fn merged(parts: Vec<(Range<u64>, bool)>) -> Vec<(Range<u64>, bool)> {
    let mut merged: Vec<(Range<u64>, bool)> = Vec::with_capacity(parts.len());
    for (range, encrypted) in parts {
        match merged.last_mut() {
            Some((last, same)) if last.end == range.start && *same == encrypted => last.end = range.end,
            _ => merged.push((range, encrypted)),
        }
    }
    merged
}
