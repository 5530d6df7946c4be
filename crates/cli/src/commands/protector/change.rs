//! `keyhaven protector change`: another password.

use std::ffi::OsString;

use clap::Parser;
use keyhaven_crypto::SecretText;
use keyhaven_fve::keys::Password;
use keyhaven_fve::{Credential, Guid, ProtectorKind, Volume};
use keyhaven_windows::state::ProtectorType;

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::unlocking::UnlockArgs;
use crate::windows::{self, Computer, Live};
use crate::{new_password, randomness};

pub(super) const VERB: Verb = Verb::of::<Change>();

/// Change the password of a drive
///
/// The old password is not needed where the drive is unlocked in another way. For another recovery key there is `keyhaven
/// rotate`.
#[derive(Parser)]
#[command(name = "change")]
struct Change {
    #[command(flatten)]
    drive: DriveArgs,

    /// The ID of the password to change, or its beginning; only needed where there are several
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// The new password: from a SOURCE, or asked for
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true)]
    new_password: Option<Option<OsString>>,

    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl Run for Change {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let computer = Computer::this();
        if let Some(live) = windows::drive(computer.as_ref(), &self.drive.drive, context)?
            && !(live.told.is_locked() && self.unlock.is_given())
        {
            return self.on_windows(&live, context);
        }
        let drive = self.change.open(&self.drive, context)?;
        let id = password_of(&drive.volume, self.id.as_deref())?;
        let name = changing::name_of(&drive.volume, id);
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let mut edit = changing::begin(&drive.volume, &unlocked)?;
        if !self.change.agree(
            &drive.name,
            &[format!("put a new password in the place of {name}")],
            context,
        )? {
            return Ok(Exit::Done);
        }
        let source = self.new_password.as_ref().and_then(Option::as_ref);
        let text = new_password::read(source, context)?;
        let again = Password::new(SecretText::copy_of(text.expose_secret()));
        let added = edit
            .change_password(id, Password::new(text), &mut randomness::of_the_system)
            .map_err(|error| changing::refusal(&error))?;
        let volume = changing::commit(&drive, edit, context)?;
        volume
            .prove_protector(&Credential::Password(again), added.id)
            .map_err(|error| {
                CliError::could_not("the new password was set, but does not open the drive").because(&error)
            })?;
        context.ui.say("The new password was set, and opens the drive.");
        changing::say_old_metadata_remain(context);
        Ok(Exit::Done)
    }
}

impl Change {
    /// Has Windows put another password in the place of one.
    fn on_windows(&self, live: &Live<'_>, context: &Context) -> Result<Exit, CliError> {
        live.check_unlocked()?;
        let ways = live.told.ways();
        let id = match &self.id {
            Some(named) => ways.find(named)?,
            None => only_one(
                live.told
                    .protectors
                    .iter()
                    .filter(|own| own.kind == ProtectorType::Passphrase)
                    .map(|own| own.id),
            )?,
        };
        let step = format!("put a new password in the place of {}", ways.name_of(id));
        if !self.change.agree(live.name(), &[step], context)? {
            return Ok(Exit::Done);
        }
        let source = self.new_password.as_ref().and_then(Option::as_ref);
        let text = new_password::read(source, context)?;
        live.volume
            .change_pass_phrase(id, text)
            .map_err(|error| windows::refusal(&error))?;
        context.ui.say("Windows has set the new password.");
        Ok(Exit::Done)
    }
}

/// Finds the password that is meant.
fn password_of(volume: &Volume, named: Option<&str>) -> Result<Guid, CliError> {
    if let Some(named) = named {
        return changing::find_protector(volume, named);
    }
    let protectors = volume.metadata().protectors();
    only_one(
        protectors
            .iter()
            .filter(|own| own.kind() == ProtectorKind::Password)
            .map(|own| own.id()),
    )
}

/// Takes the only password.
fn only_one(passwords: impl Iterator<Item = Guid>) -> Result<Guid, CliError> {
    let passwords: Vec<Guid> = passwords.collect();
    match passwords.as_slice() {
        [only] => Ok(*only),
        [] => Err(CliError::could_not("this drive has no password to change")
            .hint("`keyhaven protector add DRIVE --new-password` adds one")),
        several => {
            let said = CliError::could_not("this drive has several passwords: name the one to change");
            Err(several.iter().fold(said, |said, id| said.hint(id.to_string())))
        }
    }
}
