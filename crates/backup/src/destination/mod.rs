//! The places where recovery keys are saved: one kind is one file.
//!
//! Saving has three steps, and only after the last is a copy called saved: it is written completely or not at all, read
//! back from the medium by the code that will read it on the bad day, and tried on the drive.

mod exclusive;
mod file;
mod pdf;
mod print;
mod usb;
mod vault;

use std::fmt;
use std::path::{Path, PathBuf};

use keyhaven_fve::{Guid, RecoveryRecord};

use crate::drive::Drive;
use crate::found::FoundKey;
use crate::verdict::{Effort, Verdict, judge};

pub use exclusive::{Written, read_fresh, write_new};
pub use file::{FileDestination, folder_for};
pub use pdf::PdfDestination;
pub use print::PrintDestination;
pub use usb::UsbDestination;
pub use vault::VaultDestination;

/// What a saved copy says besides the key.
#[derive(Debug, Clone)]
pub struct SaveContext {
    /// What the person calls the drive.
    pub drive: String,
    /// When, in words for people: "24 November 2026".
    pub saved_on: String,
    /// When, for files that carry a time of their own.
    pub saved_at: keyhaven_fve::format::FileTime,
}

/// Somewhere to keep recovery keys.
pub trait Destination: fmt::Debug {
    /// Returns the place as the person named it, without secrets: `file:/backup`.
    fn place(&self) -> String;

    /// Writes the records that this kind of place can hold; each completely or not at all, over nothing.
    ///
    /// # Errors
    /// [`SaveError`]; nothing is left behind of what could not be written.
    fn save(&self, records: &[RecoveryRecord], context: &SaveContext) -> Result<Vec<Saved>, SaveError>;

    /// Reads a saved copy again, from its medium.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read_back(&self, saved: &Saved) -> Result<Vec<FoundKey>, SaveError>;
}

/// A copy that was written and not yet proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The protector whose key it is.
    pub protector_id: Guid,
    /// The file, where it is one.
    pub path: Option<PathBuf>,
    /// The same key was there before.
    pub already_there: bool,
    /// What the person has to know: that paper cannot be read back by itself.
    pub note: Option<String>,
}

/// Why a copy was not saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Something else has this name.
    #[error("`{}` exists already with other content, and nothing is overwritten", .path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// There is no such folder.
    #[error("there is no folder `{}`", .path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Writing failed.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file; nothing of it was left behind.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Reading back failed.
    #[error("cannot read `{}` back", .path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No removable drive is mounted.
    #[error("no removable drive is mounted")]
    NoStick,
    /// Several removable drives are mounted.
    #[error("several removable drives are mounted: {}", .0.join(", "))]
    SeveralSticks(
        /// Where they are mounted.
        Vec<String>,
    ),
    /// What is mounted there is no removable drive, or nothing is.
    #[error("no removable drive is mounted at `{}`", .0.display())]
    NotAStick(
        /// The mount point.
        PathBuf,
    ),
    /// One file name for several keys.
    #[error("the drive has {count} recovery keys, and `{}` is one file", .path.display())]
    SeveralKeys {
        /// The file.
        path: PathBuf,
        /// How many keys there are.
        count: usize,
    },
    /// There is nothing to save that this place can hold.
    #[error("there is no recovery key to save there")]
    Nothing,
    /// Something else, in words of its own.
    #[error("{0}")]
    Other(String),
}

impl SaveError {
    /// Wraps another error with all its causes.
    #[must_use]
    pub fn other(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        Self::Other(text)
    }
}

/// A copy, and whether it opens the drive.
#[derive(Debug)]
pub struct ProvenCopy {
    /// The place as the person named it.
    pub place: String,
    /// The copy.
    pub saved: Saved,
    /// Nothing if it was read back and opens the drive; else why that cannot be said.
    pub problem: Option<String>,
}

impl ProvenCopy {
    /// Tells whether the copy was read back and opened the drive.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.problem.is_none()
    }
}

/// Saves records to a place, reads each copy back and tries it on the drive.
///
/// # Errors
/// [`SaveError`] when nothing was saved. Copies that were saved and could not be proven say so.
pub fn save_and_prove(
    destination: &dyn Destination,
    records: &[RecoveryRecord],
    drive: &dyn Drive,
    context: &SaveContext,
) -> Result<Vec<ProvenCopy>, SaveError> {
    let saved = destination.save(records, context)?;
    if saved.is_empty() {
        return Err(SaveError::Nothing);
    }
    let prove = |saved: Saved| {
        let problem = match destination.read_back(&saved) {
            Ok(found) => problem_of(&found, saved.protector_id, drive),
            Err(error) => Some(match &error {
                SaveError::ReadBack { source, .. } => format!("{error}: {source}"),
                _ => error.to_string(),
            }),
        };
        ProvenCopy {
            place: destination.place(),
            saved,
            problem,
        }
    };
    Ok(saved.into_iter().map(prove).collect())
}

/// Returns why the keys that were read back do not prove the copy of this protector's key.
fn problem_of(found: &[FoundKey], protector_id: Guid, drive: &dyn Drive) -> Option<String> {
    let mut problem = "the key was not found in it when it was read back".to_owned();
    let ours = found
        .iter()
        .filter(|key| key.ids.is_empty() || key.ids.contains(&protector_id));
    for key in ours {
        match judge(drive, key, Effort::Everything) {
            Verdict::Opens { protector_id: opened } if opened == protector_id => return None,
            Verdict::Opens { .. } => {
                "what was read back is another key of the drive".clone_into(&mut problem)
            }
            Verdict::Mistyped { problem: what, .. } => {
                problem = format!("what was read back is damaged: {what}")
            }
            Verdict::Unreadable { reason } => problem = format!("it could not be tried: {reason}"),
            Verdict::WrongKey | Verdict::OtherDrive => {
                "what was read back does not open the drive".clone_into(&mut problem);
            }
        }
    }
    Some(problem)
}

/// Tells whether a path is meant as a folder: it is one already, or it ends in a separator.
pub(crate) fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Returns the folder in which a file lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
pub(crate) mod conformance;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::drive;

    /// A place that gives back another text than it was given.
    #[derive(Debug)]
    struct Forgetful(String);

    impl Destination for Forgetful {
        fn place(&self) -> String {
            "forgetful".to_owned()
        }

        fn save(&self, records: &[RecoveryRecord], _: &SaveContext) -> Result<Vec<Saved>, SaveError> {
            let saved = |record: &RecoveryRecord| Saved {
                protector_id: record.protector_id,
                path: None,
                already_there: false,
                note: None,
            };
            Ok(records.iter().map(saved).collect())
        }

        fn read_back(&self, _: &Saved) -> Result<Vec<FoundKey>, SaveError> {
            Ok(crate::text::scan(&self.0))
        }
    }

    #[test]
    fn a_copy_that_reads_back_as_anything_else_is_not_proven() {
        let records = conformance::records();
        let digits = |number: usize| match &records[number].key {
            keyhaven_fve::RecordKey::RecoveryPassword(key) => key.to_digits().expose_secret().to_owned(),
            _ => unreachable!("they are recovery keys"),
        };
        let problem = |text: &str| {
            let copies = save_and_prove(
                &Forgetful(text.to_owned()),
                &records[..1],
                &drive(),
                &conformance::context(),
            );
            copies.expect("saved").remove(0).problem
        };
        let id = records[0].protector_id;
        assert_eq!(problem(&format!("{id} {}", digits(0))), None);
        assert_eq!(problem(&digits(0)), None);
        for (text, expected) in [
            (String::new(), "not found in it"),
            (
                format!("{id}\n000000{}", &digits(0)[6..]),
                "does not open the drive",
            ),
            (format!("{id}\n000001{}", &digits(0)[6..]), "is damaged: "),
            (format!("{id}\n{}", digits(1)), "another key of the drive"),
            (
                format!("{}\n{}", records[1].protector_id, digits(0)),
                "not found in it",
            ),
        ] {
            let problem = problem(&text).expect(expected);
            assert!(problem.contains(expected), "{problem}");
            assert!(!problem.contains(&digits(0)[6..]), "no digits are shown");
        }
    }

    #[test]
    fn a_place_that_holds_nothing_is_an_error() {
        let saved = save_and_prove(&Forgetful(String::new()), &[], &drive(), &conformance::context());
        assert!(matches!(saved, Err(SaveError::Nothing)));
    }
}
