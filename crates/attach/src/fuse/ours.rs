//! The mounts of Keyhaven, found again in the list of all mounts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyhaven_disk::os::{DriveKind, Host, Mount};

/// By what the kernel tells apart the programs behind FUSE.
pub(super) const SUBTYPE: &str = "keyhaven";

/// The kernel's name for a file system of ours.
pub(super) const FILE_SYSTEM: &str = "fuse.keyhaven";

/// Stands before the name of the drive in the list of mounts.
pub(super) const SOURCE_PREFIX: &str = "keyhaven:";

/// The mounts of Keyhaven on this computer, in the order in which they were made.
#[derive(Debug, Clone)]
pub struct Ours(Vec<OurMount>);

/// A mount of Keyhaven.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OurMount {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The name of the drive.
    pub drive: String,
    /// Where a driver of the computer has mounted what is in this mount's file, if one has.
    pub outer: Option<PathBuf>,
}

impl OurMount {
    /// Returns the folder in which people see the drive.
    #[must_use]
    pub fn shown_at(&self) -> &Path {
        self.outer.as_deref().unwrap_or(&self.mountpoint)
    }
}

impl Ours {
    /// Looks at the mounts of a computer as this process sees them.
    ///
    /// # Errors
    /// What the operating system says about the list of mounts.
    pub fn on(host: &Host) -> io::Result<Self> {
        let mounts = host.mounts()?;
        let ours = mounts.iter().filter(|mount| mount.file_system == FILE_SYSTEM);
        let described = ours.map(|inner| OurMount {
            mountpoint: inner.mount_point.clone(),
            drive: inner
                .source
                .strip_prefix(SOURCE_PREFIX)
                .unwrap_or(&inner.source)
                .to_owned(),
            outer: mounts
                .iter()
                .find(|mount| is_on(mount, &inner.mount_point))
                .map(|mount| mount.mount_point.clone()),
        });
        Ok(Self(described.collect()))
    }

    /// Returns all of them.
    #[must_use]
    pub fn all(&self) -> &[OurMount] {
        &self.0
    }

    /// Finds the mount that is seen at `path`: the one made last, where there are several.
    ///
    /// `path` may lead there through links; a mount whose process is gone is found too.
    #[must_use]
    pub fn at(&self, path: &Path) -> Option<&OurMount> {
        let path = without_links(path)?;
        self.0
            .iter()
            .rfind(|mount| mount.mountpoint == path || mount.outer.as_ref() == Some(&path))
    }
}

/// Tells whether a mount shows what is in a file under `folder`: through a loop device, or a driver on FUSE.
fn is_on(mount: &Mount, folder: &Path) -> bool {
    let by_loop_device = matches!(
        &mount.drive,
        Some(drive) if matches!(&drive.kind, DriveKind::Loop { backing_file } if backing_file.starts_with(folder))
    );
    by_loop_device || (mount.mount_point != folder && Path::new(&mount.source).starts_with(folder))
}

/// Follows links without asking what is mounted at the end: a mount without a process answers nothing.
fn without_links(path: &Path) -> Option<PathBuf> {
    if let Ok(path) = fs::canonicalize(path) {
        return Some(path);
    }
    let absolute = std::path::absolute(path).ok()?;
    let (folder, name) = (absolute.parent()?, absolute.file_name()?);
    Some(fs::canonicalize(folder).ok()?.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_through_loop_devices_and_drivers() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let loop_device = root.path().join("sys/class/block/loop3");
        for (file, content) in [
            ("size", "2048\n"),
            ("dev", "7:3\n"),
            ("loop/backing_file", "/run/keyhaven/1/volume.img\n"),
        ] {
            let path = loop_device.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(
            &host.mountinfo,
            "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             30 20 0:50 / /mnt/files ro - fuse.keyhaven keyhaven:disk.img#2 ro\n\
             31 20 0:51 / /run/keyhaven/1 rw - fuse.keyhaven keyhaven:/dev/sdb1 rw\n\
             32 20 7:3 / /mnt/by\\040kernel rw - vfat /dev/loop3 rw\n\
             33 20 0:52 / /run/keyhaven/2 rw - fuse.keyhaven keyhaven:/dev/sdc1 rw\n\
             34 20 0:53 / /mnt/ntfs rw - fuse /run/keyhaven/2/volume.img rw\n",
        )
        .unwrap();
        let ours = Ours::on(&host).unwrap();
        let found: Vec<_> = ours
            .all()
            .iter()
            .map(|mount| (mount.drive.as_str(), mount.shown_at().to_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                ("disk.img#2", "/mnt/files"),
                ("/dev/sdb1", "/mnt/by kernel"),
                ("/dev/sdc1", "/mnt/ntfs"),
            ]
        );
    }
}
