//! The three copies as they stand on the medium, and their replacement.
//!
//! Copies are replaced one after the other, and each by [`write_copy`], which leaves it either whole or unrecognisable. So
//! at every moment at least one whole copy is there, and readers take the newest of those that are, or the first (format
//! spec 2.1). Both ways of choosing lead to a copy that opens, because of two rules:
//!
//! 1. Before anything new is written, all copies are made the same. Otherwise the one copy that opens with a key that
//!    the person still has could be the first to be overwritten.
//! 2. Then the new content goes to copy 1 first. Until that is whole, copies 2 and 3 are the old content; then it is both
//!    the first and the newest.
//!
//! Nonces of an attempt that was interrupted may be on the medium without any whole copy that counts them. Where the
//! copies differ, the counter therefore skips more than any edit uses; and the time in a nonce is always later than
//! that of every nonce that can be read.

use keyhaven_disk::{Device, ReadError, WritableDevice, WriteError};

use super::STEPS_PER_MILLISECOND;
use super::error::EditError;
use super::preview::Preview;
use crate::format::FileTime;
use crate::format::block::InformationBlock;
use crate::format::datum::{Datum, Value};
use crate::keys::VolumeMasterKey;
use crate::metadata::{Integrity, Metadata};
use crate::metadata_builder::{MetadataBuilder, MetadataError};
use crate::volume::{Unlocked, Volume};

/// How far the counter jumps after an interrupted attempt: metadata have at most so many entries.
const SKIPPED_NONCES: u32 = 1024;

/// The copies on the medium.
#[derive(Debug)]
pub(super) struct Standing {
    offsets: [u64; 3],
    regions: [Option<Vec<u8>>; 3],
    /// Which copy is the one to start from.
    base: usize,
    latest_nonce_time: u64,
}

impl Standing {
    /// Reads the copies and finds the one to start from, with what is in it to be changed.
    pub(super) fn read(
        volume: &Volume,
        unlocked: &Unlocked,
        vmk: &VolumeMasterKey,
    ) -> Result<(Self, MetadataBuilder), EditError> {
        let len = volume.metadata_region_len_bytes();
        let offsets = unlocked.metadata().block().metadata_offsets;
        for ((copy, offset), known) in (1..).zip(offsets).zip(volume.metadata_offsets()) {
            if known != Some(offset) {
                return Err(EditError::Misplaced(copy));
            }
            check_inside(copy, offset, len, volume.device().len_bytes())?;
        }
        let region = |offset| {
            let mut region = vec![0; usize::try_from(len).ok()?];
            volume.device().read_at(offset, &mut region).ok()?;
            Some(region)
        };
        let regions = offsets.map(region);

        let mut newest: Option<(usize, u32)> = None;
        let mut unlocked_one = None;
        let mut unreadable = None;
        let (mut counter, mut time) = (0, 0);
        for (index, region) in regions.iter().enumerate() {
            let Some(Ok(block)) = region.as_deref().map(InformationBlock::read) else {
                continue;
            };
            if !block.crc32_is_right() {
                continue;
            }
            // At least 1: the volume counts the nonce of the hash itself.
            counter = counter.max(block.dataset.next_nonce_counter).max(1);
            for_each_nonce(&block, &mut |nonce| time = time.max(time_of(nonce)));
            if unlocked_one.is_none() && block.actual_sha256 == unlocked.metadata().block().actual_sha256 {
                unlocked_one = Some(index);
            }
            let age = block.dataset.next_nonce_counter;
            // What would not be written back as it is can be no start, as long as there is another.
            if let Err(error) = region.as_deref().map(MetadataBuilder::read).transpose() {
                unreadable = Some(error);
                continue;
            }
            match Metadata::new(block).integrity(Some(vmk)) {
                Integrity::Altered => return Err(EditError::Altered(index as u8 + 1)),
                Integrity::Right if newest.is_none_or(|(_, known)| age > known) => {
                    newest = Some((index, age))
                }
                // A copy under another master key: from before a change of that, or after one.
                _ => {}
            }
        }
        if unlocked_one.is_none() && counter > 0 {
            return Err(EditError::Changed);
        }
        let base = match (newest, unreadable) {
            (Some((index, _)), _) => index,
            (None, Some(error)) => return Err(EditError::Metadata(error)),
            (None, None) => return Err(EditError::Unproven),
        };
        let content = regions[base].as_deref().ok_or(EditError::Unproven)?;
        let mut metadata = MetadataBuilder::read(content)?;
        if regions.iter().any(|region| region.as_deref() != Some(content)) {
            metadata.block_mut().dataset.next_nonce_counter = counter
                .checked_add(SKIPPED_NONCES)
                .ok_or(MetadataError::NoncesUsedUp)?;
        }
        let standing = Self {
            offsets,
            regions,
            base,
            latest_nonce_time: time,
        };
        Ok((standing, metadata))
    }

    /// Returns the copy to start from, read once more.
    pub(super) fn base_block(&self) -> Result<InformationBlock, EditError> {
        let region = self.regions[self.base].as_deref().ok_or(EditError::Unproven)?;
        Ok(InformationBlock::read(region).map_err(MetadataError::from)?)
    }

    /// Returns the first whole millisecond after all nonces that the volume has.
    pub(super) fn first_free_time(&self) -> FileTime {
        FileTime((self.latest_nonce_time / STEPS_PER_MILLISECOND + 1) * STEPS_PER_MILLISECOND)
    }

    /// Returns a device that shows `device` with `region` in the place of all copies.
    pub(super) fn shown_with(&self, device: Device, region: &[u8]) -> Preview {
        Preview {
            device,
            offsets: self.offsets,
            region: region.to_vec(),
        }
    }

    /// Replaces all copies with `region`.
    pub(super) fn replace(&self, region: &[u8], medium: &dyn WritableDevice) -> Result<(), EditError> {
        for (copy, offset) in (1..).zip(self.offsets) {
            check_inside(copy, offset, region.len() as u64, medium.len_bytes())?;
        }
        let base = self.regions[self.base].as_deref().ok_or(EditError::Unproven)?;
        for (index, old) in self.regions.iter().enumerate() {
            if old.as_deref() != Some(base) {
                self.write(index, base, medium)?;
            }
        }
        for index in 0..self.offsets.len() {
            self.write(index, region, medium)?;
        }
        Ok(())
    }

    fn write(&self, index: usize, region: &[u8], medium: &dyn WritableDevice) -> Result<(), EditError> {
        let (copy, offset) = (index as u8 + 1, self.offsets[index]);
        write_copy(medium, offset, region).map_err(|error| match error {
            CopyError::Write(source) => EditError::Write { copy, source },
            CopyError::ReadBack(source) => EditError::ReadBack { copy, source },
            CopyError::NotKept => EditError::NotKept { copy },
        })
    }
}

/// Why a copy could not be written.
#[derive(Debug)]
pub(crate) enum CopyError {
    Write(WriteError),
    ReadBack(ReadError),
    /// It reads differently from what was written.
    NotKept,
}

impl From<WriteError> for CopyError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// Replaces one copy of the metadata, so that it is whole or unrecognisable whenever the power goes.
///
/// A copy takes many sectors, and its checksum does not cover all of them: not the sealed hash behind it. Written in one
/// go, some sectors could be new and others old, with a checksum that is right and a hash that is not. So its first
/// sector, which has the signature, goes first, comes back last, and the medium is told to keep the order.
pub(crate) fn write_copy(medium: &dyn WritableDevice, offset: u64, region: &[u8]) -> Result<(), CopyError> {
    let (first, rest) = region.split_at(region.len().min(medium.sector_size().max(MIN_SECTOR) as usize));
    medium.write_at(offset, &vec![0; first.len()])?;
    medium.flush()?;
    medium.write_at(offset + first.len() as u64, rest)?;
    medium.flush()?;
    medium.write_at(offset, first)?;
    medium.flush()?;
    let mut kept = vec![0; region.len()];
    medium.read_at(offset, &mut kept).map_err(CopyError::ReadBack)?;
    if kept == region {
        Ok(())
    } else {
        Err(CopyError::NotKept)
    }
}

/// Media write at least so many bytes whole or not at all.
const MIN_SECTOR: u32 = 512;

fn check_inside(copy: u8, offset: u64, len: u64, len_bytes: u64) -> Result<(), EditError> {
    match offset.checked_add(len) {
        Some(end) if end <= len_bytes => Ok(()),
        end => Err(EditError::CutOff {
            copy,
            end: end.unwrap_or(u64::MAX),
            len_bytes,
        }),
    }
}

/// Returns a counter and a time for new nonces that no box in a block has, nor one that was there and is lost.
pub(crate) fn first_free_nonce(
    block: &InformationBlock,
    now: FileTime,
) -> Result<(u32, FileTime), MetadataError> {
    let (mut counter, mut time) = (block.dataset.next_nonce_counter.max(1), 0);
    for_each_nonce(block, &mut |nonce| {
        let [.., a, b, c, d] = *nonce;
        counter = counter.max(u32::from_le_bytes([a, b, c, d]).saturating_add(1));
        time = time.max(time_of(nonce));
    });
    let counter = counter
        .checked_add(SKIPPED_NONCES)
        .ok_or(MetadataError::NoncesUsedUp)?;
    let first_free = (time / STEPS_PER_MILLISECOND + 1) * STEPS_PER_MILLISECOND;
    let whole_milliseconds = now.0 / STEPS_PER_MILLISECOND * STEPS_PER_MILLISECOND;
    Ok((counter, FileTime(whole_milliseconds.max(first_free))))
}

/// Calls `each` with the nonce of every box in a copy.
fn for_each_nonce(block: &InformationBlock, each: &mut impl FnMut(&[u8; 12])) {
    fn walk(datums: &[Datum], each: &mut impl FnMut(&[u8; 12])) {
        for datum in datums {
            if let Value::Sealed(sealed) = &datum.value {
                each(&sealed.nonce);
            }
            walk(datum.nested(), each);
        }
    }
    walk(&block.datums, each);
    let seal = block
        .validation
        .as_ref()
        .and_then(|checks| checks.integrity.as_ref());
    walk(seal.map(std::slice::from_ref).unwrap_or_default(), each);
}

/// Returns the time in a nonce, without the bit that Windows' driver sets in it (format spec 2.10).
fn time_of(nonce: &[u8; 12]) -> u64 {
    const DRIVER_BIT: u64 = 1 << 63;
    let [time @ .., _, _, _, _] = *nonce;
    u64::from_le_bytes(time) & !DRIVER_BIT
}
