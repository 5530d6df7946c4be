//! Where a new volume keeps what is not its content.
//!
//! Windows' own rule, found by fitting real volumes: format spec 5.2.

use std::ops::Range;

use keyhaven_crypto::SectorSize;

use crate::format::block::MAX_REGION_LEN_BYTES;

/// How much of the plaintext's start is moved away from under the boot sector, in bytes.
pub const MOVED_LEN_BYTES: u64 = 8192;

/// Length of one metadata copy, in bytes.
pub const REGION_LEN_BYTES: u64 = MAX_REGION_LEN_BYTES as u64;

/// Where the first copy is wanted: 33 MiB into the volume.
const FIRST: u64 = 33 << 20;
/// The most that the three copies are spread over.
const MAX_SPAN: u64 = 1 << 30;
/// Windows keeps a file of this length, of zeros, behind the moved sectors; what for is not known.
const SPARE_LEN_BYTES: u64 = 0x1_0000;
/// What lies together: a metadata copy, the moved sectors and the spare part.
const FIRST_LEN_BYTES: u64 = REGION_LEN_BYTES + MOVED_LEN_BYTES + SPARE_LEN_BYTES;
/// How far apart copies behind a file system are at least and at most, and in which steps: whole clusters of any size.
const MIN_TAIL_STEP: u64 = 256 << 10;
const MAX_TAIL_STEP: u64 = 4 << 20;
const TAIL_STEP: u64 = MAX_CLUSTER_LEN_BYTES as u64;
/// The largest cluster whose size the boot sector can give.
const MAX_CLUSTER_LEN_BYTES: u32 = 0x1_0000;

/// The places that a volume keeps for itself, in bytes from its start.
///
/// They are inside the plaintext as well, where metadata and moved sectors show as zeros and cannot be written: a file
/// system on the volume must have them reserved ([`reserved`](Self::reserved)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The three metadata copies, each of [`REGION_LEN_BYTES`].
    pub metadata_offsets: [u64; 3],
    /// The first [`MOVED_LEN_BYTES`] of the plaintext.
    pub moved_offset: u64,
    /// A part that Windows reserves as well. It is content like any other, and zeros when the volume is made.
    pub spare: Range<u64>,
    cluster: u64,
}

/// Why a volume has no room for what it must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// The volume is too small.
    #[error("the volume has {len_bytes} bytes, but what it keeps for itself reaches to byte {needed}")]
    TooSmall {
        /// The size of the volume.
        len_bytes: u64,
        /// The size that it would need at least.
        needed: u64,
    },
    /// A place that was given is none where anything can be kept.
    #[error("nothing can be kept at bytes {start:#x} to {end:#x} of the volume")]
    Unusable {
        /// Where it begins, in bytes.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// The cluster size is none that can be used.
    #[error(
        "clusters of {cluster} bytes cannot be used: expected a power of two from the sector size to 65536, and \
         at most 128 sectors"
    )]
    Cluster {
        /// The size given.
        cluster: u32,
    },
}

impl Placement {
    /// Finds the places on an empty volume of `len_bytes`, at the starts of clusters of `cluster` bytes.
    ///
    /// # Errors
    /// [`PlacementError`]; the least that a volume can have is about 43 MiB.
    pub fn new(len_bytes: u64, sector_size: SectorSize, cluster: u32) -> Result<Self, PlacementError> {
        check_cluster(sector_size, cluster)?;
        let cluster = u64::from(cluster);
        let up = |at: u64| at.next_multiple_of(cluster);

        // An eighth of the address space is beyond any volume; below it nothing here can overflow.
        let span = up((len_bytes.min(u64::MAX / 8) / 3).min(MAX_SPAN));
        let moved_offset = FIRST + REGION_LEN_BYTES;
        let spare = moved_offset + MOVED_LEN_BYTES..moved_offset + MOVED_LEN_BYTES + SPARE_LEN_BYTES;
        // On a small volume the second place would lie on what follows the first.
        let second = up(FIRST + span / 3).max(up(spare.end));
        let third = up(FIRST + span * 2 / 3).max(up(second + REGION_LEN_BYTES));
        let needed = up(third + REGION_LEN_BYTES);
        if needed > len_bytes {
            return Err(PlacementError::TooSmall { len_bytes, needed });
        }
        Ok(Self {
            metadata_offsets: [FIRST, second, third],
            moved_offset,
            spare,
            cluster,
        })
    }

    /// Finds places that no file system on the volume will reach: in front of all of its structures, where `front` says
    /// that bytes are left out there, and behind its end, which is returned as well.
    ///
    /// The copies behind the end lie as far apart as what damages a drive in one place is wide (a block of flash
    /// memory), and not at the very end, where other programs look for something to write over.
    ///
    /// # Errors
    /// [`PlacementError`]; without room in front, what lies behind takes 768 KiB at least, a 42nd part of a small volume
    /// and never more than 12 MiB.
    pub fn outside(
        len_bytes: u64,
        sector_size: SectorSize,
        cluster: u32,
        front: Range<u64>,
    ) -> Result<(Self, u64), PlacementError> {
        let step = (len_bytes / 128 / TAIL_STEP * TAIL_STEP).clamp(MIN_TAIL_STEP, MAX_TAIL_STEP);
        let has_front = front.end.saturating_sub(front.start) >= FIRST_LEN_BYTES;
        let behind: u64 = if has_front { 2 } else { 3 };
        let place = |steps: u64| {
            len_bytes
                .checked_sub(steps * step)
                .map(|at| at / TAIL_STEP * TAIL_STEP)
        };
        let needed = if has_front { front.end } else { MOVED_LEN_BYTES } + behind * step + TAIL_STEP;
        let too_small = PlacementError::TooSmall { len_bytes, needed };
        let (Some(end), Some(second), Some(third)) = (place(behind), place(2), place(1)) else {
            return Err(too_small);
        };
        if len_bytes < needed {
            return Err(too_small);
        }
        let first = if has_front { front.start } else { end };
        let moved_offset = first + REGION_LEN_BYTES;
        let spare = moved_offset + MOVED_LEN_BYTES..first + FIRST_LEN_BYTES;
        let offsets = [first, second, third];
        Ok((
            Self::at(offsets, moved_offset, spare, len_bytes, sector_size, cluster)?,
            end,
        ))
    }

    /// Takes places that a file system on a volume of `len_bytes` has free, in clusters of `cluster` bytes.
    ///
    /// # Errors
    /// [`PlacementError::Unusable`] unless all begin with a sector, lie behind the moved sectors' old place and inside
    /// the volume, and none lies on another; [`PlacementError::Cluster`].
    pub fn at(
        metadata_offsets: [u64; 3],
        moved_offset: u64,
        spare: Range<u64>,
        len_bytes: u64,
        sector_size: SectorSize,
        cluster: u32,
    ) -> Result<Self, PlacementError> {
        check_cluster(sector_size, cluster)?;
        let region = |offset: u64| offset..offset.saturating_add(REGION_LEN_BYTES);
        let mut places = metadata_offsets.map(region).to_vec();
        places.push(moved_offset..moved_offset.saturating_add(MOVED_LEN_BYTES));
        places.push(spare.clone());
        places.sort_by_key(|place| place.start);
        let mut free_from = MOVED_LEN_BYTES;
        for place in places {
            let starts_sector = place.start.is_multiple_of(sector_size.bytes_u64());
            if !starts_sector || place.start < free_from || place.end < place.start || place.end > len_bytes {
                return Err(PlacementError::Unusable {
                    start: place.start,
                    end: place.end,
                });
            }
            free_from = place.end;
        }
        Ok(Self {
            metadata_offsets,
            moved_offset,
            spare,
            cluster: u64::from(cluster),
        })
    }

    /// Returns what a file system on the volume must leave alone: whole clusters, in order, not touching each other.
    #[must_use]
    pub fn reserved(&self) -> [Range<u64>; 3] {
        let [first, second, third] = self.metadata_offsets;
        let up = |at: u64| at.next_multiple_of(self.cluster);
        [
            first..up(self.spare.end),
            second..up(second + REGION_LEN_BYTES),
            third..up(third + REGION_LEN_BYTES),
        ]
    }
}

fn check_cluster(sector_size: SectorSize, cluster: u32) -> Result<(), PlacementError> {
    let sector = sector_size.bytes() as u32;
    let fits = cluster.is_power_of_two()
        && (sector..=MAX_CLUSTER_LEN_BYTES).contains(&cluster)
        && cluster / sector <= 128;
    if fits {
        Ok(())
    } else {
        Err(PlacementError::Cluster { cluster })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Volumes on which nothing was in the way of Windows' rule (format spec 5.2).
    #[test]
    fn places_are_those_of_real_volumes() {
        for (len_bytes, second, third) in [
            // cs-aes-xts-128, whose first copy had to give way to the MFT.
            (0x640_0000, 0x2c1_d000, 0x373_a000),
            (0x1ee0_0000, 0x57e_4000, 0x8ec_8000),
            (3_800_000_000, 0x1765_6000, 0x2cba_b000),
        ] {
            let placement = Placement::new(len_bytes, SectorSize::B512, 4096).expect("large enough");
            assert_eq!(placement.metadata_offsets, [0x210_0000, second, third]);
            assert_eq!(placement.moved_offset, 0x211_0000);
            assert_eq!(placement.spare, 0x211_2000..0x212_2000);
        }
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        let refused = |len_bytes, cluster| Placement::new(len_bytes, SectorSize::B4096, cluster).is_err();
        assert!(refused(42 << 20, 4096) && !refused(44 << 20, 4096));
        assert!(refused(1 << 40, 512), "a cluster below the sector size");
        assert!(refused(1 << 40, 0) && refused(1 << 40, 5000) && refused(1 << 40, 0x2_0000));
        assert!(Placement::new(1 << 40, SectorSize::B512, 0x1_0000).is_ok());
        assert!(Placement::new(u64::MAX, SectorSize::B512, 4096).is_ok());
    }

    #[test]
    fn places_outside_a_file_system_are_behind_it_or_in_its_gap() {
        const MIB: u64 = 1 << 20;
        let (placement, end) =
            Placement::outside(1 << 30, SectorSize::B512, 4096, 0..0).expect("large enough");
        assert_eq!(end, 1012 * MIB);
        assert_eq!(placement.metadata_offsets, [end, 1016 * MIB, 1020 * MIB]);

        let front = MIB / 2..MIB;
        let (placement, end) =
            Placement::outside(64 * MIB + 512, SectorSize::B4096, 4096, front).expect("large enough");
        assert_eq!(end, 63 * MIB);
        assert_eq!(placement.metadata_offsets, [MIB / 2, end, end + MIB / 2]);
        assert_eq!(placement.spare.end, MIB / 2 + 0x2_2000);

        assert!(Placement::outside(MIB / 2, SectorSize::B512, 4096, 0..0).is_err());
        assert!(Placement::outside(u64::MAX, SectorSize::B512, 4096, 0..0).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn places_outside_a_file_system_never_touch_it(len_bytes in any::<u64>(), shift in 0u32..64, has_front in any::<bool>()) {
            let len_bytes = len_bytes >> shift;
            let front = if has_front { 0x8_0000..0x10_0000 } else { 0..0 };
            let outside = Placement::outside(len_bytes, SectorSize::B4096, 0x1_0000, front.clone());
            let Ok((placement, end)) = outside else {
                prop_assert!(len_bytes < 3 << 20);
                return Ok(());
            };
            prop_assert!(end > MOVED_LEN_BYTES && end < len_bytes);
            prop_assert!(len_bytes - end <= (len_bytes / 42).max(768 << 10) + 2 * 0x1_0000);
            for range in placement.reserved() {
                prop_assert!(range.start >= end || (range.start >= front.start && range.end <= front.end));
                prop_assert!(range.end <= len_bytes);
            }
        }

        #[test]
        fn places_never_overlap_and_never_leave_the_volume(len_bytes in any::<u64>(), shift in 0u32..64, cluster in 9u32..=16) {
            let len_bytes = len_bytes >> shift;
            let cluster = 1 << cluster;
            let Ok(placement) = Placement::new(len_bytes, SectorSize::B512, cluster) else {
                prop_assert!(len_bytes < 44 << 20);
                return Ok(());
            };
            let reserved = placement.reserved();
            prop_assert!(reserved[0].start >= MOVED_LEN_BYTES && reserved[2].end <= len_bytes);
            for [one, next] in reserved.array_windows() {
                prop_assert!(one.start < one.end && one.end <= next.start);
            }
            for range in &reserved {
                prop_assert!(range.start.is_multiple_of(u64::from(cluster)) && range.end.is_multiple_of(u64::from(cluster)));
            }
            prop_assert_eq!(placement.moved_offset, placement.metadata_offsets[0] + REGION_LEN_BYTES);
        }
    }
}
