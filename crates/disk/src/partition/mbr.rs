//! The master boot record and its chain of logical partitions.
//!
//! Sectors are parsed by mbrman, one at a time. The chain is walked here: it is a linked list on a hostile medium,
//! and mbrman's own walk adds without looking and is as long as the medium wants.
//!
//! Numbers are those of Linux: primary entries 1 to 4 by their slot, logical partitions from 5 along the chain.
//! All positions count in the device's logical sectors.

use std::io::Cursor;

use mbrman::{MBRHeader, MBRPartitionEntry};

use super::{FIRST_SECTOR_LEN, Partition, PartitionKind, PartitionTable, TableKind, Warning};
use crate::device::Device;

/// Linux stops at 256 partitions of a disk.
const MAX_LOGICAL: usize = 256;

/// The type of the one entry by which a GPT protects itself from programs that know only MBR.
const PROTECTIVE: u8 = 0xEE;

/// Where the third and fourth entry of a sector are, which in the chain of logical partitions mean nothing.
const UNUSED_CHAIN_ENTRIES: std::ops::Range<usize> = 478..510;

/// What the first sector of a disk can be.
pub(super) enum FirstSector {
    /// It announces a GPT.
    Protective,
    /// It holds the primary entries of an MBR.
    Table(Box<MBRHeader>),
}

/// Reads the first sector, `None` if it is not a plausible MBR.
///
/// Code or text in the place of the entries is not plausible: statuses must be 00 or 80, partitions must begin
/// after the first sector, have a length, end within 32-bit sectors and not overlap. A boot sector of a file
/// system is the caller's to recognise.
pub(super) fn parse(sector: &[u8; FIRST_SECTOR_LEN]) -> Option<FirstSector> {
    // mbrman checks the statuses and the 55 AA.
    let header = MBRHeader::read_from(&mut Cursor::new(&sector[..])).ok()?;
    if header.iter().any(|(_, entry)| entry.sys == PROTECTIVE) {
        return Some(FirstSector::Protective);
    }
    let mut ranges = Vec::new();
    for (_, entry) in header.iter().filter(|(_, entry)| entry.is_used()) {
        if entry.starting_lba == 0 || entry.sectors == 0 {
            return None;
        }
        ranges.push((entry.starting_lba, entry.starting_lba.checked_add(entry.sectors)?));
    }
    ranges.sort_unstable();
    let overlap = ranges
        .iter()
        .zip(ranges.iter().skip(1))
        .any(|((_, end), (start, _))| end > start);
    (!overlap).then(|| FirstSector::Table(Box::new(header)))
}

/// Makes the table from the primary entries and follows the chain of logical partitions.
pub(super) fn read(device: &Device, header: Box<MBRHeader>) -> PartitionTable {
    let sector_size = device.sector_size();
    let kind = TableKind::Mbr {
        disk_signature: u32::from_le_bytes(header.disk_signature),
    };
    let mut table = PartitionTable {
        kind,
        sector_size,
        partitions: Vec::new(),
        warnings: Vec::new(),
    };
    for (number, entry) in (1..).zip(header.iter().map(|(_, entry)| entry)) {
        if entry.is_used() && !entry.is_extended() {
            table.partitions.push(partition(number, entry, 0, sector_size));
        }
    }
    let mut logical = Vec::new();
    for (_, extended) in header.iter().filter(|(_, entry)| entry.is_extended()) {
        if let Err(broken_link) = follow_chain(device, extended, &mut logical) {
            let offset = broken_link.saturating_mul(u64::from(sector_size));
            table.warnings.push(Warning::LogicalPartitionsCutShort { offset });
        }
    }
    for (number, (link, entry)) in (5..).zip(&logical) {
        table
            .partitions
            .push(partition(number, entry, *link, sector_size));
    }
    table
}

fn partition(number: u32, entry: &MBRPartitionEntry, relative_to: u64, sector_size: u32) -> Partition {
    // Sectors are 32-bit and a link lies within the extended partition, so neither sum nor product can overflow.
    let start = relative_to.saturating_add(u64::from(entry.starting_lba));
    Partition {
        number,
        start: start.saturating_mul(u64::from(sector_size)),
        len_bytes: u64::from(entry.sectors).saturating_mul(u64::from(sector_size)),
        kind: PartitionKind::Mbr {
            type_byte: entry.sys,
            active: entry.is_active(),
        },
        name: None,
    }
}

/// Collects the logical partitions of `extended`, each with the sector of the link that holds its entry.
///
/// # Errors
/// The sector of the link that cannot be read, makes no sense or closes a loop.
fn follow_chain(
    device: &Device,
    extended: &MBRPartitionEntry,
    found: &mut Vec<(u64, MBRPartitionEntry)>,
) -> Result<(), u64> {
    let first = u64::from(extended.starting_lba);
    let end = first.saturating_add(u64::from(extended.sectors));
    let mut visited = Vec::new();
    let mut link = first;
    loop {
        if visited.contains(&link) || visited.len() >= MAX_LOGICAL || !(first..end).contains(&link) {
            return Err(link);
        }
        visited.push(link);
        let Some(sector) = read_link(device, link) else {
            return Err(link);
        };
        // The data partition and the next link, usually in this order.
        for entry in [&sector.partition_1, &sector.partition_2] {
            let start = link.saturating_add(u64::from(entry.starting_lba));
            let plausible = entry.starting_lba > 0
                && entry.sectors > 0
                && start.saturating_add(u64::from(entry.sectors)) <= end;
            if entry.is_used() && !entry.is_extended() && plausible && found.len() < MAX_LOGICAL {
                found.push((link, entry.clone()));
            }
        }
        let next = [&sector.partition_1, &sector.partition_2]
            .into_iter()
            .find(|entry| entry.is_extended());
        match next {
            // Links count from the start of the extended partition, not from each other.
            Some(next) if next.sectors > 0 => link = first.saturating_add(u64::from(next.starting_lba)),
            _ => return Ok(()),
        }
    }
}

fn read_link(device: &Device, link: u64) -> Option<MBRHeader> {
    let mut sector = [0; FIRST_SECTOR_LEN];
    device
        .read_at(link.checked_mul(u64::from(device.sector_size()))?, &mut sector)
        .ok()?;
    // Some programs leave rubbish there.
    sector.get_mut(UNUSED_CHAIN_ENTRIES)?.fill(0);
    MBRHeader::read_from(&mut Cursor::new(&sector[..])).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mbrman::{CHS, MBR};
    use proptest::prelude::*;

    use super::*;
    use crate::partition::boot_sector::tests::{fat, ntfs};
    use crate::partition::table;

    fn entry(sys: u8, starting_lba: u32, sectors: u32) -> MBRPartitionEntry {
        let chs = CHS::empty();
        MBRPartitionEntry {
            boot: mbrman::BOOT_INACTIVE,
            first_chs: chs,
            sys,
            last_chs: chs,
            starting_lba,
            sectors,
        }
    }

    /// Makes a disk of 300 sectors: 1 (sectors 10 to 29), an extended partition in slot 2 with two logical ones,
    /// and 4 (250 to 299).
    fn disk() -> Vec<u8> {
        let mut image = Cursor::new(vec![0; 300 * 512]);
        let mut mbr = MBR::new_from(&mut image, 512, [1, 2, 3, 4]).expect("a table");
        mbr.align = 10;
        mbr[1] = MBRPartitionEntry {
            boot: mbrman::BOOT_ACTIVE,
            ..entry(0x07, 10, 20)
        };
        mbr[2] = entry(0x0F, 100, 150);
        mbr[4] = entry(0x0C, 250, 50);
        mbr.push(0x83, 100, 30).expect("room");
        mbr.push(0x07, 160, 40).expect("room");
        mbr.write_into(&mut image).expect("written");
        image.into_inner()
    }

    fn read_table(image: Vec<u8>) -> Option<PartitionTable> {
        table(&(Arc::new(image) as Device)).expect("readable")
    }

    fn sectors(table: &PartitionTable) -> Vec<(u32, u64, u64)> {
        table
            .partitions
            .iter()
            .map(|p| (p.number, p.start / 512, p.len_bytes / 512))
            .collect()
    }

    const OURS: [(u32, u64, u64); 4] = [(1, 10, 20), (4, 250, 50), (5, 110, 20), (6, 170, 30)];

    #[test]
    fn primary_and_logical_partitions_are_numbered_as_linux_does() {
        let table = read_table(disk()).expect("a table");
        assert_eq!(sectors(&table), OURS);
        assert_eq!(
            table.kind,
            TableKind::Mbr {
                disk_signature: 0x0403_0201
            }
        );
        assert_eq!(
            table.partitions[0].kind,
            PartitionKind::Mbr {
                type_byte: 7,
                active: true
            }
        );
        assert_eq!(table.warnings, []);
    }

    #[test]
    fn a_chain_that_loops_ends() {
        let mut image = disk();
        // The second link points back at the first.
        let link = 160 * 512;
        image[link + 462 + 4] = 0x05;
        image[link + 462 + 12] = 1;
        let table = read_table(image).expect("a table");
        assert_eq!(sectors(&table), OURS);
        assert_eq!(
            table.warnings,
            [Warning::LogicalPartitionsCutShort { offset: 100 * 512 }]
        );
    }

    #[test]
    fn a_chain_that_leaves_its_extended_partition_or_the_image_is_cut_short() {
        let mut image = disk();
        image[100 * 512 + 462 + 8] = 200;
        let table = read_table(image).expect("a table");
        assert_eq!(sectors(&table), OURS[..3]);
        assert_eq!(
            table.warnings,
            [Warning::LogicalPartitionsCutShort { offset: 300 * 512 }]
        );

        let mut image = disk();
        image.truncate(150 * 512);
        let table = read_table(image).expect("a table");
        assert_eq!(sectors(&table), OURS[..3]);
        assert_eq!(
            table.warnings,
            [Warning::LogicalPartitionsCutShort { offset: 160 * 512 }]
        );
    }

    #[test]
    fn a_boot_sector_of_a_file_system_is_no_table() {
        for mut sector in [fat(8 * 100_000, 0), ntfs()] {
            assert_eq!(read_table(sector.to_vec()), None, "with no entries");
            sector[446..462].copy_from_slice(&disk()[446..462]);
            assert_eq!(
                read_table(sector.to_vec()),
                None,
                "with bytes that look like an entry"
            );
        }
    }

    #[test]
    fn code_and_text_in_the_place_of_entries_are_no_table() {
        let spoil = |change: fn(&mut [u8])| {
            let mut image = disk();
            change(&mut image);
            read_table(image)
        };
        assert_eq!(spoil(|image| image[446] = 0x78), None, "status");
        assert_eq!(spoil(|image| image[510] = 0), None, "signature");
        assert_eq!(spoil(|image| image[446 + 8] = 0), None, "start");
        assert_eq!(spoil(|image| image[446 + 12] = 0), None, "length");
        assert_eq!(spoil(|image| image[446 + 12] = 91), None, "overlap");
        assert_eq!(spoil(|image| image[446 + 8..446 + 16].fill(0xFF)), None, "end");
    }

    #[test]
    fn an_empty_table_is_a_table() {
        let mut image = vec![0; 1024];
        image[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(read_table(image).map(|table| table.partitions), Some(vec![]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn mutated_tables_are_safe(
            primary in proptest::collection::vec((446usize..510, any::<u8>()), 0..4),
            chain in proptest::collection::vec((prop_oneof![Just(100usize), Just(160)], 446usize..512, any::<u8>()), 0..8),
            truncate_to in 0usize..300 * 512,
        ) {
            let mut image = disk();
            for (at, byte) in primary {
                image[at] = byte;
            }
            for (sector, at, byte) in chain {
                image[sector * 512 + at] = byte;
            }
            image.truncate(truncate_to);
            if let Ok(Some(table)) = table(&(Arc::new(image) as Device)) {
                prop_assert!(table.partitions.len() <= 4 + MAX_LOGICAL);
                for partition in &table.partitions {
                    prop_assert!(partition.start >= 512 && partition.len_bytes >= 512);
                }
            }
        }
    }
}
