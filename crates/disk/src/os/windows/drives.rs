//! The drives that Windows knows: its disks, and its volumes with and without a letter.
//!
//! Nothing here needs an elevated process: devices are opened to be asked, not to be read.

use std::io;
use std::path::{Path, PathBuf};

use super::calls;
use super::names::{device_name, disk_number, plain_path, short_name};
use super::raw;
use crate::os::{Backing, DeviceNumber, DriveInfo, DriveKind, Host, Mount};

/// The sector size of a drive that does not tell, in bytes.
const DEFAULT_SECTOR_SIZE: u32 = 512;

impl Host {
    /// Returns the disks of this computer by number, and then its volumes, those without a letter as well.
    ///
    /// Left out are those of which Windows knows no length: a card reader without a card, CD drives, network drives.
    ///
    /// # Errors
    /// What Windows says about the list of devices or of volumes. A device that disappears while it is being looked at
    /// is left out.
    pub fn block_devices(&self) -> io::Result<Vec<DriveInfo>> {
        let mut disks = disks()?;
        let mut volumes: Vec<DriveInfo> = calls::volume_names()?
            .iter()
            .enumerate()
            .filter_map(|(index, name)| volume(index, name, &disks))
            .collect();
        volumes.sort_by(|left, right| left.name.cmp(&right.name));
        disks.append(&mut volumes);
        Ok(disks)
    }

    /// Returns the drive that a person named so: `C:`, `\\.\PhysicalDrive1`.
    ///
    /// `None` if it is no name of a drive, or of one that [`Host::block_devices`] leaves out.
    #[must_use]
    pub fn drive_at(&self, path: &Path) -> Option<DriveInfo> {
        let name = device_name(path.to_str()?)?;
        let drives = self.block_devices().ok()?;
        let is_named = |drive: &&DriveInfo| drive.name.eq_ignore_ascii_case(short_name(&name));
        if let Some(drive) = drives.iter().find(is_named) {
            return Some(drive.clone());
        }
        // By another of its names.
        let device = raw::open_to_ask(Path::new(&name)).ok()?;
        let number = number_of(raw::location(&device)?);
        drives.into_iter().find(|drive| drive.number == number)
    }

    /// Returns all mounts: a volume that has both a letter and a folder is there twice.
    ///
    /// # Errors
    /// What Windows says about the list of devices or of volumes.
    pub fn mounts(&self) -> io::Result<Vec<Mount>> {
        let drives = self.block_devices()?;
        Ok(drives.iter().flat_map(mounts_of).collect())
    }

    /// Returns the mount that holds `path`, which must be absolute and need not exist yet.
    ///
    /// `None` if the mounts cannot be read or none holds the path: it may lie on a network drive.
    #[must_use]
    pub fn mount_of(&self, path: &Path) -> Option<Mount> {
        let mount_point = calls::mount_point_of(path)?;
        let mount_point = plain_path(mount_point.to_str()?).to_owned();
        let mut mounts = self.mounts().ok()?.into_iter();
        mounts.find(|mount| {
            mount
                .mount_point
                .to_str()
                .is_some_and(|other| other.eq_ignore_ascii_case(&mount_point))
        })
    }

    /// Returns the mounts that are on a drive with a removable medium or on USB.
    ///
    /// # Errors
    /// What Windows says about the list of devices or of volumes.
    pub fn removable_mounts(&self) -> io::Result<Vec<Mount>> {
        let mut mounts = self.mounts()?;
        mounts.retain(|mount| mount.drive.as_ref().is_some_and(DriveInfo::is_portable));
        Ok(mounts)
    }

    /// Returns the disks that the volume of this name lies on; empty for a disk.
    ///
    /// # Errors
    /// What Windows says about the device.
    pub fn backing_of(&self, name: &str) -> io::Result<Vec<Backing>> {
        if disk_number(name).is_some() {
            return Ok(Vec::new());
        }
        let device = raw::open_to_ask(Path::new(&format!(r"\\.\{name}")))?;
        let mut disks: Vec<u32> = raw::extents(&device).iter().map(|extent| extent.disk).collect();
        disks.sort_unstable();
        disks.dedup();
        Ok(disks
            .into_iter()
            .map(|disk| Backing::Device(disk_name(disk)))
            .collect())
    }

    /// Returns what [`Host::backing_of`] returns: nothing lies beneath a disk.
    ///
    /// # Errors
    /// See [`Host::backing_of`].
    pub fn all_backing_of(&self, name: &str) -> io::Result<Vec<Backing>> {
        self.backing_of(name)
    }
}

fn disks() -> io::Result<Vec<DriveInfo>> {
    let mut numbers: Vec<u32> = calls::device_names()?
        .iter()
        .filter_map(|name| disk_number(name))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers.into_iter().filter_map(disk).collect())
}

fn disk(number: u32) -> Option<DriveInfo> {
    let name = disk_name(number);
    let path = PathBuf::from(format!(r"\\.\{name}"));
    let device = raw::open_to_ask(&path).ok()?;
    let description = raw::description(&device);
    Some(DriveInfo {
        path,
        number: DeviceNumber {
            major: number,
            minor: 0,
        },
        len_bytes: raw::disk_length(&device).filter(|len| *len > 0)?,
        sector_size: raw::sector_size(&device).unwrap_or(DEFAULT_SECTOR_SIZE),
        kind: DriveKind::Disk,
        removable: description
            .as_ref()
            .is_some_and(|description| description.removable),
        usb: description.as_ref().is_some_and(|description| description.usb),
        read_only: raw::is_read_only(&device),
        vendor: description
            .as_ref()
            .and_then(|description| description.vendor.clone()),
        model: description.and_then(|description| description.model),
        mount_points: Vec::new(),
        name,
    })
}

/// Describes the volume `\\?\Volume{…}\`, `None` if it is not worth listing or just went away.
fn volume(index: usize, volume: &str, disks: &[DriveInfo]) -> Option<DriveInfo> {
    let mount_points = calls::mount_points_of(volume);
    let device = raw::open_to_ask(Path::new(volume.trim_end_matches('\\'))).ok()?;
    let location = raw::location(&device);
    let extents = raw::extents(&device);
    let len_bytes = extents
        .iter()
        .fold(0u64, |sum, extent| sum.saturating_add(extent.len_bytes));
    if len_bytes == 0 {
        return None;
    }
    // By its letter, if it has one: that is what people call it.
    let letter = mount_points
        .iter()
        .filter_map(|mount_point| mount_point.to_str())
        .find_map(|mount_point| device_name(mount_point));
    let path = letter.unwrap_or_else(|| volume.trim_end_matches('\\').to_owned());
    let disk_number = extents.first()?.disk;
    let disk = disks.iter().find(|disk| disk.number.major == disk_number);
    let number = match location {
        Some(location) => number_of(location),
        // A volume over several disks has no place of its own.
        None => DeviceNumber {
            major: u32::MAX,
            minor: u32::try_from(index).unwrap_or(u32::MAX),
        },
    };
    Some(DriveInfo {
        name: short_name(&path).to_owned(),
        path: PathBuf::from(short_path(&path)),
        len_bytes,
        sector_size: raw::sector_size(&device).unwrap_or(DEFAULT_SECTOR_SIZE),
        kind: match location.and_then(|location| location.partition) {
            Some(partition) => DriveKind::Partition {
                parent: disk_name(disk_number),
                number: partition,
            },
            None => DriveKind::Disk,
        },
        removable: calls::drive_type_of(Path::new(volume)) == calls::DRIVE_REMOVABLE
            || disk.is_some_and(|disk| disk.removable),
        usb: disk.is_some_and(|disk| disk.usb),
        read_only: raw::is_read_only(&device),
        vendor: disk.and_then(|disk| disk.vendor.clone()),
        model: disk.and_then(|disk| disk.model.clone()),
        mount_points,
        number,
    })
}

fn mounts_of(drive: &DriveInfo) -> Vec<Mount> {
    let mount = |mount_point: &PathBuf| {
        // A locked drive has its letter all the same, and nothing can be kept on it.
        let (file_system, read_only) = calls::file_system_of(mount_point)?;
        Some(Mount {
            source: drive.path.display().to_string(),
            number: drive.number,
            root: PathBuf::from("/"),
            mount_point: mount_point.clone(),
            file_system,
            read_only,
            drive: Some(drive.clone()),
        })
    };
    drive.mount_points.iter().filter_map(mount).collect()
}

/// Returns `E:` for `\\.\E:`, and any other name as it is.
fn short_path(name: &str) -> &str {
    match short_name(name) {
        letter if letter.len() == 2 => letter,
        _ => name,
    }
}

fn disk_name(number: u32) -> String {
    format!("PhysicalDrive{number}")
}

fn number_of(location: super::answers::Location) -> DeviceNumber {
    DeviceNumber {
        major: location.disk,
        minor: location.partition.unwrap_or(0),
    }
}
