//! Damaged images: whatever is in a file, reading it ends, with bounded work and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyhaven_disk::container::{self, Format};
use keyhaven_disk::{BlockDevice, ReadError};

/// How often one look at an image may read the file: far more than any of them needs.
const MAX_READS: u64 = 200_000;
/// How much of a disk is read; a mutant may say that it is of any size.
const MAX_LOOK: u64 = 4 << 20;
const STEP: u64 = 64 << 10;
/// How much memory a test of mutants may take beyond what it starts with, in bytes.
const MAX_MEMORY: u64 = 256 << 20;

/// A file in memory that counts how often it is read.
#[derive(Debug)]
struct Counted {
    bytes: Vec<u8>,
    reads: AtomicU64,
}

impl BlockDevice for Counted {
    fn len_bytes(&self) -> u64 {
        self.bytes.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let before = self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(before < MAX_READS, "it does not come to an end");
        self.bytes.read_at(offset, buf)
    }
}

/// What can be read of a disk: piece by piece, `None` where it cannot.
pub(crate) type Pieces = Vec<Option<Vec<u8>>>;

/// Reads an image as somebody would who keeps going; an error where it cannot be opened at all.
pub(crate) fn look(bytes: Vec<u8>) -> Result<Pieces, container::ContainerError> {
    let file = Arc::new(Counted {
        bytes,
        reads: AtomicU64::new(0),
    });
    let image = container::open_inside(file, Format::Detected)?;
    if image.container.is_none() {
        // It no longer looks like a container, so it is what it is.
        return Ok(Vec::new());
    }
    let device = image.device;
    let len = device.len_bytes();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < len.min(MAX_LOOK) {
        let mut buf = vec![0xA5; STEP.min(len - at) as usize];
        pieces.push(device.read_at(at, &mut buf).is_ok().then_some(buf));
        at += STEP;
    }
    // The far end of what it says that it has, and what is not stored there.
    let mut sector = vec![0; 512.min(len as usize)];
    let _ = device.read_at(len - sector.len() as u64, &mut sector);
    for at in [0, 1, len / 2, len.saturating_sub(1), len, u64::MAX] {
        let hole = device.hole_at(at, u64::MAX);
        assert!(
            at >= len && hole == 0 || hole <= len - at.min(len),
            "a hole past the end"
        );
    }
    Ok(pieces)
}

/// Looks at an image with every byte of `places` changed in several ways, each by itself.
pub(crate) fn flip_bytes(
    image: &[u8],
    places: impl IntoIterator<Item = usize>,
    judge: impl Fn(usize, Pieces),
) {
    let memory = peak_memory();
    for place in places {
        for change in [0x01, 0x80, 0xFF] {
            let mut mutant = image.to_vec();
            mutant[place] ^= change;
            if let Ok(pieces) = look(mutant) {
                judge(place, pieces);
            }
        }
    }
    check_memory(memory);
}

/// Looks at an image with each of its bytes from `places` on overwritten with numbers that are hard on tables.
pub(crate) fn overwrite_words(image: &[u8], places: impl IntoIterator<Item = usize>) {
    let memory = peak_memory();
    let words: [[u8; 8]; 5] = [
        [0xFF; 8],
        [0; 8],
        [0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
        [0, 0, 0, 0, 0, 1, 0, 0],
    ];
    for place in places {
        for word in words {
            for width in [4, 8] {
                let mut mutant = image.to_vec();
                let end = (place + width).min(mutant.len());
                mutant[place..end].copy_from_slice(&word[..end - place]);
                let _ = look(mutant);
            }
        }
    }
    check_memory(memory);
}

/// Looks at an image that breaks off at each of `places`.
pub(crate) fn cut_off(image: &[u8], places: impl IntoIterator<Item = usize>, judge: impl Fn(usize, Pieces)) {
    let memory = peak_memory();
    for place in places {
        if let Ok(pieces) = look(image[..place].to_vec()) {
            judge(place, pieces);
        }
    }
    check_memory(memory);
}

/// Checks that whatever could be read is what was there.
pub(crate) fn is_true_or_missing(pieces: &Pieces, content: &[u8]) -> bool {
    pieces
        .iter()
        .zip(content.chunks(STEP as usize))
        .all(|(piece, expected)| piece.as_ref().is_none_or(|piece| piece == expected))
}

fn check_memory(before: u64) {
    let grown = peak_memory().saturating_sub(before);
    assert!(grown <= MAX_MEMORY, "{grown} bytes of memory were needed");
}

/// Returns the most memory that this process ever had, in bytes; 0 where nobody tells.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
