//! The decrypted content of a drive as it is shown to other programs, to be read or to be written.

use std::sync::Arc;

use keyhaven_attach::Shown;
use keyhaven_disk::Device;
use keyhaven_fve::{NotWritable, Unlocked};

use crate::content::ContentArgs;
use crate::context::Context;
use crate::drive::{Drive, DriveArgs};
use crate::error::CliError;

/// Whether a drive is written.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WriteArgs {
    /// Let the drive be changed, not only read
    #[arg(long)]
    pub(crate) write: bool,
}

impl WriteArgs {
    /// Opens the drive as the arguments want it.
    pub(crate) fn open(&self, drive: &DriveArgs, context: &Context) -> Result<Drive, CliError> {
        if self.write {
            drive.open_writable(context)
        } else {
            drive.open(context)
        }
    }
}

impl Drive {
    /// Returns the decrypted content, to be written where the drive was opened for that.
    pub(crate) fn shown(&self, unlocked: Unlocked, args: &ContentArgs) -> Result<Shown, CliError> {
        let content = self.content(unlocked, args)?;
        let Some(medium) = &self.writable else {
            let device: Device = Arc::new(content);
            return Ok(Shown::ReadOnly(device));
        };
        let writable = content.writable(medium.clone()).map_err(|reason| {
            let refused = CliError::could_not(format!("`{}` must not be written as it is now", self.name))
                .because(&reason);
            match reason {
                NotWritable::Converting => refused.hint("let Windows finish, or read it without `--write`"),
                NotWritable::Decrypted => {
                    refused.hint("it needs no Keyhaven: mount it as it is, or read it without `--write`")
                }
                NotWritable::Unproven => refused
                    .hint("unlock it with its recovery key or password, and without `--ignore-checksums`")
                    .hint("reading it without `--write` works"),
                _ => refused.hint("reading it without `--write` works"),
            }
        })?;
        Ok(Shown::Writable(Arc::new(writable)))
    }
}
