//! What a format is recognised by.

use super::Neighbours;
use crate::device::BlockDevice;

/// How much of the start of a file a format may look at, in bytes.
const HEAD_LEN: u64 = 4096;
/// How much of its end, in bytes.
const TAIL_LEN: u64 = 1024;

/// The start and the end of a file, and what lies beside it.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    /// Its first bytes, at most 4096; empty where they cannot be read.
    pub(crate) head: Vec<u8>,
    /// Its last bytes, at most 1024; empty where they cannot be read.
    pub(crate) tail: Vec<u8>,
    /// How many bytes it has.
    pub(crate) len_bytes: u64,
    /// What it is called, and what lies beside it.
    pub(crate) neighbours: &'a Neighbours,
}

impl<'a> Probe<'a> {
    /// Looks at a file.
    pub(crate) fn of(file: &dyn BlockDevice, neighbours: &'a Neighbours) -> Self {
        let len_bytes = file.len_bytes();
        let part = |offset: u64, len: u64| {
            let mut bytes = vec![0; len as usize];
            // A file whose start cannot be read is no container that anybody could open.
            file.read_at(offset, &mut bytes)
                .map_or_else(|_| Vec::new(), |()| bytes)
        };
        let tail_len = len_bytes.min(TAIL_LEN);
        Self {
            head: part(0, len_bytes.min(HEAD_LEN)),
            tail: part(len_bytes - tail_len, tail_len),
            len_bytes,
            neighbours,
        }
    }
}
