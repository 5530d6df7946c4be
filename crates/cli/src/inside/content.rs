//! What can be read under a path: the content of a file, or one of its alternate data streams.

use keyhaven_attach::files::{FileTree, FilesError, NodeId};

/// How much is read at once, in bytes; a multiple of every unit in which Windows compresses.
pub(crate) const PIECE_LEN: usize = 1 << 20;

/// The content of a file, or one of its streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    tree: &'a dyn FileTree,
    node: NodeId,
    stream: Option<&'a str>,
}

impl<'a> Content<'a> {
    pub(crate) fn new(tree: &'a dyn FileTree, node: NodeId, stream: Option<&'a str>) -> Self {
        Self { tree, node, stream }
    }

    /// Fills `buf` from byte `offset` on; fewer bytes only at the end.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, FilesError> {
        match self.stream {
            None => self.tree.read(self.node, offset, buf),
            Some(stream) => self.tree.read_stream(self.node, stream, offset, buf),
        }
    }

    /// Returns for how many bytes from `offset` on there are zeros that are not stored.
    pub(crate) fn hole_at(&self, offset: u64) -> Result<u64, FilesError> {
        match self.stream {
            None => self.tree.hole_at(self.node, offset, u64::MAX),
            Some(_) => Ok(0),
        }
    }

    /// Returns about how many of `len_bytes` are stored, and so are to be written where holes stay holes.
    pub(crate) fn stored_len(&self, len_bytes: u64) -> u64 {
        /// More pieces than this are not looked at: the rest counts as stored.
        const STEPS_MAX: u32 = 10_000;
        /// How far to look from a byte that is stored, since nobody tells where the next hole begins.
        const STEP: u64 = 1 << 20;

        let (mut at, mut stored) = (0u64, 0u64);
        for _ in 0..STEPS_MAX {
            if at >= len_bytes {
                return stored;
            }
            match self.hole_at(at) {
                Ok(0) => {
                    let step = (STEP - at % STEP).min(len_bytes - at);
                    stored = stored.saturating_add(step);
                    at = at.saturating_add(step);
                }
                Ok(hole) => at = at.saturating_add(hole),
                // It will not be copied.
                Err(_) => return stored,
            }
        }
        stored.saturating_add(len_bytes.saturating_sub(at))
    }
}
