//! `keyhaven drives`: the BitLocker drives of this computer.

use std::path::Path;

use clap::Parser;
use indicatif::HumanBytes;
use keyhaven_disk::os::{DriveInfo, DriveKind, Host};
use keyhaven_disk::{OpenError as DeviceProblem, open, partition};
use keyhaven_fve::{OpenError, OpenOptions, Volume};
use keyhaven_windows::Code;
use serde::Serialize;

use super::lost::{self, LostVolume};
use super::{Run, Verb, info};
use crate::context::Context;
use crate::elevation;
use crate::error::{CliError, Exit};
use crate::windows::{self, BackupNote, Computer, Live, Told};

pub(super) const VERB: Verb = Verb::of::<Drives>();

/// List the BitLocker drives of this computer
///
/// Looks at every disk and partition that may be read; most can only be read by root. Nothing is unlocked or changed.
///
/// On Windows all volumes are listed, also those that are not encrypted or have no letter, with what Windows says of
/// them; only an administrator may ask for that.
#[derive(Parser)]
#[command(name = "drives")]
struct Drives {
    /// Read whole disks on which nothing is found otherwise, for volumes that a lost partition table had
    ///
    /// That takes as long as reading the disk does, and is only done to disks without a partition table.
    #[arg(long)]
    scan: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    drives: Vec<Found>,
    /// Devices that could not be looked at.
    not_opened: Vec<NotOpened>,
}

#[derive(Serialize)]
struct Found {
    device: String,
    /// `None` where only Windows was asked, which does not tell.
    size_bytes: Option<u64>,
    /// `None` where the metadata are damaged, as all that follows.
    volume_id: Option<String>,
    description: Option<String>,
    encryption_method: Option<String>,
    state: Option<&'static str>,
    key_ids: Vec<String>,
    mount_points: Vec<String>,
    /// What Windows says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<Told>,
    /// Where Windows remembers to have saved its keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    windows_backups: Vec<Remembered>,
    /// In what Windows and the medium differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
}

/// What Windows remembers of the backups of one key: read, not trusted.
#[derive(Serialize)]
struct Remembered {
    key_id: String,
    backups: Vec<BackupNote>,
}

#[derive(Serialize)]
struct NotOpened {
    device: String,
    reason: String,
    #[serde(skip)]
    needs_root: bool,
}

impl Run for Drives {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let devices = Host::system().block_devices().map_err(|error| {
            CliError::could_not("cannot list the drives of this computer").because(&error)
        })?;
        let (mut drives, is_refused) = told_by_windows(context)?;
        let mut answer = look_at(&devices, self.scan, context)?;
        answer
            .drives
            .retain(|found| !drives.iter().any(|told| told.is(found)));
        drives.append(&mut answer.drives);
        answer.drives = drives;
        let needs_root = answer.not_opened.iter().any(|device| device.needs_root);
        if context.ui.is_json() {
            context.ui.json(&answer)?;
        } else if !answer.drives.is_empty() {
            context.ui.line(&table(&answer.drives))?;
        }
        if !answer.not_opened.is_empty() {
            let names: Vec<&str> = answer
                .not_opened
                .iter()
                .map(|device| device.device.as_str())
                .collect();
            context
                .ui
                .warn(&format!("could not look at {}", names.join(", ")));
            for device in &answer.not_opened {
                context
                    .ui
                    .detail(&format!("{}: {}", device.device, device.reason));
            }
        }
        if answer.drives.iter().any(Found::is_bitlocker) {
            return Ok(Exit::Done);
        }
        if is_refused {
            // Windows' refusal said what to do.
            return Err(CliError::could_not(
                "no BitLocker drive was found among those that may be read",
            ));
        }
        if needs_root {
            return Err(
                CliError::could_not("no BitLocker drive was found among those that may be read")
                    .hint(elevation::TO_READ_DRIVES),
            );
        }
        context.ui.say("no BitLocker drive was found");
        Ok(Exit::No)
    }
}

/// Asks Windows for all volumes; that it does not answer is said once, and told.
fn told_by_windows(context: &Context) -> Result<(Vec<Found>, bool), CliError> {
    let Some(computer) = Computer::this() else {
        return Ok((Vec::new(), false));
    };
    let volumes = match computer.volumes() {
        Ok(volumes) => volumes,
        Err(error) => {
            context.ui.warn_of(&windows::refusal(&error));
            return Ok((Vec::new(), error.code().is_some_and(Code::is_not_elevated)));
        }
    };
    let mut found = Vec::new();
    for volume in volumes {
        context.interrupt.check()?;
        match Live::of(volume, &computer, context) {
            Ok(live) => found.push(Found::told(live)),
            Err(error) => context.ui.warn_of(&error),
        }
    }
    Ok((found, false))
}

fn look_at(devices: &[DriveInfo], scan: bool, context: &Context) -> Result<Answer, CliError> {
    let mut answer = Answer {
        drives: Vec::new(),
        not_opened: Vec::new(),
    };
    for device in devices.iter().filter(|device| !is_divided(device, devices)) {
        context.interrupt.check()?;
        let opened = match open(&device.path) {
            Ok(opened) => opened,
            // A reader without a card, a loop device without a file.
            Err(DeviceProblem::Empty { .. } | DeviceProblem::NotFound { .. }) => continue,
            Err(error) => {
                answer.not_opened.push(NotOpened {
                    device: device.path.display().to_string(),
                    reason: CliError::chain(&error),
                    needs_root: matches!(error, DeviceProblem::PermissionDenied { .. }),
                });
                continue;
            }
        };
        let options = OpenOptions {
            scan: false,
            ..OpenOptions::default()
        };
        match Volume::open(opened.clone(), &options, &mut |_| context.interrupt.flow()) {
            Ok(volume) => answer.drives.push(Found::of(device, Some(&volume))),
            Err(OpenError::NoMetadata { .. } | OpenError::SectorSize(_)) => {
                answer.drives.push(Found::of(device, None));
            }
            Err(OpenError::Stopped) => return Err(CliError::stopped()),
            Err(_) if scan && matches!(partition::table(&opened), Ok(None) | Err(_)) => {
                let lost = lost::volumes(&opened, &device.path, context)?;
                answer.drives.extend(lost.into_iter().map(Found::lost));
            }
            Err(_) => {}
        }
    }
    Ok(answer)
}

/// Returns whether this is a disk whose partitions are looked at instead.
fn is_divided(device: &DriveInfo, devices: &[DriveInfo]) -> bool {
    devices
        .iter()
        .any(|other| matches!(&other.kind, DriveKind::Partition { parent, .. } if *parent == device.name))
}

impl Found {
    fn lost(volume: LostVolume) -> Self {
        Self {
            device: volume.drive,
            size_bytes: volume.size_bytes,
            volume_id: volume.volume_id,
            description: volume.description,
            encryption_method: volume.encryption_method,
            state: volume.state,
            key_ids: volume.key_ids,
            mount_points: Vec::new(),
            windows: None,
            windows_backups: Vec::new(),
            differences: Vec::new(),
        }
    }

    /// Takes what Windows tells of a volume, and what the medium says beside that.
    fn told(live: Live<'_>) -> Self {
        let Live {
            told,
            beneath,
            differences,
            ..
        } = live;
        let windows_backups = told.recovery_keys().filter_map(|key| {
            Some(Remembered {
                key_id: key.id.key_id(),
                backups: key.backups.clone()?,
            })
        });
        Self {
            device: told.name.clone(),
            size_bytes: beneath.as_ref().map(Volume::size_bytes),
            volume_id: told.volume_id.map(|id| id.to_string()),
            description: beneath
                .as_ref()
                .and_then(|volume| volume.metadata().description()),
            encryption_method: told
                .method
                .clone()
                .or_else(|| beneath.as_ref().map(info::method_name)),
            state: Some(told.state.as_on_the_drive().name()),
            key_ids: told.key_ids(),
            mount_points: Vec::new(),
            windows_backups: windows_backups.collect(),
            windows: Some(told),
            differences,
        }
    }

    /// Tells whether both are the same drive, once as Windows knows it and once as it lies.
    fn is(&self, other: &Self) -> bool {
        self.device == other.device || (self.volume_id.is_some() && self.volume_id == other.volume_id)
    }

    fn is_bitlocker(&self) -> bool {
        self.windows.as_ref().is_none_or(Told::is_encrypted)
    }

    /// Says in the table what state it is in.
    fn state_text(&self) -> String {
        match &self.windows {
            Some(told) => told.state.to_text(),
            None => self.state.unwrap_or("damaged").to_owned(),
        }
    }

    /// Says in the table what else there is to be known.
    fn remarks(&self) -> String {
        let mut remarks: Vec<String> = self.description.clone().into_iter().collect();
        if let Some(told) = &self.windows {
            remarks.extend(match told.kind {
                "system" => Some("runs Windows".to_owned()),
                "removable" => Some("removable".to_owned()),
                _ => None,
            });
            if told.unlocks_by_itself == Some(true) {
                remarks.push("unlocks by itself".to_owned());
            }
            if told.is_encrypted() && self.key_ids.is_empty() {
                remarks.push("NO RECOVERY KEY".to_owned());
            }
        }
        for note in self.windows_backups.iter().flat_map(|key| &key.backups) {
            remarks.push(format!("Windows remembers a backup to {}", note.to_text()));
        }
        remarks.join("; ")
    }

    fn of(device: &DriveInfo, volume: Option<&Volume>) -> Self {
        let metadata = volume.map(Volume::metadata);
        let text = |path: &Path| path.display().to_string();
        Self {
            device: text(&device.path),
            size_bytes: Some(device.len_bytes),
            volume_id: metadata.map(|metadata| metadata.volume_id().to_string()),
            description: metadata.and_then(|metadata| metadata.description()),
            encryption_method: volume.map(info::method_name),
            state: volume.map(|volume| volume.state().name()),
            key_ids: volume.map(info::key_ids).unwrap_or_default(),
            mount_points: device.mount_points.iter().map(|path| text(path)).collect(),
            windows: None,
            windows_backups: Vec::new(),
            differences: Vec::new(),
        }
    }
}

/// Lays the drives out in columns as wide as their longest entry.
fn table(drives: &[Found]) -> String {
    let mut rows = vec![["DEVICE", "SIZE", "STATE", "METHOD", "KEY ID", "DESCRIPTION"].map(str::to_owned)];
    rows.extend(drives.iter().map(|drive| {
        [
            drive.device.clone(),
            drive
                .size_bytes
                .map(|size| HumanBytes(size).to_string())
                .unwrap_or_default(),
            drive.state_text(),
            drive.encryption_method.clone().unwrap_or_default(),
            drive.key_ids.join(","),
            drive.remarks(),
        ]
    }));
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or_default()
    });
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let found = |device: &str, key_ids: &[&str]| Found {
            device: device.to_owned(),
            size_bytes: Some(1 << 30),
            volume_id: None,
            description: Some("PC C: 1/1/2026".to_owned()),
            encryption_method: Some("aes-xts-128".to_owned()),
            state: Some("encrypted"),
            key_ids: key_ids.iter().map(|id| (*id).to_owned()).collect(),
            mount_points: Vec::new(),
            windows: None,
            windows_backups: Vec::new(),
            differences: Vec::new(),
        };
        assert_eq!(
            table(&[found("/dev/sda3", &["64311DEA"]), found("/dev/nvme0n1p3", &[])]),
            "DEVICE          SIZE      STATE      METHOD       KEY ID    DESCRIPTION\n\
             /dev/sda3       1.00 GiB  encrypted  aes-xts-128  64311DEA  PC C: 1/1/2026\n\
             /dev/nvme0n1p3  1.00 GiB  encrypted  aes-xts-128            PC C: 1/1/2026"
        );
    }
}
