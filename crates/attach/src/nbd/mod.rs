//! A device over the network block device protocol (NBD), for programs and other machines.
//!
//! ```
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! use keyhaven_attach::Shown;
//! use keyhaven_attach::nbd::{Export, Listener, Server};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("disk.sock");
//! let device = Arc::new(vec![0; 1 << 20]);
//! let server = Server::new(Export::new(Shown::ReadOnly(device)));
//! let listener = Listener::unix(&path)?;
//! println!("{}", listener.uri("", false));
//! // Serves until it is told to stop: here, at once.
//! server.serve(vec![listener], &mut || ControlFlow::Break(()), &|_event| {})?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What clients can do
//!
//! An [`Export`] is a device under a name. Clients of any kind can use it: qemu, libnbd's tools, the kernel's. They
//! are told which parts are holes (`base:allocation`) and what can be done: reading always; writing, flushing,
//! zeroing and, where the device can, discarding, if the device is [`Shown::Writable`](crate::Shown::Writable). All
//! connections of all clients share the one device, so a client may open several.
//!
//! # How it works
//!
//! ```text
//! Listener ─► Server ──(a thread for each client)──► handshake ─► Session ─► replies
//!                └─(stop: no new clients; requests in progress end; flush)      └─ device
//! ```
//!
//! [`option`] and [`request`] turn bytes into shapes, the handshake agrees on an export, a session answers requests
//! with a few workers that take turns at reading the next one. Whatever a client asks for, a worker has one buffer of
//! 256 KiB; so memory depends on the number of clients and workers, both of which are limited
//! ([`Server::limit_clients`], [`Server::workers`]), and on nothing else. A client that sends nonsense loses its
//! connection; one that says nothing before it uses the export does so after a while.
//!
//! # Errors
//!
//! What cannot be read or written is the client's to know: it is told the place, the other connections go on, and an
//! [`Event`] tells whoever runs the server. Large reads go out in chunks, so that an error in the middle does not cost
//! the connection; a client that does not understand chunks (the kernel's) is told before the first byte.
//!
//! # Who gets in
//!
//! A Unix socket is its owner's. A TCP port is open to everybody who can reach it: on this machine all its users, so
//! ports of other addresses are refused without [`Tls`]; and TLS by itself tells clients who the server is, not the
//! other way round, so give it the certificate of an authority that vouches for clients. Keys shared beforehand
//! (TLS-PSK) are not offered: the TLS library has none.

mod event;
mod export;
mod extent;
mod failure;
mod handshake;
mod listen;
pub mod option;
mod reply;
pub mod request;
mod server;
mod session;
mod socket;
mod tls;
mod uri;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use keyhaven_disk::WriteError;

pub use event::{Event, Watch};
pub use export::{Export, MAX_REQUEST_LEN};
pub use handshake::HandshakeError;
pub use listen::Listener;
pub use server::Server;
pub use session::SessionError;
pub use tls::{Tls, TlsError};

/// Tells whether an address can be reached from this machine only.
#[must_use]
pub fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Why a server did not begin, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Nobody can listen there.
    #[error("cannot listen at {place}")]
    Listen {
        /// The path or address.
        place: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another program listens there.
    #[error("another program listens at `{}`", path.display())]
    SocketInUse {
        /// The path.
        path: PathBuf,
    },
    /// Something is there that is not a socket; it is not overwritten.
    #[error("`{}` is there already and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system cannot have a socket with such a long path.
    #[error("the path `{}` is too long for a socket", path.display())]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The name of the export is longer than the protocol allows.
    #[error("the name of the export has {len} bytes, more than 4096")]
    NameTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Others than this machine can reach the port, and there is no TLS.
    #[error("{address} can be reached from other machines, which needs TLS")]
    TlsRequired {
        /// The address.
        address: SocketAddr,
    },
    /// The server cannot wait for clients.
    #[error("waiting for clients failed")]
    Wait(#[source] io::Error),
    /// At the end, what clients have written could not be brought to the medium.
    #[error("what was written last is not safe on the medium")]
    Flush(#[source] WriteError),
}

/// Why a connection ended other than by the client's wish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The client and the server did not come to terms.
    #[error("a client did not get as far as using the export")]
    Handshake(#[from] HandshakeError),
    /// The client did not use the export in time.
    #[error("a client was connected for too long without using the export")]
    TooSlow,
    /// TLS did not work.
    #[error("TLS with a client failed")]
    Tls(#[source] io::Error),
    /// There are not enough threads.
    #[error("there is no thread for a client")]
    NoThread(#[source] io::Error),
    /// The connection ended while the export was in use.
    #[error("the connection of a client ended early")]
    Session(#[from] SessionError),
}
