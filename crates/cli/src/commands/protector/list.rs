//! `keyhaven protector list`.

use clap::Parser;
use keyhaven_fve::KeyProtector;
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};

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
}

impl Run for List {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.drive.open_to_look(context)?;
        let metadata = drive.volume.metadata();
        let answer = Answer {
            drive: drive.name.clone(),
            volume_id: metadata.volume_id().to_string(),
            protectors: metadata.protectors().iter().map(Protector::of).collect(),
        };
        if context.ui.is_json() {
            context.ui.json(&answer)?;
            return Ok(Exit::Done);
        }
        if answer.protectors.is_empty() {
            context.ui.say("This drive has no way to unlock it.");
        }
        for protector in &answer.protectors {
            let changed = protector.modified.as_deref().unwrap_or("unknown");
            context.ui.line(&format!(
                "{}  {}  (since {changed})",
                protector.id, protector.title
            ))?;
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
        }
    }
}
