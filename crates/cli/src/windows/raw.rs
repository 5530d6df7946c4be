//! The medium under a volume of Windows.
//!
//! Through its letter an unlocked volume reads as its plain content. On the disk beneath it is as it lies.

use std::path::Path;

use keyhaven_disk::os::{DriveKind, Host};
use keyhaven_disk::partition::{self, Partition};
use keyhaven_disk::{Device, open};
use keyhaven_fve::{OpenOptions, Volume, unwatched};
use keyhaven_windows::EncryptableVolume;

/// Returns what lies under a volume; none where it is no partition of one disk, or the disk cannot be read.
pub(super) fn device_under(volume: &EncryptableVolume<'_>) -> Option<Device> {
    let host = Host::system();
    let drive = host.drive_at(Path::new(volume.name()))?;
    let DriveKind::Partition { parent, number } = &drive.kind else {
        return None;
    };
    let disk = open(&host.dev.join(parent)).ok()?;
    let table = partition::table(&disk).ok()??;
    // Windows counts partitions in its own way: the volume's identifier tells which one is meant, if one has it.
    let wanted = volume.volume_id()?;
    let is_meant = |partition: &&Partition| {
        read(partition.device(&disk)).is_some_and(|volume| volume.metadata().volume_id() == wanted)
    };
    let partition = table
        .partitions
        .iter()
        .find(is_meant)
        .or_else(|| table.partition(*number))?;
    Some(partition.device(&disk))
}

/// Reads the volume on a device; none if there is none that can be.
pub(super) fn read(device: Device) -> Option<Volume> {
    let options = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    Volume::open(device, &options, &mut unwatched).ok()
}
