//! What a person is told when something could not be done, and the exit codes.

use std::error::Error;
use std::process::ExitCode;

/// The exit codes that the contract names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It is done, or the answer is yes.
    Done = 0,
    /// The answer is no.
    No = 1,
    /// It could not be done.
    CouldNot = 2,
    /// Ctrl-C stopped it.
    Stopped = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb did not do what it was asked: what happened, why, and what to do next.
///
/// No part of it ever holds a secret.
#[derive(Debug)]
pub(crate) struct CliError {
    message: String,
    hints: Vec<String>,
    exit: Exit,
}

impl CliError {
    /// Something could not be done: bad usage, I/O, not a BitLocker drive, damaged, unsupported.
    pub(crate) fn could_not(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
            exit: Exit::CouldNot,
        }
    }

    /// The answer is no, and there is more to say about it than a verb prints.
    pub(crate) fn no(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
            exit: Exit::No,
        }
    }

    /// Ctrl-C was pressed.
    pub(crate) fn stopped() -> Self {
        Self {
            message: "stopped; nothing lost".to_owned(),
            hints: Vec::new(),
            exit: Exit::Stopped,
        }
    }

    /// Whoever was reading our output is gone: there is nobody to tell.
    pub(crate) fn nobody_listens() -> Self {
        Self::could_not("")
    }

    /// Adds why it happened, down to the first cause.
    pub(crate) fn because(mut self, cause: &dyn Error) -> Self {
        self.message.push_str(": ");
        self.message.push_str(&Self::chain(cause));
        self
    }

    /// Writes an error of a library with its causes, as one sentence.
    pub(crate) fn chain(error: &(impl Error + ?Sized)) -> String {
        let mut sentence = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            sentence.push_str(": ");
            sentence.push_str(&cause.to_string());
            next = cause.source();
        }
        sentence
    }

    /// Adds what the person can do next; several are printed in order.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the drive")]
    struct Outer(#[source] io::Error);

    #[test]
    fn the_chain_of_causes_is_one_sentence() {
        let cause = Outer(io::Error::other("the medium is gone"));
        let error = CliError::could_not("no backup was made")
            .because(&cause)
            .hint("plug it in");
        assert_eq!(
            error.message(),
            "no backup was made: cannot open the drive: the medium is gone"
        );
        assert_eq!(error.hints(), ["plug it in"]);
        assert_eq!(error.exit() as u8, 2);
        assert_eq!(CliError::stopped().exit() as u8, 130);
    }
}
