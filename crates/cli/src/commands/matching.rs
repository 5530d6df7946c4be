//! `keyhaven match`: a pile of saved keys and a pile of drives.

use std::collections::HashSet;
use std::ffi::OsString;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::HumanDuration;
use keyhaven_backup::matching::{self, Drives, Pair};
use keyhaven_backup::pile::{Pile, Wanted};
use keyhaven_backup::verdict::{Effort, Verdict};
use keyhaven_crypto::{Secret, stretch};

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::MetadataArgs;
use crate::error::{CliError, Exit};
use crate::looking::{self, Sight};
use crate::vault_args::VaultArgs;

mod answer;
mod drives;
mod table;

use answer::{Answer, Unread};
use drives::Found;

pub(super) const VERB: Verb = Verb::of::<Match>();

/// Match a pile of saved keys to a pile of drives
///
/// Keys are read out of texts in any language, tables (CSV, XLSX, ODS), documents (DOCX, ODT, PDF), pictures of printed
/// keys, startup key files, exports of Active Directory (LDIF, CSV) and of Entra and Intune (JSON, CSV), and vaults. They
/// are matched by ID, and each match is proven on the drive, which takes a tenth of a second or so.
///
/// The exit code is 0 if every drive has a key that opens it, 1 if some has none, and 2 if something could not be read.
/// No key is ever printed, only key IDs and where the keys are.
#[derive(Parser)]
#[command(name = "match")]
struct Match {
    /// Where the keys are: files, folders (with all folders in them), `usb`, or `-` for standard input
    #[arg(long, value_name = "PLACE", num_args = 1.., required = true)]
    keys: Vec<String>,

    /// The drives: devices, image files, whole disks, or folders of image files
    #[arg(long, value_name = "DRIVE", num_args = 1.., required = true)]
    drives: Vec<OsString>,

    /// Also try keys without an ID, or with an ID of no drive here, on the drives that are left without a key
    #[arg(long, conflicts_with = "no_prove")]
    try_all: bool,

    /// Compare IDs only, and try no key
    #[arg(long)]
    no_prove: bool,

    #[command(flatten)]
    metadata: MetadataArgs,

    #[command(flatten)]
    vault: VaultArgs,
}

impl Run for Match {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let targets = looking::targets(&self.keys)?;
        let Found {
            drives,
            others,
            mut unread,
        } = drives::open_all(&self.drives, &self.metadata, context)?;
        if drives.is_empty() {
            return Err(CliError::could_not(
                "there is no BitLocker drive to match keys to",
            ));
        }
        let volumes: Vec<&(dyn keyhaven_backup::drive::Drive + Sync)> =
            drives.iter().map(|drive| &drive.volume as _).collect();
        let pile = self.read_keys(&targets, &volumes, &mut unread, context)?;

        let mut pairs = matching::by_id(&pile, &volumes);
        let mut flow = ControlFlow::Continue(());
        if self.no_prove {
            judge_what_costs_nothing(&pile, &mut pairs);
        } else {
            flow = prove("trying keys", &pile, &volumes, &mut pairs, Effort::ById, context);
        }
        if self.try_all && flow.is_continue() {
            let mut trials = matching::left_over(&pile, &volumes, &pairs);
            say_how_long(&pile, &volumes, &trials, context);
            flow = prove(
                "trying all keys",
                &pile,
                &volumes,
                &mut trials,
                Effort::Everything,
                context,
            );
            trials.retain(Pair::opens);
            pairs.extend(trials);
        }

        let is_anything_unread = !unread.is_empty();
        let answer = Answer::new(&drives, &pile, &pairs, others, unread);
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        } else {
            for line in table::lines(&answer, self.try_all) {
                context.ui.line(&line)?;
            }
        }
        if flow.is_break() {
            return Err(CliError::stopped());
        }
        let counts = |drive: &answer::Drive| {
            drive.has_proven_key
                || self.no_prove && drive.matches.iter().any(|one| one.verdict == answer::ID_MATCHES)
        };
        Ok(if is_anything_unread {
            Exit::CouldNot
        } else if answer.drives.iter().all(counts) {
            Exit::Done
        } else {
            Exit::No
        })
    }
}

impl Match {
    /// Collects the keys of all places, and what could not be read.
    fn read_keys(
        &self,
        targets: &[looking::Target],
        drives: &Drives<'_>,
        unread: &mut Vec<Unread>,
        context: &Context,
    ) -> Result<Pile, CliError> {
        let wanted = if self.try_all {
            Wanted::All
        } else {
            Wanted::Ids(matching::ids_of(drives).collect())
        };
        let mut pile = Pile::new(wanted);
        let mut secrets = self.vault.secrets(context)?;
        let mut progress = context.ui.count("reading keys", None);
        let mut count = 0;
        for target in targets {
            looking::look(target, &mut secrets, context, &mut |file, sight| {
                match sight {
                    Sight::Key(found) => {
                        pile.add(file, *found).map_err(|error| {
                            CliError::could_not(error.to_string()).hint("name fewer places at a time")
                        })?;
                        count += 1;
                        progress.set(count);
                    }
                    Sight::Problem {
                        reason, is_unread, ..
                    } => {
                        context.ui.say(&format!("{file}: {reason}"));
                        if is_unread {
                            unread.push(Unread {
                                name: file.to_owned(),
                                reason,
                            });
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(pile)
    }
}

/// Judges what is mistyped, which no trial is needed for.
fn judge_what_costs_nothing(pile: &Pile, pairs: &mut [Pair]) {
    use keyhaven_backup::found::FoundContent;

    for pair in pairs {
        let found = pile.keys().get(pair.key).and_then(|key| key.found.as_ref());
        if let Some(FoundContent::Mistyped(mistyped)) = found.map(|found| &found.content) {
            pair.verdict = Some(Verdict::Mistyped {
                bad_blocks: mistyped.bad_blocks(),
                problem: mistyped.to_string(),
            });
        }
    }
}

fn prove(
    what: &str,
    pile: &Pile,
    drives: &Drives<'_>,
    pairs: &mut [Pair],
    effort: Effort,
    context: &Context,
) -> ControlFlow<()> {
    let mut progress = context.ui.count(what, Some(pairs.len() as u64));
    matching::prove(pile, drives, pairs, effort, threads(), &mut |done| {
        progress.set(done as u64);
        context.interrupt.flow()
    })
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Says what trying everything may cost, before it starts.
fn say_how_long(pile: &Pile, drives: &Drives<'_>, trials: &[Pair], context: &Context) {
    let stretches = matching::stretches(pile, drives, trials);
    if stretches == 0 {
        return;
    }
    let started = Instant::now();
    drop(stretch(&Secret::from([0; 32]), &[0; 16]));
    let each = started.elapsed().as_secs_f64() / threads() as f64;
    let total = Duration::from_secs_f64(each * stretches as f64);
    context.ui.say(&format!(
        "trying {} on {}: {stretches} trials, {} at most",
        counted(trials.iter().map(|trial| trial.key), "key"),
        counted(trials.iter().map(|trial| trial.drive), "drive"),
        HumanDuration(total),
    ));
}

/// Counts different things.
fn counted(numbers: impl Iterator<Item = usize>, what: &str) -> String {
    match numbers.collect::<HashSet<_>>().len() {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
