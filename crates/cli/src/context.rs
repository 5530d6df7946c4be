//! What every verb is given: the terminal, Ctrl-C, and standard input, which can be read once.

use std::cell::RefCell;

use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::ui::{OutputOptions, Ui};

/// The surroundings of a verb.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where everything is said and asked.
    pub(crate) ui: Ui,
    /// Whether Ctrl-C was pressed.
    pub(crate) interrupt: Interrupt,
    stdin_taken_for: RefCell<Option<String>>,
}

impl Context {
    pub(crate) fn new(output: OutputOptions, interrupt: Interrupt) -> Self {
        Self {
            ui: Ui::new(output, interrupt.clone()),
            interrupt,
            stdin_taken_for: RefCell::new(None),
        }
    }

    /// Takes standard input for one purpose ("the password"); an error if something else has it.
    pub(crate) fn take_stdin(&self, purpose: &str) -> Result<(), CliError> {
        match &*self.stdin_taken_for.borrow() {
            None => {}
            Some(first) => {
                return Err(CliError::could_not(format!(
                    "standard input can give {first} or {purpose}, not both"
                ))
                .hint("give one of them another way: `file:PATH`, `fd:N` or `env:NAME`"));
            }
        }
        *self.stdin_taken_for.borrow_mut() = Some(purpose.to_owned());
        Ok(())
    }
}
