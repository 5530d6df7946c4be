//! What is agreed before the first command: which export, and what the client understands.

use std::io::{self, Read, Write};

use super::export::Export;
use super::option::{
    Answer, BadOption, ClientOption, ContextQuery, FIXED_NEWSTYLE, GREETING_MAGIC, InfoQuery, MAX_OPTION_LEN,
    NO_ZEROES, OPTION_MAGIC, OptionHeader, info,
};

/// The most options that a client may send on one connection; none needs a dozen.
const MAX_OPTIONS: u32 = 256;

/// The one kind of block status that there is: which parts are stored.
const BASE_ALLOCATION: &[u8] = b"base:allocation";

/// The number by which replies name [`BASE_ALLOCATION`].
pub(super) const BASE_ALLOCATION_ID: u32 = 1;

/// What a client can be given before it says anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// There is no TLS here.
    None,
    /// Nothing but TLS.
    TlsIsRequired,
    /// This is under TLS.
    IsSecure,
}

/// What a client understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Replies in chunks.
    pub(super) has_structured_replies: bool,
    /// Questions which parts are stored.
    pub(super) has_base_allocation: bool,
}

/// How a round of options ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Commands follow.
    Use(Agreed),
    /// The client was told to go on under TLS, from the first option again.
    StartTls,
    /// The client does not want more.
    Leave,
}

/// Why a client and a server did not come to terms.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection broke.
    #[error("the connection broke while the client and the server came to terms")]
    Io(#[from] io::Error),
    /// The client wants what no client could know.
    #[error("the client answers the greeting with unknown flags {flags:#x}")]
    UnknownFlags {
        /// The client's flags.
        flags: u32,
    },
    /// What came is not an option.
    #[error("what the client sent is not an option of the protocol")]
    NotAnOption,
    /// An option with more data than any needs.
    #[error("option {code} has {len_bytes} bytes of data, more than {MAX_OPTION_LEN}")]
    OptionTooLong {
        /// The option's number.
        code: u32,
        /// How many bytes were announced.
        len_bytes: u32,
    },
    /// The client goes on asking.
    #[error("the client has sent {MAX_OPTIONS} options and uses no export")]
    TooManyOptions,
    /// The client used the one option that cannot be refused otherwise.
    #[error("the client asks for an export that does not exist, in a way that cannot be refused")]
    UnknownExport,
    /// The client did not begin TLS, and used the one option that cannot be refused otherwise.
    #[error("the client wants to use the export without TLS")]
    TlsRequired,
}

/// Greets a client; returns the flags that it answers with.
pub(super) fn greet(reading: &mut impl Read, writing: &mut impl Write) -> Result<u32, HandshakeError> {
    let mut greeting = Vec::with_capacity(18);
    greeting.extend(GREETING_MAGIC.to_be_bytes());
    greeting.extend(OPTION_MAGIC.to_be_bytes());
    // Both fit: the server's flags have 16 bits.
    greeting.extend(((FIXED_NEWSTYLE | NO_ZEROES) as u16).to_be_bytes());
    writing.write_all(&greeting)?;
    let mut flags = [0; 4];
    reading.read_exact(&mut flags)?;
    match u32::from_be_bytes(flags) {
        flags if flags & !(FIXED_NEWSTYLE | NO_ZEROES) == 0 => Ok(flags),
        flags => Err(HandshakeError::UnknownFlags { flags }),
    }
}

/// Answers a client's options until it uses the export, wants TLS or leaves.
///
/// Nothing is read beyond the last option: what comes next may be for somebody else.
pub(super) fn agree(
    reading: &mut impl Read,
    writing: &mut impl Write,
    export: &Export,
    client_flags: u32,
    security: Security,
) -> Result<Outcome, HandshakeError> {
    let mut haggling = Haggling {
        export,
        security,
        client_flags,
        agreed: Agreed::default(),
        writing,
    };
    for _ in 0..MAX_OPTIONS {
        let (code, data) = read_option(reading)?;
        if let Some(outcome) = haggling.answer(code, &data)? {
            return Ok(outcome);
        }
    }
    Err(HandshakeError::TooManyOptions)
}

fn read_option(reading: &mut impl Read) -> Result<(u32, Vec<u8>), HandshakeError> {
    let mut header = [0; OptionHeader::LEN];
    reading.read_exact(&mut header)?;
    let header = OptionHeader::read(&header).ok_or(HandshakeError::NotAnOption)?;
    let too_long = HandshakeError::OptionTooLong {
        code: header.code,
        len_bytes: header.len_bytes,
    };
    if header.len_bytes > MAX_OPTION_LEN {
        return Err(too_long);
    }
    let mut data = vec![0; usize::try_from(header.len_bytes).map_err(|_| too_long)?];
    reading.read_exact(&mut data)?;
    Ok((header.code, data))
}

struct Haggling<'a, W> {
    export: &'a Export,
    security: Security,
    client_flags: u32,
    agreed: Agreed,
    writing: &'a mut W,
}

impl<W: Write> Haggling<'_, W> {
    /// Answers one option; [`None`] where the client goes on.
    fn answer(&mut self, code: u32, data: &[u8]) -> Result<Option<Outcome>, HandshakeError> {
        let option = ClientOption::read(code, data);
        if self.security == Security::TlsIsRequired {
            return self.answer_before_tls(code, &option);
        }
        match option {
            Ok(ClientOption::ExportName(name)) => return self.use_without_answer(&name).map(Some),
            Ok(ClientOption::Abort) => return self.leave(code).map(Some),
            Ok(ClientOption::List) => {
                let name = self.export.name().as_bytes();
                let entry = [&len_of(name).to_be_bytes(), name].concat();
                self.say(code, Answer::Server, &entry)?;
                self.say(code, Answer::Ack, b"")?;
            }
            Ok(ClientOption::StartTls) if self.security == Security::IsSecure => {
                self.say(code, Answer::Invalid, b"TLS has begun already")?;
            }
            Ok(ClientOption::StartTls) => self.say(code, Answer::Unsupported, b"there is no TLS here")?,
            Ok(ClientOption::Info(query)) => {
                self.tell_about_export(code, &query)?;
            }
            Ok(ClientOption::Go(query)) => {
                if self.tell_about_export(code, &query)? {
                    return Ok(Some(Outcome::Use(self.agreed)));
                }
            }
            Ok(ClientOption::StructuredReply) => {
                self.agreed.has_structured_replies = true;
                self.say(code, Answer::Ack, b"")?;
            }
            Ok(ClientOption::ListMetaContext(query)) => {
                if self.may_ask_for_contexts(code, &query)? {
                    if query.names.is_empty() || query.names.iter().any(|name| is_base(name, true)) {
                        self.say_base_allocation(code, 0)?;
                    }
                    self.say(code, Answer::Ack, b"")?;
                }
            }
            Ok(ClientOption::SetMetaContext(query)) => {
                self.agreed.has_base_allocation = false;
                if self.may_ask_for_contexts(code, &query)? {
                    if query.names.iter().any(|name| is_base(name, false)) {
                        self.agreed.has_base_allocation = true;
                        self.say_base_allocation(code, BASE_ALLOCATION_ID)?;
                    }
                    self.say(code, Answer::Ack, b"")?;
                }
            }
            Err(BadOption::Malformed) => self.say(code, Answer::Invalid, b"the option is malformed")?,
            Err(BadOption::Unknown) => self.say(code, Answer::Unsupported, b"")?,
        }
        Ok(None)
    }

    /// Answers an option of a client that has to begin TLS first, and tells it nothing else.
    fn answer_before_tls(
        &mut self,
        code: u32,
        option: &Result<ClientOption, BadOption>,
    ) -> Result<Option<Outcome>, HandshakeError> {
        match option {
            Ok(ClientOption::StartTls) => {
                self.say(code, Answer::Ack, b"")?;
                Ok(Some(Outcome::StartTls))
            }
            Ok(ClientOption::Abort) => self.leave(code).map(Some),
            // Whatever its data are: this option has no answer that says no.
            _ if code == super::option::code::EXPORT_NAME => Err(HandshakeError::TlsRequired),
            Err(BadOption::Malformed) if code == super::option::code::START_TLS => {
                self.say(code, Answer::Invalid, b"the option is malformed")?;
                Ok(None)
            }
            _ => {
                self.say(code, Answer::TlsRequired, b"this server wants TLS first")?;
                Ok(None)
            }
        }
    }

    fn leave(&mut self, code: u32) -> Result<Outcome, HandshakeError> {
        // A client may be gone without waiting for this.
        let _ = self.say(code, Answer::Ack, b"");
        Ok(Outcome::Leave)
    }

    fn use_without_answer(&mut self, name: &[u8]) -> Result<Outcome, HandshakeError> {
        if !self.export.is_called(name) {
            return Err(HandshakeError::UnknownExport);
        }
        let mut bytes = self.size_and_flags();
        if self.client_flags & NO_ZEROES == 0 {
            bytes.extend([0; 124]);
        }
        self.writing.write_all(&bytes)?;
        Ok(Outcome::Use(self.agreed))
    }

    /// Says what there is to know about an export; false where there is no such export.
    fn tell_about_export(&mut self, code: u32, query: &InfoQuery) -> Result<bool, HandshakeError> {
        if !self.export.is_called(&query.export_name) {
            self.say(code, Answer::UnknownExport, b"there is no export of this name")?;
            return Ok(false);
        }
        let of_kind = |kind: u16, content: &[u8]| [&kind.to_be_bytes(), content].concat();
        let export = of_kind(info::EXPORT, &self.size_and_flags());
        self.say(code, Answer::Info, &export)?;
        if query.wanted.contains(&info::NAME) {
            let name = of_kind(info::NAME, self.export.name().as_bytes());
            self.say(code, Answer::Info, &name)?;
        }
        let sizes: Vec<u8> = self
            .export
            .request_sizes()
            .iter()
            .flat_map(|size| size.to_be_bytes())
            .collect();
        self.say(code, Answer::Info, &of_kind(info::BLOCK_SIZE, &sizes))?;
        self.say(code, Answer::Ack, b"")?;
        Ok(true)
    }

    /// Tells whether kinds of block status may be talked about now; if not, the client has been told.
    fn may_ask_for_contexts(&mut self, code: u32, query: &ContextQuery) -> Result<bool, HandshakeError> {
        if !self.agreed.has_structured_replies {
            self.say(code, Answer::Invalid, b"structured replies come first")?;
            return Ok(false);
        }
        if !self.export.is_called(&query.export_name) {
            self.say(code, Answer::UnknownExport, b"there is no export of this name")?;
            return Ok(false);
        }
        Ok(true)
    }

    fn say_base_allocation(&mut self, code: u32, id: u32) -> Result<(), HandshakeError> {
        let context = [&id.to_be_bytes(), BASE_ALLOCATION].concat();
        self.say(code, Answer::MetaContext, &context)
    }

    fn size_and_flags(&self) -> Vec<u8> {
        let flags = self.export.flags(self.agreed.has_structured_replies);
        [&self.export.len_bytes().to_be_bytes()[..], &flags.to_be_bytes()].concat()
    }

    fn say(&mut self, code: u32, answer: Answer, data: &[u8]) -> Result<(), HandshakeError> {
        Ok(self.writing.write_all(&answer.to_bytes(code, data))?)
    }
}

/// Tells whether a name means the one kind of block status; in a list, its name space alone does too.
fn is_base(name: &[u8], in_list: bool) -> bool {
    name == BASE_ALLOCATION || (in_list && name == b"base:")
}

fn len_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shown::Shown;

    fn export() -> Export {
        let export = Export::new(Shown::ReadOnly(Arc::new(vec![0; 0x1234])));
        export.named("disk").unwrap()
    }

    /// Option, answer and data.
    type Said = (u32, u32, Vec<u8>);

    /// Sends options; returns the answers and how it ended.
    fn haggle(options: &[ClientOption], security: Security) -> (Vec<Said>, Result<Outcome, HandshakeError>) {
        let sent: Vec<u8> = options.iter().flat_map(ClientOption::to_bytes).collect();
        let mut said = Vec::new();
        let outcome = agree(&mut sent.as_slice(), &mut said, &export(), NO_ZEROES, security);
        let mut answers = Vec::new();
        let mut rest = said.as_slice();
        while rest.starts_with(&0x3E889045565A9_u64.to_be_bytes()) {
            let number = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
            let end = 20 + number(16) as usize;
            answers.push((number(8), number(12), rest[20..end].to_vec()));
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            answers.push((0, 0, rest.to_vec()));
        }
        (answers, outcome)
    }

    fn go(name: &str, wanted: &[u16]) -> ClientOption {
        ClientOption::Go(InfoQuery {
            export_name: name.into(),
            wanted: wanted.to_vec(),
        })
    }

    fn contexts(name: &str, names: &[&str]) -> ContextQuery {
        ContextQuery {
            export_name: name.into(),
            names: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
        }
    }

    /// The kind of the information about the export, and its size; flags follow.
    const SIZE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34];

    #[test]
    fn the_greeting_takes_known_flags_only() {
        let mut said = Vec::new();
        assert_eq!(greet(&mut &[0, 0, 0, 3][..], &mut said).unwrap(), 3);
        assert_eq!(said, b"NBDMAGICIHAVEOPT\0\x03");
        assert!(matches!(
            greet(&mut &[0, 0, 0, 7][..], &mut said),
            Err(HandshakeError::UnknownFlags { flags: 7 })
        ));
    }

    #[test]
    fn going_tells_size_flags_and_sizes_of_requests() {
        let (answers, outcome) = haggle(&[go("disk", &[info::NAME])], Security::None);
        assert_eq!(
            answers,
            [
                (7, 3, [&SIZE[..], &[1, 3]].concat()),
                (7, 3, b"\0\x01disk".to_vec()),
                (7, 3, vec![0, 3, 0, 0, 0, 1, 0, 0, 0x10, 0, 2, 0, 0, 0]),
                (7, 1, vec![])
            ]
        );
        assert_eq!(outcome.unwrap(), Outcome::Use(Agreed::default()));
    }

    #[test]
    fn an_unknown_export_is_refused_and_the_client_goes_on() {
        let (answers, outcome) = haggle(
            &[go("other", &[]), ClientOption::List, go("", &[])],
            Security::None,
        );
        let kinds: Vec<(u32, u32)> = answers
            .iter()
            .map(|(option, answer, _)| (*option, *answer))
            .collect();
        assert_eq!(kinds, [(7, 0x8000_0006), (3, 2), (3, 1), (7, 3), (7, 3), (7, 1)]);
        assert_eq!(answers[1].2, b"\0\0\0\x04disk");
        assert!(matches!(outcome, Ok(Outcome::Use(_))));
    }

    #[test]
    fn the_oldest_way_has_no_answer_but_the_export() {
        let (answers, outcome) = haggle(&[ClientOption::ExportName(b"disk".to_vec())], Security::None);
        assert_eq!(answers, [(0, 0, [&SIZE[2..], &[1, 3]].concat())]);
        assert!(matches!(outcome, Ok(Outcome::Use(_))));
        let (answers, outcome) = haggle(&[ClientOption::ExportName(b"other".to_vec())], Security::None);
        assert_eq!(answers, []);
        assert!(matches!(outcome, Err(HandshakeError::UnknownExport)));

        let mut said = Vec::new();
        let sent = ClientOption::ExportName(vec![]).to_bytes();
        agree(
            &mut sent.as_slice(),
            &mut said,
            &export(),
            FIXED_NEWSTYLE,
            Security::None,
        )
        .unwrap();
        assert_eq!(said.len(), 10 + 124);
    }

    #[test]
    fn block_status_is_agreed_on_after_structured_replies() {
        let set = ClientOption::SetMetaContext(contexts("disk", &["qemu:dirty-bitmap:x", "base:allocation"]));
        let (answers, outcome) = haggle(
            &[
                set.clone(),
                ClientOption::StructuredReply,
                set.clone(),
                go("disk", &[]),
            ],
            Security::None,
        );
        assert_eq!((answers[0].0, answers[0].1), (10, 0x8000_0003));
        assert_eq!(answers[2], (10, 4, b"\0\0\0\x01base:allocation".to_vec()));
        // Chunks need not be one, now that there are chunks.
        assert_eq!(answers[4].2, [&SIZE[..], &[1, 0x83]].concat());
        let both = Agreed {
            has_structured_replies: true,
            has_base_allocation: true,
        };
        assert_eq!(outcome.unwrap(), Outcome::Use(both));

        // The last choice counts.
        let none = ClientOption::SetMetaContext(contexts("disk", &["base:"]));
        let (answers, outcome) = haggle(
            &[ClientOption::StructuredReply, set, none, go("disk", &[])],
            Security::None,
        );
        assert_eq!(answers[3], (10, 1, vec![]));
        assert!(matches!(
            outcome,
            Ok(Outcome::Use(Agreed {
                has_base_allocation: false,
                ..
            }))
        ));
    }

    #[test]
    fn the_kinds_of_block_status_are_listed() {
        for (names, found) in [
            (&[][..], 2),
            (&["base:"], 2),
            (&["base:allocation"], 2),
            (&["qemu:"], 1),
        ] {
            let list = ClientOption::ListMetaContext(contexts("", names));
            let (answers, _) = haggle(&[ClientOption::StructuredReply, list], Security::None);
            assert_eq!(answers.len(), 1 + found, "{names:?}");
        }
        let of_other = ClientOption::ListMetaContext(contexts("other", &[]));
        let (answers, _) = haggle(&[ClientOption::StructuredReply, of_other], Security::None);
        assert_eq!(answers[1].1, 0x8000_0006);
    }

    #[test]
    fn before_tls_nothing_is_told() {
        let (answers, outcome) = haggle(
            &[
                ClientOption::List,
                ClientOption::StructuredReply,
                go("disk", &[]),
                ClientOption::StartTls,
            ],
            Security::TlsIsRequired,
        );
        for (_, answer, data) in &answers[..3] {
            assert_eq!(*answer, 0x8000_0005);
            assert_eq!(data, b"this server wants TLS first");
        }
        assert_eq!(answers[3], (5, 1, vec![]));
        assert_eq!(outcome.unwrap(), Outcome::StartTls);
        let (answers, outcome) = haggle(&[ClientOption::ExportName(vec![])], Security::TlsIsRequired);
        assert_eq!(answers, []);
        assert!(matches!(outcome, Err(HandshakeError::TlsRequired)));
    }

    #[test]
    fn tls_begins_once_and_only_where_there_is_any() {
        for (security, answer) in [(Security::None, 0x8000_0001), (Security::IsSecure, 0x8000_0003)] {
            let (answers, outcome) = haggle(&[ClientOption::StartTls, ClientOption::Abort], security);
            assert_eq!(answers[0].1, answer);
            assert_eq!(outcome.unwrap(), Outcome::Leave);
        }
    }

    #[test]
    fn a_client_that_will_not_stop_is_cut_off() {
        let (_, outcome) = haggle(&vec![ClientOption::List; 300], Security::None);
        assert!(matches!(outcome, Err(HandshakeError::TooManyOptions)));

        let long = [&b"IHAVEOPT\0\0\0\x63"[..], &(MAX_OPTION_LEN + 1).to_be_bytes()].concat();
        let outcome = agree(
            &mut long.as_slice(),
            &mut io::sink(),
            &export(),
            0,
            Security::None,
        );
        assert!(matches!(
            outcome,
            Err(HandshakeError::OptionTooLong { code: 99, .. })
        ));
        let outcome = agree(
            &mut &b"GET / HTTP/1.1\r\n"[..],
            &mut io::sink(),
            &export(),
            0,
            Security::None,
        );
        assert!(matches!(outcome, Err(HandshakeError::NotAnOption)));
    }
}
