//! From the command line to the verb that it names.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

use crate::commands::{self, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::interrupt::Interrupt;
use crate::secret_source;
use crate::ui::{OutputOptions, Ui};

/// Back up, prove and use the recovery keys of BitLocker drives
#[derive(Parser)]
#[command(name = "keyhaven", version, after_long_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,

    /// Say only errors and warnings
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Say more about what is tried
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const AFTER_HELP: &str = "\
Giving secrets:
  Never as an argument's literal value. An option for a secret takes a SOURCE:
    (nothing)   ask at the terminal
    -           standard input
    file:PATH   a file
    fd:N        a file descriptor that is open already
    env:NAME    an environment variable

Exit codes:
  0    done, or the answer is yes
  1    the answer is no
  2    could not: bad usage, I/O, not a BitLocker drive, damaged, unsupported
  130  stopped by Ctrl-C, nothing lost";

/// A command line that has been understood.
pub(crate) struct Parsed {
    /// How to print.
    pub(crate) output: OutputOptions,
    verb: &'static Verb,
    matches: ArgMatches,
}

impl Parsed {
    /// Runs the verb.
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        (self.verb.run)(&self.matches, context)
    }
}

/// Returns everything that the command line can say: for help, completions and manual pages.
pub(crate) fn command() -> clap::Command {
    commands::all().fold(Global::command(), |command, verb| {
        command.subcommand((verb.command)())
    })
}

/// Understands a command line, or prints why not (or the help asked for) and returns the exit code.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Known before anything is understood, so that the reason can be said in the right form.
    let json = arguments.iter().any(|argument| argument == "--json");
    let complain = |error: &CliError| {
        let options = OutputOptions {
            json,
            ..OutputOptions::default()
        };
        Ui::new(options, Interrupt::default()).error(error)
    };
    let arguments = secret_source::join(arguments).map_err(|error| complain(&error))?;
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if json && error.exit_code() != 0 => return Err(complain(&usage_error(&error))),
        Err(error) => {
            let _ = error.print();
            return Err(match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done,
                _ => Exit::CouldNot,
            });
        }
    };
    let global = Global::from_arg_matches(&matches).map_err(|error| complain(&usage_error(&error)))?;
    let Some((verb, matches)) = commands::find(commands::all(), &matches) else {
        return Err(complain(
            &CliError::could_not("no verb was given").hint("see `keyhaven --help`"),
        ));
    };
    Ok(Parsed {
        output: OutputOptions {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
        },
        verb,
        matches: matches.clone(),
    })
}

/// Puts what clap says into our words: the first line without its label.
fn usage_error(error: &clap::Error) -> CliError {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    CliError::could_not(first.strip_prefix("error: ").unwrap_or(first)).hint("see `keyhaven --help`")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
