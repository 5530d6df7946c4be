//! `keyhaven check`: holds a drive against the rules that real Windows volumes keep.

use clap::Parser;
use keyhaven_fve::rules::{self, Finding, Rule};
use keyhaven_fve::{Credential, Unlocked};
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::{Drive, DriveArgs};
use crate::error::{CliError, Exit};
use crate::unlocking::UnlockArgs;

pub(super) const VERB: Verb = Verb::of::<Check>();

/// Hold the metadata of a drive against the rules that real Windows drives keep
///
/// Every rule is printed with where it was seen; the numbers are sections of Keyhaven's description of the format. With a
/// key, what is sealed is checked, too. Nothing is changed.
#[derive(Parser)]
#[command(name = "check")]
struct Check {
    #[command(flatten)]
    drive: DriveArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Serialize)]
struct Answer {
    drive: String,
    volume_id: String,
    /// Whether a key was there for what is sealed.
    with_key: bool,
    rules: Vec<Judged>,
}

#[derive(Serialize)]
struct Judged {
    id: &'static str,
    rule: &'static str,
    seen: &'static str,
    /// `holds`, `broken`, or `not_checked` for want of a key.
    result: &'static str,
    findings: Vec<String>,
}

impl Run for Check {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.drive.open_to_look(context)?;
        let unlocked = self.unlocked(&drive, context)?;
        let findings = rules::check(&drive.volume, unlocked.as_ref());
        let with_key = unlocked.as_ref().is_some_and(|own| own.vmk().is_some());
        let answer = Answer {
            drive: drive.name.clone(),
            volume_id: drive.volume.metadata().volume_id().to_string(),
            with_key,
            rules: rules::all()
                .map(|rule| judge(rule, &findings, with_key))
                .collect(),
        };
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        } else {
            tell(&answer, context)?;
        }
        Ok(if findings.is_empty() { Exit::Done } else { Exit::No })
    }
}

impl Check {
    fn unlocked(&self, drive: &Drive, context: &Context) -> Result<Option<Unlocked>, CliError> {
        if self.unlock.is_given() {
            return self.unlock.unlock(&drive.volume, context).map(Some);
        }
        // An open key is no secret.
        Ok(drive
            .volume
            .unlock_decrypted()
            .or_else(|| drive.volume.unlock(&Credential::ClearKey).ok()))
    }
}

fn judge(rule: &'static Rule, findings: &[Finding], with_key: bool) -> Judged {
    let findings: Vec<String> = findings
        .iter()
        .filter(|finding| finding.rule.id == rule.id)
        .map(|finding| finding.found.clone())
        .collect();
    Judged {
        id: rule.id,
        rule: rule.sentence,
        seen: rule.seen,
        result: match (rule.needs_key && !with_key, findings.is_empty()) {
            (true, _) => "not_checked",
            (false, true) => "holds",
            (false, false) => "broken",
        },
        findings,
    }
}

fn tell(answer: &Answer, context: &Context) -> Result<(), CliError> {
    for judged in &answer.rules {
        let mark = match judged.result {
            "holds" => "ok     ",
            "broken" => "BROKEN ",
            _ => "no key ",
        };
        context.ui.line(&format!(
            "{mark}{}: {} (seen: {})",
            judged.id, judged.rule, judged.seen
        ))?;
        for finding in &judged.findings {
            context.ui.line(&format!("       {finding}"))?;
        }
    }
    let count = |result| {
        answer
            .rules
            .iter()
            .filter(|judged| judged.result == result)
            .count()
    };
    context.ui.say(&match (count("broken"), count("not_checked")) {
        (0, 0) => format!("All {} rules hold.", answer.rules.len()),
        (0, unchecked) => format!(
            "All {} rules hold that need no key. {unchecked} more are checked with a key: `--password`, \
             `--recovery-key`, `--startup-key`.",
            answer.rules.len() - unchecked
        ),
        (broken, _) => format!("{broken} of {} rules do not hold.", answer.rules.len()),
    });
    Ok(())
}
