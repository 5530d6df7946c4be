//! With the key: what the metadata no longer say is found out, and what they say is held against the data.

use keyhaven_crypto::{SecretBytes, SectorSize};
use keyhaven_disk::BlockDevice;

use super::extent::{Extent, Looking, Unknown};
use super::geometry::{self, FsBoot, Geometry, MOVED_LEN_BYTES, NoGeometry};
use super::remains::{Remains, SalvageError};
use super::report::{Assumption, Evidence};
use crate::encryption_method::EncryptionMethod;
use crate::error::DataError;
use crate::format::block::MAX_REGION_LEN_BYTES;
use crate::format::fragments::BlockFields;
use crate::keys::{FullVolumeEncryptionKey, VolumeMasterKey};
use crate::metadata::{Conversion, Integrity};
use crate::scan::Watch;
use crate::state::VolumeFormat;
use crate::unlocked::UnlockedVolume;
use crate::volume::{Unlocked, Volume};

/// What may be taken for granted where nothing tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Assume {
    /// That the whole volume is encrypted.
    pub fully_encrypted: bool,
}

/// The plaintext of a damaged volume, and what it rests on.
#[derive(Debug)]
pub struct Salvaged {
    /// The plaintext.
    pub data: UnlockedVolume,
    /// The volume as it was put together.
    pub volume: Volume,
    /// Its keys.
    pub unlocked: Unlocked,
    /// What was found, and from what it is known.
    pub evidence: Vec<Evidence>,
    /// What is not known.
    pub assumptions: Vec<Assumption>,
}

/// Why the plaintext of a damaged volume is not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The volume cannot be put together.
    #[error(transparent)]
    Salvage(#[from] SalvageError),
    /// The metadata have no key of the sectors.
    #[error("there is no key of the sectors")]
    NoSectorKey,
    /// Where the moved boot sectors are cannot be found.
    #[error("the start of the drive's file system cannot be found")]
    NoGeometry(#[from] NoGeometry),
    /// Such volumes keep the start of the file system in other ways, which only their metadata tell.
    #[error("of a drive of this kind ({}) nothing can be found without its metadata", .0.name())]
    OtherLayout(VolumeFormat),
    /// How far the volume is encrypted is not known.
    #[error("it is not known how far the drive is encrypted")]
    Extent(#[source] Unknown),
    /// The metadata contradict the data.
    #[error(
        "the metadata say that the drive is encrypted up to byte {stated:#x}, but the data say {found:#x}"
    )]
    Contradiction {
        /// What the metadata say.
        stated: u64,
        /// What the data say.
        found: u64,
    },
    /// The data do not begin as a file system does, although the metadata say where they begin.
    #[error("with what the metadata say the drive does not begin with a file system")]
    NoFileSystem,
    /// The content cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl Remains {
    /// Finds out what the metadata do not say, and shows the plaintext. `unlocked` is what a key made of the volume that
    /// [`volume`](Self::volume) gave.
    ///
    /// # Errors
    /// [`SettleError`]: what is not known and not assumed is never guessed.
    pub fn settle(
        &self,
        volume: Volume,
        unlocked: Unlocked,
        assume: Assume,
        watch: &mut Watch<'_>,
    ) -> Result<Salvaged, SettleError> {
        if unlocked.fvek().is_none() && unlocked.metadata().conversion() != Conversion::Decrypted {
            return Err(SettleError::NoSectorKey);
        }
        let known = (self.is_combined() || self.fields.is_some())
            && unlocked.metadata().block().virtualized_offset > 0;
        if known && (self.is_combined() || begins_with_file_system(&volume, &unlocked)?) {
            return self.by_metadata(volume, unlocked, assume);
        }
        let (vmk, fvek) = unlocked.into_keys();
        let fvek = fvek.ok_or(SettleError::NoSectorKey)?;
        self.by_trial(&volume, vmk, vec![fvek], assume, watch)
    }

    /// Shows the plaintext with the key of the sectors alone; by which method it is used is found out, too.
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn settle_with_sector_key(
        &self,
        key: &SecretBytes,
        assume: Assume,
        watch: &mut Watch<'_>,
    ) -> Result<Salvaged, SettleError> {
        let keys = EncryptionMethod::ALL
            .iter()
            .filter_map(|method| FullVolumeEncryptionKey::from_slice(*method, key.expose_secret()));
        let volume = self.volume(watch)?;
        self.by_trial(&volume, None, keys.collect(), assume, watch)
    }

    /// Takes what the header says, and holds it against the data.
    fn by_metadata(
        &self,
        volume: Volume,
        unlocked: Unlocked,
        assume: Assume,
    ) -> Result<Salvaged, SettleError> {
        let mut evidence = self.evidence().to_vec();
        let mut assumptions = Vec::new();
        let data = volume.look(&unlocked)?;
        let mut first = [0; 512];
        data.read_at(0, &mut first).map_err(DataError::Read)?;
        match FsBoot::read(&first) {
            Some(boot) => evidence.push(Evidence::FirstSector {
                file_system: boot.file_system,
            }),
            // Whatever is sealed is as it was.
            None if unlocked.integrity() == Integrity::Right => {}
            None => return Err(SettleError::NoFileSystem),
        }
        assumptions.extend(first_sector_lost(&volume));
        if unlocked.integrity() == Integrity::Right {
            evidence.push(Evidence::Sealed);
        } else if !self.is_combined() {
            let is_agreed = self.fields.is_some_and(|fields| fields.is_agreed);
            self.check_extent(
                &volume,
                &unlocked,
                is_agreed,
                assume,
                &mut evidence,
                &mut assumptions,
            )?;
        }
        Ok(Salvaged {
            data,
            volume,
            unlocked,
            evidence,
            assumptions,
        })
    }

    /// Holds what an unproven header says of the extent against the data.
    fn check_extent(
        &self,
        volume: &Volume,
        unlocked: &Unlocked,
        is_agreed: bool,
        assume: Assume,
        evidence: &mut Vec<Evidence>,
        assumptions: &mut Vec<Assumption>,
    ) -> Result<(), SettleError> {
        let Some(fvek) = unlocked.fvek() else {
            return Ok(());
        };
        let stated = match unlocked.metadata().conversion() {
            // The record of chunks has checksums of its own.
            _ if volume.eow_problem().is_none() && volume.format() == VolumeFormat::Eow => {
                return Ok(());
            }
            Conversion::Encrypted => volume.size_bytes(),
            Conversion::Encrypting { .. } | Conversion::Decrypting { .. } => {
                unlocked.metadata().block().state_offset
            }
            _ => return Ok(()),
        };
        let sector_size = volume.sector_size();
        let cipher = fvek.cipher(sector_size);
        // What was in flight when the conversion broke off is neither.
        let mut apart = self.apart(volume);
        let in_flight = u64::from(unlocked.metadata().block().state_len_bytes);
        apart.push(stated..stated.saturating_add(in_flight));
        let extent = Looking {
            device: self.device(),
            cipher: &cipher,
            sector_size,
            apart,
        }
        .judge(volume.size_bytes());
        match extent {
            Extent::Whole { at } if stated > at => evidence.push(Evidence::EncryptedToTheEnd { at }),
            Extent::UpTo { from, to } if (from..=to).contains(&stated) => {
                evidence.push(Evidence::Boundary { at: stated });
            }
            Extent::Whole { at: found } | Extent::UpTo { to: found, .. } => {
                return Err(SettleError::Contradiction { stated, found });
            }
            Extent::Unknown(_) if is_agreed => {}
            Extent::Unknown(_) if assume.fully_encrypted && stated == volume.size_bytes() => {
                assumptions.push(Assumption::FullyEncrypted);
            }
            Extent::Unknown(_) => assumptions.push(Assumption::HeaderUnproven),
        }
        Ok(())
    }

    /// Finds everything by decrypting.
    fn by_trial(
        &self,
        volume: &Volume,
        vmk: Option<VolumeMasterKey>,
        keys: Vec<FullVolumeEncryptionKey>,
        assume: Assume,
        watch: &mut Watch<'_>,
    ) -> Result<Salvaged, SettleError> {
        let mut evidence = self.evidence().to_vec();
        let mut assumptions = Vec::new();
        let format = volume.format();
        if matches!(format, VolumeFormat::ToGo | VolumeFormat::Vista) {
            return Err(SettleError::OtherLayout(format));
        }
        let sizes = sector_sizes(volume, self);
        let Geometry {
            fvek,
            sector_size,
            moved_at,
            backup_at,
            first,
            boot,
        } = geometry::find(self.device(), keys, &sizes, watch)?;
        evidence.push(Evidence::Method(fvek.method()));
        match moved_at {
            Some(at) => evidence.push(Evidence::MovedFound {
                at,
                file_system: boot.file_system,
            }),
            None => {
                evidence.extend(backup_at.map(|at| Evidence::BackupFound { at }));
                assumptions.push(Assumption::MovedSectorsUnknown);
            }
        }
        // Windows makes only FAT drives readable in part elsewhere, and moves far more of these.
        if boot.file_system == "FAT" {
            assumptions.push(Assumption::NotToGo);
        }
        let there = self.device().len_bytes();
        if boot.len_bytes == there {
            evidence.push(Evidence::SizeAgrees { len_bytes: there });
        }
        let len_bytes = boot
            .len_bytes
            .max(there / sector_size.bytes_u64() * sector_size.bytes_u64());

        let mut apart = self.apart(volume);
        apart.push(0..MOVED_LEN_BYTES);
        let cipher = fvek.cipher(sector_size);
        let looking = Looking {
            device: self.device(),
            cipher: &cipher,
            sector_size,
            apart,
        };
        // A volume that is encrypted on write is shown by its record, or not at all.
        let has_record = volume.eow_problem().is_some() || volume.format() == VolumeFormat::Eow;
        let ignores_record = assume.fully_encrypted;
        let extent = looking.judge(len_bytes);
        let (current, next, state_offset) = match extent {
            _ if has_record && !ignores_record => (4, 4, len_bytes),
            _ if assume.fully_encrypted => {
                match extent {
                    Extent::Whole { at } => evidence.push(Evidence::EncryptedToTheEnd { at }),
                    _ => assumptions.push(Assumption::FullyEncrypted),
                }
                (4, 4, len_bytes)
            }
            Extent::Whole { at } => {
                evidence.push(Evidence::EncryptedToTheEnd { at });
                (4, 4, len_bytes)
            }
            Extent::UpTo { to: at, .. } => {
                evidence.push(Evidence::Boundary { at });
                (3, 4, at)
            }
            Extent::Unknown(why) => return Err(SettleError::Extent(why)),
        };
        let places = self.places();
        if places.iter().any(Option::is_none) {
            assumptions.push(Assumption::MetadataPlacesUnknown);
        }
        let fields = BlockFields {
            is_signed: true,
            version: 2,
            current_state: current,
            next_state: next,
            state_offset,
            state_len_bytes: 0,
            virtualized_sectors: moved_at.map_or(0, |_| (MOVED_LEN_BYTES / sector_size.bytes_u64()) as u32),
            metadata_offsets: places.map(Option::unwrap_or_default),
            virtualized_offset: moved_at.unwrap_or_default(),
        };
        let restored_start = if moved_at.is_some() {
            Vec::new()
        } else {
            let mut start = first;
            start.resize(MOVED_LEN_BYTES as usize, 0);
            start
        };
        let volume = self.volume_with(
            Some(fields),
            places,
            Some(sector_size),
            restored_start,
            ignores_record,
            watch,
        )?;
        let unlocked = Unlocked::of_keys(&volume, vmk, fvek);
        let data = volume.look(&unlocked)?;
        // What was wiped with the metadata holds no data, nor do zeros around the end of encryption, of which nobody knows
        // on which side of it they are.
        let data = if places.iter().any(Option::is_none) || state_offset < len_bytes {
            data.with_unwritten_as_zeros()
        } else {
            data
        };
        Ok(Salvaged {
            data,
            volume,
            unlocked,
            evidence,
            assumptions,
        })
    }

    /// Returns the parts of the volume that are no content.
    fn apart(&self, volume: &Volume) -> Vec<std::ops::Range<u64>> {
        let region = MAX_REGION_LEN_BYTES as u64;
        let mut apart: Vec<_> = self
            .places()
            .into_iter()
            .flatten()
            .map(|at| at..at.saturating_add(region))
            .collect();
        let moved = volume.metadata().virtualized(volume.sector_size().bytes_u64());
        apart.push(0..moved.map_or(MOVED_LEN_BYTES, |moved| moved.len_bytes));
        apart
    }
}

/// Returns what is not known of a volume whose file system's first sector lies where BitLocker's should be, and is gone.
#[must_use]
pub fn first_sector_lost(volume: &Volume) -> Option<Assumption> {
    let is_lost = volume.format() == VolumeFormat::Vista && !volume.has_boot_sector();
    is_lost.then_some(Assumption::FirstSectorLost)
}

/// Tells whether the plaintext, as the metadata have it, begins with a boot sector or is sealed to be so.
fn begins_with_file_system(volume: &Volume, unlocked: &Unlocked) -> Result<bool, SettleError> {
    if unlocked.integrity() == Integrity::Right {
        return Ok(true);
    }
    let data = match volume.look(unlocked) {
        Ok(data) => data,
        // What is encrypted on write cannot be found out in any other way.
        Err(error @ DataError::Eow(_)) => return Err(error.into()),
        Err(_) => return Ok(false),
    };
    let mut first = [0; 512];
    Ok(data.read_at(0, &mut first).is_ok() && FsBoot::read(&first).is_some())
}

/// Returns the sizes of sectors that are worth trying.
fn sector_sizes(volume: &Volume, remains: &Remains) -> Vec<SectorSize> {
    let stated = remains
        .boot()
        .map(|boot| u32::from(boot.bytes_per_sector))
        .filter(|size| *size > 0);
    let known = stated
        .or_else(|| volume.metadata().sector_size())
        .and_then(SectorSize::new);
    match known {
        Some(known) => vec![known],
        None => [512, 4096].into_iter().filter_map(SectorSize::new).collect(),
    }
}
