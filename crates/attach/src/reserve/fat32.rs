//! FAT32: cluster numbers in one table, and a count of sectors.
//!
//! Source: Microsoft's "FAT: General Overview of On-Disk Format".

use std::ops::Range;

use keyhaven_disk::{Device, Writable};

use super::{ReserveError, Units, read};
use crate::files::bytes::{u8_at, u16_at, u32_at};
use crate::files::ntfs::FreeRuns;

/// With fewer clusters it would be taken for FAT16.
const MIN_CLUSTERS: u64 = 65_525;

/// The first number that stands for a cluster.
const FIRST_CLUSTER: u64 = 2;

const TABLE_STEP: u64 = 1 << 20;

const TOTAL_SECTORS: Range<usize> = 0x20..0x24;
const FREE_COUNT: Range<usize> = 488..492;
const NEXT_FREE: Range<usize> = 492..496;

#[derive(Debug)]
struct Fat32 {
    sector_len: u64,
    cluster_len: u64,
    table_offset: u64,
    data_offset: u64,
    clusters: u64,
    information_sector: u64,
    backup_sector: u64,
}

impl Fat32 {
    fn read(device: &Device) -> Result<Self, ReserveError> {
        let sector = read(device, 0, 512)?;
        Self::parse(&sector).ok_or_else(|| ReserveError::Damaged("its boot sector makes no sense".to_owned()))
    }

    fn parse(sector: &[u8]) -> Option<Self> {
        let sector_len = u64::from(u16_at(sector, 0x0b)?);
        let per_cluster = u64::from(u8_at(sector, 0x0d)?);
        let reserved = u64::from(u16_at(sector, 0x0e)?);
        let tables = u64::from(u8_at(sector, 0x10)?);
        let total = u64::from(u32_at(sector, 0x20)?);
        let table_len = u64::from(u32_at(sector, 0x24)?);
        if !(512..=4096).contains(&sector_len)
            || !sector_len.is_power_of_two()
            || !per_cluster.is_power_of_two()
        {
            return None;
        }
        let data = reserved + tables * table_len;
        let clusters = total.checked_sub(data)? / per_cluster;
        let has_room = (clusters + FIRST_CLUSTER) * 4 <= table_len * sector_len;
        (has_room && tables > 0 && u16_at(sector, 0x16)? == 0).then_some(Self {
            sector_len,
            cluster_len: sector_len * per_cluster,
            table_offset: reserved * sector_len,
            data_offset: data * sector_len,
            clusters,
            information_sector: u64::from(u16_at(sector, 0x30)?),
            backup_sector: u64::from(u16_at(sector, 0x32)?),
        })
    }

    fn free_clusters(&self, device: &Device, each: &mut dyn FnMut(Range<u64>)) -> Result<(), ReserveError> {
        let mut runs = FreeRuns::new(each);
        let (mut number, end) = (FIRST_CLUSTER, FIRST_CLUSTER + self.clusters);
        while number < end {
            let count = (end - number).min(TABLE_STEP / 4);
            let table = read(device, self.table_offset + number * 4, (count * 4) as usize)?;
            for entry in table.as_chunks::<4>().0 {
                // The upper four bits mean nothing.
                runs.next(
                    number - FIRST_CLUSTER,
                    u32::from_le_bytes(*entry) & 0x0fff_ffff == 0,
                );
                number += 1;
            }
        }
        runs.end(self.clusters);
        Ok(())
    }
}

pub(super) fn free_runs(device: &Device, each: &mut dyn FnMut(Range<u64>)) -> Result<(), ReserveError> {
    let fat = Fat32::read(device)?;
    let at = |cluster: u64| fat.data_offset + cluster * fat.cluster_len;
    fat.free_clusters(device, &mut |run| each(at(run.start)..at(run.end)))
}

pub(super) fn units(device: &Device) -> Result<Units, ReserveError> {
    let fat = Fat32::read(device)?;
    Ok(Units {
        sector_len: fat.sector_len as u32,
        cluster_len: fat.cluster_len as u32,
    })
}

pub(super) fn end_at(device: &Writable, end: u64) -> Result<(), ReserveError> {
    let plain: Device = device.clone();
    let fat = Fat32::read(&plain)?;
    let left = end.saturating_sub(fat.data_offset) / fat.cluster_len;
    if left >= fat.clusters {
        return Ok(());
    }
    let gone = fat.clusters - left;
    let new_end = fat.data_offset + left * fat.cluster_len;
    let left = fat.clusters.checked_sub(gone).ok_or(ReserveError::TooSmall)?;
    if left < MIN_CLUSTERS {
        return Err(ReserveError::TooSmall);
    }
    let mut free_at_end = 0;
    fat.free_clusters(&plain, &mut |run| {
        if run.end == fat.clusters {
            free_at_end = run.end - run.start;
        }
    })?;
    if free_at_end < gone {
        return Err(ReserveError::EndInUse {
            needed: gone * fat.cluster_len,
        });
    }
    let sectors = u32::try_from(new_end / fat.sector_len)
        .map_err(|_| ReserveError::Damaged("it has too many sectors".to_owned()))?;
    let sector = |number: u64| number * fat.sector_len;
    let has_backup = fat.backup_sector != 0 && sector(fat.backup_sector) < fat.table_offset;
    // The copy first: whichever is read, it is one of a file system that is whole.
    for at in has_backup.then_some(fat.backup_sector).into_iter().chain([0]) {
        let mut boot = read(&plain, sector(at), 512)?;
        if at != 0 && boot.get(510..) != Some(&[0x55, 0xaa]) {
            continue;
        }
        put(&mut boot, TOTAL_SECTORS, sectors);
        device.write_at(sector(at), &boot)?;
        device.flush()?;
    }
    let copies = has_backup.then_some(fat.backup_sector).into_iter().chain([0]);
    for at in copies.map(|boot| boot + fat.information_sector) {
        let mut information = read(&plain, sector(at), 512)?;
        if !information.starts_with(b"RRaA") || sector(at) >= fat.table_offset {
            continue;
        }
        let unknown = u32::MAX;
        let free = u32_at(&information, FREE_COUNT.start).unwrap_or(unknown);
        let free = match u32::try_from(gone) {
            Ok(gone) if free != unknown => free.checked_sub(gone).unwrap_or(unknown),
            _ => unknown,
        };
        put(&mut information, FREE_COUNT, free);
        let next = u32_at(&information, NEXT_FREE.start).unwrap_or(unknown);
        if u64::from(next) >= left + FIRST_CLUSTER {
            put(&mut information, NEXT_FREE, unknown);
        }
        device.write_at(sector(at), &information)?;
    }
    device.flush()?;
    Ok(())
}

fn put(bytes: &mut [u8], place: Range<usize>, value: u32) {
    if let Some(field) = bytes.get_mut(place) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}
