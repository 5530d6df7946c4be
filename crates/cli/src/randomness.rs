//! The operating system's randomness, for the libraries, which make none themselves.

use std::io;

/// Fills bytes with randomness that nobody can foresee.
pub(crate) fn of_the_system(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}
