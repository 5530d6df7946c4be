//! `keyhaven status`: where proven copies of each recovery key are, and which are stale or missing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use jiff::Timestamp;
use keyhaven_backup::ledger::Entry;
use keyhaven_backup::reading::{self, ReadPlaceError};
use keyhaven_backup::verdict::{Effort, Verdict, judge};
use keyhaven_disk::os::Host;
use keyhaven_fve::{BackupHint, OpenOptions, ProtectorKind, Volume};
use serde::Serialize;

use super::{Run, Verb};
use crate::context::Context;
use crate::drive::{Drive, DriveArgs, MetadataArgs};
use crate::elevation;
use crate::error::{CliError, Exit};
use crate::ledger_file;
use crate::vault_args::VaultArgs;

pub(super) const VERB: Verb = Verb::of::<Status>();

/// Say for each recovery key where proven copies are, and which are stale or missing
///
/// Copies that were noted when they were saved are looked at again where they can be reached, and tried on the drive.
/// What Windows itself noted on the drive is shown, too. Without a drive: all drives of this computer that can be read,
/// and all others that copies were noted for. The exit code is 0 if every recovery key has a copy that opens its drive,
/// and no encrypted drive is without one.
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
        let entries = ledger_file::entries(context);
        let drives: Vec<Drive> = if self.drives.is_empty() {
            drives_of_this_computer(context)
        } else {
            let open = |drive: &OsString| {
                DriveArgs {
                    drive: drive.clone(),
                    metadata: self.metadata.clone(),
                }
                .open(context)
            };
            self.drives.iter().map(open).collect::<Result<_, _>>()?
        };
        let mut secrets = self.vault.secrets(context)?;
        let mut statuses = Vec::new();
        for drive in &drives {
            context.interrupt.check()?;
            statuses.push(of_drive(drive, &entries, &mut secrets, context));
        }
        if self.drives.is_empty() {
            statuses.extend(absent(&entries, &statuses));
        }
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
        Ok(if is_safe { Exit::Done } else { Exit::No })
    }
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
    let metadata = volume.metadata();
    let volume_id = metadata.volume_id().to_string();
    let ours: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.volume_id == volume_id)
        .collect();
    let mut keys = Vec::new();
    let mut proven_now = Vec::new();
    let protectors = metadata.protectors();
    for protector in protectors
        .iter()
        .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
    {
        let id = protector.id().to_string();
        let mut copies = Vec::new();
        for entry in ours.iter().filter(|entry| entry.protector_id == id) {
            let now = look_again(entry, volume, secrets);
            if now == "opens" {
                proven_now.push((protector.id(), (*entry).clone()));
            }
            copies.push(CopyStatus::of(entry, now));
        }
        let backup_hints: Vec<String> = protector
            .backup_hints()
            .into_iter()
            .filter_map(hint_text)
            .collect();
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
        } else if !backup_hints.is_empty() {
            // Windows saved it somewhere; whether that copy is good, nobody has tried.
            "never_proven"
        } else {
            "never_backed_up"
        };
        keys.push(KeyStatus {
            key_id: protector.id().key_id(),
            protector_id: id,
            state,
            copies,
            backup_hints,
        });
    }
    // Copies of keys that the drive no longer has.
    let mut gone: BTreeMap<&str, Vec<CopyStatus>> = BTreeMap::new();
    for entry in ours {
        if !protectors
            .iter()
            .any(|protector| protector.id().to_string() == entry.protector_id)
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
    ledger_file::note(volume, &drive.name, &notes, Timestamp::now(), context);
    DriveStatus {
        drive: drive.name.clone(),
        volume_id,
        present: true,
        encrypted: Some(volume.unlock_decrypted().is_none()),
        keys,
    }
}

/// Looks at a copy again and tries it on the drive.
fn look_again(entry: &Entry, volume: &Volume, secrets: &mut dyn reading::Secrets) -> String {
    let Some(path) = &entry.path else {
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
        match judge(volume, key, Effort::ById) {
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
                })
                .collect(),
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
    ui.line(&format!("{}{here}", drive.drive))?;
    match drive.encrypted {
        Some(false) => ui.line("  is not encrypted: it needs no recovery key")?,
        Some(true) if drive.keys.iter().all(|key| key.state == "stale") => {
            ui.line("  NOT SAFE: has no recovery key; `keyhaven backup` says how to add one")?;
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
    }
    Ok(())
}
