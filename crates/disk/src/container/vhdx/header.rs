//! The two headers: the one with the higher number counts, the other is written next.

use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::ContainerError;
use super::checksum;
use crate::device::Device;

/// What every image begins with.
pub(super) const SIGNATURE: [u8; 8] = *b"vhdxfile";

/// Where the headers lie, in bytes.
pub(super) const OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
pub(super) const HEADER_LEN: usize = 4096;

const WHAT: &str = "the header";
const VERSION: u16 = 1;

/// As it lies in the file.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    signature: [u8; 4],
    checksum: U32,
    sequence: U64,
    file_write_id: [u8; 16],
    data_write_id: [u8; 16],
    log_id: [u8; 16],
    log_version: U16,
    version: U16,
    log_len: U32,
    log_offset: U64,
    reserved: [u8; 4016],
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sequence: u64,
    /// Changes whenever the file is changed.
    pub(super) file_write_id: Uuid,
    /// Changes whenever the disk inside is: children name their parent by it.
    pub(super) data_write_id: Uuid,
    /// Marks the entries of the log that count; nil where none do.
    pub(super) log_id: Uuid,
    /// Where the log lies in the file, and how long it is, in bytes.
    pub(super) log_offset: u64,
    pub(super) log_len: u32,
}

/// Both headers.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    /// The one that counts.
    pub(super) current: Header,
    /// Where the other one lies.
    pub(super) next_offset: u64,
}

impl Headers {
    pub(super) fn read(file: &Device) -> Result<Self, ContainerError> {
        let mut signature = [0; 8];
        let is_signed = file.read_at(0, &mut signature).is_ok() && signature == SIGNATURE;
        let [first, second] = OFFSETS.map(|offset| Header::read(file, offset));
        // An image is known by its signature, or, where that is damaged, by a header with a right checksum.
        match (first, second) {
            (Ok(first), Ok(second)) if first.sequence >= second.sequence => Ok(Self::with(first, 1)),
            (_, Ok(second)) => Ok(Self::with(second, 0)),
            (Ok(first), Err(_)) => Ok(Self::with(first, 1)),
            (Err(_), Err(_)) if !is_signed => Err(ContainerError::NotThis {
                title: super::SPEC.title,
            }),
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn with(current: Header, next: usize) -> Self {
        Self {
            current,
            next_offset: OFFSETS.get(next).copied().unwrap_or_default(),
        }
    }

    /// Returns the bytes of a header that follows the current one, which `header` becomes, and where they belong.
    pub(super) fn advance(&mut self, header: Header) -> (u64, Vec<u8>) {
        let offset = self.next_offset;
        self.current = Header {
            sequence: self.current.sequence.wrapping_add(1),
            ..header
        };
        self.next_offset = OFFSETS
            .iter()
            .copied()
            .find(|other| *other != offset)
            .unwrap_or(offset);
        (offset, self.current.to_bytes())
    }
}

impl Header {
    fn read(file: &Device, offset: u64) -> Result<Self, ContainerError> {
        let mut bytes = vec![0; HEADER_LEN];
        file.read_at(offset, &mut bytes)
            .map_err(|source| ContainerError::Read { what: WHAT, source })?;
        Self::parse(&bytes).map_err(|problem| ContainerError::Damaged {
            what: WHAT,
            offset,
            problem,
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Ok(raw) = Raw::ref_from_bytes(bytes) else {
            return Err("it is too short".to_owned());
        };
        if raw.signature != *b"head" {
            return Err("it does not begin with `head`".to_owned());
        }
        if !checksum::is_right(bytes) {
            return Err(format!(
                "its checksum is {:#010x}, expected {:#010x}",
                raw.checksum.get(),
                checksum::of(bytes)
            ));
        }
        if raw.version.get() != VERSION {
            return Err(format!(
                "its version is {}, expected {VERSION}",
                raw.version.get()
            ));
        }
        let log_id = Uuid::from_bytes_le(raw.log_id);
        if !log_id.is_nil() && raw.log_version.get() != 0 {
            return Err(format!(
                "the version of its log is {}, expected 0",
                raw.log_version.get()
            ));
        }
        Ok(Self {
            sequence: raw.sequence.get(),
            file_write_id: Uuid::from_bytes_le(raw.file_write_id),
            data_write_id: Uuid::from_bytes_le(raw.data_write_id),
            log_id,
            log_offset: raw.log_offset.get(),
            log_len: raw.log_len.get(),
        })
    }

    /// Returns the header as it lies in the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let raw = Raw {
            signature: *b"head",
            checksum: 0.into(),
            sequence: self.sequence.into(),
            file_write_id: self.file_write_id.to_bytes_le(),
            data_write_id: self.data_write_id.to_bytes_le(),
            log_id: self.log_id.to_bytes_le(),
            log_version: 0.into(),
            version: VERSION.into(),
            log_len: self.log_len.into(),
            log_offset: self.log_offset.into(),
            reserved: [0; 4016],
        };
        let mut bytes = raw.as_bytes().to_vec();
        checksum::set(&mut bytes);
        bytes
    }
}
