//! Alternate data streams: further contents of a file, each with a name.
//!
//! They are gathered only when somebody asks: few do, and damage to them leaves the file itself readable.

use crate::files::FilesError;
use crate::files::bytes::units;
use crate::files::ntfs::file::{add_piece, each_attribute};
use crate::files::ntfs::record::{Record, kind};
use crate::files::ntfs::stream::Stream;
use crate::files::ntfs::volume::{Volume, damaged};

/// The alternate data streams of one file or directory.
#[derive(Debug, Default)]
pub(super) struct Alternates(Vec<Alternate>);

#[derive(Debug)]
struct Alternate {
    name: Vec<u16>,
    stream: Stream,
}

impl Alternates {
    /// Gathers them from a file's record, and those that it names.
    ///
    /// # Errors
    /// What is wrong with one of those records.
    pub(super) fn gather(volume: &Volume, base: &Record) -> Result<Self, FilesError> {
        let mut found: Vec<(Vec<u16>, Option<Stream>)> = Vec::new();
        each_attribute(volume, base, is_alternate, &mut |record, attribute| {
            let name = units(attribute.name);
            // Pieces of one stream follow one another.
            if found.last().is_none_or(|(before, _)| *before != name) {
                found.push((name, None));
            }
            match found.last_mut() {
                Some((_, stream)) => {
                    add_piece(stream, volume, attribute).map_err(|what| damaged(record.number(), what))
                }
                None => Ok(()),
            }
        })?;
        let begun =
            |(name, stream): (Vec<u16>, Option<Stream>)| stream.map(|stream| Alternate { name, stream });
        Ok(Self(found.into_iter().filter_map(begun).collect()))
    }

    /// Returns the names, in UTF-16, and what they name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u16], &Stream)> {
        self.0
            .iter()
            .map(|alternate| (alternate.name.as_slice(), &alternate.stream))
    }

    /// Finds a stream: case does not matter, and the same spelling is preferred.
    pub(super) fn find(&self, volume: &Volume, wanted: &[u16]) -> Option<&Stream> {
        let named = |is_it: &dyn Fn(&[u16]) -> bool| {
            self.iter()
                .find(|(name, _)| is_it(name))
                .map(|(_, stream)| stream)
        };
        named(&|name| name == wanted).or_else(|| named(&|name| volume.compare(name, wanted).is_eq()))
    }

    /// Returns how much memory they take, in runs of clusters or the like.
    pub(super) fn weight(&self) -> u64 {
        let one = |alternate: &Alternate| 32 + alternate.stream.runs();
        1 + self.0.iter().map(one).sum::<u64>()
    }
}

fn is_alternate(attribute_kind: u32, is_named: bool) -> bool {
    attribute_kind == kind::DATA && is_named
}
