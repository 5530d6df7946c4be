//! How much of the processor's own speed a search comes to: keys tried in a second of one core, beside the bare stretch.
//!
//! Both take turns, so that a busy machine slows both alike; what is printed are medians of processor time, and their
//! ratio. The keys are those of a lost block of a real volume: `cargo bench -p keyhaven-backup --bench search`.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use keyhaven_backup::guess::{Candidates, Hint, KeyGuesses, Protectors, Shard, Work, search};
use keyhaven_crypto::{STRETCH_BATCH, Secret, stretch_many};
use keyhaven_fve::{OpenOptions, ProtectorKind, Volume, unwatched};
use keyhaven_testkit::corpus::{self, SecretKind};

const TURNS: usize = 9;

/// How many batches make a turn.
const BATCHES: u64 = 8;

fn main() {
    let Some(drive) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let device = keyhaven_disk::open(&drive.image()).expect("the image opens");
    let volume = Volume::open(device, &OpenOptions::default(), &mut unwatched).expect("it is a volume");
    let trials = volume.metadata().protectors();
    let trials = trials
        .iter()
        .filter(|own| own.kind() == ProtectorKind::RecoveryPassword);
    let protectors = Protectors::new(trials.filter_map(|own| own.trial()).collect());
    let salt = *protectors.trials()[0].salt();

    // The block that is lost is the last in order of its values, so that no turn finds it.
    let key = drive
        .secret(SecretKind::Recovery)
        .expect("the manifest lists one");
    let (_, rest) = key.split_once('-').expect("blocks");
    let hint = Hint::parse(&format!("------ {rest}")).expect("a hint");
    let guesses = KeyGuesses::new(&hint, 1).expect("enough is known");
    let positions = guesses.positions();

    let initials: Vec<_> = (0..STRETCH_BATCH as u8).map(|i| Secret::from([i; 32])).collect();
    let bare = || {
        for _ in 0..BATCHES {
            drop(black_box(stretch_many(&initials, &salt)));
        }
    };
    let mut from = positions / 2;
    let mut whole = |jobs: usize, batches: u64| {
        let work = Work {
            jobs: NonZeroUsize::new(jobs).expect("not zero"),
            batch: NonZeroUsize::new(STRETCH_BATCH).expect("not zero"),
            shard: Shard::WHOLE,
            from,
        };
        let (_, progress) = search(&guesses, &protectors, &work, &mut |progress| match progress.tried
            < batches * STRETCH_BATCH as u64
        {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        });
        from = progress.done;
        progress.tried
    };

    let (mut bare_rates, mut whole_rates) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let took = processor_time(bare);
        bare_rates.push((BATCHES * STRETCH_BATCH as u64) as f64 / took.as_secs_f64());
        let mut tried = 0;
        let took = processor_time(|| tried = whole(1, BATCHES));
        whole_rates.push(tried as f64 / took.as_secs_f64());
    }
    let (bare, whole_one) = (median(bare_rates), median(whole_rates));
    println!("keys a second of one core, medians of {TURNS} turns");
    println!("  the bare stretch, {STRETCH_BATCH} side by side  {bare:>8.2}");
    println!("  the whole search              {whole_one:>8.2}");
    println!("  ratio                         {:>8.3}", whole_one / bare);

    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let started = Instant::now();
    let tried = whole(cores, BATCHES * cores as u64);
    let rate = tried as f64 / started.elapsed().as_secs_f64();
    println!("  on the clock, {cores} threads        {rate:>8.2}");
    println!("  a lost block (65,536), minutes {:>7.1}", 65_536.0 / rate / 60.0);
}

/// Returns the processor time that all threads of the process have used for `work`.
#[cfg(unix)]
fn processor_time(work: impl FnOnce()) -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let now = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("no time before zero");
    let start = now();
    work();
    now() - start
}

#[cfg(not(unix))]
fn processor_time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
