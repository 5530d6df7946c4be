//! Writing metadata that are whole again.
//!
//! What is whole stays as it is. Of the rest, the copy goes first that the new content owes least to, so that what could
//! not be put together again is overwritten last; each is written so that a torn one is never taken for whole, and the
//! boot sector comes after all of them.

use keyhaven_crypto::Secret;
use keyhaven_disk::{BlockDevice, ReadError, WritableDevice, WriteError};

use zeroize::Zeroizing;

use super::remains::Remains;
use super::settle::Salvaged;
use crate::edit::{CopyError, first_free_nonce, write_copy};
use crate::format::FileTime;
use crate::format::block::{InformationBlock, MAX_REGION_LEN_BYTES};
use crate::format::boot_sector::{BootLayout, BootSector, EOW_INFORMATION_OFFSET_GUID};
use crate::format::boot_template::BootTemplate;
use crate::format::datum::{Datum, Value, key_type, kind, role};
use crate::keys::{RecoveryPassword, VolumeMasterKey};
use crate::metadata::{Integrity, Metadata};
use crate::metadata_builder::{MetadataBuilder, MetadataError};
use crate::protector::{KeyProtector, ProtectorKind};
use crate::state::VolumeFormat;
use crate::volume::{Unlocked, Volume};

/// What is to be written to a damaged volume.
#[derive(Debug)]
pub struct Repair {
    region: Vec<u8>,
    /// Where copies are written, in the order in which they are.
    copies: Vec<(u8, u64)>,
    boot: Option<Vec<u8>>,
    is_rebuilt: bool,
}

/// A part of the volume that will be overwritten, with what is there.
#[derive(Debug)]
pub struct Replaced {
    /// Where, in bytes.
    pub offset: u64,
    /// What is there; sectors that cannot be read are zeros.
    pub bytes: Vec<u8>,
}

/// Why a volume is not repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// Nothing is damaged.
    #[error("nothing is damaged: the boot sector and the three copies of the metadata are whole")]
    NothingToDo,
    /// Copies differ, each whole in itself, and nothing tells which is the right one.
    #[error("the copies of the metadata are whole, and copy {0} differs from the one in use")]
    CopiesDiffer(u8),
    /// The metadata cannot be sealed.
    #[error("the hash that proves the metadata can only be made anew with the master key")]
    NoMasterKey,
    /// Where the metadata belong is not known.
    #[error("where the three copies of the metadata belong is not known")]
    NoPlaces,
    /// Too much is assumed.
    #[error("too much is not known: {0}")]
    Unproven(super::Assumption),
    /// The boot sector of a volume of this kind cannot be made.
    #[error("the boot sector of a drive of this kind ({}) cannot be made anew", .0.name())]
    NoBootSector(VolumeFormat),
    /// The record of encrypted parts is damaged.
    #[error("the record of encrypted parts is damaged, and cannot be made anew")]
    Record,
    /// The metadata cannot be put together.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What was put together does not read as it should. Nothing was written.
    #[error("the metadata do not read back: {0}")]
    NotAsMade(&'static str),
    /// What is there cannot be read.
    #[error("the drive cannot be read")]
    Read(#[from] ReadError),
    /// Writing failed.
    #[error("{what} cannot be written")]
    Write {
        /// What.
        what: String,
        /// What the device said.
        source: WriteError,
    },
    /// What was written reads differently.
    #[error("{what} reads differently from what was written")]
    NotKept {
        /// What.
        what: String,
    },
}

impl Repair {
    /// Plans to put the copy in use in the place of those that are damaged. No key is needed for that: a checksum tells
    /// that the copy is whole. The boot sector is made anew where it is gone, for which `unlocked` is needed.
    ///
    /// # Errors
    /// [`RepairError`].
    pub fn from_copy(volume: &Volume, unlocked: Option<&Unlocked>) -> Result<Self, RepairError> {
        let used = volume.metadata().block();
        let mut copies = Vec::new();
        for copy in volume.copies() {
            match &copy.problem {
                None => {}
                Some(crate::CopyProblem::Differs { .. }) => {
                    return Err(RepairError::CopiesDiffer(copy.number));
                }
                Some(_) => copies.push((copy.number, place(used, copy.number)?)),
            }
        }
        if copies.is_empty() && volume.has_right_boot_sector() {
            return Err(RepairError::NothingToDo);
        }
        let region = region_in_use(volume)?;
        let boot = match (volume.has_right_boot_sector(), unlocked) {
            (true, _) => None,
            (false, Some(unlocked)) => Some(boot_sector(volume, unlocked)?),
            (false, None) => return Err(RepairError::NoMasterKey),
        };
        Ok(Self {
            region,
            copies,
            boot,
            is_rebuilt: false,
        })
    }

    /// Plans to write metadata that were put together from damaged copies.
    ///
    /// # Errors
    /// [`RepairError`].
    pub fn from_remains(remains: &Remains, salvaged: &Salvaged, now: FileTime) -> Result<Self, RepairError> {
        if let Some(assumed) = salvaged.assumptions.first() {
            return Err(match assumed {
                super::Assumption::MetadataPlacesUnknown => RepairError::NoPlaces,
                other => RepairError::Unproven(other.clone()),
            });
        }
        let (volume, unlocked) = (&salvaged.volume, &salvaged.unlocked);
        if volume.eow_problem().is_some() {
            return Err(RepairError::Record);
        }
        let places = match remains.places() {
            [Some(first), Some(second), Some(third)] => [first, second, third],
            _ => return Err(RepairError::NoPlaces),
        };
        let (region, is_rebuilt) = match remains.combined() {
            Some(region) => (region.to_vec(), false),
            None => (rebuild(volume, unlocked, places, now)?, true),
        };
        let mut copies: Vec<(u8, u64)> = (1..).zip(places).collect();
        // What gives least goes first.
        copies.sort_by_key(|(number, offset)| {
            let mut there = vec![0; region.len()];
            let same = match volume.device().read_at(*offset, &mut there) {
                Ok(()) => there
                    .chunks(512)
                    .zip(region.chunks(512))
                    .filter(|(own, new)| own == new)
                    .count(),
                Err(_) => 0,
            };
            (same, *number)
        });
        let boot = if volume.has_right_boot_sector() {
            None
        } else {
            Some(boot_sector(volume, unlocked)?)
        };
        Ok(Self {
            region,
            copies,
            boot,
            is_rebuilt,
        })
    }

    /// Returns the copies that will be written: number and place, in order.
    #[must_use]
    pub fn copies(&self) -> &[(u8, u64)] {
        &self.copies
    }

    /// Tells whether the boot sector will be written.
    #[must_use]
    pub fn writes_boot_sector(&self) -> bool {
        self.boot.is_some()
    }

    /// Tells whether the metadata were made anew of their parts, rather than found whole.
    #[must_use]
    pub fn is_rebuilt(&self) -> bool {
        self.is_rebuilt
    }

    /// Returns what the volume has now where something will be written, to be kept elsewhere first.
    #[must_use]
    pub fn replaced(&self, device: &dyn BlockDevice) -> Vec<Replaced> {
        let boot = self.boot.as_ref().map(|boot| (0, boot.len()));
        let copies = self.copies.iter().map(|(_, offset)| (*offset, self.region.len()));
        boot.into_iter()
            .chain(copies)
            .map(|(offset, len)| {
                let mut bytes = vec![0; len];
                for (at, sector) in (offset..).step_by(512).zip(bytes.chunks_mut(512)) {
                    if device.read_at(at, sector).is_err() {
                        sector.fill(0);
                    }
                }
                Replaced { offset, bytes }
            })
            .collect()
    }

    /// Writes everything, and reads it back.
    ///
    /// # Errors
    /// [`RepairError`]; what was written by then is whole, and the repair can be done again.
    pub fn write(&self, medium: &dyn WritableDevice) -> Result<(), RepairError> {
        for (number, offset) in &self.copies {
            let what = || format!("metadata copy {number}");
            write_copy(medium, *offset, &self.region).map_err(|error| match error {
                CopyError::Write(source) => RepairError::Write { what: what(), source },
                CopyError::ReadBack(error) => RepairError::Read(error),
                CopyError::NotKept => RepairError::NotKept { what: what() },
            })?;
        }
        let Some(boot) = &self.boot else {
            return Ok(());
        };
        let what = || "the boot sector".to_owned();
        medium
            .write_at(0, boot)
            .and_then(|()| medium.flush())
            .map_err(|source| RepairError::Write { what: what(), source })?;
        let mut kept = vec![0; boot.len()];
        medium.read_at(0, &mut kept)?;
        if kept == *boot {
            Ok(())
        } else {
            Err(RepairError::NotKept { what: what() })
        }
    }
}

/// Returns the whole region of the copy in use.
fn region_in_use(volume: &Volume) -> Result<Vec<u8>, RepairError> {
    let len = volume.metadata_region_len_bytes() as usize;
    let wanted = volume.metadata().block().actual_sha256;
    let used = volume
        .copies()
        .iter()
        .find(|copy| copy.used && copy.problem.is_none());
    let offset = used.and_then(|copy| copy.offset).ok_or(RepairError::NoPlaces)?;
    let mut region = vec![0; len];
    volume.device().read_at(offset, &mut region)?;
    let read = MetadataBuilder::read(&region)?;
    if read.block().crc32_is_right() && read.block().actual_sha256 == wanted {
        Ok(region)
    } else {
        Err(RepairError::NotAsMade("the copy in use has changed"))
    }
}

fn place(block: &InformationBlock, number: u8) -> Result<u64, RepairError> {
    let index = usize::from(number).wrapping_sub(1);
    block
        .metadata_offsets
        .get(index)
        .copied()
        .filter(|at| *at > 0)
        .ok_or(RepairError::NoPlaces)
}

/// Puts the entries into a block of their own, with checks made anew.
fn rebuild(
    volume: &Volume,
    unlocked: &Unlocked,
    places: [u64; 3],
    now: FileTime,
) -> Result<Vec<u8>, RepairError> {
    let vmk = unlocked.vmk().ok_or(RepairError::NoMasterKey)?;
    let fvek = unlocked.fvek().ok_or(RepairError::NoMasterKey)?;
    let metadata = unlocked.metadata();
    // Of entries that differ only by damage, those are kept that open.
    let mut block = InformationBlock::of_entries(metadata.block().dataset, sound_entries(metadata, vmk)?);
    block.set_fields(&metadata.block().fields());
    block.metadata_offsets = places;
    block.dataset.method = fvek.method().code();
    let sector = volume.sector_size().bytes_u64();
    let has_place = |datum: &Datum| datum.kind == kind::VIRTUALIZATION;
    if let Some(moved) = metadata
        .virtualized(sector)
        .filter(|_| !block.datums.iter().any(has_place))
    {
        // As Windows 7 writes it: what later ones add about themselves is lost.
        let place = Value::Virtualization {
            offset: moved.offset,
            len_bytes: moved.len_bytes,
            extended: Vec::new(),
        };
        block
            .datums
            .push(Datum::new(role::VIRTUALIZATION, kind::VIRTUALIZATION, place));
    }
    let (counter, time) = first_free_nonce(&block, now)?;
    block.dataset.next_nonce_counter = counter;
    if metadata.volume_id() == crate::Guid::ZERO {
        return Err(RepairError::NotAsMade("nothing says which volume it is"));
    }
    let len = if block.version == 1 {
        volume.metadata_region_len_bytes() as usize
    } else {
        MAX_REGION_LEN_BYTES
    };
    let region = MetadataBuilder::new(block, len).seal(vmk, time)?;
    let read = MetadataBuilder::read(&region)?;
    if !read.block().crc32_is_right() {
        return Err(RepairError::NotAsMade("their checksum is wrong"));
    }
    let read = Metadata::new(read.into_block());
    if read.integrity(Some(vmk)) != Integrity::Right {
        return Err(RepairError::NotAsMade("their sealed hash is wrong"));
    }
    if read.fvek(vmk).is_none_or(|own| own.key() != fvek.key()) {
        return Err(RepairError::NotAsMade("the sector key is another"));
    }
    Ok(region)
}

/// Returns the entries without those that damage made of others: of several versions of an entry the one whose boxes open
/// is kept, or the one that most copies had.
fn sound_entries(metadata: &Metadata, vmk: &VolumeMasterKey) -> Result<Vec<Datum>, RepairError> {
    let datums = &metadata.block().datums;
    let rank = |datum: &Datum| match (&datum.value, KeyProtector::of(datum)) {
        (_, Some(protector)) => proof_of(&protector, vmk),
        (Value::Sealed(sealed), _) => Proof::of(sealed.open(vmk.key()).is_some()),
        _ => Proof::Unknown,
    };
    let same = |one: &Datum, other: &Datum| {
        let id = |datum| KeyProtector::of(datum).map(|own| own.id());
        one.role == other.role && one.kind == other.kind && id(one) == id(other)
    };
    let mut kept: Vec<(&Datum, Proof)> = Vec::new();
    for datum in datums {
        let proof = rank(datum);
        match kept.iter_mut().find(|(other, _)| same(other, datum)) {
            Some(other) if proof > other.1 => *other = (datum, proof),
            Some(_) => {}
            None => kept.push((datum, proof)),
        }
    }
    kept.retain(|(_, proof)| *proof != Proof::Broken);
    let mut bytes = Zeroizing::new(Vec::new());
    for (datum, _) in kept {
        bytes.extend_from_slice(&datum.to_bytes());
    }
    Ok(Datum::read_list(&bytes).map_err(MetadataError::from)?)
}

/// Whether an entry is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    /// It is not.
    Broken,
    /// Nothing tells.
    Unknown,
    /// It is: its boxes open.
    Sound,
}

impl Proof {
    fn of(opens: bool) -> Self {
        if opens { Self::Sound } else { Self::Broken }
    }
}

/// Tries a protector with the copy of its own secret that the master key opens.
fn proof_of(protector: &KeyProtector<'_>, vmk: &VolumeMasterKey) -> Proof {
    let mut kept = protector.kept_secrets().peekable();
    if kept.peek().is_none() {
        return Proof::Unknown;
    }
    let mut proof = Proof::Unknown;
    for sealed in kept {
        let Some(inside) = sealed.open_key(vmk.key()) else {
            return Proof::Broken;
        };
        let key = inside.key.expose_secret();
        let opened = match (inside.key_type, protector.kind()) {
            (key_type::RECOVERY_PASSWORD, _) => Secret::from_slice(key)
                .map(RecoveryPassword::from_key)
                .zip(protector.stretch_key())
                .map(|(password, (_, salt))| protector.open_vmk(&password.stretch(salt))),
            // The others need the chip as well.
            (_, ProtectorKind::RecoveryPassword | ProtectorKind::Password | ProtectorKind::StartupKey) => {
                Secret::from_slice(key).map(|key| protector.open_vmk(&key))
            }
            _ => None,
        };
        if let Some(opened) = opened {
            proof = Proof::of(opened.is_some_and(|own| own == *vmk));
        }
        if proof != Proof::Unknown {
            return proof;
        }
    }
    proof
}

/// Makes the boot sector of the file system's own, which the volume holds encrypted.
fn boot_sector(volume: &Volume, unlocked: &Unlocked) -> Result<Vec<u8>, RepairError> {
    let format = volume.format();
    if !matches!(format, VolumeFormat::Windows7 | VolumeFormat::Eow) {
        return Err(RepairError::NoBootSector(format));
    }
    let data = volume
        .look(unlocked)
        .map_err(|_| RepairError::NotAsMade("the content cannot be read"))?;
    let mut plain = vec![0; 512];
    data.read_at(0, &mut plain)?;
    let is_exfat = plain[3..11] == *b"EXFAT   ";
    if plain[510..] != [0x55, 0xaa] {
        return Err(RepairError::NotAsMade(
            "the drive does not begin with a file system",
        ));
    }
    let u16_at = |at: usize| u16::from_le_bytes([plain[at], plain[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let metadata_offsets = volume.metadata().block().metadata_offsets;
    let template = if is_exfat {
        // exFAT has its numbers elsewhere, and BitLocker writes 0 for them (format spec 1.2).
        BootTemplate {
            bytes_per_sector: 0,
            sectors_per_cluster: 0,
            sectors_per_track: 63,
            heads: 255,
            hidden_sectors: u32_at(0x40),
            metadata_offsets,
        }
    } else {
        BootTemplate {
            bytes_per_sector: u16_at(0x0b),
            sectors_per_cluster: plain[0x0d],
            sectors_per_track: u16_at(0x18),
            heads: u16_at(0x1a),
            hidden_sectors: u32_at(0x1c),
            metadata_offsets,
        }
    };
    let mut boot = template.to_bytes().to_vec();
    if let Some(offsets) = volume.eow_offsets() {
        boot[0xa0..0xb0].copy_from_slice(&EOW_INFORMATION_OFFSET_GUID.to_bytes());
        for (at, offset) in [0xc8, 0xd0].into_iter().zip(offsets) {
            boot[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        }
    }
    let reads = BootSector::read(&boot).is_some_and(|read| {
        matches!(
            read.layout,
            BootLayout::Standard { metadata_offsets } | BootLayout::EncryptOnWrite { metadata_offsets, .. }
                if metadata_offsets == volume.metadata().block().metadata_offsets
        )
    });
    if !reads {
        return Err(RepairError::NotAsMade("the boot sector does not read back"));
    }
    // What lies behind it in a large sector stays.
    let mut sector = vec![0; volume.sector_size().bytes()];
    if volume.device().read_at(0, &mut sector).is_err() {
        sector.fill(0);
    }
    sector[..boot.len()].copy_from_slice(&boot);
    Ok(sector)
}
