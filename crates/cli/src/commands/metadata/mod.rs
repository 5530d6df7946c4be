//! `keyhaven metadata`: what a drive needs to be opened at all, saved and put back.

use clap::{ArgMatches, Command};

use super::{Run, Verb, find};
use crate::context::Context;
use crate::error::{CliError, Exit};

mod restore;
mod save;

const ALL: &[Verb] = &[save::VERB, restore::VERB];

pub(super) const VERB: Verb = Verb { command, run };

fn command() -> Command {
    let command = Command::new("metadata")
        .about("Save the metadata of a drive, or put saved ones back")
        .subcommand_required(true)
        .arg_required_else_help(true);
    ALL.iter()
        .fold(command, |command, verb| command.subcommand((verb.command)()))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<Exit, CliError> {
    match find(ALL, matches) {
        Some((verb, matches)) => (verb.run)(matches, context),
        None => Err(CliError::could_not("no verb was given").hint("see `keyhaven metadata --help`")),
    }
}
