//! `keyhaven backup`: saves the recovery key of a drive and proves each copy.

mod on_windows;
mod wizard;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use keyhaven_backup::destination::folder_for;
use keyhaven_backup::place::Place;
use keyhaven_backup::receipt::Receipt;
use keyhaven_fve::{ProtectorKind, RecordKey, RecoveryRecord, Unlocked};
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::depositing::{Deposit, Failure, PlaceArgs, PrintedKey, known_places};
use crate::drive::{Drive, DriveArgs, MetadataArgs};
use crate::error::{CliError, Exit};
use crate::packaging::{self, SavedPackage};
use crate::unlocking::UnlockArgs;
use crate::windows::Computer;

pub(super) const VERB: Verb = Verb::of::<Backup>();

/// Save the recovery key of a drive to one or more places, and prove each copy
///
/// One way to unlock the drive is enough, whichever it is: the recovery key is read out of the drive itself. Every copy
/// is read back and tried on the drive before it counts as saved. Nothing on the drive is changed.
///
/// PLACE is file:PATH (a text file as Windows writes it; a folder, or a file name), usb or usb:MOUNTPOINT (a removable
/// drive), pdf:PATH (a page to print), print or print:PRINTER, vault:PATH (an encrypted file that the `age` tool opens),
/// or stdout. Without a place, at a terminal, you are asked.
///
/// On Windows, a drive that is unlocked needs no key: Windows is asked. Without DRIVE all of them are saved at once, and
/// windows:account, windows:entra and windows:ad have Windows save a key itself, which proves nothing.
#[derive(Parser)]
#[command(name = "backup")]
struct Backup {
    /// A block device, an image file, or a whole disk or disk image, of which `#2` picks the second partition
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,

    /// Save the startup keys of the drive to `usb` places, too, as .BEK files
    #[arg(long)]
    save_startup_key: bool,

    /// Save the key package beside each file with a key, too: it opens the drive when its metadata are destroyed
    #[arg(long)]
    key_package: bool,

    /// Add a recovery key to drives that have none, without asking; only Windows does that here
    #[arg(long)]
    add_recovery_key: bool,

    #[command(flatten)]
    places: PlaceArgs,

    #[command(flatten)]
    metadata: MetadataArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    drive: String,
    volume_id: String,
    receipts: Vec<Receipt>,
    /// Places where nothing could be saved.
    failures: Vec<Failure>,
    /// Only with the place `stdout`, whose purpose it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_keys: Vec<PrintedKey>,
    /// Only with `--key-package`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    key_packages: Vec<SavedPackage>,
    /// In what Windows and the medium differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
}

impl Run for Backup {
    fn run(mut self, context: &Context) -> Result<Exit, CliError> {
        let is_wizard = self.places.places.is_empty();
        if is_wizard && (!context.ui.is_interactive() || context.ui.is_json()) {
            return Err(CliError::could_not("no place to save the key to was given").hint(known_places()));
        }
        let computer = Computer::this();
        if let Some(computer) = &computer
            && let Some(exit) = self.on_windows(computer, context)?
        {
            return Ok(exit);
        }
        let drive_name = match self.drive.take() {
            Some(drive) => drive,
            None if is_wizard => wizard::choose_drive(context)?,
            None => {
                return Err(CliError::could_not("no drive was given")
                    .hint("`keyhaven drives` lists the BitLocker drives of this computer"));
            }
        };
        // Wrong places are told before anybody types a key.
        let mut places = self.places.parse()?;
        let arguments = DriveArgs {
            drive: drive_name,
            metadata: self.metadata.clone(),
        };
        let drive = arguments.open(context)?;
        let drive_path = arguments.path();
        for place in &places {
            self.places.check(place, &drive_path, context)?;
        }
        has_recovery_key(&drive, self.save_startup_key)?;

        if is_wizard {
            wizard::say_hello(context, &drive.name);
        }
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let records = drive.volume.records(&unlocked);
        let keys = records
            .iter()
            .filter(|record| matches!(record.key, RecordKey::RecoveryPassword(_)))
            .count();
        if keys == 0 && !self.save_startup_key {
            return Err(CliError::could_not(
                "the drive is unlocked, but its recovery key cannot be read out of it",
            )
            .hint("its metadata may be damaged: see `keyhaven info`"));
        }
        if is_wizard {
            places = wizard::choose_places(context, std::slice::from_ref(&drive.name), &[], &mut |place| {
                self.places.check(place, &drive_path, context)
            })?;
        }
        let exit = self.save(&drive, &unlocked, &records, &places, context)?;
        if is_wizard && exit == Exit::Done {
            wizard::say_goodbye(context);
        }
        Ok(exit)
    }
}

impl Backup {
    fn save(
        &self,
        drive: &Drive,
        unlocked: &Unlocked,
        records: &[RecoveryRecord],
        places: &[Place],
        context: &Context,
    ) -> Result<Exit, CliError> {
        let deposit = Deposit {
            drive_name: &drive.name,
            volume: &drive.volume,
            records,
            with_startup_keys: self.save_startup_key,
        };
        let deposited = self.places.save(&deposit, places, context)?;
        let exit = deposited.exit();
        let key_packages = if self.key_package {
            save_packages(unlocked, records, &deposited.receipts, context)?
        } else {
            Vec::new()
        };
        if context.ui.is_json() {
            context.ui.json(&Answer {
                drive: drive.name.clone(),
                volume_id: drive.volume.metadata().volume_id().to_string(),
                receipts: deposited.receipts,
                failures: deposited.failures,
                recovery_keys: deposited.recovery_keys,
                key_packages,
                differences: Vec::new(),
            })?;
        }
        Ok(exit)
    }
}

/// Saves the packages of the recovery keys in every folder in which a key was saved.
fn save_packages(
    unlocked: &Unlocked,
    records: &[RecoveryRecord],
    receipts: &[Receipt],
    context: &Context,
) -> Result<Vec<SavedPackage>, CliError> {
    let paths = receipts.iter().filter_map(|receipt| receipt.path.as_deref());
    let folders: BTreeSet<PathBuf> = paths.map(|path| folder_for(Path::new(path))).collect();
    if folders.is_empty() {
        return Err(
            CliError::could_not("the key package is a file, and no key was saved in a folder")
                .hint("add a place such as `--to file:FOLDER`, or use `keyhaven key-package save`"),
        );
    }
    let wanted: Vec<&RecoveryRecord> = records
        .iter()
        .filter(|record| matches!(record.key, RecordKey::RecoveryPassword(_)))
        .collect();
    let mut saved = Vec::new();
    for folder in folders {
        saved.extend(packaging::save(unlocked, &wanted, &folder, context)?);
    }
    Ok(saved)
}

/// Refuses a drive that has nothing to be saved, before anybody unlocks it for that.
fn has_recovery_key(drive: &Drive, startup_keys: bool) -> Result<(), CliError> {
    let protectors = drive.volume.metadata().protectors();
    let has = |kind| protectors.iter().any(|protector| protector.kind() == kind);
    if has(ProtectorKind::RecoveryPassword) || (startup_keys && has(ProtectorKind::StartupKey)) {
        return Ok(());
    }
    if drive.volume.unlock_decrypted().is_some() {
        return Err(CliError::no(format!(
            "`{}` is not encrypted: there is no recovery key to save",
            drive.name
        )));
    }
    Err(CliError::no(format!("`{}` has no recovery key: nobody ever added one", drive.name)).hint(
        "add one on Windows, in a window of the administrator: `manage-bde -protectors -add X: -recoverypassword`; \
         then save it",
    ))
}
