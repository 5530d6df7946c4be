//! Writes what is not zero.

use super::{CopyError, CopyTarget};

/// The grain of holes: an all-zero block of this size is not written, in bytes.
pub(super) const ZERO_BLOCK_LEN: usize = 64 * 1024;

/// Writes to a target and counts; where the target starts as zeros, blocks of zeros are left out.
pub(super) struct SparseWriter<'a> {
    out: &'a mut dyn CopyTarget,
    written_bytes: u64,
}

impl<'a> SparseWriter<'a> {
    pub(super) fn new(out: &'a mut dyn CopyTarget) -> Self {
        Self {
            out,
            written_bytes: 0,
        }
    }

    /// Writes the blocks of `run` that are not zero at `offset`, neighbours together.
    pub(super) fn write(&mut self, offset: u64, run: &[u8]) -> Result<(), CopyError> {
        if !self.out.starts_as_zeros() {
            return self.write_part(offset, run);
        }
        let mut position = offset;
        let mut rest = run;
        while !rest.is_empty() {
            let starts_with_zeros = rest.chunks(ZERO_BLOCK_LEN).next().is_some_and(is_zero);
            let len: usize = rest
                .chunks(ZERO_BLOCK_LEN)
                .take_while(|block| is_zero(block) == starts_with_zeros)
                .map(<[u8]>::len)
                .sum();
            let (part, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            if !starts_with_zeros {
                self.write_part(position, part)?;
            }
            position = position.saturating_add(len as u64);
            rest = after;
        }
        Ok(())
    }

    /// Makes the copy `len_bytes` long, brings it to the medium, and returns how much was written, holes not counted.
    pub(super) fn finish(self, len_bytes: u64) -> Result<u64, CopyError> {
        let mut writer = self;
        writer.sync(len_bytes)?;
        Ok(writer.written_bytes)
    }

    /// As [`finish`](Self::finish), where more is to be written.
    pub(super) fn sync(&mut self, len_bytes: u64) -> Result<(), CopyError> {
        let written_bytes = self.written_bytes;
        self.out.finish(len_bytes).map_err(|source| CopyError::Finish {
            written_bytes,
            source,
        })
    }

    /// Returns how much was written so far, holes not counted.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    fn write_part(&mut self, offset: u64, part: &[u8]) -> Result<(), CopyError> {
        self.out
            .write_all_at(offset, part)
            .map_err(|source| CopyError::Write {
                offset,
                written_bytes: self.written_bytes,
                source,
            })?;
        self.written_bytes = self.written_bytes.saturating_add(part.len() as u64);
        Ok(())
    }
}

pub(super) fn is_zero(block: &[u8]) -> bool {
    // Without an early exit inside a line the compiler compares many bytes at a time.
    block
        .chunks(256)
        .all(|line| line.iter().fold(0, |seen, byte| seen | byte) == 0)
}
