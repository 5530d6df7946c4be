//! What a client may ask for before the first command: the shapes of options, and of the answers to them.
//!
//! Bytes on one side, structures on the other; what is allowed when is the handshake's to know.
//! All numbers are big-endian. Source: the NBD protocol, "Fixed newstyle negotiation" and "Option haggling".

/// The first eight bytes that a server says: `NBDMAGIC`.
pub const GREETING_MAGIC: u64 = 0x4E42_444D_4147_4943;
/// What the rest of the greeting and each option begin with: `IHAVEOPT`.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
/// What each answer to an option begins with.
pub const ANSWER_MAGIC: u64 = 0x0003_E889_0455_65A9;

/// Of the flags in the greeting and in the client's answer to it: options can be refused without ending the connection.
pub const FIXED_NEWSTYLE: u32 = 1;
/// Of the same flags: the 124 zeros after the answer to [`ClientOption::ExportName`] are left out.
pub const NO_ZEROES: u32 = 1 << 1;

/// The length in bytes of the longest data of an option that is read; the longest name in the protocol has 4096.
pub const MAX_OPTION_LEN: u32 = 64 * 1024;

/// The length in bytes of the longest name that the protocol allows.
const MAX_NAME_LEN: usize = 4096;

/// What an option begins with, after its magic number: which it is, and how long its data are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionHeader {
    /// The option's number.
    pub code: u32,
    /// The length of its data in bytes.
    pub len_bytes: u32,
}

impl OptionHeader {
    /// The length on the wire, in bytes.
    pub const LEN: usize = 16;

    /// Reads a header; [`None`] where the magic number is wrong.
    #[must_use]
    pub fn read(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut bytes = bytes.as_slice();
        if take_u64(&mut bytes)? != OPTION_MAGIC {
            return None;
        }
        Some(Self {
            code: take_u32(&mut bytes)?,
            len_bytes: take_u32(&mut bytes)?,
        })
    }
}

/// An option that a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientOption {
    /// Uses the export of this name; cannot be refused but by ending the connection.
    ExportName(Vec<u8>),
    /// Ends the connection.
    Abort,
    /// Asks for the names of all exports.
    List,
    /// Goes on under TLS.
    StartTls,
    /// Asks about an export.
    Info(InfoQuery),
    /// Uses an export.
    Go(InfoQuery),
    /// Allows replies in several chunks.
    StructuredReply,
    /// Asks which kinds of block status there are.
    ListMetaContext(ContextQuery),
    /// Chooses kinds of block status.
    SetMetaContext(ContextQuery),
}

/// The data of [`ClientOption::Info`] and [`ClientOption::Go`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoQuery {
    /// The name of the export; empty for the default one.
    pub export_name: Vec<u8>,
    /// The kinds of information that are asked for, see [`info`].
    pub wanted: Vec<u16>,
}

/// The data of [`ClientOption::ListMetaContext`] and [`ClientOption::SetMetaContext`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextQuery {
    /// The name of the export; empty for the default one.
    pub export_name: Vec<u8>,
    /// The names that are asked for.
    pub names: Vec<Vec<u8>>,
}

/// Why an option could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadOption {
    /// Its number is not one of those above.
    Unknown,
    /// Its data do not have the shape that they should have.
    Malformed,
}

/// The numbers of the options.
pub mod code {
    /// See [`ClientOption::ExportName`](super::ClientOption::ExportName).
    pub const EXPORT_NAME: u32 = 1;
    /// See [`ClientOption::Abort`](super::ClientOption::Abort).
    pub const ABORT: u32 = 2;
    /// See [`ClientOption::List`](super::ClientOption::List).
    pub const LIST: u32 = 3;
    /// See [`ClientOption::StartTls`](super::ClientOption::StartTls).
    pub const START_TLS: u32 = 5;
    /// See [`ClientOption::Info`](super::ClientOption::Info).
    pub const INFO: u32 = 6;
    /// See [`ClientOption::Go`](super::ClientOption::Go).
    pub const GO: u32 = 7;
    /// See [`ClientOption::StructuredReply`](super::ClientOption::StructuredReply).
    pub const STRUCTURED_REPLY: u32 = 8;
    /// See [`ClientOption::ListMetaContext`](super::ClientOption::ListMetaContext).
    pub const LIST_META_CONTEXT: u32 = 9;
    /// See [`ClientOption::SetMetaContext`](super::ClientOption::SetMetaContext).
    pub const SET_META_CONTEXT: u32 = 10;
}

/// The kinds of information about an export.
pub mod info {
    /// Its size and flags.
    pub const EXPORT: u16 = 0;
    /// Its name.
    pub const NAME: u16 = 1;
    /// The sizes of requests that it likes.
    pub const BLOCK_SIZE: u16 = 3;
}

/// What the answer to an option says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Answer {
    /// It is done, and there is no more to say.
    Ack = 1,
    /// The name of an export.
    Server = 2,
    /// Information about an export.
    Info = 3,
    /// A kind of block status.
    MetaContext = 4,
    /// The option is not known here.
    Unsupported = 1 << 31 | 1,
    /// The option's data are wrong, or it comes at a wrong time.
    Invalid = 1 << 31 | 3,
    /// First TLS, then this.
    TlsRequired = 1 << 31 | 5,
    /// There is no such export.
    UnknownExport = 1 << 31 | 6,
    /// The option's data are too long.
    TooBig = 1 << 31 | 9,
}

impl Answer {
    /// Returns the bytes of this answer to the option `code`.
    #[must_use]
    pub fn to_bytes(self, code: u32, data: &[u8]) -> Vec<u8> {
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(data.len().saturating_add(20));
        bytes.extend(ANSWER_MAGIC.to_be_bytes());
        bytes.extend(code.to_be_bytes());
        bytes.extend((self as u32).to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes.extend(data);
        bytes
    }
}

impl ClientOption {
    /// Reads an option's data.
    ///
    /// # Errors
    /// See [`BadOption`].
    pub fn read(code: u32, data: &[u8]) -> Result<Self, BadOption> {
        let empty = |option| match data {
            [] => Ok(option),
            _ => Err(BadOption::Malformed),
        };
        match code {
            code::EXPORT_NAME if data.len() > MAX_NAME_LEN => Err(BadOption::Malformed),
            code::EXPORT_NAME => Ok(Self::ExportName(data.to_vec())),
            // Its data mean nothing, and whoever wants to go is not held up by them.
            code::ABORT => Ok(Self::Abort),
            code::LIST => empty(Self::List),
            code::START_TLS => empty(Self::StartTls),
            code::INFO => InfoQuery::read(data).map(Self::Info).ok_or(BadOption::Malformed),
            code::GO => InfoQuery::read(data).map(Self::Go).ok_or(BadOption::Malformed),
            code::STRUCTURED_REPLY => empty(Self::StructuredReply),
            code::LIST_META_CONTEXT => ContextQuery::read(data)
                .map(Self::ListMetaContext)
                .ok_or(BadOption::Malformed),
            code::SET_META_CONTEXT => ContextQuery::read(data)
                .map(Self::SetMetaContext)
                .ok_or(BadOption::Malformed),
            _ => Err(BadOption::Unknown),
        }
    }

    /// Returns the option as a client sends it: header and data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (code, data) = match self {
            Self::ExportName(name) => (code::EXPORT_NAME, name.clone()),
            Self::Abort => (code::ABORT, Vec::new()),
            Self::List => (code::LIST, Vec::new()),
            Self::StartTls => (code::START_TLS, Vec::new()),
            Self::Info(query) => (code::INFO, query.to_bytes()),
            Self::Go(query) => (code::GO, query.to_bytes()),
            Self::StructuredReply => (code::STRUCTURED_REPLY, Vec::new()),
            Self::ListMetaContext(query) => (code::LIST_META_CONTEXT, query.to_bytes()),
            Self::SetMetaContext(query) => (code::SET_META_CONTEXT, query.to_bytes()),
        };
        let mut bytes = Vec::with_capacity(data.len().saturating_add(OptionHeader::LEN));
        bytes.extend(OPTION_MAGIC.to_be_bytes());
        bytes.extend(code.to_be_bytes());
        put_text(&mut bytes, &data);
        bytes
    }
}

impl InfoQuery {
    fn read(mut data: &[u8]) -> Option<Self> {
        let export_name = take_name(&mut data)?;
        let count = usize::from(take_u16(&mut data)?);
        if data.len() != count.checked_mul(2)? {
            return None;
        }
        let wanted = std::iter::from_fn(|| take_u16(&mut data)).collect();
        Some(Self { export_name, wanted })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_text(&mut bytes, &self.export_name);
        bytes.extend(u16::try_from(self.wanted.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(self.wanted.iter().flat_map(|kind| kind.to_be_bytes()));
        bytes
    }
}

impl ContextQuery {
    fn read(mut data: &[u8]) -> Option<Self> {
        let export_name = take_name(&mut data)?;
        let count = take_u32(&mut data)?;
        // Each name has at least its length, so the data bound the loop whatever the count says.
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(take_name(&mut data)?);
        }
        data.is_empty().then_some(Self { export_name, names })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_text(&mut bytes, &self.export_name);
        bytes.extend(u32::try_from(self.names.len()).unwrap_or(u32::MAX).to_be_bytes());
        for name in &self.names {
            put_text(&mut bytes, name);
        }
        bytes
    }
}

/// Takes a text with its length before it.
fn take_name(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let len = usize::try_from(take_u32(bytes)?).ok()?;
    if len > MAX_NAME_LEN {
        return None;
    }
    let (name, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(name.to_vec())
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(text);
}

/// Takes a big-endian number from the front of `bytes`.
pub(super) fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*number))
}

/// Takes a big-endian number from the front of `bytes`.
pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

/// Takes a big-endian number from the front of `bytes`.
pub(super) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..40)
    }

    fn info_query() -> impl Strategy<Value = InfoQuery> {
        (name(), vec(any::<u16>(), 0..9)).prop_map(|(export_name, wanted)| InfoQuery { export_name, wanted })
    }

    fn context_query() -> impl Strategy<Value = ContextQuery> {
        (name(), vec(name(), 0..9)).prop_map(|(export_name, names)| ContextQuery { export_name, names })
    }

    fn option() -> impl Strategy<Value = ClientOption> {
        prop_oneof![
            name().prop_map(ClientOption::ExportName),
            Just(ClientOption::Abort),
            Just(ClientOption::List),
            Just(ClientOption::StartTls),
            info_query().prop_map(ClientOption::Info),
            info_query().prop_map(ClientOption::Go),
            Just(ClientOption::StructuredReply),
            context_query().prop_map(ClientOption::ListMetaContext),
            context_query().prop_map(ClientOption::SetMetaContext),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read(option in option()) {
            let bytes = option.to_bytes();
            let (header, data) = bytes.split_first_chunk().unwrap();
            let header = OptionHeader::read(header).unwrap();
            prop_assert_eq!(header.len_bytes as usize, data.len());
            prop_assert_eq!(ClientOption::read(header.code, data), Ok(option));
        }

        #[test]
        fn what_is_cut_off_or_longer_is_refused(option in option(), at in any::<prop::sample::Index>()) {
            let bytes = option.to_bytes();
            let data = &bytes[OptionHeader::LEN..];
            let code = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
            if matches!(option, ClientOption::ExportName(_) | ClientOption::Abort) {
                return Ok(());
            }
            let longer = [data, b"\0"].concat();
            prop_assert_eq!(ClientOption::read(code, &longer), Err(BadOption::Malformed));
            if !data.is_empty() {
                let shorter = &data[..at.index(data.len())];
                prop_assert_eq!(ClientOption::read(code, shorter), Err(BadOption::Malformed));
            }
        }
    }

    #[test]
    fn a_header_is_as_the_protocol_writes_it() {
        let bytes = b"IHAVEOPT\0\0\0\x07\0\0\0\x09";
        let header = OptionHeader::read(bytes).unwrap();
        assert_eq!((header.code, header.len_bytes), (code::GO, 9));
        assert_eq!(OptionHeader::read(b"IHAVEOPS\0\0\0\x07\0\0\0\x09"), None);
    }

    #[test]
    fn counts_that_lie_cost_nothing() {
        let many_contexts = [&[0; 4][..], &[0xFF; 4]].concat();
        assert_eq!(
            ClientOption::read(code::SET_META_CONTEXT, &many_contexts),
            Err(BadOption::Malformed)
        );
        let long_name = [
            &(MAX_NAME_LEN as u32 + 1).to_be_bytes()[..],
            &[b'a'; MAX_NAME_LEN + 1],
            &[0; 2],
        ]
        .concat();
        assert_eq!(
            ClientOption::read(code::GO, &long_name),
            Err(BadOption::Malformed)
        );
        assert_eq!(
            ClientOption::read(code::EXPORT_NAME, &[b'a'; MAX_NAME_LEN + 1]),
            Err(BadOption::Malformed)
        );
        assert_eq!(ClientOption::read(4, b""), Err(BadOption::Unknown));
        assert_eq!(ClientOption::read(11, b""), Err(BadOption::Unknown));
    }

    #[test]
    fn an_answer_is_as_the_protocol_writes_it() {
        assert_eq!(
            Answer::Unsupported.to_bytes(11, b"no"),
            b"\0\x03\xE8\x89\x04\x55\x65\xA9\0\0\0\x0B\x80\0\0\x01\0\0\0\x02no"
        );
    }
}
