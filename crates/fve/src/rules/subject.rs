//! What rules look at.

use std::ops::Range;

use crate::format::block::InformationBlock;
use crate::format::boot_sector::{self, BootLayout, BootSector};
use crate::format::datum::{Datum, SealedDatum, Value};
use crate::keys::VolumeMasterKey;
use crate::metadata::{Conversion, Metadata};
use crate::volume::{Unlocked, Volume};

/// A volume, as it lies on its medium.
pub(super) struct Subject<'a> {
    pub(super) volume: &'a Volume,
    /// The first 512 bytes; empty where they cannot be read.
    pub(super) boot: Vec<u8>,
    pub(super) layout: Option<BootLayout>,
    /// The three places as far as they are known and can be read.
    pub(super) regions: [Option<Region>; 3],
    pub(super) vmk: Option<&'a VolumeMasterKey>,
}

/// What stands in one of the three places.
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// `None` where it is no metadata.
    pub(super) block: Option<InformationBlock>,
}

impl<'a> Subject<'a> {
    pub(super) fn read(volume: &'a Volume, unlocked: Option<&'a Unlocked>) -> Self {
        let mut boot = vec![0; boot_sector::LEN_BYTES];
        if volume.device().read_at(0, &mut boot).is_err() {
            boot.clear();
        }
        let layout = BootSector::read(&boot).map(|boot| boot.layout);
        let len = volume.metadata_region_len_bytes() as usize;
        let region = |offset: Option<u64>| {
            let offset = offset?;
            let mut bytes = vec![0; len];
            volume.device().read_at(offset, &mut bytes).ok()?;
            let block = InformationBlock::read(&bytes).ok();
            Some(Region { offset, bytes, block })
        };
        Self {
            volume,
            boot,
            layout,
            regions: volume.metadata_offsets().map(region),
            vmk: unlocked.and_then(Unlocked::vmk),
        }
    }

    pub(super) fn metadata(&self) -> &Metadata {
        self.volume.metadata()
    }

    /// Returns the block in use.
    pub(super) fn block(&self) -> &InformationBlock {
        self.metadata().block()
    }

    pub(super) fn datums(&self) -> &[Datum] {
        &self.block().datums
    }

    pub(super) fn is_vista(&self) -> bool {
        self.block().version == 1
    }

    pub(super) fn is_decrypted(&self) -> bool {
        self.metadata().conversion() == Conversion::Decrypted
    }

    pub(super) fn sector(&self) -> u64 {
        self.volume.sector_size().bytes_u64()
    }

    /// Returns the places that the volume keeps for itself, each with its name.
    pub(super) fn reserved(&self) -> Vec<(String, Range<u64>)> {
        let len = self.volume.metadata_region_len_bytes();
        let copies = (1..).zip(self.block().metadata_offsets);
        let mut reserved: Vec<_> = copies
            .map(|(copy, offset)| {
                (
                    format!("metadata copy {copy}"),
                    offset..offset.saturating_add(len),
                )
            })
            .collect();
        if let Some(moved) = self.metadata().virtualized(self.sector()) {
            let end = moved.offset.saturating_add(moved.len_bytes);
            reserved.push(("the moved sectors".to_owned(), moved.offset..end));
            reserved.push(("the sectors in front".to_owned(), 0..moved.len_bytes));
        }
        reserved
    }

    /// Returns two bytes of the boot sector; 0 where there are none.
    pub(super) fn boot_u16(&self, at: usize) -> u16 {
        let bytes = self.boot.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u16::from_le_bytes)
    }
}

/// Calls `each` with every box in a list and the lists in it, in the order in which they stand.
pub(super) fn for_each_box<'d>(datums: &'d [Datum], each: &mut impl FnMut(&'d SealedDatum)) {
    for datum in datums {
        if let Value::Sealed(sealed) = &datum.value {
            each(sealed);
        }
        for_each_box(datum.nested(), each);
    }
}

/// Returns the counter in a nonce.
pub(super) fn counter_of(sealed: &SealedDatum) -> u32 {
    let [.., a, b, c, d] = sealed.nonce;
    u32::from_le_bytes([a, b, c, d])
}
