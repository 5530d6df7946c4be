//! Measures the copy engine against the system's own copy, and one reader against many.
//!
//! Prints ratios of medians, and of the best, from alternating rounds of one run. Only ratios mean something, and on a
//! machine that is busy with other things not even those say what many readers gain. The files lie in the folder for
//! temporary files (`TMPDIR` says where), and nothing is brought to the medium within the measured time, as `cp` does
//! not either. `COPY_BENCH_MIB` sets the size, 512 by default.

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhaven_disk::copy::{self, CopyOptions, CopyTarget, FileTarget};
use keyhaven_disk::{BlockDevice, Device, ReadError};

const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let mib = match std::env::var("COPY_BENCH_MIB") {
        Ok(text) => text.parse()?,
        Err(_) => 512,
    };
    let cores = std::thread::available_parallelism()?.get();
    let folder = tempfile::tempdir()?;
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fill(&from, mib)?;
    println!(
        "{mib} MiB in {}, {cores} cores, {ROUNDS} rounds",
        folder.path().display()
    );

    let file = keyhaven_disk::open(&from)?;
    let labouring: Device = Arc::new(Labouring { inner: file.clone() });
    let export_file = |device: &Device, readers: Option<usize>| {
        let mut options = CopyOptions::default();
        options.readers = readers;
        let mut target = Unsynced(FileTarget::new(File::create(&to)?)?);
        copy::export(device, &mut target, options, &mut |_| ControlFlow::Continue(()))?;
        Ok(())
    };
    let export_nowhere = |readers| {
        let options = CopyOptions::default().readers(readers);
        copy::export(&labouring, &mut Nowhere, options, &mut |_| {
            ControlFlow::Continue(())
        })?;
        Ok(())
    };

    print_ratios(
        mib,
        &to,
        &mut [
            ("std::fs::copy", &mut || Ok(std::fs::copy(&from, &to).map(drop)?)),
            ("a loop of 128 KiB reads and writes", &mut || {
                Ok(copy_in_a_loop(&from, &to)?)
            }),
            ("export, the caller's thread alone", &mut || {
                export_file(&file, Some(0))
            }),
            ("export, as many readers as other cores", &mut || {
                export_file(&file, None)
            }),
            ("export, a reader for each core", &mut || {
                export_file(&file, Some(cores))
            }),
        ],
    )?;
    print_ratios(
        mib,
        &to,
        &mut [
            ("work for each byte, the caller's thread alone", &mut || {
                export_nowhere(0)
            }),
            ("work for each byte, one reader", &mut || export_nowhere(1)),
            ("work for each byte, a reader for each core", &mut || {
                export_nowhere(cores)
            }),
        ],
    )?;
    print_ratios(
        mib,
        &to,
        &mut [
            ("work and a file, the caller's thread alone", &mut || {
                export_file(&labouring, Some(0))
            }),
            ("work and a file, one reader", &mut || {
                export_file(&labouring, Some(1))
            }),
            ("work and a file, a reader for each core", &mut || {
                export_file(&labouring, None)
            }),
        ],
    )
}

type Way<'a> = (&'a str, &'a mut dyn FnMut() -> Result<(), Box<dyn Error>>);

/// Runs the ways in turn, several times, and prints how long each took as a share of the first.
fn print_ratios(mib: u64, to: &Path, ways: &mut [Way<'_>]) -> Result<(), Box<dyn Error>> {
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, way), times) in ways.iter_mut().zip(&mut times) {
            let start = Instant::now();
            way()?;
            times.push(start.elapsed());
            // The next one begins with a new file and nothing to be written back.
            match std::fs::remove_file(to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    println!();
    let of_first = times.first().cloned().map(summary).unwrap_or_default();
    for ((name, _), times) in ways.iter().zip(times) {
        let (median, best) = summary(times);
        let rate = mib as f64 / 1024.0 / best;
        println!(
            "{:>6.2}x  (best {:>5.2}x, {rate:>5.2} GiB/s)  {name}",
            median / of_first.0,
            best / of_first.1
        );
    }
    Ok(())
}

/// Returns the median and the shortest of some times, in seconds.
fn summary(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |index: usize| times.get(index).map_or(f64::NAN, Duration::as_secs_f64);
    (at(times.len() / 2), at(0))
}

/// Writes numbers that never make a block of zeros.
fn fill(path: &Path, mib: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut number = 0x9E37_79B9_7F4A_7C15u64;
    for _ in 0..mib {
        let piece: Vec<u8> = std::iter::repeat_with(|| {
            number = step(number);
            number.to_le_bytes()
        })
        .take(1 << 17)
        .flatten()
        .collect();
        file.write_all(&piece)?;
    }
    file.sync_all()
}

/// What a program that thinks of alignment and nothing else does.
fn copy_in_a_loop(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut memory = vec![0; (128 << 10) + 4095];
    let start = memory.as_ptr().addr().wrapping_neg() % 4096;
    let buf = memory.get_mut(start..start + (128 << 10)).unwrap_or_default();
    loop {
        match from.read(buf)? {
            0 => return Ok(()),
            len => to.write_all(buf.get(..len).unwrap_or_default())?,
        }
    }
}

/// One step of a xorshift generator.
fn step(mut number: u64) -> u64 {
    number ^= number << 13;
    number ^= number >> 7;
    number ^ (number << 17)
}

/// A device that works for every byte it gives, about as much as AES-XTS in software: each word waits for the last.
#[derive(Debug)]
struct Labouring {
    inner: Device,
}

impl BlockDevice for Labouring {
    fn len_bytes(&self) -> u64 {
        self.inner.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.inner.read_at(offset, buf)?;
        let mut state = offset | 1;
        for word in buf.chunks_exact_mut(8) {
            state = step(state);
            for (byte, key) in word.iter_mut().zip(state.to_le_bytes()) {
                *byte ^= key;
            }
        }
        Ok(())
    }
}

/// A file that is not brought to the medium at the end.
struct Unsynced(FileTarget);

impl CopyTarget for Unsynced {
    fn starts_as_zeros(&self) -> bool {
        self.0.starts_as_zeros()
    }

    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(offset, bytes)
    }

    fn finish(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A target that takes everything and keeps nothing.
struct Nowhere;

impl CopyTarget for Nowhere {
    fn starts_as_zeros(&self) -> bool {
        false
    }

    fn write_all_at(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
        black_box(bytes);
        Ok(())
    }

    fn finish(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}
