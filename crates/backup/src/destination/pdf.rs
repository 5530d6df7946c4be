//! `pdf:PATH`: a page to print, with the key in digits and as a QR code.

use std::path::PathBuf;

use keyhaven_fve::{Credential, Guid, RecordKey, RecoveryRecord};

use super::file::holds_same_key;
use super::{Destination, SaveContext, SaveError, Saved, Written, read_fresh, write_new};
use crate::found::{FoundContent, FoundKey, Source};
use crate::paper::{PageContext, Paper, prove_page, render_pdf};

/// A folder, in which each key gets a PDF of its own, or a file name for one PDF with a page for each key.
#[derive(Debug)]
pub struct PdfDestination {
    path: PathBuf,
    paper: Paper,
}

impl PdfDestination {
    /// Makes a destination of what follows `pdf:`. A path that ends in a separator, or is a folder already, is one.
    #[must_use]
    pub fn new(path: PathBuf, paper: Paper) -> Self {
        Self { path, paper }
    }

    fn is_folder(&self) -> bool {
        super::is_folder(&self.path)
    }

    /// Returns each file with the records that it is to hold.
    fn files<'a>(&self, records: &'a [RecoveryRecord]) -> Vec<(PathBuf, &'a [RecoveryRecord])> {
        if !self.is_folder() {
            return vec![(self.path.clone(), records)];
        }
        records
            .chunks(1)
            .filter(|record| record.iter().all(is_printable))
            .filter_map(|record| Some((self.path.join(file_name(record.first()?.protector_id)), record)))
            .collect()
    }
}

impl Destination for PdfDestination {
    fn place(&self) -> String {
        format!("pdf:{}", self.path.display())
    }

    fn save(&self, records: &[RecoveryRecord], context: &SaveContext) -> Result<Vec<Saved>, SaveError> {
        if !records.iter().any(is_printable) {
            return Err(SaveError::Nothing);
        }
        let page = page_context(context, self.paper);
        let mut written_now: Vec<PathBuf> = Vec::new();
        let mut saved = Vec::new();
        let mut save_all = || -> Result<(), SaveError> {
            for (path, records) in self.files(records) {
                let pdf = render_pdf(records, &page).map_err(|error| SaveError::other(&error))?;
                let printable = || records.iter().filter(|record| is_printable(record));
                let written = write_new(&path, &pdf, |there| {
                    printable().all(|record| holds_same_key(there, record))
                })?;
                if written == Written::New {
                    written_now.push(path.clone());
                }
                saved.extend(printable().map(|record| Saved {
                    protector_id: record.protector_id,
                    path: Some(path.clone()),
                    already_there: written == Written::AlreadyThere,
                    note: None,
                }));
            }
            Ok(())
        };
        match save_all() {
            Ok(()) => Ok(saved),
            Err(error) => {
                for path in written_now {
                    let _ = std::fs::remove_file(path);
                }
                Err(error)
            }
        }
    }

    fn read_back(&self, saved: &Saved) -> Result<Vec<FoundKey>, SaveError> {
        let Some(path) = &saved.path else {
            return Ok(Vec::new());
        };
        read_page(read_fresh(path)?.expose_secret(), saved.protector_id)
    }
}

/// Returns the key on the page for a protector, where digits and QR code agree on it.
pub(super) fn read_page(pdf: &[u8], protector_id: Guid) -> Result<Vec<FoundKey>, SaveError> {
    let key = prove_page(pdf, protector_id).map_err(|error| SaveError::other(&error))?;
    let content = FoundContent::Key(Credential::RecoveryPassword(key));
    Ok(vec![FoundKey {
        ids: vec![protector_id],
        content,
        source: Source::default(),
    }])
}

/// Returns what the page of a saved key says besides the key.
pub(super) fn page_context(context: &SaveContext, paper: Paper) -> PageContext {
    PageContext {
        drive_name: context.drive.clone(),
        saved_on: context.saved_on.clone(),
        paper,
    }
}

/// Tells whether a record is a key that can be typed from paper.
pub(super) fn is_printable(record: &RecoveryRecord) -> bool {
    matches!(record.key, RecordKey::RecoveryPassword(_))
}

fn file_name(protector_id: Guid) -> String {
    format!("BitLocker Recovery Key {protector_id}.pdf")
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[test]
    fn it_is_a_destination() {
        let folder = tempfile::tempdir().expect("a folder");
        conformance::check(
            &PdfDestination::new(folder.path().to_owned(), Paper::A4),
            folder.path(),
        );
    }

    #[test]
    fn a_file_name_is_one_pdf_with_all_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        conformance::check(
            &PdfDestination::new(folder.path().join("keys.pdf"), Paper::Letter),
            folder.path(),
        );
    }

    #[test]
    fn a_page_of_another_key_is_no_copy() {
        let folder = tempfile::tempdir().expect("a folder");
        let destination = PdfDestination::new(folder.path().join("keys.pdf"), Paper::A4);
        let records = conformance::records();
        destination
            .save(&records[..1], &conformance::context())
            .expect("saved");
        let error = destination
            .save(&records, &conformance::context())
            .expect_err("it holds one key only");
        assert!(matches!(error, SaveError::Occupied { .. }), "{error}");
        let saved = Saved {
            protector_id: records[1].protector_id,
            path: Some(folder.path().join("keys.pdf")),
            already_there: false,
            note: None,
        };
        let error = destination.read_back(&saved).expect_err("no page for it");
        assert_eq!(error.to_string(), "there is no page for key ID 02020202");
    }
}
