//! The status of drives that Windows knows.

use keyhaven_backup::ledger::Entry;
use keyhaven_backup::reading;
use keyhaven_fve::Guid;

use super::{DriveStatus, Subject, hint_text, of};
use crate::context::Context;
use crate::error::CliError;
use crate::windows::{self, BackupNote, Computer, Live, LoggedEvent, System};

/// Says why Windows does not answer at all, if it does not though it has BitLocker.
pub(super) fn refusal(computer: Option<&Computer>) -> Option<CliError> {
    match computer?.volumes() {
        Err(error) if !windows::has_no_bitlocker(&error) => Some(windows::refusal(&error)),
        _ => None,
    }
}

/// Asks for all encrypted drives of this computer; none where Windows does not answer.
pub(super) fn all<'c>(computer: &'c Computer, context: &Context) -> Result<Vec<Live<'c>>, CliError> {
    let volumes = computer.volumes().unwrap_or_default();
    let mut drives = Vec::new();
    for volume in volumes {
        context.interrupt.check()?;
        match Live::of(volume, computer, context) {
            Ok(live) if live.told.is_encrypted() => drives.push(live),
            Ok(_) => {}
            Err(error) => context.ui.warn_of(&error),
        }
    }
    Ok(drives)
}

/// Reads the event log, where `-v` asks for it and there is anything to read it for.
pub(super) fn events(drives: &[Live<'_>], context: &Context) -> Vec<LoggedEvent> {
    if drives.is_empty() || !context.ui.is_verbose() {
        return Vec::new();
    }
    windows::logged_events(&mut System)
}

/// Looks at the copies of one drive's keys.
pub(super) fn of_drive(
    live: &Live<'_>,
    events: &[LoggedEvent],
    entries: &[Entry],
    secrets: &mut dyn reading::Secrets,
    context: &Context,
) -> Result<DriveStatus, CliError> {
    let opener = live.opener()?;
    let hints = |id: Guid| -> Vec<String> {
        let protectors = live
            .beneath
            .iter()
            .flat_map(|volume| volume.metadata().protectors());
        let hints = protectors
            .filter(|own| own.id() == id)
            .flat_map(|own| own.backup_hints());
        hints.filter_map(hint_text).collect()
    };
    let windows_backups = |id: Guid| -> Option<Vec<BackupNote>> {
        let own = live.told.protectors.iter().find(|own| own.id == id)?;
        own.backups.clone()
    };
    let subject = Subject {
        name: live.name(),
        opens: opener.drive(),
        can_be_tried: live.beneath.is_some() || !live.told.is_locked(),
        encrypted: live.told.is_encrypted(),
        hints: &hints,
        windows_backups: &windows_backups,
    };
    let mut status = of(&subject, entries, secrets, context);
    status.protection = Some(live.told.state.name());
    status.may_be_by_itself = live.told.may_be_encrypted_by_itself();
    let is_about_it = |event: &&LoggedEvent| {
        let ids = live.told.protectors.iter().map(|own| own.id);
        ids.chain(live.told.volume_id).any(|id| event.ids.contains(&id))
    };
    let text = |event: &LoggedEvent| format!("{} {} (not trusted)", event.time, event.what);
    status.events = events.iter().filter(is_about_it).map(text).collect();
    Ok(status)
}
