//! The plaintext of a volume, as a device.

use keyhaven_crypto::{SectorCipher, SectorSize};
use keyhaven_disk::{BlockDevice, Device, ReadError};

use crate::layout::{Layout, Piece, Source};
use crate::writable::NotWritable;

/// An unlocked volume: reading it decrypts.
///
/// What Windows keeps for itself (metadata, the moved boot sectors) reads as zeros, as it does on Windows.
#[derive(Debug)]
pub struct UnlockedVolume {
    device: Device,
    layout: Layout,
    cipher: Option<SectorCipher>,
    sector_size: SectorSize,
    /// What [`writable`](Self::writable) will say.
    pub(crate) may_be_written: Result<(), NotWritable>,
    shows_unwritten_as_zeros: bool,
}

impl UnlockedVolume {
    pub(crate) fn new(
        device: Device,
        layout: Layout,
        cipher: Option<SectorCipher>,
        sector_size: SectorSize,
        may_be_written: Result<(), NotWritable>,
    ) -> Self {
        Self {
            device,
            layout,
            cipher,
            sector_size,
            may_be_written,
            shows_unwritten_as_zeros: false,
        }
    }

    /// Shows sectors whose ciphertext is all zeros as zeros, instead of the noise that they decrypt to.
    ///
    /// No data encrypt to that: such a sector was never written, or given up (trimmed), and no file has it. Holes of the
    /// device are holes of the plaintext then.
    #[must_use]
    pub fn with_unwritten_as_zeros(mut self) -> Self {
        self.shows_unwritten_as_zeros = true;
        self
    }

    /// Decrypts whole sectors that were read at byte `at` of the volume.
    pub(crate) fn decrypt(&self, at: u64, run: &mut [u8]) {
        let (cipher, sector_size) = self.cipher();
        if !self.shows_unwritten_as_zeros {
            return cipher.decrypt(at, run);
        }
        let sector = sector_size.bytes();
        let (mut at, mut rest) = (at, run);
        while !rest.is_empty() {
            let unwritten = leading(rest, sector, is_zero);
            rest = &mut rest[unwritten..];
            at += unwritten as u64;
            let written = leading(rest, sector, |sector| !is_zero(sector));
            let (part, after) = rest.split_at_mut(written);
            cipher.decrypt(at, part);
            at += written as u64;
            rest = after;
        }
    }

    /// Returns the piece that holds a byte of the plaintext.
    pub(crate) fn piece_at(&self, offset: u64) -> Option<&Piece> {
        self.layout.piece_at(offset)
    }

    /// Returns what encrypted pieces are encrypted with, and in which unit.
    pub(crate) fn cipher(&self) -> (&SectorCipher, SectorSize) {
        let Some(cipher) = &self.cipher else {
            unreachable!("a layout with encrypted parts comes with a cipher")
        };
        (cipher, self.sector_size)
    }

    /// Fills `buf` from one piece, which holds all of it.
    fn read_piece(&self, piece: &Piece, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let skipped = offset - piece.start;
        match &piece.source {
            Source::Zeros => {
                buf.fill(0);
                Ok(())
            }
            Source::Plain { at } => self
                .device
                .read_at(at + skipped, buf)
                .map_err(|error| at_logical(error, offset)),
            Source::Restored(bytes) => {
                let from = skipped as usize;
                buf.copy_from_slice(&bytes[from..from + buf.len()]);
                Ok(())
            }
            Source::Encrypted { at } => self
                .read_encrypted(at + skipped, buf)
                .map_err(|error| at_logical(error, offset)),
        }
    }

    /// Decrypts any run of bytes; sectors that are only needed in part go through a buffer.
    fn read_encrypted(&self, at: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let sector = self.sector_size.bytes_u64();
        let whole = |at: u64, run: &mut [u8]| -> Result<(), ReadError> {
            self.device.read_at(at, run)?;
            self.decrypt(at, run);
            Ok(())
        };
        let mut at = at;
        let mut buf = buf;
        while !buf.is_empty() {
            let within = (at % sector) as usize;
            let full = buf.len() / sector as usize * sector as usize;
            if within == 0 && full > 0 {
                let (run, rest) = buf.split_at_mut(full);
                whole(at, run)?;
                at += full as u64;
                buf = rest;
            } else {
                let mut one = [0; 4096];
                let one = &mut one[..sector as usize];
                whole(at - within as u64, one)?;
                let part = &one[within..];
                let len = part.len().min(buf.len());
                let (run, rest) = buf.split_at_mut(len);
                run.copy_from_slice(&part[..len]);
                at += len as u64;
                buf = rest;
            }
        }
        Ok(())
    }
}

impl BlockDevice for UnlockedVolume {
    fn len_bytes(&self) -> u64 {
        self.layout.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.sector_size.bytes() as u32
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset, buf.len() as u64, self.len_bytes())?;
        let mut offset = offset;
        let mut buf = buf;
        while !buf.is_empty() {
            let Some(piece) = self.layout.piece_at(offset) else {
                return Err(ReadError::PastEnd {
                    offset,
                    len_bytes: buf.len() as u64,
                    end: offset,
                });
            };
            let len = usize::try_from(piece.end - offset).map_or(buf.len(), |left| left.min(buf.len()));
            let (part, rest) = buf.split_at_mut(len);
            self.read_piece(piece, offset, part)?;
            offset += len as u64;
            buf = rest;
        }
        Ok(())
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        match self.layout.piece_at(offset) {
            Some(piece) => {
                let len = len.min(piece.end - offset);
                match piece.source {
                    Source::Zeros => len,
                    Source::Plain { at } => self.device.hole_at(at + (offset - piece.start), len),
                    Source::Encrypted { at } if self.shows_unwritten_as_zeros => {
                        let at = at + (offset - piece.start);
                        let hole = self.device.hole_at(at, len);
                        // Of a sector that is stored in part nothing is zero.
                        let sector = self.sector_size.bytes_u64();
                        let end = (at + hole) / sector * sector;
                        if at.is_multiple_of(sector) {
                            end.saturating_sub(at)
                        } else {
                            0
                        }
                    }
                    // Stored zeros decrypt to noise.
                    Source::Encrypted { .. } | Source::Restored(_) => 0,
                }
            }
            None => 0,
        }
    }

    fn unreadable_at(&self, offset: u64, len: u64) -> u64 {
        let Some(piece) = self.layout.piece_at(offset) else {
            return 0;
        };
        let len = len.min(piece.end - offset);
        let (at, unit) = match piece.source {
            Source::Zeros | Source::Restored(_) => return 0,
            Source::Plain { at } => (at + (offset - piece.start), 1),
            Source::Encrypted { at } => (at + (offset - piece.start), self.sector_size.bytes_u64()),
        };
        if at >= self.device.len_bytes() {
            return len;
        }
        match self.device.unreadable_at(at, len) {
            0 => 0,
            // Of a sector that is there in part nothing can be decrypted.
            unreadable => (at + unreadable)
                .next_multiple_of(unit)
                .saturating_sub(at)
                .min(len),
        }
    }
}

/// Returns how many bytes of whole sectors in front of `run` are all as `is` says.
fn leading(run: &[u8], sector: usize, is: impl Fn(&[u8]) -> bool) -> usize {
    run.chunks(sector).take_while(|sector| is(sector)).count() * sector
}

fn is_zero(sector: &[u8]) -> bool {
    // What is encrypted is told by its first bytes.
    sector
        .chunks(64)
        .all(|line| line.iter().fold(0, |seen, byte| seen | byte) == 0)
}

/// Restates an error of the volume's device in the plaintext's offsets.
pub(crate) fn at_logical(error: ReadError, offset: u64) -> ReadError {
    match error {
        ReadError::PastEnd {
            offset: at,
            len_bytes,
            end,
        } => ReadError::PastEnd {
            offset,
            len_bytes,
            end: offset.saturating_add(end.saturating_sub(at)),
        },
        ReadError::Io {
            len_bytes, source, ..
        } => ReadError::Io {
            offset,
            len_bytes,
            source,
        },
        other => other,
    }
}
