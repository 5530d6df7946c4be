//! A password that is to be set: from a SOURCE, or asked for twice.

use std::ffi::OsString;

use keyhaven_crypto::SecretText;

use crate::context::Context;
use crate::error::CliError;
use crate::secret_source;

/// The least that Windows takes, in characters.
const LEAST: usize = 8;
/// The most that Windows takes.
const MOST: usize = 256;

/// Reads the password from a SOURCE, or asks for it twice where there is none.
pub(crate) fn read(source: Option<&OsString>, context: &Context) -> Result<SecretText, CliError> {
    let text = match source {
        Some(source) => secret_source::required(source)?.read_line("the new password", context)?,
        None => ask(context)?,
    };
    let count = text.expose_secret().encode_utf16().count();
    if !(LEAST..=MOST).contains(&count) {
        return Err(CliError::could_not(format!(
            "a password of a drive has {LEAST} to {MOST} characters, not {count}"
        ))
        .hint("Windows takes no other"));
    }
    Ok(text)
}

fn ask(context: &Context) -> Result<SecretText, CliError> {
    loop {
        let first = context.ui.ask_password("New password of the drive: ")?;
        let second = context.ui.ask_password("The new password again: ")?;
        if first.expose_secret() == second.expose_secret() {
            return Ok(first);
        }
        context.ui.say("These are two different passwords. Try again.");
    }
}
