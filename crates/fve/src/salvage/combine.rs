//! One whole copy out of damaged ones: media lose sectors, and rarely the same in all three copies.
//!
//! The copies of a healthy volume are the same, byte for byte (format spec 2.1). So for each sector there are as many
//! candidates as the copies have different contents there, and what the bytes that most copies agree on make of it.
//! The checksum tells which choice is right.

use std::collections::BTreeSet;

use crate::format::block::InformationBlock;

/// Media lose and keep whole sectors.
const SECTOR: usize = 512;
/// So many choices are tried: the checksum has 32 bits, and is right by chance in one of 4 thousand million.
const MAX_CHOICES: usize = 1 << 16;

/// Puts a region together with a block whose checksum is right; `None` where no choice gives one.
pub(super) fn combine(regions: &[&[u8]]) -> Option<Vec<u8>> {
    let sizes: BTreeSet<usize> = regions.iter().filter_map(|region| size_of(region)).collect();
    sizes.into_iter().find_map(|size| combine_sized(regions, size))
}

/// Returns how long the block says it is, in bytes, whether it is one or not.
fn size_of(region: &[u8]) -> Option<usize> {
    let [.., a, b, c, d] = *region.first_chunk::<12>()?;
    let size = usize::from(u16::from_le_bytes([a, b]));
    let size = if u16::from_le_bytes([c, d]) == 1 {
        size
    } else {
        size * 16
    };
    (0x70..=region.len().checked_sub(8)?)
        .contains(&size)
        .then_some(size)
}

fn combine_sized(regions: &[&[u8]], size: usize) -> Option<Vec<u8>> {
    /// The checks behind the block: sizes, checksum and the sealed hash.
    const CHECKS: usize = 8 + 0x50;

    let len = regions.iter().map(|region| region.len()).max()?;
    let covered = (size + CHECKS).min(len).div_ceil(SECTOR);
    let voted = vote(regions, len);
    let mut choices: Vec<Vec<&[u8]>> = Vec::with_capacity(covered);
    let mut count = 1usize;
    for index in 0..covered {
        let mut sectors: Vec<&[u8]> = Vec::new();
        for region in regions.iter().copied().chain([voted.as_slice()]) {
            let sector = sector_of(region, index);
            if !sector.is_empty() && !sectors.contains(&sector) {
                sectors.push(sector);
            }
        }
        // A sector of zeros is one that was lost, unless there is no other.
        if sectors.len() > 1 {
            sectors.retain(|sector| sector.iter().any(|byte| *byte != 0));
        }
        count = count
            .checked_mul(sectors.len())
            .filter(|count| (1..=MAX_CHOICES).contains(count))?;
        choices.push(sectors);
    }
    let mut region = voted.clone();
    (0..count).find_map(|number| {
        let mut number = number;
        for (index, sectors) in choices.iter().enumerate() {
            let sector = sectors.get(number % sectors.len())?;
            number /= sectors.len();
            region
                .get_mut(index * SECTOR..)?
                .get_mut(..sector.len())?
                .copy_from_slice(sector);
        }
        let stored = region
            .get(size + 4..)?
            .first_chunk()
            .map(|crc| u32::from_le_bytes(*crc))?;
        if crc32fast::hash(region.get(..size)?) != stored {
            return None;
        }
        InformationBlock::read(&region)
            .is_ok_and(|block| block.crc32_is_right())
            .then(|| region.clone())
    })
}

/// Returns what most regions have at each byte; where no two agree, what the first has.
pub(super) fn vote(regions: &[&[u8]], len: usize) -> Vec<u8> {
    let at = |index: usize| {
        regions
            .iter()
            .filter_map(move |region| region.get(index).copied())
    };
    (0..len)
        .map(|index| {
            let most = at(index).find(|byte| at(index).filter(|other| other == byte).count() > 1);
            most.or_else(|| at(index).next()).unwrap_or_default()
        })
        .collect()
}

fn sector_of(region: &[u8], index: usize) -> &[u8] {
    let start = region.len().min(index * SECTOR);
    &region[start..region.len().min(start + SECTOR)]
}
