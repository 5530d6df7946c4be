//! What a person is told about mounts: why there is none, who keeps one busy, and what to do.

use std::path::Path;

use keyhaven_attach::fuse::{MountError, UnmountError, Use, User, users_of};
use keyhaven_disk::os::Host;

use crate::error::CliError;

/// Under this folder root's images are mounted, out of sight.
pub(crate) const PRIVATE_FOLDERS: &str = "/run/keyhaven";

/// No more processes are named than these: a person ends them one by one.
const NAMED_MAX: usize = 5;

/// Says why nothing was mounted, and what to do next.
pub(crate) fn mount_refusal(error: &MountError) -> CliError {
    let refused = CliError::could_not("nothing was unlocked").because(error);
    match error {
        MountError::Missing(folder) => refused.hint(format!("make it first: `mkdir {}`", folder.display())),
        MountError::NotAFolder(_) => refused.hint("give an empty folder; the drive's files appear in it"),
        MountError::NotEmpty(_) => {
            refused.hint("what is in it would be hidden: give an empty folder, such as a new one")
        }
        MountError::AlreadyMounted {
            mountpoint,
            source_name,
        } if source_name.starts_with("keyhaven:") => {
            refused.hint(format!("`keyhaven lock {}` ends it", mountpoint.display()))
        }
        MountError::AlreadyMounted { .. } => refused.hint("give another folder"),
        MountError::Dead(mountpoint) => {
            refused.hint(format!("`keyhaven lock {}` clears it away", mountpoint.display()))
        }
        MountError::NotAllowed(_) => refused.hint("give a folder of your own, such as a new one"),
        MountError::NoFuse => refused
            .hint("`sudo modprobe fuse` loads it; into a container, `/dev/fuse` has to be handed")
            .hint("`keyhaven export` writes the decrypted drive to a file without it"),
        MountError::FuseNotAllowed => {
            refused.hint("put `sudo` before the command, or have yourself let in to `/dev/fuse`")
        }
        MountError::NoHelper => refused.hint("install the package `fuse3`"),
        MountError::OthersNotAllowed => refused
            .hint("leave out `--allow-other`, or have root put the line `user_allow_other` into that file"),
        _ => refused,
    }
}

/// Says why something is still mounted, and what to do next.
pub(crate) fn unmount_refusal(error: &UnmountError) -> CliError {
    match error {
        UnmountError::Busy(mountpoint) => {
            let mut refused = CliError::could_not(format!(
                "`{}` is in use, so it stays unlocked",
                mountpoint.display()
            ));
            for user in named_users(mountpoint) {
                refused = refused.hint(user);
            }
            refused.hint("end that and try again; `--force` takes it out of sight now, whoever uses it")
        }
        UnmountError::NotAllowed(_) => CliError::could_not("it stays unlocked")
            .because(error)
            .hint("that user may lock it, or root: put `sudo` before the command"),
        UnmountError::NoHelper => CliError::could_not("it stays unlocked")
            .because(error)
            .hint("install the package `fuse3`"),
        _ => CliError::could_not("it stays unlocked").because(error),
    }
}

/// Says who uses a mount, a line each.
pub(crate) fn named_users(mountpoint: &Path) -> Vec<String> {
    let users = users_of(mountpoint);
    if users.is_empty() {
        // Another mount inside it keeps it busy as a process does.
        let inside = Host::system()
            .mounts()
            .unwrap_or_default()
            .into_iter()
            .find(|mount| mount.mount_point != mountpoint && mount.mount_point.starts_with(mountpoint));
        return match inside {
            Some(mount) => vec![format!(
                "something is mounted inside it, on `{}`",
                mount.mount_point.display()
            )],
            None if rustix::process::geteuid().is_root() => {
                vec!["no process is seen that uses it: perhaps it has just ended".to_owned()]
            }
            None => vec!["a process of another user uses it; root can see which".to_owned()],
        };
    }
    let mut lines: Vec<String> = users.iter().take(NAMED_MAX).map(describe).collect();
    if let Some(more) = users.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        lines.push(format!("{more} more processes use it"));
    }
    lines
}

fn describe(user: &User) -> String {
    let who = format!("{} (process {})", user.program, user.process_id);
    match &user.used {
        Use::WorkingFolder(path) => format!("{who} works in `{}`", path.display()),
        Use::OpenFile(path) => format!("{who} has `{}` open", path.display()),
        Use::Program(path) => format!("{who} runs from `{}`", path.display()),
        _ => format!("{who} uses it"),
    }
}
