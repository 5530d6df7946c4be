//! `keyhaven rotate`: a new recovery key, saved and proven, and then the old one removed.

mod note;
mod on_windows;

use clap::Parser;
use jiff::Timestamp;
use keyhaven_backup::place::Place;
use keyhaven_backup::receipt::Receipt;
use keyhaven_fve::create::NewProtector;
use keyhaven_fve::edit::Unrenewable;
use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{Guid, ProtectorKind, RecoveryRecord, Unlocked, Volume};
use serde::Serialize;

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs, Ways};
use crate::context::Context;
use crate::depositing::{Deposit, PlaceArgs, known_places};
use crate::drive::{Drive, DriveArgs};
use crate::error::{CliError, Exit};
use crate::randomness;
use crate::unlocking::UnlockArgs;
use crate::windows::{self, Computer};

use note::Note;

pub(super) const VERB: Verb = Verb::of::<Rotate>();

/// Give a drive a new recovery key, save and prove it, and only then remove the old one
///
/// Other ways to unlock stay as they are. If it is interrupted, the drive opens with the old key, the new one, or both;
/// run it again with the same places, and it goes on where it was.
#[derive(Parser)]
#[command(name = "rotate")]
struct Rotate {
    #[command(flatten)]
    drive: DriveArgs,

    #[command(flatten)]
    places: PlaceArgs,

    /// Remove this recovery key, given by its ID or the beginning of it; only needed where there are several
    #[arg(long, value_name = "ID")]
    replace: Option<String>,

    /// Put another master key in the place of the drive's, too
    ///
    /// Whoever had the old master key, or saved metadata and an old key, then no longer opens what this drive has.
    #[arg(long)]
    new_master_key: bool,

    /// With `--new-master-key`, remove ways to unlock that need a TPM or card: only Windows can make them anew
    #[arg(long, requires = "new_master_key")]
    remove_tpm: bool,

    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Serialize)]
struct Answer {
    drive: String,
    volume_id: String,
    new_protector_id: String,
    removed_protector_ids: Vec<String>,
    new_master_key: bool,
    receipts: Vec<Receipt>,
}

/// What is to be done.
struct Plan {
    /// The new recovery key, where an interrupted run has added it already.
    new: Option<Guid>,
    /// The old ones.
    old: Vec<Guid>,
}

/// The keys of a drive, to choose among.
struct Keys {
    recovery_keys: Vec<Guid>,
    ways: Ways,
}

impl Keys {
    fn of(volume: &Volume) -> Self {
        let protectors = volume.metadata().protectors();
        let recovery_keys = protectors
            .iter()
            .filter(|own| own.kind() == ProtectorKind::RecoveryPassword);
        Self {
            recovery_keys: recovery_keys.map(|own| own.id()).collect(),
            ways: Ways::of(volume),
        }
    }
}

impl Run for Rotate {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let places = self.places.parse()?;
        if !places.iter().any(|place| *place != Place::Stdout) {
            return Err(
                CliError::could_not("no place to save the new recovery key to was given")
                    .hint(known_places()),
            );
        }
        let computer = Computer::this();
        if let Some(live) = windows::drive(computer.as_ref(), &self.drive.drive, context)?
            && let Some(computer) = &computer
            && !(live.told.is_locked() && self.unlock.is_given())
        {
            return self.on_windows(live, computer, &places, context);
        }
        let drive = self.change.open(&self.drive, context)?;
        for place in &places {
            self.places.check(place, &self.drive.path(), context)?;
        }
        let note = Note::of(drive.volume.metadata().volume_id());
        let plan = self.plan(&Keys::of(&drive.volume), note.read(context).as_ref())?;
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        // What cannot be done in the end is told before anything is.
        self.finish(&drive.volume, &unlocked, &plan)?;
        if !self
            .change
            .agree(&drive.name, &self.steps(&Ways::of(&drive.volume), &plan), context)?
        {
            return Ok(Exit::Done);
        }

        let (volume, new) = match plan.new {
            Some(new) => (changing::reopen(&drive)?, new),
            None => add(&drive, &unlocked, &plan, &note, context)?,
        };
        let unlocked = changing::unlock_again(&volume, &unlocked)?;
        let records: Vec<RecoveryRecord> = volume
            .records(&unlocked)
            .into_iter()
            .filter(|record| record.protector_id == new)
            .collect();
        let deposit = Deposit {
            drive_name: &drive.name,
            volume: &volume,
            records: &records,
            with_startup_keys: false,
        };
        let deposited = self.places.save(&deposit, &places, context)?;
        if records.is_empty() || deposited.exit() != Exit::Done {
            return Err(CliError::could_not(
                "the old recovery key was not removed: the new one could not be saved and proven everywhere",
            )
            .hint("both open the drive now; run it again to go on, with places that can be read back"));
        }

        let mut edit = changing::begin(&volume, &unlocked)?;
        let present: Vec<Guid> = edit.protectors().iter().map(|own| own.id()).collect();
        let old: Vec<Guid> = plan
            .old
            .iter()
            .copied()
            .filter(|id| present.contains(id))
            .collect();
        for id in &old {
            edit.remove(*id).map_err(|error| changing::refusal(&error))?;
        }
        let mut removed = old;
        if self.new_master_key {
            let gone = edit
                .rotate_vmk(self.unrenewable(), &mut randomness::of_the_system)
                .map_err(|error| changing::refusal(&error))?;
            removed.extend(gone.into_iter().map(|(id, _)| id));
        }
        let current = Drive {
            name: drive.name.clone(),
            volume,
            writable: drive.writable.clone(),
            container: drive.container.clone(),
        };
        changing::commit(&current, edit, context)?;
        note.forget(context);

        let answer = Answer {
            drive: drive.name.clone(),
            volume_id: drive.volume.metadata().volume_id().to_string(),
            new_protector_id: new.to_string(),
            removed_protector_ids: removed.iter().map(Guid::to_string).collect(),
            new_master_key: self.new_master_key,
            receipts: deposited.receipts,
        };
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        } else {
            let ids: Vec<String> = removed.iter().map(|id| id.key_id()).collect();
            context.ui.say(&format!(
                "The recovery key of this drive is now the one with the key ID {}. Removed: {}.",
                new.key_id(),
                ids.join(", ")
            ));
            changing::say_old_metadata_remain(context);
        }
        Ok(Exit::Done)
    }
}

impl Rotate {
    /// Decides which key is the new one and which are old.
    fn plan(&self, keys: &Keys, interrupted: Option<&note::Interrupted>) -> Result<Plan, CliError> {
        let present = &keys.recovery_keys;
        let is_new = |named: &String| {
            interrupted.is_some_and(|note| note.new.to_string().starts_with(&named.to_uppercase()))
        };
        // Who names that key as the old one wants another.
        let interrupted = interrupted.filter(|_| !self.replace.as_ref().is_some_and(is_new));
        if let Some(interrupted) = interrupted.filter(|note| present.contains(&note.new)) {
            return Ok(Plan {
                new: Some(interrupted.new),
                old: interrupted.old.clone(),
            });
        }
        let old = match (&self.replace, present.as_slice()) {
            (Some(named), _) => {
                let id = keys.ways.find(named)?;
                if !present.contains(&id) {
                    return Err(
                        CliError::could_not(format!("{} is no recovery key", keys.ways.name_of(id)))
                            .hint("`keyhaven protector remove` removes other ways to unlock"),
                    );
                }
                id
            }
            (None, [only]) => *only,
            (None, []) => {
                return Err(
                    CliError::could_not("this drive has no recovery key that could be replaced")
                        .hint("`keyhaven protector add DRIVE --new-recovery-key --to PLACE` adds one"),
                );
            }
            (None, several) => {
                let said = CliError::could_not(
                    "this drive has several recovery keys: `--replace` names the old one",
                );
                return Err(several.iter().fold(said, |said, id| said.hint(id.to_string())));
            }
        };
        Ok(Plan {
            new: None,
            old: vec![old],
        })
    }

    /// Tries the last step in memory.
    fn finish(&self, volume: &Volume, unlocked: &Unlocked, plan: &Plan) -> Result<(), CliError> {
        let refused = |error| changing::refusal(&error);
        let mut edit = changing::begin(volume, unlocked)?;
        if plan.new.is_none() {
            // It stands for the new recovery key, without the time that one takes.
            edit.add(NewProtector::ExternalKey, &mut randomness::of_the_system)
                .map_err(refused)?;
        }
        let present: Vec<Guid> = edit.protectors().iter().map(|own| own.id()).collect();
        for id in plan.old.iter().filter(|id| present.contains(id)) {
            edit.remove(*id).map_err(refused)?;
        }
        if self.new_master_key {
            edit.rotate_vmk(self.unrenewable(), &mut randomness::of_the_system)
                .map_err(refused)?;
        }
        edit.seal().map_err(refused).map(|_| ())
    }

    fn unrenewable(&self) -> Unrenewable {
        if self.remove_tpm {
            Unrenewable::Remove
        } else {
            Unrenewable::Refuse
        }
    }

    fn steps(&self, ways: &Ways, plan: &Plan) -> Vec<String> {
        let mut steps = Vec::new();
        let to = self.places.places.join(", ");
        match plan.new {
            None => steps.push("add a new recovery key".to_owned()),
            Some(id) => steps.push(format!(
                "go on with the new recovery key that an interrupted run has added (key ID {})",
                id.key_id()
            )),
        }
        steps.push(format!("save it to {to}, and prove each copy"));
        for id in &plan.old {
            steps.push(format!("then remove {}", ways.name_of(*id)));
        }
        if self.new_master_key {
            steps.push("put another master key in the place of the present one".to_owned());
        }
        steps
    }
}

/// Adds the new key to the drive, noting that it is the new one.
fn add(
    drive: &Drive,
    unlocked: &Unlocked,
    plan: &Plan,
    note: &Note,
    context: &Context,
) -> Result<(Volume, Guid), CliError> {
    let mut edit = changing::begin(&drive.volume, unlocked)?;
    let key = RecoveryPassword::generate(&mut randomness::of_the_system)
        .map_err(|error| CliError::could_not("no randomness for a key").because(&error))?;
    let added = edit
        .add(
            NewProtector::RecoveryPassword(key),
            &mut randomness::of_the_system,
        )
        .map_err(|error| changing::refusal(&error))?;
    note.write(added.id, &plan.old, Timestamp::now())?;
    let volume = changing::commit(drive, edit, context)?;
    Ok((volume, added.id))
}
