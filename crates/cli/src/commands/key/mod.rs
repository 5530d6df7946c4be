//! `keyhaven key`: what can be done with a recovery key by itself.

use clap::{ArgMatches, Command};

use super::{Verb, find};
use crate::context::Context;
use crate::error::{CliError, Exit};

mod check;

const ALL: &[Verb] = &[check::VERB];

pub(super) const VERB: Verb = Verb { command, run };

fn command() -> Command {
    let command = Command::new("key")
        .about("Check a recovery key")
        .subcommand_required(true)
        .arg_required_else_help(true);
    ALL.iter()
        .fold(command, |command, verb| command.subcommand((verb.command)()))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<Exit, CliError> {
    match find(ALL, matches) {
        Some((verb, matches)) => (verb.run)(matches, context),
        None => Err(CliError::could_not("no verb was given").hint("see `keyhaven key --help`")),
    }
}
