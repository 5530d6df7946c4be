//! `keyhaven find`: the saved key of a drive, among many.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Parser;
use keyhaven_backup::drive::Drive as Opens;
use keyhaven_backup::verdict::{Effort, Verdict, judge};
use keyhaven_fve::Guid;
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::{Drive, DriveArgs, MetadataArgs};
use crate::error::{CliError, Exit};
use crate::ledger_file;
use crate::looking::{self, Sight};
use crate::vault_args::VaultArgs;
use crate::windows::{self, Computer, Live};

pub(super) const VERB: Verb = Verb::of::<Find>();

/// Find the saved key of a drive in folders, sticks and vaults
///
/// Look by drive, and the key that is found is proven on it; or by key ID, which is what the recovery screen shows: its
/// first 8 characters or the whole. Without a place, those that were noted when keys were saved are looked at, and
/// removable drives.
#[derive(Parser)]
#[command(name = "find")]
struct Find {
    /// The drive whose key is wanted, or the key ID
    #[arg(value_name = "DRIVE|KEY-ID")]
    wanted: OsString,

    /// Where to look: files, folders, `usb`, or `-` for standard input
    #[arg(value_name = "PLACE")]
    places: Vec<String>,

    #[command(flatten)]
    metadata: MetadataArgs,

    #[command(flatten)]
    vault: VaultArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    wanted: String,
    results: Vec<Hit>,
}

#[derive(Serialize)]
struct Hit {
    place: String,
    protector_id: Option<String>,
    /// Missing where there was no drive to try the key on.
    verdict: Option<&'static str>,
    bad_blocks: Vec<usize>,
}

enum Wanted<'a> {
    Drive(&'a dyn Opens),
    /// The beginning of a key ID, upper case.
    Id(String),
}

impl Run for Find {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let name = self.wanted.to_string_lossy().into_owned();
        let computer = Computer::this();
        let live = windows::drive(computer.as_ref(), &self.wanted, context)?.filter(Live::is_only_asked);
        let opener = live.as_ref().map(Live::opener).transpose()?;
        let drive;
        let wanted = match (&opener, key_id(&self.wanted)) {
            (Some(opener), _) => Wanted::Drive(opener.drive()),
            (None, Some(id)) => Wanted::Id(id),
            (None, None) => {
                drive = self.open(context)?;
                Wanted::Drive(&drive.volume)
            }
        };
        let targets = if self.places.is_empty() {
            looking::usual_targets(&ledger_file::entries(context))
        } else {
            looking::targets(&self.places)?
        };
        let mut secrets = self.vault.secrets(context)?;
        let mut results = Vec::new();
        let mut is_missing = false;
        for target in &targets {
            looking::look(target, &mut secrets, context, &mut |file, sight| {
                let hit = match sight {
                    Sight::Key(found) => match &wanted {
                        Wanted::Id(id) => {
                            let hit = found
                                .ids
                                .iter()
                                .find(|own| own.to_string().starts_with(id.as_str()));
                            hit.map(|own| Hit {
                                place: file.to_owned(),
                                protector_id: Some(own.to_string()),
                                verdict: None,
                                bad_blocks: Vec::new(),
                            })
                        }
                        Wanted::Drive(drive) => {
                            let effort = if target.is_pile {
                                Effort::ById
                            } else {
                                Effort::Everything
                            };
                            Hit::of(file, judge(*drive, &found, effort), &found.ids, *drive)
                        }
                    },
                    Sight::Problem {
                        reason,
                        is_missing: missing,
                        ..
                    } => {
                        is_missing |= missing;
                        if missing || !target.is_pile {
                            context.ui.say(&format!("{file}: {reason}"));
                        } else {
                            context.ui.detail(&format!("{file}: {reason}"));
                        }
                        None
                    }
                };
                if let Some(hit) = hit {
                    if !context.ui.is_json() {
                        context.ui.line(&hit.to_text())?;
                    }
                    results.push(hit);
                }
                Ok(())
            })?;
        }
        // With a drive, a key counts that opens it.
        let is_found = results
            .iter()
            .any(|hit| hit.verdict.is_none_or(|verdict| verdict == "opens"));
        if context.ui.is_json() {
            context.ui.json(&Answer {
                wanted: name,
                results,
            })?;
        } else if !is_found {
            context.ui.line(&format!("no key of {name} was found"))?;
            if self.places.is_empty() {
                context.ui.say("Name folders to look in. A Microsoft account may have it, too: see the page of its devices.");
            }
        }
        Ok(match (is_found, is_missing) {
            (true, _) => Exit::Done,
            (false, true) => Exit::CouldNot,
            (false, false) => Exit::No,
        })
    }
}

impl Find {
    fn open(&self, context: &Context) -> Result<Drive, CliError> {
        let drive = DriveArgs {
            drive: self.wanted.clone(),
            metadata: self.metadata.clone(),
        };
        drive.open(context).map_err(|error| {
            if is_part_of_an_id(&self.wanted) {
                error.hint("a key ID is given by its first 8 characters or as a whole")
            } else {
                error
            }
        })
    }
}

/// Recognises a key ID: 8 hexadecimal digits or a whole GUID. A file of that name is meant as a drive.
fn key_id(text: &OsStr) -> Option<String> {
    if Path::new(text).exists() {
        return None;
    }
    let text = text.to_str()?;
    if let Ok(id) = text.parse::<Guid>() {
        return Some(id.to_string());
    }
    (text.len() == 8 && text.chars().all(|sign| sign.is_ascii_hexdigit())).then(|| text.to_ascii_uppercase())
}

/// Tells whether something that is no drive may be the beginning of a key ID.
fn is_part_of_an_id(text: &OsStr) -> bool {
    let is_of_an_id = |sign: char| sign.is_ascii_hexdigit() || sign == '-';
    text.to_str()
        .is_some_and(|text| text.chars().all(is_of_an_id) && text.chars().any(|sign| sign != '-'))
}

impl Hit {
    /// Makes a hit of a key that opens the drive, or was meant to.
    fn of(file: &str, verdict: Verdict, ids: &[Guid], drive: &dyn Opens) -> Option<Self> {
        let protectors = drive.protectors();
        let ours = |id: &&Guid| protectors.iter().any(|(own, _)| own == *id);
        let (id, bad_blocks) = match &verdict {
            Verdict::Opens { protector_id } => (Some(*protector_id), Vec::new()),
            Verdict::Mistyped { bad_blocks, .. } => (Some(*ids.iter().find(ours)?), bad_blocks.clone()),
            Verdict::WrongKey => (ids.iter().find(ours).copied(), Vec::new()),
            _ => return None,
        };
        Some(Self {
            place: file.to_owned(),
            protector_id: id.map(|id| id.to_string()),
            verdict: Some(verdict.name()),
            bad_blocks,
        })
    }

    fn to_text(&self) -> String {
        let key_id = self
            .protector_id
            .as_deref()
            .and_then(|id| id.get(..8))
            .unwrap_or("no ID");
        match self.verdict {
            None => format!("{key_id}  {}", self.place),
            Some("opens") => format!("{key_id}  {}: opens the drive", self.place),
            Some("mistyped") => {
                let blocks: Vec<String> = self.bad_blocks.iter().map(ToString::to_string).collect();
                format!("{key_id}  {}: mistyped, block {}", self.place, blocks.join(", "))
            }
            Some(_) => format!(
                "{key_id}  {}: marked as this drive's, and does not open it",
                self.place
            ),
        }
    }
}
