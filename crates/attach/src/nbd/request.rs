//! What a client asks for once it uses an export: the shape of a request.
//!
//! Source: the NBD protocol, "Transmission phase", "Request message".

use super::option::{take_u16, take_u32, take_u64};

/// What a request begins with.
const REQUEST_MAGIC: u32 = 0x2560_9513;

/// The header of a request; for [`Command::Write`], `len_bytes` of data follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// How it is to be done: a sum of [`flag`]s.
    pub flags: u16,
    /// What is to be done.
    pub command: Command,
    /// What the client calls the request; its replies carry it.
    pub cookie: u64,
    /// Where, in bytes from the start of the export.
    pub offset: u64,
    /// How much, in bytes.
    pub len_bytes: u32,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Reads a range.
    Read,
    /// Writes a range.
    Write,
    /// Ends the connection; has no reply.
    Disconnect,
    /// Brings to the medium what was written.
    Flush,
    /// Says that a range is no longer needed.
    Trim,
    /// Makes a range zero.
    WriteZeroes,
    /// Tells which parts of a range are stored.
    BlockStatus,
    /// Something that is not known here, by its number.
    Unknown(u16),
}

/// How a request is to be done.
pub mod flag {
    /// What is written is on the medium before the reply.
    pub const FORCE_UNIT_ACCESS: u16 = 1;
    /// What becomes zero keeps its room.
    pub const NO_HOLE: u16 = 1 << 1;
    /// The data come in one chunk.
    pub const DO_NOT_FRAGMENT: u16 = 1 << 2;
    /// One extent is enough.
    pub const ONE_EXTENT: u16 = 1 << 3;
    /// Zeros are made faster than by writing them, or not at all.
    pub const FAST_ZERO: u16 = 1 << 4;
}

impl Request {
    /// The length on the wire, in bytes.
    pub const LEN: usize = 28;

    /// Reads a request's header; [`None`] where the magic number is wrong.
    #[must_use]
    pub fn read(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut bytes = bytes.as_slice();
        if take_u32(&mut bytes)? != REQUEST_MAGIC {
            return None;
        }
        Some(Self {
            flags: take_u16(&mut bytes)?,
            command: Command::of(take_u16(&mut bytes)?),
            cookie: take_u64(&mut bytes)?,
            offset: take_u64(&mut bytes)?,
            len_bytes: take_u32(&mut bytes)?,
        })
    }

    /// Returns the header as a client sends it.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend(REQUEST_MAGIC.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.command.number().to_be_bytes());
        bytes.extend(self.cookie.to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend(self.len_bytes.to_be_bytes());
        bytes
    }

    /// Tells whether a flag is set.
    #[must_use]
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

impl Command {
    fn of(number: u16) -> Self {
        match number {
            0 => Self::Read,
            1 => Self::Write,
            2 => Self::Disconnect,
            3 => Self::Flush,
            4 => Self::Trim,
            6 => Self::WriteZeroes,
            7 => Self::BlockStatus,
            other => Self::Unknown(other),
        }
    }

    fn number(self) -> u16 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Disconnect => 2,
            Self::Flush => 3,
            Self::Trim => 4,
            Self::WriteZeroes => 6,
            Self::BlockStatus => 7,
            Self::Unknown(other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_request_is_read_and_written_back(
            flags: u16, command in 0..12_u16, cookie: u64, offset: u64, len_bytes: u32,
        ) {
            let request = Request { flags, command: Command::of(command), cookie, offset, len_bytes };
            let bytes = request.to_bytes();
            prop_assert_eq!(Request::read(bytes.first_chunk().unwrap()), Some(request));
        }
    }

    #[test]
    fn a_request_is_as_the_protocol_writes_it() {
        let mut bytes = *b"\x25\x60\x95\x13\0\x04\0\x00cookie!!\0\0\x02\0\0\0\0\x01\0\0\x10\0";
        let request = Request::read(&bytes).unwrap();
        assert_eq!(request.command, Command::Read);
        assert!(request.has(flag::DO_NOT_FRAGMENT) && !request.has(flag::FORCE_UNIT_ACCESS));
        assert_eq!(request.cookie.to_be_bytes(), *b"cookie!!");
        assert_eq!((request.offset, request.len_bytes), (0x200_0000_0001, 4096));
        bytes[0] = 0x67;
        assert_eq!(Request::read(&bytes), None);
    }
}
