//! How fast the ciphers and the stretch are, each on every path that this processor has.
//!
//! The paths take turns, so that a busy machine slows all alike; what is printed are medians of processor time. The last column says how
//! many times faster than the portable twin the path is that the processor would choose. Arguments pick ciphers by
//! a part of their name: `cargo bench -p keyhaven-crypto --bench kernels -- XTS`.

use std::hint::black_box;
use std::time::Duration;

use keyhaven_crypto::paths::{self, Instructions, Path};
use keyhaven_crypto::{STRETCH_BATCH, Secret, SectorCipher, SectorSize, stretch, stretch_many};

const BUFFER_BYTES: usize = 1 << 20;
const TURNS: usize = 31;
const PASSES_PER_TURN: u32 = 4;
const STRETCH_TURNS: usize = 11;

/// A buffer as the export pipeline aligns its own.
#[repr(align(4096))]
struct Buffer([u8; BUFFER_BYTES]);

/// Applies a cipher in one direction to the run of sectors at a byte offset.
type Direction = fn(&SectorCipher, u64, &mut [u8]);

/// Makes a cipher on a path; `None` where the processor lacks the instructions.
type Make = fn(Path, SectorSize) -> Option<SectorCipher>;

const CIPHERS: [(&str, Make); 6] = [
    ("AES-XTS 128", |path, size| {
        path.aes_xts_128(&short(1), &short(2), size)
    }),
    ("AES-XTS 256", |path, size| {
        path.aes_xts_256(&long(1), &long(2), size)
    }),
    ("AES-CBC 128", |path, size| path.aes_cbc_128(&short(1), size)),
    ("AES-CBC 256", |path, size| path.aes_cbc_256(&long(1), size)),
    ("AES-CBC 128 + diffuser", |path, size| {
        path.aes_cbc_128_diffuser(&short(1), &short(2), size)
    }),
    ("AES-CBC 256 + diffuser", |path, size| {
        path.aes_cbc_256_diffuser(&long(1), &long(2), size)
    }),
];

fn main() {
    let wanted: Vec<_> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));

    println!("1 MiB buffers, GB/s of one thread, medians of {TURNS} turns");
    println!(
        "{:<24}{:<8}{:>7}{}{:>8}",
        "cipher",
        "",
        "sector",
        Path::ALL.map(|path| format!("{:>10}", label(path))).concat(),
        "ratio"
    );
    for (name, make) in CIPHERS.into_iter().filter(|(name, _)| wanted(name)) {
        for size in [SectorSize::B512, SectorSize::B4096] {
            let ciphers = Path::ALL.map(|path| make(path, size));
            for (direction, apply) in [
                ("decrypt", SectorCipher::decrypt as Direction),
                ("encrypt", SectorCipher::encrypt),
            ] {
                let bytes = BUFFER_BYTES as f64 * f64::from(PASSES_PER_TURN);
                let rates = medians(TURNS, &ciphers, |cipher| pass(cipher, apply))
                    .map(|time| time.map(|time| bytes / time.as_secs_f64() / 1e9));
                println!("{name:<24}{direction:<8}{:>7}{}", size.bytes(), columns(&rates));
            }
        }
    }

    if wanted("stretch") {
        println!(
            "\n{:<40}{:>10}{:>10}{:>8}",
            "stretches a second, one core", "kernel", "portable", "ratio"
        );
        let (initials, salt) = (
            (0..STRETCH_BATCH as u8)
                .map(|i| Secret::from([i; 32]))
                .collect::<Vec<_>>(),
            [9; 16],
        );
        let one: [Option<&dyn Fn()>; 2] = [
            Some(&|| drop(black_box(stretch(&initials[0], &salt)))),
            Some(&|| drop(black_box(paths::stretch(&initials[0], &salt)))),
        ];
        let many: [Option<&dyn Fn()>; 2] = [
            Some(&|| drop(black_box(stretch_many(&initials, &salt)))),
            Some(&|| {
                initials
                    .iter()
                    .for_each(|initial| drop(black_box(paths::stretch(initial, &salt))))
            }),
        ];
        for (name, count, ways) in [
            ("one at a time", 1, one),
            ("many side by side", STRETCH_BATCH, many),
        ] {
            let rates = medians(STRETCH_TURNS, &ways, |way| timed(way))
                .map(|time| time.map(|time| count as f64 / time.as_secs_f64()));
            println!("{name:<40}{}", columns(&rates));
        }
    }
}

fn short(byte: u8) -> Secret<16> {
    Secret::from([byte; 16])
}

fn long(byte: u8) -> Secret<32> {
    Secret::from([byte; 32])
}

fn label(path: Path) -> &'static str {
    match path {
        Path::Kernel(Instructions::Vaes) => "VAES",
        Path::Kernel(Instructions::AesAvx2) => "AES+AVX2",
        Path::Kernel(Instructions::Aes) => "AES+SSE",
        Path::Portable => "portable",
    }
}

/// Sets the rates in columns, and the first of them against the last.
fn columns(rates: &[Option<f64>]) -> String {
    let mut line = String::new();
    for rate in rates {
        line += &rate.map_or(format!("{:>10}", "-"), |rate| format!("{rate:>10.2}"));
    }
    let mut there = rates.iter().flatten();
    if let (Some(first), Some(last)) = (there.next(), rates.iter().flatten().last()) {
        line += &format!("{:>8.2}", first / last);
    }
    line
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

/// Returns the processor time that this thread has used for `work`: what others do meanwhile counts less than in time
/// that passed.
#[cfg(unix)]
fn timed(work: impl FnOnce()) -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("no time before zero");
    let start = now();
    work();
    now() - start
}

#[cfg(not(unix))]
fn timed(work: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}

/// Lets those that are there take turns and returns the median time of each.
fn medians<T, const N: usize>(
    turns: usize,
    all: &[Option<T>; N],
    mut turn: impl FnMut(&T) -> Duration,
) -> [Option<Duration>; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..turns {
        for (times, one) in times.iter_mut().zip(all) {
            times.extend(one.as_ref().map(&mut turn));
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    })
}
