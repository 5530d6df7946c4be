//! A kernel and its portable twin must agree on everything.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{BoxedMode, Instructions};
use crate::secret::Secret;

/// Property-tests what `kernel` and `twin` make of two keys, for all [`Instructions`] that this processor has: both
/// directions, runs of every length, every sector size, offsets up to the end of the largest volumes, buffers of any
/// alignment.
pub(crate) fn assert_twins<const N: usize>(
    kernel: impl Fn(Instructions, &Secret<N>, &Secret<N>) -> Option<BoxedMode>,
    twin: impl Fn(&Secret<N>, &Secret<N>) -> BoxedMode,
) {
    for with in Instructions::ALL {
        assert_twin(|a, b| Some((kernel(with, a, b)?, twin(a, b))));
    }
}

fn assert_twin<const N: usize>(make: impl Fn(&Secret<N>, &Secret<N>) -> Option<(BoxedMode, BoxedMode)>) {
    let sector = prop_oneof![
        0u64..100,
        (1u64 << 32) - 40..(1 << 32) + 40,
        (1u64 << 50) - 40..=(1 << 50)
    ];
    let inputs = (
        any::<([u8; 32], [u8; 32])>(),
        prop::sample::select(vec![512usize, 1024, 2048, 4096]),
        1usize..=70,
        sector,
        0usize..64,
        any::<u64>(),
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(60));
    runner
        .run(&inputs, |((a, b), sector_size, count, sector, misalign, seed)| {
            let first = |bytes: [u8; 32]| Secret::<N>::from_slice(&bytes[..N]).expect("16 or 32");
            let Some((kernel, twin)) = make(&first(a), &first(b)) else {
                return Ok(());
            };
            let offset = sector * sector_size as u64;
            let before = noise(seed, misalign + count * sector_size + 64);
            let run = misalign..misalign + count * sector_size;

            let (mut by_kernel, mut by_twin) = (before.clone(), before.clone());
            kernel.encrypt(offset, sector_size, &mut by_kernel[run.clone()]);
            twin.encrypt(offset, sector_size, &mut by_twin[run.clone()]);
            prop_assert!(by_kernel == by_twin, "encryption differs");

            let (mut by_kernel, mut by_twin) = (before.clone(), before.clone());
            kernel.decrypt(offset, sector_size, &mut by_kernel[run.clone()]);
            twin.decrypt(offset, sector_size, &mut by_twin[run]);
            prop_assert!(by_kernel == by_twin, "decryption differs");
            Ok(())
        })
        .expect("kernel and twin agree");
}

/// Returns bytes without a pattern (splitmix64).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    words.flat_map(u64::to_le_bytes).take(len).collect()
}
