//! `keyhaven completions`: scripts that let a shell complete verbs and options.

use clap::Parser;
use clap_complete::Shell;

use super::{Run, Verb};
use crate::args;
use crate::context::Context;
use crate::error::{CliError, Exit};

pub(super) const VERB: Verb = Verb::of::<Completions>();

/// Print the completion script of a shell
///
/// For bash: `keyhaven completions bash > ~/.local/share/bash-completion/completions/keyhaven`
///
/// For PowerShell, in the file that `$PROFILE` names: `keyhaven completions powershell | Out-String | Invoke-Expression`.
/// The command prompt of Windows (cmd) completes the names of files only.
#[derive(Parser)]
#[command(name = "completions")]
struct Completions {
    /// Which shell
    shell: Shell,
}

impl Run for Completions {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut args::command(), "keyhaven", &mut script);
        context.ui.raw(&script)?;
        Ok(Exit::Done)
    }
}
