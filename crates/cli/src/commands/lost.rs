//! Volumes that no partition table lists: looked for all over a disk, and named by where they begin.

use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;
use keyhaven_disk::{Device, View};
use keyhaven_fve::salvage::{Search, Stopped, VolumeStart};
use keyhaven_fve::{OpenOptions, Volume};
use serde::Serialize;

use super::info::{key_ids, method_name};
use crate::context::Context;
use crate::error::CliError;

/// A volume whose metadata were found, and what they tell.
#[derive(Debug, Serialize)]
pub(crate) struct LostVolume {
    /// What other verbs take for DRIVE.
    pub(crate) drive: String,
    start: u64,
    /// Whether several copies of the metadata, or a boot sector, agree on where it begins.
    certain: bool,
    /// Where copies of its metadata are, in bytes from the start of the disk.
    metadata_copies: Vec<u64>,
    /// `None` where nothing tells, as all that follows where the metadata are of no use.
    pub(crate) size_bytes: Option<u64>,
    pub(crate) volume_id: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) encryption_method: Option<String>,
    pub(crate) state: Option<&'static str>,
    pub(crate) key_ids: Vec<String>,
}

/// Reads a whole disk and lists the volumes that begin anywhere on it, the surest first.
pub(crate) fn volumes(disk: &Device, path: &Path, context: &Context) -> Result<Vec<LostVolume>, CliError> {
    let mut bar = context.ui.progress("looking for volumes", disk.len_bytes());
    let search = Search::run(disk, &mut |scan| {
        bar.set(scan.done_bytes);
        context.interrupt.flow()
    });
    drop(bar);
    let search = search.map_err(|Stopped| CliError::stopped())?;
    search
        .volume_starts(disk)
        .iter()
        .map(|start| {
            context.interrupt.check()?;
            Ok(LostVolume::at(start, disk, path, context))
        })
        .collect()
}

impl LostVolume {
    fn at(start: &VolumeStart, disk: &Device, path: &Path, context: &Context) -> Self {
        let rest = disk.len_bytes().saturating_sub(start.offset);
        let device: Device = Arc::new(View::new(Arc::clone(disk), start.offset, rest));
        let options = OpenOptions {
            ignore_checksums: true,
            ..OpenOptions::default()
        };
        let volume = Volume::open(device, &options, &mut |_| context.interrupt.flow()).ok();
        let metadata = volume.as_ref().map(Volume::metadata);
        Self {
            drive: format!("{}@{}", path.display(), start.offset),
            start: start.offset,
            certain: start.is_certain,
            metadata_copies: start.copies.clone(),
            size_bytes: volume.as_ref().and_then(Volume::stated_size_bytes),
            volume_id: metadata.map(|metadata| metadata.volume_id().to_string()),
            description: metadata.and_then(|metadata| metadata.description()),
            encryption_method: volume.as_ref().map(method_name),
            state: volume.as_ref().map(|volume| volume.state().name()),
            key_ids: volume.as_ref().map(key_ids).unwrap_or_default(),
        }
    }

    /// Tells a person about it.
    pub(crate) fn to_text(&self) -> String {
        let unknown = || "unknown".to_owned();
        let copies: Vec<String> = self.metadata_copies.iter().map(|at| format!("{at:#x}")).collect();
        let why = match (self.certain, copies.len()) {
            (true, 1) => "a copy of its metadata and its boot sector agree on that".to_owned(),
            (true, count) => format!("{count} copies of its metadata agree on that"),
            (false, _) => {
                "only one copy of its metadata was found, and it does not tell which of the three it is: this is \
                 one of the places where the volume may begin"
                    .to_owned()
            }
        };
        [
            self.drive.clone(),
            format!("  Begins at    byte {} ({why})", self.start),
            format!("  Metadata at  bytes {}", copies.join(", ")),
            format!(
                "  Size         {}",
                self.size_bytes
                    .map_or_else(unknown, |size| HumanBytes(size).to_string())
            ),
            format!(
                "  Description  {}",
                self.description.clone().unwrap_or_else(unknown)
            ),
            format!(
                "  Volume ID    {}",
                self.volume_id.clone().unwrap_or_else(unknown)
            ),
            format!("  State        {}", self.state.unwrap_or("damaged")),
            format!(
                "  Method       {}",
                self.encryption_method.clone().unwrap_or_else(unknown)
            ),
            format!("  Key IDs      {}", self.key_ids.join(", ")),
        ]
        .join("\n")
    }
}
