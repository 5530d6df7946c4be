//! What happens while a server runs, for whoever wants to tell people.

use keyhaven_disk::{ReadError, WriteError};

use super::ConnectionError;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A client has connected.
    Connected {
        /// How many are connected now.
        clients: usize,
    },
    /// A client was turned away: there are as many as are allowed, or no thread could be had for it.
    TurnedAway,
    /// A client has left, or its connection has ended with an error.
    Left {
        /// Why, where it did not just leave.
        problem: Option<&'a ConnectionError>,
    },
    /// The device could not be read; the client was told.
    ReadFailed(&'a ReadError),
    /// The device could not be written; the client was told.
    WriteFailed(&'a WriteError),
    /// A connection could not be accepted; the server goes on.
    AcceptFailed(&'a std::io::Error),
}

/// Is told of what happens, on the thread that it happens on.
pub type Watch<'a> = dyn Fn(Event<'_>) + Sync + 'a;
