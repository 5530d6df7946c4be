//! A server that runs while a test does.

use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use keyhaven_attach::Shown;
use keyhaven_attach::nbd::{Event, Export, Listener, ServeError, Server};
use tempfile::TempDir;

/// A server with a Unix socket in a folder of its own.
pub(crate) struct Running {
    folder: TempDir,
    is_to_stop: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Running {
    pub(crate) fn of(shown: Shown) -> Self {
        Self::start(Server::new(Export::new(shown)))
    }

    pub(crate) fn start(server: Server) -> Self {
        Self::start_at(server, Vec::new())
    }

    /// Listens at more places.
    pub(crate) fn start_at(server: Server, mut listeners: Vec<Listener>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        listeners.push(Listener::unix(&folder.path().join("nbd.sock")).unwrap());
        let is_to_stop = Arc::new(AtomicBool::new(false));
        let events = Arc::new(Mutex::new(Vec::new()));
        let (stop, told) = (Arc::clone(&is_to_stop), Arc::clone(&events));
        let thread = std::thread::spawn(move || {
            let mut keep_on = || match stop.load(Ordering::SeqCst) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            let watch = |event: Event<'_>| told.lock().unwrap().push(format!("{event:?}"));
            server.serve(listeners, &mut keep_on, &watch)
        });
        Self {
            folder,
            is_to_stop,
            events,
            thread: Some(thread),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("nbd.sock")
    }

    /// A folder for whatever a test writes.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket().display())
    }

    /// What was told to the watch, as text.
    pub(crate) fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    /// Tells the server to stop, without waiting for it.
    pub(crate) fn tell_to_stop(&self) {
        self.is_to_stop.store(true, Ordering::SeqCst);
        // It looks up when somebody comes, or a little later.
        let _ = UnixStream::connect(self.socket());
    }

    pub(crate) fn stop(mut self) -> Result<(), ServeError> {
        self.tell_to_stop();
        self.thread
            .take()
            .unwrap()
            .join()
            .expect("the server does not panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended
                    .expect("the server does not panic")
                    .expect("the server ends well");
            }
        }
    }
}
