//! `keyhaven rotate` on a drive that Windows has unlocked.

use std::path::Path;

use jiff::Timestamp;
use keyhaven_backup::place::Place;
use keyhaven_fve::Guid;

use super::{Answer, Keys, Note, Rotate};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::windows::{self, Computer, Live};

impl Rotate {
    /// Adds a new recovery key, saves and proves it, and only then removes the old one; nothing else is touched.
    pub(super) fn on_windows(
        &self,
        live: Live<'_>,
        computer: &Computer,
        places: &[Place],
        context: &Context,
    ) -> Result<Exit, CliError> {
        live.check_unlocked()?;
        if self.new_master_key {
            return Err(CliError::could_not(
                "Windows does not put another master key in the place of a drive's, and it has this one unlocked",
            )
            .hint("leave out `--new-master-key`"));
        }
        for place in places {
            self.places.check(place, Path::new(live.name()), context)?;
        }
        self.places.refuse_unprovable(places)?;
        let note = Note::of(live.volume_id()?);
        let keys = Keys {
            recovery_keys: live.told.recovery_keys().map(|key| key.id).collect(),
            ways: live.told.ways(),
        };
        let plan = self.plan(&keys, note.read(context).as_ref())?;
        if !self
            .change
            .agree(live.name(), &self.steps(&keys.ways, &plan), context)?
        {
            return Ok(Exit::Done);
        }
        let new = match plan.new {
            Some(new) => new,
            None => add(&live, &plan.old, &note)?,
        };
        let live = live.again(computer, context)?;
        let both = "both open the drive now; run it again to go on, with places that can be read back";
        let deposited = windows::save(&live, Some(new), &self.places, places, context)
            .map_err(|error| error.hint(both))?;
        deposited.say_proven(context);
        if deposited.exit() != Exit::Done {
            return Err(CliError::could_not(
                "the old recovery key was not removed: the new one could not be saved and proven everywhere",
            )
            .hint(both));
        }
        context.interrupt.check()?;
        let present: Vec<Guid> = live.told.recovery_keys().map(|key| key.id).collect();
        let old: Vec<Guid> = plan.old.into_iter().filter(|id| present.contains(id)).collect();
        for id in &old {
            live.volume
                .delete_key_protector(*id)
                .map_err(|error| windows::refusal(&error).hint(both))?;
        }
        note.forget(context);
        let answer = Answer {
            drive: live.name().to_owned(),
            volume_id: live.volume_id()?.to_string(),
            new_protector_id: new.to_string(),
            removed_protector_ids: old.iter().map(Guid::to_string).collect(),
            new_master_key: false,
            receipts: deposited.receipts,
        };
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        } else {
            let ids: Vec<String> = old.iter().map(|id| id.key_id()).collect();
            context.ui.say(&format!(
                "The recovery key of {} is now the one with the key ID {}. Removed: {}.",
                live.name(),
                new.key_id(),
                ids.join(", ")
            ));
        }
        Ok(Exit::Done)
    }
}

/// Has Windows add a recovery key, and notes that it is the new one.
fn add(live: &Live<'_>, old: &[Guid], note: &Note) -> Result<Guid, CliError> {
    // Windows chooses the identifier. That the note can be written is tried before.
    note.write(Guid::ZERO, old, Timestamp::now())?;
    let new = live
        .volume
        .protect_key_with_numerical_password(None, None)
        .map_err(|error| windows::refusal(&error))?;
    match note.write(new, old, Timestamp::now()) {
        Ok(()) => Ok(new),
        Err(error) => {
            // As it was: a second key of which nobody knows which is the new one helps nobody.
            live.volume
                .delete_key_protector(new)
                .map_err(|error| windows::refusal(&error))?;
            Err(error)
        }
    }
}
