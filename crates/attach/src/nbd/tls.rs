//! TLS: who the server is, whom it lets in, and the thread between the two ends.
//!
//! A session reads and writes at the same time from several threads, and a TLS connection is one object. So a thread
//! of its own, the pump, holds it: on one side it has the client's socket, on the other one end of a pair of sockets,
//! whose other end is the session's. The session does not know whether there is TLS.
//!
//! Servers prove who they are with a certificate (X.509). Keys that both sides share beforehand (PSK), which some
//! clients know too, are not offered: rustls has none of their own, and a certificate made for the occasion does the
//! same.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::socket::Socket;

/// How much goes from one side to the other at once, in bytes.
const BUFFER_LEN: usize = 64 * 1024;

/// How long a client may take nothing at the end before it is given up.
const LAST_WAIT: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// The most waits of that kind.
const LAST_WAITS: u32 = 10;

/// Who a server is, and whom it lets in.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    knows_clients: bool,
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read, or is not PEM.
    #[error("cannot read the {what} in `{}`", path.display())]
    Pem {
        /// What was to be read.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file has no certificate.
    #[error("`{}` has no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key is not the certificate's, or of a kind that is not known here.
    #[error("the certificate and the key cannot be used together")]
    CertificateAndKey(#[source] rustls::Error),
    /// The certificate of the authority that vouches for clients is not usable.
    #[error("the certificate of those who vouch for clients cannot be used")]
    ClientAuthority(#[source] rustls::Error),
    /// What vouches for clients cannot be used.
    #[error("what vouches for clients cannot be used")]
    Verifier(#[from] VerifierBuilderError),
}

impl Tls {
    /// Reads a server's certificate, with those that vouch for it, and its key from PEM files. With
    /// `client_authority`, only clients are let in that have a certificate of it.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn from_files(
        certificate: &Path,
        key: &Path,
        client_authority: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let chain = read_certificates(certificate, "certificate")?;
        let private_key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem {
            what: "key",
            path: key.to_owned(),
            source,
        })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::CertificateAndKey)?;
        let builder = match client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut authorities = RootCertStore::empty();
                for authority in read_certificates(path, "certificate of those who vouch for clients")? {
                    authorities.add(authority).map_err(TlsError::ClientAuthority)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder
            .with_single_cert(chain, private_key)
            .map_err(TlsError::CertificateAndKey)?;
        Ok(Self {
            config: Arc::new(config),
            knows_clients: client_authority.is_some(),
        })
    }

    /// Tells whether only clients with a certificate are let in.
    #[must_use]
    pub fn knows_clients(&self) -> bool {
        self.knows_clients
    }

    /// Begins TLS with a client. Returns the session's end, and what pumps between it and the client until both are
    /// done; whoever waits for the client meanwhile waits for its TLS handshake.
    pub(super) fn begin(&self, client: Arc<Socket>) -> io::Result<(Socket, Pump)> {
        let mut connection = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        // The pump gives it no more than one buffer at a time.
        connection.set_buffer_limit(None);
        let (session, plain) = UnixStream::pair()?;
        let plain = Socket::Unix(plain);
        client.set_nonblocking(true)?;
        plain.set_nonblocking(true)?;
        let pump = Pump {
            client,
            plain,
            connection,
            received: Vec::with_capacity(BUFFER_LEN),
            client_has_ended: false,
            session_has_ended: false,
        };
        Ok((Socket::Unix(session), pump))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("knows_clients", &self.knows_clients)
            .finish_non_exhaustive()
    }
}

fn read_certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem {
        what,
        path: path.to_owned(),
        source,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// Carries bytes between a client under TLS and a session.
pub(super) struct Pump {
    client: Arc<Socket>,
    plain: Socket,
    connection: ServerConnection,
    /// What the client has said and the session has not taken yet.
    received: Vec<u8>,
    client_has_ended: bool,
    session_has_ended: bool,
}

impl Pump {
    /// Carries until both are done, or one of them breaks. Nobody is left waiting.
    pub(super) fn run(mut self) -> io::Result<()> {
        let outcome = self.carry();
        self.plain.shut_down(Shutdown::Both);
        self.client.shut_down(Shutdown::Both);
        outcome
    }

    fn carry(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_LEN];
        let mut last_waits = 0;
        loop {
            self.tell_session()?;
            self.hear_session(&mut buffer)?;
            self.tell_client()?;
            if self.session_has_ended && !self.connection.wants_write() {
                return Ok(());
            }
            if self.session_has_ended {
                last_waits += 1;
                if last_waits > LAST_WAITS {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            self.wait()?;
            self.hear_client(&mut buffer)?;
        }
    }

    /// Waits until there is something to do on either side.
    fn wait(&self) -> io::Result<()> {
        let mut of_client = PollFlags::empty();
        of_client.set(PollFlags::IN, self.hears_client());
        of_client.set(PollFlags::OUT, self.connection.wants_write());
        let mut of_plain = PollFlags::empty();
        of_plain.set(PollFlags::IN, self.hears_session());
        of_plain.set(
            PollFlags::OUT,
            !self.received.is_empty() && !self.session_has_ended,
        );
        let mut both = [
            PollFd::new(&*self.client, of_client),
            PollFd::new(&self.plain, of_plain),
        ];
        // An end that is waited for in no direction would still wake us when it hangs up, again and again.
        let [client, plain] = &mut both;
        let watched = match (of_client.is_empty(), of_plain.is_empty()) {
            (false, true) => std::slice::from_mut(client),
            (true, false) => std::slice::from_mut(plain),
            _ => &mut both,
        };
        let timeout = self.session_has_ended.then_some(&LAST_WAIT);
        match poll(watched, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is room for what the client says.
    fn hears_client(&self) -> bool {
        self.received.is_empty() && !self.client_has_ended && !self.session_has_ended
    }

    /// Whether what the session says can be sent soon.
    fn hears_session(&self) -> bool {
        !self.session_has_ended && !self.connection.wants_write()
    }

    fn hear_client(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if !self.hears_client() {
            return Ok(());
        }
        while self.received.len() < BUFFER_LEN && !self.client_has_ended {
            match self.connection.read_tls(&mut &*self.client) {
                // The reader below tells whether the client took its leave before.
                Ok(_) => {}
                Err(error) if is_later(&error) => break,
                Err(error) => return Err(error),
            }
            if let Err(error) = self.connection.process_new_packets() {
                // The client is told why, if it still listens.
                let _ = self.connection.write_tls(&mut &*self.client);
                return Err(io::Error::other(error));
            }
            self.take_received(buffer)?;
        }
        if self.client_has_ended && self.connection.is_handshaking() {
            // It does not trust the certificate, more often than not.
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the client left before TLS had begun",
            ));
        }
        Ok(())
    }

    /// Takes what has been decrypted.
    fn take_received(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(0) => self.client_has_ended = true,
                Ok(count) => {
                    self.received.extend(buffer.get(..count).unwrap_or_default());
                    continue;
                }
                Err(error) if is_later(&error) => {}
                // Cut off without a word: the session will see that something is missing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.client_has_ended = true,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }

    fn tell_session(&mut self) -> io::Result<()> {
        while !self.received.is_empty() {
            match (&self.plain).write(&self.received) {
                Ok(count) => drop(self.received.drain(..count)),
                Err(error) if is_later(&error) => return Ok(()),
                // The session does not want more; what it still says is carried.
                Err(_) => self.received.clear(),
            }
        }
        if self.client_has_ended {
            self.plain.shut_down(Shutdown::Write);
        }
        Ok(())
    }

    fn hear_session(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if !self.hears_session() {
            return Ok(());
        }
        match (&self.plain).read(buffer) {
            Ok(0) => {
                self.session_has_ended = true;
                self.connection.send_close_notify();
            }
            Ok(count) => {
                let said = buffer.get(..count).unwrap_or_default();
                self.connection.writer().write_all(said)?;
            }
            Err(error) if is_later(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn tell_client(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut &*self.client) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
