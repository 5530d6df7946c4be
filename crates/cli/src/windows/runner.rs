//! Programs of Windows that are started for what has no other way: the task scheduler, the event log.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a program came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Whether it ended with exit code 0.
    pub(crate) success: bool,
    /// What it printed.
    pub(crate) output: Vec<u8>,
    /// What it complained of.
    pub(crate) complaint: Vec<u8>,
}

/// Starts programs of Windows, and waits for them. Nothing secret is among their arguments: Windows logs those.
pub(crate) trait RunProgram {
    /// Runs the program of this name.
    ///
    /// # Errors
    /// It cannot be started.
    fn run(&mut self, program: &str, arguments: &[&OsStr]) -> io::Result<Outcome>;
}

/// The programs in Windows' own folder, and in no other: whoever may write elsewhere could put one there.
#[derive(Debug)]
pub(crate) struct System;

impl RunProgram for System {
    fn run(&mut self, program: &str, arguments: &[&OsStr]) -> io::Result<Outcome> {
        let output = Command::new(folder().join(program))
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        Ok(Outcome {
            success: output.status.success(),
            output: output.stdout,
            complaint: output.stderr,
        })
    }
}

fn folder() -> PathBuf {
    std::env::var_os("SystemRoot")
        .map(PathBuf::from)
        .filter(|root| root.is_absolute())
        .unwrap_or_else(|| PathBuf::from(r"C:\Windows"))
        .join("System32")
}

/// A system that notes what is run, and answers as it is told.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) runs: Vec<(String, Vec<String>)>,
    pub(crate) answers: Vec<Outcome>,
}

#[cfg(test)]
impl RunProgram for Noted {
    fn run(&mut self, program: &str, arguments: &[&OsStr]) -> io::Result<Outcome> {
        let arguments = arguments
            .iter()
            .map(|argument| argument.to_string_lossy().into_owned());
        self.runs.push((program.to_owned(), arguments.collect()));
        if self.answers.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.answers.remove(0))
    }
}
