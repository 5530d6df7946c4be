//! A search for a secret that is nearly known, as the verbs that repair one have it.

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use keyhaven_backup::guess::{
    self, Candidates, Ending, Fingerprint, HashFormat, Progress, Protectors, Shard, StateError, StateFile,
    Stretched, Work, hash_line,
};
use keyhaven_crypto::STRETCH_BATCH;
use keyhaven_fve::protector::Trial;
use keyhaven_fve::{Guid, ProtectorKind, Volume};

use crate::advice;
use crate::context::Context;
use crate::error::CliError;
use crate::ledger_file;
use crate::randomness;

/// A search that would take longer is not begun without having been told so.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Shorter searches are not worth a word about their length, nor a file, in guesses.
const SHORT: u128 = 200;

/// How often it is written down how far a search is.
const SAVE_EVERY: Duration = Duration::from_secs(15);

/// A stop flag is looked at more often than this.
const BATCH_MAX: Duration = Duration::from_millis(900);

/// How the search is done.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// Search for the secret of this protector only: its key ID, as `info` shows it
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,

    /// Try so many at a time; all processors without it
    #[arg(long, value_name = "N", help_heading = "Search")]
    jobs: Option<NonZeroUsize>,

    /// Search the I-th of N parts: the N commands share nothing, and together try everything
    #[arg(long, value_name = "I/N", value_parser = parse_shard, help_heading = "Search")]
    shard: Option<Shard>,

    /// Keep in this file how far the search is, and go on from there
    ///
    /// Without it a long search keeps that beside the list of saved keys. There is no part of the key in it.
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    state: Option<PathBuf>,

    /// Begin even if it will take longer than a week
    #[arg(long, help_heading = "Search")]
    however_long: bool,

    /// Search nothing; print what hashcat (mode 22100) or john (format bitlocker) needs to do it
    #[arg(long, value_name = "FORMAT", value_parser = ["hashcat", "john"], help_heading = "Search")]
    export_hash: Option<String>,
}

/// What a search came to.
pub(crate) struct Found<G> {
    /// The right guess and the protector that it opens; `None` if none is right.
    pub(crate) found: Option<(G, Guid)>,
    /// How many guesses were tried, this time.
    pub(crate) tried: u64,
    /// How many there are in this part of the search.
    pub(crate) candidates: u128,
}

/// What is searched.
pub(crate) struct Search<'a, C> {
    pub(crate) candidates: &'a C,
    pub(crate) protectors: Protectors,
    /// All that decides what is tried and in which order. It is as secret as what is searched for.
    pub(crate) known: &'a [&'a [u8]],
    /// What is tried, in front of "a second" and behind a number: "keys".
    pub(crate) things: &'static str,
    /// What is tried one after the other, and how many guesses that are; nothing where there is nothing to say of it.
    pub(crate) stages: Vec<(&'static str, u128)>,
    /// What would make it shorter.
    pub(crate) hints: Vec<String>,
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    Shard::parse(text).map_err(|error| error.to_string())
}

impl SearchArgs {
    /// Returns the part of the search that is done.
    pub(crate) fn shard(&self) -> Shard {
        self.shard.unwrap_or(Shard::WHOLE)
    }

    /// Finds the protectors whose secret is searched for.
    ///
    /// # Errors
    /// The drive has none of the kind, or not that of `--key-id`.
    pub(crate) fn protectors(&self, volume: &Volume, kind: ProtectorKind) -> Result<Protectors, CliError> {
        let all = volume.metadata().protectors();
        let of_kind: Vec<_> = all.iter().filter(|protector| protector.kind() == kind).collect();
        if of_kind.is_empty() {
            let present: Vec<ProtectorKind> = all.iter().map(|protector| protector.kind()).collect();
            let options = advice::options_for(volume);
            let refused = CliError::no(format!("this drive has no {kind}"));
            return Err(if options.is_empty() {
                refused.hint(advice::no_way_in(&present))
            } else {
                refused.hint(format!("this drive can be opened with {}", options.join(", ")))
            });
        }
        let wanted = self
            .key_id
            .as_deref()
            .map(|id| id.trim_matches(['{', '}']).to_ascii_uppercase());
        let is_wanted = |id: Guid| {
            let own = id.to_string();
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.len() >= 8 && own.starts_with(wanted.as_str()))
        };
        let trials: Vec<Trial> = of_kind
            .iter()
            .filter(|protector| is_wanted(protector.id()))
            .filter_map(|protector| protector.trial())
            .collect();
        if trials.is_empty() {
            let ids: Vec<String> = of_kind.iter().map(|protector| protector.id().key_id()).collect();
            return Err(if wanted.is_some() {
                CliError::no("no protector of this drive has that key ID")
                    .hint(format!("a {kind} has the key ID {}", ids.join(" or ")))
            } else {
                CliError::could_not(format!("what guesses at the {kind} would be tried on is damaged"))
                    .hint("`--metadata-copy` takes another copy of the metadata: `keyhaven info` shows them")
            });
        }
        Ok(Protectors::new(trials))
    }

    /// Prints what another program needs for the search; `None` if that was not asked for.
    pub(crate) fn export(&self, protectors: &Protectors, context: &Context) -> Result<Option<()>, CliError> {
        let Some(format) = &self.export_hash else {
            return Ok(None);
        };
        let (format, name) = match format.as_str() {
            "john" => (HashFormat::John, "john"),
            _ => (HashFormat::Hashcat, "hashcat"),
        };
        let lines: Vec<String> = protectors
            .trials()
            .iter()
            .filter_map(|trial| hash_line(trial, format))
            .collect();
        if lines.is_empty() {
            return Err(CliError::could_not(format!("{name} cannot search for this"))
                .hint("hashcat tries passwords of drives only; john tries recovery keys as well"));
        }
        for line in lines {
            context.ui.line(&line)?;
        }
        Ok(Some(()))
    }

    /// Searches, and says before how long that will be.
    ///
    /// # Errors
    /// It would take too long, its state cannot be used, or it was stopped: then how to go on is said.
    pub(crate) fn search<C>(
        &self,
        search: &Search<'_, C>,
        volume: &Volume,
        context: &Context,
    ) -> Result<Found<C::Guess>, CliError>
    where
        C: Candidates,
        C::Guess: Stretched + Sync,
    {
        let shard = self.shard();
        let share = shard.share_of(search.candidates.positions());
        let jobs = self
            .jobs
            .or_else(|| thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN);
        let is_long = share > SHORT;
        let mut batch = NonZeroUsize::new(STRETCH_BATCH).unwrap_or(NonZeroUsize::MIN);
        let mut rate = None;
        if is_long {
            let batch_takes = rehearse(jobs);
            if batch_takes > BATCH_MAX {
                batch = NonZeroUsize::MIN;
            }
            let stretches = (jobs.get() * STRETCH_BATCH) as f64 / batch_takes.as_secs_f64().max(1e-6);
            rate = Some(stretches / search.protectors.trials().len().max(1) as f64);
        }
        let (mut state, from) = self.state(search, volume, is_long, context)?;
        if let Some(rate) = rate {
            self.say_how_long(search, share, from, rate, jobs, context)?;
        }
        let work = Work {
            jobs,
            batch,
            shard,
            from,
        };
        let mut bar = context.ui.count("trying", Some(capped(share)));
        let mut saved = Instant::now();
        let started = Instant::now();
        let mut watch = |progress: Progress| {
            bar.set(capped(progress.done));
            let seconds = started.elapsed().as_secs_f64();
            if seconds > 2.0 {
                bar.describe(&format!(
                    "trying {:.0} {} a second",
                    progress.tried as f64 / seconds,
                    search.things
                ));
            }
            if let Some(own) = state.as_mut().filter(|_| saved.elapsed() >= SAVE_EVERY) {
                saved = Instant::now();
                if let Err(error) = own.save(progress.done) {
                    context.ui.warn(&CliError::chain(&error));
                    state = None;
                }
            }
            context.interrupt.flow()
        };
        // What does not fit the screen is told at the end.
        let (ending, progress) = guess::search(search.candidates, &search.protectors, &work, &mut watch);
        drop(bar);
        let found = match ending {
            Ending::Found { guess, proof, .. } => Some((guess, proof)),
            Ending::Exhausted => None,
            _ => return Err(stopped(state, progress, share)),
        };
        if let Some(state) = state
            && let Err(error) = state.remove()
        {
            context.ui.warn(&CliError::chain(&error));
        }
        Ok(Found {
            found,
            tried: progress.tried,
            candidates: share,
        })
    }

    /// Takes up what an earlier search of the same kind left.
    fn state<C: Candidates>(
        &self,
        search: &Search<'_, C>,
        volume: &Volume,
        is_long: bool,
        context: &Context,
    ) -> Result<(Option<StateFile>, u128), CliError> {
        let own = match &self.state {
            Some(path) => Some(path.clone()),
            None if is_long => usual_state(volume, self.shard(), search.things),
            None => None,
        };
        let Some(path) = own else { return Ok((None, 0)) };
        let mut parts: Vec<&[u8]> = search.known.to_vec();
        let ids: Vec<String> = search
            .protectors
            .trials()
            .iter()
            .map(|trial| trial.protector_id().to_string())
            .collect();
        parts.extend(ids.iter().map(String::as_bytes));
        parts.extend(search.protectors.trials().iter().map(|trial| &trial.salt()[..]));
        let mut salt = [0; 16];
        randomness::of_the_system(&mut salt)
            .map_err(|error| CliError::could_not("there is no randomness").because(&error))?;
        let shard = self.shard();
        let positions = shard.share_of(search.candidates.positions());
        let open = || {
            StateFile::open(
                &path,
                &Fingerprint::of(&parts),
                &shard.to_string(),
                positions,
                salt,
            )
        };
        let opened = match open() {
            // Nobody asked for this file: another search of the same drive takes its place.
            Err(StateError::OtherSearch { .. } | StateError::NotAState { .. }) if self.state.is_none() => {
                fs::remove_file(&path)
                    .map_err(|source| StateError::Io {
                        path: path.clone(),
                        source,
                    })
                    .and_then(|()| open())
            }
            opened => opened,
        };
        match opened {
            Ok((mut state, from)) => {
                // A place that cannot be written is told now and not at the end.
                if let Err(error) = state.save(from) {
                    if self.state.is_some() {
                        return Err(CliError::could_not(CliError::chain(&error)));
                    }
                    context.ui.warn(&CliError::chain(&error));
                    return Ok((None, 0));
                }
                if from > 0 {
                    context.ui.say(&format!(
                        "going on where the search was stopped: {} of {} are behind it",
                        number(from),
                        number(positions)
                    ));
                }
                Ok((Some(state), from))
            }
            Err(error) if self.state.is_none() => {
                context.ui.warn(&CliError::chain(&error));
                Ok((None, 0))
            }
            Err(error) => {
                let said = CliError::could_not(CliError::chain(&error));
                Err(match error {
                    StateError::OtherSearch { .. } => said.hint(
                        "give the same drive, the same hints and the same part as before, or another file for a new search",
                    ),
                    _ => said,
                })
            }
        }
    }

    /// Says how long the search will take here, and refuses one that takes too long.
    fn say_how_long<C>(
        &self,
        search: &Search<'_, C>,
        share: u128,
        from: u128,
        rate: f64,
        jobs: NonZeroUsize,
        context: &Context,
    ) -> Result<(), CliError> {
        let left = share.saturating_sub(from);
        let seconds = left as f64 / rate;
        let things = search.things;
        let how_long = format!(
            "{} {things}, {:.0} a second with {} at a time: {} to try them all",
            number(left),
            rate,
            jobs,
            duration(seconds)
        );
        if seconds > PATIENCE.as_secs_f64() && !self.however_long {
            let refused = CliError::could_not(format!("this is too long to wait for: {how_long}"));
            let refused = search
                .hints
                .iter()
                .fold(refused, |refused, hint| refused.hint(hint.as_str()));
            return Err(refused
                .hint("`--shard 1/100` searches the first of 100 parts, so that many computers can share it")
                .hint("`--however-long` begins all the same"));
        }
        context.ui.say(&how_long);
        if search.stages.len() > 1 {
            for (about, count) in &search.stages {
                let own = self.shard().share_of(*count);
                let time = duration(own as f64 / rate);
                context
                    .ui
                    .say(&format!("  {about}: {} {things}, {time}", number(own)));
            }
        }
        for hint in &search.hints {
            context.ui.say(&format!("  {hint}"));
        }
        Ok(())
    }
}

/// Says how to go on.
fn stopped(state: Option<StateFile>, progress: Progress, share: u128) -> CliError {
    let stopped = CliError::stopped();
    let Some(mut state) = state else { return stopped };
    match state.save(progress.done) {
        Ok(()) => stopped.hint(format!(
            "{} of {} are behind it; the same command goes on there",
            number(progress.done),
            number(share)
        )),
        Err(error) => stopped.hint(format!("where it was is lost: {}", CliError::chain(&error))),
    }
}

/// Returns where it is kept how far a search is, if nobody says otherwise; `None` where no home folder is known.
fn usual_state(volume: &Volume, shard: Shard, things: &str) -> Option<PathBuf> {
    let folder = ledger_file::ledger()?.path().with_file_name("searches");
    fs::create_dir_all(&folder).ok()?;
    let part = shard.to_string().replace('/', "-of-");
    Some(folder.join(format!("{}-{things}-{part}.json", volume.metadata().volume_id())))
}

/// Takes the time of one batch on every thread at once.
fn rehearse(jobs: NonZeroUsize) -> Duration {
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(guess::rehearse);
        }
    });
    started.elapsed()
}

fn capped(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Writes a number with a comma before every three digits; very large ones as a power of ten.
pub(crate) fn number(count: u128) -> String {
    if count >= 1_000_000_000_000_000 {
        return format!("{:.1e}", count as f64).replace('e', " x 10^");
    }
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a time as people say it.
pub(crate) fn duration(seconds: f64) -> String {
    const UNITS: [(f64, &str); 5] = [
        (365.25 * 86_400.0, "years"),
        (86_400.0, "days"),
        (3600.0, "hours"),
        (60.0, "minutes"),
        (1.0, "seconds"),
    ];
    let mut text = "about ".to_owned();
    for (unit, name) in UNITS {
        let count = seconds / unit;
        if count >= 2.0 {
            let _ = if count > 1e6 {
                write!(text, "{} {name}", number(count.min(1e30) as u128))
            } else if count < 10.0 && name == "years" {
                write!(text, "{count:.1} {name}")
            } else {
                write!(text, "{count:.0} {name}")
            };
            return text;
        }
    }
    "a moment".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_as_people_say_them() {
        assert_eq!(number(65_536), "65,536");
        assert_eq!(number(12), "12");
        assert_eq!(number(1 << 32), "4,294,967,296");
        assert_eq!(number(1 << 112), "5.2 x 10^33");
        assert_eq!(duration(0.4), "a moment");
        assert_eq!(duration(90.0), "about 90 seconds");
        assert_eq!(duration(1310.0), "about 22 minutes");
        assert_eq!(duration(3.0 * 86_400.0), "about 3 days");
        assert_eq!(duration(8.6e7), "about 2.7 years");
        assert_eq!(duration(1e32), "about 3.2 x 10^24 years");
    }
}
