//! `keyhaven verify`: which saved keys open a drive.

use clap::Parser;
use jiff::Timestamp;
use keyhaven_backup::drive::Drive;
use keyhaven_backup::verdict::{Effort, Verdict, judge};
use keyhaven_fve::Guid;
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::ledger_file;
use crate::looking::{self, Sight};
use crate::unlocking::KeyArgs;
use crate::vault_args::VaultArgs;
use crate::windows::{self, Computer, Live};

pub(super) const VERB: Verb = Verb::of::<Verify>();

/// Prove which saved keys open a drive, without unlocking it
///
/// A place is a file, a folder (with all folders in it), `usb`, or `-` for standard input. Text files in any language and
/// encoding, startup key files, vaults, PDF pages and pictures of them are all read. Without a place, those that were
/// noted when keys were saved are looked at, and removable drives.
///
/// Nothing is unlocked, mounted or written: a key is tried against the drive's metadata. The exit code is 0 if every
/// place has a key that opens the drive.
#[derive(Parser)]
#[command(name = "verify")]
struct Verify {
    #[command(flatten)]
    drive: DriveArgs,

    /// Where the saved keys are
    #[arg(value_name = "PLACE")]
    places: Vec<String>,

    /// Try every key in a folder, also those that are marked with other drives' IDs
    #[arg(long)]
    try_all: bool,

    #[command(flatten)]
    unlock: KeyArgs,

    #[command(flatten)]
    vault: VaultArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    drive: String,
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    place: String,
    protector_id: Option<String>,
    verdict: &'static str,
    bad_blocks: Vec<usize>,
    reason: Option<String>,
}

impl Run for Verify {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let computer = Computer::this();
        let live = windows::drive(computer.as_ref(), &self.drive.drive, context)?;
        if let Some(live) = live.filter(Live::is_only_asked) {
            if self.unlock.is_given() {
                return Err(CliError::could_not(format!(
                    "{} cannot be read here, and Windows tries no key on a drive that it has unlocked",
                    live.name()
                ))
                .hint("name the files that the key was saved in: they are held against what Windows says"));
            }
            let opener = live.opener()?;
            return self.places_of(live.name(), opener.drive(), context);
        }
        let drive = self.drive.open(context)?;
        let volume = &drive.volume;
        if self.unlock.is_given() {
            if !self.places.is_empty() {
                return Err(CliError::could_not("give places or one key to prove, not both"));
            }
            return match self.unlock.prove(volume, context) {
                Ok(protector) => one_key(&drive.name, protector, context),
                // An answer is a document as well as a reason.
                Err(error) if error.exit() == Exit::No && context.ui.is_json() => {
                    let verdict = Verdict::WrongKey;
                    let mut result = Outcome::of("-", &verdict, None);
                    result.reason = Some(error.message().to_owned());
                    context.ui.json(&Answer {
                        drive: drive.name,
                        results: vec![result],
                    })?;
                    Err(error)
                }
                Err(error) => Err(error),
            };
        }
        self.places_of(&drive.name, volume, context)
    }
}

impl Verify {
    /// Tries all keys in the places on a drive.
    fn places_of(&self, name: &str, volume: &dyn Drive, context: &Context) -> Result<Exit, CliError> {
        let targets = if self.places.is_empty() {
            let id = volume.volume_id().to_string();
            let noted: Vec<_> = ledger_file::entries(context)
                .into_iter()
                .filter(|entry| entry.volume_id == id)
                .collect();
            let usual = looking::usual_targets(&noted);
            if usual.is_empty() {
                return Err(
                    CliError::no("no place is known where a key of this drive could be")
                        .hint("name files or folders after the drive"),
                );
            }
            usual
        } else {
            looking::targets(&self.places)?
        };
        let mut secrets = self.vault.secrets(context)?;

        let mut results = Vec::new();
        let mut proven = Vec::new();
        let (mut every_place_opens, mut is_missing) = (true, false);
        for target in &targets {
            // In a pile only keys that may be this drive's are worth a stretch.
            let effort = if target.is_pile && !self.try_all {
                Effort::ById
            } else {
                Effort::Everything
            };
            let mut opens = false;
            looking::look(target, &mut secrets, context, &mut |file, sight| {
                let outcome = match sight {
                    Sight::Key(found) => {
                        let verdict = judge(volume, &found, effort);
                        if let Verdict::Opens { protector_id } = verdict {
                            opens = true;
                            proven.push((file.to_owned(), protector_id));
                        }
                        Outcome::of(file, &verdict, found.ids.first().copied())
                    }
                    Sight::Problem {
                        reason,
                        is_missing: missing,
                        ..
                    } => {
                        is_missing |= missing;
                        Outcome::of(file, &Verdict::Unreadable { reason }, None)
                    }
                };
                // A pile of other drives' keys is summed up, not listed.
                if !context.ui.is_json() && (outcome.verdict != "other_drive" || !target.is_pile) {
                    context.ui.line(&outcome.to_text())?;
                }
                results.push(outcome);
                Ok(())
            })?;
            every_place_opens &= opens;
        }
        note(name, volume, &proven, context);
        if context.ui.is_json() {
            context.ui.json(&Answer {
                drive: name.to_owned(),
                results,
            })?;
        } else {
            let others = results
                .iter()
                .filter(|outcome| outcome.verdict == "other_drive")
                .count();
            if results.is_empty() {
                context.ui.line("no saved key was found there")?;
            } else if proven.is_empty() && others > 0 {
                context
                    .ui
                    .line(&format!("none of them opens {name}: {others} of other drives"))?;
            }
        }
        Ok(match (every_place_opens, is_missing) {
            (true, _) => Exit::Done,
            (false, true) => Exit::CouldNot,
            (false, false) => Exit::No,
        })
    }
}

/// Answers for the one key that was given by an option.
fn one_key(drive: &str, protector: Option<Guid>, context: &Context) -> Result<Exit, CliError> {
    let id = protector.map(|id| id.to_string());
    if context.ui.is_json() {
        let result = Outcome {
            place: "-".to_owned(),
            protector_id: id,
            verdict: "opens",
            bad_blocks: Vec::new(),
            reason: None,
        };
        context.ui.json(&Answer {
            drive: drive.to_owned(),
            results: vec![result],
        })?;
    } else {
        let ways = id.map_or(String::new(), |id| format!(" (protector {id})"));
        context.ui.line(&format!("opens {drive}{ways}"))?;
    }
    Ok(Exit::Done)
}

/// Brings the list of saved keys up to date.
fn note(drive: &str, volume: &dyn Drive, proven: &[(String, Guid)], context: &Context) {
    let copies: Vec<_> = proven
        .iter()
        .filter(|(file, _)| file != "-")
        .map(|(file, protector_id)| (format!("file:{file}"), file, *protector_id))
        .collect();
    let copies: Vec<_> = copies
        .iter()
        .map(|(place, file, protector_id)| ledger_file::Copy {
            protector_id: *protector_id,
            place,
            path: Some(file.as_ref()),
            proven: true,
        })
        .collect();
    ledger_file::note(volume, drive, &copies, Timestamp::now(), context);
}

impl Outcome {
    fn of(place: &str, verdict: &Verdict, marked: Option<Guid>) -> Self {
        let (protector_id, bad_blocks, reason) = match verdict {
            Verdict::Opens { protector_id } => (Some(*protector_id), Vec::new(), None),
            Verdict::Mistyped { bad_blocks, problem } => (marked, bad_blocks.clone(), Some(problem.clone())),
            Verdict::Unreadable { reason } => (marked, Vec::new(), Some(reason.clone())),
            _ => (marked, Vec::new(), None),
        };
        Self {
            place: place.to_owned(),
            protector_id: protector_id.map(|id| id.to_string()),
            verdict: verdict.name(),
            bad_blocks,
            reason,
        }
    }

    fn to_text(&self) -> String {
        let key_id = self
            .protector_id
            .as_deref()
            .and_then(|id| id.get(..8))
            .unwrap_or("no ID");
        match self.verdict {
            "opens" => format!("opens        {key_id}  {}", self.place),
            "wrong_key" => {
                format!(
                    "wrong key    {key_id}  {}: marked as this drive's, and does not open it",
                    self.place
                )
            }
            "other_drive" => format!("other drive  {key_id}  {}", self.place),
            "mistyped" => format!(
                "mistyped     {key_id}  {}: {}",
                self.place,
                self.reason.as_deref().unwrap_or("")
            ),
            _ => format!(
                "unreadable             {}: {}",
                self.place,
                self.reason.as_deref().unwrap_or("")
            ),
        }
    }
}
