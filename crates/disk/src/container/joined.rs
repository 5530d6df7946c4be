//! A disk that is made of pieces, one behind the other.

use super::fault::Fault;
use super::mapped::{Kept, Mapped, Plan, Run};
use crate::device::Device;

/// A piece of a disk.
#[derive(Debug)]
pub(super) struct Piece {
    /// What has its content; zeros if it is nowhere.
    pub(super) content: Option<Device>,
    /// Where the piece begins in that.
    pub(super) offset: u64,
    /// How many bytes it has.
    pub(super) len_bytes: u64,
}

/// Pieces, one behind the other.
#[derive(Debug)]
pub(super) struct Joined {
    /// Where each begins in the disk, and what it is; in order.
    pieces: Vec<(u64, Piece)>,
    len_bytes: u64,
}

impl Joined {
    /// Makes a device of pieces; `None` if it would be longer than any device is.
    pub(super) fn of(pieces: Vec<Piece>) -> Option<Mapped<Self>> {
        let mut len_bytes = 0u64;
        let mut placed = Vec::with_capacity(pieces.len());
        for piece in pieces.into_iter().filter(|piece| piece.len_bytes > 0) {
            let start = len_bytes;
            len_bytes = len_bytes
                .checked_add(piece.len_bytes)
                .filter(|len| i64::try_from(*len).is_ok())?;
            placed.push((start, piece));
        }
        let joined = Self {
            pieces: placed,
            len_bytes,
        };
        Some(Mapped::new(joined, None))
    }
}

impl Plan for Joined {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn run_at(&self, offset: u64) -> Result<Run, Fault> {
        let number = self
            .pieces
            .partition_point(|(start, _)| *start <= offset)
            .saturating_sub(1);
        let (start, piece) = self
            .pieces
            .get(number)
            .ok_or_else(|| Fault::damaged("it has no pieces"))?;
        let within = offset.saturating_sub(*start);
        Ok(Run {
            kept: match piece.content {
                None => Kept::Zeros,
                Some(_) => Kept::AsIs {
                    file: number,
                    offset: piece.offset.saturating_add(within),
                },
            },
            len_bytes: piece.len_bytes.saturating_sub(within),
        })
    }

    fn file(&self, number: usize) -> Option<&Device> {
        self.pieces.get(number)?.1.content.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance;

    #[test]
    fn pieces_are_one_device() {
        let first: Vec<u8> = (0..5000u32).flat_map(u32::to_le_bytes).collect();
        let second = vec![9; 3000];
        let pieces = vec![
            Piece {
                content: Some(Arc::new(first.clone())),
                offset: 100,
                len_bytes: 10_000,
            },
            Piece {
                content: None,
                offset: 0,
                len_bytes: 7777,
            },
            Piece {
                content: None,
                offset: 0,
                len_bytes: 0,
            },
            Piece {
                content: Some(Arc::new(second.clone())),
                offset: 0,
                len_bytes: 3000,
            },
        ];
        let expected = [&first[100..10_100], &[0; 7777], &second].concat();
        conformance::check(&Joined::of(pieces).expect("short enough"), &expected);
    }

    #[test]
    fn what_is_too_long_is_no_device() {
        let piece = |len_bytes| Piece {
            content: None,
            offset: 0,
            len_bytes,
        };
        assert!(Joined::of(vec![piece(u64::MAX / 2)]).is_some());
        assert!(Joined::of(vec![piece(u64::MAX / 2), piece(1)]).is_none());
        assert!(Joined::of(vec![piece(u64::MAX), piece(u64::MAX)]).is_none());
    }
}
