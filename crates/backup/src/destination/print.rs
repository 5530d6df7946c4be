//! `print[:PRINTER]`: the page on paper, through CUPS.
//!
//! The page is made and proven in memory and goes to `lp` over a pipe: it is never a file of ours, and no argument of
//! the program says anything of it. What the print queue keeps is the print queue's business; CUPS keeps jobs for a day
//! by default.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use keyhaven_crypto::SecretBytes;
use keyhaven_fve::RecoveryRecord;

use super::pdf::{is_printable, page_context, read_page};
use super::{Destination, SaveContext, SaveError, Saved};
use crate::found::FoundKey;
use crate::paper::{Paper, render_pdf};

/// The title of the print job, which everyone who looks at the queue can read.
const JOB_TITLE: &str = "BitLocker recovery key";

const NOTE: &str = "the page was read back before it was printed, but paper cannot be: check it with a photo of the \
                    page and `keyhaven verify DRIVE PHOTO`";

/// What of the printing program's own words goes into an error.
const MAX_COMPLAINT_CHARS: usize = 300;

/// A printer.
pub struct PrintDestination {
    printer: Option<String>,
    paper: Paper,
    program: OsString,
    /// What was printed last, to be read back.
    printed: Mutex<Option<SecretBytes>>,
}

impl PrintDestination {
    /// Makes a destination of a printer that CUPS knows under this name, or of its default one.
    #[must_use]
    pub fn new(printer: Option<String>, paper: Paper) -> Self {
        Self {
            printer,
            paper,
            program: "lp".into(),
            printed: Mutex::new(None),
        }
    }

    /// Prints with another program, which takes the arguments of CUPS' `lp` and the page on standard input.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self
    }

    fn send(&self, pdf: &SecretBytes) -> Result<(), SaveError> {
        let program = self.program.to_string_lossy();
        let mut command = Command::new(&self.program);
        if let Some(printer) = &self.printer {
            command.arg("-d").arg(printer);
        }
        command
            .args(["-t", JOB_TITLE, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            SaveError::Other(if error.kind() == io::ErrorKind::NotFound {
                format!("the program `{program}` of CUPS, which prints, is not installed")
            } else {
                format!("the program `{program}`, which prints, does not start: {error}")
            })
        })?;
        // A program that ends early says why by itself: its words and exit status are the better error.
        let piped = child
            .stdin
            .take()
            .map_or(Ok(()), |mut pipe| pipe.write_all(pdf.expose_secret()));
        let output = child
            .wait_with_output()
            .map_err(|error| SaveError::Other(format!("the program `{program}` was lost: {error}")))?;
        if !output.status.success() {
            return Err(SaveError::Other(format!(
                "the page was not printed: {}",
                complaint(&output.stderr)
                    .unwrap_or_else(|| format!("`{program}` ended with {}", output.status))
            )));
        }
        piped.map_err(|error| SaveError::Other(format!("the page did not reach the printer: {error}")))
    }
}

impl fmt::Debug for PrintDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrintDestination({})", self.place())
    }
}

impl Destination for PrintDestination {
    fn place(&self) -> String {
        match &self.printer {
            Some(printer) => format!("print:{printer}"),
            None => "print".to_owned(),
        }
    }

    fn save(&self, records: &[RecoveryRecord], context: &SaveContext) -> Result<Vec<Saved>, SaveError> {
        let printable: Vec<&RecoveryRecord> = records.iter().filter(|record| is_printable(record)).collect();
        if printable.is_empty() {
            return Err(SaveError::Nothing);
        }
        let pdf = render_pdf(records, &page_context(context, self.paper))
            .map_err(|error| SaveError::other(&error))?;
        // A page that does not carry its key should not cost paper.
        for record in &printable {
            read_page(pdf.expose_secret(), record.protector_id)?;
        }
        self.send(&pdf)?;
        if let Ok(mut printed) = self.printed.lock() {
            *printed = Some(pdf);
        }
        let saved = |record: &&RecoveryRecord| Saved {
            protector_id: record.protector_id,
            path: None,
            already_there: false,
            note: Some(NOTE.to_owned()),
        };
        Ok(printable.iter().map(saved).collect())
    }

    /// Reads the page as it went to the printer: its text, and its QR code after rendering it.
    fn read_back(&self, saved: &Saved) -> Result<Vec<FoundKey>, SaveError> {
        match self.printed.lock() {
            Ok(printed) => match printed.as_ref() {
                Some(pdf) => read_page(pdf.expose_secret(), saved.protector_id),
                None => Ok(Vec::new()),
            },
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// Returns what the program said was wrong, as one line of bounded length.
fn complaint(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line
        .chars()
        .filter(|sign| !sign.is_control())
        .take(MAX_COMPLAINT_CHARS)
        .collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use super::super::{conformance, save_and_prove};
    use super::*;
    use crate::verdict::tests::drive;

    /// Writes a stand-in for `lp` into `folder`.
    fn fake_lp(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("lp");
        fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{script}\n", folder.display())).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
        path
    }

    #[test]
    fn the_page_goes_to_the_printer_and_nowhere_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let lp = fake_lp(
            folder.path(),
            "printf '%s\\n' \"$@\" > arguments\ncat > page.pdf\nenv > environment",
        );
        let printer = PrintDestination::new(Some("Office".to_owned()), Paper::A4).with_program(lp);
        let copies = save_and_prove(
            &printer,
            &conformance::records(),
            &drive(),
            &conformance::context(),
        );
        let copies = copies.expect("printed");
        assert_eq!(copies.len(), 2);
        for copy in &copies {
            assert_eq!(
                (copy.problem.as_deref(), copy.place.as_str()),
                (None, "print:Office")
            );
            assert!(
                copy.saved
                    .note
                    .as_ref()
                    .is_some_and(|note| note.contains("paper cannot be"))
            );
        }
        let arguments = fs::read_to_string(folder.path().join("arguments")).expect("there");
        assert_eq!(arguments, "-d\nOffice\n-t\nBitLocker recovery key\n-\n");
        let pdf = fs::read(folder.path().join("page.pdf")).expect("there");
        for record in conformance::records() {
            assert!(read_page(&pdf, record.protector_id).is_ok());
        }
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |program: PathBuf| {
            let printer = PrintDestination::new(None, Paper::A4).with_program(program);
            printer
                .save(&conformance::records(), &conformance::context())
                .expect_err("no printer")
                .to_string()
        };
        let missing = folder.path().join("no-such-lp");
        assert!(said(missing).ends_with("of CUPS, which prints, is not installed"));
        let lp = fake_lp(
            folder.path(),
            "echo 'lp: Error - no default destination available.' >&2; exit 1",
        );
        assert_eq!(
            said(lp),
            "the page was not printed: lp: Error - no default destination available."
        );
        let lp = fake_lp(folder.path(), "cat >/dev/null; exit 3");
        assert!(said(lp).contains("ended with exit status: 3"));
    }
}
