//! The decrypted content of a drive, to be read.

use keyhaven_fve::{Unlocked, UnlockedVolume};

use crate::drive::Drive;
use crate::error::CliError;

/// How the content of a drive is shown.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ContentArgs {
    /// Show sectors that were never written, or trimmed, as zeros instead of the noise that they decrypt to
    ///
    /// Such sectors are zeros on the drive, which no data encrypt to. Holes of an image file stay holes.
    #[arg(long)]
    sparse: bool,
}

impl Drive {
    /// Returns the decrypted content, to be read.
    pub(crate) fn content(&self, unlocked: Unlocked, args: &ContentArgs) -> Result<UnlockedVolume, CliError> {
        let content = self.volume.data(unlocked).map_err(|error| {
            CliError::could_not("the drive is unlocked, but its content cannot be read")
                .because(&error)
                .hint("its keys are fine: `keyhaven backup` and `keyhaven verify` work")
        })?;
        Ok(if args.sparse {
            content.with_unwritten_as_zeros()
        } else {
            content
        })
    }
}
