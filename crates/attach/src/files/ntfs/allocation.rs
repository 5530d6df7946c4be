//! Which clusters are free, and where the bytes of a file are: for whoever needs places that stay where they are.

use std::ops::Range;

use keyhaven_disk::Device;

use crate::files::OpenFilesError;
#[cfg(target_os = "linux")]
use crate::files::name;
#[cfg(target_os = "linux")]
use crate::files::ntfs::index::Index;
use crate::files::ntfs::stream::{Clusters, NoUnits};
use crate::files::ntfs::volume::{Volume, damaged, known, not_open};

/// How much of the map is read at once, in bytes.
const STEP: usize = 1 << 20;

/// Calls `each` with every run of free clusters, in order, in bytes from the start of the device.
///
/// # Errors
/// What keeps the volume from being opened, or its map from being read.
pub(crate) fn free_runs(device: &Device, each: &mut dyn FnMut(Range<u64>)) -> Result<(), OpenFilesError> {
    let volume = Volume::open(device.clone())?;
    let map = volume.known_file(known::BITMAP).map_err(not_open)?;
    let incomplete = || not_open(damaged(known::BITMAP, "the map of free clusters is incomplete"));
    let map = map.data.ok_or_else(incomplete)?;
    let clusters = volume.clusters();
    if map.len() < clusters.div_ceil(8) {
        return Err(incomplete());
    }
    let cluster_len = volume.cluster_len();
    let mut runs = FreeRuns::new(|run: Range<u64>| each(run.start * cluster_len..run.end * cluster_len));
    let mut step = vec![0; STEP];
    let (mut offset, mut cluster) = (0, 0);
    while cluster < clusters {
        let read = map
            .read(
                &volume,
                &NoUnits,
                &|| "the map of free clusters".to_owned(),
                offset,
                &mut step,
            )
            .map_err(not_open)?;
        for byte in step.iter().take(read) {
            for bit in 0..8 {
                if cluster < clusters {
                    runs.next(cluster, byte & (1 << bit) == 0);
                    cluster += 1;
                }
            }
        }
        offset += read as u64;
        if read == 0 {
            return Err(incomplete());
        }
    }
    runs.end(clusters);
    Ok(())
}

/// Joins free clusters that are told one after the other to runs.
pub(crate) struct FreeRuns<F> {
    start: Option<u64>,
    each: F,
}

impl<F: FnMut(Range<u64>)> FreeRuns<F> {
    pub(crate) fn new(each: F) -> Self {
        Self { start: None, each }
    }

    pub(crate) fn next(&mut self, cluster: u64, is_free: bool) {
        match (self.start, is_free) {
            (None, true) => self.start = Some(cluster),
            (Some(start), false) => {
                self.start = None;
                (self.each)(start..cluster);
            }
            _ => {}
        }
    }

    pub(crate) fn end(mut self, clusters: u64) {
        self.next(clusters, false);
    }
}

/// Returns where the bytes of a file are, by its path from the top folder, in bytes from the start of the device; `None`
/// where there is no such file, or it does not lie in clusters of its own as it is.
///
/// # Errors
/// What keeps the volume from being opened or the path from being followed.
#[cfg(target_os = "linux")]
pub(crate) fn places(device: &Device, path: &[&str]) -> Result<Option<Vec<Range<u64>>>, OpenFilesError> {
    let volume = Volume::open(device.clone())?;
    let mut file = volume.known_file(known::ROOT).map_err(not_open)?;
    for part in path {
        let index = Index::of(&volume, &file).map_err(not_open)?;
        let Some(reference) = index.find(&name::from_text(part)).map_err(not_open)? else {
            return Ok(None);
        };
        file = volume.file(reference).map_err(not_open)?;
    }
    let Some(runs) = file.data.as_ref().and_then(|data| data.plain_runs()) else {
        return Ok(None);
    };
    let cluster_len = volume.cluster_len();
    let mut places: Vec<Range<u64>> = Vec::new();
    let mut vcn = 0;
    while let Some(place) = runs.at(vcn) {
        let Some(lcn) = place.lcn else {
            return Ok(None);
        };
        let (start, end) = (lcn * cluster_len, (lcn + place.clusters) * cluster_len);
        match places.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => places.push(start..end),
        }
        vcn += place.clusters;
    }
    Ok(Some(places))
}
