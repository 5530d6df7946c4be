//! How fast the ciphers and the stretch are, each beside its portable twin.
//!
//! The two take turns, so that a busy machine slows both alike; what is printed are medians. On a processor without
//! the kernels' instructions both sides are the twin, and the ratio is one.

use std::hint::black_box;
use std::time::{Duration, Instant};

use keyhaven_crypto::{Secret, SectorCipher, SectorSize, portable, stretch};

const BUFFER_BYTES: usize = 1 << 20;
const TURNS: usize = 61;
const PASSES_PER_TURN: u32 = 4;
const STRETCH_TURNS: usize = 11;

/// A buffer as the export pipeline aligns its own.
#[repr(align(4096))]
struct Buffer([u8; BUFFER_BYTES]);

/// Applies a cipher in one direction to the run of sectors at a byte offset.
type Direction = fn(&SectorCipher, u64, &mut [u8]);

fn main() {
    println!("1 MiB buffers, GB/s of one thread, medians of {TURNS} turns");
    println!(
        "{:<24}{:<8}{:>7}{:>9}{:>9}{:>8}",
        "cipher", "", "sector", "kernel", "portable", "ratio"
    );
    for sector_size in [SectorSize::B512, SectorSize::B4096] {
        for (name, kernel, twin) in pairs(sector_size) {
            for (direction, apply) in [
                ("decrypt", SectorCipher::decrypt as Direction),
                ("encrypt", SectorCipher::encrypt),
            ] {
                let (kernel, twin) = medians(TURNS, || pass(&kernel, apply), || pass(&twin, apply));
                let rate = |time: Duration| {
                    BUFFER_BYTES as f64 * f64::from(PASSES_PER_TURN) / time.as_secs_f64() / 1e9
                };
                println!(
                    "{name:<24}{direction:<8}{:>7}{:>9.2}{:>9.2}{:>8.2}",
                    sector_size.bytes(),
                    rate(kernel),
                    rate(twin),
                    rate(kernel) / rate(twin)
                );
            }
        }
    }

    let (initial, salt) = (Secret::from([7; 32]), [9; 16]);
    let (kernel, twin) = medians(
        STRETCH_TURNS,
        || timed(|| drop(black_box(stretch(&initial, &salt)))),
        || timed(|| drop(black_box(portable::stretch(&initial, &salt)))),
    );
    let rate = |time: Duration| 1.0 / time.as_secs_f64();
    println!(
        "{:<39}{:>9.2}{:>9.2}{:>8.2}",
        "stretches a second",
        rate(kernel),
        rate(twin),
        rate(kernel) / rate(twin)
    );
}

/// Returns every cipher with its portable twin.
fn pairs(size: SectorSize) -> [(&'static str, SectorCipher, SectorCipher); 6] {
    let (a, b) = (Secret::from([0x11; 16]), Secret::from([0x22; 16]));
    let (c, d) = (Secret::from([0x33; 32]), Secret::from([0x44; 32]));
    [
        (
            "AES-XTS 128",
            SectorCipher::aes_xts_128(&a, &b, size),
            portable::aes_xts_128(&a, &b, size),
        ),
        (
            "AES-XTS 256",
            SectorCipher::aes_xts_256(&c, &d, size),
            portable::aes_xts_256(&c, &d, size),
        ),
        (
            "AES-CBC 128",
            SectorCipher::aes_cbc_128(&a, size),
            portable::aes_cbc_128(&a, size),
        ),
        (
            "AES-CBC 256",
            SectorCipher::aes_cbc_256(&c, size),
            portable::aes_cbc_256(&c, size),
        ),
        (
            "AES-CBC 128 + diffuser",
            SectorCipher::aes_cbc_128_diffuser(&a, &b, size),
            portable::aes_cbc_128_diffuser(&a, &b, size),
        ),
        (
            "AES-CBC 256 + diffuser",
            SectorCipher::aes_cbc_256_diffuser(&c, &d, size),
            portable::aes_cbc_256_diffuser(&c, &d, size),
        ),
    ]
}

/// Times one turn of a cipher.
fn pass(cipher: &SectorCipher, apply: Direction) -> Duration {
    thread_local! {
        static BUFFER: std::cell::RefCell<Box<Buffer>> =
            std::cell::RefCell::new(Box::new(Buffer([0x5a; BUFFER_BYTES])));
    }
    BUFFER.with_borrow_mut(|buffer| {
        timed(|| {
            for _ in 0..PASSES_PER_TURN {
                apply(cipher, 1 << 30, black_box(&mut buffer.0));
            }
        })
    })
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Lets two programs take turns and returns the median time of each.
fn medians(
    turns: usize,
    mut first: impl FnMut() -> Duration,
    mut second: impl FnMut() -> Duration,
) -> (Duration, Duration) {
    let (mut firsts, mut seconds): (Vec<_>, Vec<_>) = (0..turns).map(|_| (first(), second())).unzip();
    firsts.sort_unstable();
    seconds.sort_unstable();
    (firsts[turns / 2], seconds[turns / 2])
}
