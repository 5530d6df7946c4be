//! Holds a copy against its source.

use std::ops::ControlFlow;

use super::pipeline::{self, Content};
use super::{CopyOptions, Progress};
use crate::aligned::AlignedBuffer;
use crate::device::{BlockDevice, Device, ReadError};
use crate::map::BadRange;

/// Why a copy was not proven to be one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The copy has other bytes than the source.
    #[error("the copy differs from its source at byte {offset}")]
    Differs {
        /// The first byte that is different.
        offset: u64,
    },
    /// The source could not be read a second time.
    #[error("reading the source again failed")]
    Source(#[source] ReadError),
    /// The copy could not be read.
    #[error("reading the copy failed")]
    Copy(#[source] ReadError),
    /// The caller asked to stop.
    #[error("the comparison was stopped at byte {offset}")]
    Stopped {
        /// How far it had come, in bytes from the start.
        offset: u64,
    },
}

/// Reads `source` and `copy` and finds the first difference. The copy may be longer; what follows is not looked at.
///
/// In the ranges of `bad`, which are in order, the source is not read again: there the copy must be zeros. `progress`
/// is called as in [`export`](super::export).
///
/// # Errors
/// See [`CompareError`].
///
/// # Panics
/// When the source does: with its panic.
pub fn compare(
    source: &Device,
    copy: &dyn BlockDevice,
    bad: &[BadRange],
    options: CopyOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), CompareError> {
    let total_bytes = source.len_bytes();
    let readers = pipeline::reader_count(options.readers, total_bytes);
    let mut buffer = AlignedBuffer::new(pipeline::CHUNK_LEN);
    pipeline::for_each_piece(source, true, readers, &mut |piece| {
        let (offset, len_bytes) = (piece.offset, piece.len_bytes);
        match std::mem::replace(&mut piece.content, Content::Stored) {
            Content::Hole => expect_zeros(copy, offset, len_bytes, &mut buffer)?,
            Content::Stored => {
                let expected = piece.bytes_mut();
                blank(bad, offset, expected);
                expect(copy, offset, expected, &mut buffer)?;
            }
            Content::Unreadable(error) => {
                let end = offset.saturating_add(len_bytes);
                if !bad.iter().any(|range| range.start < end && range.end() > offset) {
                    return Err(CompareError::Source(error));
                }
                let expected = piece.bytes_mut();
                read_between(source, bad, offset, expected)?;
                expect(copy, offset, expected, &mut buffer)?;
            }
        }
        let done_bytes = offset.saturating_add(len_bytes);
        match progress(Progress {
            done_bytes,
            total_bytes,
        }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CompareError::Stopped { offset: done_bytes }),
        }
    })
}

fn expect(
    copy: &dyn BlockDevice,
    offset: u64,
    expected: &[u8],
    buffer: &mut AlignedBuffer,
) -> Result<(), CompareError> {
    let found = buffer.first_mut(expected.len());
    copy.read_at(offset, found).map_err(CompareError::Copy)?;
    if *found == *expected {
        return Ok(());
    }
    let first = found
        .iter()
        .zip(expected)
        .take_while(|(found, expected)| found == expected);
    Err(CompareError::Differs {
        offset: offset.saturating_add(first.count() as u64),
    })
}

fn expect_zeros(
    copy: &dyn BlockDevice,
    offset: u64,
    len_bytes: u64,
    buffer: &mut AlignedBuffer,
) -> Result<(), CompareError> {
    let zeros = [0; 4096];
    let end = offset.saturating_add(len_bytes);
    let mut at = offset;
    while at < end {
        let hole = copy.hole_at(at, end - at);
        if hole > 0 {
            at = at.saturating_add(hole);
            continue;
        }
        let len = (end - at).min(zeros.len() as u64 - at % zeros.len() as u64);
        expect(copy, at, zeros.get(..len as usize).unwrap_or(&zeros), buffer)?;
        at = at.saturating_add(len);
    }
    Ok(())
}

/// Puts zeros where the source was not read the first time.
fn blank(bad: &[BadRange], offset: u64, bytes: &mut [u8]) {
    let end = offset.saturating_add(bytes.len() as u64);
    for range in bad
        .iter()
        .filter(|range| range.start < end && range.end() > offset)
    {
        let from = range.start.max(offset) - offset;
        let to = range.end().min(end) - offset;
        if let Some(part) = bytes.get_mut(from as usize..to as usize) {
            part.fill(0);
        }
    }
}

/// Reads what lies between bad ranges, and puts zeros in their place.
fn read_between(
    source: &Device,
    bad: &[BadRange],
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), CompareError> {
    let end = offset.saturating_add(bytes.len() as u64);
    let mut at = offset;
    let here = bad
        .iter()
        .filter(|range| range.start < end && range.end() > offset);
    let gaps: Vec<(u64, u64)> = here
        .map(|range| (range.start.max(offset), range.end().min(end)))
        .chain(std::iter::once((end, end)))
        .collect();
    for (bad_start, bad_end) in gaps {
        if let Some(part) = bytes.get_mut((at - offset) as usize..(bad_start - offset) as usize) {
            source.read_at(at, part).map_err(CompareError::Source)?;
        }
        at = bad_end;
    }
    blank(bad, offset, bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 131 % 251) as u8).collect()
    }

    fn compare_all(source: Vec<u8>, copy: &Vec<u8>, bad: &[BadRange]) -> Result<(), CompareError> {
        let source: Device = Arc::new(source);
        compare(&source, copy, bad, CopyOptions::default(), &mut |_| {
            ControlFlow::Continue(())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_first_difference_is_found(len in 1usize..600_000, at in any::<prop::sample::Index>()) {
            let source = bytes(len);
            let mut copy = source.clone();
            copy.extend([9; 1000]);
            prop_assert!(compare_all(source.clone(), &copy, &[]).is_ok());
            let at = at.index(len);
            copy[at] ^= 0x10;
            let found = compare_all(source, &copy, &[]);
            let differs_there = matches!(found, Err(CompareError::Differs { offset }) if offset == at as u64);
            prop_assert!(differs_there);
        }
    }

    #[test]
    fn a_short_copy_and_a_stop_are_told() {
        let source = bytes(300_000);
        let short = source[..299_999].to_vec();
        assert!(matches!(
            compare_all(source.clone(), &short, &[]),
            Err(CompareError::Copy(_))
        ));
        let device: Device = Arc::new(source.clone());
        let stopped = compare(&device, &source, &[], CopyOptions::default(), &mut |_| {
            ControlFlow::Break(())
        });
        assert!(matches!(stopped, Err(CompareError::Stopped { .. })));
    }

    #[test]
    fn what_could_not_be_read_must_be_zeros() {
        let bad = [
            BadRange {
                start: 1024,
                len_bytes: 512,
            },
            BadRange {
                start: 200_000,
                len_bytes: 1,
            },
        ];
        let mut copy = bytes(300_000);
        copy[1024..1536].fill(0);
        copy[200_000] = 0;
        assert!(compare_all(bytes(300_000), &copy, &bad).is_ok());
        copy[1100] = 1;
        assert!(matches!(
            compare_all(bytes(300_000), &copy, &bad),
            Err(CompareError::Differs { offset: 1100 })
        ));
    }
}
