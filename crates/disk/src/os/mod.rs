//! The drives of this computer, and which drive a path lives on.
//!
//! A [`Host`] is asked; what it reads is injectable, so that tests see the drives they made up. On Linux it reads
//! sysfs and `/proc/self/mountinfo`: no privileges are needed, nothing is opened or woken up. On Windows it asks the
//! system, whatever its paths say. On other systems the lists are empty and no path has a mount: a drive must be named
//! by its path there.

use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(any(target_os = "linux", windows)))]
mod other;
#[cfg(any(windows, test))]
pub(crate) mod windows;

/// Where a computer tells about its drives and mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The sysfs: `/sys`.
    pub sysfs: PathBuf,
    /// The mounts as this process sees them: `/proc/self/mountinfo`.
    pub mountinfo: PathBuf,
    /// Where the device files are: `/dev`.
    pub dev: PathBuf,
}

impl Host {
    /// Returns this computer.
    #[must_use]
    pub fn system() -> Self {
        Self::at("/")
    }

    /// Returns a computer whose files lie under `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        if cfg!(windows) {
            // What stands behind this is a device.
            return Self {
                sysfs: PathBuf::new(),
                mountinfo: PathBuf::new(),
                dev: PathBuf::from(r"\\.\"),
            };
        }
        Self {
            sysfs: root.join("sys"),
            mountinfo: root.join("proc").join("self").join("mountinfo"),
            dev: root.join("dev"),
        }
    }
}

/// Tells whether a path leads to a drive of this computer, not to a file: to a block device; on Windows, `C:`,
/// `\\.\PhysicalDrive1` and their like.
#[must_use]
pub fn is_device(path: &Path) -> bool {
    #[cfg(unix)]
    return path
        .metadata()
        .is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type()));
    #[cfg(windows)]
    return windows::raw::is_drive(path);
    #[cfg(not(any(unix, windows)))]
    {
        let _ = path;
        false
    }
}

/// A block device of this computer: a disk, a partition, or something that looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriveInfo {
    /// The name by which the kernel knows it: `sdb1`.
    pub name: String,
    /// Its device file, under [`Host::dev`].
    pub path: PathBuf,
    /// The number by which mounts refer to it.
    pub number: DeviceNumber,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Its logical sector size in bytes.
    pub sector_size: u32,
    /// What kind of block device it is.
    pub kind: DriveKind,
    /// Whether its medium can be taken out; for a partition, whether its disk's can.
    pub removable: bool,
    /// Whether it is connected through USB.
    pub usb: bool,
    /// Whether the kernel refuses writes to it.
    pub read_only: bool,
    /// Who made the disk, if it says so.
    pub vendor: Option<String>,
    /// What the disk is called by its maker, if it says so.
    pub model: Option<String>,
    /// Where it is mounted, in the order of the mounts.
    pub mount_points: Vec<PathBuf>,
}

impl DriveInfo {
    /// Returns whether a person would carry it away: its medium is removable or it hangs on USB.
    #[must_use]
    pub fn is_portable(&self) -> bool {
        self.removable || self.usb
    }
}

/// A kind of block device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriveKind {
    /// A whole disk.
    Disk,
    /// A partition of a disk.
    Partition {
        /// The kernel's name of the disk.
        parent: String,
        /// The number in the partition table.
        number: u32,
    },
    /// A file that the kernel shows as a disk (a loop device).
    Loop {
        /// The file.
        backing_file: PathBuf,
    },
    /// A device made from others by the device mapper: an opened LUKS volume, a logical volume.
    DeviceMapper {
        /// The name under `/dev/mapper`, if it has one.
        name: Option<String>,
    },
}

/// The number of a device, as the kernel counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The driver; 0 for file systems without a device.
    pub major: u32,
    /// Which of the driver's devices.
    pub minor: u32,
}

/// A file system at its place in the tree of files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// What is mounted, in the words of whoever mounted it: `/dev/sdb1`, `tmpfs`, `server:/share`.
    pub source: String,
    /// The device of the file system.
    pub number: DeviceNumber,
    /// Which folder of the file system is shown; `/` unless it is a bind mount or a subvolume.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The name of the file system's driver: `ext4`, `fuseblk`.
    pub file_system: String,
    /// Whether this mount refuses writes.
    pub read_only: bool,
    /// The drive it is on; `None` for network shares, memory, and what FUSE makes up.
    pub drive: Option<DriveInfo>,
}

/// What lies directly beneath a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// Another block device, by its kernel name.
    Device(String),
    /// A file.
    File(PathBuf),
}
