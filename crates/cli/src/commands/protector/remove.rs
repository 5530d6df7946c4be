//! `keyhaven protector remove`.

use clap::Parser;
use keyhaven_windows::state::ProtectorType;

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::unlocking::UnlockArgs;
use crate::windows::{self, Computer, Live, State};

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
        let computer = Computer::this();
        if let Some(live) = windows::drive(computer.as_ref(), &self.drive.drive, context)?
            && !(live.told.is_locked() && self.unlock.is_given())
        {
            return self.on_windows(&live, context);
        }
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

impl Remove {
    /// Has Windows remove it, but for the last one that opens the drive wherever it is.
    fn on_windows(&self, live: &Live<'_>, context: &Context) -> Result<Exit, CliError> {
        live.check_unlocked()?;
        let ways = live.told.ways();
        let id = ways.find(&self.id)?;
        let name = ways.name_of(id);
        let opens_anywhere = |kind| {
            matches!(
                kind,
                ProtectorType::NumericalPassword | ProtectorType::ExternalKey | ProtectorType::Passphrase
            )
        };
        let others = live.told.protectors.iter().filter(|own| own.id != id);
        let is_suspended = matches!(live.told.state, State::Suspended { .. });
        if !is_suspended && !others.map(|own| own.kind).any(opens_anywhere) {
            return Err(CliError::could_not(format!(
                "{name} is the last way to unlock {} that works without this computer",
                live.name()
            ))
            .hint("add another one first: `keyhaven protector add`"));
        }
        if !self
            .change
            .agree(live.name(), &[format!("remove {name}")], context)?
        {
            return Ok(Exit::Done);
        }
        live.volume
            .delete_key_protector(id)
            .map_err(|error| windows::refusal(&error))?;
        context.ui.say(&format!("Removed: {name}."));
        Ok(Exit::Done)
    }
}
