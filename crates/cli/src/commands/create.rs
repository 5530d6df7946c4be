//! `keyhaven create`: a new drive with a file system on it.

mod exfat;
mod file_system;
pub(super) mod keys;

use std::path::PathBuf;

use clap::Parser;
use indicatif::HumanBytes;
use jiff::Zoned;
use keyhaven_attach::files;
use keyhaven_backup::receipt::Receipt;
use keyhaven_crypto::SectorSize;
use keyhaven_disk::os::{DriveKind, Host};
use keyhaven_disk::{BlockDevice, WritableDevice};
use keyhaven_fve::create::{CreateError, NewVolume, PreparedVolume};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::{EncryptionMethod, OpenOptions, Volume, WritableVolume, unwatched};
use serde::Serialize;

use super::{Run, Verb};
use crate::commands::create::file_system::{Image, Kind, Plan};
use crate::commands::create::keys::{KeyArgs, Proofs};
use crate::context::Context;
use crate::depositing::{Deposit, PlaceArgs, known_places};
use crate::error::{CliError, Exit};
use crate::target::{FormatArgs, Target};
use crate::{randomness, size};

pub(super) const VERB: Verb = Verb::of::<Create>();

/// How much of a file system is copied at once, in bytes: between looks at Ctrl-C.
const CHUNK_LEN: u64 = 1 << 20;

/// Make a new BitLocker drive with a file system on it
///
/// The recovery key is saved to every PLACE and proven before anything is written. Only what the file system uses is
/// written, so it takes a moment whatever the size. Whatever ends it early leaves no drive that could be mistaken for
/// one. What is made opens on Windows, and with every program that reads BitLocker.
///
/// PLACE is file:PATH (a text file as Windows writes it; a folder, or a file name), usb or usb:MOUNTPOINT (a removable
/// drive), pdf:PATH (a page to print), print or print:PRINTER, vault:PATH (an encrypted file that the `age` tool opens),
/// or stdout.
#[derive(Parser)]
#[command(name = "create")]
struct Create {
    /// The image file to make, which must not exist yet, or the device to write over
    #[arg(value_name = "DRIVE")]
    drive: PathBuf,

    /// The size of an image file: bytes, or a number with K, M, G or T
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,

    #[command(flatten)]
    format: FormatArgs,

    /// The file system to put on it
    #[arg(long, value_enum, value_name = "KIND", default_value = "ntfs")]
    fs: Kind,

    /// The name of the file system
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,

    /// How it is encrypted: what Windows 10 and later use, or something that older systems know
    #[arg(long, value_name = "METHOD", default_value = "aes-xts-128", value_parser = method)]
    method: EncryptionMethod,

    /// The size of its sectors in bytes; a device decides it itself
    #[arg(long, value_name = "BYTES", value_parser = ["512", "4096"])]
    sector_size: Option<String>,

    #[command(flatten)]
    keys: KeyArgs,

    #[command(flatten)]
    places: PlaceArgs,

    /// Save the recovery key nowhere: if you forget the password, everything on the drive is lost
    #[arg(long, conflicts_with = "places")]
    no_backup: bool,

    /// Write over DRIVE, if it is a device: what is on it is lost
    #[arg(long)]
    overwrite: bool,

    /// Do not ask whether to write over a device
    #[arg(long)]
    yes: bool,

    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn method(name: &str) -> Result<EncryptionMethod, String> {
    let known = EncryptionMethod::ALL.iter().find(|method| method.name() == name);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = EncryptionMethod::ALL.iter().map(|method| method.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    drive: String,
    /// Whether it was made, or would only be.
    created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_id: Option<String>,
    encryption_method: &'static str,
    size_bytes: u64,
    sector_size: u64,
    file_system: Option<FileSystemAnswer>,
    protectors: Vec<ProtectorAnswer>,
    receipts: Vec<Receipt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    startup_key: Option<String>,
    /// Only with the place `stdout`, whose purpose it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_keys: Vec<crate::depositing::PrintedKey>,
}

#[derive(Serialize)]
struct FileSystemAnswer {
    kind: &'static str,
    label: Option<String>,
    size_bytes: u64,
    cluster_bytes: u32,
}

#[derive(Serialize)]
struct ProtectorAnswer {
    id: String,
    kind: String,
    key_id: String,
}

impl Run for Create {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let places = self.places.parse()?;
        if places.is_empty() && !self.no_backup {
            return Err(CliError::could_not(
                "no place to save the recovery key to was given, so no drive is made",
            )
            .hint(known_places())
            .hint(
                "`--no-backup` makes it all the same: without its password everything on it would be lost",
            ));
        }
        let target = Target::new(&self.drive, self.overwrite || self.dry_run, &self.format)?;
        let (len_bytes, sector_size) = self.geometry(&target)?;
        target.check_size(len_bytes, sector_size)?;
        let plan = Plan::new(
            self.fs,
            len_bytes,
            sector_size,
            hidden_sectors(&target, sector_size),
            self.label.clone(),
        )?;
        for place in &places {
            self.places.check(place, &self.drive, context)?;
        }
        self.keys.check(self.no_backup)?;
        if self.dry_run {
            return self.say_plan(&plan, len_bytes, sector_size, context);
        }
        self.confirm(&target, context)?;
        let keys = self.keys.read(context)?;
        // Everything that can fail without a key comes before one is made.
        let image = plan.make()?;
        context.interrupt.check()?;

        let (protectors, mut proofs) = keys.split();
        let mut new = NewVolume::new(
            len_bytes,
            self.method,
            FileTime::from_timestamp(jiff::Timestamp::now()),
        );
        new.sector_size = sector_size;
        new.cluster = plan.cluster;
        new.hidden_sectors = hidden_sectors(&target, sector_size);
        new.description = description(self.label.as_deref());
        new.protectors = protectors;
        let prepared = new
            .prepare_at(plan.placement.clone(), &mut randomness::of_the_system)
            .map_err(|error| CliError::could_not("the drive cannot be made").because(&error))?;

        let deposited = self.deposit(&prepared, &places, context)?;
        let startup_key = self
            .keys
            .save_startup_key(&prepared, context)
            .map_err(|error| self.after_deposit(error, &prepared))?;
        if let Some(path) = &startup_key {
            proofs.push(keys::startup_key_proof(path).map_err(|error| self.after_deposit(error, &prepared))?);
        }
        let made = self
            .write(&target, &prepared, sector_size, image.as_ref(), context)
            .and_then(|()| self.prove(&target, &plan, &proofs, context))
            .and_then(|()| target.keep());
        if let Err(error) = made {
            target.discard();
            return Err(self.after_deposit(error, &prepared));
        }
        self.tell(&prepared, &plan, deposited, startup_key, sector_size, context)
    }
}

impl Create {
    /// Returns how large the volume and its sectors are going to be, in bytes.
    fn geometry(&self, target: &Target) -> Result<(u64, SectorSize), CliError> {
        let wanted = self.sector_size.as_deref().map(|text| {
            if text == "4096" {
                SectorSize::B4096
            } else {
                SectorSize::B512
            }
        });
        let (len_bytes, sector_size) = match target {
            Target::Device { device, .. } => {
                if self.size.is_some() {
                    return Err(
                        CliError::could_not("`--size` is for image files; a device has its own")
                            .hint("make a partition of the size that you want"),
                    );
                }
                let own = SectorSize::new(device.sector_size()).ok_or_else(|| {
                    CliError::could_not(format!(
                        "the device has sectors of {} bytes; BitLocker knows 512 and 4096",
                        device.sector_size()
                    ))
                })?;
                if wanted.is_some_and(|wanted| wanted != own) {
                    return Err(CliError::could_not(format!(
                        "the device has sectors of {} bytes, and no others can be on it",
                        own.bytes()
                    )));
                }
                (device.len_bytes(), own)
            }
            Target::File { .. } => {
                let size = self.size.ok_or_else(|| {
                    CliError::could_not("how large the image is to be was not given")
                        .hint("such as `--size 64M`")
                })?;
                (size, wanted.unwrap_or(SectorSize::B512))
            }
        };
        let sector = sector_size.bytes_u64();
        Ok((len_bytes / sector * sector, sector_size))
    }

    /// Asks once more before a device loses what is on it.
    fn confirm(&self, target: &Target, context: &Context) -> Result<(), CliError> {
        let Target::Device { path, device } = target else {
            return Ok(());
        };
        if self.yes || !context.ui.is_interactive() {
            return Ok(());
        }
        let device: keyhaven_disk::Device = device.clone();
        let question = format!(
            "Everything on `{}` ({}, {}) will be lost. Go on?",
            path.display(),
            HumanBytes(device.len_bytes()),
            keyhaven_disk::content::identify(&device)
        );
        if context.ui.confirm(&question)? {
            Ok(())
        } else {
            Err(CliError::no("nothing was changed"))
        }
    }

    /// Saves the recovery key everywhere and proves it on the drive that is not there yet.
    fn deposit(
        &self,
        prepared: &PreparedVolume,
        places: &[keyhaven_backup::place::Place],
        context: &Context,
    ) -> Result<Option<crate::depositing::Deposited>, CliError> {
        if places.is_empty() {
            context.ui.warn(
                "the recovery key is saved nowhere; `keyhaven backup` can still do it, with the password",
            );
            return Ok(None);
        }
        let preview = prepared
            .preview()
            .map_err(|error| CliError::could_not("the drive cannot be made").because(&error))?;
        let deposit = Deposit {
            drive_name: &self.drive.display().to_string(),
            volume: &preview,
            records: keys::recovery_records(prepared.records()),
            with_startup_keys: false,
        };
        let deposited = self.places.save(&deposit, places, context)?;
        let message = "the recovery key could not be saved and proven everywhere, so nothing was made";
        deposited.or_refuse(message, context).map(Some)
    }

    fn write(
        &self,
        target: &Target,
        prepared: &PreparedVolume,
        sector_size: SectorSize,
        image: Option<&Image>,
        context: &Context,
    ) -> Result<(), CliError> {
        let medium = target.create_writable(prepared.len_bytes(), sector_size)?;
        let failed = |error: &dyn std::error::Error| {
            CliError::could_not(format!(
                "cannot write `{}`; {}",
                self.drive.display(),
                target.after_failure()
            ))
            .because(error)
        };
        let mut stopped = None;
        let written = prepared.write_with(&medium, |content| {
            let Some(image) = image else { return Ok(()) };
            copy(&*image.device, content, context, &mut stopped)
        });
        match (written, stopped) {
            (_, Some(stopped)) => Err(stopped),
            (Err(error), None) => Err(failed(&error)),
            (Ok(()), None) => Ok(()),
        }
    }

    /// Opens what was written as anybody would, with every key that was made, and looks at its file system.
    fn prove(
        &self,
        target: &Target,
        plan: &Plan,
        proofs: &Proofs,
        context: &Context,
    ) -> Result<(), CliError> {
        context.ui.detail("reading back what was written");
        let failed = |error: &dyn std::error::Error| {
            CliError::could_not(format!(
                "what was written could not be proven; {}",
                target.after_failure()
            ))
            .because(error)
            .hint("the medium, its cable or the memory of this computer may be failing")
        };
        let medium = target.read_back()?;
        let volume =
            Volume::open(medium, &OpenOptions::default(), &mut unwatched).map_err(|error| failed(&error))?;
        let mut unlocked = None;
        for (credential, kind) in proofs {
            let opened = volume.unlock(credential).map_err(|error| failed(&error))?;
            context.ui.detail(&format!("the {kind} opens it"));
            unlocked = Some(opened);
        }
        let Some(unlocked) = unlocked else {
            return Err(CliError::could_not("the new drive has no way to be opened"));
        };
        if plan.kind == Kind::None {
            return Ok(());
        }
        let content = volume.data(unlocked).map_err(|error| failed(&error))?;
        let tree = files::open(std::sync::Arc::new(content)).map_err(|error| failed(&error))?;
        context.ui.detail(&format!("it holds {}", tree.kind()));
        Ok(())
    }

    /// Adds to an error that keys were saved before it.
    fn after_deposit(&self, error: CliError, prepared: &PreparedVolume) -> CliError {
        match keys::recovery_records(prepared.records()).first() {
            Some(record) if !self.no_backup => error.hint(format!(
                "the saved recovery key with the key ID {} is for no drive: delete it",
                record.protector_id.key_id()
            )),
            _ => error,
        }
    }

    fn answer(&self, plan: &Plan, len_bytes: u64, sector_size: SectorSize) -> Answer {
        Answer {
            drive: self.drive.display().to_string(),
            created: false,
            volume_id: None,
            encryption_method: self.method.name(),
            size_bytes: len_bytes,
            sector_size: sector_size.bytes_u64(),
            file_system: (plan.kind != Kind::None).then(|| FileSystemAnswer {
                kind: match plan.kind {
                    Kind::Ntfs => "ntfs",
                    Kind::ExFat => "exfat",
                    _ => "fat32",
                },
                label: self.label.clone(),
                size_bytes: plan.len_bytes,
                cluster_bytes: plan.cluster,
            }),
            protectors: Vec::new(),
            receipts: Vec::new(),
            startup_key: None,
            recovery_keys: Vec::new(),
        }
    }

    fn say_plan(
        &self,
        plan: &Plan,
        len_bytes: u64,
        sector_size: SectorSize,
        context: &Context,
    ) -> Result<Exit, CliError> {
        if context.ui.is_json() {
            context.ui.json(&self.answer(plan, len_bytes, sector_size))?;
        } else {
            context.ui.say(&format!(
                "would make `{}`: {}, {}, {}",
                self.drive.display(),
                HumanBytes(len_bytes),
                self.method,
                plan.kind.name()
            ));
            context.ui.say("nothing was made or changed");
        }
        Ok(Exit::Done)
    }

    fn tell(
        &self,
        prepared: &PreparedVolume,
        plan: &Plan,
        deposited: Option<crate::depositing::Deposited>,
        startup_key: Option<PathBuf>,
        sector_size: SectorSize,
        context: &Context,
    ) -> Result<Exit, CliError> {
        if context.ui.is_json() {
            let mut answer = self.answer(plan, prepared.len_bytes(), sector_size);
            answer.created = true;
            answer.volume_id = Some(prepared.volume_id().to_string());
            answer.protectors = prepared
                .protectors()
                .iter()
                .map(|(id, kind)| ProtectorAnswer {
                    id: id.to_string(),
                    kind: kind.json_name(),
                    key_id: id.key_id(),
                })
                .collect();
            answer.startup_key = startup_key.map(|path| path.display().to_string());
            if let Some(deposited) = deposited {
                answer.receipts = deposited.receipts;
                answer.recovery_keys = deposited.recovery_keys;
            }
            context.ui.json(&answer)?;
            return Ok(Exit::Done);
        }
        if let Some(path) = startup_key {
            context
                .ui
                .say(&format!("saved and proven: the startup key, {}", path.display()));
        }
        let kinds: Vec<String> = prepared
            .protectors()
            .iter()
            .map(|(_, kind)| format!("its {kind}"))
            .collect();
        context.ui.say(&format!(
            "Made `{}`: {}, {}, {}.",
            self.drive.display(),
            HumanBytes(prepared.len_bytes()),
            self.method,
            plan.kind.name()
        ));
        context.ui.say(&format!(
            "It was read back, and opens with {}.",
            kinds.join(" and with ")
        ));
        Ok(Exit::Done)
    }
}

/// Copies what is stored of an image; its holes are what the file system does not use.
fn copy(
    image: &dyn BlockDevice,
    content: &WritableVolume,
    context: &Context,
    stopped: &mut Option<CliError>,
) -> Result<(), CreateError> {
    let end = image.len_bytes();
    let mut chunk = vec![0; CHUNK_LEN as usize];
    let mut bar = context.ui.progress("writing the file system", end);
    let mut at = 0;
    while at < end {
        if let Err(error) = context.interrupt.check() {
            *stopped = Some(error);
            // What it is does not matter: the other one is told.
            return Err(CreateError::NoProtector);
        }
        // Holes of files begin and end with blocks of 4 KiB, and so with sectors.
        let hole =
            image.hole_at(at, end - at) / SectorSize::B4096.bytes_u64() * SectorSize::B4096.bytes_u64();
        at += hole;
        let len = (end - at).min(CHUNK_LEN).min(stored_at(image, at, end)) as usize;
        let Some(part) = chunk.get_mut(..len).filter(|part| !part.is_empty()) else {
            continue;
        };
        image.read_at(at, part).map_err(CreateError::ReadBack)?;
        content.write_at(at, part)?;
        at += len as u64;
        bar.set(at);
    }
    Ok(())
}

/// Returns how much from `at` on is stored, in steps of 64 KiB: nobody tells where the next hole begins.
fn stored_at(image: &dyn BlockDevice, at: u64, end: u64) -> u64 {
    const STEP: u64 = 64 << 10;
    let mut len = STEP;
    while len < CHUNK_LEN && at + len < end && image.hole_at(at + len, STEP) < STEP {
        len += STEP;
    }
    len
}

/// Returns how many sectors are in front of the volume: of a partition, where it begins.
fn hidden_sectors(target: &Target, sector_size: SectorSize) -> u32 {
    let Target::Device { path, .. } = target else {
        return 0;
    };
    let host = Host::system();
    let Some(info) = host.drive_at(path) else { return 0 };
    if !matches!(info.kind, DriveKind::Partition { .. }) {
        return 0;
    }
    // The kernel counts in 512 bytes, whatever the sectors are.
    let start = std::fs::read_to_string(host.sysfs.join("class/block").join(&info.name).join("start"));
    start
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .and_then(|start| u32::try_from(start / (sector_size.bytes_u64() / 512)).ok())
        .unwrap_or(0)
}

/// Returns what Windows would note: the computer, the name of the drive, the date.
pub(super) fn description(label: Option<&str>) -> String {
    let computer = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let computer = match computer.trim() {
        "" => "KEYHAVEN".to_owned(),
        name => name.to_uppercase(),
    };
    let date = Zoned::now().strftime("%-m/%-d/%Y").to_string();
    [Some(computer.as_str()), label, Some(date.as_str())]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}
