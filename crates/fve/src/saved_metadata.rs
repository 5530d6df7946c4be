//! A copy of a volume's metadata outside the volume, as other systems have header backups.
//!
//! It holds what stands on the volume in the clear: wrapped keys, no open ones (but where protection was suspended). With
//! a password or recovery key of the time it was made it opens the volume, also after that was removed from it: it is
//! kept like a key.
//!
//! The file, integers little-endian: `KEYHAVEN-METADATA` and a line end, version (u16) 1; volume identifier (16 bytes),
//! size of the volume's device in bytes (u64), size of a sector (u32), time of saving (u64, a FILETIME), the offsets of
//! the three copies (3 x u64); length of the boot sector (u32) and the sector; length of a region (u32) and the region;
//! SHA-256 of all of that.

use keyhaven_disk::{ReadError, WritableDevice, WriteError};
use zeroize::Zeroizing;

use crate::edit::{CopyError, write_copy};
use crate::format::FileTime;
use crate::format::block::{InformationBlock, MAX_REGION_LEN_BYTES};
use crate::guid::Guid;
use crate::metadata_builder::MetadataBuilder;
use crate::state::VolumeFormat;
use crate::volume::Volume;

const MAGIC: [u8; 18] = *b"KEYHAVEN-METADATA\n";
const VERSION: u16 = 1;
const HASH_LEN: usize = 32;
const MAX_SECTOR: usize = 4096;

/// The metadata of a volume as they were at one time.
#[derive(Debug)]
pub struct SavedMetadata {
    volume_id: Guid,
    device_len_bytes: u64,
    sector_size: u32,
    saved: FileTime,
    offsets: [u64; 3],
    boot: Vec<u8>,
    region: Zeroizing<Vec<u8>>,
}

/// Why metadata could not be saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSaved {
    /// The boot sector is damaged: what belongs there is not known.
    #[error("the drive's first sector is damaged")]
    NoBootSector,
    /// No copy is whole.
    #[error("no copy of the metadata is undamaged")]
    NoSoundCopy,
    /// The device failed.
    #[error("the drive cannot be read")]
    Read(#[from] ReadError),
}

/// Why bytes are not saved metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSavedMetadata {
    /// They do not begin as such a file does.
    #[error("it is not a file of saved metadata")]
    Other,
    /// They were written by a later version.
    #[error("it is a file of saved metadata of version {0}, and only version 1 is known")]
    Version(u16),
    /// They are cut off or changed.
    #[error("the file of saved metadata is damaged")]
    Damaged,
}

/// Why saved metadata were not put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// They are of another volume.
    #[error("the saved metadata are of volume {saved}, and this is volume {found}")]
    OtherVolume {
        /// Whose they are.
        saved: Guid,
        /// What is here.
        found: Guid,
    },
    /// The device does not have the size of the one that they were saved from.
    #[error("the saved metadata are of a drive of {saved} bytes, and this one has {found}")]
    OtherSize {
        /// The size it had, in bytes.
        saved: u64,
        /// The size it has.
        found: u64,
    },
    /// Its sectors have another size.
    #[error(
        "the saved metadata are of a drive with sectors of {saved} bytes, and this one has sectors of {found}"
    )]
    OtherSectorSize {
        /// The size that they had, in bytes.
        saved: u32,
        /// The size that they have.
        found: u32,
    },
    /// The volume has been encrypted or decrypted since, wholly or in part.
    #[error("the drive was encrypted or decrypted further since the metadata were saved")]
    OtherState,
    /// The volume was being encrypted when they were saved, and nothing tells how far that is now.
    #[error("the metadata were saved while the drive was being encrypted or decrypted")]
    WasConverting,
    /// Nothing on the device tells which volume it is.
    #[error("nothing on the drive tells whether the saved metadata are its own")]
    Unrecognised,
    /// Writing failed.
    #[error("the saved metadata cannot be written")]
    Write(#[from] WriteError),
    /// What was written cannot be read back.
    #[error("what was written cannot be read back")]
    ReadBack(#[source] ReadError),
    /// What was written reads differently.
    #[error("metadata copy {0} reads differently from what was written")]
    NotKept(u8),
}

impl SavedMetadata {
    /// Takes the metadata of a volume: the newest sound copy, and the boot sector that leads to it.
    ///
    /// # Errors
    /// [`NotSaved`] where there is nothing sound to be saved.
    pub fn take(volume: &Volume, now: FileTime) -> Result<Self, NotSaved> {
        if !volume.has_boot_sector() {
            return Err(NotSaved::NoBootSector);
        }
        let len = volume.metadata_region_len_bytes() as usize;
        let wanted = volume.metadata().block().actual_sha256;
        let mut found = None;
        for copy in volume.copies().iter().filter(|copy| copy.problem.is_none()) {
            let Some(offset) = copy.offset else { continue };
            let mut region = Zeroizing::new(vec![0; len]);
            if volume.device().read_at(offset, &mut region).is_err() {
                continue;
            }
            let is_it = MetadataBuilder::read(&region).is_ok_and(|read| read.block().actual_sha256 == wanted);
            if is_it {
                found = Some(region);
                break;
            }
        }
        let region = found.ok_or(NotSaved::NoSoundCopy)?;
        let mut boot = vec![0; volume.sector_size().bytes()];
        volume.device().read_at(0, &mut boot)?;
        Ok(Self {
            volume_id: volume.metadata().volume_id(),
            device_len_bytes: volume.device().len_bytes(),
            sector_size: volume.sector_size().bytes() as u32,
            saved: now,
            offsets: volume.metadata().block().metadata_offsets,
            boot,
            region,
        })
    }

    /// Returns the identifier of the volume that they are of.
    #[must_use]
    pub fn volume_id(&self) -> Guid {
        self.volume_id
    }

    /// Returns what one copy of the metadata takes on the volume, byte for byte.
    #[must_use]
    pub fn region(&self) -> &[u8] {
        &self.region
    }

    /// Returns when they were saved.
    #[must_use]
    pub fn saved(&self) -> FileTime {
        self.saved
    }

    /// Writes the file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.region.len() + self.boot.len() + 256));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.volume_id.to_bytes());
        bytes.extend_from_slice(&self.device_len_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.sector_size.to_le_bytes());
        bytes.extend_from_slice(&self.saved.0.to_le_bytes());
        for offset in self.offsets {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        for part in [&self.boot, &*self.region] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        let hash = keyhaven_crypto::sha256(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`NotSavedMetadata`].
    pub fn read(bytes: &[u8]) -> Result<Self, NotSavedMetadata> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(NotSavedMetadata::Other)?;
        let mut rest = Rest(rest);
        let version = u16::from_le_bytes(rest.take()?);
        if version != VERSION {
            return Err(NotSavedMetadata::Version(version));
        }
        let (covered, hash) = bytes
            .split_at_checked(bytes.len().saturating_sub(HASH_LEN))
            .ok_or(NotSavedMetadata::Damaged)?;
        if keyhaven_crypto::sha256(covered) != *hash {
            return Err(NotSavedMetadata::Damaged);
        }
        let saved = Self {
            volume_id: Guid::from_bytes(rest.take()?),
            device_len_bytes: u64::from_le_bytes(rest.take()?),
            sector_size: u32::from_le_bytes(rest.take()?),
            saved: FileTime(u64::from_le_bytes(rest.take()?)),
            offsets: [
                u64::from_le_bytes(rest.take()?),
                u64::from_le_bytes(rest.take()?),
                u64::from_le_bytes(rest.take()?),
            ],
            boot: rest.part(MAX_SECTOR)?.to_vec(),
            region: Zeroizing::new(rest.part(MAX_REGION_LEN_BYTES)?.to_vec()),
        };
        // A right hash over nonsense is a file that nobody here wrote.
        let is_whole = rest.0.len() == HASH_LEN && saved.boot.len() == saved.sector_size as usize;
        let block = InformationBlock::read(&saved.region).map_err(|_| NotSavedMetadata::Damaged)?;
        let is_sound = block.crc32_is_right()
            && block.metadata_offsets == saved.offsets
            && block.dataset.id == saved.volume_id;
        if is_whole && is_sound {
            Ok(saved)
        } else {
            Err(NotSavedMetadata::Damaged)
        }
    }

    /// Checks that the metadata belong on `device`; `volume` is what can be recognised there.
    ///
    /// `blindly` takes the word of the caller where nothing can be.
    ///
    /// # Errors
    /// [`RestoreError`], of the kinds that tell what does not fit.
    pub fn fits(
        &self,
        device: &dyn keyhaven_disk::BlockDevice,
        volume: Option<&Volume>,
        blindly: bool,
    ) -> Result<(), RestoreError> {
        if device.len_bytes() != self.device_len_bytes {
            return Err(RestoreError::OtherSize {
                saved: self.device_len_bytes,
                found: device.len_bytes(),
            });
        }
        let own = InformationBlock::read(&self.region).map_err(|_| RestoreError::Unrecognised)?;
        let Some(volume) = volume else {
            let was_at_rest = own.current_state == own.next_state && own.state_len_bytes == 0;
            return match (blindly, was_at_rest) {
                (_, false) => Err(RestoreError::WasConverting),
                (false, true) => Err(RestoreError::Unrecognised),
                (true, true) => Ok(()),
            };
        };
        let found = volume.metadata().volume_id();
        if found != self.volume_id {
            return Err(RestoreError::OtherVolume {
                saved: self.volume_id,
                found,
            });
        }
        let sector_size = volume.sector_size().bytes() as u32;
        if sector_size != self.sector_size {
            return Err(RestoreError::OtherSectorSize {
                saved: self.sector_size,
                found: sector_size,
            });
        }
        let now = volume.metadata().block();
        let state = |block: &InformationBlock| {
            (
                block.current_state,
                block.next_state,
                block.state_offset,
                block.state_len_bytes,
                block.metadata_offsets,
                block.virtualized_offset,
            )
        };
        let was_eow = crate::format::boot_sector::BootSector::read(&self.boot).is_some_and(|boot| {
            matches!(
                boot.layout,
                crate::format::boot_sector::BootLayout::EncryptOnWrite { .. }
            )
        });
        let is_eow = volume.format() == VolumeFormat::Eow;
        if state(now) != state(&own) || (volume.has_boot_sector() && was_eow != is_eow) {
            return Err(RestoreError::OtherState);
        }
        Ok(())
    }

    /// Puts the metadata back: the three copies one after the other, each whole or unrecognisable at any time, and the
    /// boot sector last. The checks of [`fits`](Self::fits) are made first.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(
        &self,
        medium: &dyn WritableDevice,
        volume: Option<&Volume>,
        blindly: bool,
    ) -> Result<(), RestoreError> {
        self.fits(medium, volume, blindly)?;
        for (copy, offset) in (1..).zip(self.offsets) {
            write_copy(medium, offset, &self.region).map_err(|error| match error {
                CopyError::Write(error) => RestoreError::Write(error),
                CopyError::ReadBack(error) => RestoreError::ReadBack(error),
                CopyError::NotKept => RestoreError::NotKept(copy),
            })?;
        }
        let mut boot = vec![0; self.boot.len()];
        if medium.read_at(0, &mut boot).is_err() || boot != self.boot {
            medium.write_at(0, &self.boot)?;
            medium.flush()?;
        }
        Ok(())
    }
}

/// What of a file has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NotSavedMetadata> {
        let (first, rest) = self.0.split_first_chunk().ok_or(NotSavedMetadata::Damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    fn part(&mut self, most: usize) -> Result<&'a [u8], NotSavedMetadata> {
        let len = u32::from_le_bytes(self.take()?) as usize;
        if len > most {
            return Err(NotSavedMetadata::Damaged);
        }
        let (part, rest) = self.0.split_at_checked(len).ok_or(NotSavedMetadata::Damaged)?;
        self.0 = rest;
        Ok(part)
    }
}
