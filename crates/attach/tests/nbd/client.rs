//! A small client that says exactly what it is told to, and keeps what it hears.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use keyhaven_attach::nbd::option::{ClientOption, ContextQuery, InfoQuery};
use keyhaven_attach::nbd::request::{Command, Request};

/// A client that uses an export.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(crate) size: u64,
    pub(crate) flags: u16,
    next_cookie: u64,
    /// How many bytes follow a simple reply, by cookie.
    simple_reads: BTreeMap<u64, usize>,
    heard: BTreeMap<u64, Heard>,
}

/// What was said to one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The data, put together; holes are zeros.
    pub(crate) data: Vec<u8>,
    /// Where each part of the data was from, how long it was, and whether it was a hole.
    pub(crate) parts: Vec<(u64, usize, bool)>,
    /// Lengths and flags.
    pub(crate) extents: Vec<(u32, u32)>,
    /// Number, message and place.
    pub(crate) error: Option<(u32, String, Option<u64>)>,
}

impl Heard {
    /// Returns the number of the error; 0 for success.
    pub(crate) fn number(&self) -> u32 {
        self.error.as_ref().map_or(0, |error| error.0)
    }
}

/// Says what a client says to the greeting.
pub(crate) fn greeted(path: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(path).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(&greeting, b"NBDMAGICIHAVEOPT\0\x03");
    stream.write_all(&[0, 0, 0, 3]).unwrap();
    stream
}

/// Reads the answer to an option: which, what, and data.
pub(crate) fn answer(stream: &mut impl Read) -> io::Result<(u32, u32, Vec<u8>)> {
    let mut header = [0; 20];
    stream.read_exact(&mut header)?;
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    let mut data = vec![0; number(16) as usize];
    stream.read_exact(&mut data)?;
    Ok((number(8), number(12), data))
}

impl Client {
    /// Connects as a modern client does: structured replies, block status.
    pub(crate) fn connect(path: &Path) -> Self {
        let mut stream = greeted(path);
        stream
            .write_all(&ClientOption::StructuredReply.to_bytes())
            .unwrap();
        assert_eq!(answer(&mut stream).unwrap(), (8, 1, vec![]));
        let contexts = ContextQuery {
            export_name: vec![],
            names: vec![b"base:allocation".to_vec()],
        };
        stream
            .write_all(&ClientOption::SetMetaContext(contexts).to_bytes())
            .unwrap();
        assert_eq!(
            answer(&mut stream).unwrap(),
            (10, 4, b"\0\0\0\x01base:allocation".to_vec())
        );
        assert_eq!(answer(&mut stream).unwrap(), (10, 1, vec![]));
        Self::go(stream)
    }

    /// Connects as the kernel's client does: simple replies only.
    pub(crate) fn connect_simply(path: &Path) -> Self {
        Self::go(greeted(path))
    }

    fn go(mut stream: UnixStream) -> Self {
        let query = InfoQuery {
            export_name: vec![],
            wanted: vec![],
        };
        stream.write_all(&ClientOption::Go(query).to_bytes()).unwrap();
        let (mut size, mut flags) = (0, 0);
        loop {
            match answer(&mut stream).unwrap() {
                (7, 1, _) => break,
                (7, 3, data) if data.starts_with(&[0, 0]) => {
                    size = u64::from_be_bytes(data[2..10].try_into().unwrap());
                    flags = u16::from_be_bytes(data[10..12].try_into().unwrap());
                }
                (7, 3, _) => {}
                other => panic!("refused: {other:?}"),
            }
        }
        Self {
            stream,
            size,
            flags,
            next_cookie: 1,
            simple_reads: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Sends a request without waiting; returns its cookie.
    pub(crate) fn send(&mut self, command: Command, flags: u16, offset: u64, len: usize, data: &[u8]) -> u64 {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        if command == Command::Read {
            self.simple_reads.insert(cookie, len);
        }
        let request = Request {
            flags,
            command,
            cookie,
            offset,
            len_bytes: len.try_into().unwrap(),
        };
        let bytes = [&request.to_bytes(), data].concat();
        self.stream.write_all(&bytes).expect("the server takes requests");
        cookie
    }

    /// Sends a request and waits for all that is said to it.
    pub(crate) fn ask(
        &mut self,
        command: Command,
        flags: u16,
        offset: u64,
        len: usize,
        data: &[u8],
    ) -> Heard {
        let cookie = self.send(command, flags, offset, len, data);
        let (about, heard) = self.hear().expect("a reply");
        assert_eq!(about, cookie);
        heard
    }

    pub(crate) fn read(&mut self, offset: u64, len: usize) -> Heard {
        self.ask(Command::Read, 0, offset, len, b"")
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
        self.ask(Command::Write, 0, offset, data.len(), data).number()
    }

    /// Waits until some request has been answered to its end.
    pub(crate) fn hear(&mut self) -> io::Result<(u64, Heard)> {
        loop {
            let magic: u32 = self.number()?;
            match magic {
                0x6744_6698 => return self.hear_simple(),
                0x668E_33EF => {
                    if let Some(done) = self.hear_chunk()? {
                        return Ok(done);
                    }
                }
                other => panic!("{other:#x} begins no reply"),
            }
        }
    }

    fn hear_simple(&mut self) -> io::Result<(u64, Heard)> {
        let error: u32 = self.number()?;
        let cookie = u64::from_be_bytes(self.bytes(8)?.try_into().unwrap());
        let mut heard = Heard::default();
        if error != 0 {
            heard.error = Some((error, String::new(), None));
        } else if let Some(len) = self.simple_reads.remove(&cookie) {
            heard.data = self.bytes(len)?;
        }
        Ok((cookie, heard))
    }

    fn hear_chunk(&mut self) -> io::Result<Option<(u64, Heard)>> {
        let header = self.bytes(16)?;
        let flags = u16::from_be_bytes(header[0..2].try_into().unwrap());
        let kind = u16::from_be_bytes(header[2..4].try_into().unwrap());
        let cookie = u64::from_be_bytes(header[4..12].try_into().unwrap());
        let len = u32::from_be_bytes(header[12..16].try_into().unwrap());
        let payload = self.bytes(len as usize)?;
        let u32_at = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().unwrap());
        let heard = self.heard.entry(cookie).or_default();
        match kind {
            0 => assert!(payload.is_empty()),
            1 => {
                heard.parts.push((u64_at(0), payload.len() - 8, false));
                heard.data.extend(&payload[8..]);
            }
            2 => {
                let hole = u32_at(8) as usize;
                heard.parts.push((u64_at(0), hole, true));
                heard.data.extend(vec![0; hole]);
            }
            5 => {
                assert_eq!(u32_at(0), 1, "the context that was agreed on");
                let numbers = payload[4..].chunks(8);
                heard.extents = numbers
                    .map(|pair| {
                        let number = |at: usize| u32::from_be_bytes(pair[at..at + 4].try_into().unwrap());
                        (number(0), number(4))
                    })
                    .collect();
            }
            0x8001 | 0x8002 => {
                let end = 6 + usize::from(u16::from_be_bytes(payload[4..6].try_into().unwrap()));
                let message = String::from_utf8(payload[6..end].to_vec()).unwrap();
                let place = (kind == 0x8002).then(|| u64_at(end));
                heard.error = Some((u32_at(0), message, place));
            }
            other => panic!("{other:#x} is no chunk"),
        }
        self.simple_reads.remove(&cookie);
        Ok((flags & 1 == 1).then(|| (cookie, self.heard.remove(&cookie).unwrap())))
    }

    fn number(&mut self) -> io::Result<u32> {
        Ok(u32::from_be_bytes(self.bytes(4)?.try_into().unwrap()))
    }

    fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
