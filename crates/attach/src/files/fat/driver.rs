//! The drivers of `hadris-fat` under one trait, on our devices.

use std::sync::Arc;

use hadris_fat::exfat::sync::ExFatFs;
use hadris_fat::sync::FatFs;
use hadris_fs::sync::FileSystem;
use hadris_fs::{ErrorKind, Extent, FsResult, NodeId};
use hadris_io::{Error, ErrorType};
use hadris_storage::sync::BlockDevice;
use hadris_storage::{BlockIndex, BlockSize};
use keyhaven_disk::ReadError;

use crate::files::medium::Medium;

/// The unit of the drivers' reads, in bytes. Every sector is a multiple of it.
const BLOCK_LEN: u32 = 512;

/// A driver, with what the common trait lacks.
pub(super) trait Driver: FileSystem<DeviceError = ReadError> + Send {
    /// Says where the bytes of a node from file offset `from` on are, in as many runs as fit into `out`.
    fn runs(&mut self, node: NodeId, from: u64, out: &mut [Extent]) -> FsResult<usize, ReadError>;

    /// Returns whether the volume says that it was not closed.
    fn was_dirty(&self) -> bool;

    /// Returns the length of a cluster in bytes.
    fn cluster_len(&self) -> u64;
}

impl Driver for FatFs<Blocks> {
    fn runs(&mut self, node: NodeId, from: u64, out: &mut [Extent]) -> FsResult<usize, ReadError> {
        self.extents(node, from, out)
    }

    fn was_dirty(&self) -> bool {
        Self::was_dirty(self)
    }

    fn cluster_len(&self) -> u64 {
        u64::from(self.info().cluster_size())
    }
}

impl Driver for ExFatFs<Blocks> {
    fn runs(&mut self, node: NodeId, from: u64, out: &mut [Extent]) -> FsResult<usize, ReadError> {
        self.extents(node, from, out)
    }

    fn was_dirty(&self) -> bool {
        Self::was_dirty(self)
    }

    fn cluster_len(&self) -> u64 {
        self.info().cluster_size()
    }
}

/// A device in blocks, as the drivers want it. It cannot be written.
pub(super) struct Blocks(pub(super) Arc<Medium>);

impl ErrorType for Blocks {
    type Error = ReadError;
}

impl BlockDevice for Blocks {
    fn block_size(&self) -> BlockSize {
        const SIZE: BlockSize = match BlockSize::new(BLOCK_LEN) {
            Some(size) => size,
            None => panic!("512 is not 0"),
        };
        SIZE
    }

    fn block_count(&self) -> u64 {
        self.0.device().len_bytes() / u64::from(BLOCK_LEN)
    }

    fn read_blocks(&mut self, first: BlockIndex, buf: &mut [u8]) -> Result<(), Error<ReadError>> {
        let offset = first
            .get()
            .checked_mul(u64::from(BLOCK_LEN))
            .ok_or(ErrorKind::InvalidInput)?;
        self.0
            .read(offset, buf)
            .map_err(|source| Error::device(source, "reading the device failed"))
    }
}
