//! The partitions of a whole disk: GPT and MBR.
//!
//! [`table`] looks at a device and answers with its [`PartitionTable`], or `None` where the device is not divided
//! (a single volume, an empty disk). A GPT is looked for at the device's own sector size, then at 512 and 4096
//! bytes, because the image file of a disk does not tell the size of its sectors. Damage that could be worked
//! around is in [`PartitionTable::warnings`]; a disk that says it has a GPT of which no copy can be read is an error.
//!
//! Everything is read from a hostile medium: counts and sizes are capped, chains are finite, and partitions that
//! cannot exist are left out. Partitions may reach past the end of the device (a cut-off image): they keep the
//! length that the table gives.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::device::{Device, ReadError};
use crate::view::View;
use crate::writable::Writable;

mod boot_sector;
mod gpt;
mod mbr;

pub(crate) use boot_sector::{BootSector, FatKind};
pub use gpt::GptProblem;

/// The bytes of the first sector that tell what it is, whatever the size of the sectors.
const FIRST_SECTOR_LEN: usize = 512;

/// Returns the partition table of `device`, `None` if it has none.
///
/// A boot sector of a file system also ends in 55 AA and is not taken for a table, nor is a sector whose entries
/// make no sense as partitions.
///
/// # Errors
/// [`PartitionError::Read`] when the first sector cannot be read, [`PartitionError::DamagedGpt`] when the disk says
/// it has a GPT and neither copy of it can be used.
pub fn table(device: &Device) -> Result<Option<PartitionTable>, PartitionError> {
    let mut first = [0; FIRST_SECTOR_LEN];
    match device.read_at(0, &mut first) {
        Ok(()) => {}
        Err(_) if device.len_bytes() < FIRST_SECTOR_LEN as u64 => return Ok(None),
        Err(source) => return Err(PartitionError::Read { source }),
    }
    if BootSector::parse(&first).is_some() {
        return Ok(None);
    }
    match mbr::parse(&first) {
        Some(mbr::FirstSector::Protective) => gpt::read(device).map(Some),
        Some(mbr::FirstSector::Table(entries)) => Ok(Some(mbr::read(device, entries))),
        // The protective MBR is gone, the GPT may have survived it.
        None => Ok(gpt::read_without_protective_mbr(device, &first)),
    }
}

/// Returns what the backup of a GPT at the end of a disk says, whatever is at its start; `None` if there is none.
///
/// For disks whose start was overwritten. Not to be believed by itself: it also outlives a disk's being divided anew.
#[must_use]
pub fn backup_table(device: &Device) -> Option<PartitionTable> {
    gpt::read_backup(device)
}

/// Returns whether this is the first sector of a disk with partitions, by itself.
pub(crate) fn is_table(first_sector: &[u8; FIRST_SECTOR_LEN]) -> bool {
    BootSector::parse(first_sector).is_none() && mbr::parse(first_sector).is_some()
}

/// What a disk says about how it is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionTable {
    /// Which kind of table this is.
    pub kind: TableKind,
    /// The size in bytes of the sectors that the table counts in.
    pub sector_size: u32,
    /// The partitions in the order of their numbers, without the extended partition that only holds others.
    pub partitions: Vec<Partition>,
    /// What was wrong with the table and could be worked around.
    pub warnings: Vec<Warning>,
}

impl PartitionTable {
    /// Returns the partition with this number, `None` if there is none.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.number == number)
    }
}

/// A kind of partition table, with the identity it gives the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableKind {
    /// A GUID partition table.
    Gpt {
        /// The GUID of the disk.
        disk_guid: Uuid,
    },
    /// A master boot record.
    Mbr {
        /// The disk signature that Windows gives a disk; 0 if it has none.
        disk_signature: u32,
    },
}

/// Writes the usual short name: "GPT", "MBR".
impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt { .. } => "GPT",
            Self::Mbr { .. } => "MBR",
        })
    }
}

/// A part of a disk, as its table describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// The number that Linux gives it: from 1 in the order of the table; logical partitions of an MBR from 5.
    pub number: u32,
    /// Where it begins, in bytes from the start of the disk.
    pub start: u64,
    /// How long the table says it is, in bytes.
    pub len_bytes: u64,
    /// What the table says it is for.
    pub kind: PartitionKind,
    /// The name in a GPT; `None` if it is empty or the table is an MBR.
    pub name: Option<String>,
}

impl Partition {
    /// Returns the partition as a device; `disk` is the device that the table was read from.
    ///
    /// It has the length that the table says even if the disk ends earlier (a cut-off image).
    #[must_use]
    pub fn device(&self, disk: &Device) -> Device {
        Arc::new(View::new(Arc::clone(disk), self.start, self.len_bytes))
    }

    /// Returns the partition as a device that can be written, as [`device`](Self::device) does.
    #[must_use]
    pub fn writable_device(&self, disk: &Writable) -> Writable {
        Arc::new(View::new(Arc::clone(disk), self.start, self.len_bytes))
    }
}

/// What a table says a partition is for. What is inside may be something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionKind {
    /// An entry of a GPT.
    Gpt {
        /// The GUID of its type.
        type_guid: Uuid,
        /// Its own GUID.
        unique_guid: Uuid,
    },
    /// An entry of an MBR.
    Mbr {
        /// The type byte.
        type_byte: u8,
        /// Whether it is the partition to start from.
        active: bool,
    },
}

impl PartitionKind {
    /// Returns the usual name of this type, `None` for the rarer ones.
    ///
    /// Source: the types that sfdisk and Windows' diskpart create.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Gpt { type_guid, .. } => GPT_TYPES
                .iter()
                .find(|(guid, _)| *guid == type_guid.as_u128())
                .map(|(_, name)| *name),
            Self::Mbr { type_byte, .. } => MBR_TYPES
                .iter()
                .find(|(byte, _)| byte == type_byte)
                .map(|(_, name)| *name),
        }
    }
}

/// Writes the name of the type, or the type itself where it has none here.
impl fmt::Display for PartitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (Some(name), _) => f.write_str(name),
            (None, Self::Gpt { type_guid, .. }) => write!(f, "type {type_guid}"),
            (None, Self::Mbr { type_byte, .. }) => write!(f, "type {type_byte:#04x}"),
        }
    }
}

const GPT_TYPES: &[(u128, &str)] = &[
    (0xEBD0A0A2_B9E5_4433_87C0_68B6B72699C7, "Windows data"),
    (0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B, "EFI system"),
    (0xE3C9E316_0B5C_4DB8_817D_F92DF00215AE, "Microsoft reserved"),
    (0xDE94BBA4_06D1_4D40_A16A_BFD50179D6AC, "Windows recovery"),
    (
        0x5808C8AA_7E8F_42E0_85D2_E1E90434CFB3,
        "Windows dynamic disk metadata",
    ),
    (
        0xAF9B60A0_1431_4F62_BC68_3311714A69AD,
        "Windows dynamic disk data",
    ),
    (0xE75CAF8F_F680_4CEE_AFA3_B001E56EFC2D, "Windows storage space"),
    (0x0FC63DAF_8483_4772_8E79_3D69D8477DE4, "Linux file system"),
    (0x0657FD6D_A4AB_43C4_84E5_0933C84B4F4F, "Linux swap"),
    (0xE6D6D379_F507_44C2_A23C_238F2A3DF928, "Linux LVM"),
    (0xA19D880F_05FC_4D3B_A006_743F0F84911E, "Linux RAID"),
    (0x21686148_6449_6E6F_744E_656564454649, "BIOS boot"),
    (0x7C3457EF_0000_11AA_AA11_00306543ECAC, "Apple APFS"),
    (0x48465300_0000_11AA_AA11_00306543ECAC, "Apple HFS+"),
];

const MBR_TYPES: &[(u8, &str)] = &[
    (0x01, "FAT12"),
    (0x04, "FAT16"),
    (0x06, "FAT16"),
    (0x07, "NTFS or exFAT"),
    (0x0B, "FAT32"),
    (0x0C, "FAT32"),
    (0x0E, "FAT16"),
    (0x27, "Windows recovery"),
    (0x42, "Windows dynamic disk"),
    (0x82, "Linux swap"),
    (0x83, "Linux file system"),
    (0x8E, "Linux LVM"),
    (0xAF, "Apple HFS+"),
    (0xEF, "EFI system"),
    (0xFD, "Linux RAID"),
];

/// Damage of a partition table that could be worked around.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The first copy of the GPT is damaged; the backup at the end of the disk was used.
    BackupUsed {
        /// What is wrong with the first copy.
        primary: GptProblem,
    },
    /// The sector that should announce the GPT is gone; the GPT was found all the same.
    NoProtectiveMbr,
    /// An entry that cannot be a partition was left out.
    EntryIgnored {
        /// The number that the partition would have had.
        number: u32,
    },
    /// The chain of logical partitions breaks off; those before the break are there.
    LogicalPartitionsCutShort {
        /// Where the next link should be, in bytes from the start of the disk.
        offset: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackupUsed { primary } => {
                write!(
                    f,
                    "the first copy of the GPT is damaged ({primary}); the backup was used"
                )
            }
            Self::NoProtectiveMbr => {
                f.write_str("the disk has a GPT, but the MBR that should announce it is gone")
            }
            Self::EntryIgnored { number } => {
                write!(
                    f,
                    "entry {number} of the partition table cannot be a partition and was left out"
                )
            }
            Self::LogicalPartitionsCutShort { offset } => {
                write!(f, "the chain of logical partitions breaks off at byte {offset}")
            }
        }
    }
}

/// Why the partitions of a disk could not be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The first sector could not be read.
    #[error("cannot read the first sector of the disk")]
    Read {
        /// What the device said.
        source: ReadError,
    },
    /// The disk says that it has a GPT, and neither copy can be used.
    #[error(
        "the disk says it has a GPT, but the first copy is damaged ({primary}) and so is the backup ({backup})"
    )]
    DamagedGpt {
        /// What is wrong with the copy at the start of the disk.
        primary: GptProblem,
        /// What is wrong with the copy at the end of the disk.
        backup: GptProblem,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_divided_has_no_table() {
        for bytes in [
            vec![],
            vec![0; 511],
            vec![0; 512],
            vec![0; 1 << 20],
            vec![0xFF; 1 << 20],
        ] {
            let device: Device = Arc::new(bytes);
            assert_eq!(table(&device).expect("readable"), None);
        }
    }

    #[test]
    fn kinds_are_named_in_words() {
        let mbr = |type_byte| PartitionKind::Mbr {
            type_byte,
            active: false,
        };
        assert_eq!(mbr(7).to_string(), "NTFS or exFAT");
        assert_eq!(mbr(0x5A).to_string(), "type 0x5a");
        let gpt = |type_guid| PartitionKind::Gpt {
            type_guid,
            unique_guid: Uuid::nil(),
        };
        assert_eq!(gpt(Uuid::from_u128(GPT_TYPES[0].0)).to_string(), "Windows data");
        assert_eq!(
            gpt(Uuid::max()).to_string(),
            "type ffffffff-ffff-ffff-ffff-ffffffffffff"
        );
    }
}
