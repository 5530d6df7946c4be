//! A verb that goes on in the background, once all that can go wrong at the start has gone well.
//!
//! The process starts itself again with the same arguments. The child asks on the same terminal, says what it has to
//! say, and when it is ready it leaves the terminal and tells its parent, which only waited for that. So the command
//! returns with the right exit code, and no secret is ever handed on.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::context::Context;
use crate::error::{CliError, Exit};

/// The name by which the child calls itself, also in the list of processes.
const CHILD_NAME: &str = "keyhaven-in-background";

/// What the child sends after its answer: a sign that is in no answer.
const READY: u8 = 0x06;

/// No answer is longer, in bytes.
const ANSWER_LEN_MAX: usize = 64 * 1024;

/// Tells whether this is the process that is to go on in the background.
pub(crate) fn is_child() -> bool {
    env::args_os().next().as_deref() == Some(OsStr::new(CHILD_NAME))
}

/// Starts the child, waits until it is ready or has failed, and returns what it came to.
pub(crate) fn start(context: &Context) -> Result<Exit, CliError> {
    let failed = |error: io::Error| CliError::could_not("cannot go on in the background").because(&error);
    let mut child = Command::new("/proc/self/exe")
        .arg0(CHILD_NAME)
        .args(env::args_os().skip(1))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (answer, is_ready) = wait_for_answer(&mut child, context).map_err(failed)?;
    context.ui.raw(&answer)?;
    if is_ready {
        return Ok(Exit::Done);
    }
    // It has said why on the standard error that we share.
    let status = child.wait().map_err(failed)?;
    match status.code() {
        Some(0) => Ok(Exit::Done),
        Some(1) => Ok(Exit::No),
        Some(130) => Ok(Exit::Stopped),
        Some(_) => Ok(Exit::CouldNot),
        None => Err(CliError::could_not(
            "the process in the background was ended by force",
        )),
    }
}

/// Leaves the terminal, and tells the parent that all is well.
pub(crate) fn detach() -> Result<(), CliError> {
    let failed = |error: &io::Error| CliError::could_not("cannot go on in the background").because(error);
    let leave = || -> io::Result<()> {
        rustix::process::setsid()?;
        // Whatever was mounted, no folder is kept busy by us.
        env::set_current_dir("/")?;
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        rustix::stdio::dup2_stderr(&nothing)?;
        let mut parent = io::stdout().lock();
        parent.write_all(&[READY])?;
        parent.flush()?;
        rustix::stdio::dup2_stdout(&nothing)?;
        Ok(())
    };
    leave().map_err(|error| failed(&error))
}

/// Reads the child's answer, and whether it is ready. Ctrl-C reaches the child by itself; a signal to us alone is
/// handed on.
fn wait_for_answer(child: &mut Child, context: &Context) -> io::Result<(Vec<u8>, bool)> {
    let Some(mut output) = child.stdout.take() else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut answer = Vec::new();
    let mut buf = [0; 4096];
    let mut was_stopped = false;
    loop {
        if !was_stopped && context.interrupt.wait_for_input(&output).is_err() {
            was_stopped = true;
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        match output.read(&mut buf) {
            Ok(0) => return Ok((answer, false)),
            Ok(count) => answer.extend_from_slice(buf.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if answer.last() == Some(&READY) {
            answer.pop();
            return Ok((answer, true));
        }
        if answer.len() > ANSWER_LEN_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
