//! `keyhaven resume`: takes the open key of a drive away.

use clap::Parser;
use keyhaven_fve::edit::{EditError, Unrenewable};

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::randomness;
use crate::unlocking::UnlockArgs;
use crate::windows::{self, Computer, Live, State};

pub(super) const VERB: Verb = Verb::of::<Resume>();

/// Resume the protection of a drive that was suspended
///
/// Whoever copied the drive's metadata while protection was suspended has its master key: `--new-master-key` puts another
/// in its place. Passwords and recovery keys stay the same.
#[derive(Parser)]
#[command(name = "resume")]
struct Resume {
    #[command(flatten)]
    drive: DriveArgs,

    /// Put another master key in the place of the one that lay open
    #[arg(long)]
    new_master_key: bool,

    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl Run for Resume {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let computer = Computer::this();
        if let Some(live) = windows::drive(computer.as_ref(), &self.drive.drive, context)?
            && !(live.told.is_locked() && self.unlock.is_given())
        {
            return self.on_windows(&live, context);
        }
        let drive = self.change.open(&self.drive, context)?;
        if !drive.volume.metadata().is_suspended() {
            context.ui.say("Protection is not suspended.");
            return Ok(Exit::Done);
        }
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let mut edit = changing::begin(&drive.volume, &unlocked)?;
        match edit.resume() {
            Ok(()) | Err(EditError::NotSuspended) => {}
            Err(error) => return Err(changing::refusal(&error)),
        }
        let mut steps = vec!["take away the key that lies open".to_owned()];
        if self.new_master_key {
            steps.push("put another master key in the place of the present one".to_owned());
            edit.rotate_vmk(Unrenewable::Refuse, &mut randomness::of_the_system)
                .map_err(|error| changing::refusal(&error))?;
        }
        if !self.change.agree(&drive.name, &steps, context)? {
            return Ok(Exit::Done);
        }
        changing::commit(&drive, edit, context)?;
        context.ui.say("Protection is on again.");
        Ok(Exit::Done)
    }
}

impl Resume {
    /// Has Windows resume it.
    fn on_windows(&self, live: &Live<'_>, context: &Context) -> Result<Exit, CliError> {
        live.check_unlocked()?;
        if self.new_master_key {
            return Err(CliError::could_not(
                "Windows does not put another master key in the place of a drive's, and it has this one unlocked",
            )
            .hint("leave out `--new-master-key`"));
        }
        if !matches!(live.told.state, State::Suspended { .. }) {
            context.ui.say("Protection is not suspended.");
            return Ok(Exit::Done);
        }
        let step = "take away the key that lies open".to_owned();
        if !self.change.agree(live.name(), &[step], context)? {
            return Ok(Exit::Done);
        }
        live.volume
            .enable_key_protectors()
            .map_err(|error| windows::refusal(&error))?;
        context
            .ui
            .say(&format!("Protection of {} is on again.", live.name()));
        Ok(Exit::Done)
    }
}
