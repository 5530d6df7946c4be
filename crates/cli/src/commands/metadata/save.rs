//! `keyhaven metadata save`.

use std::path::PathBuf;

use clap::Parser;
use jiff::Timestamp;
use keyhaven_backup::destination::write_new;
use keyhaven_crypto::SecretBytes;
use keyhaven_fve::SavedMetadata;
use keyhaven_fve::format::FileTime;

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};

pub(super) const VERB: Verb = Verb::of::<Save>();

/// Save the metadata of a drive to a file
///
/// Without its metadata a drive cannot be opened by anybody, whatever keys there are. The file holds no open key, but
/// together with the drive and a key of today it opens the drive even after that key was removed from it: keep it as you
/// keep a key.
#[derive(Parser)]
#[command(name = "save")]
struct Save {
    #[command(flatten)]
    drive: DriveArgs,

    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Run for Save {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.drive.open(context)?;
        let saved = SavedMetadata::take(&drive.volume, FileTime::from_timestamp(Timestamp::now()))
            .map_err(|error| CliError::could_not("the metadata cannot be saved").because(&error))?;
        let bytes = SecretBytes::copy_of(&saved.to_bytes());
        write_new(&self.file, &bytes, |_| false)
            .map_err(|error| CliError::could_not("the metadata cannot be saved").because(&error))?;
        context.ui.say(&format!(
            "Saved: the metadata of volume {}, in `{}`.",
            saved.volume_id(),
            self.file.display()
        ));
        Ok(Exit::Done)
    }
}
