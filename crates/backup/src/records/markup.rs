//! XML: its events, without entities of its own and without depth.

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use zeroize::Zeroizing;

/// What a document is made of, names without their prefixes.
pub(super) enum Piece<'a> {
    Start(Element<'a>),
    End(&'a str),
    Text(&'a str),
}

/// An element that begins.
pub(super) struct Element<'a> {
    start: &'a BytesStart<'a>,
    pub(super) name: &'a str,
}

impl Element<'_> {
    /// Returns an attribute by its name without a prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        self.start
            .attributes()
            .with_checks(false)
            .flatten()
            .find(|attribute| attribute.key.local_name().as_ref() == name)
            .map(|attribute| match unescape(&attribute.value) {
                Ok(value) => value.into_owned(),
                Err(_) => attribute.value.into_owned(),
            })
    }
}

/// The XML is not well formed.
pub(super) struct Malformed;

/// Calls `visit` with all pieces of an XML text in their order; an empty element starts and ends.
///
/// Only the five entities that every XML has, and numbers of signs, stand for text: a document that defines others to
/// grow without end gets none of them.
pub(super) fn visit<E: From<Malformed>>(
    xml: &str,
    mut visit: impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::from_str(xml);
    // Damaged files are read as far as they can be.
    reader.config_mut().check_end_names = false;
    loop {
        let event = reader.read_event().map_err(|_| Malformed)?;
        match &event {
            Event::Start(start) => visit(Piece::Start(element(start)))?,
            Event::Empty(start) => {
                visit(Piece::Start(element(start)))?;
                visit(Piece::End(start.local_name().into_inner()))?;
            }
            Event::End(end) => visit(Piece::End(end.local_name().into_inner()))?,
            Event::Text(text) => visit(Piece::Text(text))?,
            Event::CData(text) => visit(Piece::Text(text))?,
            Event::GeneralRef(reference) => {
                let sign = match &**reference {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => reference.resolve_char_ref().ok().flatten(),
                };
                if let Some(sign) = sign {
                    let mut bytes = Zeroizing::new([0; 4]);
                    visit(Piece::Text(sign.encode_utf8(bytes.as_mut())))?;
                }
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn element<'a>(start: &'a BytesStart<'a>) -> Element<'a> {
    Element {
        start,
        name: start.local_name().into_inner(),
    }
}
