//! What is in an image file, mounted by a driver of this computer: the kernel's, or a program such as ntfs-3g.
//!
//! Only root may. The programs that mount are run as a person would run them, since they know what the kernel does not:
//! loop devices, helpers, modules. Sources: mount(8), ntfs-3g(8).

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use keyhaven_disk::content::Content;
use keyhaven_disk::os::Host;

/// Why no driver of this computer mounted it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// There is no driver for this on Linux.
    #[error("Linux has no driver for {0}")]
    NoDriver(Content),
    /// The driver has to be installed first.
    #[error("this computer has no driver for {content}")]
    NotInstalled {
        /// What it would be for.
        content: Content,
        /// The package that has one, on Debian and its relatives.
        package: &'static str,
    },
    /// A driver refused.
    #[error("`{program}` could not mount it: {reason}")]
    Refused {
        /// The program that was run.
        program: &'static str,
        /// The first line of what it said.
        reason: String,
    },
    /// The driver would not let anybody write.
    #[error("the driver mounted it read-only")]
    ReadOnly,
    /// A program could not be started, or a folder not be made.
    #[error("running `{program}` failed")]
    Io {
        /// The program.
        program: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// How a driver is to mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemOptions {
    /// Whether nobody may write.
    pub read_only: bool,
    /// Whether other users may read what is shown, where the file system has no owners of its own.
    pub allow_other: bool,
}

/// Mounts what is in `image`, which is `content`, on `mountpoint`.
///
/// # Errors
/// See [`SystemError`]; nothing is mounted then.
pub fn mount(
    image: &Path,
    content: Content,
    mountpoint: &Path,
    options: SystemOptions,
) -> Result<(), SystemError> {
    let drivers = drivers_for(content);
    if drivers.is_empty() {
        return Err(SystemError::NoDriver(content));
    }
    let mut problem = None;
    for driver in drivers {
        match driver.mount(image, mountpoint, options) {
            Ok(()) => return check_writable(mountpoint, options),
            Err(Refusal::NotThere) => {}
            Err(Refusal::Because(error)) => problem = Some(error),
        }
    }
    Err(problem.unwrap_or(SystemError::NotInstalled {
        content,
        package: package_for(content),
    }))
}

/// Tells whether something is mounted on `mountpoint`, which must be free of links.
#[must_use]
pub fn is_mounted(mountpoint: &Path) -> bool {
    match Host::system().mounts() {
        Ok(mounts) => mounts.iter().any(|mount| mount.mount_point == mountpoint),
        // Nobody can tell, and what is not known to be gone is there.
        Err(_) => true,
    }
}

/// A folder that only this user can enter, under one for all such folders. It is removed when this is dropped.
#[derive(Debug)]
pub struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes the folder `base/name`; one that is left from an earlier process is used again, if nothing is in it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(base: &Path, name: &str) -> io::Result<Self> {
        let path = base.join(name);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        for folder in [base, &path] {
            match builder.create(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                outcome => outcome?,
            }
        }
        Ok(Self(path))
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        remove_private_folder(&self.0);
    }
}

/// Removes an empty folder, and the one for all such folders if it was the last.
pub fn remove_private_folder(folder: &Path) {
    // Nothing is lost if it stays: it is empty, and the next start of the computer removes it.
    if fs::remove_dir(folder).is_ok()
        && let Some(base) = folder.parent()
    {
        let _ = fs::remove_dir(base);
    }
}

/// A way to mount an image.
#[derive(Debug, Clone, Copy)]
enum Driver {
    /// By `mount`: a driver of the kernel, or one that `mount` knows how to start.
    Mount {
        file_system: &'static str,
        /// Whether files have no owners of their own.
        without_owners: bool,
    },
    Ntfs3g,
}

enum Refusal {
    /// This computer does not have it.
    NotThere,
    Because(SystemError),
}

/// Returns the drivers for a file system, the first choice first.
fn drivers_for(content: Content) -> Vec<Driver> {
    let windows = |file_system| Driver::Mount {
        file_system,
        without_owners: true,
    };
    let linux = |file_system| Driver::Mount {
        file_system,
        without_owners: false,
    };
    match content {
        Content::Ntfs => vec![windows("ntfs3"), Driver::Ntfs3g],
        Content::ExFat => vec![windows("exfat"), windows("exfat-fuse")],
        Content::Fat12 | Content::Fat16 | Content::Fat32 => vec![windows("vfat")],
        Content::Ext2 | Content::Ext3 | Content::Ext4 => vec![linux("ext4")],
        Content::Btrfs => vec![linux("btrfs")],
        Content::Xfs => vec![linux("xfs")],
        Content::F2fs => vec![linux("f2fs")],
        Content::Iso9660 => vec![linux("iso9660")],
        Content::Udf => vec![linux("udf")],
        _ => Vec::new(),
    }
}

fn package_for(content: Content) -> &'static str {
    match content {
        Content::Ntfs => "ntfs-3g",
        Content::ExFat => "exfat-fuse",
        _ => "linux-modules-extra",
    }
}

impl Driver {
    fn mount(self, image: &Path, mountpoint: &Path, options: SystemOptions) -> Result<(), Refusal> {
        let mut words = vec![
            if options.read_only { "ro" } else { "rw" },
            "nosuid,nodev,noatime",
        ];
        let without_owners = match self {
            Self::Mount { without_owners, .. } => without_owners,
            Self::Ntfs3g => true,
        };
        if without_owners {
            words.push(if options.allow_other {
                "umask=022"
            } else {
                "umask=077"
            });
        }
        let (program, output) = match self {
            Self::Mount { file_system, .. } => {
                words.push("loop");
                let mut command = Command::new("mount");
                command.args(["-t", file_system]);
                ("mount", run(command, &words, image, mountpoint))
            }
            Self::Ntfs3g => {
                if !options.read_only {
                    // No name that Windows could not open.
                    words.push("windows_names");
                }
                ("ntfs-3g", run(Command::new("ntfs-3g"), &words, image, mountpoint))
            }
        };
        let output = output.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Refusal::NotThere,
            _ => Refusal::Because(SystemError::Io {
                program,
                source: error,
            }),
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("unknown filesystem type") {
            return Err(Refusal::NotThere);
        }
        let reason = said.lines().find(|line| !line.trim().is_empty());
        Err(Refusal::Because(SystemError::Refused {
            program,
            reason: reason.unwrap_or("it gave no reason").trim().to_owned(),
        }))
    }
}

fn run(mut command: Command, options: &[&str], image: &Path, mountpoint: &Path) -> io::Result<Output> {
    command
        .args(["-o", &options.join(",")])
        .arg(image)
        .arg(mountpoint)
        // What it says is looked at.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
}

/// Some drivers mount read-only where they do not dare to write, and say so to nobody in particular.
fn check_writable(mountpoint: &Path, options: SystemOptions) -> Result<(), SystemError> {
    if options.read_only {
        return Ok(());
    }
    let mounts = Host::system().mounts().unwrap_or_default();
    let mount = mounts.iter().rfind(|mount| mount.mount_point == mountpoint);
    if mount.is_none_or(|mount| !mount.read_only) {
        return Ok(());
    }
    let _ = super::unmount(mountpoint, super::Unmounting::Detach);
    Err(SystemError::ReadOnly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_is_gone_with_its_holder() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("keyhaven");
        let first = PrivateFolder::create(&base, "1").unwrap();
        let second = PrivateFolder::create(&base, "2").unwrap();
        let mode = fs::metadata(first.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(first);
        assert!(base.exists());
        drop(second);
        assert!(!base.exists());
    }

    #[test]
    fn what_has_no_driver_is_named() {
        let mounted = mount(
            Path::new("/nowhere"),
            Content::ReFs,
            Path::new("/nowhere"),
            SystemOptions {
                read_only: true,
                allow_other: false,
            },
        );
        assert!(matches!(mounted, Err(SystemError::NoDriver(Content::ReFs))));
    }
}
