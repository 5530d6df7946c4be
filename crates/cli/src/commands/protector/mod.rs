//! `keyhaven protector`: the ways to unlock a drive.

use clap::{ArgMatches, Command};

use super::{Run, Verb, find};
use crate::context::Context;
use crate::error::{CliError, Exit};

mod add;
mod change;
mod list;
mod remove;

const ALL: &[Verb] = &[list::VERB, add::VERB, remove::VERB, change::VERB];

pub(super) const VERB: Verb = Verb { command, run };

fn command() -> Command {
    let command = Command::new("protector")
        .about("List, add, remove or change the ways to unlock a drive")
        .subcommand_required(true)
        .arg_required_else_help(true);
    ALL.iter()
        .fold(command, |command, verb| command.subcommand((verb.command)()))
}

fn run(matches: &ArgMatches, context: &Context) -> Result<Exit, CliError> {
    match find(ALL, matches) {
        Some((verb, matches)) => (verb.run)(matches, context),
        None => Err(CliError::could_not("no verb was given").hint("see `keyhaven protector --help`")),
    }
}
