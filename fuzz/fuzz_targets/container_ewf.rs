//! EWF images: the input as it is, and as the data of sections whose checksums are right.
#![no_main]

use std::sync::Arc;

use keyhaven_disk::container::{self, Format, Spec};

const KINDS: [&str; 9] = [
    "volume", "sectors", "table", "table2", "error2", "hash", "digest", "data", "done",
];
/// Where the starts of tables and of lists of errors end, with their checksums.
const TABLE_HEADER_LEN: usize = 24;
const ERROR_HEADER_LEN: usize = 520;

fn adler32(bytes: &[u8]) -> [u8; 4] {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    (b << 16 | a).to_le_bytes()
}

fn push_section(image: &mut Vec<u8>, kind: &str, data: &[u8]) {
    let len = (76 + data.len()) as u64;
    let next = image.len() as u64 + if kind == "done" { 0 } else { len };
    let mut descriptor = kind.as_bytes().to_vec();
    descriptor.resize(16, 0);
    descriptor.extend(next.to_le_bytes());
    descriptor.extend(len.to_le_bytes());
    descriptor.resize(72, 0);
    descriptor.extend(adler32(&descriptor));
    image.extend(descriptor);
    image.extend(data);
}

fn assembled(mut rest: &[u8]) -> Vec<u8> {
    let mut image = b"EVF\x09\x0D\x0A\xFF\x00\x01\x01\x00\x00\x00".to_vec();
    while let [kind, low, high, behind @ ..] = rest {
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (data, behind) = behind.split_at(len);
        rest = behind;
        let mut data = data.to_vec();
        let header_len = match kind {
            "table" | "table2" => TABLE_HEADER_LEN,
            "error2" => ERROR_HEADER_LEN,
            _ => 0,
        };
        if header_len > 0 {
            data.resize(data.len().max(header_len), 0);
            let sum = adler32(&data[..header_len - 4]);
            data[header_len - 4..header_len].copy_from_slice(&sum);
        }
        if kind != "sectors" {
            let sum = adler32(&data[header_len..]);
            data.extend(sum);
        }
        push_section(&mut image, kind, &data);
    }
    push_section(&mut image, "done", &[]);
    image
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(format) = Spec::named("ewf") else { return };
    for image in [bytes.to_vec(), assembled(bytes)] {
        if let Ok(image) = container::open_inside(Arc::new(image), Format::Of(format)) {
            let mut buf = [0; 3000];
            let len = image.device.len_bytes();
            for at in [0, 1, 40_000, len / 2, len.saturating_sub(3000), len] {
                let _ = image.device.read_at(at, &mut buf);
                image.device.hole_at(at, u64::MAX);
            }
        }
    }
});
