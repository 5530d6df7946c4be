//! Units of a compressed value (LZNT1): chunks of 4 KiB, each compressed by itself.

/// What a chunk holds when it is unpacked, in bytes.
const CHUNK_LEN: usize = 4096;

/// Unpacks a unit into `out`, whose length is that of the unit; what the unit does not give is zeros. The error says
/// what is wrong with it.
pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    let mut rest = packed;
    let mut chunk = Vec::with_capacity(CHUNK_LEN);
    for target in out.chunks_mut(CHUNK_LEN) {
        chunk.clear();
        if let Some(header) = rest.first_chunk::<2>().map(|header| u16::from_le_bytes(*header))
            && header != 0
        {
            if header & 0x7000 != 0x3000 {
                return Err("a chunk does not begin as one");
            }
            // One less than what follows the header.
            let (whole, after) = rest
                .split_at_checked(usize::from(header & 0x0FFF) + 3)
                .ok_or("a chunk breaks off")?;
            // One chunk at a time: so it cannot reach back into the one before, nor grow past its length unseen.
            lznt1::decompress(whole, &mut chunk).map_err(|_| "a chunk cannot be unpacked")?;
            rest = after;
        } else {
            // The end: all that follows is zeros.
            rest = &[];
        }
        if chunk.len() > CHUNK_LEN {
            return Err("a chunk is longer than 4 KiB");
        }
        let given = chunk.len().min(target.len());
        let (head, tail) = target.split_at_mut(given);
        head.copy_from_slice(chunk.get(..given).unwrap_or_default());
        tail.fill(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        for chunk in bytes.chunks(CHUNK_LEN) {
            lznt1::compress(chunk, &mut packed);
        }
        packed
    }

    #[test]
    fn a_known_chunk() {
        // "Hello world" twice over, packed by hand: 11 literals, then 11 bytes from 11 back.
        let mut chunk = vec![0x00];
        chunk.extend_from_slice(b"Hello wo");
        chunk.extend_from_slice(&[0x08]);
        chunk.extend_from_slice(b"rld");
        // At 11 bytes the length has 12 bits: (11 - 1) << 12 | (11 - 3).
        chunk.extend_from_slice(&(10u16 << 12 | 8).to_le_bytes());
        let mut packed = (0xB000 | (chunk.len() as u16 - 1)).to_le_bytes().to_vec();
        packed.extend_from_slice(&chunk);
        let mut out = [1; 30];
        unpack(&packed, &mut out).unwrap();
        assert_eq!(&out, b"Hello worldHello world\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn broken_chunks_are_refused() {
        let mut out = [0; 8192];
        assert_eq!(
            unpack(&[0xFF, 0x8F], &mut out),
            Err("a chunk does not begin as one")
        );
        assert_eq!(unpack(&[0xFF, 0xBF, 0], &mut out), Err("a chunk breaks off"));
        // A reference to before the start.
        assert_eq!(
            unpack(&[0x02, 0xB0, 0x01, 0x00, 0x00], &mut out),
            Err("a chunk cannot be unpacked")
        );
        unpack(&[], &mut out).unwrap();
        assert_eq!(out, [0; 8192]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_was_packed_comes_back(
            parts in proptest::collection::vec((any::<u8>(), 1usize..3000, any::<bool>()), 1..12)
        ) {
            let mut bytes = Vec::new();
            for (seed, len, noisy) in parts {
                bytes.extend((0..len).map(|index| if noisy {
                    (index as u32).wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed)).to_le_bytes()[3]
                } else { seed }));
            }
            let mut out = vec![9; bytes.len()];
            unpack(&packed(&bytes), &mut out).unwrap();
            prop_assert_eq!(out, bytes);
        }

        #[test]
        fn garbage_is_refused_or_fills_the_unit(packed in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = [0; 16384];
            let _ = unpack(&packed, &mut out);
        }
    }
}
