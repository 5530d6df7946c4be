//! Where on the volume each byte of the plaintext is, and whether it is encrypted there.
//!
//! Source: format spec 4.1 to 4.3.

use std::ops::Range;

use crate::eow::EowMap;
use crate::metadata::{Conversion, Metadata};
use crate::scan::read_up_to;
use crate::volume::Volume;

/// The map from plaintext to volume: pieces in order, without gaps, from 0 to the end.
#[derive(Debug)]
pub(crate) struct Layout {
    pieces: Vec<Piece>,
    len_bytes: u64,
}

/// A run of plaintext that comes from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it is in the plaintext, in bytes.
    pub(crate) start: u64,
    /// Where it ends.
    pub(crate) end: u64,
    /// Where it comes from.
    pub(crate) source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// From `at` on, encrypted.
    Encrypted { at: u64 },
    /// From `at` on, as it is.
    Plain { at: u64 },
    /// Zeros, as Windows shows what it keeps for itself.
    Zeros,
    /// Bytes that Windows keeps in changed form, changed back.
    Restored(Vec<u8>),
}

/// Why the places in the metadata make no map.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A place is not at the start of a sector.
    #[error("{what} is at byte {at:#x}, which is not the start of a sector")]
    Unaligned {
        /// What lies there.
        what: &'static str,
        /// Where, in bytes.
        at: u64,
    },
    /// A place lies outside the volume.
    #[error("{what} reaches to byte {end:#x}, but the volume ends at {len_bytes:#x}")]
    Outside {
        /// What lies there.
        what: &'static str,
        /// Where it ends, in bytes.
        end: u64,
        /// Size of the volume in bytes.
        len_bytes: u64,
    },
    /// A part of the volume is in no region of the record of encrypted parts.
    #[error("nothing says whether bytes {start:#x} to {end:#x} are encrypted")]
    NotRecorded {
        /// Its start in bytes.
        start: u64,
        /// Its end in bytes.
        end: u64,
    },
    /// Vista's boot sector could not be read.
    #[error("the boot sector cannot be read: {0}")]
    BootSector(String),
}

/// Sectors 0 to 15 of a Vista volume are never encrypted.
const VISTA_PLAIN_LEN_BYTES: u64 = 0x2000;

impl Layout {
    /// Makes the map; `position` takes the place of what the metadata say about how far the volume is converted.
    pub(crate) fn new(
        volume: &Volume,
        metadata: &Metadata,
        eow: Option<&EowMap>,
        position: Option<u64>,
    ) -> Result<Self, LayoutError> {
        let len_bytes = volume.size_bytes();
        let sector = volume.sector_size().bytes_u64();
        let mut builder = Builder {
            sector,
            len_bytes,
            pieces: Vec::new(),
        };

        let encrypted = encrypted_parts(metadata, eow, position, len_bytes)?;
        // What lies where it belongs, then, over it, what does not.
        builder.base(&encrypted, eow, volume, metadata)?;
        let region = volume.metadata_region_len_bytes();
        for offset in volume.metadata_offsets().into_iter().flatten() {
            builder.zeros("a metadata copy", offset..offset.saturating_add(region))?;
        }
        if let Some(eow) = eow {
            for reserved in eow.reserved() {
                builder.zeros("the record of encrypted parts", outward(reserved, sector))?;
            }
        }
        if metadata.block().current_state == 2 {
            let (start, len) = (
                metadata.block().state_offset,
                u64::from(metadata.block().state_len_bytes),
            );
            builder.zeros(
                "the conversion log",
                outward(&(start..start.saturating_add(len)), sector),
            )?;
        }
        match metadata.virtualized(sector) {
            Some(moved) => {
                let home = moved.offset..moved.offset.saturating_add(moved.len_bytes);
                builder.zeros("the moved boot sectors", home.clone())?;
                if home.end > len_bytes {
                    return Err(LayoutError::Outside {
                        what: "the moved boot sectors",
                        end: home.end,
                        len_bytes,
                    });
                }
                builder.relocate(0..moved.len_bytes, moved.offset, &encrypted)?;
            }
            None => builder.vista_boot_sectors(volume, metadata)?,
        }
        let restored = volume.restored_start();
        let end = (restored.len() as u64).min(len_bytes);
        builder.lay(
            0..end,
            vec![Piece {
                start: 0,
                end,
                source: Source::Restored(restored.to_vec()),
            }],
        );
        Ok(Self {
            pieces: builder.pieces,
            len_bytes,
        })
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Returns the piece that holds a byte of the plaintext.
    pub(crate) fn piece_at(&self, offset: u64) -> Option<&Piece> {
        let index = self.pieces.partition_point(|piece| piece.end <= offset);
        self.pieces.get(index)
    }

    pub(crate) fn has_encrypted_parts(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece.source, Source::Encrypted { .. }))
    }
}

/// Whether a physical byte is encrypted, as ranges from 0 to the end of the volume.
fn encrypted_parts(
    metadata: &Metadata,
    eow: Option<&EowMap>,
    position: Option<u64>,
    len_bytes: u64,
) -> Result<Vec<(Range<u64>, bool)>, LayoutError> {
    let block = metadata.block();
    let boundary = match metadata.conversion() {
        Conversion::Decrypted => return Ok(vec![(0..len_bytes, false)]),
        _ if eow.is_some() => return Ok(eow.map(|eow| eow.parts().to_vec()).unwrap_or_default()),
        // Vista, and early metadata without a size, know no part that is left out.
        Conversion::Encrypted if block.version == 1 || block.state_offset == 0 => len_bytes,
        _ => position.unwrap_or(block.state_offset).min(len_bytes),
    };
    Ok(vec![(0..boundary, true), (boundary..len_bytes, false)])
}

/// Widens a range to whole sectors.
fn outward(range: &Range<u64>, sector: u64) -> Range<u64> {
    range.start / sector * sector..range.end.checked_next_multiple_of(sector).unwrap_or(range.end)
}

struct Builder {
    sector: u64,
    len_bytes: u64,
    pieces: Vec<Piece>,
}

impl Builder {
    /// Lays everything where it is on the volume.
    fn base(
        &mut self,
        encrypted: &[(Range<u64>, bool)],
        eow: Option<&EowMap>,
        volume: &Volume,
        metadata: &Metadata,
    ) -> Result<(), LayoutError> {
        let moved_len = metadata
            .virtualized(self.sector)
            .map_or(0, |moved| moved.len_bytes);
        let mut at = 0;
        for (range, is_encrypted) in encrypted {
            let (start, end) = (range.start.max(at), range.end.min(self.len_bytes));
            if start >= end {
                continue;
            }
            if at < start {
                self.gap(at..start, eow, volume, moved_len)?;
            }
            for place in [start, end] {
                if !place.is_multiple_of(self.sector) {
                    return Err(LayoutError::Unaligned {
                        what: "the end of the encrypted part",
                        at: place,
                    });
                }
            }
            self.push(Piece {
                start,
                end,
                source: source(*is_encrypted, start),
            });
            at = end;
        }
        if at < self.len_bytes {
            self.gap(at..self.len_bytes, eow, volume, moved_len)?;
        }
        Ok(())
    }

    /// Lays down a part that no region records: the moved sectors and what Windows keeps for itself need no record,
    /// anything else is an error.
    fn gap(
        &mut self,
        gap: Range<u64>,
        eow: Option<&EowMap>,
        volume: &Volume,
        moved_len: u64,
    ) -> Result<(), LayoutError> {
        let region = volume.metadata_region_len_bytes();
        let metadata = volume
            .metadata_offsets()
            .into_iter()
            .flatten()
            .map(|at| at..at.saturating_add(region));
        let mut known: Vec<Range<u64>> = metadata.chain(std::iter::once(0..moved_len)).collect();
        known.extend(
            eow.iter()
                .flat_map(|eow| eow.reserved())
                .map(|range| outward(range, self.sector)),
        );
        known.sort_by_key(|range| range.start);
        let mut at = gap.start;
        for range in known {
            if range.start <= at && range.end > at {
                at = range.end;
            }
        }
        if at < gap.end {
            return Err(LayoutError::NotRecorded {
                start: at,
                end: gap.end,
            });
        }
        self.push(Piece {
            start: gap.start,
            end: gap.end,
            source: Source::Zeros,
        });
        Ok(())
    }

    fn push(&mut self, piece: Piece) {
        if piece.start < piece.end {
            self.pieces.push(piece);
        }
    }

    /// Blanks what Windows keeps for itself. Past the end of a volume that was shrunk there is nothing to blank.
    fn zeros(&mut self, what: &'static str, range: Range<u64>) -> Result<(), LayoutError> {
        if !range.start.is_multiple_of(self.sector) {
            return Err(LayoutError::Unaligned {
                what,
                at: range.start,
            });
        }
        let range = outward(&range, self.sector);
        let range = range.start.min(self.len_bytes)..range.end.min(self.len_bytes);
        self.lay(
            range.clone(),
            vec![Piece {
                start: range.start,
                end: range.end,
                source: Source::Zeros,
            }],
        );
        Ok(())
    }

    /// Shows `range` from its new home at `at`, encrypted or not as that place is.
    fn relocate(
        &mut self,
        range: Range<u64>,
        at: u64,
        encrypted: &[(Range<u64>, bool)],
    ) -> Result<(), LayoutError> {
        for place in [range.end, at] {
            if !place.is_multiple_of(self.sector) {
                return Err(LayoutError::Unaligned {
                    what: "the moved boot sectors",
                    at: place,
                });
            }
        }
        let home = at..at + (range.end - range.start);
        let mut pieces = Vec::new();
        let mut covered = home.start;
        for (part, is_encrypted) in encrypted {
            let (start, end) = (part.start.max(home.start), part.end.min(home.end));
            if start < end {
                let logical = range.start + (start - home.start);
                pieces.push(Piece {
                    start: logical,
                    end: logical + (end - start),
                    source: source(*is_encrypted, start),
                });
                covered = end;
            }
        }
        let whole: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        if whole != range.end - range.start {
            return Err(LayoutError::NotRecorded {
                start: covered,
                end: home.end,
            });
        }
        self.lay(range, pieces);
        Ok(())
    }

    /// Puts pieces that fill `range` in the place of what was there.
    fn lay(&mut self, range: Range<u64>, new: Vec<Piece>) {
        if range.start >= range.end {
            return;
        }
        let first = self.pieces.partition_point(|piece| piece.end <= range.start);
        let last = self.pieces.partition_point(|piece| piece.start < range.end);
        let mut replaced = Vec::with_capacity(new.len() + 2);
        if let Some(piece) = self.pieces.get(first).filter(|piece| piece.start < range.start) {
            replaced.push(part_of(piece, piece.start..range.start));
        }
        replaced.extend(new);
        if let Some(piece) = last.checked_sub(1).and_then(|last| self.pieces.get(last))
            && piece.end > range.end
        {
            replaced.push(part_of(piece, range.end..piece.end));
        }
        self.pieces.splice(first..last.max(first), replaced);
    }

    /// Vista keeps the boot sectors in place and changes two fields (format spec 1.3).
    fn vista_boot_sectors(&mut self, volume: &Volume, metadata: &Metadata) -> Result<(), LayoutError> {
        let sector = self.sector as usize;
        let restored = |at: u64| -> Result<Option<Vec<u8>>, LayoutError> {
            let mut bytes = read_up_to(volume.device(), at, sector)
                .map_err(|error| LayoutError::BootSector(error.to_string()))?;
            if bytes.len() != sector || bytes[3..11] != *b"-FVE-FS-" || bytes[510..512] != [0x55, 0xaa] {
                return Ok(None);
            }
            bytes[3..11].copy_from_slice(b"NTFS    ");
            bytes[0x38..0x40].copy_from_slice(&metadata.block().virtualized_offset.to_le_bytes());
            Ok(Some(bytes))
        };
        let plain = 0..VISTA_PLAIN_LEN_BYTES.min(self.len_bytes);
        let first = restored(0)?;
        self.lay(
            plain.clone(),
            vec![Piece {
                start: 0,
                end: plain.end,
                source: Source::Plain { at: 0 },
            }],
        );
        if let Some(bytes) = first {
            let end = bytes.len() as u64;
            self.lay(
                0..end,
                vec![Piece {
                    start: 0,
                    end,
                    source: Source::Restored(bytes),
                }],
            );
        }
        // Readers differ over the last sector, NTFS' copy of the first (format spec 8, 3): it tells by itself whether
        // it is in the clear.
        if let Some(last) = self.len_bytes.checked_sub(self.sector)
            && let Ok(Some(bytes)) = restored(last)
        {
            let end = self.len_bytes;
            self.lay(
                last..end,
                vec![Piece {
                    start: last,
                    end,
                    source: Source::Restored(bytes),
                }],
            );
        }
        Ok(())
    }
}

fn source(encrypted: bool, at: u64) -> Source {
    if encrypted {
        Source::Encrypted { at }
    } else {
        Source::Plain { at }
    }
}

fn part_of(piece: &Piece, range: Range<u64>) -> Piece {
    let skipped = range.start - piece.start;
    let source = match &piece.source {
        Source::Encrypted { at } => Source::Encrypted { at: at + skipped },
        Source::Plain { at } => Source::Plain { at: at + skipped },
        Source::Zeros => Source::Zeros,
        Source::Restored(bytes) => {
            let end = (range.end - piece.start) as usize;
            Source::Restored(bytes[skipped as usize..end].to_vec())
        }
    };
    Piece {
        start: range.start,
        end: range.end,
        source,
    }
}
