//! The person at the keyboard, even where standard input and output are pipes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use keyhaven_crypto::SecretText;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::interrupt::Interrupt;

/// Longer lines are not taken, in bytes.
const LINE_LEN_MAX: usize = 64 * 1024;

/// The controlling terminal, opened to ask something.
#[derive(Debug)]
pub(crate) struct Terminal {
    input: File,
    output: File,
    interrupt: Interrupt,
}

impl Terminal {
    /// Opens the terminal that the process was started from.
    ///
    /// # Errors
    /// There is none: a service, a job, an ssh command without `-t`.
    pub(crate) fn open(interrupt: &Interrupt) -> io::Result<Self> {
        let (input, output) = if cfg!(windows) {
            ("CONIN$", "CONOUT$")
        } else {
            ("/dev/tty", "/dev/tty")
        };
        Ok(Self {
            input: OpenOptions::new().read(true).open(input)?,
            output: OpenOptions::new().write(true).open(output)?,
            interrupt: interrupt.clone(),
        })
    }

    /// Shows text, as it is.
    pub(crate) fn show(&mut self, text: &str) -> Result<(), CliError> {
        self.output
            .write_all(text.as_bytes())
            .and_then(|()| self.output.flush())
            .map_err(|error| CliError::could_not("cannot write to the terminal").because(&error))
    }

    /// Shows a prompt and reads one line, without its end; what is typed is seen.
    pub(crate) fn ask(&mut self, prompt: &str) -> Result<Zeroizing<String>, CliError> {
        self.show(prompt)?;
        let mut line = Zeroizing::new(Vec::with_capacity(1024));
        let mut buf = Zeroizing::new([0; 1024]);
        while !line.ends_with(b"\n") {
            let count = self.read_some(&mut buf[..])?;
            if count == 0 && line.is_empty() {
                self.show("\n")?;
                return Err(CliError::could_not("no answer: the input ended"));
            }
            if count == 0 {
                break;
            }
            line.extend_from_slice(&buf[..count]);
            if line.len() > LINE_LEN_MAX {
                return Err(CliError::could_not("the line is too long"));
            }
        }
        let text = String::from_utf8_lossy(&line);
        Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// Shows a prompt and reads one line that is not shown.
    pub(crate) fn ask_hidden(&mut self, prompt: &str) -> Result<SecretText, CliError> {
        match rpassword::prompt_password(prompt) {
            Ok(text) => Ok(SecretText::from(text)),
            // Its way of saying Ctrl-C.
            Err(error) if error.kind() == io::ErrorKind::Interrupted || self.interrupt.is_set() => {
                Err(CliError::stopped())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(CliError::could_not("no answer: the input ended"))
            }
            Err(error) => Err(CliError::could_not("cannot read from the terminal").because(&error)),
        }
    }

    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize, CliError> {
        loop {
            if let Err(stopped) = self.interrupt.wait_for_input(&self.input) {
                self.show("\n")?;
                return Err(stopped);
            }
            match self.input.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => return Ok(count),
                Err(error) => {
                    return Err(CliError::could_not("cannot read from the terminal").because(&error));
                }
            }
        }
    }
}
