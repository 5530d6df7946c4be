//! `fusermount3`, the program with which users who are not root mount and unmount FUSE file systems.
//!
//! Source: fusermount3(1) and libfuse's mount.c: the program sends the open `/dev/fuse` over the socket whose number
//! is in `_FUSE_COMMFD`.

use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

const PROGRAM: &str = "fusermount3";

/// No complaint is longer, in bytes.
const COMPLAINT_LEN_MAX: u64 = 4096;

/// Why the program did not do it.
#[derive(Debug)]
pub(super) enum HelperError {
    NotInstalled,
    Refused(String),
    Io(io::Error),
}

/// Tells whether the program can be started.
pub(super) fn is_installed() -> bool {
    let asked = Command::new(PROGRAM)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    !matches!(asked, Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Mounts with options in the program's own form, and returns the connection.
pub(super) fn mount(mountpoint: &Path, options: &str) -> Result<OwnedFd, HelperError> {
    let (ours, theirs) = UnixStream::pair().map_err(HelperError::Io)?;
    let mut child = Command::new(PROGRAM)
        .args(["-o", options, "--"])
        .arg(mountpoint)
        // Its standard input is the socket: no other descriptor reaches a child without unsafe code.
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    let received = receive(&ours);
    let mut complaint = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(COMPLAINT_LEN_MAX).read_to_end(&mut complaint);
    }
    let status = child.wait().map_err(HelperError::Io)?;
    match received {
        Ok(Some(connection)) if status.success() => Ok(connection),
        Err(error) if complaint.is_empty() => Err(HelperError::Io(error)),
        _ => Err(HelperError::Refused(plain(&complaint))),
    }
}

/// Unmounts; lazily: at once from the tree of files, and for good when nobody uses it any more.
pub(super) fn unmount(mountpoint: &Path, lazily: bool) -> Result<(), HelperError> {
    let output = Command::new(PROGRAM)
        .arg("-u")
        .args(lazily.then_some("-z"))
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .output()
        .map_err(not_started)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(HelperError::Refused(plain(&output.stderr)))
    }
}

fn not_started(error: io::Error) -> HelperError {
    match error.kind() {
        io::ErrorKind::NotFound => HelperError::NotInstalled,
        _ => HelperError::Io(error),
    }
}

/// Waits for the connection; `None` if the program ended without sending one.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    loop {
        match recvmsg(socket, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.next().and_then(|mut descriptors| descriptors.next()))
}

/// Makes one line of what the program printed, without its own name before it.
fn plain(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().next().unwrap_or_default().trim();
    let (_, line) = line.split_once("fusermount3: ").unwrap_or(("", line));
    if line.is_empty() {
        "it gave no reason".to_owned()
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line() {
        assert_eq!(
            plain(b"/usr/bin/fusermount3: mountpoint is not empty\nmore\n"),
            "mountpoint is not empty"
        );
        assert_eq!(plain(b""), "it gave no reason");
    }
}
