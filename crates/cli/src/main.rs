//! The `keyhaven` command: backs up, proves and uses the recovery keys of BitLocker drives.
//!
//! A verb is a file in [`commands`]. What a person sees goes through [`ui`], what goes wrong is an [`error`], and a
//! secret comes in through a [`secret_source`]. Everything else is the libraries'.

mod advice;
mod args;
#[cfg(target_os = "linux")]
mod background;
mod changing;
mod commands;
mod content;
mod context;
mod converting;
mod depositing;
mod drive;
mod drive_name;
mod elevation;
mod error;
mod inside;
mod interrupt;
mod key_entry;
mod key_source;
mod ledger_file;
mod looking;
mod map_file;
mod medium;
mod mistyped;
#[cfg(target_os = "linux")]
mod mounts;
mod new_password;
mod packaging;
mod process;
mod randomness;
mod rescuing;
mod searching;
mod secret_source;
#[cfg(unix)]
mod showing;
mod size;
mod target;
mod terminal;
mod ui;
#[cfg(unix)]
mod unclean;
mod unlocking;
mod vault_args;
mod windows;

use std::process::ExitCode;

use crate::context::Context;
use crate::interrupt::Interrupt;

fn main() -> ExitCode {
    process::harden();
    // The hook has said what happened; what is on the stack is wiped on the way here.
    let exit = std::panic::catch_unwind(|| run().unwrap_or_else(|exit| exit));
    exit.unwrap_or(error::Exit::CouldNot).into()
}

/// Runs the verb that the command line names; what goes wrong is printed here.
fn run() -> Result<error::Exit, error::Exit> {
    let parsed = args::parse(std::env::args_os())?;
    let context = Context::new(parsed.output, Interrupt::install());
    parsed.run(&context).map_err(|error| context.ui.error(&error))
}
