//! An unlocked volume that is written.
//!
//! Every sector is encrypted again where it lies, the moved boot sectors at their new home (format spec 4.1). A write
//! changes no sector but those it names, in one write of the medium for each run, so whatever ends the process leaves
//! all others as they were.

use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use keyhaven_crypto::{SectorCipher, SectorSize};
use keyhaven_disk::{AlignedBuffer, BlockDevice, ReadError, Writable, WritableDevice, WriteError};

use crate::layout::{Piece, Source};
use crate::metadata::{Conversion, Integrity};
use crate::state::VolumeFormat;
use crate::unlocked::UnlockedVolume;
use crate::volume::{Unlocked, Volume};

/// How much is encrypted and written at once, in bytes, and what the locks cover.
const STRIPE_LEN: u64 = 128 * 1024;

/// How many stripes have a lock of their own; the others share.
const LOCKS: usize = 64;

/// Why an unlocked volume must not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotWritable {
    /// It is being encrypted or decrypted: Windows keeps a record of how far that is, which a write would belie.
    #[error("the drive is only encrypted in part, and its encryption has not ended")]
    Converting,
    /// Windows was turning encryption off, or never turned it on.
    #[error("the drive is not encrypted")]
    Decrypted,
    /// Nothing proves that the metadata are as they should be, and they decide what is written in the clear.
    #[error("nothing proves that the drive's metadata are unaltered")]
    Unproven,
    /// Its boot sector is damaged.
    #[error("the drive's first sector is damaged")]
    NoBootSector,
    /// The device ends before the volume does.
    #[error("the data ends before the drive does: it has {found} bytes of {expected}")]
    CutOff {
        /// How long the volume is, in bytes.
        expected: u64,
        /// How much of it is there.
        found: u64,
    },
}

impl NotWritable {
    /// Finds the reason why a volume must not be written, if there is one.
    pub(crate) fn judge(volume: &Volume, unlocked: &Unlocked) -> Result<(), Self> {
        let (expected, found) = (volume.size_bytes(), volume.device().len_bytes());
        match unlocked.metadata().conversion() {
            Conversion::Encrypted => {}
            Conversion::Decrypted => return Err(Self::Decrypted),
            _ => return Err(Self::Converting),
        }
        if volume.format() == VolumeFormat::Eow {
            // Even where all chunks are encrypted: Windows may write the record again at any time.
            return Err(Self::Converting);
        }
        if unlocked.integrity() != Integrity::Right {
            return Err(Self::Unproven);
        }
        if !volume.has_boot_sector() {
            return Err(Self::NoBootSector);
        }
        if found < expected {
            return Err(Self::CutOff { expected, found });
        }
        Ok(())
    }
}

/// An unlocked volume: reading it decrypts, writing it encrypts.
///
/// What Windows keeps for itself reads as zeros and stays as it is: writing zeros there does nothing, writing anything
/// else is [`WriteError::Fixed`]. Reads and writes of the same sectors at the same time see them before or after each
/// other, never half.
#[derive(Debug)]
pub struct WritableVolume {
    volume: UnlockedVolume,
    medium: Writable,
    /// A stripe's lock is that of its number modulo [`LOCKS`]; nobody holds two.
    locks: [RwLock<()>; LOCKS],
    spare: Mutex<Vec<AlignedBuffer>>,
}

impl UnlockedVolume {
    /// Makes the volume one that can be written; `medium` is the device on which it lies, opened for that.
    ///
    /// # Errors
    /// [`NotWritable`] where the state of the volume forbids it.
    pub fn writable(self, medium: Writable) -> Result<WritableVolume, NotWritable> {
        self.may_be_written?;
        Ok(WritableVolume {
            volume: self,
            medium,
            locks: std::array::from_fn(|_| RwLock::new(())),
            spare: Mutex::new(Vec::new()),
        })
    }
}

impl WritableVolume {
    fn lock(&self, offset: u64) -> &RwLock<()> {
        &self.locks[(offset / STRIPE_LEN) as usize % LOCKS]
    }

    fn to_read(&self, offset: u64) -> RwLockReadGuard<'_, ()> {
        // The locks guard no state of ours that a panic could leave half-done.
        self.lock(offset).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_write(&self, offset: u64) -> RwLockWriteGuard<'_, ()> {
        self.lock(offset).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `each` with the pieces of a range, in order: the piece, where the part begins, how long it is.
    fn for_each_part<E>(
        &self,
        offset: u64,
        len_bytes: u64,
        mut each: impl FnMut(&Piece, u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut at, end) = (offset, offset.saturating_add(len_bytes));
        while at < end {
            // The range was found to be inside, and pieces have no gaps.
            let Some(piece) = self.volume.piece_at(at) else {
                return Ok(());
            };
            let part_end = piece.end.min(end);
            each(piece, at, part_end - at)?;
            at = part_end;
        }
        Ok(())
    }

    /// Finds out before anything is written whether the range holds something that cannot be changed.
    fn check_fixed(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.for_each_part(offset, bytes.len() as u64, |piece, at, len| {
            let part = &bytes[(at - offset) as usize..][..len as usize];
            let changed = match &piece.source {
                Source::Encrypted { .. } | Source::Plain { .. } => None,
                Source::Zeros => part.iter().position(|byte| *byte != 0),
                Source::Restored(shown) => part
                    .iter()
                    .zip(&shown[(at - piece.start) as usize..])
                    .position(|(new, old)| new != old),
            };
            match changed {
                None => Ok(()),
                Some(first) => Err(WriteError::Fixed {
                    offset: at + first as u64,
                }),
            }
        })
    }

    /// Writes a part that lies in one piece and one stripe.
    fn write_part(&self, piece: &Piece, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let skipped = offset - piece.start;
        match &piece.source {
            Source::Zeros | Source::Restored(_) => Ok(()),
            Source::Plain { at } => self.medium.write_at(at + skipped, bytes),
            Source::Encrypted { at } => {
                let (cipher, sector_size) = self.volume.cipher();
                self.write_encrypted(cipher, sector_size, at + skipped, bytes)
            }
        }
        .map_err(|error| at_logical(error, offset))
    }

    /// Encrypts and writes; of sectors that are only changed in part the rest is read first. The caller holds the lock.
    fn write_encrypted(
        &self,
        cipher: &SectorCipher,
        sector_size: SectorSize,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), WriteError> {
        let sector = sector_size.bytes_u64();
        let end = at + bytes.len() as u64;
        let (first, past) = (at / sector * sector, end.next_multiple_of(sector));
        let mut buffer = self.buffer();
        let run = buffer.first_mut((past - first) as usize);
        let mut read_sector = |from: u64| -> Result<(), WriteError> {
            let place = &mut run[(from - first) as usize..][..sector_size.bytes()];
            self.medium.read_at(from, place)?;
            self.volume.decrypt(from, place);
            Ok(())
        };
        if first < at {
            read_sector(first)?;
        }
        // Not twice where both ends lie in one sector.
        if end < past && (first == at || past - sector > first) {
            read_sector(past - sector)?;
        }
        run[(at - first) as usize..][..bytes.len()].copy_from_slice(bytes);
        cipher.encrypt(first, run);
        let written = self.medium.write_at(first, run);
        self.give_back(buffer);
        written
    }

    fn buffer(&self) -> AlignedBuffer {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // Both ends may lie in the middle of a sector.
        spare.unwrap_or_else(|| AlignedBuffer::new(STRIPE_LEN as usize + 2 * 4096))
    }

    fn give_back(&self, buffer: AlignedBuffer) {
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
    }
}

impl BlockDevice for WritableVolume {
    fn len_bytes(&self) -> u64 {
        self.volume.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.volume.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset, buf.len() as u64, self.len_bytes())?;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let len = (STRIPE_LEN - at % STRIPE_LEN).min(rest.len() as u64) as usize;
            let (part, after) = rest.split_at_mut(len);
            let _guard = self.to_read(at);
            self.volume.read_at(at, part)?;
            at += len as u64;
            rest = after;
        }
        Ok(())
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        self.volume.hole_at(offset, len)
    }
}

impl WritableDevice for WritableVolume {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        WriteError::check_range(offset, bytes.len() as u64, self.len_bytes())?;
        self.check_fixed(offset, bytes)?;
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = (STRIPE_LEN - at % STRIPE_LEN).min(rest.len() as u64);
            let (stripe, after) = rest.split_at(len as usize);
            let _guard = self.to_write(at);
            self.for_each_part(at, len, |piece, part_at, part_len| {
                let part = &stripe[(part_at - at) as usize..][..part_len as usize];
                self.write_part(piece, part_at, part)
            })?;
            at += len;
            rest = after;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.medium.flush()
    }

    fn can_discard(&self) -> bool {
        self.medium.can_discard()
    }

    /// Only whole sectors that are stored are given up.
    fn discard(&self, offset: u64, len_bytes: u64) -> Result<(), WriteError> {
        WriteError::check_range(offset, len_bytes, self.len_bytes())?;
        let sector = u64::from(self.sector_size());
        self.for_each_part(offset, len_bytes, |piece, at, len| {
            let (Source::Encrypted { at: stored } | Source::Plain { at: stored }) = &piece.source else {
                return Ok(());
            };
            let physical = stored + (at - piece.start);
            let start = physical.next_multiple_of(sector);
            let end = (physical + len) / sector * sector;
            if start < end {
                self.medium
                    .discard(start, end - start)
                    .map_err(|error| at_logical(error, at))
            } else {
                Ok(())
            }
        })
    }
}

/// Restates an error of the medium in the plaintext's offsets.
fn at_logical(error: WriteError, offset: u64) -> WriteError {
    match error {
        WriteError::PastEnd {
            offset: at,
            len_bytes,
            end,
        } => WriteError::PastEnd {
            offset,
            len_bytes,
            end: offset.saturating_add(end.saturating_sub(at)),
        },
        WriteError::Fixed { .. } => WriteError::Fixed { offset },
        WriteError::Read(error) => WriteError::Read(crate::unlocked::at_logical(error, offset)),
        WriteError::Io {
            len_bytes, source, ..
        } => WriteError::Io {
            offset,
            len_bytes,
            source,
        },
        other => other,
    }
}
