//! A note that a rotation is under way, so that an interrupted one knows which key is the new one. It holds no secret.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use jiff::Timestamp;
use keyhaven_fve::Guid;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::CliError;
use crate::ledger_file;

/// Where the note for a volume is, or would be; nowhere where no home folder is known.
pub(super) struct Note(Option<PathBuf>);

/// A rotation that did not come to its end.
pub(super) struct Interrupted {
    /// The key that was added.
    pub(super) new: Guid,
    /// The keys that are to be removed.
    pub(super) old: Vec<Guid>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    new_protector_id: String,
    old_protector_ids: Vec<String>,
    begun: String,
}

impl Note {
    pub(super) fn of(volume_id: Guid) -> Self {
        let name = format!("{volume_id}.json");
        Self(ledger_file::ledger().map(|ledger| ledger.path().with_file_name("rotations").join(name)))
    }

    /// Reads the note; one that cannot be understood is said, and counts as none.
    pub(super) fn read(&self, context: &Context) -> Option<Interrupted> {
        let path = self.0.as_ref().filter(|path| path.exists())?;
        let content = fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Content>(&bytes).ok());
        let understood = content.and_then(|content| {
            Some(Interrupted {
                new: content.new_protector_id.parse().ok()?,
                old: content
                    .old_protector_ids
                    .iter()
                    .map(|id| id.parse().ok())
                    .collect::<Option<_>>()?,
            })
        });
        if understood.is_none() {
            context.ui.warn(&format!(
                "`{}`, which tells of an interrupted rotation, cannot be understood",
                path.display()
            ));
        }
        understood
    }

    /// Writes the note, onto the medium, before the drive is changed.
    pub(super) fn write(&self, new: Guid, old: &[Guid], now: Timestamp) -> Result<(), CliError> {
        let Some(path) = &self.0 else { return Ok(()) };
        let content = Content {
            new_protector_id: new.to_string(),
            old_protector_ids: old.iter().map(Guid::to_string).collect(),
            begun: now.to_string(),
        };
        let written = || -> std::io::Result<()> {
            let folder = path.parent().unwrap_or(path);
            fs::create_dir_all(folder)?;
            let partial = path.with_extension("partial");
            let mut file = fs::File::create(&partial)?;
            file.write_all(&serde_json::to_vec_pretty(&content)?)?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            // The name has to last, too, where the file system can promise that.
            fs::File::open(folder)
                .and_then(|folder| folder.sync_all())
                .or(Ok(()))
        };
        written().map_err(|error| {
            CliError::could_not(format!(
                "it cannot be noted in `{}` which key is the new one",
                path.display()
            ))
            .because(&error)
            .hint("nothing was changed")
        })
    }

    /// Takes the note away: the rotation has come to its end.
    pub(super) fn forget(&self, context: &Context) {
        let Some(path) = self.0.as_ref().filter(|path| path.exists()) else {
            return;
        };
        if let Err(error) = fs::remove_file(path) {
            context
                .ui
                .warn(&format!("`{}` cannot be removed: {error}", path.display()));
        }
    }
}
