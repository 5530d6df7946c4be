//! What a server says to a request: the shapes of replies.
//!
//! A client that has not asked for more gets one simple reply to a request; one that understands structured replies
//! gets as many chunks as it takes, so that parts that are zero need not be sent, and an error in the middle can be
//! told. Source: the NBD protocol, "Simple reply message" and "Structured reply chunk message".

/// What a simple reply begins with.
const SIMPLE_MAGIC: u32 = 0x6744_6698;
/// What a chunk begins with.
const CHUNK_MAGIC: u32 = 0x668E_33EF;
/// The flag of the last chunk of a reply.
const DONE: u16 = 1;

/// Why a request failed, in the protocol's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum ErrorNumber {
    /// It is not allowed: the export is read-only, or that part of it cannot be changed.
    NotPermitted = 1,
    /// The medium failed.
    Io = 5,
    /// The request makes no sense.
    Invalid = 22,
    /// It ends past the end of the export, or the medium is full.
    NoSpace = 28,
    /// The data do not fit into one chunk, as was asked.
    Overflow = 75,
    /// It cannot be done in the way that was asked.
    NotSupported = 95,
    /// The server is about to end.
    ShuttingDown = 108,
}

/// Returns the bytes of a simple reply, of success or failure; the data of a read follow them.
#[must_use]
pub(super) fn simple(cookie: u64, outcome: Result<(), ErrorNumber>) -> [u8; 16] {
    let error = outcome.err().map_or(0, |error| error as u32);
    let mut bytes = [0; 16];
    let (magic, rest) = bytes.split_at_mut(4);
    let (number, of) = rest.split_at_mut(4);
    magic.copy_from_slice(&SIMPLE_MAGIC.to_be_bytes());
    number.copy_from_slice(&error.to_be_bytes());
    of.copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// A chunk of a structured reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk<'a> {
    /// No more to say.
    Nothing,
    /// Data, which follow the chunk's own bytes: where they are from and how many.
    Data { offset: u64, len_bytes: u32 },
    /// A range that is zero.
    Hole { offset: u64, len_bytes: u32 },
    /// Which parts of a range are stored.
    BlockStatus { context: u32, extents: &'a [Extent] },
    /// The request failed.
    Error { number: ErrorNumber, message: &'a str },
    /// The request failed at a place.
    ErrorAt {
        number: ErrorNumber,
        message: &'a str,
        offset: u64,
    },
}

/// A part of an export that is stored, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) len_bytes: u32,
    /// Whether it is a hole, which reads as zeros.
    pub(super) is_hole: bool,
}

impl Extent {
    /// The flags of a hole, which is not stored and reads as zeros.
    const HOLE_AND_ZERO: u32 = 3;

    fn to_bytes(self) -> [u8; 8] {
        let flags = if self.is_hole { Self::HOLE_AND_ZERO } else { 0 };
        (u64::from(self.len_bytes) << 32 | u64::from(flags)).to_be_bytes()
    }
}

impl Chunk<'_> {
    /// Returns the bytes of the chunk, without the data that a [`Chunk::Data`] announces.
    #[must_use]
    pub(super) fn to_bytes(self, cookie: u64, is_last: bool) -> Vec<u8> {
        let (kind, payload) = self.kind_and_payload();
        let announced = match self {
            Self::Data { len_bytes, .. } => len_bytes,
            _ => 0,
        };
        let len = u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .saturating_add(announced);
        let mut bytes = Vec::with_capacity(payload.len().saturating_add(20));
        bytes.extend(CHUNK_MAGIC.to_be_bytes());
        bytes.extend(if is_last { DONE } else { 0 }.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn kind_and_payload(self) -> (u16, Vec<u8>) {
        /// Set in the kinds of chunks that tell of errors.
        const ERROR: u16 = 1 << 15;
        match self {
            Self::Nothing => (0, Vec::new()),
            Self::Data { offset, .. } => (1, offset.to_be_bytes().to_vec()),
            Self::Hole { offset, len_bytes } => {
                (2, [&offset.to_be_bytes()[..], &len_bytes.to_be_bytes()].concat())
            }
            Self::BlockStatus { context, extents } => {
                let mut payload = context.to_be_bytes().to_vec();
                payload.extend(extents.iter().flat_map(|extent| extent.to_bytes()));
                (5, payload)
            }
            Self::Error { number, message } => (ERROR | 1, error_payload(number, message)),
            Self::ErrorAt {
                number,
                message,
                offset,
            } => {
                let mut payload = error_payload(number, message);
                payload.extend(offset.to_be_bytes());
                (ERROR | 2, payload)
            }
        }
    }
}

fn error_payload(number: ErrorNumber, message: &str) -> Vec<u8> {
    /// The protocol's limit for texts, in bytes.
    const MAX_MESSAGE_LEN: usize = 4096;
    let message = message
        .get(..message.floor_char_boundary(MAX_MESSAGE_LEN))
        .unwrap_or_default();
    let mut payload = (number as u32).to_be_bytes().to_vec();
    payload.extend(u16::try_from(message.len()).unwrap_or(0).to_be_bytes());
    payload.extend(message.as_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: u64 = u64::from_be_bytes(*b"cookie!!");

    #[test]
    fn a_simple_reply_is_as_the_protocol_writes_it() {
        assert_eq!(&simple(COOKIE, Ok(())), b"\x67\x44\x66\x98\0\0\0\0cookie!!");
        let refused = simple(COOKIE, Err(ErrorNumber::NoSpace));
        assert_eq!(&refused, b"\x67\x44\x66\x98\0\0\0\x1Ccookie!!");
    }

    #[test]
    fn chunks_are_as_the_protocol_writes_them() {
        let header = |flags_kind_len: [u8; 8]| {
            let [flags, flags_low, kind, kind_low, len @ ..] = flags_kind_len;
            let mut bytes = b"\x66\x8E\x33\xEF".to_vec();
            bytes.extend([flags, flags_low, kind, kind_low]);
            bytes.extend(b"cookie!!");
            bytes.extend(len);
            bytes
        };
        assert_eq!(
            Chunk::Nothing.to_bytes(COOKIE, true),
            header([0, 1, 0, 0, 0, 0, 0, 0])
        );

        let data = Chunk::Data {
            offset: 512,
            len_bytes: 4096,
        };
        let expected = [
            &header([0, 0, 0, 1, 0, 0, 0x10, 8])[..],
            &[0, 0, 0, 0, 0, 0, 2, 0],
        ]
        .concat();
        assert_eq!(data.to_bytes(COOKIE, false), expected);

        let hole = Chunk::Hole {
            offset: 512,
            len_bytes: 4096,
        };
        let payload = [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0x10, 0];
        let expected = [&header([0, 1, 0, 2, 0, 0, 0, 12])[..], &payload].concat();
        assert_eq!(hole.to_bytes(COOKIE, true), expected);

        let extents = [
            Extent {
                len_bytes: 512,
                is_hole: true,
            },
            Extent {
                len_bytes: 1,
                is_hole: false,
            },
        ];
        let status = Chunk::BlockStatus {
            context: 1,
            extents: &extents,
        };
        let payload = [0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0];
        let expected = [&header([0, 1, 0, 5, 0, 0, 0, 20])[..], &payload].concat();
        assert_eq!(status.to_bytes(COOKIE, true), expected);

        let error = Chunk::ErrorAt {
            number: ErrorNumber::Io,
            message: "bad",
            offset: 512,
        };
        let payload = b"\0\0\0\x05\0\x03bad\0\0\0\0\0\0\x02\0";
        let expected = [&header([0, 1, 0x80, 2, 0, 0, 0, 17])[..], payload].concat();
        assert_eq!(error.to_bytes(COOKIE, true), expected);

        let error = Chunk::Error {
            number: ErrorNumber::Invalid,
            message: "",
        };
        let expected = [&header([0, 1, 0x80, 1, 0, 0, 0, 6])[..], b"\0\0\0\x16\0\0"].concat();
        assert_eq!(error.to_bytes(COOKIE, true), expected);
    }

    #[test]
    fn a_long_message_is_cut_between_letters() {
        let message = format!("a{}", "ü".repeat(3000));
        let payload = error_payload(ErrorNumber::Io, &message);
        assert_eq!(payload.len(), 6 + 4095);
        assert!(std::str::from_utf8(&payload[6..]).is_ok());
    }
}
