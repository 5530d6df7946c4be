//! The verbs: each is a file, and a line in [`ALL`].

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::context::Context;
use crate::error::{CliError, Exit};

mod backup;
mod cat;
mod check;
mod completions;
mod cp;
mod create;
mod decrypt;
mod drives;
mod encrypt;
mod export;
mod find;
mod info;
mod key;
mod key_package;
#[cfg(target_os = "linux")]
mod lock;
mod lost;
mod ls;
mod man;
mod matching;
mod metadata;
mod password;
mod practice;
mod protector;
mod repair;
mod resume;
mod rotate;
#[cfg(unix)]
mod serve;
mod status;
mod suspend;
#[cfg(target_os = "linux")]
mod unlock;
mod verify;

/// The one list of verbs, in the order of `--help`. Help, completions and manual pages follow it.
pub(crate) const ALL: &[Verb] = &[
    drives::VERB,
    info::VERB,
    backup::VERB,
    verify::VERB,
    status::VERB,
    find::VERB,
    matching::VERB,
    key::VERB,
    password::VERB,
    key_package::VERB,
    #[cfg(target_os = "linux")]
    unlock::VERB,
    #[cfg(target_os = "linux")]
    lock::VERB,
    #[cfg(unix)]
    serve::VERB,
    ls::VERB,
    cat::VERB,
    cp::VERB,
    export::VERB,
    create::VERB,
    practice::VERB,
    encrypt::VERB,
    decrypt::VERB,
    protector::VERB,
    rotate::VERB,
    suspend::VERB,
    resume::VERB,
    check::VERB,
    repair::VERB,
    metadata::VERB,
    completions::VERB,
    man::VERB,
];

/// Something that `keyhaven` can be told to do.
pub(crate) struct Verb {
    /// Its name, help and arguments.
    pub(crate) command: fn() -> clap::Command,
    /// Does it.
    pub(crate) run: fn(&ArgMatches, &Context) -> Result<Exit, CliError>,
}

/// The arguments of a verb, and what it does with them. The first line of their documentation is its help.
pub(crate) trait Run: CommandFactory + FromArgMatches {
    /// Does what the arguments say; `Ok(Exit::No)` when the answer is no and has been printed.
    fn run(self, context: &Context) -> Result<Exit, CliError>;
}

impl Verb {
    /// Makes a verb of its arguments.
    const fn of<A: Run>() -> Self {
        Self {
            command: A::command,
            run: |matches, context| {
                let arguments = A::from_arg_matches(matches).map_err(|error| {
                    CliError::could_not("the arguments cannot be understood").because(&error)
                })?;
                arguments.run(context)
            },
        }
    }
}

/// Finds the verb that was given, with its own arguments.
pub(crate) fn find<'a>(
    verbs: &'static [Verb],
    matches: &'a ArgMatches,
) -> Option<(&'static Verb, &'a ArgMatches)> {
    let (name, matches) = matches.subcommand()?;
    let verb = verbs.iter().find(|verb| (verb.command)().get_name() == name)?;
    Some((verb, matches))
}

/// Makes a verb's command that has further verbs below it.
fn group(name: &'static str, about: &'static str, verbs: &[Verb]) -> clap::Command {
    let command = clap::Command::new(name)
        .about(about)
        .subcommand_required(true)
        .arg_required_else_help(true);
    verbs
        .iter()
        .fold(command, |command, verb| command.subcommand((verb.command)()))
}

/// Does what one of the verbs below another is told.
fn run_one_of(verbs: &'static [Verb], matches: &ArgMatches, context: &Context) -> Result<Exit, CliError> {
    match find(verbs, matches) {
        Some((verb, matches)) => (verb.run)(matches, context),
        None => Err(CliError::could_not("no verb was given").hint("see `keyhaven --help`")),
    }
}
