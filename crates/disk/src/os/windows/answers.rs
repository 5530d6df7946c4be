//! The answers of devices, taken apart. They come as the bytes of C structures whose layout Windows never changes.
//!
//! Source: Microsoft's reference of the structures named here.

/// Returns the length that a `GET_LENGTH_INFORMATION` tells, in bytes.
pub(super) fn length(answer: &[u8]) -> Option<u64> {
    u64_at(answer, 0)
}

/// Returns the length of the disk that a `DISK_GEOMETRY_EX` tells, in bytes.
pub(super) fn disk_length(answer: &[u8]) -> Option<u64> {
    u64_at(answer, 24)
}

/// Returns the sector size that a `DISK_GEOMETRY` tells, in bytes.
pub(super) fn sector_size(answer: &[u8]) -> Option<u32> {
    u32_at(answer, 20).filter(|size| size.is_power_of_two() && (512..=64 * 1024).contains(size))
}

/// On which disk a device lies, and as which partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    /// The number in `PhysicalDrive1`.
    pub(super) disk: u32,
    /// `None` for the disk as a whole.
    pub(super) partition: Option<u32>,
}

/// Returns the place that a `STORAGE_DEVICE_NUMBER` tells.
pub(super) fn location(answer: &[u8]) -> Option<Location> {
    let (disk, partition) = (u32_at(answer, 4)?, u32_at(answer, 8)?);
    // All ones: the device cannot have partitions.
    let is_whole = partition == 0 || partition == u32::MAX;
    Some(Location {
        disk,
        partition: (!is_whole).then_some(partition),
    })
}

/// A part of a disk that a volume lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The number in `PhysicalDrive1`.
    pub(super) disk: u32,
    /// How long it is, in bytes.
    pub(super) len_bytes: u64,
}

/// Returns the places that a `VOLUME_DISK_EXTENTS` tells.
pub(super) fn extents(answer: &[u8]) -> Vec<Extent> {
    let count = u32_at(answer, 0).unwrap_or_default() as usize;
    let extents = answer.get(8..).unwrap_or_default().chunks_exact(24);
    extents
        .take(count)
        .filter_map(|extent| {
            Some(Extent {
                disk: u32_at(extent, 0)?,
                len_bytes: u64_at(extent, 16)?,
            })
        })
        .collect()
}

/// What a disk tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceDescription {
    /// Whether its medium can be taken out.
    pub(super) removable: bool,
    /// Whether it is connected through USB.
    pub(super) usb: bool,
    /// Who made it, if it says so.
    pub(super) vendor: Option<String>,
    /// What it is called by its maker, if it says so.
    pub(super) model: Option<String>,
}

/// Returns what a `STORAGE_DEVICE_DESCRIPTOR` tells.
pub(super) fn description(answer: &[u8]) -> Option<DeviceDescription> {
    /// `BusTypeUsb` of `STORAGE_BUS_TYPE`.
    const USB: u32 = 7;

    let text = |place: usize| {
        // Zero where it is not told.
        let start = u32_at(answer, place).filter(|start| *start != 0)?;
        let text = answer.get(start as usize..)?.split(|byte| *byte == 0).next()?;
        let text = String::from_utf8_lossy(text).trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    Some(DeviceDescription {
        removable: *answer.get(10)? != 0,
        usb: u32_at(answer, 28)? == USB,
        vendor: text(12),
        model: text(16),
    })
}

/// Returns where the first `FILE_ALLOCATED_RANGE_BUFFER` of a list begins, in bytes.
pub(super) fn first_range(answer: &[u8]) -> Option<u64> {
    u64_at(answer, 0)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .copied()
        .map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes
        .get(offset..)?
        .first_chunk()
        .copied()
        .map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().copied().flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn geometry_tells_sectors_and_the_length_of_the_disk() {
        // 16383 cylinders, fixed media (12), 255 tracks, 63 sectors of 512 bytes; 0x2_540b_e400 bytes in all.
        let geometry = words(&[16383, 0, 12, 255, 63, 512, 0x540b_e400, 2, 0]);
        assert_eq!(sector_size(&geometry), Some(512));
        assert_eq!(disk_length(&geometry), Some(10_000_000_000));
        assert_eq!(disk_length(&geometry[..31]), None);
        assert_eq!(sector_size(&words(&[0, 0, 12, 255, 63, 500])), None);
        assert_eq!(length(&words(&[0x540b_e400, 2])), Some(10_000_000_000));
    }

    #[test]
    fn a_whole_disk_is_no_partition() {
        let at = |partition| location(&words(&[7, 3, partition])).map(|found| found.partition);
        assert_eq!(at(0), Some(None));
        assert_eq!(at(u32::MAX), Some(None));
        assert_eq!(at(2), Some(Some(2)));
        assert_eq!(location(&words(&[7, 3])), None);
    }

    #[test]
    fn a_volume_may_lie_on_several_disks() {
        let extent = |disk, len| words(&[disk, 0, 0x10_0000, 0, len, 0]);
        let answer = [words(&[2, 0]), extent(1, 4096), extent(4, 8192)].concat();
        let on = |disk, len_bytes| Extent { disk, len_bytes };
        assert_eq!(extents(&answer), [on(1, 4096), on(4, 8192)]);
        assert_eq!(extents(&answer[..answer.len() - 1]), [on(1, 4096)]);
    }

    #[test]
    fn a_stick_says_who_made_it() {
        let mut answer = words(&[40, 60, 0, 40, 46, 0, 0, 7]);
        answer[10] = 1;
        answer.resize(40, 0);
        answer.extend_from_slice(b"ACME \0Stick 3000\0");
        let found = description(&answer).expect("whole");
        assert!(found.removable && found.usb);
        assert_eq!(found.vendor.as_deref(), Some("ACME"));
        assert_eq!(found.model.as_deref(), Some("Stick 3000"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_answer_is_safe(answer in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (length(&answer), disk_length(&answer), sector_size(&answer), location(&answer));
            let _ = (extents(&answer), description(&answer), first_range(&answer));
        }
    }
}
