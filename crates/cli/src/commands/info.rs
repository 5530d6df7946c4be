//! `keyhaven info`: all that a drive tells without any key.

mod on_windows;

use std::path::Path;

use clap::Parser;
use indicatif::HumanBytes;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::{BackupHint, KeyProtector, MetadataCopy, ProtectorKind, Volume, VolumeState};
use serde::Serialize;

use super::lost::{self, LostVolume};
use super::{Run, Verb};
use crate::context::Context;
use crate::drive::{Drive, DriveArgs};
use crate::error::{CliError, Exit};
use crate::medium::Medium;
use crate::windows::{self, Computer};

pub(super) const VERB: Verb = Verb::of::<Info>();

/// Show all that a drive tells without any key
///
/// What it is encrypted with, how far, which ways there are to unlock it and their key IDs, and the state of the three
/// copies of its metadata. Nothing is unlocked or changed. A drive
/// whose metadata have wrong checksums is shown, too, with a warning.
#[derive(Parser)]
#[command(name = "info")]
struct Info {
    #[command(flatten)]
    drive: DriveArgs,

    /// Read all of DRIVE for volumes that no partition table lists, and say where each begins
    ///
    /// For a disk whose partition table is lost. It takes as long as reading the disk does.
    #[arg(long)]
    scan: bool,
}

impl Run for Info {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        if self.scan {
            return self.look_for_lost(context);
        }
        let computer = Computer::this();
        if let Some(live) = windows::drive(computer.as_ref(), &self.drive.drive, context)? {
            live.volume_id()?;
            // By its name a locked drive may be read where the medium under it cannot be found.
            let by_name = live.beneath.is_none() && live.told.is_locked();
            if !by_name || self.drive.open_to_look(context).is_err() {
                return on_windows::tell(&live, context);
            }
        }
        let drive = self.drive.open_to_look(context)?;
        let told = Told::by(&drive);
        if context.ui.is_json() {
            context.ui.json(&told)?;
        } else {
            context.ui.line(&told.to_text(&drive.volume))?;
        }
        Ok(Exit::Done)
    }
}

impl Info {
    fn look_for_lost(&self, context: &Context) -> Result<Exit, CliError> {
        let (name, medium) = self.drive.medium(Medium::open, context)?;
        let path = self.drive.path().display().to_string();
        if name != path {
            return Err(CliError::could_not("`--scan` reads a whole disk")
                .hint(format!("name that: `keyhaven info --scan {path}`")));
        }
        let volumes = lost::volumes(&medium.device, Path::new(&name), context)?;
        if context.ui.is_json() {
            context.ui.json(&Scanned {
                drive: &name,
                volumes: &volumes,
            })?;
        } else if !volumes.is_empty() {
            let texts: Vec<String> = volumes.iter().map(LostVolume::to_text).collect();
            context.ui.line(&texts.join("\n\n"))?;
        }
        if volumes.is_empty() {
            context.ui.say(&format!(
                "`{name}` was read to its end, and no metadata of BitLocker are left on it"
            ));
            return Ok(Exit::No);
        }
        Ok(Exit::Done)
    }
}

/// What `--scan --json` prints.
#[derive(Serialize)]
struct Scanned<'a> {
    drive: &'a str,
    volumes: &'a [LostVolume],
}

/// What the drive tells; `--json` prints it.
#[derive(Serialize)]
struct Told {
    drive: String,
    /// The kind of image file that it lies in, if it does.
    container: Option<ContainerTold>,
    volume_id: String,
    format: &'static str,
    encryption_method: String,
    state: &'static str,
    size_bytes: u64,
    encrypted_bytes: Option<u64>,
    sector_size: u64,
    description: Option<String>,
    created: Option<String>,
    boot_sector_valid: bool,
    metadata_copies: Vec<Copy>,
    protectors: Vec<Protector>,
}

#[derive(Serialize)]
struct ContainerTold {
    format: &'static str,
    notes: Vec<String>,
    /// What a person calls it, with its article.
    #[serde(skip)]
    title: String,
}

#[derive(Serialize)]
struct Copy {
    number: u8,
    offset: Option<u64>,
    valid: bool,
    used: bool,
    reason: Option<String>,
}

#[derive(Serialize)]
struct Protector {
    id: String,
    key_id: String,
    kind: String,
    name: Option<String>,
    modified: Option<String>,
    backup_hints: Vec<Hint>,
    /// What a person calls this kind.
    #[serde(skip)]
    title: String,
}

/// What Windows noted about where a key was saved.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Hint {
    SavedAt(Option<String>),
    Account(String),
}

impl Told {
    fn by(drive: &Drive) -> Self {
        let container = drive.container.as_ref().map(|container| ContainerTold {
            format: container.format.name,
            notes: container.notes.clone(),
            title: container.title.clone(),
        });
        Self::by_volume(drive.name.clone(), &drive.volume, container)
    }

    fn by_volume(drive: String, volume: &Volume, container: Option<ContainerTold>) -> Self {
        let metadata = volume.metadata();
        Self {
            drive,
            container,
            volume_id: metadata.volume_id().to_string(),
            format: volume.format().name(),
            encryption_method: method_name(volume),
            state: volume.state().name(),
            size_bytes: volume.size_bytes(),
            encrypted_bytes: volume.encrypted_bytes(),
            sector_size: volume.sector_size().bytes_u64(),
            description: metadata.description(),
            created: time(metadata.created()),
            boot_sector_valid: volume.has_boot_sector(),
            metadata_copies: volume.copies().iter().map(Copy::of).collect(),
            protectors: metadata.protectors().iter().map(Protector::of).collect(),
        }
    }

    fn container_text(&self) -> String {
        self.container.as_ref().map_or_else(String::new, |container| {
            let notes: String = container.notes.iter().map(|note| format!("; {note}")).collect();
            format!(", inside {}{notes}", container.title)
        })
    }

    fn to_text(&self, volume: &Volume) -> String {
        let unknown = || "unknown".to_owned();
        let mut lines = vec![
            format!("Drive        {}{}", self.drive, self.container_text()),
            format!(
                "Description  {}",
                self.description.clone().unwrap_or_else(unknown)
            ),
            format!("Volume ID    {}", self.volume_id),
            format!("Created      {}", self.created.clone().unwrap_or_else(unknown)),
            format!("State        {}", state_text(volume.state())),
            format!("Method       {} ({})", self.encryption_method, self.format),
            format!(
                "Size         {} ({} bytes), {}, sectors of {} bytes",
                HumanBytes(self.size_bytes),
                self.size_bytes,
                match self.encrypted_bytes {
                    Some(bytes) if bytes == self.size_bytes => "all encrypted".to_owned(),
                    Some(bytes) => format!("{} encrypted", HumanBytes(bytes)),
                    None => "how much is encrypted cannot be told".to_owned(),
                },
                self.sector_size
            ),
            String::new(),
            "Ways to unlock".to_owned(),
        ];
        if self.protectors.is_empty() {
            lines.push("  none".to_owned());
        }
        for protector in &self.protectors {
            lines.push(format!("  {}  {}", protector.key_id, protector.title));
            if let Some(name) = &protector.name {
                lines.push(format!("            named {name:?}"));
            }
            for hint in &protector.backup_hints {
                lines.push(match hint {
                    Hint::SavedAt(Some(time)) => format!("            Windows saved it at {time}"),
                    Hint::SavedAt(None) => "            Windows saved it, at an unknown time".to_owned(),
                    Hint::Account(account) => {
                        format!("            Windows saved it to the account {account:?}")
                    }
                });
            }
        }
        lines.push(String::new());
        lines.push("Metadata copies".to_owned());
        for copy in &self.metadata_copies {
            let place = copy
                .offset
                .map_or("place unknown".to_owned(), |offset| format!("at byte {offset}"));
            let state = match (&copy.reason, copy.used) {
                (Some(reason), _) => reason.as_str(),
                (None, true) => "valid, used",
                (None, false) => "valid",
            };
            lines.push(format!("  {}  {place}: {state}", copy.number));
        }
        lines.join("\n")
    }
}

impl Copy {
    fn of(copy: &MetadataCopy) -> Self {
        Self {
            number: copy.number,
            offset: copy.offset,
            valid: copy.problem.is_none(),
            used: copy.used,
            reason: copy.problem.as_ref().map(CliError::chain),
        }
    }
}

impl Protector {
    fn of(protector: &KeyProtector<'_>) -> Self {
        let kind = protector.kind();
        Self {
            id: protector.id().to_string(),
            key_id: protector.id().key_id(),
            kind: kind.json_name(),
            name: protector.name(),
            modified: time(protector.modified()),
            backup_hints: protector
                .backup_hints()
                .into_iter()
                .filter_map(Hint::of)
                .collect(),
            title: match advice(kind) {
                Some(advice) => format!("{kind}: {advice}"),
                None => kind.to_string(),
            },
        }
    }
}

impl Hint {
    fn of(hint: BackupHint) -> Option<Self> {
        match hint {
            BackupHint::Saved(at) => Some(Self::SavedAt(time(at))),
            BackupHint::Account(account) => Some(Self::Account(account)),
            // A kind that is younger than this list.
            _ => None,
        }
    }
}

/// Returns the key IDs of a volume's recovery keys.
pub(super) fn key_ids(volume: &Volume) -> Vec<String> {
    let protectors = volume.metadata().protectors();
    let with_digits = protectors
        .iter()
        .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword);
    with_digits.map(|protector| protector.id().key_id()).collect()
}

/// Names the method as JSON output does, known or not.
pub(super) fn method_name(volume: &Volume) -> String {
    match volume.metadata().encryption_method() {
        Ok(method) => method.name().to_owned(),
        Err(0) => "none".to_owned(),
        Err(code) => format!("unknown-{code:#06x}"),
    }
}

/// What must be known about a kind of protector to make use of it.
fn advice(kind: ProtectorKind) -> Option<&'static str> {
    match kind {
        ProtectorKind::ClearKey => Some("anyone can read this drive"),
        ProtectorKind::Tpm | ProtectorKind::TpmStartupKey | ProtectorKind::NetworkUnlock => {
            Some("works only in the computer that it was made for")
        }
        ProtectorKind::TpmPin | ProtectorKind::TpmPinStartupKey => {
            Some("works only in the computer that it was made for; its PIN is no password of the drive")
        }
        ProtectorKind::PublicKey => Some("works only in Windows, with the certificate"),
        _ => None,
    }
}

fn state_text(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Decrypted => "decrypted: anyone can read this drive",
        VolumeState::Encrypted => "encrypted",
        VolumeState::Suspended => "encrypted, but protection is suspended: anyone can read this drive",
        VolumeState::Encrypting => "being encrypted",
        VolumeState::EncryptionPaused => "being encrypted, paused",
        VolumeState::Decrypting => "being decrypted",
        VolumeState::DecryptionPaused => "being decrypted, paused",
        VolumeState::Unknown => "unknown",
    }
}

fn time(time: FileTime) -> Option<String> {
    time.timestamp().map(|time| time.to_string())
}
