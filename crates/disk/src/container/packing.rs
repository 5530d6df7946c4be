//! Unpacking the parts that containers keep packed, within a bound of memory.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::fault::Fault;

/// How far back a Zstandard frame may refer, in bytes. What is packed here is never longer than 2 MiB.
const MAX_ZSTD_WINDOW: u64 = 8 << 20;

/// Unpacks a stream of plain deflate that gives exactly `len` bytes; what follows the stream is ignored.
pub(super) fn inflate(packed: &[u8], len: usize) -> Result<Vec<u8>, Fault> {
    let unpacked = inflate_with(&mut Decompress::new(false), packed, len)?;
    expect_len(unpacked, len)
}

/// Unpacks a stream of zlib with its checksum, which gives at most `len` bytes; what follows the stream is ignored.
pub(super) fn inflate_checked(packed: &[u8], len: usize) -> Result<Vec<u8>, Fault> {
    // One byte more, so that the end of the stream, and with it the checksum, is always reached.
    let mut stream = Decompress::new(true);
    let unpacked = inflate_with(&mut stream, packed, len.saturating_add(1))?;
    if unpacked.len() > len {
        return Err(Fault::damaged("a packed part is longer than it may be"));
    }
    Ok(unpacked)
}

fn inflate_with(stream: &mut Decompress, packed: &[u8], len: usize) -> Result<Vec<u8>, Fault> {
    let mut unpacked = vec![0; len];
    let status = stream
        .decompress(packed, &mut unpacked, FlushDecompress::Finish)
        .map_err(|_| Fault::damaged("a packed part cannot be unpacked"))?;
    let count = usize::try_from(stream.total_out()).unwrap_or(usize::MAX);
    if status != Status::StreamEnd && count < len {
        return Err(Fault::damaged("a packed part ends early"));
    }
    unpacked.truncate(count);
    Ok(unpacked)
}

/// Unpacks a frame of Zstandard that gives exactly `len` bytes; what follows the frame is ignored.
pub(super) fn unzstd(packed: &[u8], len: usize) -> Result<Vec<u8>, Fault> {
    let failed = |_| Fault::damaged("a packed part cannot be unpacked");
    let mut source = packed;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_ZSTD_WINDOW);
    decoder.init(&mut source).map_err(failed)?;
    let mut unpacked = vec![0; len];
    let mut filled = 0;
    loop {
        let is_last = decoder
            .decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(failed)?;
        loop {
            let room = unpacked.get_mut(filled..).unwrap_or_default();
            let count = decoder
                .read(room)
                .map_err(|_| Fault::damaged("a packed part cannot be unpacked"))?;
            filled = filled.saturating_add(count);
            if count == 0 {
                break;
            }
        }
        if is_last || filled >= len {
            break;
        }
    }
    let is_whole = decoder.is_finished() && decoder.can_collect() == 0;
    let checksum = decoder.get_checksum_from_data();
    if is_whole && checksum.is_some() && checksum != decoder.get_calculated_checksum() {
        return Err(Fault::damaged("a packed part has a wrong checksum"));
    }
    unpacked.truncate(filled);
    expect_len(unpacked, len)
}

fn expect_len(unpacked: Vec<u8>, len: usize) -> Result<Vec<u8>, Fault> {
    if unpacked.len() == len {
        Ok(unpacked)
    } else {
        Err(Fault::damaged("a packed part is too short"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).expect("into memory");
        encoder.finish().expect("into memory")
    }

    fn zlib(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).expect("into memory");
        encoder.finish().expect("into memory")
    }

    #[test]
    fn a_bomb_gives_no_more_than_it_may() {
        let zeros = vec![0; 1 << 20];
        assert_eq!(
            inflate(&deflated(&zeros), 4096).expect("the beginning of it"),
            [0; 4096]
        );
        assert!(inflate_checked(&zlib(&zeros), 4096).is_err());
        let frame = compress_to_vec(zeros.as_slice(), CompressionLevel::Fastest);
        assert_eq!(unzstd(&frame, 4096).expect("the beginning of it"), [0; 4096]);
    }

    #[test]
    fn a_wrong_checksum_is_seen() {
        let mut packed = zlib(&[7; 1000]);
        inflate_checked(&packed, 1000).expect("it is in order");
        *packed.last_mut().expect("there is one") ^= 1;
        assert!(inflate_checked(&packed, 1000).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_packed_is_unpacked(
            content in proptest::collection::vec(0u8..4, 1..6000),
            behind in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let len = content.len();
            let with_more = |mut packed: Vec<u8>| {
                packed.extend(&behind);
                packed
            };
            prop_assert_eq!(&inflate(&with_more(deflated(&content)), len).expect("deflate"), &content);
            prop_assert_eq!(&inflate_checked(&with_more(zlib(&content)), len).expect("zlib"), &content);
            let frame = compress_to_vec(content.as_slice(), CompressionLevel::Fastest);
            prop_assert_eq!(&unzstd(&with_more(frame), len).expect("zstd"), &content);
            for cut in 0..4 {
                let cut = deflated(&content).len() * cut / 4;
                // All of a short content may lie before the cut: it is whole, or an error.
                if let Ok(unpacked) = inflate(&deflated(&content)[..cut], len) {
                    prop_assert_eq!(&unpacked, &content);
                }
            }
        }

        #[test]
        fn any_bytes_are_safe(packed in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let _ = inflate(&packed, 4096);
            let _ = inflate_checked(&packed, 4096);
            let _ = unzstd(&packed, 4096);
            let with_magic = [&[0x28, 0xB5, 0x2F, 0xFD], packed.as_slice()].concat();
            let _ = unzstd(&with_magic, 4096);
        }
    }
}
