//! Where the list of saved keys is, and writing to it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keyhaven_backup::drive::Drive;
use keyhaven_backup::ledger::{Entry, Ledger, time_text};
use keyhaven_fve::{Guid, ProtectorKind};

use crate::context::Context;

/// Returns the ledger of this person; `None` where no home folder is known.
pub(crate) fn ledger() -> Option<Ledger> {
    // An XDG variable with a relative path is to be ignored (XDG Base Directory Specification).
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .or_else(|| absolute("LOCALAPPDATA"))?;
    Some(Ledger::at(state.join("keyhaven").join("ledger.json")))
}

/// Returns the entries of the ledger; a damaged or unreadable one is said and counts as empty.
pub(crate) fn entries(context: &Context) -> Vec<Entry> {
    let Some(ledger) = ledger() else { return Vec::new() };
    match ledger.read() {
        Ok(read) => {
            if let Some(aside) = &read.set_aside {
                tell_set_aside(aside, context);
            }
            read.entries
        }
        Err(error) => {
            context.ui.warn(&crate::error::CliError::chain(&error));
            Vec::new()
        }
    }
}

/// A copy to be noted.
pub(crate) struct Copy<'a> {
    pub(crate) protector_id: Guid,
    pub(crate) place: &'a str,
    pub(crate) path: Option<&'a Path>,
    pub(crate) proven: bool,
}

/// Notes copies of a drive's keys. That it could not be done is said; the copies are fine all the same.
pub(crate) fn note(volume: &dyn Drive, drive: &str, copies: &[Copy<'_>], now: Timestamp, context: &Context) {
    if copies.is_empty() {
        return;
    }
    let Some(ledger) = ledger() else {
        context
            .ui
            .warn("no home folder is known, so it is not noted where the key was saved");
        return;
    };
    let now = time_text(now);
    let entry = |copy: &Copy<'_>| Entry {
        volume_id: volume.volume_id().to_string(),
        protector_id: copy.protector_id.to_string(),
        kind: kind_of(volume, copy.protector_id).json_name(),
        place: copy.place.to_owned(),
        path: copy.path.map(|path| absolute(path).display().to_string()),
        drive: drive.to_owned(),
        saved_at: now.clone(),
        last_proven_at: copy.proven.then(|| now.clone()),
    };
    let entries: Vec<Entry> = copies.iter().map(entry).collect();
    match ledger.record(&entries) {
        Ok(None) => {}
        Ok(Some(aside)) => tell_set_aside(&aside, context),
        Err(error) => context.ui.warn(&format!(
            "it could not be noted where the key was saved: {}",
            crate::error::CliError::chain(&error)
        )),
    }
}

fn tell_set_aside(aside: &Path, context: &Context) {
    context.ui.warn(&format!(
        "the list of saved keys was damaged and is now `{}`",
        aside.display()
    ));
}

fn kind_of(volume: &dyn Drive, id: Guid) -> ProtectorKind {
    let protectors = volume.protectors();
    let own = protectors.into_iter().find(|(own, _)| *own == id);
    own.map_or(ProtectorKind::RecoveryPassword, |(_, kind)| kind)
}

fn absolute(path: &Path) -> PathBuf {
    dunce::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}
