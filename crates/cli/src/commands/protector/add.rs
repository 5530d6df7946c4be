//! `keyhaven protector add`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use jiff::Timestamp;
use keyhaven_backup::destination::{FileDestination, SaveContext, save_and_prove};
use keyhaven_backup::place::Place;
use keyhaven_backup::receipt::Receipt;
use keyhaven_crypto::SecretText;
use keyhaven_fve::create::NewProtector;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{Password, RecoveryPassword};
use keyhaven_fve::{Credential, Guid, RecoveryRecord, Volume};
use keyhaven_windows::state::ProtectorType;
use serde::Serialize;

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::depositing::{Deposit, PlaceArgs, known_places};
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::unlocking::UnlockArgs;
use crate::windows::{self, Computer, Live};
use crate::{new_password, randomness};

pub(super) const VERB: Verb = Verb::of::<Add>();

/// Add a way to unlock a drive
///
/// A new recovery key is saved to every place and proven before anything on the drive is changed.
#[derive(Parser)]
#[command(name = "add")]
struct Add {
    #[command(flatten)]
    drive: DriveArgs,

    #[command(flatten)]
    new: New,

    #[command(flatten)]
    places: PlaceArgs,

    /// Add the recovery key without saving it anywhere: `keyhaven backup` can still do that
    #[arg(long, conflicts_with = "places", requires = "new_recovery_key")]
    no_backup: bool,

    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// What is added: one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct New {
    /// A password: from a SOURCE, or asked for
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true)]
    new_password: Option<Option<OsString>>,

    /// A new recovery key, which is made for you
    #[arg(long)]
    new_recovery_key: bool,

    /// A new startup key, whose file (.BEK) is written to this folder
    #[arg(long, value_name = "FOLDER")]
    new_startup_key: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer {
    drive: String,
    volume_id: String,
    protector_id: String,
    kind: String,
    receipts: Vec<Receipt>,
    /// The file of a startup key.
    path: Option<PathBuf>,
}

impl Run for Add {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let places = self.places.parse()?;
        if self.new.new_recovery_key && places.is_empty() && !self.no_backup {
            return Err(
                CliError::could_not("no place to save the new recovery key to was given")
                    .hint(known_places())
                    .hint("`--no-backup` adds it without saving it"),
            );
        }
        if !self.new.new_recovery_key && !places.is_empty() {
            return Err(CliError::could_not("only a recovery key is saved to places")
                .hint("`--to` goes with `--new-recovery-key`"));
        }
        if let Some(folder) = self
            .new
            .new_startup_key
            .as_ref()
            .filter(|folder| !folder.is_dir())
        {
            return Err(CliError::could_not(format!(
                "there is no folder `{}` for the startup key",
                folder.display()
            )));
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
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let mut edit = changing::begin(&drive.volume, &unlocked)?;
        if !self.change.agree(&drive.name, &self.steps(), context)? {
            return Ok(Exit::Done);
        }
        let refused = |error| changing::refusal(&error);
        let (new, password) = if self.new.new_recovery_key {
            let key = RecoveryPassword::generate(&mut randomness::of_the_system)
                .map_err(|error| CliError::could_not("no randomness for a key").because(&error))?;
            (NewProtector::RecoveryPassword(key), None)
        } else if self.new.new_startup_key.is_some() {
            (NewProtector::ExternalKey, None)
        } else {
            let source = self.new.new_password.as_ref().and_then(Option::as_ref);
            let text = new_password::read(source, context)?;
            let again = Password::new(SecretText::copy_of(text.expose_secret()));
            (NewProtector::Password(Password::new(text)), Some(again))
        };
        let mut added = edit.add(new, &mut randomness::of_the_system).map_err(refused)?;
        let sealed = edit.seal().map_err(refused)?;
        let preview = sealed
            .preview(&drive.volume)
            .map_err(|error| CliError::could_not("the drive cannot be read").because(&error))?;

        let mut receipts = Vec::new();
        let mut path = None;
        if let Some(password) = password {
            preview
                .prove_protector(&Credential::Password(password), added.id)
                .map_err(|error| {
                    CliError::could_not("the new password would not open the drive").because(&error)
                })?;
        } else if let Some(folder) = &self.new.new_startup_key {
            let records: Vec<_> = added.record.take().into_iter().collect();
            path = Some(save_startup_key(&records, folder, &preview)?);
        } else {
            let records: Vec<_> = added.record.take().into_iter().collect();
            let deposit = Deposit {
                drive_name: &drive.name,
                volume: &preview,
                records: &records,
                with_startup_keys: false,
            };
            let deposited = self.places.save(&deposit, &places, context)?;
            if deposited.exit() != Exit::Done {
                return Err(CliError::could_not(
                    "the new recovery key was not added: it could not be saved and proven everywhere",
                )
                .hint("nothing on the drive was changed; what was saved of the new key opens nothing"));
            }
            receipts = deposited.receipts;
        }
        changing::commit_sealed(&drive, &sealed, context)?;
        let answer = Answer {
            drive: drive.name.clone(),
            volume_id: drive.volume.metadata().volume_id().to_string(),
            protector_id: added.id.to_string(),
            kind: added.kind.json_name(),
            receipts,
            path,
        };
        answer.tell(&added.kind.to_string(), added.id, context)
    }
}

impl Answer {
    fn tell(&self, title: &str, id: Guid, context: &Context) -> Result<Exit, CliError> {
        if context.ui.is_json() {
            context.ui.json(self)?;
            return Ok(Exit::Done);
        }
        context
            .ui
            .say(&format!("Added: {title} with the ID {}.", id.key_id()));
        if let Some(path) = &self.path {
            context.ui.say(&format!("Its key file is `{}`.", path.display()));
        }
        Ok(Exit::Done)
    }
}

impl Add {
    /// Has Windows add it; what cannot be saved and proven is taken away again.
    fn on_windows(
        &self,
        live: Live<'_>,
        computer: &Computer,
        places: &[Place],
        context: &Context,
    ) -> Result<Exit, CliError> {
        live.check_unlocked()?;
        for place in places {
            self.places.check(place, Path::new(live.name()), context)?;
        }
        self.places.refuse_unprovable(places)?;
        if !self.change.agree(live.name(), &self.steps(), context)? {
            return Ok(Exit::Done);
        }
        let refused = |error| windows::refusal(&error);
        let (id, kind, receipts, path, live) = if self.new.new_recovery_key {
            let id = live
                .volume
                .protect_key_with_numerical_password(None, None)
                .map_err(refused)?;
            let live = live.again(computer, context)?;
            let receipts = if places.is_empty() {
                Vec::new()
            } else {
                let saved = windows::save(&live, Some(id), &self.places, places, context);
                match saved {
                    Ok(deposited) if deposited.exit() == Exit::Done => {
                        deposited.say_proven(context);
                        deposited.receipts
                    }
                    _ => return Err(take_away(&live, id, "recovery key", saved.err())),
                }
            };
            (id, ProtectorType::NumericalPassword, receipts, None, live)
        } else if let Some(folder) = &self.new.new_startup_key {
            let id = live
                .volume
                .protect_key_with_external_key(None, None)
                .map_err(refused)?;
            let path = match windows::save_startup_key(&live.volume, id, folder) {
                Ok(saved) if saved.proven => saved.path,
                saved => return Err(take_away(&live, id, "startup key", saved.err())),
            };
            (id, ProtectorType::ExternalKey, Vec::new(), Some(path), live)
        } else {
            let source = self.new.new_password.as_ref().and_then(Option::as_ref);
            let text = new_password::read(source, context)?;
            let id = live
                .volume
                .protect_key_with_pass_phrase(None, text)
                .map_err(refused)?;
            (id, ProtectorType::Passphrase, Vec::new(), None, live)
        };
        let answer = Answer {
            drive: live.name().to_owned(),
            volume_id: live.volume_id()?.to_string(),
            protector_id: id.to_string(),
            kind: kind.json_name(),
            receipts,
            path,
        };
        answer.tell(kind.title(), id, context)
    }

    fn steps(&self) -> Vec<String> {
        let what = if self.new.new_recovery_key && self.no_backup {
            "add a new recovery key, WITHOUT saving it anywhere".to_owned()
        } else if self.new.new_recovery_key {
            format!(
                "add a new recovery key, saved to {}",
                self.places.places.join(", ")
            )
        } else if let Some(folder) = &self.new.new_startup_key {
            format!(
                "add a startup key, whose file is written to `{}`",
                folder.display()
            )
        } else {
            "add a password".to_owned()
        };
        vec![what]
    }
}

/// Takes a protector away again that could not be saved and proven; returns the error that says so.
fn take_away(live: &Live<'_>, id: Guid, what: &str, why: Option<CliError>) -> CliError {
    let message = match why {
        Some(error) => format!(
            "the new {what} was not added: it could not be saved and proven everywhere: {}",
            error.message()
        ),
        None => format!("the new {what} was not added: it could not be saved and proven everywhere"),
    };
    match live.volume.delete_key_protector(id) {
        Ok(()) => CliError::could_not(message)
            .hint("the drive is as it was before; what was saved of the new key opens nothing"),
        Err(error) => windows::refusal(&error).hint(format!(
            "the new {what} with the ID {} is on the drive, and not saved everywhere: `keyhaven protector remove {} {}`",
            id.key_id(),
            live.name(),
            id.key_id()
        )),
    }
}

/// Writes a key file, reads it back, and proves that it opens the drive as it will be.
fn save_startup_key(
    records: &[RecoveryRecord],
    folder: &Path,
    preview: &Volume,
) -> Result<PathBuf, CliError> {
    let not_saved = || {
        CliError::could_not(format!(
            "the startup key could not be saved in `{}`, so it was not added",
            folder.display()
        ))
    };
    let now = Timestamp::now();
    let save = SaveContext {
        drive: String::new(),
        saved_on: String::new(),
        saved_at: FileTime::from_timestamp(now),
    };
    let destination = FileDestination::new(folder.to_owned()).with_startup_keys();
    let copies =
        save_and_prove(&destination, records, preview, &save).map_err(|error| not_saved().because(&error))?;
    match copies.into_iter().next() {
        Some(copy) if copy.is_proven() => copy.saved.path.ok_or_else(not_saved),
        Some(copy) => Err(not_saved().hint(copy.problem.unwrap_or_default())),
        None => Err(not_saved()),
    }
}
