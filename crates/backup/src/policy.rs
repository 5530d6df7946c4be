//! Where a recovery key must not be kept: the rules of Windows' own dialog.

use std::path::{Path, PathBuf};

use dunce::canonicalize;
use keyhaven_disk::os::{Backing, DriveKind, Host};

/// Why a place is no place for a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is on the drive that the key opens.
    #[error("`{}` is on the very drive that the key opens: locked out of one, you would be locked out of both", .0.display())]
    OnTheDriveItself(
        /// The place.
        PathBuf,
    ),
    /// It is on a drive that BitLocker encrypts, too.
    #[error("`{}` is on a drive that is encrypted with BitLocker as well ({device}), and would be locked with it", .path.display())]
    OnAnEncryptedDrive {
        /// The place.
        path: PathBuf,
        /// The encrypted device under it.
        device: String,
    },
    /// It is the top folder of a drive that is built in.
    #[error("`{}` is the top folder of a drive that is built in, where a key is found by whoever opens the computer", .0.display())]
    RootOfFixedDrive(
        /// The place.
        PathBuf,
    ),
}

/// Returns why a folder is no place for the keys of `drive`, a device or image file; nothing if it is one.
///
/// What lies under the folder is followed down through loop devices and mappings. `is_bitlocker` is asked about the
/// devices there. That another partition of the same disk is the drive is no reason.
pub fn check(
    folder: &Path,
    drive: &Path,
    host: &Host,
    is_bitlocker: &dyn Fn(&Path) -> bool,
) -> Result<(), Refusal> {
    let folder = canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let drive_name = host.drive_at(drive).map(|info| info.name);
    let drive_file = drive.canonicalize().unwrap_or_else(|_| drive.to_owned());
    let Some(mount) = host.mount_of(&folder) else {
        return Ok(());
    };

    if let Some(under) = &mount.drive {
        let mut layers = vec![Backing::Device(under.name.clone())];
        layers.extend(host.all_backing_of(&under.name).unwrap_or_default());
        let disks = disks_of(&layers, host);
        for layer in &layers {
            // Of a disk, only the partition above it is what the folder is on.
            if matches!(layer, Backing::Device(name) if disks.contains(name)) {
                continue;
            }
            let (path, is_drive) = match layer {
                Backing::Device(name) => (host.dev.join(name), Some(name) == drive_name.as_ref()),
                Backing::File(path) => (path.clone(), *path == drive_file),
                _ => continue,
            };
            if is_drive {
                return Err(Refusal::OnTheDriveItself(folder));
            }
            if is_bitlocker(&path) {
                return Err(Refusal::OnAnEncryptedDrive {
                    path: folder,
                    device: path.display().to_string(),
                });
            }
        }
    }
    let is_fixed = match &mount.drive {
        Some(drive) => !drive.is_portable(),
        None => mount.mount_point == Path::new("/"),
    };
    if is_fixed && folder == mount.mount_point {
        return Err(Refusal::RootOfFixedDrive(folder));
    }
    Ok(())
}

/// Tells whether a folder is kept in memory only, and gone when the computer is switched off.
///
/// That is no reason to refuse it: somebody who works from a live system may have nothing else, for the moment.
#[must_use]
pub fn is_in_memory(folder: &Path, host: &Host) -> bool {
    let folder = canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    host.mount_of(&folder)
        .is_some_and(|mount| matches!(mount.file_system.as_str(), "tmpfs" | "ramfs"))
}

/// Returns the disks whose partitions are among the layers.
fn disks_of(layers: &[Backing], host: &Host) -> Vec<String> {
    let disk_of = |layer: &Backing| match layer {
        Backing::Device(name) => match host.drive_at(&host.dev.join(name))?.kind {
            DriveKind::Partition { parent, .. } => Some(parent),
            _ => None,
        },
        _ => None,
    };
    layers.iter().filter_map(disk_of).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A computer with a built-in disk (`nda1` mounted at `fixed`, `nda2` under a mapping at `mapped`), a stick at
    /// `stick`, and an image file on the built-in disk that is mounted through a loop device at `inside`.
    struct Computer {
        root: tempfile::TempDir,
    }

    impl Computer {
        fn new() -> Self {
            let computer = Self {
                root: tempfile::tempdir().expect("a folder"),
            };
            computer.device("nda", "259:0", &[("removable", "0")]);
            computer.device("nda/nda1", "259:1", &[("partition", "1")]);
            computer.device("nda/nda2", "259:2", &[("partition", "2")]);
            computer.device("dm-0", "254:0", &[("dm/name", "unlocked")]);
            fs::create_dir_all(computer.path("sys/devices/dm-0/slaves/nda2")).expect("a folder");
            computer.device("usb1/sdb", "8:16", &[("removable", "1")]);
            computer.device("usb1/sdb/sdb1", "8:17", &[("partition", "1")]);
            let image = computer.path("fixed/images/disk.img");
            fs::create_dir_all(image.parent().expect("a folder")).expect("a folder");
            fs::write(&image, "").expect("written");
            computer.device(
                "loop0",
                "7:0",
                &[("loop/backing_file", &image.display().to_string())],
            );
            let mut mounts = String::new();
            for (number, place, file_system) in [
                ("259:1", "fixed", "ext4"),
                ("254:0", "mapped", "ntfs3"),
                ("8:17", "stick", "vfat"),
                ("7:0", "inside", "ext4"),
                ("0:40", "memory", "tmpfs"),
                ("0:41", "share", "cifs"),
            ] {
                let folder = computer.path(place);
                fs::create_dir_all(folder.join("keys")).expect("a folder");
                mounts.push_str(&format!(
                    "22 1 {number} / {} rw - {file_system} x rw\n",
                    folder.display()
                ));
            }
            fs::create_dir_all(computer.path("proc/self")).expect("a folder");
            fs::write(computer.path("proc/self/mountinfo"), mounts).expect("written");
            computer
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().canonicalize().expect("there").join(path)
        }

        fn device(&self, place: &str, number: &str, files: &[(&str, &str)]) {
            let folder = self.path("sys/devices").join(place);
            for (name, content) in [("dev", number), ("size", "4096")].iter().chain(files) {
                let file = folder.join(name);
                fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
                fs::write(file, content).expect("written");
            }
            let name = folder.file_name().expect("a name");
            fs::create_dir_all(self.path("sys/class/block")).expect("a folder");
            symlink(&folder, self.path("sys/class/block").join(name)).expect("linked");
            fs::create_dir_all(self.path("dev")).expect("a folder");
            fs::write(self.path("dev").join(name), "").expect("written");
        }

        fn judged(&self, folder: &str, drive: &str, bitlocker: &[&str]) -> Result<(), Refusal> {
            let bitlocker: Vec<PathBuf> = bitlocker.iter().map(|path| self.path(path)).collect();
            let host = Host::at(self.root.path().canonicalize().expect("there"));
            check(&self.path(folder), &self.path(drive), &host, &|path| {
                bitlocker.contains(&path.to_owned())
            })
        }
    }

    #[test]
    fn windows_refusals_hold() {
        let computer = Computer::new();
        let refused = |folder: &str, drive: &str, bitlocker: &[&str]| {
            computer.judged(folder, drive, bitlocker).expect_err(folder)
        };
        assert_eq!(
            computer.judged("stick", "dev/nda2", &["dev/nda2"]),
            Ok(()),
            "the top of a stick"
        );
        assert_eq!(computer.judged("stick/keys", "dev/nda2", &["dev/nda2"]), Ok(()));
        assert_eq!(
            computer.judged("fixed/keys", "dev/nda2", &["dev/nda2"]),
            Ok(()),
            "a folder of a plain drive"
        );
        assert_eq!(
            computer.judged("fixed/keys", "dev/nda", &["dev/nda2"]),
            Ok(()),
            "another partition of the disk"
        );
        assert_eq!(computer.judged("share", "dev/nda2", &["dev/nda2"]), Ok(()));
        assert_eq!(computer.judged("memory/keys", "dev/nda2", &[]), Ok(()));
        let host = Host::at(computer.path(""));
        assert!(is_in_memory(&computer.path("memory/keys"), &host));
        assert!(!is_in_memory(&computer.path("fixed/keys"), &host));
        assert!(matches!(
            refused("mapped/keys", "dev/nda", &["dev/nda2"]),
            Refusal::OnAnEncryptedDrive { .. }
        ));
        assert!(matches!(
            refused("fixed", "dev/nda2", &[]),
            Refusal::RootOfFixedDrive(_)
        ));
        assert!(matches!(
            refused("mapped/keys", "dev/nda2", &["dev/nda2"]),
            Refusal::OnTheDriveItself(_)
        ));
        assert!(matches!(
            refused("mapped/keys", "dev/sdb1", &["dev/nda2"]),
            Refusal::OnAnEncryptedDrive { .. }
        ));
        assert!(matches!(
            refused("inside/keys", "fixed/images/disk.img", &[]),
            Refusal::OnTheDriveItself(_)
        ));
        assert!(matches!(
            refused("inside/keys", "dev/sdb1", &["fixed/images/disk.img"]),
            Refusal::OnAnEncryptedDrive { .. }
        ));
        assert!(matches!(
            refused("stick/keys", "dev/sdb1", &["dev/sdb1"]),
            Refusal::OnTheDriveItself(_)
        ));
    }
}
