//! `keyhaven backup` on the PC that holds the keys: every drive that Windows has unlocked, at once.

use std::path::Path;

use jiff::Timestamp;
use keyhaven_backup::destination::UsbDestination;
use keyhaven_backup::place::{Place, WindowsPlace};
use keyhaven_backup::receipt::{ProvenBy, Receipt};
use keyhaven_disk::os::Host;
use keyhaven_windows::state::ProtectorType;
use serde::Serialize;

use super::{Answer, Backup, save_packages, wizard};
use crate::advice;
use crate::context::Context;
use crate::depositing::{Deposited, say_proven};
use crate::error::{CliError, Exit};
use crate::windows::{self, Computer, Live, State};

/// The places that Windows saves to itself, as the wizard offers them.
const BY_WINDOWS: &[(WindowsPlace, &str)] = &[
    (
        WindowsPlace::Account,
        "Have Windows save it to your Microsoft account, too",
    ),
    (
        WindowsPlace::Entra,
        "Have Windows save it to your work or school account, too",
    ),
];

/// What `--json` prints where no drive was named.
#[derive(Serialize)]
struct Answers {
    drives: Vec<Answer>,
    /// Encrypted drives of which no key was saved.
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct LeftOut {
    drive: String,
    reason: String,
    hints: Vec<String>,
    #[serde(skip)]
    exit: Exit,
}

impl Backup {
    /// Saves the keys of the drive that was named as Windows names it, or of all drives where none was.
    ///
    /// `None` where the drive is none that Windows has unlocked: it is read as everywhere.
    pub(super) fn on_windows(
        &self,
        computer: &Computer,
        context: &Context,
    ) -> Result<Option<Exit>, CliError> {
        let mut left_out = Vec::new();
        let drives = match &self.drive {
            Some(name) => match computer.drive(name, context)? {
                // With a key it needs no Windows.
                Some(live) if live.told.is_locked() && self.unlock.is_given() => return Ok(None),
                Some(live) => vec![live],
                None => return Ok(None),
            },
            None => all(computer, &mut left_out, context)?,
        };
        self.save_all(computer, drives, left_out, context).map(Some)
    }

    fn save_all(
        &self,
        computer: &Computer,
        drives: Vec<Live<'_>>,
        mut left_out: Vec<LeftOut>,
        context: &Context,
    ) -> Result<Exit, CliError> {
        let mut ready = Vec::new();
        for live in drives {
            let name = live.name().to_owned();
            match self.check(&live, context) {
                Ok(()) => ready.push(live),
                Err(error) if self.drive.is_some() || error.exit() == Exit::Stopped => return Err(error),
                Err(error) => left_out.push(LeftOut::of(name, &error)),
            }
        }
        if ready.is_empty() && left_out.is_empty() {
            return Err(CliError::no(
                "no drive of this computer is encrypted with BitLocker: there is no recovery key to save",
            ));
        }
        let names: Vec<String> = ready.iter().map(|live| live.name().to_owned()).collect();
        let check = |place: &Place| {
            names
                .iter()
                .try_for_each(|name| self.places.check(place, Path::new(name), context))
        };
        let is_wizard = self.places.places.is_empty();
        let places = if ready.is_empty() {
            Vec::new()
        } else if is_wizard {
            wizard::choose_places(context, &names, BY_WINDOWS, &mut |place| check(place))?
        } else {
            let places = self.places.parse()?;
            places.iter().try_for_each(check)?;
            if self.save_startup_key && !places.iter().any(|place| matches!(place, Place::Usb(_))) {
                return Err(CliError::could_not(
                    "startup keys are saved to `usb` places only, and none was given",
                )
                .hint("add `--to usb`, or leave out `--save-startup-key`"));
            }
            places
        };
        let mut answers = Vec::new();
        let mut exits = Vec::new();
        for live in ready {
            context.interrupt.check()?;
            let name = live.name().to_owned();
            match self.save_one(computer, live, &places, context) {
                Ok((answer, exit)) => {
                    answers.push(answer);
                    exits.push(exit);
                }
                Err(error) if self.drive.is_some() || error.exit() == Exit::Stopped => return Err(error),
                Err(error) => left_out.push(LeftOut::of(name, &error)),
            }
        }
        if worst(&exits) == Exit::Done {
            say_proven(answers.iter().flat_map(|answer| &answer.receipts), context);
        }
        if is_wizard && answers.iter().any(|answer| !answer.receipts.is_empty()) {
            wizard::say_goodbye(context);
        }
        // Last, so that it is what is seen.
        for left_out in &left_out {
            left_out.tell(context);
        }
        exits.extend(left_out.iter().map(|left_out| left_out.exit));
        if context.ui.is_json() {
            match (self.drive.is_some(), answers.pop()) {
                (true, Some(answer)) => context.ui.json(&answer)?,
                (_, last) => {
                    answers.extend(last);
                    context.ui.json(&Answers {
                        drives: answers,
                        left_out,
                    })?;
                }
            }
        }
        Ok(worst(&exits))
    }

    /// Says why nothing can be saved of a drive, before anything is.
    fn check(&self, live: &Live<'_>, context: &Context) -> Result<(), CliError> {
        let name = live.name();
        if !live.told.is_encrypted() {
            return Err(CliError::no(format!(
                "{name} is not encrypted: there is no recovery key to save"
            )));
        }
        if live.told.is_locked() {
            return Err(CliError::no(format!(
                "{name} is locked, so Windows does not give out its recovery key"
            ))
            .hint(format!(
                "unlock it (`keyhaven unlock {name}`), and save its key then"
            ))
            .hint(format!(
                "or save it with what opens it: `keyhaven backup {name}` with {}",
                advice::options_among(&live.told.protectors_as_on_the_drive()).join(", ")
            )));
        }
        if self.key_package && live.beneath.is_none() {
            return Err(windows::no_package(live));
        }
        if self.has_something_to_save(live) || self.add_recovery_key {
            return Ok(());
        }
        let question = format!("{name} has no recovery key. Add one, and save it?");
        if context.ui.is_interactive() && !context.ui.is_json() && context.ui.confirm(&question)? {
            return Ok(());
        }
        Err(
            CliError::no(format!("{name} has no recovery key: nobody ever added one"))
                .hint("`--add-recovery-key` adds one, and saves it"),
        )
    }

    fn has_something_to_save(&self, live: &Live<'_>) -> bool {
        let is_wanted = |kind| {
            kind == ProtectorType::NumericalPassword
                || (kind == ProtectorType::ExternalKey && self.save_startup_key)
        };
        live.told
            .protectors
            .iter()
            .any(|protector| is_wanted(protector.kind))
    }

    /// Saves the keys of a drive, after adding one where there is none.
    fn save_one(
        &self,
        computer: &Computer,
        mut live: Live<'_>,
        places: &[Place],
        context: &Context,
    ) -> Result<(Answer, Exit), CliError> {
        context.ui.say(&live.told.title());
        match live.told.state {
            State::On => {}
            state => context.ui.say(&format!(
                "  it is {}; its recovery key is saved all the same",
                state.to_text()
            )),
        }
        let has_recovery_key = live.told.recovery_keys().next().is_some();
        if !has_recovery_key && (self.add_recovery_key || !self.has_something_to_save(&live)) {
            let id = live
                .volume
                .protect_key_with_numerical_password(None, None)
                .map_err(|error| windows::refusal(&error))?;
            context
                .ui
                .say(&format!("  added a recovery key with the key ID {}", id.key_id()));
            live = live.again(computer, context)?;
        }
        let mut deposited = if live.told.recovery_keys().next().is_some() {
            windows::save(&live, None, &self.places, places, context)?
        } else {
            Deposited::nothing()
        };
        if self.save_startup_key {
            for place in places {
                // Where the stick is none, that was said already.
                if let Place::Usb(mount) = place
                    && deposited.failures.is_empty()
                {
                    save_startup_keys(&live, mount.as_deref(), &mut deposited, context)?;
                }
            }
        }
        let key_packages = if self.key_package {
            let (unlocked, records) = windows::unlock_beneath(&live)?;
            save_packages(&unlocked, &records, &deposited.receipts, context)?
        } else {
            Vec::new()
        };
        if deposited.receipts.is_empty() && deposited.failures.is_empty() {
            return Err(CliError::could_not(format!(
                "nothing of {} was saved: startup keys go to `usb` places only",
                live.name()
            )));
        }
        let exit = deposited.exit();
        let answer = Answer {
            drive: live.name().to_owned(),
            volume_id: live.volume_id()?.to_string(),
            receipts: deposited.receipts,
            failures: deposited.failures,
            recovery_keys: deposited.recovery_keys,
            key_packages,
            differences: live.differences,
        };
        Ok((answer, exit))
    }
}

/// Asks for all encrypted drives; what Windows says nothing about is left out, and said.
fn all<'c>(
    computer: &'c Computer,
    left_out: &mut Vec<LeftOut>,
    context: &Context,
) -> Result<Vec<Live<'c>>, CliError> {
    let mut drives = Vec::new();
    for volume in computer.volumes().map_err(|error| windows::refusal(&error))? {
        context.interrupt.check()?;
        let name = volume.name().to_owned();
        match Live::of(volume, computer, context) {
            Ok(live) if live.told.is_encrypted() => drives.push(live),
            Ok(_) => {}
            Err(error) => left_out.push(LeftOut::of(name, &error)),
        }
    }
    Ok(drives)
}

/// Has Windows write the startup keys to a stick, named and hidden as it wants them.
fn save_startup_keys(
    live: &Live<'_>,
    mount: Option<&Path>,
    deposited: &mut Deposited,
    context: &Context,
) -> Result<(), CliError> {
    let stick = UsbDestination::find(&Host::system(), mount.map(Path::to_owned), true)
        .map_err(|error| CliError::could_not("cannot use a removable drive").because(&error))?;
    for key in windows::save_startup_keys(&live.volume, stick.mount_point())? {
        let receipt = Receipt {
            place: format!("usb:{}", stick.mount_point().display()),
            path: Some(key.path.display().to_string()),
            protector_id: key.protector_id,
            saved_at: Timestamp::now(),
            proven: key.proven,
            proven_by: key.proven.then_some(ProvenBy::Windows),
            already_saved: false,
            note: (!key.proven).then(|| "Windows does not read the same key out of it".to_owned()),
        };
        deposited.add(receipt, context);
    }
    Ok(())
}

/// Returns the exit code that says the worst of several.
fn worst(exits: &[Exit]) -> Exit {
    if exits.contains(&Exit::CouldNot) {
        Exit::CouldNot
    } else if exits.contains(&Exit::No) {
        Exit::No
    } else {
        Exit::Done
    }
}

impl LeftOut {
    fn of(drive: String, error: &CliError) -> Self {
        Self {
            drive,
            reason: error.message().to_owned(),
            hints: error.hints().to_vec(),
            exit: error.exit(),
        }
    }

    fn tell(&self, context: &Context) {
        if context.ui.is_json() {
            return;
        }
        context.ui.warn(&format!("NOT SAVED: {}", self.reason));
        for hint in &self.hints {
            context.ui.say(&format!("hint: {hint}"));
        }
    }
}
