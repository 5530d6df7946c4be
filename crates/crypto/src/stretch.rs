//! The slow step between something a person knows and a key.

use sha2::block_api::compress256;
use zeroize::Zeroize;

use crate::arch;
use crate::secret::Secret;

/// How many times the hash is applied, the same on every volume seen.
pub const STRETCH_ROUNDS: u64 = 0x10_0000;

/// How many secrets [`stretch_many`] stretches side by side: the natural size of what a search hands over at a time, and
/// multiples of it.
pub const STRETCH_BATCH: usize = 6;

/// From how many secrets on a batch with places to spare is faster than one secret after the other.
const WORTHWHILE: usize = 3;

/// Initial state of SHA-256 (FIPS 180-4, 5.3.3).
pub(crate) const INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Stretches a hashed password or recovery password into a 256-bit key: 2^20 rounds of SHA-256.
///
/// Each round hashes the 88 bytes `last[32] | initial[32] | salt[16] | round u64 LE`, with `last` zero at first.
/// Takes less than a tenth of a second with SHA instructions and most of one without; call it off a user interface's
/// thread. `salt` is the 16 bytes in the protector's stretch-key entry.
///
/// Source: format spec 3.3, vectors 1 to 4 and 7 of its section 9.
#[must_use]
pub fn stretch(initial: &Secret<32>, salt: &[u8; 16]) -> Secret<32> {
    stretch_for(initial, salt, STRETCH_ROUNDS)
}

/// Stretches many hashed passwords under one salt: what a search tries on one protector. Returns them in their order.
///
/// One thread is kept; a search over all cores gives each a share. With SHA instructions it stretches two or three
/// times as many as [`stretch`] in the same time, [`STRETCH_BATCH`] of them side by side, so hand over a multiple of
/// that. One batch takes about a quarter of a second then, and less than six of [`stretch`] otherwise: short enough to
/// look at a stop flag and to show progress in between.
#[must_use]
pub fn stretch_many(initials: &[Secret<32>], salt: &[u8; 16]) -> Vec<Secret<32>> {
    stretch_many_for(initials, salt, STRETCH_ROUNDS)
}

fn stretch_for(initial: &Secret<32>, salt: &[u8; 16], rounds: u64) -> Secret<32> {
    arch::stretch(initial, salt, rounds).unwrap_or_else(|| stretch_portably(initial, salt, rounds))
}

fn stretch_many_for(initials: &[Secret<32>], salt: &[u8; 16], rounds: u64) -> Vec<Secret<32>> {
    let mut all = Vec::with_capacity(initials.len());
    for batch in initials.chunks(STRETCH_BATCH) {
        match side_by_side(batch, salt, rounds) {
            Some(stretched) => all.extend(stretched.into_iter().take(batch.len())),
            None => all.extend(batch.iter().map(|initial| stretch_for(initial, salt, rounds))),
        }
    }
    all
}

/// Stretches a batch at once where that is faster than one by one. Places to spare hold the last one again.
fn side_by_side(batch: &[Secret<32>], salt: &[u8; 16], rounds: u64) -> Option<[Secret<32>; STRETCH_BATCH]> {
    let last = batch.last().filter(|_| batch.len() >= WORTHWHILE)?;
    let initials = std::array::from_fn(|i| batch.get(i).unwrap_or(last));
    arch::stretch_batch(initials, salt, rounds)
}

/// Stretches for `rounds` rounds with what every processor has.
pub(crate) fn stretch_portably(initial: &Secret<32>, salt: &[u8; 16], rounds: u64) -> Secret<32> {
    // The 88 bytes fill two blocks with the padding, which never changes: 0x80, zeros, the length in bits.
    let mut blocks = [[0u8; 64]; 2];
    blocks[0][32..].copy_from_slice(initial.expose_secret());
    blocks[1][..16].copy_from_slice(salt);
    blocks[1][24] = 0x80;
    blocks[1][56..].copy_from_slice(&(88u64 * 8).to_be_bytes());

    for round in 0..rounds {
        blocks[1][16..24].copy_from_slice(&round.to_le_bytes());
        let mut state = INITIAL_STATE;
        compress256(&mut state, &blocks);
        for (bytes, word) in blocks[0].chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        if round + 1 == rounds {
            state.zeroize();
        }
    }
    let stretched = Secret::init_with(|out| out.copy_from_slice(&blocks[0][..32]));
    blocks.zeroize();
    stretched
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn many_are_each_stretched_as_one(
            initials in prop::collection::vec(any::<[u8; 32]>(), 0..20),
            salt: [u8; 16],
            rounds in 0u64..300,
        ) {
            let initials: Vec<_> = initials.into_iter().map(Secret::from).collect();
            let one_by_one: Vec<_> =
                initials.iter().map(|initial| stretch_for(initial, &salt, rounds)).collect();
            prop_assert_eq!(stretch_many_for(&initials, &salt, rounds), one_by_one);
        }
    }

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).expect("hex").try_into().expect("length")
    }

    // Vectors: format spec 9.3 (a Windows 10 volume's recovery password) and 9.4 (a password).
    #[test]
    fn stretches_as_real_volumes_do() {
        let hashed = Secret::<16>::from(bytes("2965d7d3e2b6e6957beae75c804cd046")).sha256();
        assert_eq!(
            hashed,
            Secret::from(bytes(
                "5c041444bd1400ab4e0c5ae8e0da0f8bbb01f1065827cc6ef6f1bdf3d7249305"
            ))
        );
        assert_eq!(
            stretch(&hashed, &bytes("6a762f0a5eafb9f72f1445f1351d0406")),
            Secret::from(bytes(
                "d3bb066813b137043d0e20430beba4f52377e4172ba64a7e4aadde6be662ccd1"
            ))
        );
        assert_eq!(
            stretch(
                &Secret::from(bytes(
                    "13619bc65aa48e435f886990fd217df64076017f03bbade46df0173973dd7dd1"
                )),
                &bytes("d1452db599a1ec21aa4dd2d8c4bd8740")
            ),
            Secret::from(bytes(
                "0b768537209c5b0cfbc4261bfd321a493d565bd65b3643bf651a0aa82f85c35a"
            ))
        );
    }
}
