//! `keyhaven unlock` and `keyhaven lock` on a Windows PC: Windows shows the files itself, under the drive's letter.

use std::ffi::{OsStr, OsString};

use clap::Parser;
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::unlocking::UnlockArgs;
use crate::windows::{self, Computer, Done, Live};

pub(super) const UNLOCK: Verb = Verb::of::<Unlock>();
pub(super) const LOCK: Verb = Verb::of::<Lock>();

/// Unlock a drive: Windows shows its files under its letter, until it is locked again
///
/// For an image file, or for files without Windows' own reading of them, see `keyhaven ls` and `keyhaven cp`.
#[derive(Parser)]
#[command(name = "unlock")]
struct Unlock {
    /// The drive: a letter (`E:`), or the path of a volume without one
    #[arg(value_name = "DRIVE")]
    drive: OsString,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Lock a drive
#[derive(Parser)]
#[command(name = "lock")]
struct Lock {
    /// The drive: a letter (`E:`), or the path of a volume without one
    #[arg(value_name = "DRIVE")]
    drive: OsString,

    /// Lock it even if something uses it; what is not saved yet is lost
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    locked: bool,
    /// It was so before.
    was_so: bool,
}

impl Run for Unlock {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let computer = Computer::this();
        let live = find(computer.as_ref(), &self.drive, context)?;
        let done = windows::unlock(&live, &self.unlock, context)?;
        tell(&live, false, done, context)
    }
}

impl Run for Lock {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let computer = Computer::this();
        let live = find(computer.as_ref(), &self.drive, context)?;
        let done = windows::lock(&live, self.force)?;
        tell(&live, true, done, context)
    }
}

fn find<'c>(computer: Option<&'c Computer>, name: &OsStr, context: &Context) -> Result<Live<'c>, CliError> {
    if let Some(live) = windows::drive(computer, name, context)? {
        return Ok(live);
    }
    // Other verbs read a drive as it lies where Windows has no BitLocker; this is its own work.
    if let Some(Err(error)) = computer.map(Computer::volumes) {
        return Err(windows::refusal(&error));
    }
    Err(
        CliError::could_not(format!("Windows knows no drive `{}`", name.to_string_lossy()))
            .hint("`keyhaven drives` lists the drives of this computer")
            .hint("the files of an image can be listed with `keyhaven ls`, and copied with `keyhaven cp`"),
    )
}

fn tell(live: &Live<'_>, locked: bool, done: Done, context: &Context) -> Result<Exit, CliError> {
    let state = if locked { "locked" } else { "unlocked" };
    let name = live.name();
    if context.ui.is_json() {
        context.ui.json(&Answer {
            drive: name,
            locked,
            was_so: done == Done::Before,
        })?;
        return Ok(Exit::Done);
    }
    context.ui.say(&match done {
        Done::Before => format!("{name} is {state} already."),
        Done::Now if locked => format!("{name} is locked."),
        Done::Now => format!("{name} is unlocked. `keyhaven lock {name}` locks it again."),
    });
    Ok(Exit::Done)
}
