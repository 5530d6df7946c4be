//! Looking for everything that is left of metadata, on a volume or on a whole disk whose partition table is gone.

use keyhaven_disk::Device;
use memchr::memmem::Finder;

use crate::format::block::{InformationBlock, MAX_REGION_LEN_BYTES, SIGNATURE};
use crate::format::boot_sector::{self, BootSector};
use crate::format::eow;
use crate::format::fragments::{BlockFields, entry_at};
use crate::scan::{Found, Watch, each_chunk, read_up_to};

/// What a search found. Offsets are in bytes from the start of the device that was searched.
#[derive(Debug, Default)]
pub struct Search {
    copies: Vec<CopyAt>,
    /// Where entries stand that have no readable header in front of them.
    strays: Vec<u64>,
    /// Whether there are parts of a record of encrypted chunks.
    has_record: bool,
}

/// A metadata copy whose header can be read.
#[derive(Debug, Clone, Copy)]
struct CopyAt {
    at: u64,
    listed: [u64; 3],
    is_sound: bool,
}

/// A place on a disk where a volume begins, as its metadata tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeStart {
    /// Where, in bytes from the start of the disk.
    pub offset: u64,
    /// The copies of its metadata that say so, in bytes from the start of the disk.
    pub copies: Vec<u64>,
    /// Whether it can be no other place: several copies agree on it, or BitLocker's boot sector is there.
    pub is_certain: bool,
}

/// A search ends early only when it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the search was stopped")]
pub struct Stopped;

/// So many copies and stray entries are remembered: a made-up disk may be full of them.
const MAX_FOUND: usize = 4096;
const SECTOR: usize = 512;

impl Search {
    /// Goes through a whole device.
    ///
    /// # Errors
    /// [`Stopped`], when `watch` said so.
    pub fn run(device: &Device, watch: &mut Watch<'_>) -> Result<Self, Stopped> {
        let mut search = Self::default();
        // The role and type of a key protector, and of the box with the sector key.
        let finders = [&[2, 0, 8, 0], &[3, 0, 5, 0]].map(|pattern: &[u8; 4]| Finder::new(pattern));
        let outcome: Found<()> = each_chunk(device, 0..device.len_bytes(), watch, |at, bytes| {
            for (i, sector) in (0..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
                if sector.starts_with(&SIGNATURE) {
                    search.note_copy(device, at + i);
                }
                search.has_record |= sector.starts_with(eow::SIGNATURE_START);
            }
            for finder in &finders {
                for i in finder.find_iter(bytes) {
                    // The size of the entry stands in front.
                    let entry = i.checked_sub(2).and_then(|i| bytes.get(i..));
                    if entry.and_then(entry_at).is_some() {
                        search.note_stray(at + i as u64 - 2);
                    }
                }
            }
            (search.copies.len() + search.strays.len() >= MAX_FOUND).then_some(())
        });
        match outcome {
            Found::Stopped => Err(Stopped),
            _ => {
                let copies: Vec<u64> = search.copies.iter().map(|copy| copy.at).collect();
                search
                    .strays
                    .retain(|at| !copies.iter().any(|copy| is_in(*copy, *at)));
                Ok(search)
            }
        }
    }

    /// Returns where volumes begin, the best supported first.
    ///
    /// A copy says where it lies on its volume; where it lies on the disk less that is where the volume begins. A single
    /// copy does not say which of the three it is, and so gives three places, of which `device` may show the right one
    /// by the boot sector that is there.
    #[must_use]
    pub fn volume_starts(&self, device: &Device) -> Vec<VolumeStart> {
        let mut starts: Vec<VolumeStart> = Vec::new();
        for copy in &self.copies {
            for listed in copy.listed {
                let Some(offset) = copy.at.checked_sub(listed).filter(|at| at % SECTOR as u64 == 0) else {
                    continue;
                };
                match starts.iter_mut().find(|start| start.offset == offset) {
                    Some(start) => start.copies.push(copy.at),
                    None => starts.push(VolumeStart {
                        offset,
                        copies: vec![copy.at],
                        is_certain: false,
                    }),
                }
            }
        }
        for start in &mut starts {
            let boot = read_up_to(device, start.offset, boot_sector::LEN_BYTES).ok();
            let has_boot = boot.is_some_and(|sector| BootSector::read(&sector).is_some());
            start.is_certain = has_boot || start.copies.len() > 1;
        }
        let sound = |start: &VolumeStart| {
            let copies = self.copies.iter();
            copies
                .filter(|copy| copy.is_sound && start.copies.contains(&copy.at))
                .count()
        };
        starts.sort_by_key(|start| {
            let support = (start.is_certain, sound(start), start.copies.len());
            (std::cmp::Reverse(support), start.offset)
        });
        // A copy belongs to one volume. Where copies lie at equal distances, some of them also agree on another start.
        let mut claimed: Vec<u64> = Vec::new();
        starts.retain(|start| {
            let is_new = start.copies.iter().any(|copy| !claimed.contains(copy));
            if is_new && start.is_certain {
                claimed.extend(&start.copies);
            }
            is_new
        });
        starts
    }

    /// Returns the sectors in which a copy's header was found and those in which entries without one begin, as places on a
    /// volume that begins at `start`.
    pub(super) fn places_on(&self, start: u64) -> (Vec<u64>, Vec<u64>) {
        let on_volume = |at: u64| at.checked_sub(start);
        let copies = self.copies.iter().filter_map(|copy| on_volume(copy.at));
        let strays = self.strays.iter().filter_map(|at| on_volume(*at));
        (
            copies.collect(),
            strays.map(|at| at / SECTOR as u64 * SECTOR as u64).collect(),
        )
    }

    /// Tells whether there are parts of a record of encrypted chunks: the volume is, or was, encrypted on write.
    pub(super) fn has_record(&self) -> bool {
        self.has_record
    }

    fn note_copy(&mut self, device: &Device, at: u64) {
        let Ok(region) = read_up_to(device, at, MAX_REGION_LEN_BYTES) else {
            return;
        };
        if let Some(fields) = BlockFields::read(&region) {
            self.copies.push(CopyAt {
                at,
                listed: fields.metadata_offsets,
                is_sound: InformationBlock::read(&region).is_ok_and(|block| block.crc32_is_right()),
            });
        }
    }

    fn note_stray(&mut self, at: u64) {
        // One place a region is enough: it is read as a whole.
        if !self.strays.iter().any(|first| is_in(*first, at)) {
            self.strays.push(at);
        }
    }
}

/// Tells whether a byte lies in the region that begins at `region`.
fn is_in(region: u64, at: u64) -> bool {
    (region..region.saturating_add(MAX_REGION_LEN_BYTES as u64)).contains(&at)
}
