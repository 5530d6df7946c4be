//! Metadata as they are made, changed and written: the counterpart of reading a copy.

use keyhaven_crypto::SecretBytes;

use crate::format::block::{InformationBlock, Validation};
use crate::format::datum::{Datum, SealedDatum, Value, key_type, kind, role};
use crate::format::{FileTime, ShapeError};
use crate::keys::VolumeMasterKey;

/// A volume's metadata, open for changes, and the region of the volume that they fill.
///
/// Entries that are not known stay as they are, byte for byte. [`seal`](Self::seal) makes the bytes of which a volume
/// has three copies.
#[derive(Debug)]
pub struct MetadataBuilder {
    block: InformationBlock,
    region_len_bytes: usize,
}

/// Why metadata cannot be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// They do not have their shape, or would not have it.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Reading lost something: these bytes are no metadata that Windows writes.
    #[error("the metadata differ at byte {at:#x} from how they would be written back")]
    NotKept {
        /// The first byte that differs, from the start of the region.
        at: usize,
    },
    /// The counter that keeps nonces apart has come to its end.
    #[error("the volume has used up its 4294967295 nonces")]
    NoncesUsedUp,
}

impl MetadataBuilder {
    /// Starts with the header fields and entries of `block`, for regions of `region_len_bytes`.
    pub(crate) fn new(block: InformationBlock, region_len_bytes: usize) -> Self {
        Self {
            block,
            region_len_bytes,
        }
    }

    /// Takes up the metadata in one copy's whole region.
    ///
    /// # Errors
    /// [`MetadataError`] when the region does not hold metadata, or holds some that would not be written back byte for
    /// byte: better none than changed ones.
    pub fn read(region: &[u8]) -> Result<Self, MetadataError> {
        let builder = Self::new(InformationBlock::read(region)?, region.len());
        let written = builder.to_region()?;
        match written.iter().zip(region).position(|(own, theirs)| own != theirs) {
            None => Ok(builder),
            Some(at) => Err(MetadataError::NotKept { at }),
        }
    }

    /// Returns the header fields and entries.
    #[must_use]
    pub fn block(&self) -> &InformationBlock {
        &self.block
    }

    /// Returns the header fields and entries, for good.
    pub(crate) fn into_block(self) -> InformationBlock {
        self.block
    }

    /// Returns the header fields and entries, to be changed.
    pub fn block_mut(&mut self) -> &mut InformationBlock {
        &mut self.block
    }

    /// Uses up the next nonce: a time, and a counter that never goes back (format spec 3.2).
    ///
    /// # Errors
    /// [`MetadataError::NoncesUsedUp`] after the last one.
    pub fn nonce(&mut self, time: FileTime) -> Result<[u8; 12], MetadataError> {
        let counter = self.block.dataset.next_nonce_counter;
        self.block.dataset.next_nonce_counter = counter.checked_add(1).ok_or(MetadataError::NoncesUsedUp)?;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&time.0.to_le_bytes());
        nonce[8..].copy_from_slice(&counter.to_le_bytes());
        Ok(nonce)
    }

    /// Puts an entry where Windows puts a new one: last, but in front of the place of the moved sectors where that
    /// is last (format spec 2.7).
    pub fn add(&mut self, datum: Datum) {
        let datums = &mut self.block.datums;
        let at = match datums.last() {
            Some(last) if last.kind == kind::VIRTUALIZATION => datums.len() - 1,
            _ => datums.len(),
        };
        datums.insert(at, datum);
    }

    /// Makes the checks anew and writes the region: what the volume gets three copies of.
    ///
    /// The hash of the block is sealed at `time`, with a nonce that the block itself already counts (format spec 2.10).
    ///
    /// # Errors
    /// [`MetadataError`] when the entries do not fit the region, or no nonce is left.
    pub fn seal(&mut self, vmk: &VolumeMasterKey, time: FileTime) -> Result<Vec<u8>, MetadataError> {
        let nonce = self.nonce(time)?;
        let block = self.block.to_bytes()?;
        self.block.size_bytes = block.len();
        self.block.actual_crc32 = crc32fast::hash(&block);
        self.block.actual_sha256 = keyhaven_crypto::sha256(&block);
        let hash = SecretBytes::copy_of(&self.block.actual_sha256);
        let sealed = SealedDatum::seal_key(vmk.key(), nonce, key_type::HASH_256, hash);
        self.block.validation = Some(Validation {
            version: self.block.version,
            crc32: self.block.actual_crc32,
            integrity: Some(Datum::new(role::PROPERTY, kind::SEALED, Value::Sealed(sealed))),
        });
        self.to_region()
    }

    /// Writes the region with the checks as they are.
    fn to_region(&self) -> Result<Vec<u8>, MetadataError> {
        let mut region = self.block.to_bytes()?;
        if let Some(validation) = &self.block.validation {
            region.extend(validation.to_bytes(region.len(), self.region_len_bytes)?);
        }
        if region.len() > self.region_len_bytes {
            return Err(MetadataError::Shape(ShapeError {
                what: "size",
                within: "metadata block",
                at: 8,
                expected: format!("at most {}", self.region_len_bytes),
                found: region.len().to_string(),
            }));
        }
        region.resize(self.region_len_bytes, 0);
        Ok(region)
    }
}
