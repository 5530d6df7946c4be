//! Which process is behind a mount: its top folder says so in an extended attribute.
//!
//! It cannot be stale, as a file with the number in it could: only the process itself can answer.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use fuser::{Errno, INodeNo, ReplyXattr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The attribute of the top folder of every mount of ours.
const ATTRIBUTE: &str = "user.keyhaven.process";

/// The longest number of a process, in digits.
const LEN_MAX: usize = 20;

/// Returns the number of the process behind a mount; `None` where it is gone, or the mount is none of ours.
///
/// Waits for an answer, so ask only what is mounted by us.
#[must_use]
pub fn process_behind(mountpoint: &Path) -> Option<u32> {
    let mut value = [0; LEN_MAX];
    let len = rustix::fs::getxattr(mountpoint, ATTRIBUTE, &mut value).ok()?;
    std::str::from_utf8(value.get(..len)?).ok()?.parse().ok()
}

/// Waits until a process has ended, but at most for `time`; returns whether it has.
#[must_use]
pub fn wait_for_end(process: u32, time: Duration) -> bool {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else {
        return true;
    };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        // There is none of this number any more.
        return true;
    };
    let time = Timespec::try_from(time).ok();
    matches!(
        poll(&mut [PollFd::new(&process, PollFlags::IN)], time.as_ref()),
        Ok(1..)
    )
}

/// Answers a question for an extended attribute.
pub(super) fn answer(inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
    let value = std::process::id().to_string();
    match usize::try_from(size) {
        _ if inode != INodeNo::ROOT || name != ATTRIBUTE => reply.error(Errno::NO_XATTR),
        Ok(0) => reply.size(u32::try_from(value.len()).unwrap_or_default()),
        Ok(size) if size >= value.len() => reply.data(value.as_bytes()),
        _ => reply.error(Errno::ERANGE),
    }
}
