//! Measures conversions in place against what their journal makes inevitable: each byte read once and written twice, with
//! the same writes of metadata and the same flushes, and no encryption.
//!
//! Prints ratios of medians and of the best, from alternating rounds of one run. The volume lies in the folder for
//! temporary files (`TMPDIR` says where). `CONVERT_BENCH_MIB` sets its size, 768 by default.

use std::error::Error;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use keyhaven_crypto::{Secret, SectorSize};
use keyhaven_disk::{AlignedBuffer, Writable};
use keyhaven_fve::convert::{Converter, Direction, MAX_JOURNAL_LEN_BYTES, Outcome, begin};
use keyhaven_fve::create::{NewProtector, NewVolume, Placement};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::VolumeMasterKey;
use keyhaven_fve::{Credential, EncryptionMethod, OpenOptions, Volume, unwatched};

const ROUNDS: usize = 5;
const NOW: FileTime = FileTime(134_400_096_123_456_789);

type Outcomes<T> = Result<T, Box<dyn Error>>;

fn random(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string()))
}

fn main() -> Outcomes<()> {
    let mib: u64 = match std::env::var("CONVERT_BENCH_MIB") {
        Ok(text) => text.parse()?,
        Err(_) => 768,
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("volume");
    println!(
        "{mib} MiB in {}, {} cores, {ROUNDS} rounds",
        folder.path().display(),
        thread::available_parallelism()?
    );
    for method in [
        EncryptionMethod::AesXts128,
        EncryptionMethod::AesXts256,
        EncryptionMethod::AesCbc256Diffuser,
    ] {
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ROUNDS {
            let bed = Bed::new(&path, mib, method)?;
            times[0].push(bed.inevitable()?);
            times[1].push(bed.convert(Direction::Encrypt)?);
            times[2].push(bed.convert(Direction::Decrypt)?);
        }
        let [inevitable, encrypt, decrypt] = times.map(|mut times| {
            times.sort();
            (times[ROUNDS / 2].as_secs_f64(), times[0].as_secs_f64())
        });
        println!(
            "{method}: inevitable {:.0} MiB/s; encrypt {:.2} (best {:.2}) times as long, decrypt {:.2} (best {:.2})",
            mib as f64 / inevitable.0,
            encrypt.0 / inevitable.0,
            encrypt.1 / inevitable.1,
            decrypt.0 / inevitable.0,
            decrypt.1 / inevitable.1,
        );
    }
    Ok(())
}

struct Bed {
    medium: Writable,
    vmk: VolumeMasterKey,
    placement: Placement,
    journal: Range<u64>,
}

impl Bed {
    /// Makes a volume of which nothing is encrypted yet, full of bytes that are stored.
    fn new(path: &Path, mib: u64, method: EncryptionMethod) -> Outcomes<Self> {
        let _ = std::fs::remove_file(path);
        let len_bytes = mib << 20;
        std::fs::File::create_new(path)?.set_len(len_bytes)?;
        let medium = keyhaven_disk::open_writable(path)?;
        let mut chunk = vec![0; 1 << 20];
        random(&mut chunk)?;
        for at in 0..mib {
            medium.write_at(at << 20, &chunk)?;
        }
        medium.flush()?;
        let placement = Placement::new(len_bytes, SectorSize::B512, 4096)?;
        let mut new = NewVolume::new(len_bytes, method, NOW);
        new.protectors.push(NewProtector::ClearKey);
        let prepared = new.prepare_at(placement.clone(), &mut random)?;
        begin(&prepared, &placement, &*medium)?;
        Ok(Self {
            medium,
            vmk: prepared.into_vmk(),
            placement,
            // Between the first metadata and the second.
            journal: 48 << 20..(48 << 20) + MAX_JOURNAL_LEN_BYTES,
        })
    }

    /// Reads everything and writes it to the journal's place and where it was, in steps as large as a conversion's.
    fn inevitable(&self) -> Outcomes<Duration> {
        const STEP: u64 = 8 << 20;
        let mut buffer = AlignedBuffer::new(STEP as usize);
        let metadata = [7; 1024];
        let started = Instant::now();
        let end = self.medium.len_bytes();
        for (number, at) in (0u64..).zip((0..end).step_by(STEP as usize)) {
            let bytes = buffer.first_mut(STEP.min(end - at) as usize);
            self.medium.read_at(at, bytes)?;
            let slot = self.journal.start + number % 2 * (self.journal.end - self.journal.start) / 2;
            self.medium.write_at(slot, bytes)?;
            if at < self.journal.end && self.journal.start < at + STEP {
                continue;
            }
            self.medium.write_at(at, bytes)?;
            // Into the empty part of each copy's place.
            let [first, second, third] = self.placement.metadata_offsets.map(|offset| offset + 60_000);
            self.medium.write_at(second, &metadata)?;
            self.medium.write_at(third, &metadata)?;
            self.medium.flush()?;
            self.medium.write_at(first, &metadata)?;
            self.medium.flush()?;
        }
        let spent = started.elapsed();
        for offset in self.placement.metadata_offsets {
            self.medium.write_at(offset + 60_000, &[0; 1024])?;
        }
        self.medium.flush()?;
        Ok(spent)
    }

    fn convert(&self, direction: Direction) -> Outcomes<Duration> {
        let started = Instant::now();
        let volume = Volume::open(self.medium.clone(), &OpenOptions::default(), &mut unwatched)?;
        let vmk = Secret::init_with(|key| *key = *self.vmk.key().expose_secret());
        let unlocked = volume.unlock(&Credential::VolumeMasterKey(VolumeMasterKey::new(vmk)))?;
        let converter = Converter::start(
            &volume,
            unlocked,
            self.medium.clone(),
            direction,
            &self.journal,
            NOW,
            &mut random,
        )?;
        let outcome = converter.run(&at_once, &mut |_| ControlFlow::Continue(()))?;
        assert_eq!(outcome, Outcome::Done);
        Ok(started.elapsed())
    }
}

fn at_once(first: &mut (dyn FnMut() + Send), second: &mut (dyn FnMut() + Send)) {
    thread::scope(|scope| {
        scope.spawn(second);
        first();
    });
}
