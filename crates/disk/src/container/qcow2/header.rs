//! The header of a QCOW2 image.
//!
//! Source: QEMU's interoperability document "The qcow2 format"; seen in images of qemu-img 10.

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::super::ContainerError;
use crate::device::BlockDevice;

/// What every image begins with.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xFB";

const WHAT: &str = "the header";

/// The longest file name that an image may have in it, in bytes.
const MAX_NAME_LEN: usize = 1023;
/// The largest first table, in bytes: what QEMU accepts too, 64 PiB with clusters of 2 MiB.
const MAX_L1_BYTES: u64 = 32 << 20;

const MIN_CLUSTER_BITS: u32 = 9;
const MAX_CLUSTER_BITS: u32 = 21;
/// Clusters of 32 parts of at least a sector each.
const MIN_CLUSTER_BITS_OF_PARTS: u32 = 14;

// Features without which an image must not be read.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

const EXTENSION_BACKING_FORMAT: u32 = 0xE279_2ACA;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// As it lies in the file, with what version 3 added to it.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 4],
    version: U32,
    backing_file_offset: U64,
    backing_file_len: U32,
    cluster_bits: U32,
    len_bytes: U64,
    encryption: U32,
    l1_len: U32,
    l1_offset: U64,
    refcount_table_offset: U64,
    refcount_table_clusters: U32,
    snapshot_count: U32,
    snapshots_offset: U64,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawVersion3 {
    incompatible: U64,
    compatible: U64,
    autoclear: U64,
    refcount_order: U32,
    header_len: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawExtension {
    kind: U32,
    len: U32,
}

/// How packed clusters are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Deflate,
    Zstd,
}

/// What the header says, as far as reading needs it.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// 2 or 3.
    pub(super) version: u32,
    /// The size of the disk, in bytes.
    pub(super) len_bytes: u64,
    /// The size of a cluster as a power of two.
    pub(super) cluster_bits: u32,
    /// Where the first table lies; on a cluster boundary.
    pub(super) l1_offset: u64,
    /// Whether clusters have 32 parts that are kept independently.
    pub(super) has_parts: bool,
    pub(super) packing: Packing,
    /// The image that this one is a change to, and its format where it is told.
    pub(super) backing: Option<(String, Option<String>)>,
    /// The file that the clusters lie in, if it is not the image itself.
    pub(super) data_file: Option<String>,
    /// Whether a program found that its tables contradict each other.
    pub(super) is_corrupt: bool,
    /// How many earlier states of the disk it has as well.
    pub(super) snapshot_count: u32,
}

impl Header {
    /// Reads the header of an image.
    ///
    /// # Errors
    /// It cannot be read, contradicts itself, or needs what is not known here.
    pub(super) fn read(file: &dyn BlockDevice) -> Result<Self, ContainerError> {
        let start = first_bytes(file, 4096)?;
        let (raw, behind) = Raw::ref_from_prefix(&start).map_err(|_| damaged(0, "it is cut off"))?;
        if raw.magic != MAGIC {
            return Err(damaged(0, "it does not begin with QFI"));
        }
        let version = raw.version.get();
        let (features, header_len, packing) = match version {
            2 => (0, size_of::<Raw>(), 0),
            3 => {
                let (more, behind) =
                    RawVersion3::ref_from_prefix(behind).map_err(|_| damaged(72, "it is cut off"))?;
                let header_len = usize::try_from(more.header_len.get()).unwrap_or(usize::MAX);
                let least = size_of::<Raw>() + size_of::<RawVersion3>();
                if header_len < least || header_len % 8 != 0 {
                    return Err(damaged(100, format!("its own length is {header_len}")));
                }
                let packing = if header_len > least {
                    behind.first().copied().unwrap_or_default()
                } else {
                    0
                };
                (more.incompatible.get(), header_len, packing)
            }
            other => {
                return Err(unsupported(format!(
                    "it has version {other} of its format, and 2 and 3 are known"
                )));
            }
        };
        let cluster_bits = raw.cluster_bits.get();
        if !(MIN_CLUSTER_BITS..=MAX_CLUSTER_BITS).contains(&cluster_bits) {
            return Err(damaged(
                20,
                format!("clusters of 2^{cluster_bits} bytes, expected 2^9 to 2^21"),
            ));
        }
        check_features(features, packing)?;
        if raw.encryption.get() != 0 {
            return Err(unsupported(
                "it is encrypted by its own format, under BitLocker; `qemu-img convert` decrypts it"
                    .to_owned(),
            ));
        }
        let mut header = Self {
            version,
            len_bytes: raw.len_bytes.get(),
            cluster_bits,
            l1_offset: raw.l1_offset.get(),
            has_parts: features & EXTENDED_L2 != 0,
            packing: if packing == 1 {
                Packing::Zstd
            } else {
                Packing::Deflate
            },
            backing: None,
            data_file: None,
            is_corrupt: features & CORRUPT != 0,
            snapshot_count: raw.snapshot_count.get(),
        };
        header.check_l1(u64::from(raw.l1_len.get()))?;
        header.read_names(file, raw, header_len, features & EXTERNAL_DATA != 0)?;
        Ok(header)
    }

    /// Returns the size of a cluster, in bytes.
    pub(super) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Returns how many entries a second table has, as a power of two.
    pub(super) fn l2_bits(&self) -> u32 {
        // Entries are 8 bytes, or 16 where clusters have parts.
        self.cluster_bits
            .saturating_sub(if self.has_parts { 4 } else { 3 })
    }

    /// Checks that the first table is where a table may be, and leads to the whole disk.
    fn check_l1(&self, entries: u64) -> Result<(), ContainerError> {
        if self.has_parts && self.cluster_bits < MIN_CLUSTER_BITS_OF_PARTS {
            return Err(damaged(20, "clusters with parts are at least 16 KiB"));
        }
        if i64::try_from(self.len_bytes).is_err() {
            return Err(damaged(24, format!("a disk of {} bytes", self.len_bytes)));
        }
        if !self.l1_offset.is_multiple_of(self.cluster_bytes()) || entries.saturating_mul(8) > MAX_L1_BYTES {
            return Err(damaged(
                36,
                format!("a table of {entries} entries at byte {:#x}", self.l1_offset),
            ));
        }
        let covered = 1u128 << (self.cluster_bits + self.l2_bits());
        if u128::from(entries) * covered < u128::from(self.len_bytes) {
            return Err(damaged(
                36,
                format!(
                    "its table of {entries} entries is too short for a disk of {} bytes",
                    self.len_bytes
                ),
            ));
        }
        Ok(())
    }

    /// Reads the names of other files: of the image below and of the data.
    fn read_names(
        &mut self,
        file: &dyn BlockDevice,
        raw: &Raw,
        header_len: usize,
        has_data_file: bool,
    ) -> Result<(), ContainerError> {
        let first = first_bytes(file, self.cluster_bytes())?;
        let (offset, len) = (raw.backing_file_offset.get(), raw.backing_file_len.get());
        let mut format = None;
        for (kind, data) in extensions(first.get(header_len..).unwrap_or_default()) {
            match kind {
                EXTENSION_BACKING_FORMAT => format = Some(text(data)?),
                EXTENSION_DATA_FILE => self.data_file = Some(text(data)?),
                _ => {}
            }
        }
        if has_data_file && self.data_file.is_none() {
            return Err(unsupported(
                "its content lies in another file, whose name it does not tell".to_owned(),
            ));
        }
        if !has_data_file {
            self.data_file = None;
        }
        if offset != 0 {
            let name = usize::try_from(offset)
                .ok()
                .zip(usize::try_from(len).ok())
                .filter(|(_, len)| (1..=MAX_NAME_LEN).contains(len))
                .and_then(|(start, len)| first.get(start..start.checked_add(len)?))
                .ok_or_else(|| damaged(8, format!("a file name of {len} bytes at byte {offset:#x}")))?;
            self.backing = Some((text(name)?, format));
        }
        Ok(())
    }
}

fn check_features(features: u64, packing: u8) -> Result<(), ContainerError> {
    let unknown = features & !(DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2);
    if unknown != 0 {
        return Err(unsupported(format!(
            "it cannot be read without its feature {}, which is not known here",
            unknown.trailing_zeros()
        )));
    }
    // The type counts only where the feature says that there is one.
    if packing > 1 || (packing == 1) != (features & COMPRESSION_TYPE != 0) {
        return Err(unsupported(format!(
            "its clusters are packed in way {packing}, which is not known here"
        )));
    }
    Ok(())
}

/// Goes through the extensions of the header, up to the one that says that it is the last.
fn extensions(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (raw, behind) = RawExtension::ref_from_prefix(bytes).ok()?;
        let len = usize::try_from(raw.len.get()).ok()?;
        let data = behind.get(..len)?;
        bytes = behind.get(len.checked_next_multiple_of(8)?..).unwrap_or_default();
        (raw.kind.get() != 0).then_some((raw.kind.get(), data))
    })
}

/// Returns the first `len` bytes of a file, fewer where it is shorter.
fn first_bytes(file: &dyn BlockDevice, len: u64) -> Result<Vec<u8>, ContainerError> {
    let len = usize::try_from(len.min(file.len_bytes())).unwrap_or_default();
    let mut bytes = vec![0; len];
    file.read_at(0, &mut bytes)
        .map_err(|source| ContainerError::Read { what: WHAT, source })?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Result<String, ContainerError> {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(bytes.to_vec())
        .map_err(|_| unsupported("it names another file in an encoding that is not UTF-8".to_owned()))
}

fn damaged(offset: u64, problem: impl Into<String>) -> ContainerError {
    ContainerError::Damaged {
        what: WHAT,
        offset,
        problem: problem.into(),
    }
}

fn unsupported(what: String) -> ContainerError {
    ContainerError::Unsupported { what }
}
