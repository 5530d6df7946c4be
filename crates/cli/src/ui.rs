//! The only prints and prompts: data goes to standard output, talk to standard error, questions to the terminal.
//!
//! Nothing depends on colour. Text from a drive (names, descriptions) may hold anything: what could steer a terminal
//! is shown as an escape.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use keyhaven_crypto::SecretText;
use keyhaven_fve::keys::RecoveryPassword;
use serde::Serialize;

use crate::error::{CliError, Exit};
use crate::interrupt::Interrupt;
use crate::key_entry::KeyEntry;
use crate::terminal::Terminal;

mod progress;

pub(crate) use progress::Progress;

/// How much is said, and in which form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OutputOptions {
    /// One JSON document instead of text.
    pub(crate) json: bool,
    /// Only errors and warnings on standard error.
    pub(crate) quiet: bool,
    /// How many times `-v` was given.
    pub(crate) verbose: u8,
}

/// What a person sees and is asked.
#[derive(Debug)]
pub(crate) struct Ui {
    options: OutputOptions,
    interrupt: Interrupt,
}

impl Ui {
    pub(crate) fn new(options: OutputOptions, interrupt: Interrupt) -> Self {
        Self { options, interrupt }
    }

    /// Returns whether the answer is to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.options.json
    }

    /// Returns whether a person can be asked without having been told so.
    pub(crate) fn is_interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Prints a line of data.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        self.raw(format!("{}\n", printable(text)).as_bytes())
    }

    /// Prints bytes as they are: a script, a page.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => CliError::nobody_listens(),
                _ => CliError::could_not("cannot write to standard output").because(&error),
            })
    }

    /// Prints a JSON document.
    pub(crate) fn json(&self, document: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_string_pretty(document)
            .map_err(|error| CliError::could_not("cannot write the answer as JSON").because(&error))?;
        text.push('\n');
        self.raw(text.as_bytes())
    }

    /// Prints one of many JSON documents, on a line of its own.
    pub(crate) fn json_line(&self, document: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_string(document)
            .map_err(|error| CliError::could_not("cannot write the answer as JSON").because(&error))?;
        text.push('\n');
        self.raw(text.as_bytes())
    }

    /// Says something that is not data.
    pub(crate) fn say(&self, text: &str) {
        if !self.options.quiet {
            self.talk(text);
        }
    }

    /// Says something that must be known even with `--quiet`.
    pub(crate) fn warn(&self, text: &str) {
        self.talk(&format!("warning: {text}"));
    }

    /// Returns whether `-v` was given.
    pub(crate) fn is_verbose(&self) -> bool {
        self.options.verbose > 0
    }

    /// Says why something was left out that does not keep the rest from being done, with what can be done about it.
    pub(crate) fn warn_of(&self, error: &CliError) {
        self.warn(error.message());
        for hint in error.hints() {
            self.say(&format!("hint: {hint}"));
        }
    }

    /// Says something that only `-v` asks for.
    pub(crate) fn detail(&self, text: &str) {
        if self.options.verbose > 0 && !self.options.quiet {
            self.talk(text);
        }
    }

    /// Says why something could not be done, and returns the exit code.
    pub(crate) fn error(&self, error: &CliError) -> Exit {
        if error.message().is_empty() {
            return error.exit();
        }
        if self.options.json {
            let document = serde_json::json!({"error": {
                "message": error.message(),
                "hint": (!error.hints().is_empty()).then(|| error.hints().join("\n")),
                "code": error.exit() as u8,
            }});
            let _ = writeln!(io::stderr(), "{document}");
            return error.exit();
        }
        let label = if error.exit() == Exit::Stopped {
            ""
        } else {
            "error: "
        };
        self.talk(&format!("{label}{}", error.message()));
        for hint in error.hints() {
            self.talk(&format!("hint: {hint}"));
        }
        error.exit()
    }

    /// Asks for a password, which is not shown.
    pub(crate) fn ask_password(&self, prompt: &str) -> Result<SecretText, CliError> {
        self.terminal("the password")?.ask_hidden(&printable(prompt))
    }

    /// Asks for a secret that is shown as it is typed.
    pub(crate) fn ask_shown(&self, prompt: &str) -> Result<SecretText, CliError> {
        let line = self.terminal("an answer")?.ask(&printable(prompt))?;
        Ok(SecretText::copy_of(&line))
    }

    /// Asks for a line, which is shown as it is typed.
    pub(crate) fn ask_line(&self, prompt: &str) -> Result<String, CliError> {
        Ok(self.terminal("an answer")?.ask(&printable(prompt))?.to_string())
    }

    /// Asks for a recovery key, which is shown, and checks each block as it comes.
    pub(crate) fn ask_recovery_key(&self) -> Result<RecoveryPassword, CliError> {
        let mut terminal = self.terminal("the recovery key")?;
        let mut entry = KeyEntry::default();
        terminal.show(KeyEntry::INTRODUCTION)?;
        loop {
            if let Some(key) = entry.finished() {
                return Ok(key);
            }
            let line = terminal.ask(&entry.prompt())?;
            let answer = entry.feed(&line);
            terminal.show(&answer)?;
        }
    }

    /// Asks a question whose answer is no unless it is yes.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, CliError> {
        let mut terminal = self.terminal("the answer")?;
        let answer = terminal.ask(&format!("{} [y/N] ", printable(question)))?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Lets the person choose one of several; returns its index.
    pub(crate) fn choose(&self, question: &str, choices: &[String]) -> Result<usize, CliError> {
        let mut terminal = self.terminal("the answer")?;
        terminal.show(&list(question, choices))?;
        loop {
            let answer = terminal.ask("Number: ")?;
            match chosen(&answer, choices.len()).as_deref() {
                Ok([one]) => return Ok(*one),
                Ok(_) => terminal.show("  one number, please\n")?,
                Err(problem) => terminal.show(&format!("  {problem}\n"))?,
            }
        }
    }

    /// Lets the person choose one or more of several ("1,3"); returns their indices in the order of the answer.
    pub(crate) fn choose_several(&self, question: &str, choices: &[String]) -> Result<Vec<usize>, CliError> {
        let mut terminal = self.terminal("the answer")?;
        terminal.show(&list(question, choices))?;
        loop {
            let answer = terminal.ask("Numbers, such as 1,3: ")?;
            match chosen(&answer, choices.len()) {
                Ok(indices) => return Ok(indices),
                Err(problem) => terminal.show(&format!("  {problem}\n"))?,
            }
        }
    }

    fn terminal(&self, what: &str) -> Result<Terminal, CliError> {
        Terminal::open(&self.interrupt).map_err(|_| {
            CliError::could_not(format!("there is no terminal to ask for {what}"))
                .hint("give it another way: `-` (standard input), `file:PATH`, `fd:N` or `env:NAME`")
        })
    }

    /// Whether standard error takes it or not: there is nowhere else to say it.
    fn talk(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}", printable(text));
    }
}

/// Replaces what could steer a terminal or turn text around with visible escapes; line ends and tabs stay.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let turns_text =
            matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && !matches!(c, '\n' | '\t')) || turns_text {
            let _ = write!(safe, "\\u{{{:x}}}", c as u32);
        } else {
            safe.push(c);
        }
    }
    safe
}

fn list(question: &str, choices: &[String]) -> String {
    let mut text = format!("{}\n", printable(question));
    for (i, choice) in choices.iter().enumerate() {
        let _ = writeln!(text, "  {}  {}", i + 1, printable(choice));
    }
    text
}

/// Reads "1,3", "1 3" or "2" into indices.
fn chosen(answer: &str, count: usize) -> Result<Vec<usize>, String> {
    let mut indices = Vec::new();
    for number in answer.split([',', ';', ' ']).filter(|number| !number.is_empty()) {
        match number.parse::<usize>() {
            Ok(number) if (1..=count).contains(&number) => {
                if !indices.contains(&(number - 1)) {
                    indices.push(number - 1);
                }
            }
            _ => return Err(format!("answer with numbers from 1 to {count}")),
        }
    }
    if indices.is_empty() {
        return Err(format!("answer with numbers from 1 to {count}"));
    }
    Ok(indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_cannot_steer_the_terminal() {
        assert_eq!(
            printable("Ann's \u{1b}[2J disk\u{7}"),
            "Ann's \\u{1b}[2J disk\\u{7}"
        );
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("Łódź 磁盘\n\t"), "Łódź 磁盘\n\t");
    }

    #[test]
    fn several_choices_are_numbers() {
        assert_eq!(chosen("1,3", 3), Ok(vec![0, 2]));
        assert_eq!(chosen(" 3 1 3 ", 3), Ok(vec![2, 0]));
        for answer in ["", "0", "4", "one", "1-3"] {
            assert!(chosen(answer, 3).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_list_fits_a_small_terminal_and_needs_no_colour() {
        let text = list("Where?", &["a file".to_owned(), "paper".to_owned()]);
        assert_eq!(text, "Where?\n  1  a file\n  2  paper\n");
    }
}
