//! Where clients come in: a Unix socket or a TCP port.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, chmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::ServeError;
use super::socket::Socket;
use super::uri::{self, Place};

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 32;

/// A place where clients come in. When it is dropped nobody comes in any more, and its socket's file is removed.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener, SocketAddr),
}

impl Listener {
    /// Makes a Unix socket that only its owner (and root) can connect to.
    ///
    /// A socket that nobody listens on any more is replaced. The folder must be there.
    ///
    /// # Errors
    /// [`ServeError::SocketInUse`] where somebody listens there already, [`ServeError::NotASocket`] where something
    /// else is there, [`ServeError::SocketPathTooLong`] above what the system allows (about 100 bytes),
    /// [`ServeError::Listen`] where the system refuses.
    pub fn unix(path: &Path) -> Result<Self, ServeError> {
        let refused = |source: io::Error| ServeError::Listen {
            place: path.display().to_string(),
            source,
        };
        let address = SocketAddrUnix::new(path).map_err(|_| ServeError::SocketPathTooLong {
            path: path.to_owned(),
        })?;
        remove_if_stale(path)?;
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| refused(error.into()))?;
        bind(&socket, &address).map_err(|error| refused(error.into()))?;
        let file = SocketFile::made_at(path).map_err(refused)?;
        // Until somebody listens nobody can connect, so the mode is right before it matters.
        chmod(path, Mode::RUSR | Mode::WUSR).map_err(|error| refused(error.into()))?;
        listen(&socket, BACKLOG).map_err(|error| refused(error.into()))?;
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true).map_err(refused)?;
        Ok(Self(Kind::Unix(listener, file)))
    }

    /// Opens a TCP port; with port 0 the system chooses one.
    ///
    /// # Errors
    /// [`ServeError::Listen`] where the system refuses.
    pub fn tcp(address: SocketAddr) -> Result<Self, ServeError> {
        let open = || -> io::Result<Kind> {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Kind::Tcp(listener, address))
        };
        open().map(Self).map_err(|source| ServeError::Listen {
            place: address.to_string(),
            source,
        })
    }

    /// Returns the address by which clients know the export.
    #[must_use]
    pub fn uri(&self, export_name: &str, is_tls: bool) -> String {
        uri::of(self.place(), export_name, is_tls)
    }

    /// Returns the TCP address; [`None`] for a Unix socket.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Unix(..) => None,
            Kind::Tcp(_, address) => Some(*address),
        }
    }

    /// Returns the path of a Unix socket; [`None`] for TCP.
    #[must_use]
    pub fn socket_path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Unix(_, file) => Some(&file.path),
            Kind::Tcp(..) => None,
        }
    }

    fn place(&self) -> Place<'_> {
        match &self.0 {
            Kind::Unix(_, file) => Place::Unix(&file.path),
            Kind::Tcp(_, address) => Place::Tcp(*address),
        }
    }

    /// Takes the next client; [`None`] where none waits.
    pub(super) fn accept(&self) -> io::Result<Option<Socket>> {
        let accepted = match &self.0 {
            Kind::Unix(listener, _) => listener.accept().map(|(stream, _)| Socket::Unix(stream)),
            Kind::Tcp(listener, _) => listener.accept().map(|(stream, _)| Socket::Tcp(stream)),
        };
        let socket = match accepted {
            Ok(socket) => socket,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Some systems hand the listener's setting on.
        socket.set_nonblocking(false)?;
        if let Socket::Tcp(stream) = &socket {
            // A reply is complete when it is sent, and a client that vanished is noticed some day.
            stream.set_nodelay(true)?;
            rustix::net::sockopt::set_socket_keepalive(stream, true)?;
        }
        Ok(Some(socket))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Unix(listener, _) => listener.as_fd(),
            Kind::Tcp(listener, _) => listener.as_fd(),
        }
    }
}

/// The file by which a Unix socket is found; removed at the end, if it is still the same.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device_and_number: (u64, u64),
}

impl SocketFile {
    fn made_at(path: &Path) -> io::Result<Self> {
        let found = path.symlink_metadata()?;
        Ok(Self {
            path: path.to_owned(),
            device_and_number: (found.dev(), found.ino()),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = self
            .path
            .symlink_metadata()
            .is_ok_and(|found| (found.dev(), found.ino()) == self.device_and_number);
        if is_ours {
            // What is left is taken for stale by the next who wants the place.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes room for a socket where an earlier one was left behind.
fn remove_if_stale(path: &Path) -> Result<(), ServeError> {
    let Ok(found) = path.symlink_metadata() else {
        // Nothing there, or something that making the socket will tell better.
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(ServeError::NotASocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| ServeError::Listen {
                place: path.display().to_string(),
                source,
            })
        }
        _ => Err(ServeError::SocketInUse {
            path: path.to_owned(),
        }),
    }
}

/// Tells whether accepting failed because there is nobody, or not any more.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_socket_is_its_owner_s_and_goes_with_the_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let listener = Listener::unix(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(listener.accept().unwrap().is_none());
        let _client = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().unwrap().is_some());
        assert_eq!(listener.socket_path(), Some(path.as_path()));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let first = Listener::unix(&path).unwrap();
        assert!(matches!(
            Listener::unix(&path),
            Err(ServeError::SocketInUse { .. })
        ));
        drop(first);
        // Made by a server that was killed.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = Listener::unix(&path).unwrap();
        // Somebody else's by now: it stays.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        drop(second);
        assert!(matches!(
            Listener::unix(&path),
            Err(ServeError::NotASocket { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(
            Listener::unix(&link),
            Err(ServeError::NotASocket { .. })
        ));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        assert!(matches!(
            Listener::unix(&long),
            Err(ServeError::SocketPathTooLong { .. })
        ));
        let nowhere = folder.path().join("none/x.sock");
        assert!(matches!(Listener::unix(&nowhere), Err(ServeError::Listen { .. })));
        let taken = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let again = Listener::tcp(taken.tcp_address().unwrap());
        assert!(matches!(again, Err(ServeError::Listen { .. })));
    }
}
