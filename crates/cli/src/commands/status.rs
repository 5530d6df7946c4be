//! `keyhaven status`: where proven copies of each recovery key are, and which are stale or missing.

mod on_windows;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use jiff::Timestamp;
use keyhaven_backup::drive::Drive as Opens;
use keyhaven_backup::ledger::Entry;
use keyhaven_backup::reading::{self, ReadPlaceError};
use keyhaven_backup::verdict::{Effort, Verdict, judge};
use keyhaven_disk::os::Host;
use keyhaven_fve::{BackupHint, Guid, OpenOptions, ProtectorKind, Volume};
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::{Drive, DriveArgs, MetadataArgs};
use crate::elevation;
use crate::error::{CliError, Exit};
use crate::ledger_file;
use crate::vault_args::VaultArgs;
use crate::windows::{BackupNote, Computer};

pub(super) const VERB: Verb = Verb::of::<Status>();

/// Say for each recovery key where proven copies are, and which are stale or missing
///
/// Copies that were noted when they were saved are looked at again where they can be reached, and tried on the drive.
/// What Windows itself noted on the drive is shown, too. Without a drive: all drives of this computer that can be read,
/// and all others that copies were noted for. The exit code is 0 if every recovery key has a copy that opens its drive,
/// and no encrypted drive is without one.
///
/// On Windows, what it remembers of its own backups is shown beside that, and with `-v` what its event log says; neither
/// is trusted.
#[derive(Parser)]
#[command(name = "status")]
struct Status {
    /// The drives; without any, all that are known
    #[arg(value_name = "DRIVE")]
    drives: Vec<OsString>,

    #[command(flatten)]
    metadata: MetadataArgs,

    #[command(flatten)]
    vault: VaultArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    drives: Vec<DriveStatus>,
}

#[derive(Serialize)]
struct DriveStatus {
    drive: String,
    volume_id: String,
    /// Whether the drive is there to try keys on.
    present: bool,
    /// Whether it can be locked; `null` where it is not there.
    encrypted: Option<bool>,
    keys: Vec<KeyStatus>,
    /// What Windows says of it: `on`, `locked`, `suspended`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    protection: Option<&'static str>,
    /// Whether Windows may have encrypted it by itself.
    #[serde(skip)]
    may_be_by_itself: bool,
    /// What the event log says, newest first; only with `-v`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<String>,
}

#[derive(Serialize)]
struct KeyStatus {
    protector_id: String,
    key_id: String,
    /// `proven`, `never_proven`, `missing`, `never_backed_up`, `stale`, `unknown`.
    state: &'static str,
    copies: Vec<CopyStatus>,
    /// When Windows noted that it saved the key, and where.
    backup_hints: Vec<String>,
    /// Where Windows remembers to have saved it, if it is asked and says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    windows_backups: Option<Vec<BackupNote>>,
}

/// A drive whose keys are looked for.
struct Subject<'a> {
    /// What the person calls it.
    name: &'a str,
    /// What copies are tried on.
    opens: &'a dyn Opens,
    /// Whether there is anything to try them on: not for a locked drive that cannot be read.
    can_be_tried: bool,
    encrypted: bool,
    /// What is noted on the drive about backups of a key.
    hints: &'a dyn Fn(Guid) -> Vec<String>,
    /// What Windows remembers of them.
    windows_backups: &'a dyn Fn(Guid) -> Option<Vec<BackupNote>>,
}

#[derive(Serialize)]
struct CopyStatus {
    place: String,
    path: Option<String>,
    /// `opens`, another verdict, `missing`, or `not_checked` (paper, closed vaults, an absent drive).
    now: String,
    saved_at: String,
    last_proven_at: Option<String>,
}

impl Run for Status {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let computer = Computer::this();
        let refused = on_windows::refusal(computer.as_ref().filter(|_| self.drives.is_empty()));
        if let Some(refused) = &refused {
            context.ui.warn_of(refused);
        }
        let statuses = self.statuses(computer.as_ref(), context)?;
        if statuses.is_empty() {
            if context.ui.is_json() {
                context.ui.json(&Answer { drives: statuses })?;
            } else {
                context
                    .ui
                    .line("no BitLocker drive is known, and no saved key was noted")?;
                context.ui.say(elevation::TO_SEE_DRIVES);
            }
            return Ok(Exit::No);
        }
        let is_safe = statuses.iter().all(DriveStatus::is_safe);
        if context.ui.is_json() {
            context.ui.json(&Answer { drives: statuses })?;
        } else {
            for drive in &statuses {
                print(drive, context)?;
            }
        }
        Ok(match (is_safe, refused) {
            (false, _) => Exit::No,
            // What nobody could look at is not known to be safe.
            (true, Some(_)) => Exit::CouldNot,
            (true, None) => Exit::Done,
        })
    }
}

impl Status {
    fn statuses(&self, computer: Option<&Computer>, context: &Context) -> Result<Vec<DriveStatus>, CliError> {
        let entries = ledger_file::entries(context);
        let mut live = Vec::new();
        let mut drives = Vec::new();
        for name in &self.drives {
            if let Some(known) = crate::windows::drive(computer, name, context)? {
                live.push(known);
                continue;
            }
            let arguments = DriveArgs {
                drive: name.clone(),
                metadata: self.metadata.clone(),
            };
            drives.push(arguments.open(context)?);
        }
        if self.drives.is_empty() {
            if let Some(computer) = computer {
                live = on_windows::all(computer, context)?;
            }
            let is_told = |drive: &Drive| {
                let id = drive.volume.metadata().volume_id();
                live.iter().any(|live| live.told.volume_id == Some(id))
            };
            drives = drives_of_this_computer(context);
            drives.retain(|drive| !is_told(drive));
        }
        let mut secrets = self.vault.secrets(context)?;
        let mut statuses = Vec::new();
        let events = on_windows::events(&live, context);
        for live in &live {
            context.interrupt.check()?;
            statuses.push(on_windows::of_drive(
                live,
                &events,
                &entries,
                &mut secrets,
                context,
            )?);
        }
        for drive in &drives {
            context.interrupt.check()?;
            statuses.push(of_drive(drive, &entries, &mut secrets, context));
        }
        if self.drives.is_empty() {
            statuses.extend(absent(&entries, &statuses));
        }
        Ok(statuses)
    }
}

/// Says in a sentence each what is not safe: for a check that nobody watches.
pub(super) fn what_is_not_safe(context: &Context) -> Result<Vec<String>, CliError> {
    let status = Status::try_parse_from(["status"])
        .map_err(|error| CliError::could_not("the status cannot be asked for").because(&error))?;
    let computer = Computer::this();
    if let Some(refused) = on_windows::refusal(computer.as_ref()) {
        return Err(refused);
    }
    let statuses = status.statuses(computer.as_ref(), context)?;
    let unsafe_ones = statuses.iter().filter(|drive| drive.present && !drive.is_safe());
    Ok(unsafe_ones.map(DriveStatus::to_sentence).collect())
}

fn drives_of_this_computer(context: &Context) -> Vec<Drive> {
    let options = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    let devices = Host::system().block_devices().unwrap_or_default();
    let open = |path: &Path| {
        let device = keyhaven_disk::open(path).ok()?;
        let volume = Volume::open(device, &options, &mut |_| context.interrupt.flow()).ok()?;
        Some(Drive {
            name: path.display().to_string(),
            volume,
            writable: None,
            container: None,
        })
    };
    devices.iter().filter_map(|device| open(&device.path)).collect()
}

fn of_drive(
    drive: &Drive,
    entries: &[Entry],
    secrets: &mut dyn reading::Secrets,
    context: &Context,
) -> DriveStatus {
    let volume = &drive.volume;
    let hints = |id: Guid| -> Vec<String> {
        let protectors = volume.metadata().protectors();
        let own = protectors.iter().find(|own| own.id() == id);
        let hints = own.map(|own| own.backup_hints()).unwrap_or_default();
        hints.into_iter().filter_map(hint_text).collect()
    };
    let subject = Subject {
        name: &drive.name,
        opens: volume,
        can_be_tried: true,
        encrypted: volume.unlock_decrypted().is_none(),
        hints: &hints,
        windows_backups: &|_| None,
    };
    of(&subject, entries, secrets, context)
}

fn of(
    subject: &Subject<'_>,
    entries: &[Entry],
    secrets: &mut dyn reading::Secrets,
    context: &Context,
) -> DriveStatus {
    let volume_id = subject.opens.volume_id().to_string();
    let ours: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.volume_id == volume_id)
        .collect();
    let mut keys = Vec::new();
    let mut proven_now = Vec::new();
    let protectors = subject.opens.protectors();
    for (protector_id, _) in protectors
        .iter()
        .filter(|(_, kind)| *kind == ProtectorKind::RecoveryPassword)
    {
        let id = protector_id.to_string();
        let mut copies = Vec::new();
        for entry in ours.iter().filter(|entry| entry.protector_id == id) {
            let now = look_again(entry, subject, secrets);
            if now == "opens" {
                proven_now.push((*protector_id, (*entry).clone()));
            }
            copies.push(CopyStatus::of(entry, now));
        }
        let backup_hints = (subject.hints)(*protector_id);
        let windows_backups = (subject.windows_backups)(*protector_id);
        let is_there = |copy: &CopyStatus| copy.now == "not_checked";
        let state = if copies
            .iter()
            .any(|copy| copy.now == "opens" || (is_there(copy) && copy.last_proven_at.is_some()))
        {
            "proven"
        } else if copies.iter().any(is_there) {
            "never_proven"
        } else if !copies.is_empty() {
            "missing"
        } else if !backup_hints.is_empty() || windows_backups.as_ref().is_some_and(|all| !all.is_empty()) {
            // Windows saved it somewhere; whether that copy is good, nobody has tried.
            "never_proven"
        } else {
            "never_backed_up"
        };
        keys.push(KeyStatus {
            key_id: protector_id.key_id(),
            protector_id: id,
            state,
            copies,
            backup_hints,
            windows_backups,
        });
    }
    // Copies of keys that the drive no longer has.
    let mut gone: BTreeMap<&str, Vec<CopyStatus>> = BTreeMap::new();
    for entry in ours {
        if !protectors
            .iter()
            .any(|(own, _)| own.to_string() == entry.protector_id)
        {
            gone.entry(&entry.protector_id)
                .or_default()
                .push(CopyStatus::of(entry, "stale".to_owned()));
        }
    }
    for (id, copies) in gone {
        keys.push(KeyStatus {
            key_id: id.get(..8).unwrap_or(id).to_owned(),
            protector_id: id.to_owned(),
            state: "stale",
            copies,
            backup_hints: Vec::new(),
            windows_backups: None,
        });
    }
    let notes: Vec<_> = proven_now
        .iter()
        .map(|(protector_id, entry)| ledger_file::Copy {
            protector_id: *protector_id,
            place: &entry.place,
            path: entry.path.as_deref().map(Path::new),
            proven: true,
        })
        .collect();
    ledger_file::note(subject.opens, subject.name, &notes, Timestamp::now(), context);
    DriveStatus {
        drive: subject.name.to_owned(),
        volume_id,
        present: true,
        encrypted: Some(subject.encrypted),
        keys,
        protection: None,
        may_be_by_itself: false,
        events: Vec::new(),
    }
}

/// Looks at a copy again and tries it on the drive.
fn look_again(entry: &Entry, subject: &Subject<'_>, secrets: &mut dyn reading::Secrets) -> String {
    let Some(path) = entry.path.as_ref().filter(|_| subject.can_be_tried) else {
        return "not_checked".to_owned();
    };
    let found = match reading::read_file(path.as_ref(), secrets) {
        Ok(found) => found,
        Err(ReadPlaceError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return "missing".to_owned();
        }
        Err(ReadPlaceError::LockedVault | ReadPlaceError::Vault(_)) => return "not_checked".to_owned(),
        Err(_) => return "unreadable".to_owned(),
    };
    let mut worst = "missing".to_owned();
    for key in &found {
        match judge(subject.opens, key, Effort::ById) {
            Verdict::Opens { protector_id } if protector_id.to_string() == entry.protector_id => {
                return "opens".to_owned();
            }
            verdict => verdict.name().clone_into(&mut worst),
        }
    }
    worst
}

/// Lists the volumes that copies were noted for and that are not here.
fn absent(entries: &[Entry], present: &[DriveStatus]) -> Vec<DriveStatus> {
    let mut volumes: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries
        .iter()
        .filter(|entry| present.iter().all(|drive| drive.volume_id != entry.volume_id))
    {
        volumes.entry(&entry.volume_id).or_default().push(entry);
    }
    let status = |(volume_id, entries): (&str, Vec<&Entry>)| {
        let mut keys: BTreeMap<&str, Vec<CopyStatus>> = BTreeMap::new();
        for entry in &entries {
            let is_gone = entry.path.as_ref().is_some_and(|path| !Path::new(path).exists());
            let now = if is_gone { "missing" } else { "not_checked" };
            keys.entry(&entry.protector_id)
                .or_default()
                .push(CopyStatus::of(entry, now.to_owned()));
        }
        DriveStatus {
            drive: entries
                .last()
                .map_or_else(String::new, |entry| entry.drive.clone()),
            volume_id: volume_id.to_owned(),
            present: false,
            encrypted: None,
            keys: keys
                .into_iter()
                .map(|(id, copies)| KeyStatus {
                    key_id: id.get(..8).unwrap_or(id).to_owned(),
                    protector_id: id.to_owned(),
                    state: match copies.iter().find(|copy| copy.now != "missing") {
                        Some(copy) if copy.last_proven_at.is_some() => "proven",
                        Some(_) => "never_proven",
                        None => "missing",
                    },
                    copies,
                    backup_hints: Vec::new(),
                    windows_backups: None,
                })
                .collect(),
            protection: None,
            may_be_by_itself: false,
            events: Vec::new(),
        }
    };
    volumes.into_iter().map(status).collect()
}

fn hint_text(hint: BackupHint) -> Option<String> {
    match hint {
        BackupHint::Saved(at) => Some(format!("saved on {at}")),
        BackupHint::Account(account) => Some(format!("saved to the account {account}")),
        _ => None,
    }
}

impl DriveStatus {
    /// Tells whether every recovery key has a good copy, and there is one at all. A drive that is not encrypted needs
    /// none.
    fn is_safe(&self) -> bool {
        let mut current = self.keys.iter().filter(|key| key.state != "stale").peekable();
        let is_needed = self.encrypted.unwrap_or(false);
        (current.peek().is_some() || !is_needed) && current.all(|key| key.state == "proven")
    }

    /// Says in a sentence what is not safe about it.
    fn to_sentence(&self) -> String {
        let of_state = |state: &str| -> Vec<&str> {
            let keys = self.keys.iter().filter(|key| key.state == state);
            keys.map(|key| key.key_id.as_str()).collect()
        };
        let problems = [
            ("never_backed_up", "was never backed up"),
            ("never_proven", "has no copy that was ever proven"),
            ("missing", "has no copy that is good now"),
        ];
        let told: Vec<String> = problems
            .iter()
            .filter_map(|(state, what)| {
                let ids = of_state(state);
                let ids = ids.join(", ");
                (!ids.is_empty()).then(|| format!("the recovery key {ids} of {} {what}", self.drive))
            })
            .collect();
        if told.is_empty() {
            return format!("{} has no recovery key", self.drive);
        }
        told.join("; ")
    }

    /// Tells whether a key of it is nowhere, so that its owner may never have seen one: Windows encrypts by itself.
    fn may_be_unseen(&self) -> bool {
        self.may_be_by_itself && self.keys.iter().any(|key| key.state == "never_backed_up")
    }
}

impl CopyStatus {
    fn of(entry: &Entry, now: String) -> Self {
        Self {
            place: entry.place.clone(),
            path: entry.path.clone(),
            now,
            saved_at: entry.saved_at.clone(),
            last_proven_at: entry.last_proven_at.clone(),
        }
    }
}

fn print(drive: &DriveStatus, context: &Context) -> Result<(), CliError> {
    let ui = &context.ui;
    let here = if drive.present { "" } else { "  (not here now)" };
    let protection = drive
        .protection
        .map(|protection| format!("  ({protection})"))
        .unwrap_or_default();
    ui.line(&format!("{}{here}{protection}", drive.drive))?;
    match drive.encrypted {
        Some(false) => ui.line("  is not encrypted: it needs no recovery key")?,
        Some(true) if drive.keys.iter().all(|key| key.state == "stale") => {
            let how = match drive.protection {
                Some(_) => format!(
                    "`keyhaven backup {} --add-recovery-key` adds and saves one",
                    drive.drive
                ),
                None => "`keyhaven backup` says how to add one".to_owned(),
            };
            ui.line(&format!("  NOT SAFE: has no recovery key; {how}"))?;
        }
        _ => {}
    }
    for key in &drive.keys {
        let state = match key.state {
            "proven" => "backed up, and proven to open the drive",
            "never_proven" => "backed up, but no copy was ever proven",
            "missing" => "NOT SAFE: none of the copies that were noted is good now",
            "stale" => "stale: the drive no longer has this key; its copies can be thrown away",
            _ => "NOT SAFE: never backed up",
        };
        ui.line(&format!("  key ID {}  {state}", key.key_id))?;
        for copy in &key.copies {
            let place = copy.path.as_ref().unwrap_or(&copy.place);
            let now = match copy.now.as_str() {
                "opens" => "opens the drive".to_owned(),
                "missing" => "is not there".to_owned(),
                "stale" => "is stale".to_owned(),
                "mistyped" => "is damaged: its digits no longer check".to_owned(),
                "not_checked" => match &copy.last_proven_at {
                    Some(at) => format!("not looked at now, last proven {at}"),
                    None => "not looked at now, never proven".to_owned(),
                },
                other => format!("does not open the drive ({other})"),
            };
            ui.line(&format!("    {place}: {now}"))?;
        }
        for hint in &key.backup_hints {
            ui.line(&format!("    Windows noted: {hint}"))?;
        }
        for note in key.windows_backups.iter().flatten() {
            ui.line(&format!(
                "    Windows remembers a backup to {}: read, not proven",
                note.to_text()
            ))?;
        }
    }
    if drive.may_be_unseen() {
        ui.line(
            "  Windows may have encrypted this drive by itself: nobody knows of a copy of its key. `keyhaven backup` \
             saves it",
        )?;
    }
    for event in &drive.events {
        ui.line(&format!("    event log: {event}"))?;
    }
    Ok(())
}
