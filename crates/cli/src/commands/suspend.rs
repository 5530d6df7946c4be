//! `keyhaven suspend`: leaves the key of a drive lying open.

use clap::Parser;
use keyhaven_fve::edit::EditError;

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::randomness;
use crate::unlocking::UnlockArgs;

pub(super) const VERB: Verb = Verb::of::<Suspend>();

/// Suspend the protection of a drive: anyone can read it until `resume`
///
/// The data stay encrypted, but the key to them lies open on the drive.
#[derive(Parser)]
#[command(name = "suspend")]
struct Suspend {
    #[command(flatten)]
    drive: DriveArgs,

    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl Run for Suspend {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.change.open(&self.drive, context)?;
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let mut edit = changing::begin(&drive.volume, &unlocked)?;
        match edit.suspend(&mut randomness::of_the_system) {
            Ok(_) => {}
            Err(EditError::AlreadySuspended) => {
                context.ui.say("Protection is suspended already.");
                return Ok(Exit::Done);
            }
            Err(error) => return Err(changing::refusal(&error)),
        }
        let step = "leave its key lying open: anyone can read the drive until `keyhaven resume`".to_owned();
        if !self.change.agree(&drive.name, &[step], context)? {
            return Ok(Exit::Done);
        }
        changing::commit(&drive, edit, context)?;
        context
            .ui
            .say("Protection is suspended. `keyhaven resume` resumes it.");
        Ok(Exit::Done)
    }
}
