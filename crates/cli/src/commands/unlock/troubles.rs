//! What goes wrong while others read and write: told once for each kind, since one bad cable breaks every read.

use std::cell::RefCell;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use keyhaven_attach::files::FilesError;
use keyhaven_attach::fuse::Report;
use keyhaven_disk::{ReadError, WriteError};

use crate::context::Context;
use crate::error::CliError;

/// No more are kept until they are told.
const WAITING_MAX: usize = 16;

/// The troubles of a mount.
pub(super) struct Troubles {
    sender: SyncSender<(Kind, String)>,
    receiver: Receiver<(Kind, String)>,
    told: RefCell<Vec<Kind>>,
    is_data_lost: Arc<AtomicBool>,
}

/// What a trouble is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reading,
    Writing,
    Fixed,
    File,
    FileSystem,
}

impl Troubles {
    pub(super) fn new() -> Self {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        Self {
            sender,
            receiver,
            told: RefCell::new(Vec::new()),
            is_data_lost: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Returns what takes the reports of a mount.
    pub(super) fn report(&self) -> Report {
        let sender = self.sender.clone();
        let is_data_lost = self.is_data_lost.clone();
        Arc::new(move |error| {
            if matches!(error.downcast_ref(), Some(WriteError::Flush(_))) {
                is_data_lost.store(true, Ordering::Relaxed);
            }
            // Where so many wait already, this one is of a kind that is among them.
            let _ = sender.try_send((kind(error), CliError::chain(error)));
        })
    }

    /// Tells what is new.
    pub(super) fn tell(&self, context: &Context) {
        let mut told = self.told.borrow_mut();
        for (kind, text) in self.receiver.try_iter() {
            if told.contains(&kind) {
                continue;
            }
            told.push(kind);
            let said = match kind {
                Kind::Reading => "the drive cannot be read everywhere; who reads there gets an error",
                Kind::Writing => "the drive cannot be written; who writes gets an error",
                Kind::Fixed => {
                    "BitLocker keeps a part of the drive for itself; who writes there gets an error"
                }
                Kind::File => "a file cannot be read; who tries gets an error",
                Kind::FileSystem => "the drive's file system is damaged; who reads there gets an error",
            };
            context.ui.warn(&format!("{said}. The first time: {text}"));
        }
    }

    /// Tells whether something that was written is perhaps not on the drive.
    pub(super) fn is_data_lost(&self) -> bool {
        self.is_data_lost.load(Ordering::Relaxed)
    }
}

fn kind(error: &(dyn Error + 'static)) -> Kind {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(WriteError::Fixed { .. }), _) => Kind::Fixed,
        (Some(WriteError::Read(_)), _) => Kind::Reading,
        (Some(_), _) => Kind::Writing,
        (None, Some(FilesError::Damaged { .. })) => Kind::FileSystem,
        (None, Some(FilesError::Read(_))) => Kind::Reading,
        (None, Some(_)) => Kind::File,
        (None, None) => {
            debug_assert!(error.is::<ReadError>());
            Kind::Reading
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_happened_is_told_from_where_it_happened() {
        let read = || ReadError::Io {
            offset: 0,
            len_bytes: 512,
            source: io::Error::other("gone"),
        };
        assert_eq!(kind(&read()), Kind::Reading);
        assert_eq!(kind(&WriteError::Read(read())), Kind::Reading);
        assert_eq!(kind(&FilesError::Read(read())), Kind::Reading);
        assert_eq!(kind(&FilesError::Encrypted), Kind::File);
        assert_eq!(kind(&WriteError::Fixed { offset: 0 }), Kind::Fixed);
        assert_eq!(kind(&WriteError::Flush(io::Error::other("full"))), Kind::Writing);
    }

    #[test]
    fn a_failed_flush_is_remembered() {
        let troubles = Troubles::new();
        let report = troubles.report();
        report(&WriteError::Fixed { offset: 0 });
        assert!(!troubles.is_data_lost());
        for _ in 0..100 {
            report(&WriteError::Flush(io::Error::other("gone")));
        }
        assert!(troubles.is_data_lost());
    }
}
