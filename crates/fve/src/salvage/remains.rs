//! All that a volume has left of its metadata.

use std::sync::Arc;

use keyhaven_crypto::{SectorSize, sha256};
use keyhaven_disk::Device;
use zeroize::Zeroizing;

use super::combine::{combine, vote};
use super::report::Evidence;
use super::search::{Search, Stopped};
use crate::copies::boot_offsets;
use crate::error::OpenError;
use crate::format::block::{DatasetHeader, InformationBlock, MAX_REGION_LEN_BYTES};
use crate::format::boot_sector::{self, BootSector};
use crate::format::datum::{Datum, Value, role};
use crate::format::fragments::{BlockFields, dataset_header, entries_in};
use crate::key_package::KeyPackage;
use crate::metadata::Metadata;
use crate::scan::{Watch, read_up_to};
use crate::volume::{Parts, Volume};

/// What is left of a volume's metadata, on the volume and beside it.
#[derive(Debug)]
pub struct Remains {
    device: Device,
    boot: Option<BootSector>,
    /// Where the copies are or were, as far as anything says it.
    places: [Option<u64>; 3],
    /// Places at which something is left.
    regions: Vec<Region>,
    pub(super) fields: Option<Fields>,
    dataset: Option<DatasetHeader>,
    entries: Vec<Zeroizing<Vec<u8>>>,
    combined: Option<Vec<u8>>,
    /// Whether the search came upon parts of a record of encrypted chunks.
    has_record: bool,
    evidence: Vec<Evidence>,
}

/// The header, and whether it is proven by more than being there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) block: BlockFields,
    pub(super) is_agreed: bool,
}

#[derive(Debug)]
struct Region {
    at: u64,
    bytes: Vec<u8>,
}

/// Why nothing can be made of what is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// There is no box with a key, neither on the volume nor beside it.
    #[error("nothing is left of the metadata that leads to the key of the sectors")]
    NoKeys,
    /// The search was stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The volume cannot be put together.
    #[error("what is left of the metadata makes no volume")]
    Open(#[source] Box<OpenError>),
}

impl Remains {
    /// Collects what `device` has left, which is the volume as it lies on its disk; where nothing says where the metadata
    /// were, all of it is searched. The entries of `package` come behind the volume's own.
    ///
    /// # Errors
    /// [`SalvageError::NoKeys`] when no entry with a key is left, [`SalvageError::Stopped`].
    pub fn collect(
        device: Device,
        package: Option<&KeyPackage>,
        watch: &mut Watch<'_>,
    ) -> Result<Self, SalvageError> {
        let remains = Self::collect_any(device, package, watch)?;
        if remains.entries_with_keys() > 0 {
            Ok(remains)
        } else {
            Err(SalvageError::NoKeys)
        }
    }

    /// Collects what `device` has left as [`collect`](Self::collect) does, for who has the key of the sectors already.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn collect_any(
        device: Device,
        package: Option<&KeyPackage>,
        watch: &mut Watch<'_>,
    ) -> Result<Self, Stopped> {
        let sector = read_up_to(&device, 0, boot_sector::LEN_BYTES).unwrap_or_default();
        let boot = BootSector::read(&sector);
        let mut remains = Self {
            places: boot.as_ref().map_or([None; 3], boot_offsets),
            device,
            boot,
            regions: Vec::new(),
            fields: None,
            dataset: None,
            entries: Vec::new(),
            combined: None,
            has_record: false,
            evidence: Vec::new(),
        };
        remains.read_regions();
        let has_keys = |remains: &Self| remains.entries_with_keys() > 0;
        remains.read_entries(None);
        if !has_keys(&remains) || remains.fields.is_none() {
            remains.search(watch)?;
            remains.read_entries(package);
        } else if package.is_some() {
            remains.read_entries(package);
        }
        remains.tell(package);
        Ok(remains)
    }

    /// Returns what the remains are, and from what that is known.
    #[must_use]
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// Returns the device that the volume lies on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Tells whether a copy whose checksum is right could be put together.
    #[must_use]
    pub fn is_combined(&self) -> bool {
        self.combined.is_some()
    }

    /// Makes a locked volume of the remains. A person's key opens it as any other, but its data are shown by
    /// [`settle`](Self::settle) alone.
    ///
    /// # Errors
    /// [`SalvageError::Open`].
    pub fn volume(&self, watch: &mut Watch<'_>) -> Result<Volume, SalvageError> {
        self.volume_with(
            self.fields.map(|fields| fields.block),
            self.places,
            None,
            Vec::new(),
            false,
            watch,
        )
    }

    /// Makes a volume of the entries, with these header fields and places.
    pub(super) fn volume_with(
        &self,
        fields: Option<BlockFields>,
        places: [Option<u64>; 3],
        sector_size: Option<SectorSize>,
        restored_start: Vec<u8>,
        ignores_record: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Volume, SalvageError> {
        let block = match &self.combined {
            Some(region) => InformationBlock::read(region).ok(),
            None => None,
        };
        let is_proven = block.is_some();
        let mut block = block.unwrap_or_else(|| self.block(fields));
        if let (Some(fields), Some(size), false) = (fields, sector_size, is_proven) {
            correct_place(&mut block, fields, size);
        }
        Volume::of_parts(
            Parts {
                device: Arc::clone(&self.device),
                boot: self.boot.clone(),
                sector_size,
                metadata_offsets: places,
                metadata: Metadata::new(block),
                checksums_count: is_proven,
                restored_start,
                has_record: self.has_record && !ignores_record,
            },
            watch,
        )
        .map_err(|error| SalvageError::Open(Box::new(error)))
    }

    /// Returns where the copies are or were.
    pub(super) fn places(&self) -> [Option<u64>; 3] {
        self.places
    }

    pub(super) fn boot(&self) -> Option<&BootSector> {
        self.boot.as_ref()
    }

    /// Returns the region that was put together with a right checksum.
    pub(super) fn combined(&self) -> Option<&[u8]> {
        self.combined.as_deref()
    }

    /// Returns the entries in a block with these header fields, and with no checks.
    pub(super) fn block(&self, fields: Option<BlockFields>) -> InformationBlock {
        let datums = self.entries.iter().filter_map(|entry| {
            let mut list = Datum::read_list(entry).ok()?;
            (list.len() == 1).then(|| list.remove(0))
        });
        let dataset = self.dataset.unwrap_or(DatasetHeader::LOST);
        let mut block = InformationBlock::of_entries(dataset, datums.collect());
        if let Some(fields) = fields {
            block.set_fields(&fields);
        }
        // What the checks would be of: so that copies can be told apart.
        block.actual_sha256 = sha256(&block.to_bytes().unwrap_or_default());
        block
    }

    /// Reads the places that are known, and those that what is read there names.
    fn read_regions(&mut self) {
        for place in self.places.into_iter().flatten() {
            self.read_region(place);
        }
        self.judge();
        self.read_listed_regions();
    }

    /// Reads the places that a readable header names: all three.
    fn read_listed_regions(&mut self) {
        if let Some(fields) = self.fields {
            for (place, listed) in self.places.iter_mut().zip(fields.block.metadata_offsets) {
                place.get_or_insert(listed);
            }
            for place in self.places.into_iter().flatten() {
                self.read_region(place);
            }
            self.judge();
        }
    }

    fn read_region(&mut self, at: u64) {
        let known = self.regions.iter().any(|region| region.at == at);
        if known || at == 0 || !at.is_multiple_of(512) {
            return;
        }
        let Ok(mut bytes) = read_up_to(&self.device, at, MAX_REGION_LEN_BYTES) else {
            return;
        };
        if bytes.len() < MAX_REGION_LEN_BYTES {
            // What cannot be read in the middle is left out, and not all that lies behind it.
            bytes = read_around(&self.device, at);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            self.regions.push(Region { at, bytes });
        }
    }

    /// Judges the headers of the regions that were read, and tries to put one copy together.
    fn judge(&mut self) {
        let regions: Vec<&[u8]> = self
            .regions
            .iter()
            .map(|region| region.bytes.as_slice())
            .collect();
        if let Some(combined) = combine(&regions) {
            self.combined = Some(combined);
        }
        let headers: Vec<BlockFields> = regions
            .iter()
            .filter_map(|region| BlockFields::read(region))
            .collect();
        let support = |header: &BlockFields| {
            let same = |other: &&BlockFields| {
                BlockFields {
                    is_signed: true,
                    ..**other
                } == BlockFields {
                    is_signed: true,
                    ..*header
                }
            };
            headers.iter().filter(same).count()
        };
        let voted = BlockFields::read(&vote(&regions, 128));
        let best = headers
            .iter()
            .max_by_key(|header| (support(header), header.is_signed))
            .copied();
        self.fields = match (best, voted) {
            // A majority at each byte is more than any one copy where none agrees with another.
            (Some(best), Some(voted)) if support(&best) < 2 && regions.len() > 2 => Some(Fields {
                block: voted,
                is_agreed: false,
            }),
            (Some(best), _) => Some(Fields {
                is_agreed: support(&best) > 1,
                block: best,
            }),
            (None, voted) => voted.map(|block| Fields {
                block,
                is_agreed: false,
            }),
        };
        self.dataset = regions
            .iter()
            .find_map(|region| dataset_header(region))
            .or_else(|| dataset_header(&vote(&regions, 128)));
    }

    /// Searches the whole device for what no known place has.
    fn search(&mut self, watch: &mut Watch<'_>) -> Result<(), Stopped> {
        let found = Search::run(&self.device, watch)?;
        self.has_record = found.has_record();
        let (copies, strays) = found.places_on(0);
        let device = Arc::clone(&self.device);
        let at_home = |at: &u64| {
            let region = read_up_to(&device, *at, 512).ok();
            region
                .and_then(|region| BlockFields::read(&region))
                .is_some_and(|fields| fields.metadata_offsets.contains(at))
        };
        for at in copies.into_iter().filter(at_home).chain(strays) {
            self.read_region(at);
        }
        self.judge();
        self.read_listed_regions();
        Ok(())
    }

    /// Takes the entries out of the regions: those that most regions agree on first.
    fn read_entries(&mut self, package: Option<&KeyPackage>) {
        let regions: Vec<&[u8]> = self
            .regions
            .iter()
            .map(|region| region.bytes.as_slice())
            .collect();
        let at_home = |region: &&Region| self.places.contains(&Some(region.at));
        let aligned: Vec<&[u8]> = self
            .regions
            .iter()
            .filter(at_home)
            .map(|region| region.bytes.as_slice())
            .collect();
        let voted = vote(&aligned, MAX_REGION_LEN_BYTES);
        let mut entries: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut take = |bytes: Zeroizing<Vec<u8>>| {
            if !entries.contains(&bytes) {
                entries.push(bytes);
            }
        };
        for region in [voted.as_slice()].into_iter().chain(regions) {
            for found in entries_in(region) {
                take(found.datum.to_bytes());
            }
        }
        for datum in package.map(KeyPackage::datums).unwrap_or_default() {
            take(datum.to_bytes());
        }
        self.entries = entries;
        if self.dataset.is_none() {
            self.dataset = package.and_then(|package| package.header().copied());
        }
    }

    fn entries_with_keys(&self) -> usize {
        let has_key = |entry: &&Zeroizing<Vec<u8>>| {
            Datum::read_list(entry).is_ok_and(|list| {
                list.iter().any(|datum| {
                    matches!(datum.value, Value::Vmk { .. })
                        || (datum.role == role::FVEK && matches!(datum.value, Value::Sealed(_)))
                })
            })
        };
        self.entries.iter().filter(has_key).count()
    }

    fn tell(&mut self, package: Option<&KeyPackage>) {
        let places: Vec<u64> = self.regions.iter().map(|region| region.at).collect();
        if self.boot.is_some() {
            self.evidence.push(Evidence::BootSector);
        }
        if self.combined.is_some() {
            self.evidence.push(Evidence::Combined { copies: places });
        } else {
            if !places.is_empty() {
                self.evidence.push(Evidence::Entries {
                    count: self.entries.len(),
                    places,
                });
            }
            if let Some(Fields {
                block,
                is_agreed: true,
            }) = self.fields
            {
                let same = |region: &&Region| {
                    BlockFields::read(&region.bytes).is_some_and(|own| own.state_offset == block.state_offset)
                };
                self.evidence.push(Evidence::HeaderAgreed {
                    copies: self.regions.iter().filter(same).count(),
                });
            }
        }
        if package.is_some() {
            self.evidence.push(Evidence::Package);
        }
    }
}

/// Puts the place of the moved sectors that was found in the place of what the entry for it says.
fn correct_place(block: &mut InformationBlock, fields: BlockFields, sector_size: SectorSize) {
    for datum in &mut block.datums {
        if let Value::Virtualization {
            offset, len_bytes, ..
        } = &mut datum.value
        {
            *offset = fields.virtualized_offset;
            *len_bytes = u64::from(fields.virtualized_sectors) * sector_size.bytes_u64();
        }
    }
}

/// Reads a region sector by sector, with zeros for what cannot be read.
fn read_around(device: &Device, at: u64) -> Vec<u8> {
    let mut region = vec![0; MAX_REGION_LEN_BYTES];
    for (offset, sector) in (at..).step_by(512).zip(region.chunks_mut(512)) {
        if device.read_at(offset, sector).is_err() {
            sector.fill(0);
        }
    }
    region
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_with_nothing_has_no_keys() {
        let blank: Device = Arc::new(vec![0u8; 1 << 20]);
        assert!(matches!(
            Remains::collect(blank, None, &mut crate::volume::unwatched),
            Err(SalvageError::NoKeys)
        ));
    }
}
