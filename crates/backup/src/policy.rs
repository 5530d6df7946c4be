//! Where a recovery key must not be kept: the rules of Windows' own dialog.

use std::path::{Path, PathBuf};

use keyhaven_disk::os::{Backing, Host};

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
/// devices there.
pub fn check(
    folder: &Path,
    drive: &Path,
    host: &Host,
    is_bitlocker: &dyn Fn(&Path) -> bool,
) -> Result<(), Refusal> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let drive_file = drive.canonicalize().unwrap_or_else(|_| drive.to_owned());
    let drive_name = host.drive_at(&drive_file).map(|info| info.name);
    let Some(mount) = host.mount_of(&folder) else {
        return Ok(());
    };

    if let Some(under) = &mount.drive {
        let mut layers = vec![Backing::Device(under.name.clone())];
        layers.extend(host.all_backing_of(&under.name).unwrap_or_default());
        for layer in &layers {
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
