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
use crate::windows::{self, Computer, Live, State};

pub(super) const VERB: Verb = Verb::of::<Suspend>();

/// Suspend the protection of a drive: anyone can read it until `resume`
///
/// The data stay encrypted, but the key to them lies open on the drive.
#[derive(Parser)]
#[command(name = "suspend")]
struct Suspend {
    #[command(flatten)]
    drive: DriveArgs,

    /// Resume by itself after this many restarts of Windows, 1 to 15; Windows alone counts them, for its own drive
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=15))]
    restarts: Option<u32>,

    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl Run for Suspend {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let computer = Computer::this();
        if let Some(live) = windows::drive(computer.as_ref(), &self.drive.drive, context)?
            && !(live.told.is_locked() && self.unlock.is_given())
        {
            return self.on_windows(&live, context);
        }
        if self.restarts.is_some() {
            return Err(CliError::could_not(
                "nobody counts restarts for a drive that no running Windows has unlocked",
            )
            .hint("without `--restarts`, protection is suspended until `keyhaven resume`"));
        }
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

impl Suspend {
    /// Has Windows suspend it.
    fn on_windows(&self, live: &Live<'_>, context: &Context) -> Result<Exit, CliError> {
        live.check_unlocked()?;
        if matches!(live.told.state, State::Suspended { .. }) && self.restarts.is_none() {
            context.ui.say("Protection is suspended already.");
            return Ok(Exit::Done);
        }
        let until = match self.restarts {
            Some(1) => "the next restart".to_owned(),
            Some(restarts) => format!("{restarts} restarts have passed"),
            None => "`keyhaven resume`".to_owned(),
        };
        let step = format!("leave its key lying open: anyone can read the drive until {until}");
        if !self.change.agree(live.name(), &[step], context)? {
            return Ok(Exit::Done);
        }
        // Left out, Windows takes it for one restart.
        live.volume
            .disable_key_protectors(Some(self.restarts.unwrap_or(0)))
            .map_err(|error| windows::refusal(&error))?;
        context.ui.say(&format!(
            "Protection of {} is suspended until {until}.",
            live.name()
        ));
        Ok(Exit::Done)
    }
}
