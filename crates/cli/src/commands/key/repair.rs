//! `keyhaven key repair`: finds the missing and mistyped digits of a recovery key.

use std::ffi::OsString;

use clap::Parser;
use keyhaven_backup::guess::{Help, Hint, HintError, KeyGuesses, Shard};
use keyhaven_backup::place::Place;
use keyhaven_backup::receipt::Receipt;
use keyhaven_crypto::{Secret, SecretText};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{BLOCKS, RecoveryPassword};
use keyhaven_fve::{Credential, Guid, ProtectorKind, RecordKey, RecoveryRecord, Volume};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::commands::{Run, Verb};
use crate::context::Context;
use crate::depositing::{Deposit, Deposited, Failure, PlaceArgs};
use crate::drive::{Drive, DriveArgs};
use crate::error::{CliError, Exit};
use crate::searching::{Search, SearchArgs, number};
use crate::secret_source;

pub(super) const VERB: Verb = Verb::of::<Repair>();

/// What a person is told who is asked.
const INTRODUCTION: &str = "\
Type the recovery key as far as you can read it, in one line.
  ?         a digit that you cannot read
  [17]      one of several: a 1 or a 7
  ------    a block that is missing; blocks at the end may just be left out
A block of five or seven digits is fine, too, and so are mistakes.
";

/// Find the missing or mistyped digits of a recovery key
///
/// Takes what there is of the key: `?` for a digit that cannot be read, `[17]` or `7/1` or `maybe 7 or 1` for one of
/// several, `------` or nothing for a block that is missing, blocks of five or seven digits, blocks in the wrong order, or
/// a whole key that does not open the drive. What it may have been is tried on the drive's own metadata, the likeliest
/// first: wrong and swapped digits, dropped and doubled ones, exchanged blocks. Nothing is written to the drive.
///
/// It is said before how many keys that are, how long it will take on this computer, and what would make it shorter. One
/// lost block takes about twenty minutes on two processors; two lost blocks take years.
///
/// The key is printed once it is found and proven, or saved to a place with `--to`; where that fails, it is printed. Exit codes: 0 found, 1 tried all and
/// not found, 130 stopped; the same command goes on where it was.
#[derive(Parser)]
#[command(name = "repair")]
struct Repair {
    #[command(flatten)]
    drive: DriveArgs,

    /// Where what there is of the key is: from a SOURCE; without it you are asked
    ///
    /// `file:PATH` may be the text file that Windows saved, in which digits are wrong or replaced by `?`.
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, visible_alias = "recovery-password")]
    recovery_key: Option<Option<OsString>>,

    #[command(flatten)]
    search: SearchArgs,

    /// After what is likeliest, go on to what is less likely up to so many keys in all
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1_000_000,
        help_heading = "Search"
    )]
    most: u64,

    #[command(flatten)]
    places: PlaceArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    found: bool,
    protector_id: Option<String>,
    /// Only where no place to save it was given, or one failed: to show it is the purpose of the verb.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key: Option<&'a str>,
    /// The blocks, counted from 1, that are not as they were given.
    corrected_blocks: Vec<usize>,
    tried: u64,
    candidates: String,
    shard: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    receipts: Vec<Receipt>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Failure>,
}

impl Run for Repair {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let places = self.places.parse()?;
        let drive = self.drive.open(context)?;
        for place in &places {
            self.places.check(place, &self.drive.path(), context)?;
        }
        let protectors = self
            .search
            .protectors(&drive.volume, ProtectorKind::RecoveryPassword)?;
        if self.search.export(&protectors, context)?.is_some() {
            return Ok(Exit::Done);
        }
        let ids: Vec<String> = protectors
            .trials()
            .iter()
            .map(|trial| trial.protector_id().key_id())
            .collect();
        context.ui.say(&format!(
            "The recovery key of this drive has the key ID {}.",
            ids.join(" or ")
        ));
        let hint = self.hint(context)?;
        let guesses = KeyGuesses::new(&hint, self.most.into())
            .map_err(|error| CliError::could_not(error.to_string()))?;
        tell_understood(&guesses, &hint, context);
        if guesses.is_well_formed() {
            context.ui.say(
                "All eight blocks are as they should be. If this key does not open the drive, it is most likely that of \
                 another one: compare the key ID that was saved or printed with it.",
            );
        }
        let canonical = hint.canonical();
        let most = self.most.to_le_bytes();
        let search = Search {
            candidates: &guesses,
            protectors,
            known: &[b"recovery key", canonical.as_bytes(), &most],
            things: "keys",
            stages: tried_stages(&guesses),
            hints: helps(&guesses),
        };
        let found = self.search.search(&search, &drive.volume, context)?;
        let (tried, candidates) = (found.tried, found.candidates);
        let mut answer = Answer {
            drive: &drive.name,
            found: false,
            protector_id: None,
            recovery_key: None,
            corrected_blocks: Vec::new(),
            tried,
            candidates: candidates.to_string(),
            shard: self.search.shard().to_string(),
            receipts: Vec::new(),
            failures: Vec::new(),
        };
        let Some((key, protector_id)) = found.found else {
            if context.ui.is_json() {
                context.ui.json(&answer)?;
            } else {
                context.ui.line(&format!(
                    "not found: none of {} keys opens {}",
                    number(tried.into()),
                    drive.name
                ))?;
                tell_what_else(&guesses, self.search.shard() == Shard::WHOLE, context);
            }
            return Ok(Exit::No);
        };
        prove(&key, protector_id, &drive.volume)?;
        answer.found = true;
        answer.protector_id = Some(protector_id.to_string());
        answer.corrected_blocks = guesses.corrected(&key);
        context.ui.say(&format!(
            "Found after {} keys, and it opens the drive (key ID {}){}.",
            number(tried.into()),
            protector_id.key_id(),
            corrected(&answer.corrected_blocks)
        ));
        let digits = key.to_digits();
        let deposited = if places.is_empty() {
            None
        } else {
            Some(self.save(&drive, key, protector_id, &places, context))
        };
        // What could not be put away is shown: it may have been searched for for hours.
        if !matches!(&deposited, Some(Ok(deposited)) if deposited.failures.is_empty()) {
            answer.recovery_key = Some(digits.expose_secret());
            if !context.ui.is_json() {
                let line = Zeroizing::new(format!("{}\n", digits.expose_secret()));
                context.ui.raw(line.as_bytes())?;
            }
        }
        let exit = match deposited {
            None => Exit::Done,
            Some(Err(error)) => {
                if context.ui.is_json() {
                    context.ui.json(&answer)?;
                }
                return Err(error);
            }
            Some(Ok(deposited)) => {
                let exit = deposited.exit();
                (answer.receipts, answer.failures) = (deposited.receipts, deposited.failures);
                exit
            }
        };
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        }
        Ok(exit)
    }
}

impl Repair {
    /// Reads what there is of the key.
    fn hint(&self, context: &Context) -> Result<Hint, CliError> {
        let source = self.recovery_key.as_ref().and_then(|source| source.as_deref());
        if let Some(source) = source {
            let text = secret_source::required(source)?.read_text("the recovery key", context)?;
            return Hint::find(text.expose_secret()).map_err(|error| refusal(&error));
        }
        if self.recovery_key.is_none() && !context.ui.is_interactive() {
            return Err(CliError::could_not("nothing is known of the recovery key").hint(
                "give what there is of it: `--recovery-key` with `-` (standard input), `file:PATH`, `fd:N` or `env:NAME`",
            ));
        }
        context.ui.say(INTRODUCTION);
        loop {
            let text: SecretText = context.ui.ask_shown("Recovery key: ")?;
            match Hint::parse(text.expose_secret()) {
                Ok(hint) => return Ok(hint),
                Err(error) => context.ui.say(&format!("  {error}")),
            }
        }
    }

    /// Saves the key to the places that were named, and proves each copy.
    fn save(
        &self,
        drive: &Drive,
        key: RecoveryPassword,
        protector_id: Guid,
        places: &[Place],
        context: &Context,
    ) -> Result<Deposited, CliError> {
        let metadata = drive.volume.metadata();
        let own = metadata.protectors();
        let own = own.iter().find(|protector| protector.id() == protector_id);
        let record = RecoveryRecord {
            volume_id: metadata.volume_id(),
            protector_id,
            description: metadata.description(),
            modified: own.map_or(FileTime(0), |own| own.modified()),
            key: RecordKey::RecoveryPassword(key),
        };
        let deposit = Deposit {
            drive_name: &drive.name,
            volume: &drive.volume,
            records: &[record],
            with_startup_keys: false,
        };
        self.places.save(&deposit, places, context)
    }
}

/// Proves a key as `verify` does: the search itself looks at less.
fn prove(key: &RecoveryPassword, protector_id: Guid, volume: &Volume) -> Result<(), CliError> {
    let copy = RecoveryPassword::from_key(Secret::init_with(|bytes| *bytes = *key.key().expose_secret()));
    let proven = volume.prove_protector(&Credential::RecoveryPassword(copy), protector_id);
    proven.map(drop).map_err(|error| {
        CliError::could_not("a key was found and does not open the drive: its metadata are damaged")
            .because(&error)
    })
}

fn refusal(error: &HintError) -> CliError {
    CliError::could_not(format!("what there is of the recovery key is not understood: {error}")).hint(
        "write `?` for a digit that cannot be read, `[17]` for one of several, `------` for a missing block, and a hyphen \
         between blocks",
    )
}

/// Says how each block was understood; with its digits only where somebody sits at a terminal.
fn tell_understood(guesses: &KeyGuesses, hint: &Hint, context: &Context) {
    for block in guesses.understood(hint, context.ui.is_interactive()) {
        let name = block
            .number
            .map_or("a block".to_owned(), |number| format!("block {number}"));
        let meaning = match (block.is_mistyped, block.candidates) {
            (true, 0) => "mistyped (its check does not come out)".to_owned(),
            (_, 1) => "1 candidate".to_owned(),
            (_, count) => format!("{} candidates", number(count.into())),
        };
        let line = Zeroizing::new(format!("  {name}: {}: {meaning}", *block.text));
        context.ui.say(&line);
    }
    let missing = BLOCKS.saturating_sub(hint.blocks_written());
    if hint.is_gap_unknown() {
        context
            .ui
            .say(&format!("  {missing} of 8 blocks missing, nobody knows which"));
    }
}

fn tried_stages(guesses: &KeyGuesses) -> Vec<(&'static str, u128)> {
    let tried = guesses.stages().iter().filter(|stage| stage.is_tried);
    tried.map(|stage| (stage.about, stage.candidates)).collect()
}

/// Returns what would make the search shorter, as sentences.
fn helps(guesses: &KeyGuesses) -> Vec<String> {
    let says = |help: &Help| match help {
        Help::Digit { block, digit, times } => Some(format!(
            "if you can read digit {digit} of block {block}: {times:.0} times faster"
        )),
        Help::MissingBlocks { times } => Some(format!(
            "if you know which of the blocks are missing (`------` in their places): {times:.0} times faster"
        )),
        Help::LookAgain { block } => Some(format!("block {block} cannot be right: look at it again")),
        _ => None,
    };
    guesses.helps().iter().filter_map(says).take(3).collect()
}

fn corrected(blocks: &[usize]) -> String {
    let numbers: Vec<String> = blocks.iter().map(usize::to_string).collect();
    match numbers.as_slice() {
        [] => String::new(),
        [one] => format!("; block {one} is not as it was given"),
        several => format!("; blocks {} are not as they were given", several.join(", ")),
    }
}

/// Says what was not tried, and what else may be wrong.
fn tell_what_else(guesses: &KeyGuesses, is_whole: bool, context: &Context) {
    let ui = &context.ui;
    if !is_whole {
        ui.say("This was one part of the search: another may find it.");
        return;
    }
    let left: Vec<_> = guesses.stages().iter().filter(|stage| !stage.is_tried).collect();
    if let Some(next) = left.first() {
        ui.say(&format!(
            "Not tried, because there would be more than `--most`: {} ({} keys).",
            next.about,
            number(next.candidates)
        ));
    }
    ui.say("The key may be another drive's, too: its key ID must be the one above.");
}
