//! exFAT: a map of used clusters that is a file, and a boot region of twelve sectors with a checksum, twice.
//!
//! Source: Microsoft's "exFAT file system specification".

use std::ops::Range;

use keyhaven_disk::{Device, Writable};

use super::{ReserveError, Units, read};
use crate::files::bytes::{u8_at, u32_at, u64_at};
use crate::files::ntfs::FreeRuns;

const REGION_SECTORS: u64 = 12;
const FIRST_CLUSTER: u64 = 2;

const VOLUME_LENGTH: Range<usize> = 72..80;
const CLUSTER_COUNT: Range<usize> = 92..96;
/// Flags and the share in use change without the checksum.
const NOT_CHECKED: [usize; 3] = [106, 107, 112];

/// The entry of the top directory that says where the map is.
const MAP_ENTRY: u8 = 0x81;
const ENTRY_LEN: usize = 32;
const MAP_CLUSTER: usize = 20;
const MAP_LENGTH: usize = 24;

/// More clusters than the top directory of a real volume has.
const ROOT_CLUSTERS_MAX: usize = 4096;

#[derive(Debug)]
struct ExFat {
    sector_len: u64,
    cluster_len: u64,
    table_offset: u64,
    heap_offset: u64,
    clusters: u64,
    /// Where the map's directory entry is, in bytes.
    map_entry: u64,
    /// Where the map is.
    map: Vec<Range<u64>>,
}

impl ExFat {
    fn read(device: &Device) -> Result<Self, ReserveError> {
        let damaged = |what: &str| ReserveError::Damaged(what.to_owned());
        let boot = read(device, 0, 512)?;
        let (mut exfat, root) =
            Self::parse(&boot).ok_or_else(|| damaged("its boot sector makes no sense"))?;
        let mut cluster = root;
        for _ in 0..ROOT_CLUSTERS_MAX {
            let place = exfat
                .place(cluster)
                .ok_or_else(|| damaged("its top directory leads out of it"))?;
            let bytes = read(device, place.start, exfat.cluster_len as usize)?;
            for (index, entry) in bytes.as_chunks::<ENTRY_LEN>().0.iter().enumerate() {
                if entry[0] == MAP_ENTRY && entry[1] & 1 == 0 {
                    exfat.map_entry = place.start + (index * ENTRY_LEN) as u64;
                    exfat.find_map(device, entry)?;
                    return Ok(exfat);
                }
            }
            cluster = exfat.next(device, cluster)?;
        }
        Err(damaged("it has no map of its clusters"))
    }

    fn parse(boot: &[u8]) -> Option<(Self, u64)> {
        let sector_len = 1u64.checked_shl(u32::from(u8_at(boot, 108)?))?;
        let cluster_len = sector_len.checked_shl(u32::from(u8_at(boot, 109)?))?;
        if !(512..=4096).contains(&sector_len) || !(512..=32 << 20).contains(&cluster_len) {
            return None;
        }
        let in_bytes = |at: usize| Some(u64::from(u32_at(boot, at)?) * sector_len);
        let exfat = Self {
            sector_len,
            cluster_len,
            table_offset: in_bytes(80)?,
            heap_offset: in_bytes(88)?,
            clusters: u64::from(u32_at(boot, 92)?),
            map_entry: 0,
            map: Vec::new(),
        };
        Some((exfat, u64::from(u32_at(boot, 96)?)))
    }

    fn place(&self, cluster: u64) -> Option<Range<u64>> {
        let index = cluster
            .checked_sub(FIRST_CLUSTER)
            .filter(|index| *index < self.clusters)?;
        let start = self.heap_offset + index * self.cluster_len;
        Some(start..start + self.cluster_len)
    }

    fn next(&self, device: &Device, cluster: u64) -> Result<u64, ReserveError> {
        let entry = read(device, self.table_offset + cluster * 4, 4)?;
        Ok(u64::from(u32_at(&entry, 0).unwrap_or_default()))
    }

    fn find_map(&mut self, device: &Device, entry: &[u8]) -> Result<(), ReserveError> {
        let damaged = || ReserveError::Damaged("the map of its clusters is incomplete".to_owned());
        let len = u64_at(entry, MAP_LENGTH).ok_or_else(damaged)?;
        if len < self.clusters.div_ceil(8) {
            return Err(damaged());
        }
        let mut cluster = u64::from(u32_at(entry, MAP_CLUSTER).ok_or_else(damaged)?);
        let mut left = self.clusters.div_ceil(8);
        while left > 0 {
            let place = self.place(cluster).ok_or_else(damaged)?;
            let used = left.min(self.cluster_len);
            left -= used;
            match self.map.last_mut() {
                Some(last) if last.end == place.start => last.end = place.start + used,
                _ => self.map.push(place.start..place.start + used),
            }
            if left > 0 {
                cluster = self.next(device, cluster)?;
            }
        }
        Ok(())
    }

    fn free_clusters(&self, device: &Device, each: &mut dyn FnMut(Range<u64>)) -> Result<(), ReserveError> {
        const STEP: u64 = 1 << 20;
        let mut runs = FreeRuns::new(each);
        let mut cluster = 0;
        for place in &self.map {
            let mut at = place.start;
            while at < place.end {
                let part = read(device, at, (place.end - at).min(STEP) as usize)?;
                for byte in &part {
                    for bit in 0..8 {
                        if cluster < self.clusters {
                            runs.next(cluster, byte & (1 << bit) == 0);
                            cluster += 1;
                        }
                    }
                }
                at += part.len() as u64;
            }
        }
        runs.end(self.clusters);
        Ok(())
    }
}

pub(super) fn free_runs(device: &Device, each: &mut dyn FnMut(Range<u64>)) -> Result<(), ReserveError> {
    let exfat = ExFat::read(device)?;
    let at = |cluster: u64| exfat.heap_offset + cluster * exfat.cluster_len;
    exfat.free_clusters(device, &mut |run| each(at(run.start)..at(run.end)))
}

pub(super) fn units(device: &Device) -> Result<Units, ReserveError> {
    let exfat = ExFat::read(device)?;
    Ok(Units {
        sector_len: exfat.sector_len as u32,
        cluster_len: exfat.cluster_len as u32,
    })
}

pub(super) fn end_at(device: &Writable, end: u64) -> Result<(), ReserveError> {
    let plain: Device = device.clone();
    let exfat = ExFat::read(&plain)?;
    let left = end.saturating_sub(exfat.heap_offset) / exfat.cluster_len;
    if left >= exfat.clusters {
        return Ok(());
    }
    let gone = exfat.clusters - left;
    let new_end = exfat.heap_offset + left * exfat.cluster_len;
    if left == 0 {
        return Err(ReserveError::TooSmall);
    }
    let mut free_at_end = 0;
    exfat.free_clusters(&plain, &mut |run| {
        if run.end == exfat.clusters {
            free_at_end = run.end - run.start;
        }
    })?;
    if free_at_end < gone {
        return Err(ReserveError::EndInUse {
            needed: gone * exfat.cluster_len,
        });
    }
    let region_len = REGION_SECTORS * exfat.sector_len;
    let mut region = read(&plain, 0, region_len as usize)?;
    put(
        &mut region,
        VOLUME_LENGTH,
        &(new_end / exfat.sector_len).to_le_bytes(),
    );
    put(&mut region, CLUSTER_COUNT, &(left as u32).to_le_bytes());
    let (checked, checksums) = region.split_at_mut((region_len - exfat.sector_len) as usize);
    let checksum = checksum(checked);
    for place in checksums.as_chunks_mut::<4>().0 {
        *place = checksum.to_le_bytes();
    }
    // The copy first: at every moment one of the two is whole.
    for at in [region_len, 0] {
        device.write_at(at, &region)?;
        device.flush()?;
    }
    device.write_at(
        exfat.map_entry + MAP_LENGTH as u64,
        &left.div_ceil(8).to_le_bytes(),
    )?;
    device.flush()?;
    Ok(())
}

fn checksum(sectors: &[u8]) -> u32 {
    let checked = sectors
        .iter()
        .enumerate()
        .filter(|(at, _)| !NOT_CHECKED.contains(at));
    checked.fold(0u32, |sum, (_, byte)| {
        sum.rotate_right(1).wrapping_add(u32::from(*byte))
    })
}

fn put(bytes: &mut [u8], place: Range<usize>, value: &[u8]) {
    if let Some(field) = bytes.get_mut(place) {
        field.copy_from_slice(value);
    }
}
