//! What is asked of a mount.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Is told of every error of the medium or the file system while others read and write. It may be called from several
/// threads, and must not touch the mount.
pub type Report = Arc<dyn Fn(&(dyn Error + 'static)) + Send + Sync>;

/// What is asked of a mount.
#[derive(Clone)]
pub struct MountOptions {
    /// What is mounted, in the words of `mount` and `df`: the drive's name.
    pub name: String,
    /// Whether other users may read what is shown. For whoever is not root, `/etc/fuse.conf` must allow it.
    pub allow_other: bool,
    /// The time that is shown for what has none of its own.
    pub now: SystemTime,
    /// Is told what goes wrong.
    pub report: Report,
}

impl MountOptions {
    /// Returns options for a mount of this name that only its user sees, and that reports to nobody.
    #[must_use]
    pub fn new(name: impl Into<String>, now: SystemTime) -> Self {
        Self {
            name: name.into(),
            allow_other: false,
            now,
            report: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountOptions")
            .field("name", &self.name)
            .field("allow_other", &self.allow_other)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Who a file is shown as belonging to, and what its owner and others may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ownership {
    pub(super) uid: u32,
    pub(super) gid: u32,
    allow_other: bool,
}

impl Ownership {
    /// Returns the ownership of this process.
    pub(super) fn of_this_process(allow_other: bool) -> Self {
        Self {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            allow_other,
        }
    }

    /// Returns permissions: those of the owner, and for others those to read, where others are to see anything.
    pub(super) fn permissions(self, of_owner: u16) -> u16 {
        if self.allow_other {
            let to_read = of_owner & 0o500;
            of_owner | to_read >> 3 | to_read >> 6
        } else {
            of_owner
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_only_if_they_are_let_in() {
        let permissions =
            |allow_other, of_owner| Ownership::of_this_process(allow_other).permissions(of_owner);
        assert_eq!(permissions(false, 0o600), 0o600);
        assert_eq!(permissions(true, 0o600), 0o644);
        assert_eq!(permissions(true, 0o500), 0o555);
    }
}
