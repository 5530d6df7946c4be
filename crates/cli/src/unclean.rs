//! A file system that Windows has not finished with is not written, unless that is asked for.

use keyhaven_attach::Shown;
use keyhaven_attach::files::{self, Cleanliness, OpenFilesError};

use crate::context::Context;
use crate::error::CliError;

const CHECK_IN_WINDOWS: &str = "have Windows check it: `chkdsk /f` with its drive letter";

/// Whether a file system is written whatever state it is in.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UncleanArgs {
    /// Write even if Windows did not shut the drive's file system down
    ///
    /// What Windows has not finished (after a crash, in hibernation, with fast startup) may be lost or contradict
    /// what is written now.
    #[arg(long, requires = "write")]
    allow_unclean: bool,
}

impl UncleanArgs {
    /// Refuses to have a drive written where Windows is not done with its file system; one that is only read passes.
    pub(crate) fn check(&self, shown: &Shown, context: &Context) -> Result<(), CliError> {
        if shown.writable().is_none() {
            return Ok(());
        }
        let (state, hint) = match files::state(&shown.device()) {
            Ok(Cleanliness::Clean) => return Ok(()),
            // Not one of those that Windows leaves unfinished; its driver will know.
            Err(OpenFilesError::NotAFileSystem { .. }) => return Ok(()),
            Ok(state @ Cleanliness::Hibernated) => (
                state.to_string(),
                "shut Windows down completely: hold Shift while you click \"Shut down\"",
            ),
            Ok(state) => (state.to_string(), CHECK_IN_WINDOWS),
            Err(error) => (CliError::chain(&error), CHECK_IN_WINDOWS),
        };
        if self.allow_unclean {
            context
                .ui
                .warn(&format!("the drive is written all the same: {state}"));
            return Ok(());
        }
        Err(
            CliError::could_not(format!("the drive must not be written now: {state}"))
                .hint(hint)
                .hint(
                    "without `--write` it can be read; `--allow-unclean` writes all the same, and may damage files",
                ),
        )
    }
}
