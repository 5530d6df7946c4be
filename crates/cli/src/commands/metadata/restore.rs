//! `keyhaven metadata restore`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Parser;
use keyhaven_fve::{OpenOptions, RestoreError, SavedMetadata, Volume, unwatched};
use zeroize::Zeroizing;

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::medium::Medium;

pub(super) const VERB: Verb = Verb::of::<Restore>();

/// No file of saved metadata is longer, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// Put saved metadata back on a drive
///
/// Keys that were removed from the drive since then open it again, and those added since no longer do.
#[derive(Parser)]
#[command(name = "restore")]
struct Restore {
    #[command(flatten)]
    drive: DriveArgs,

    /// The file that `keyhaven metadata save` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Put them back even if nothing on the drive tells that they are its own: you are sure that they are
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    change: ChangeArgs,
}

impl Run for Restore {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let saved = self.read()?;
        let open = if self.change.is_dry_run() {
            Medium::open
        } else {
            Medium::open_writable
        };
        let (name, medium) = changing::medium_of_damaged(&self.drive, open, context)?;
        let lenient = OpenOptions {
            ignore_checksums: true,
            ..OpenOptions::default()
        };
        let found = Volume::open(medium.device.clone(), &lenient, &mut |_| context.interrupt.flow()).ok();
        context.interrupt.check()?;
        saved
            .fits(&*medium.device, found.as_ref(), self.force)
            .map_err(|error| refusal(&error))?;
        let step = format!(
            "put back the metadata of volume {} that were saved {}",
            saved.volume_id(),
            saved.saved()
        );
        if !self.change.agree(&name, &[step], context)? {
            return Ok(Exit::Done);
        }
        if let Some(volume) = &found {
            save_present(volume, context);
        }
        let Some(writable) = &medium.writable else {
            return Err(CliError::could_not("the drive was opened only to be read"));
        };
        saved
            .restore(&**writable, found.as_ref(), self.force)
            .map_err(|error| refusal(&error))?;
        let options = OpenOptions::default();
        Volume::open(medium.device.clone(), &options, &mut unwatched).map_err(|error| {
            CliError::could_not("the metadata were put back, but the drive cannot be opened").because(&error)
        })?;
        context.ui.say("The metadata were put back.");
        Ok(Exit::Done)
    }
}

impl Restore {
    fn read(&self) -> Result<SavedMetadata, CliError> {
        let cannot = || CliError::could_not(format!("`{}` cannot be used", self.file.display()));
        let mut bytes = Zeroizing::new(Vec::new());
        File::open(&self.file)
            .and_then(|file| file.take(MAX_LEN).read_to_end(&mut bytes))
            .map_err(|error| cannot().because(&error))?;
        SavedMetadata::read(&bytes).map_err(|error| cannot().because(&error))
    }
}

/// Saves what is there now; damaged metadata, which cannot be saved, are no loss.
fn save_present(volume: &Volume, context: &Context) {
    if let Err(error) = changing::save_metadata(volume, context) {
        context.ui.warn(&format!(
            "the present metadata were not saved: {}",
            error.message()
        ));
    }
}

fn refusal(error: &RestoreError) -> CliError {
    let said = CliError::could_not("the saved metadata are not put back").because(error);
    match error {
        RestoreError::Unrecognised => {
            said.hint("if you are sure that this is the drive that they were saved from: `--force`")
        }
        RestoreError::OtherState => said.hint("they no longer tell which part of the drive is encrypted"),
        RestoreError::Write(_) | RestoreError::ReadBack(_) | RestoreError::NotKept(_) => {
            said.hint("run it again; at least one copy of the metadata is whole at any time")
        }
        _ => said,
    }
}
