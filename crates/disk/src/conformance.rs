//! The suite that every [`BlockDevice`] must pass.
//!
//! A device and the content it should have go in. The suite reads at the edges, at many positions inside and past
//! the end, and holds the device to what it says about its holes. It panics with a message where the device is
//! wrong, as a test does.

use crate::device::{BlockDevice, ReadError};
use crate::writable::{WritableDevice, WriteError};

/// How many positions inside the device are tried.
const POSITIONS: u64 = 200;

/// Checks that `device` reads as `expected`, byte for byte, and keeps the contract of [`BlockDevice`].
///
/// # Panics
/// Where the device breaks the contract.
pub fn check(device: &dyn BlockDevice, expected: &[u8]) {
    let len = expected.len() as u64;
    assert_eq!(device.len_bytes(), len, "the length");
    assert!(
        device.sector_size().is_power_of_two(),
        "the sector size is {}",
        device.sector_size()
    );

    check_whole_and_edges(device, expected);
    check_positions(device, expected);
    check_past_end(device, len);
    check_holes(device, expected);
}

/// Checks that `device`, whose content is `expected`, can be written everywhere and keeps the contract of
/// [`WritableDevice`]. `expected` is changed as the device is.
///
/// # Panics
/// Where the device breaks the contract.
pub fn check_writes(device: &dyn WritableDevice, expected: &mut [u8]) {
    check(device, expected);
    let len = expected.len() as u64;
    let mut numbers = Numbers(0xA076_1D64_78BD_642F);
    for _ in 0..POSITIONS {
        let start = numbers.below(len + 1) as usize;
        let longest = (expected.len() - start).min(300_000) as u64;
        let size = numbers.below(longest + 1) as usize;
        let seed = numbers.below(251);
        let bytes: Vec<u8> = (0..size)
            .map(|at| ((at as u64 * 31 + seed) % 251) as u8)
            .collect();
        if let Err(error) = device.write_at(start as u64, &bytes) {
            panic!("writing {size} bytes at byte {start} failed: {error:?}");
        }
        expected[start..start + size].copy_from_slice(&bytes);
        let around = start.saturating_sub(5000)..(start + size + 5000).min(expected.len());
        expect_read(device, expected, around.start, around.len());
    }
    for (offset, size) in [(len, 1), (len.saturating_sub(1), 2), (u64::MAX, 1)] {
        match device.write_at(offset, &vec![1; size]) {
            Err(WriteError::PastEnd {
                offset: at,
                len_bytes,
                end,
            }) => {
                assert_eq!(
                    (at, len_bytes, end),
                    (offset, size as u64, len),
                    "the error names the write"
                );
            }
            other => panic!("writing {size} bytes at byte {offset} of {len} gave {other:?}"),
        }
    }
    device.flush().expect("a healthy device can be flushed");
    check(device, expected);
}

fn check_whole_and_edges(device: &dyn BlockDevice, expected: &[u8]) {
    expect_read(device, expected, 0, expected.len());
    for size in [0, 1, 2, 511, 512, 513, 4095, 4096, 4097] {
        if size <= expected.len() {
            expect_read(device, expected, 0, size);
            expect_read(device, expected, expected.len() - size, size);
        }
    }
}

fn check_positions(device: &dyn BlockDevice, expected: &[u8]) {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for _ in 0..POSITIONS {
        let start = numbers.below(expected.len() as u64 + 1) as usize;
        let longest = (expected.len() - start).min(20_000) as u64;
        expect_read(device, expected, start, numbers.below(longest + 1) as usize);
    }
}

fn expect_read(device: &dyn BlockDevice, expected: &[u8], start: usize, size: usize) {
    // Not zeros, so that a device that leaves the buffer alone is found out.
    let mut buf = vec![0xA5; size];
    if let Err(error) = device.read_at(start as u64, &mut buf) {
        panic!("reading {size} bytes at byte {start} failed: {error:?}");
    }
    if let Some(at) = buf
        .iter()
        .zip(&expected[start..])
        .position(|(actual, expected)| actual != expected)
    {
        panic!(
            "reading {size} bytes at byte {start}: byte {} is wrong",
            start + at
        );
    }
}

fn check_past_end(device: &dyn BlockDevice, len: u64) {
    let ranges = [
        (len, 1),
        (len.saturating_sub(1), 2),
        (len + 1, 1),
        (len + 4096, 512),
        (u64::MAX, 1),
        (u64::MAX - 1, 2),
    ];
    for (offset, size) in ranges {
        match device.read_at(offset, &mut vec![0; size]) {
            Err(ReadError::PastEnd {
                offset: at,
                len_bytes,
                end,
            }) => {
                assert_eq!((at, len_bytes), (offset, size as u64), "the error names the read");
                assert_eq!(end, len, "the error says where the data ends");
            }
            other => panic!("reading {size} bytes at byte {offset} of {len} gave {other:?}"),
        }
    }
}

fn check_holes(device: &dyn BlockDevice, expected: &[u8]) {
    let len = expected.len() as u64;
    let mut numbers = Numbers(0xD1B5_4A32_D192_ED03);
    let inside = (0..POSITIONS).map(|_| (numbers.below(len + 1), numbers.below(len + 1)));
    let edges = [
        (0, 0),
        (0, 1),
        (0, len),
        (0, u64::MAX),
        (len / 2, u64::MAX),
        (len, 1),
        (u64::MAX, u64::MAX),
    ];
    for (offset, asked) in inside.chain(edges).collect::<Vec<_>>() {
        let hole = device.hole_at(offset, asked);
        assert!(
            hole <= asked,
            "the hole at byte {offset} is {hole} bytes, {asked} were asked about"
        );
        if hole > 0 {
            assert!(
                offset + hole <= len,
                "the hole at byte {offset} leaves the device"
            );
            let range = offset as usize..(offset + hole) as usize;
            assert!(
                expected[range].iter().all(|byte| *byte == 0),
                "the hole at byte {offset} holds data"
            );
        }
    }
}

/// A fixed run of numbers without a pattern (splitmix64): the same positions in every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    /// Returns the run of numbers that `seed` fixes.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Brings `items` into another order, the same in every run.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// Returns the next number, less than `limit` (0 where that is 0).
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;
    use crate::View;

    fn content() -> Vec<u8> {
        (0..9000u32)
            .flat_map(|number| (number * 7).to_le_bytes())
            .collect()
    }

    #[test]
    fn bytes_in_memory_conform() {
        check(&content(), &content());
        check(&Vec::new(), &[]);
    }

    #[test]
    fn a_view_conforms_and_so_does_a_view_of_it() {
        let view = View::new(Arc::new(content()), 1000, 20_000);
        check(&view, &content()[1000..21_000]);
        let inner = View::new(Arc::new(view), 77, 5000);
        check(&inner, &content()[1077..6077]);
    }

    /// A device with one fault, to see that the suite finds it.
    #[derive(Debug)]
    struct Faulty {
        bytes: Vec<u8>,
        forgets_last_byte: bool,
        lies_about_holes: bool,
    }

    impl BlockDevice for Faulty {
        fn len_bytes(&self) -> u64 {
            self.bytes.len_bytes()
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
            let kept = buf.last().copied();
            self.bytes.read_at(offset, buf)?;
            if let (true, Some(last), Some(kept)) = (self.forgets_last_byte, buf.last_mut(), kept) {
                *last = kept;
            }
            Ok(())
        }

        fn hole_at(&self, _: u64, len: u64) -> u64 {
            if self.lies_about_holes { len } else { 0 }
        }
    }

    #[test]
    fn faults_are_found() {
        let passes = |forgets_last_byte, lies_about_holes| {
            let device = Faulty {
                bytes: content(),
                forgets_last_byte,
                lies_about_holes,
            };
            catch_unwind(AssertUnwindSafe(|| check(&device, &content()))).is_ok()
        };
        assert!(passes(false, false));
        assert!(!passes(true, false));
        assert!(!passes(false, true));
    }
}
