//! `keyhaven protector remove`.

use clap::Parser;

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::unlocking::UnlockArgs;

pub(super) const VERB: Verb = Verb::of::<Remove>();

/// Remove a way to unlock a drive
///
/// The last one that opens the drive wherever it is (a password, recovery key or startup key) stays, unless protection is
/// suspended.
#[derive(Parser)]
#[command(name = "remove")]
struct Remove {
    #[command(flatten)]
    drive: DriveArgs,

    /// The ID of the one to remove, or its beginning; `keyhaven protector list` shows them
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl Run for Remove {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.change.open(&self.drive, context)?;
        let id = changing::find_protector(&drive.volume, &self.id)?;
        let name = changing::name_of(&drive.volume, id);
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let mut edit = changing::begin(&drive.volume, &unlocked)?;
        edit.remove(id).map_err(|error| changing::refusal(&error))?;
        if !self
            .change
            .agree(&drive.name, &[format!("remove {name}")], context)?
        {
            return Ok(Exit::Done);
        }
        changing::commit(&drive, edit, context)?;
        context.ui.say(&format!("Removed: {name}."));
        changing::say_old_metadata_remain(context);
        Ok(Exit::Done)
    }
}
