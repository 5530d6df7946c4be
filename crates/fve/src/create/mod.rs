//! Making a volume: keys and metadata in memory first, then everything on the medium, the boot sector last.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use keyhaven_fve::{EncryptionMethod, Randomness, create::*, format::FileTime, keys::RecoveryPassword};
//! # let (medium, now): (keyhaven_disk::Writable, FileTime) = unimplemented!();
//! # let random: &mut Randomness<'_> = unimplemented!();
//! let mut new = NewVolume::new(medium.len_bytes(), EncryptionMethod::AesXts128, now);
//! new.protectors.push(NewProtector::RecoveryPassword(RecoveryPassword::generate(random)?));
//! let prepared = new.prepare(random)?;
//! // Now `prepared.records()` go where they will be safe. Then, and not before:
//! prepared.write(&*medium)?;
//! # Ok(()) }
//! ```
//!
//! Nothing of the content is written but its first sectors, as zeros. What was never written reads as noise, because
//! that is what any bytes decrypt to: whoever puts a file system on the volume writes all that it will read. That may
//! be done before the volume can be recognised, with [`PreparedVolume::write_with`]: then there is no moment at which
//! it can be opened and does not hold what it is made to hold.

mod laid;
mod placement;

use std::io;
use std::sync::Arc;

use keyhaven_crypto::{Secret, SecretBytes, SectorSize};
use keyhaven_disk::{Device, ReadError, Writable, WritableDevice, WriteError};

use crate::credential::Credential;
use crate::encryption_method::EncryptionMethod;
use crate::format::FileTime;
use crate::format::block::{DatasetHeader, InformationBlock};
use crate::format::boot_template::BootTemplate;
use crate::format::datum::{Datum, SealedDatum, Utf16, Value, kind, role};
use crate::format::virtualization::{ExtendedVirtualization, FLAG_1, FLAG_DATA, FLAG_LARGE_SECTORS};
use crate::guid::Guid;
use crate::keys::{FullVolumeEncryptionKey, VolumeMasterKey};
use crate::metadata_builder::{MetadataBuilder, MetadataError};
use crate::protector::{MakingError, ProtectorKind, clear_key};
use crate::randomness::{self, Randomness};
use crate::record::RecoveryRecord;
use crate::volume::{OpenOptions, Volume, unwatched};
use crate::writable::WritableVolume;

use laid::{Fronted, Laid};

pub use crate::protector::NewProtector;
pub use placement::{MOVED_LEN_BYTES, Placement, PlacementError, REGION_LEN_BYTES};

/// The Windows that new metadata say they are from: 11, version 23H2. A volume of that build was looked at.
const BUILD: u32 = 22631;

/// Windows uses up the first nonce before it stores anything (format spec 3.2).
const FIRST_NONCE_COUNTER: u32 = 2;

/// A volume that is to be made.
#[derive(Debug)]
pub struct NewVolume {
    /// Its size in bytes. What is more than whole sectors is left unused.
    pub len_bytes: u64,
    /// The size of its sectors, which is also the unit of encryption.
    pub sector_size: SectorSize,
    /// The size of the clusters, in bytes, of the file system that it is for. What the volume keeps for itself starts
    /// and ends with one.
    pub cluster: u32,
    /// How many sectors of the disk are in front of it.
    pub hidden_sectors: u32,
    /// How its sectors are encrypted.
    pub method: EncryptionMethod,
    /// The ways to open it, in the order in which they will be stored: at least one.
    pub protectors: Vec<NewProtector>,
    /// What tells it from others. Windows writes the computer's name, the label or letter, and the date.
    pub description: String,
    /// When it is made.
    pub created: FileTime,
}

/// Why a volume could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Nothing would open it.
    #[error("a volume without a key protector could never be opened")]
    NoProtector,
    /// There is no room for what it keeps for itself, or no rule where to put it.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// Its metadata could not be put together.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// There was no randomness.
    #[error("the source of randomness failed")]
    Randomness(#[from] io::Error),
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was written could not be read back.
    #[error("what was written cannot be read back")]
    ReadBack(#[source] ReadError),
    /// What was written does not open. A medium that does not keep what it is given is found out before.
    #[error("the new volume does not open")]
    NotOpen(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was written reads differently: the medium does not keep what it is given.
    #[error("what was written at byte {offset:#x} reads differently")]
    NotKept {
        /// Where the metadata copy begins that differs, in bytes.
        offset: u64,
    },
}

impl From<MakingError> for CreateError {
    fn from(error: MakingError) -> Self {
        match error {
            MakingError::Metadata(error) => Self::Metadata(error),
            MakingError::Randomness(error) => Self::Randomness(error),
        }
    }
}

impl NewVolume {
    /// Starts with 512-byte sectors, 4096-byte clusters, nothing in front, no protector and no description.
    #[must_use]
    pub fn new(len_bytes: u64, method: EncryptionMethod, created: FileTime) -> Self {
        Self {
            len_bytes,
            sector_size: SectorSize::B512,
            cluster: 4096,
            hidden_sectors: 0,
            method,
            protectors: Vec::new(),
            description: String::new(),
            created,
        }
    }

    /// Makes the volume's keys and metadata, in memory. Stretching a password or recovery key takes its time.
    ///
    /// # Errors
    /// [`CreateError`]; nothing has been written then.
    pub fn prepare(self, random: &mut Randomness<'_>) -> Result<PreparedVolume, CreateError> {
        let placement = Placement::new(self.whole_sectors(), self.sector_size, self.cluster)?;
        self.prepare_at(placement, random)
    }

    /// Makes the volume's keys and metadata as [`prepare`](Self::prepare) does, for places that a file system has free.
    ///
    /// # Errors
    /// [`CreateError`]; nothing has been written then.
    pub fn prepare_at(
        self,
        placement: Placement,
        random: &mut Randomness<'_>,
    ) -> Result<PreparedVolume, CreateError> {
        if self.protectors.is_empty() {
            return Err(CreateError::NoProtector);
        }
        let len_bytes = self.whole_sectors();
        let (volume_id, vmk) = (randomness::guid(random)?, VolumeMasterKey::generate(random)?);
        let fvek = FullVolumeEncryptionKey::generate(self.method, random)?;

        let mut metadata = self.empty_metadata(volume_id, len_bytes, &placement);
        let description = Value::Text(Utf16::new(&self.description));
        metadata.add(Datum::new(role::DESCRIPTION, kind::TEXT, description));
        // Windows' tools take the time of an operation in whole milliseconds, its driver does not.
        let time = FileTime(self.created.0 / 10_000 * 10_000);
        let mut made = Vec::new();
        let mut records = Vec::new();
        for new in self.protectors {
            let mut new = new.make(&vmk, &mut metadata, time, random)?;
            if new.kind == ProtectorKind::ClearKey {
                new.datum.flags = clear_key::FLAGS_SINCE_CREATION;
            }
            metadata.add(new.datum);
            made.push((new.id, new.kind));
            records.extend(new.key.map(|key| RecoveryRecord {
                volume_id,
                protector_id: new.id,
                description: Some(self.description.clone()),
                modified: time,
                key,
            }));
        }
        let nonce = metadata.nonce(time)?;
        let sealed = SealedDatum::seal_key(
            vmk.key(),
            nonce,
            self.method.code(),
            SecretBytes::copy_of(fvek.stored()),
        );
        metadata.add(Datum::new(role::FVEK, kind::SEALED, Value::Sealed(sealed)));
        metadata.add(virtualization(&placement, self.sector_size));
        let region = metadata.seal(&vmk, self.created)?;

        // Behind the boot sector Windows leaves what was there before, encrypted: noise.
        let mut front = vec![0; MOVED_LEN_BYTES as usize];
        random(&mut front)?;
        let boot = BootTemplate {
            bytes_per_sector: self.sector_size.bytes() as u16,
            sectors_per_cluster: (self.cluster / self.sector_size.bytes() as u32) as u8,
            // What every tool writes that does not know better.
            sectors_per_track: 63,
            heads: 255,
            hidden_sectors: self.hidden_sectors,
            metadata_offsets: placement.metadata_offsets,
        }
        .to_bytes();
        front[..boot.len()].copy_from_slice(&boot);
        Ok(PreparedVolume {
            len_bytes,
            sector_size: self.sector_size,
            volume_id,
            protectors: made,
            records,
            placement,
            vmk,
            fvek,
            region,
            front,
        })
    }

    fn whole_sectors(&self) -> u64 {
        let sector = self.sector_size.bytes_u64();
        self.len_bytes / sector * sector
    }

    /// Starts metadata of a volume that is wholly encrypted, without entries.
    fn empty_metadata(&self, volume_id: Guid, len_bytes: u64, placement: &Placement) -> MetadataBuilder {
        const ENCRYPTED: u16 = 4;
        let block = InformationBlock {
            size_bytes: 0,
            version: 2,
            current_state: ENCRYPTED,
            next_state: ENCRYPTED,
            state_offset: len_bytes,
            state_len_bytes: 0,
            virtualized_sectors: (MOVED_LEN_BYTES / self.sector_size.bytes_u64()) as u32,
            metadata_offsets: placement.metadata_offsets,
            virtualized_offset: placement.moved_offset,
            dataset: DatasetHeader {
                size: 0,
                version: 1,
                start: 0,
                end: 0,
                id: volume_id,
                next_nonce_counter: FIRST_NONCE_COUNTER,
                method: self.method.code(),
                // A copy of the method where it was chosen rather than the default (inferred, format spec 2.4).
                unknown_26: self.method.code(),
                created: self.created,
            },
            datums: Vec::new(),
            validation: None,
            actual_crc32: 0,
            actual_sha256: [0; 32],
        };
        MetadataBuilder::new(block, REGION_LEN_BYTES as usize)
    }
}

fn virtualization(placement: &Placement, sector_size: SectorSize) -> Datum {
    let sector_size = sector_size.bytes() as u32;
    let large = if sector_size == 512 { 0 } else { FLAG_LARGE_SECTORS };
    let extended = ExtendedVirtualization {
        flags: FLAG_1 | FLAG_DATA | large,
        sector_size,
        physical_sector_size: sector_size,
        build: BUILD,
        spare_offset: placement.spare.start,
        spare_len_bytes: (placement.spare.end - placement.spare.start) as u32,
    };
    let value = Value::Virtualization {
        offset: placement.moved_offset,
        len_bytes: MOVED_LEN_BYTES,
        extended: extended.to_bytes().to_vec(),
    };
    Datum::new(role::VIRTUALIZATION, kind::VIRTUALIZATION, value)
}

/// A volume whose keys are made and of which nothing is written yet.
#[derive(Debug)]
pub struct PreparedVolume {
    len_bytes: u64,
    sector_size: SectorSize,
    volume_id: Guid,
    protectors: Vec<(Guid, ProtectorKind)>,
    records: Vec<RecoveryRecord>,
    placement: Placement,
    vmk: VolumeMasterKey,
    fvek: FullVolumeEncryptionKey,
    /// What all three metadata copies are.
    region: Vec<u8>,
    /// What stands in front, in place of the sectors that are moved.
    front: Vec<u8>,
}

impl PreparedVolume {
    /// Returns the size of the volume in bytes: whole sectors.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Returns the volume's identifier.
    #[must_use]
    pub fn volume_id(&self) -> Guid {
        self.volume_id
    }

    /// Returns the identifiers and kinds of its protectors, as they are stored.
    #[must_use]
    pub fn protectors(&self) -> &[(Guid, ProtectorKind)] {
        &self.protectors
    }

    /// Returns the keys that are worth keeping elsewhere: recovery keys and key files.
    #[must_use]
    pub fn records(&self) -> &[RecoveryRecord] {
        &self.records
    }

    /// Returns which places the volume keeps for itself.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    pub(crate) fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    pub(crate) fn vmk(&self) -> &VolumeMasterKey {
        &self.vmk
    }

    pub(crate) fn region(&self) -> &[u8] {
        &self.region
    }

    pub(crate) fn front(&self) -> &[u8] {
        &self.front
    }

    /// Returns the key of the sectors.
    #[must_use]
    pub fn fvek(&self) -> &FullVolumeEncryptionKey {
        &self.fvek
    }

    /// Returns the master key, with which the volume can be opened without stretching anything.
    #[must_use]
    pub fn into_vmk(self) -> VolumeMasterKey {
        self.vmk
    }

    /// Writes the volume to `medium`: a few hundred kilobytes, whatever its size.
    ///
    /// What was on the medium can no longer be recognised after the first step, and the new volume can be after the
    /// last: first its old boot sectors go; then come the moved sectors and the spare part, as zeros; then the
    /// metadata, one copy after the other, each brought to the medium and read back; the boot sector comes last.
    ///
    /// # Errors
    /// [`CreateError`]; except where the medium is too small, what was on it is lost then, and the volume may be made
    /// again.
    pub fn write(&self, medium: &dyn WritableDevice) -> Result<(), CreateError> {
        self.write_all_but_boot(medium)?;
        self.write_boot(medium)
    }

    /// Writes the volume as [`write`](Self::write) does, and its content before the volume can be recognised.
    ///
    /// `content` is given the plaintext to write; all of it is on the medium before the boot sector is. It must not
    /// expect what it does not write to be zeros.
    ///
    /// # Errors
    /// As [`write`](Self::write), or what `content` fails with; there is no volume then.
    pub fn write_with<E: From<CreateError>>(
        &self,
        medium: &Writable,
        content: impl FnOnce(&WritableVolume) -> Result<(), E>,
    ) -> Result<(), E> {
        self.write_all_but_boot(&**medium)?;
        content(&self.content(medium)?)?;
        medium.flush().map_err(CreateError::Write)?;
        Ok(self.write_boot(&**medium)?)
    }

    /// Opens the volume as it is going to be, in memory: what keys can be proven on before anything is written.
    ///
    /// # Errors
    /// [`CreateError::NotOpen`], which would be a fault of this crate.
    pub fn preview(&self) -> Result<Volume, CreateError> {
        let mut parts = vec![(0, self.front.clone())];
        parts.extend(
            self.placement
                .metadata_offsets
                .map(|offset| (offset, self.region.clone())),
        );
        let laid: Device = Arc::new(Laid {
            len_bytes: self.len_bytes,
            parts,
        });
        Volume::open(laid, &OpenOptions::default(), &mut unwatched).map_err(not_open)
    }

    /// Opens the plaintext while the boot sector is not there yet.
    fn content(&self, medium: &Writable) -> Result<WritableVolume, CreateError> {
        let fronted: Writable = Arc::new(Fronted {
            boot: self.front[..self.sector_size.bytes()].to_vec(),
            medium: Arc::clone(medium),
        });
        let volume =
            Volume::open(fronted.clone(), &OpenOptions::default(), &mut unwatched).map_err(not_open)?;
        let vmk = VolumeMasterKey::new(Secret::from(*self.vmk.key().expose_secret()));
        let unlocked = volume
            .unlock(&Credential::VolumeMasterKey(vmk))
            .map_err(not_open)?;
        let data = volume.data(unlocked).map_err(not_open)?;
        data.writable(fronted).map_err(not_open)
    }

    fn write_all_but_boot(&self, medium: &dyn WritableDevice) -> Result<(), CreateError> {
        let end = medium.len_bytes();
        if end < self.len_bytes {
            return Err(CreateError::Write(WriteError::PastEnd {
                offset: 0,
                len_bytes: self.len_bytes,
                end,
            }));
        }
        medium.write_at(0, &vec![0; self.front.len()])?;
        medium.flush()?;

        let cipher = self.fvek.cipher(self.sector_size);
        let spare = &self.placement.spare;
        for (offset, len_bytes) in [
            (self.placement.moved_offset, MOVED_LEN_BYTES),
            (spare.start, spare.end - spare.start),
        ] {
            let mut zeros = vec![0; len_bytes as usize];
            cipher.encrypt(offset, &mut zeros);
            medium.write_at(offset, &zeros)?;
        }
        for offset in self.placement.metadata_offsets {
            medium.write_at(offset, &self.region)?;
            medium.flush()?;
            let mut kept = vec![0; self.region.len()];
            medium.read_at(offset, &mut kept).map_err(CreateError::ReadBack)?;
            if kept != self.region {
                return Err(CreateError::NotKept { offset });
            }
        }
        let behind = &self.front[self.sector_size.bytes()..];
        medium.write_at(self.sector_size.bytes_u64(), behind)?;
        medium.flush()?;
        Ok(())
    }

    fn write_boot(&self, medium: &dyn WritableDevice) -> Result<(), CreateError> {
        medium.write_at(0, &self.front[..self.sector_size.bytes()])?;
        medium.flush()?;
        Ok(())
    }
}

fn not_open(error: impl std::error::Error + Send + Sync + 'static) -> CreateError {
    CreateError::NotOpen(Box::new(error))
}
