//! `keyhaven protector list`.

use clap::Parser;
use keyhaven_fve::KeyProtector;
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::windows::{self, Computer};

pub(super) const VERB: Verb = Verb::of::<List>();

/// List the ways to unlock a drive
///
/// No key is needed for that.
#[derive(Parser)]
#[command(name = "list")]
struct List {
    #[command(flatten)]
    drive: DriveArgs,
}

#[derive(Serialize)]
struct Answer {
    drive: String,
    volume_id: String,
    protectors: Vec<Protector>,
}

#[derive(Serialize)]
struct Protector {
    id: String,
    key_id: String,
    kind: String,
    name: Option<String>,
    modified: Option<String>,
    #[serde(skip)]
    title: String,
    /// Windows told it, which does not tell since when.
    #[serde(skip)]
    is_told: bool,
}

impl Run for List {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let computer = Computer::this();
        let answer = match windows::drive(computer.as_ref(), &self.drive.drive, context)? {
            Some(live) => Answer {
                drive: live.name().to_owned(),
                volume_id: live.volume_id()?.to_string(),
                protectors: live.told.protectors.iter().map(Protector::told).collect(),
            },
            None => {
                let drive = self.drive.open_to_look(context)?;
                let metadata = drive.volume.metadata();
                Answer {
                    drive: drive.name.clone(),
                    volume_id: metadata.volume_id().to_string(),
                    protectors: metadata.protectors().iter().map(Protector::of).collect(),
                }
            }
        };
        if context.ui.is_json() {
            context.ui.json(&answer)?;
            return Ok(Exit::Done);
        }
        if answer.protectors.is_empty() {
            context.ui.say("This drive has no way to unlock it.");
        }
        for protector in &answer.protectors {
            let since = match (&protector.modified, protector.is_told) {
                (Some(changed), _) => format!("  (since {changed})"),
                (None, false) => "  (since unknown)".to_owned(),
                (None, true) => String::new(),
            };
            context
                .ui
                .line(&format!("{}  {}{since}", protector.id, protector.title))?;
        }
        Ok(Exit::Done)
    }
}

impl Protector {
    fn of(protector: &KeyProtector<'_>) -> Self {
        Self {
            id: protector.id().to_string(),
            key_id: protector.id().key_id(),
            kind: protector.kind().json_name(),
            name: protector.name(),
            modified: protector.modified().timestamp().map(|time| time.to_string()),
            title: protector.kind().to_string(),
            is_told: false,
        }
    }

    fn told(protector: &windows::Protector) -> Self {
        Self {
            id: protector.id.to_string(),
            key_id: protector.id.key_id(),
            kind: protector.kind.json_name(),
            name: protector.name.clone(),
            modified: None,
            title: protector.kind.title().to_owned(),
            is_told: true,
        }
    }
}
