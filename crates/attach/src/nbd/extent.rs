//! Which parts of a range are stored, and which are holes.

use keyhaven_disk::BlockDevice;

use super::reply::Extent;

/// How closely stored parts are looked at for the next hole, in bytes: holes are at least a cluster, or a chunk.
const STEP: u64 = 64 * 1024;

/// The most extents in one answer; a client asks again for the rest.
const MAX_EXTENTS: usize = 4096;

/// The most questions to the device for one answer: 4 GiB of stored bytes at [`STEP`].
const MAX_QUESTIONS: usize = 1 << 16;

/// Returns the extents from `offset` on, in order and without gaps, for up to `len_bytes`: fewer where there are
/// many, and only the first where `only_one` is wanted. Neighbours differ.
pub(super) fn extents(device: &dyn BlockDevice, offset: u64, len_bytes: u32, only_one: bool) -> Vec<Extent> {
    let end = offset.saturating_add(u64::from(len_bytes));
    let mut found: Vec<Extent> = Vec::new();
    let mut position = offset;
    for _ in 0..MAX_QUESTIONS {
        if position >= end {
            break;
        }
        let left = end.saturating_sub(position);
        let hole = device.hole_at(position, left).min(left);
        let is_hole = hole > 0;
        // Where something is stored, the next look is at the next multiple of the step.
        let to_step = STEP.saturating_sub(position % STEP);
        let part = if is_hole { hole } else { to_step.min(left) };
        let part_len = u32::try_from(part).unwrap_or(u32::MAX);
        let is_full = found.len() >= if only_one { 1 } else { MAX_EXTENTS };
        match found.last_mut() {
            Some(last) if last.is_hole == is_hole => last.len_bytes = last.len_bytes.saturating_add(part_len),
            _ if is_full => break,
            _ => found.push(Extent {
                len_bytes: part_len,
                is_hole,
            }),
        }
        position = position.saturating_add(part);
    }
    found
}

#[cfg(test)]
mod tests {
    use keyhaven_disk::ReadError;

    use super::*;

    /// Holes where the number of the page is a multiple of `every`; nothing is stored anywhere.
    #[derive(Debug)]
    struct Holes {
        page: u64,
        every: u64,
    }

    impl BlockDevice for Holes {
        fn len_bytes(&self) -> u64 {
            1 << 40
        }

        fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<(), ReadError> {
            buf.fill(0);
            Ok(())
        }

        fn hole_at(&self, offset: u64, len: u64) -> u64 {
            if (offset / self.page).is_multiple_of(self.every) {
                (self.page - offset % self.page).min(len)
            } else {
                0
            }
        }
    }

    fn parts(extents: &[Extent]) -> Vec<(u32, bool)> {
        extents
            .iter()
            .map(|extent| (extent.len_bytes, extent.is_hole))
            .collect()
    }

    #[test]
    fn holes_and_stored_parts_alternate_up_to_the_end_of_the_range() {
        let device = Holes { page: STEP, every: 3 };
        let step = STEP as u32;
        let found = extents(&device, 1000, 6 * step, false);
        assert_eq!(
            parts(&found),
            [
                (step - 1000, true),
                (2 * step, false),
                (step, true),
                (2 * step, false),
                (1000, true)
            ]
        );
        assert_eq!(
            parts(&extents(&device, 1000, 6 * step, true)),
            [(step - 1000, true)]
        );
        assert_eq!(parts(&extents(&device, step.into(), 10, true)), [(10, false)]);
        assert_eq!(parts(&extents(&device, 5, 0, false)), []);
    }

    #[test]
    fn holes_next_to_each_other_are_one_up_to_the_longest_request() {
        let device = Holes {
            page: 1 << 20,
            every: 1,
        };
        let found = extents(&device, 3 << 40, u32::MAX, false);
        assert_eq!(parts(&found), [(u32::MAX, true)]);
    }

    #[test]
    fn a_range_in_shreds_is_answered_in_part() {
        let device = Holes { page: STEP, every: 2 };
        let found = extents(&device, 0, u32::MAX, false);
        assert_eq!(found.len(), MAX_EXTENTS);
        let stored = Holes {
            page: 1,
            every: u64::MAX,
        };
        let found = extents(&stored, 1, u32::MAX, false);
        assert_eq!(found.len(), 1);
    }
}
