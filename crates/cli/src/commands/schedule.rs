//! `keyhaven schedule`: has Windows check by itself that every recovery key is still backed up.

use std::ffi::OsStr;

use clap::Parser;

use super::{Run, Verb, status};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::windows::{RunProgram, System, Task, Triggers};

pub(super) const VERB: Verb = Verb::of::<Schedule>();

/// Have Windows check at log-on and weekly that every recovery key is backed up and proven
///
/// The task looks at the copies that were noted, tries them, and writes a warning to the event log (Application, source
/// Keyhaven) about every drive that is not safe. It runs as you, with an administrator's rights, and only while you are
/// signed in.
#[derive(Parser)]
#[command(name = "schedule")]
struct Schedule {
    /// Check at log-on only, unless `--weekly` is given as well
    #[arg(long)]
    at_logon: bool,

    /// Check weekly only, unless `--at-logon` is given as well
    #[arg(long)]
    weekly: bool,

    /// Remove the task
    #[arg(long, conflicts_with_all = ["at_logon", "weekly", "run"])]
    remove: bool,

    /// Check now, as the task does
    #[arg(long, conflicts_with_all = ["at_logon", "weekly"])]
    run: bool,
}

/// Something that is looked at: says in a sentence each what is wrong.
struct Check {
    what: &'static str,
    problems: fn(&Context) -> Result<Vec<String>, CliError>,
}

/// All that the task looks at, one line each.
const CHECKS: &[Check] = &[Check {
    what: "recovery keys",
    problems: status::what_is_not_safe,
}];

impl Run for Schedule {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        if self.run {
            return check(&mut System, context);
        }
        if self.remove {
            Task::remove(&mut System)?;
            context
                .ui
                .say("Windows no longer checks the recovery keys by itself.");
            return Ok(Exit::Done);
        }
        let program = std::env::current_exe()
            .map_err(|error| CliError::could_not("it is not known where this program is").because(&error))?;
        let task = Task {
            program: dunce::simplified(&program).to_owned(),
            user: user()?,
            triggers: self.triggers(),
        };
        task.register(&mut System)?;
        context.ui.say(&format!(
            "Windows checks the recovery keys {}. `keyhaven schedule --remove` ends that.",
            match (task.triggers.at_logon, task.triggers.weekly) {
                (true, false) => "at log-on",
                (false, true) => "weekly",
                _ => "at log-on and weekly",
            }
        ));
        Ok(Exit::Done)
    }
}

impl Schedule {
    fn triggers(&self) -> Triggers {
        let both = !self.at_logon && !self.weekly;
        Triggers {
            at_logon: self.at_logon || both,
            weekly: self.weekly || both,
        }
    }
}

/// Goes through all checks, and has the event log tell what nobody sees otherwise.
fn check(runner: &mut dyn RunProgram, context: &Context) -> Result<Exit, CliError> {
    let mut problems = Vec::new();
    for check in CHECKS {
        context.interrupt.check()?;
        context.ui.detail(&format!("looking at {}", check.what));
        match (check.problems)(context) {
            Ok(found) => problems.extend(found),
            Err(error) => {
                let text = format!("The {} could not be checked: {}", check.what, error.message());
                log(&text, runner, context);
                return Err(error);
            }
        }
    }
    if context.ui.is_json() {
        context.ui.json(&serde_json::json!({ "problems": problems }))?;
    } else if problems.is_empty() {
        context.ui.line("every recovery key is backed up and proven")?;
    }
    for problem in &problems {
        if !context.ui.is_json() {
            context.ui.line(&format!("NOT SAFE: {problem}"))?;
        }
        let text = format!("Not safe: {problem}. Save and prove the key: keyhaven backup");
        log(&text, runner, context);
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::No })
}

/// Writes a warning to the event log. It names drives and key IDs, and no key: Windows logs command lines.
fn log(text: &str, runner: &mut dyn RunProgram, context: &Context) {
    let arguments = [
        "/T",
        "WARNING",
        "/ID",
        "1",
        "/L",
        "APPLICATION",
        "/SO",
        "Keyhaven",
        "/D",
        text,
    ]
    .map(OsStr::new);
    let outcome = runner.run("eventcreate.exe", &arguments);
    if !outcome.is_ok_and(|outcome| outcome.success) {
        context.ui.detail("the event log does not take it");
    }
}

/// Returns who is signed in, as Windows writes it.
fn user() -> Result<String, CliError> {
    let name = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
    match (name("USERDOMAIN"), name("USERNAME")) {
        (Some(domain), Some(user)) => Ok(format!(r"{domain}\{user}")),
        (None, Some(user)) => Ok(user),
        _ => Err(CliError::could_not("it is not known who is signed in")
            .hint("the environment lacks USERNAME: start this in a terminal of Windows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_choice_it_is_both() {
        let triggers = |arguments: &[&str]| {
            let arguments = ["schedule"].iter().chain(arguments);
            let schedule = Schedule::try_parse_from(arguments).expect("understood");
            let Triggers { at_logon, weekly } = schedule.triggers();
            (at_logon, weekly)
        };
        assert_eq!(triggers(&[]), (true, true));
        assert_eq!(triggers(&["--at-logon"]), (true, false));
        assert_eq!(triggers(&["--weekly"]), (false, true));
        assert_eq!(triggers(&["--weekly", "--at-logon"]), (true, true));
        assert!(Schedule::try_parse_from(["schedule", "--remove", "--run"]).is_err());
    }
}
