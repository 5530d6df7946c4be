//! A mountpoint is looked at, and a connection to the kernel mounted there.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use keyhaven_disk::os::Host;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::fusermount::{self, HelperError};
use super::options::MountOptions;
use super::ours;

/// The kernel's end of every FUSE mount.
const DEVICE: &str = "/dev/fuse";

/// The longest name that is shown for what is mounted, in bytes: longer than any path that is worth reading.
const NAME_LEN_MAX: usize = 255;

/// Why nothing could be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mountpoint does not exist.
    #[error("there is no folder `{}`", .0.display())]
    Missing(PathBuf),
    /// The mountpoint is a file.
    #[error("`{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// Something is in the mountpoint, and would be hidden.
    #[error("the folder `{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// Something is mounted there.
    #[error("`{source_name}` is mounted on `{}` already", .mountpoint.display())]
    AlreadyMounted {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What is mounted, in the words of whoever mounted it.
        source_name: String,
    },
    /// A mount is there whose process is gone.
    #[error("something is mounted on `{}` whose program was ended by force", .0.display())]
    Dead(PathBuf),
    /// The mountpoint cannot be looked into, or not be written by a user who needs to.
    #[error("you may not mount on `{}`: it belongs to somebody else", .0.display())]
    NotAllowed(PathBuf),
    /// The kernel has no FUSE, or this system hides it.
    #[error("this system has no FUSE: `{DEVICE}` does not exist")]
    NoFuse,
    /// `/dev/fuse` may not be used.
    #[error("`{DEVICE}` may not be used by this user")]
    FuseNotAllowed,
    /// A user needs a program to mount, and it is not installed.
    #[error("the program `fusermount3`, with which users mount, is not installed")]
    NoHelper,
    /// The computer's settings keep other users out of such mounts.
    #[error("`/etc/fuse.conf` does not allow that other users see what you mount")]
    OthersNotAllowed,
    /// The program with which users mount refused.
    #[error("`fusermount3` refused: {0}")]
    Refused(String),
    /// The operating system refused.
    #[error("mounting on `{}` failed", .mountpoint.display())]
    Io {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Looks whether something can be mounted on `mountpoint`, and returns it without links and relative parts.
///
/// # Errors
/// Why not: everything that can be known before it is tried.
pub fn check_mountpoint(mountpoint: &Path) -> Result<PathBuf, MountError> {
    let failed = |error: io::Error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => MountError::Missing(mountpoint.to_owned()),
        Some(Errno::NOTCONN) => MountError::Dead(mountpoint.to_owned()),
        Some(Errno::ACCESS | Errno::PERM) => MountError::NotAllowed(mountpoint.to_owned()),
        Some(Errno::NOTDIR) => MountError::NotAFolder(mountpoint.to_owned()),
        _ => MountError::Io {
            mountpoint: mountpoint.to_owned(),
            source: error,
        },
    };
    if !fs::metadata(mountpoint).map_err(failed)?.is_dir() {
        return Err(MountError::NotAFolder(mountpoint.to_owned()));
    }
    let mountpoint = fs::canonicalize(mountpoint).map_err(failed)?;
    let mounts = Host::system().mounts().unwrap_or_default();
    if let Some(mount) = mounts.iter().rfind(|mount| mount.mount_point == mountpoint) {
        return Err(MountError::AlreadyMounted {
            mountpoint,
            source_name: mount.source.clone(),
        });
    }
    if fs::read_dir(&mountpoint).map_err(failed)?.next().is_some() {
        return Err(MountError::NotEmpty(mountpoint));
    }
    if !Path::new(DEVICE).exists() {
        return Err(MountError::NoFuse);
    }
    if !rustix::process::geteuid().is_root() {
        if access(&mountpoint, Access::WRITE_OK).is_err() {
            return Err(MountError::NotAllowed(mountpoint));
        }
        if !fusermount::is_installed() {
            return Err(MountError::NoHelper);
        }
    }
    Ok(mountpoint)
}

/// Mounts on a mountpoint that [`check_mountpoint`] returned; what the kernel asks then comes in through the descriptor.
pub(super) fn connect(
    mountpoint: &Path,
    options: &MountOptions,
    read_only: bool,
) -> Result<OwnedFd, MountError> {
    match directly(mountpoint, options, read_only) {
        // Users may not mount, but there is a program that does it for them.
        Err(Failure::Io(error)) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
            with_helper(mountpoint, options, read_only)
        }
        Err(Failure::Io(source)) => Err(MountError::Io {
            mountpoint: mountpoint.to_owned(),
            source,
        }),
        Err(Failure::Device(error)) => Err(match error.kind() {
            io::ErrorKind::NotFound => MountError::NoFuse,
            io::ErrorKind::PermissionDenied => MountError::FuseNotAllowed,
            _ => MountError::Io {
                mountpoint: mountpoint.to_owned(),
                source: error,
            },
        }),
        Ok(connection) => Ok(connection),
    }
}

enum Failure {
    Device(io::Error),
    Io(io::Error),
}

fn directly(mountpoint: &Path, options: &MountOptions, read_only: bool) -> Result<OwnedFd, Failure> {
    use std::os::unix::fs::PermissionsExt;

    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(Failure::Device)?;
    let mode = fs::metadata(mountpoint)
        .map_err(Failure::Io)?
        .permissions()
        .mode();
    let mut data = format!(
        "fd={},rootmode={mode:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).map_err(|error| Failure::Io(error.into()))?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    if read_only {
        flags |= MountFlags::RDONLY;
    }
    rustix::mount::mount(
        source_name(&options.name),
        mountpoint,
        ours::FILE_SYSTEM,
        flags,
        data.as_c_str(),
    )
    .map_err(|error| Failure::Io(error.into()))?;
    Ok(device.into())
}

fn with_helper(mountpoint: &Path, options: &MountOptions, read_only: bool) -> Result<OwnedFd, MountError> {
    // The program takes a backslash before what would end the name.
    let name = source_name(&options.name)
        .replace('\\', "\\\\")
        .replace(',', "\\,");
    let mut words = vec![
        format!("fsname={name}"),
        format!("subtype={}", ours::SUBTYPE),
        "default_permissions,nosuid,nodev,noatime".to_owned(),
    ];
    if read_only {
        words.push("ro".to_owned());
    }
    if options.allow_other {
        words.push("allow_other".to_owned());
    }
    fusermount::mount(mountpoint, &words.join(",")).map_err(|error| match error {
        HelperError::NotInstalled => MountError::NoHelper,
        HelperError::Io(source) => MountError::Io {
            mountpoint: mountpoint.to_owned(),
            source,
        },
        HelperError::Refused(reason) if reason.contains("user_allow_other") => MountError::OthersNotAllowed,
        HelperError::Refused(reason)
            if reason.contains("not owned") || reason.contains("no write access") =>
        {
            MountError::NotAllowed(mountpoint.to_owned())
        }
        HelperError::Refused(reason) => MountError::Refused(reason),
    })
}

/// Returns the name by which a mount of ours is known, without what would break a line or a list.
fn source_name(name: &str) -> String {
    let mut source = ours::SOURCE_PREFIX.to_owned();
    for c in name.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if source.len() + c.len_utf8() > NAME_LEN_MAX {
            break;
        }
        source.push(c);
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountpoint_is_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("empty")).unwrap();
        fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink(path("empty"), path("link")).unwrap();

        assert_eq!(
            check_mountpoint(&path("link")).unwrap(),
            fs::canonicalize(path("empty")).unwrap()
        );
        assert!(matches!(
            check_mountpoint(&path("none")),
            Err(MountError::Missing(_))
        ));
        assert!(matches!(
            check_mountpoint(&path("file")),
            Err(MountError::NotAFolder(_))
        ));
        assert!(matches!(
            check_mountpoint(&path("file/below")),
            Err(MountError::NotAFolder(_))
        ));
        assert!(matches!(
            check_mountpoint(folder.path()),
            Err(MountError::NotEmpty(_))
        ));
        let proc = check_mountpoint(Path::new("/proc"));
        assert!(matches!(proc, Err(MountError::AlreadyMounted { .. })), "{proc:?}");
    }

    #[test]
    fn a_name_fits_into_a_line() {
        assert_eq!(source_name("disk.img#2"), "keyhaven:disk.img#2");
        assert_eq!(source_name("a\nb"), "keyhaven:a?b");
        assert_eq!(source_name(&"ä".repeat(300)).len(), NAME_LEN_MAX);
    }
}
