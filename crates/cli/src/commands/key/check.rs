//! `keyhaven key check`: whether 48 digits can be a recovery key, and which block is mistyped.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Parser;
use keyhaven_crypto::SecretText;
use keyhaven_fve::keys::{MistypedRecoveryPassword, RecoveryPassword};
use serde::Serialize;

use crate::commands::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::mistyped::{self, BadBlock};
use crate::secret_source::SecretSource;

pub(super) const VERB: Verb = Verb::of::<Check>();

/// Check the 48 digits of a recovery key
///
/// Names the blocks that are mistyped and offers the corrections by one wrong digit or one swap that make a valid
/// block. Hyphens, spaces, nothing, and digits of other scripts are all fine. No drive is needed; that the digits are
/// well formed does not say which drive they open.
#[derive(Parser)]
#[command(name = "check")]
struct Check {
    /// Where the key is: `-` (standard input), `file:PATH`, `fd:N` or `env:NAME`; without it you are asked
    ///
    /// At the terminal each block is checked as it is typed. The digits themselves are taken too, with a warning:
    /// arguments can be seen by other users of this computer and stay in the shell's history.
    #[arg(value_name = "KEY", num_args = 0..)]
    key: Vec<OsString>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    valid: bool,
    bad_blocks: Vec<usize>,
    /// By the number of the block.
    suggestions: BTreeMap<usize, Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Run for Check {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        if self.key.is_empty() && context.ui.is_interactive() {
            context.ui.ask_recovery_key()?;
            return answer(context, Ok(()), &[]);
        }
        let text = self.read(context)?;
        match RecoveryPassword::parse(text.expose_secret()) {
            Ok(_) => answer(context, Ok(()), &[]),
            Err(mistyped) => {
                let bad_blocks = mistyped::bad_blocks(text.expose_secret(), &mistyped);
                answer(context, Err(mistyped), &bad_blocks)
            }
        }
    }
}

impl Check {
    fn read(self, context: &Context) -> Result<SecretText, CliError> {
        let source = match self.key.as_slice() {
            [] => Some(SecretSource::Stdin),
            [one] => SecretSource::parse(one),
            _ => None,
        };
        if let Some(source) = source {
            return source.read_text("the recovery key", context);
        }
        context.ui.warn(
            "the key was given as an argument: other users of this computer can see it, and the shell keeps it in \
             its history; type it when asked, or use `-` or `file:PATH`",
        );
        let text = self.key.join(" ".as_ref());
        let text = text.into_string().map_err(|_| {
            CliError::could_not("the recovery key is not text")
                .hint("48 digits, or where they are: `-`, `file:PATH`, `fd:N`, `env:NAME`")
        })?;
        Ok(SecretText::from(text))
    }
}

fn answer(
    context: &Context,
    checked: Result<(), MistypedRecoveryPassword>,
    bad_blocks: &[BadBlock],
) -> Result<Exit, CliError> {
    let ui = &context.ui;
    let exit = if checked.is_ok() { Exit::Done } else { Exit::No };
    if ui.is_json() {
        let suggestions = bad_blocks.iter().map(|bad| {
            let corrections = bad.corrections.iter().map(SecretText::expose_secret).collect();
            (bad.number, corrections)
        });
        ui.json(&Answer {
            valid: checked.is_ok(),
            bad_blocks: bad_blocks.iter().map(|bad| bad.number).collect(),
            suggestions: suggestions.collect(),
            problem: checked.err().map(|mistyped| mistyped.to_string()),
        })?;
        return Ok(exit);
    }
    match checked {
        Ok(()) => ui.line("valid: 48 digits, and the check of each of the 8 blocks comes out")?,
        Err(mistyped) => {
            if bad_blocks.len() != 8 && !matches!(mistyped, MistypedRecoveryPassword::Blocks(_)) {
                ui.line(&format!("not valid: {mistyped}"))?;
            }
            for bad in bad_blocks {
                ui.line(&format!("not valid: block {} {}", bad.number, bad.problem))?;
                if let Some(texts) = bad.corrections_text() {
                    ui.line(&format!("  did you mean {}?", *texts))?;
                }
            }
        }
    }
    Ok(exit)
}
