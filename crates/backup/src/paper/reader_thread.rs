//! A place to read hostile documents in.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::PaperError;

/// The name of the threads that documents are read on.
///
/// A parser that panics ends its thread and nothing else. A program that shows panics to people can leave out those
/// of a thread with this name: they are reported as [`PaperError::Broken`].
pub const READER_THREAD: &str = "keyhaven-paper";

// Forms and patterns nest; the default of 2 MiB is close to what an unoptimised build needs for deep ones.
const STACK_BYTES: usize = 16 << 20;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `read` on a thread of its own, so that neither a panic nor an endless loop in it takes the caller down.
///
/// A thread that is given up keeps running until the process ends: there is no safe way to stop it.
pub(super) fn on_reader_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, PaperError> + Send + 'static,
) -> Result<T, PaperError> {
    let (send, receive) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name(READER_THREAD.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // The receiver is gone only where reading was given up.
            let _ = send.send(read());
        })
        .map_err(|_| PaperError::Broken)?;
    receive.recv_timeout(PATIENCE).unwrap_or_else(|error| {
        Err(match error {
            mpsc::RecvTimeoutError::Timeout => PaperError::TooSlow {
                seconds: PATIENCE.as_secs(),
            },
            // The sender was dropped without a word: the thread panicked.
            mpsc::RecvTimeoutError::Disconnected => PaperError::Broken,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(on_reader_thread(|| Ok(7)), Ok(7));
        let broken: Result<u8, _> = on_reader_thread(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(broken, Err(PaperError::Broken));
    }
}
