//! An exFAT file system made for sectors of 512 bytes, restated for larger ones.
//!
//! The maker of the distributions asks the device for the size of its sectors, and a file has none. Everything in exFAT
//! but its two boot regions counts in clusters and bytes, so only these are written anew.
//!
//! Source: Microsoft's exFAT file system specification, sections 3.1 to 3.4.

use keyhaven_disk::{ReadError, WritableDevice, WriteError};

const OLD: usize = 512;
/// A boot region: boot sector, eight extended ones, OEM parameters, one reserved, the checksum.
const REGION_SECTORS: usize = 12;

/// Fields of the boot sector that count in sectors: where they are and how long.
const PARTITION_OFFSET: usize = 64;
const VOLUME_LENGTH: usize = 72;
const FAT_OFFSET: usize = 80;
const FAT_LENGTH: usize = 84;
const HEAP_OFFSET: usize = 88;
const VOLUME_FLAGS: usize = 106;
const SECTOR_SHIFT: usize = 108;
const CLUSTER_SHIFT: usize = 109;
const PERCENT_IN_USE: usize = 112;
const NUMBER_OF_FATS: usize = 110;

/// Why a file system could not be restated.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestateError {
    /// Its boot sector has something that cannot be said in larger sectors.
    #[error("its structures do not begin with sectors of {sector_len} bytes")]
    Unaligned {
        /// The size of the new sectors.
        sector_len: usize,
    },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes the boot regions of the file system on `image` for sectors of `sector_len` bytes, a power of two.
///
/// The first structure behind them has to leave room for 24 such sectors.
pub(super) fn restate(image: &dyn WritableDevice, sector_len: usize) -> Result<(), RestateError> {
    let mut boot = [0; OLD];
    image.read_at(0, &mut boot)?;
    let region = region(&boot, sector_len).ok_or(RestateError::Unaligned { sector_len })?;
    image.write_at(0, &region)?;
    image.write_at(region.len() as u64, &region)?;
    image.flush()?;
    Ok(())
}

fn region(boot: &[u8; OLD], sector_len: usize) -> Option<Vec<u8>> {
    let ratio = u64::try_from(sector_len.checked_div(OLD)?).ok()?;
    if !ratio.is_power_of_two() || boot[SECTOR_SHIFT] != 9 {
        return None;
    }
    let shift = ratio.trailing_zeros() as u8;
    let mut sector = vec![0; sector_len];
    sector[..OLD].copy_from_slice(boot);
    let whole = |value: u64| value.is_multiple_of(ratio).then_some(value / ratio);

    let long = |at: usize| boot[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or(0);
    let short = |at: usize| boot[at..at + 4].try_into().map(u32::from_le_bytes).unwrap_or(0);
    let (fat, heap) = (
        whole(short(FAT_OFFSET).into())?,
        whole(short(HEAP_OFFSET).into())?,
    );
    if fat < 2 * REGION_SECTORS as u64 {
        return None;
    }
    // Between the end of the FAT and the first cluster is room to round up; behind the last cluster, to round down.
    let fat_len = u64::from(short(FAT_LENGTH)).div_ceil(ratio);
    let (partition, len) = (long(PARTITION_OFFSET) / ratio, long(VOLUME_LENGTH) / ratio);
    if fat + fat_len * u64::from(boot[NUMBER_OF_FATS].max(1)) > heap {
        return None;
    }
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(PARTITION_OFFSET, &partition.to_le_bytes());
    put(VOLUME_LENGTH, &len.to_le_bytes());
    put(FAT_OFFSET, &u32::try_from(fat).ok()?.to_le_bytes());
    put(FAT_LENGTH, &u32::try_from(fat_len).ok()?.to_le_bytes());
    put(HEAP_OFFSET, &u32::try_from(heap).ok()?.to_le_bytes());
    put(SECTOR_SHIFT, &[9 + shift]);
    put(CLUSTER_SHIFT, &[boot[CLUSTER_SHIFT].checked_sub(shift)?]);

    let mut region = sector;
    for _ in 0..8 {
        let mut extended = vec![0; sector_len];
        extended[sector_len - 4..].copy_from_slice(&[0, 0, 0x55, 0xaa]);
        region.extend(extended);
    }
    // OEM parameters that say nothing, and what is reserved.
    region.resize(11 * sector_len, 0);
    let checksum = checksum(&region).to_le_bytes();
    region.extend(checksum.repeat(sector_len / 4));
    Some(region)
}

/// Sums up a boot region but for the fields that change while the volume is in use.
fn checksum(region: &[u8]) -> u32 {
    region
        .iter()
        .enumerate()
        .filter(|(at, _)| ![VOLUME_FLAGS, VOLUME_FLAGS + 1, PERCENT_IN_USE].contains(at))
        .fold(0u32, |sum, (_, byte)| {
            sum.rotate_right(1).wrapping_add(u32::from(*byte))
        })
}

#[cfg(test)]
mod tests {
    use keyhaven_disk::{BlockDevice, MemoryDevice};

    use super::*;

    /// The boot sector of a file system of 16 MiB whose FAT begins at 1 MiB and whose clusters at 2 MiB.
    fn boot() -> [u8; OLD] {
        let mut boot = [0; OLD];
        boot[..11].copy_from_slice(b"\xeb\x76\x90EXFAT   ");
        boot[VOLUME_LENGTH..][..8].copy_from_slice(&32_768u64.to_le_bytes());
        boot[FAT_OFFSET..][..4].copy_from_slice(&2_048u32.to_le_bytes());
        boot[FAT_LENGTH..][..4].copy_from_slice(&28u32.to_le_bytes());
        boot[HEAP_OFFSET..][..4].copy_from_slice(&4_096u32.to_le_bytes());
        boot[SECTOR_SHIFT..][..4].copy_from_slice(&[9, 3, 1, 0x80]);
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        boot
    }

    #[test]
    fn sectors_are_counted_anew_and_bytes_stay_where_they_are() {
        let mut image = vec![0; 1 << 20];
        image[..OLD].copy_from_slice(&boot());
        let image = MemoryDevice::new(image);
        restate(&image, 4096).expect("aligned");
        let mut regions = vec![0; 2 * REGION_SECTORS * 4096];
        image.read_at(0, &mut regions).expect("inside");
        let (main, backup) = regions.split_at(REGION_SECTORS * 4096);
        assert_eq!(main, backup);
        let number = |at: usize| u32::from_le_bytes(main[at..at + 4].try_into().expect("four"));
        assert_eq!(number(VOLUME_LENGTH), 4_096);
        assert_eq!(
            [number(FAT_OFFSET), number(FAT_LENGTH), number(HEAP_OFFSET)],
            [256, 4, 512]
        );
        assert_eq!(
            main[SECTOR_SHIFT..][..2],
            [12, 0],
            "clusters stay as large as they were"
        );
        assert_eq!(main[2 * 4096 - 4..][..4], [0, 0, 0x55, 0xaa]);
        let sum = number(11 * 4096);
        assert!(main[11 * 4096..].chunks(4).all(|word| word == sum.to_le_bytes()));
        // What changes in use is not in the sum.
        let mut used = main[..11 * 4096].to_vec();
        used[PERCENT_IN_USE] = 50;
        assert_eq!(checksum(&used), sum);
        used[PERCENT_IN_USE + 1] ^= 1;
        assert_ne!(checksum(&used), sum);
    }

    #[test]
    fn what_cannot_be_said_in_larger_sectors_is_refused() {
        for (at, value) in [
            (SECTOR_SHIFT, 12),
            (CLUSTER_SHIFT, 2),
            (FAT_OFFSET, 1),
            (HEAP_OFFSET, 4),
            (FAT_OFFSET + 1, 0),
            (FAT_LENGTH + 1, 0xff),
        ] {
            let mut boot = boot();
            boot[at] = value;
            assert!(region(&boot, 4096).is_none(), "{value} at {at}");
        }
        assert!(region(&boot(), 0).is_none() && region(&boot(), 1536).is_none());
        assert!(region(&boot(), 4096).is_some());
    }
}
