//! `keyhaven key-package save`.

use std::path::PathBuf;

use clap::Parser;
use keyhaven_fve::{RecordKey, RecoveryRecord};
use serde::Serialize;

use super::{Run, Verb};
use crate::changing;
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::packaging::{self, SavedPackage};
use crate::unlocking::UnlockArgs;

pub(super) const VERB: Verb = Verb::of::<Save>();

/// Save the key package of each recovery key of a drive
///
/// With its key package and its recovery key the content of a drive can be read even when all of its metadata are
/// destroyed. By itself a package opens nothing. Each is read back and opened before it counts as saved.
#[derive(Parser)]
#[command(name = "save")]
struct Save {
    #[command(flatten)]
    drive: DriveArgs,

    /// The folder to write them to, or, for one, the file; it must not exist
    #[arg(value_name = "PLACE")]
    place: PathBuf,

    /// Only that of this recovery key or startup key: its ID, or the beginning of it
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Serialize)]
struct Answer {
    drive: String,
    volume_id: String,
    packages: Vec<SavedPackage>,
}

impl Run for Save {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.drive.open(context)?;
        let volume = &drive.volume;
        let id = self
            .id
            .as_deref()
            .map(|id| changing::find_protector(volume, id))
            .transpose()?;
        let unlocked = self.unlock.unlock(volume, context)?;
        let records = volume.records(&unlocked);
        let wanted: Vec<&RecoveryRecord> = records
            .iter()
            .filter(|record| match id {
                Some(id) => record.protector_id == id,
                None => matches!(record.key, RecordKey::RecoveryPassword(_)),
            })
            .collect();
        if wanted.is_empty() {
            return Err(
                CliError::could_not("the drive has no recovery key that a package could be for")
                    .hint("`keyhaven protector list` shows what it has; `keyhaven protector add` adds one"),
            );
        }
        let packages = packaging::save(&unlocked, &wanted, &self.place, context)?;
        if context.ui.is_json() {
            context.ui.json(&Answer {
                drive: drive.name.clone(),
                volume_id: volume.metadata().volume_id().to_string(),
                packages,
            })?;
        }
        Ok(Exit::Done)
    }
}
