//! The GUID partition table.
//!
//! A disk has two copies: a header in sector 1 with its entries after it, and a backup header in the last sector
//! with its entries before it. Headers are parsed by gptman, one sector at a time; the entries are bounded,
//! read and checksummed here, because gptman's own reader multiplies, allocates and asserts with what the header
//! says.
//!
//! Source: UEFI specification, section 5.3.

use std::fmt;
use std::io::{Cursor, Read};

use gptman::{GPTHeader, GPTPartitionEntry};
use uuid::Uuid;

use super::{FIRST_SECTOR_LEN, Partition, PartitionError, PartitionKind, PartitionTable, TableKind, Warning};
use crate::device::Device;

/// More entries than any disk has; the usual number is 128.
const MAX_ENTRIES: u32 = 1024;

/// The size of an entry is 128 times a power of two; nobody writes more than 128.
const ENTRY_SIZES: std::ops::RangeInclusive<u32> = 128..=4096;

/// The sector sizes that disks have had.
const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// How much of the start must be zeros for a backup alone to be believed: wiped, not reused by a file system.
const WIPED_LEN: usize = 128 * 1024;

/// Reads the GPT of a disk whose first sector announces one.
pub(super) fn read(device: &Device) -> Result<PartitionTable, PartitionError> {
    let mut first_failure = None;
    for sector_size in sector_sizes(device) {
        match read_at_sector_size(device, sector_size) {
            Ok(table) => return Ok(table),
            Err(problems) => {
                // A header that is there but damaged says more than one that is not there.
                let better = match &first_failure {
                    None => true,
                    Some((GptProblem::NoSignature, GptProblem::NoSignature)) => true,
                    Some(_) => false,
                };
                if better {
                    first_failure = Some(problems);
                }
            }
        }
    }
    let (primary, backup) = first_failure.unwrap_or((GptProblem::NoSignature, GptProblem::NoSignature));
    Err(PartitionError::DamagedGpt { primary, backup })
}

/// Looks for a GPT on a disk whose first sector does not announce one.
///
/// The first copy is believed by its checksums. The backup is believed only where the start of the disk was wiped:
/// a backup table outlives the disk's reuse as a single file system.
pub(super) fn read_without_protective_mbr(
    device: &Device,
    first_sector: &[u8; FIRST_SECTOR_LEN],
) -> Option<PartitionTable> {
    let wiped = first_sector.iter().all(|byte| *byte == 0) && starts_with_zeros(device);
    sector_sizes(device).find_map(|sector_size| {
        let mut table = match read_copy(device, sector_size, 1) {
            Ok(copy) => copy.into_table(sector_size, vec![]),
            Err(_) if !wiped => return None,
            Err(primary) => {
                let copy = read_copy(device, sector_size, last_sector(device, sector_size)?).ok()?;
                copy.into_table(sector_size, vec![Warning::BackupUsed { primary }])
            }
        };
        table.warnings.insert(0, Warning::NoProtectiveMbr);
        Some(table)
    })
}

/// Returns what the backup at the end of a disk says, whatever is at its start.
pub(super) fn read_backup(device: &Device) -> Option<PartitionTable> {
    sector_sizes(device).find_map(|sector_size| {
        let copy = read_copy(device, sector_size, last_sector(device, sector_size)?).ok()?;
        Some(copy.into_table(sector_size, vec![]))
    })
}

fn starts_with_zeros(device: &Device) -> bool {
    let len = device.len_bytes().min(WIPED_LEN as u64);
    let mut start = vec![0xFF; usize::try_from(len).unwrap_or(WIPED_LEN)];
    device.read_at(0, &mut start).is_ok() && start.iter().all(|byte| *byte == 0)
}

/// The device's own sector size first, then the usual ones.
fn sector_sizes(device: &Device) -> impl Iterator<Item = u32> {
    let own = device.sector_size();
    let own_is_usable = own.is_power_of_two() && (512..=65536).contains(&own);
    own_is_usable
        .then_some(own)
        .into_iter()
        .chain(SECTOR_SIZES.into_iter().filter(move |size| *size != own))
}

fn last_sector(device: &Device, sector_size: u32) -> Option<u64> {
    device
        .len_bytes()
        .checked_div(u64::from(sector_size))?
        .checked_sub(1)
}

fn read_at_sector_size(
    device: &Device,
    sector_size: u32,
) -> Result<PartitionTable, (GptProblem, GptProblem)> {
    let primary = match read_copy(device, sector_size, 1) {
        Ok(copy) => return Ok(copy.into_table(sector_size, vec![])),
        Err(problem) => problem,
    };
    // An image that was grown keeps its backup where the disk used to end, and only the first header knows where.
    let named = read_header(device, sector_size, 1)
        .ok()
        .map(|header| header.backup_lba);
    let mut backup_problem = GptProblem::NoSignature;
    for lba in last_sector(device, sector_size).into_iter().chain(named) {
        match read_copy(device, sector_size, lba) {
            Ok(copy) => return Ok(copy.into_table(sector_size, vec![Warning::BackupUsed { primary }])),
            Err(problem) if backup_problem == GptProblem::NoSignature => backup_problem = problem,
            Err(_) => {}
        }
    }
    Err((primary, backup_problem))
}

/// One copy of the table that holds together.
struct Copy {
    header: GPTHeader,
    entries: Vec<GPTPartitionEntry>,
}

fn read_copy(device: &Device, sector_size: u32, lba: u64) -> Result<Copy, GptProblem> {
    let header = read_header(device, sector_size, lba)?;
    let entries = read_entries(device, sector_size, &header)?;
    Ok(Copy { header, entries })
}

fn read_header(device: &Device, sector_size: u32, lba: u64) -> Result<GPTHeader, GptProblem> {
    let offset = lba
        .checked_mul(u64::from(sector_size))
        .ok_or(GptProblem::Unreadable)?;
    let mut sector = [0; FIRST_SECTOR_LEN];
    device
        .read_at(offset, &mut sector)
        .map_err(|_| GptProblem::Unreadable)?;
    let header = GPTHeader::read_from(&mut Cursor::new(&sector[..])).map_err(|error| match error {
        gptman::Error::InvalidSignature => GptProblem::NoSignature,
        gptman::Error::InvalidRevision | gptman::Error::InvalidHeaderSize => GptProblem::UnknownVersion,
        gptman::Error::InvalidChecksum(..) => GptProblem::HeaderChecksum,
        _ => GptProblem::Unreadable,
    })?;
    if header.primary_lba != lba {
        return Err(GptProblem::Misplaced {
            found_at: lba,
            names: header.primary_lba,
        });
    }
    let (entries, size) = (header.number_of_partition_entries, header.size_of_partition_entry);
    if entries > MAX_ENTRIES || !ENTRY_SIZES.contains(&size) || !size.is_power_of_two() {
        return Err(GptProblem::EntriesOutOfBounds { entries, size });
    }
    Ok(header)
}

fn read_entries(
    device: &Device,
    sector_size: u32,
    header: &GPTHeader,
) -> Result<Vec<GPTPartitionEntry>, GptProblem> {
    let offset = header
        .partition_entry_lba
        .checked_mul(u64::from(sector_size))
        .ok_or(GptProblem::Unreadable)?;
    // At most 4 MiB, by the bounds on the header.
    let entry_size = usize::try_from(header.size_of_partition_entry).map_err(|_| GptProblem::Unreadable)?;
    let count = usize::try_from(header.number_of_partition_entries).map_err(|_| GptProblem::Unreadable)?;
    let mut array = vec![0; entry_size.saturating_mul(count)];
    device
        .read_at(offset, &mut array)
        .map_err(|_| GptProblem::Unreadable)?;
    if crc32fast::hash(&array) != header.partition_entry_array_crc32 {
        return Err(GptProblem::EntriesChecksum);
    }
    array
        .chunks_exact(entry_size.max(1))
        // gptman reads as many bytes as its struct has in memory, which is more than an entry has on disk.
        .map(|entry| GPTPartitionEntry::read_from(&mut entry.chain(std::io::repeat(0))))
        .collect::<Result<_, _>>()
        .map_err(|_| GptProblem::Unreadable)
}

impl Copy {
    fn into_table(self, sector_size: u32, mut warnings: Vec<Warning>) -> PartitionTable {
        let mut partitions = Vec::new();
        for (number, entry) in (1..).zip(&self.entries) {
            if entry.is_unused() {
                continue;
            }
            match partition(number, entry, sector_size) {
                Some(partition) => partitions.push(partition),
                None => warnings.push(Warning::EntryIgnored { number }),
            }
        }
        let kind = TableKind::Gpt {
            disk_guid: Uuid::from_bytes_le(self.header.disk_guid),
        };
        PartitionTable {
            kind,
            sector_size,
            partitions,
            warnings,
        }
    }
}

/// Returns what an entry describes, `None` if no disk could have it.
fn partition(number: u32, entry: &GPTPartitionEntry, sector_size: u32) -> Option<Partition> {
    let sectors = entry.ending_lba.checked_sub(entry.starting_lba)?.checked_add(1)?;
    let start = entry.starting_lba.checked_mul(u64::from(sector_size))?;
    let len_bytes = sectors.checked_mul(u64::from(sector_size))?;
    start.checked_add(len_bytes)?;
    if start == 0 {
        return None;
    }
    let name = entry.partition_name.as_str();
    Some(Partition {
        number,
        start,
        len_bytes,
        kind: PartitionKind::Gpt {
            type_guid: Uuid::from_bytes_le(entry.partition_type_guid),
            unique_guid: Uuid::from_bytes_le(entry.unique_partition_guid),
        },
        name: (!name.is_empty()).then(|| name.to_owned()),
    })
}

/// What is wrong with one copy of a GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GptProblem {
    /// The medium ends before it or fails there.
    Unreadable,
    /// There is no header where one should be.
    NoSignature,
    /// The header has a version or a size that is not known.
    UnknownVersion,
    /// The checksum of the header is wrong.
    HeaderChecksum,
    /// The header names another sector than the one it is in.
    Misplaced {
        /// The sector it was found in.
        found_at: u64,
        /// The sector it says it is in.
        names: u64,
    },
    /// The header gives a number or a size of entries that no disk has.
    EntriesOutOfBounds {
        /// How many entries it says there are; at most 1024 are read.
        entries: u32,
        /// How many bytes it says each has; 128 to 4096, a power of two.
        size: u32,
    },
    /// The checksum of the entries is wrong.
    EntriesChecksum,
}

impl fmt::Display for GptProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("it cannot be read"),
            Self::NoSignature => f.write_str("there is no header"),
            Self::UnknownVersion => f.write_str("its version is not known"),
            Self::HeaderChecksum => f.write_str("the checksum of its header is wrong"),
            Self::Misplaced { found_at, names } => {
                write!(f, "it is in sector {found_at} and says it is in sector {names}")
            }
            Self::EntriesOutOfBounds { entries, size } => {
                write!(f, "it says it has {entries} entries of {size} bytes")
            }
            Self::EntriesChecksum => f.write_str("the checksum of its entries is wrong"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};
    use std::sync::Arc;

    use gptman::GPT;
    use proptest::prelude::*;

    use super::*;
    use crate::partition::table;

    const DATA: [u8; 16] = [
        0xA2, 0xA0, 0xD0, 0xEB, 0xE5, 0xB9, 0x33, 0x44, 0x87, 0xC0, 0x68, 0xB6, 0xB7, 0x26, 0x99, 0xC7,
    ];

    /// Makes a disk of 200 sectors with partitions 1 (sectors 40 to 59, "Windows") and 3 (80 to 99, no name),
    /// both copies of the table and a protective MBR.
    fn disk(sector_size: u32) -> Vec<u8> {
        let mut image = Cursor::new(vec![0; 200 * sector_size as usize]);
        let mut gpt = GPT::new_from(&mut image, u64::from(sector_size), [0x11; 16]).expect("a table");
        gpt.align = 1;
        gpt[1] = entry(40, 59, "Windows");
        gpt[3] = entry(80, 99, "");
        gpt.write_into(&mut image).expect("written");
        GPT::write_protective_mbr_into(&mut image, u64::from(sector_size)).expect("written");
        image.into_inner()
    }

    fn entry(starting_lba: u64, ending_lba: u64, name: &str) -> GPTPartitionEntry {
        GPTPartitionEntry {
            partition_type_guid: DATA,
            unique_partition_guid: [starting_lba as u8; 16],
            starting_lba,
            ending_lba,
            attribute_bits: 0,
            partition_name: name.into(),
        }
    }

    fn read_table(image: Vec<u8>) -> Result<Option<PartitionTable>, PartitionError> {
        table(&(Arc::new(image) as Device))
    }

    fn assert_is_our_disk(table: &PartitionTable, sector_size: u32) {
        let bytes = u64::from(sector_size);
        assert_eq!(table.sector_size, sector_size);
        assert_eq!(
            table.kind,
            TableKind::Gpt {
                disk_guid: Uuid::from_bytes([0x11; 16])
            }
        );
        let found: Vec<_> = table
            .partitions
            .iter()
            .map(|p| (p.number, p.start, p.len_bytes, p.name.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                (1, 40 * bytes, 20 * bytes, Some("Windows")),
                (3, 80 * bytes, 20 * bytes, None)
            ]
        );
        assert_eq!(table.partitions[0].kind.name(), Some("Windows data"));
    }

    #[test]
    fn both_sector_sizes_are_found_in_an_image() {
        for sector_size in [512, 4096] {
            let table = read_table(disk(sector_size)).expect("readable").expect("a table");
            assert_is_our_disk(&table, sector_size);
            assert_eq!(table.warnings, []);
        }
    }

    #[test]
    fn the_backup_stands_in_for_a_damaged_first_copy() {
        for sector_size in [512u32, 4096] {
            let mut image = disk(sector_size);
            image[sector_size as usize + 20] ^= 1;
            let table = read_table(image).expect("readable").expect("a table");
            assert_is_our_disk(&table, sector_size);
            assert_eq!(
                table.warnings,
                [Warning::BackupUsed {
                    primary: GptProblem::HeaderChecksum
                }]
            );
        }
    }

    #[test]
    fn a_grown_image_keeps_its_backup_in_the_middle() {
        let mut image = disk(512);
        image[2 * 512] ^= 1;
        image.resize(500 * 512, 0);
        let table = read_table(image).expect("readable").expect("a table");
        assert_is_our_disk(&table, 512);
        assert_eq!(
            table.warnings,
            [Warning::BackupUsed {
                primary: GptProblem::EntriesChecksum
            }]
        );
    }

    #[test]
    fn a_cut_off_image_keeps_its_partitions_and_their_lengths() {
        let mut image = disk(512);
        image.truncate(90 * 512);
        let device: Device = Arc::new(image);
        let table = table(&device).expect("readable").expect("a table");
        assert_is_our_disk(&table, 512);
        let third = table.partition(3).expect("there").device(&device);
        assert_eq!(third.len_bytes(), 20 * 512);
        third.read_at(9 * 512, &mut [0; 512]).expect("still there");
        let error = third.read_at(10 * 512, &mut [0; 512]).expect_err("cut off");
        assert_eq!(error.offset(), 10 * 512);
    }

    #[test]
    fn a_disk_with_both_copies_damaged_is_an_error_that_says_why() {
        let mut image = disk(512);
        image[512] = 0;
        let last = image.len() - 512;
        image[last + 20] ^= 1;
        let error = read_table(image).expect_err("no copy left");
        assert_eq!(
            error.to_string(),
            "the disk says it has a GPT, but the first copy is damaged (there is no header) and so is the backup \
             (the checksum of its header is wrong)"
        );
    }

    #[test]
    fn without_its_mbr_the_table_is_still_found() {
        let mut image = disk(4096);
        image[..512].fill(0);
        let table = read_table(image).expect("readable").expect("a table");
        assert_is_our_disk(&table, 4096);
        assert_eq!(table.warnings, [Warning::NoProtectiveMbr]);
    }

    #[test]
    fn a_wiped_start_leaves_the_backup_but_a_reused_one_does_not() {
        let mut image = disk(4096);
        image[..WIPED_LEN].fill(0);
        let table = read_table(image.clone()).expect("readable").expect("a table");
        assert_is_our_disk(&table, 4096);
        assert_eq!(table.warnings.len(), 2);
        // The superblock of an ext4 that took the disk over.
        image[1080..1082].copy_from_slice(&[0x53, 0xEF]);
        assert_eq!(read_table(image).expect("readable"), None);
    }

    #[test]
    fn entries_that_cannot_be_partitions_are_left_out() {
        let mut image = disk(512);
        let header =
            |image: &Vec<u8>| GPTHeader::read_from(&mut Cursor::new(&image[512..1024])).expect("a header");
        // The second entry ends before it begins.
        image.copy_within(1024..1024 + 128, 1024 + 128);
        image[1024 + 128 + 32] = 80;
        let changed = refresh_checksums(image.clone(), header(&image));
        let table = read_table(changed).expect("readable").expect("a table");
        assert_is_our_disk(&table, 512);
        assert_eq!(table.warnings, [Warning::EntryIgnored { number: 2 }]);
    }

    #[test]
    fn hostile_counts_are_refused_before_anything_is_allocated() {
        for (entries, size) in [
            (u32::MAX, 128),
            (128, u32::MAX),
            (128, 0),
            (128, 100),
            (1025, 4096),
        ] {
            let mut image = disk(512);
            let mut header = GPTHeader::read_from(&mut Cursor::new(&image[512..1024])).expect("a header");
            header.number_of_partition_entries = entries;
            header.size_of_partition_entry = size;
            write_header(&mut image, header);
            image.truncate(100 * 512);
            let error = read_table(image).expect_err("refused");
            let PartitionError::DamagedGpt { primary, .. } = error else {
                panic!("{error:?}")
            };
            assert_eq!(primary, GptProblem::EntriesOutOfBounds { entries, size });
        }
    }

    #[test]
    fn entries_of_an_unusual_size_are_read() {
        let mut image = disk(512);
        let mut header = GPTHeader::read_from(&mut Cursor::new(&image[512..1024])).expect("a header");
        header.number_of_partition_entries = 4;
        header.size_of_partition_entry = 512;
        let (first, third) = (image[1024..1152].to_vec(), image[1280..1408].to_vec());
        image[1024..1024 + 4 * 512].fill(0);
        image[1024..1152].copy_from_slice(&first);
        image[2048..2176].copy_from_slice(&third);
        let table = read_table(refresh_checksums(image, header))
            .expect("readable")
            .expect("a table");
        assert_is_our_disk(&table, 512);
        assert_eq!(table.warnings, []);
    }

    fn refresh_checksums(mut image: Vec<u8>, mut header: GPTHeader) -> Vec<u8> {
        let len = (header.number_of_partition_entries * header.size_of_partition_entry) as usize;
        header.partition_entry_array_crc32 = crc32fast::hash(&image[1024..1024 + len]);
        write_header(&mut image, header);
        image
    }

    fn write_header(image: &mut Vec<u8>, mut header: GPTHeader) {
        header.update_crc32_checksum();
        let mut bytes = Vec::new();
        bytes.extend(header.signature);
        bytes.extend(header.revision);
        bytes.extend(header.header_size.to_le_bytes());
        bytes.extend(header.crc32_checksum.to_le_bytes());
        bytes.extend(header.reserved);
        for lba in [
            header.primary_lba,
            header.backup_lba,
            header.first_usable_lba,
            header.last_usable_lba,
        ] {
            bytes.extend(lba.to_le_bytes());
        }
        bytes.extend(header.disk_guid);
        bytes.extend(header.partition_entry_lba.to_le_bytes());
        bytes.extend(header.number_of_partition_entries.to_le_bytes());
        bytes.extend(header.size_of_partition_entry.to_le_bytes());
        bytes.extend(header.partition_entry_array_crc32.to_le_bytes());
        let mut cursor = Cursor::new(image);
        cursor.seek(SeekFrom::Start(512)).expect("seekable");
        cursor.write_all(&bytes).expect("room");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes_are_safe(mut image in proptest::collection::vec(any::<u8>(), 0..3000), signed in any::<bool>()) {
            if signed && image.len() >= 600 {
                image[446] = 0;
                image[450] = 0xEE;
                for entry in 1..4 {
                    image[446 + 16 * entry] = 0x80;
                }
                image[510..520].copy_from_slice(b"\x55\xAAEFI PART");
            }
            let _ = read_table(image);
        }

        #[test]
        fn mutated_tables_are_safe(
            changes in proptest::collection::vec((0usize..40 * 512, any::<u8>()), 1..12),
            fields in any::<[u64; 3]>(),
            which in 0u8..8,
            entries in prop_oneof![0u32..2000, any::<u32>()],
            truncate_to in 0usize..200 * 512,
        ) {
            let mut image = disk(512);
            let mut header = GPTHeader::read_from(&mut Cursor::new(&image[512..1024])).expect("a header");
            if which & 1 != 0 { header.partition_entry_lba = fields[0]; }
            if which & 2 != 0 { header.backup_lba = fields[1]; }
            if which & 4 != 0 { header.number_of_partition_entries = entries; }
            for (at, byte) in changes {
                image[at] = byte;
            }
            // With the checksums right, so that what lies behind them is reached.
            header.partition_entry_array_crc32 = crc32fast::hash(&image[1024..1024 + 128 * 128]);
            write_header(&mut image, header);
            image.truncate(truncate_to);
            if let Ok(Some(table)) = read_table(image) {
                for partition in &table.partitions {
                    prop_assert!(partition.start.checked_add(partition.len_bytes).is_some());
                    prop_assert!(partition.len_bytes > 0);
                }
            }
        }
    }
}
