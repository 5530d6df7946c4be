//! The server: takes clients in, gives each a thread, and ends them all in good order.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::event::{Event, Watch};
use super::export::Export;
use super::handshake::{self, Agreed, Outcome, Security};
use super::listen::Listener;
use super::session::Session;
use super::socket::Socket;
use super::tls::Tls;
use super::{ConnectionError, ServeError, is_local};

/// How often whoever runs the server is asked whether to go on.
const LOOK_UP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Offers an export to clients.
#[derive(Debug, Clone)]
pub struct Server {
    export: Export,
    tls: Option<Tls>,
    max_clients: usize,
    workers: usize,
    patience: Duration,
    grace: Duration,
}

impl Server {
    /// Makes a server of an export, which serves nobody yet.
    ///
    /// Up to 64 clients at a time, each with a worker for each core and one more, up to 8; 15 seconds to get as far
    /// as using the export, 5 to take the last replies when the server stops.
    #[must_use]
    pub fn new(export: Export) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            export,
            tls: None,
            max_clients: 64,
            workers: cores.saturating_add(1).min(8),
            patience: Duration::from_secs(15),
            grace: Duration::from_secs(5),
        }
    }

    /// Lets clients in only under TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how many clients there may be at a time; others are turned away.
    #[must_use]
    pub fn limit_clients(mut self, most: usize) -> Self {
        self.max_clients = most;
        self
    }

    /// Sets how many requests of one client are worked on at a time, at least one.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Sets how long a client may take to get as far as using the export, TLS included.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how long a client may take to receive the replies to its requests in progress once the server is stopping.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Returns what is offered.
    #[must_use]
    pub fn export(&self) -> &Export {
        &self.export
    }

    /// Serves the clients that come in until `keep_on`, which is asked a few times a second and after a signal, says
    /// stop.
    ///
    /// Then the listeners are closed, requests in progress are ended, and what was written is brought to the medium.
    ///
    /// # Errors
    /// [`ServeError::TlsRequired`] before anything; [`ServeError::Wait`]; [`ServeError::Flush`] at the end. What
    /// happens to single clients is told to `watch`.
    pub fn serve(
        &self,
        listeners: Vec<Listener>,
        keep_on: &mut dyn FnMut() -> ControlFlow<()>,
        watch: &Watch<'_>,
    ) -> Result<(), ServeError> {
        self.refuse_open_doors(&listeners)?;
        let service = Service {
            server: self,
            watch,
            is_stopping: AtomicBool::new(false),
            clients: Clients::default(),
        };
        let accepted = thread::scope(|scope| {
            let accepted = service.accept(scope, &listeners, keep_on);
            drop(listeners);
            service.is_stopping.store(true, Ordering::SeqCst);
            service.clients.end(self.grace);
            accepted
        });
        let flushed = match self.export.writable() {
            Some(device) => device.flush().map_err(ServeError::Flush),
            None => Ok(()),
        };
        accepted.and(flushed)
    }

    /// Serves one client over a stream that is there already, without TLS, until it leaves.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub fn serve_stream(
        &self,
        mut reading: impl Read + Send,
        mut writing: impl Write + Send,
        watch: &Watch<'_>,
    ) -> Result<(), ConnectionError> {
        let flags = handshake::greet(&mut reading, &mut writing)?;
        let outcome = handshake::agree(&mut reading, &mut writing, &self.export, flags, Security::None)?;
        let Outcome::Use(agreed) = outcome else {
            return Ok(());
        };
        let never = AtomicBool::new(false);
        let session = Session::new((reading, writing), &self.export, agreed, &never, watch);
        Ok(session.run(self.workers)?)
    }

    fn refuse_open_doors(&self, listeners: &[Listener]) -> Result<(), ServeError> {
        let mut addresses = listeners.iter().filter_map(Listener::tcp_address);
        let open_door = addresses.find(|address| !is_local(*address));
        match open_door {
            Some(address) if self.tls.is_none() => Err(ServeError::TlsRequired { address }),
            _ => Ok(()),
        }
    }
}

/// A server at work.
struct Service<'a> {
    server: &'a Server,
    watch: &'a Watch<'a>,
    is_stopping: AtomicBool,
    clients: Clients,
}

impl<'a> Service<'a> {
    fn accept<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        listeners: &[Listener],
        keep_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), ServeError> {
        while keep_on().is_continue() {
            let mut waiting: Vec<PollFd<'_>> = listeners
                .iter()
                .map(|listener| PollFd::new(listener, PollFlags::IN))
                .collect();
            match poll(&mut waiting, Some(&LOOK_UP)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(ServeError::Wait(error.into())),
            }
            for listener in listeners {
                match listener.accept() {
                    Ok(None) => {}
                    Ok(Some(socket)) => self.take_in(scope, Arc::new(socket)),
                    Err(error) => {
                        (self.watch)(Event::AcceptFailed(&error));
                        // Too many files are open, say: the client still waits, and so do we.
                        let _ = poll(&mut [], Some(&LOOK_UP));
                    }
                }
            }
        }
        Ok(())
    }

    fn take_in<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, socket: Arc<Socket>) {
        let Some((id, count)) = self.clients.add(&socket, self.server.max_clients) else {
            (self.watch)(Event::TurnedAway);
            return;
        };
        (self.watch)(Event::Connected { clients: count });
        let thread = thread::Builder::new().name("nbd client".to_owned());
        let spawned = thread.spawn_scoped(scope, move || {
            let outcome = self.attend(id, socket);
            self.clients.remove(id);
            (self.watch)(Event::Left {
                problem: outcome.as_ref().err(),
            });
        });
        if spawned.is_err() {
            self.clients.remove(id);
            (self.watch)(Event::TurnedAway);
        }
    }

    /// Serves one client to its end.
    fn attend(&self, id: u64, socket: Arc<Socket>) -> Result<(), ConnectionError> {
        thread::scope(|scope| {
            let mut pump = None;
            let outcome = self.converse(id, socket, scope, &mut pump);
            // Whatever happened: this ends the pump too.
            self.clients.shut_down(id, Shutdown::Both);
            match pump.map(thread::ScopedJoinHandle::join) {
                // Where TLS broke, all else is a consequence.
                Some(Ok(Err(error))) if outcome.is_err() => Err(ConnectionError::Tls(error)),
                _ => outcome,
            }
        })
    }

    fn converse<'scope>(
        &'scope self,
        id: u64,
        socket: Arc<Socket>,
        scope: &'scope Scope<'scope, '_>,
        pump: &mut Option<thread::ScopedJoinHandle<'scope, io::Result<()>>>,
    ) -> Result<(), ConnectionError> {
        let is_too_slow = Arc::new(AtomicBool::new(false));
        let arrived = self.limit_time(id, scope, Arc::clone(&is_too_slow))?;
        let (socket, agreed) = match self.come_to_terms(id, socket, scope, pump) {
            _ if is_too_slow.load(Ordering::SeqCst) => return Err(ConnectionError::TooSlow),
            Ok(Some(agreed)) => agreed,
            Ok(None) => return Ok(()),
            Err(error) => return Err(error),
        };
        drop(arrived);
        let streams = (&*socket, &*socket);
        let session = Session::new(
            streams,
            &self.server.export,
            agreed,
            &self.is_stopping,
            self.watch,
        );
        Ok(session.run(self.server.workers)?)
    }

    /// Ends the connection if what is returned is not dropped in time.
    fn limit_time<'scope>(
        &'scope self,
        id: u64,
        scope: &'scope Scope<'scope, '_>,
        is_too_slow: Arc<AtomicBool>,
    ) -> Result<mpsc::Sender<()>, ConnectionError> {
        let (arrived, waiting) = mpsc::channel();
        thread::Builder::new()
            .spawn_scoped(scope, move || {
                if waiting.recv_timeout(self.server.patience) == Err(RecvTimeoutError::Timeout) {
                    is_too_slow.store(true, Ordering::SeqCst);
                    self.clients.shut_down(id, Shutdown::Both);
                }
            })
            .map_err(ConnectionError::NoThread)?;
        Ok(arrived)
    }

    /// Agrees with a client on what follows, and over which socket; [`None`] where it leaves.
    fn come_to_terms<'scope>(
        &self,
        id: u64,
        socket: Arc<Socket>,
        scope: &'scope Scope<'scope, '_>,
        pump: &mut Option<thread::ScopedJoinHandle<'scope, io::Result<()>>>,
    ) -> Result<Option<(Arc<Socket>, Agreed)>, ConnectionError> {
        let export = &self.server.export;
        let flags = handshake::greet(&mut &*socket, &mut &*socket)?;
        let security = match self.server.tls {
            Some(_) => Security::TlsIsRequired,
            None => Security::None,
        };
        match handshake::agree(&mut &*socket, &mut &*socket, export, flags, security)? {
            Outcome::Use(agreed) => return Ok(Some((socket, agreed))),
            Outcome::Leave => return Ok(None),
            Outcome::StartTls => {}
        }
        let Some(tls) = &self.server.tls else {
            return Ok(None);
        };
        let (session, carrier) = tls.begin(socket).map_err(ConnectionError::Tls)?;
        let session = Arc::new(session);
        self.clients.replace(id, &session);
        let thread = thread::Builder::new().name("nbd tls".to_owned());
        let spawned = thread.spawn_scoped(scope, move || carrier.run());
        *pump = Some(spawned.map_err(ConnectionError::NoThread)?);
        if self.is_stopping.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let secure = Security::IsSecure;
        match handshake::agree(&mut &*session, &mut &*session, export, flags, secure)? {
            Outcome::Use(agreed) => Ok(Some((session, agreed))),
            Outcome::Leave | Outcome::StartTls => Ok(None),
        }
    }
}

/// The clients that are connected, by number: the socket that their thread reads from.
#[derive(Debug, Default)]
struct Clients {
    connected: Mutex<Connected>,
    one_has_left: Condvar,
}

#[derive(Debug, Default)]
struct Connected {
    sockets: BTreeMap<u64, Arc<Socket>>,
    next_id: u64,
}

impl Clients {
    /// Adds a client, unless there are `most`; returns its number, and how many there are now.
    fn add(&self, socket: &Arc<Socket>, most: usize) -> Option<(u64, usize)> {
        let mut connected = self.lock();
        if connected.sockets.len() >= most {
            return None;
        }
        let id = connected.next_id;
        connected.next_id = id.wrapping_add(1);
        connected.sockets.insert(id, Arc::clone(socket));
        Some((id, connected.sockets.len()))
    }

    /// From now on the client's thread reads from another socket.
    fn replace(&self, id: u64, socket: &Arc<Socket>) {
        self.lock().sockets.insert(id, Arc::clone(socket));
    }

    fn remove(&self, id: u64) {
        self.lock().sockets.remove(&id);
        self.one_has_left.notify_all();
    }

    fn shut_down(&self, id: u64, how: Shutdown) {
        if let Some(socket) = self.lock().sockets.get(&id) {
            socket.shut_down(how);
        }
    }

    /// Takes no more requests, waits a while for those in progress, and cuts off who is left.
    fn end(&self, grace: Duration) {
        let connected = self.lock();
        for socket in connected.sockets.values() {
            socket.shut_down(Shutdown::Read);
        }
        let waited = self
            .one_has_left
            .wait_timeout_while(connected, grace, |connected| !connected.sockets.is_empty());
        let (connected, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for socket in connected.sockets.values() {
            socket.shut_down(Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        // Each change is one call that does not panic.
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
