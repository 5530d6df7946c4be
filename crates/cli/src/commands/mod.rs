//! The verbs: each is a file, and a line in [`ALL`].

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::windows;

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
mod report;
mod resume;
mod rotate;
mod schedule;
#[cfg(unix)]
mod serve;
mod status;
mod suspend;
#[cfg(target_os = "linux")]
mod unlock;
#[cfg(any(target_os = "linux", windows))]
mod unlocked_by_windows;
mod verify;

/// The one list of verbs that work everywhere, in the order of `--help`. Help, completions and manual pages follow it.
const ALL: &[Verb] = &[
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
    #[cfg(any(target_os = "linux", windows))]
    UNLOCK,
    #[cfg(any(target_os = "linux", windows))]
    LOCK,
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

/// The verbs that need a Windows to ask.
const ALL_ON_WINDOWS: &[Verb] = &[schedule::VERB, report::VERB];

/// Shows the files of a drive: Windows does it itself, elsewhere they appear in a folder.
#[cfg(any(target_os = "linux", windows))]
const UNLOCK: Verb = Verb {
    command: || (unlock_here().command)(),
    run: |matches, context| (unlock_here().run)(matches, context),
};

/// Ends that.
#[cfg(any(target_os = "linux", windows))]
const LOCK: Verb = Verb {
    command: || (lock_here().command)(),
    run: |matches, context| (lock_here().run)(matches, context),
};

#[cfg(any(target_os = "linux", windows))]
fn unlock_here() -> Verb {
    #[cfg(target_os = "linux")]
    if !windows::is_here() {
        return unlock::VERB;
    }
    unlocked_by_windows::UNLOCK
}

#[cfg(any(target_os = "linux", windows))]
fn lock_here() -> Verb {
    #[cfg(target_os = "linux")]
    if !windows::is_here() {
        return lock::VERB;
    }
    unlocked_by_windows::LOCK
}

/// Returns the verbs that work on this system, in the order of `--help`.
pub(crate) fn all() -> impl Iterator<Item = &'static Verb> {
    let on_windows = if windows::is_here() { ALL_ON_WINDOWS } else { &[] };
    ALL.iter().chain(on_windows)
}

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
pub(crate) fn find(
    verbs: impl IntoIterator<Item = &'static Verb>,
    matches: &ArgMatches,
) -> Option<(&'static Verb, &ArgMatches)> {
    let (name, matches) = matches.subcommand()?;
    let verb = verbs
        .into_iter()
        .find(|verb| (verb.command)().get_name() == name)?;
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
