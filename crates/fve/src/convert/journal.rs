//! The new content of the sectors that a conversion is about to change, kept where it survives a loss of power.
//!
//! A sector that is being overwritten when the power goes may hold anything afterwards, and then neither its old nor its
//! new content could be told. So what a step will write is written to the journal first and brought to the medium; only
//! then is it written in place. The journal lies in a part of the volume that the file system does not use, and has two
//! slots that take turns:
//!
//! ```text
//! slot 0: header (4096 bytes) | new content of the runs, one behind the other
//! slot 1: the same
//! ```
//!
//! | header at | length | field |
//! |---|---|---|
//! | 0 | 16 | `KEYHAVEN JOURNAL` |
//! | 16 | 4 | version, 1 |
//! | 20 | 4 | the state that the volume is going to: 4 encrypted, 1 decrypted |
//! | 24 | 8 | number of the step, which also says the slot |
//! | 32 | 8 | how far the volume was converted before the step, in bytes |
//! | 40 | 8 | how far it is after it |
//! | 48 | 8 | number of runs |
//! | 56 | 8 | 0 |
//! | 64 | 32 | SHA-256 of the content |
//! | 96 | 32 | salt of the journal's key |
//! | 128 | 80 | SHA-256 of all other bytes of the header, sealed under the journal's key |
//! | 256 | 16 each | the runs: offset and length in bytes |
//!
//! The key is made of the volume's sector key and the salt, which is drawn anew each time a conversion begins or goes on;
//! the nonce is the number of the step. So no record can be made or changed by who does not have the key, and rotating
//! the master key in between does no harm.

use std::ops::Range;

use keyhaven_crypto::{Secret, SecretBytes};
use keyhaven_disk::{Device, ReadError};

use super::Direction;
use super::plan::Batch;
use crate::format::datum::{Datum, SealedDatum, Value, key_type, kind, role};
use crate::keys::FullVolumeEncryptionKey;

const MAGIC: [u8; 16] = *b"KEYHAVEN JOURNAL";
const VERSION: u32 = 1;
pub(super) const HEADER_LEN: usize = 4096;
const SEAL: Range<usize> = 128..208;
/// Length, role, type and flags of the box.
const SEAL_FRAME: [u8; 8] = [80, 0, role::PROPERTY as u8, 0, kind::SEALED as u8, 0, 1, 0];
const RUNS_AT: usize = 256;
const RUN_LEN: usize = 16;

/// The most runs that a record can have.
pub(super) const MAX_RUNS: usize = (HEADER_LEN - RUNS_AT) / RUN_LEN;

/// The least content that a slot must have room for: the moved sectors are converted in one step.
const MIN_CONTENT_LEN: u64 = 16 * 1024;

/// The most that it is given: more would not be faster, and three times as much is in memory.
const MAX_CONTENT_LEN: u64 = 8 << 20;

/// The least room in which a journal can be kept, in bytes.
pub const MIN_JOURNAL_LEN_BYTES: u64 = 2 * (HEADER_LEN as u64 + MIN_CONTENT_LEN);

/// The room that a journal makes use of, in bytes.
pub const MAX_JOURNAL_LEN_BYTES: u64 = 2 * (HEADER_LEN as u64 + MAX_CONTENT_LEN);

/// No step begins here: marks a slot that is ours and has no step.
const NOWHERE: u64 = u64::MAX;

/// Where a journal lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    /// Its two slots, in bytes from the start of the volume.
    area: Range<u64>,
    slot_len: u64,
}

impl Journal {
    /// Lays a journal into `area`, as much of it as is of use; `None` where that is too small.
    pub(super) fn within(area: &Range<u64>, sector: u64) -> Option<Self> {
        let start = area.start.checked_next_multiple_of(sector)?;
        let len = area.end.checked_sub(start)?.min(MAX_JOURNAL_LEN_BYTES);
        let slot_len = len / 2 / sector * sector;
        Self::at(start, slot_len.checked_mul(2)?)
    }

    /// Finds a journal of a known place and length again.
    pub(super) fn at(start: u64, len_bytes: u64) -> Option<Self> {
        let end = start.checked_add(len_bytes)?;
        let fits = (MIN_JOURNAL_LEN_BYTES..=MAX_JOURNAL_LEN_BYTES).contains(&len_bytes);
        fits.then_some(Self {
            area: start..end,
            slot_len: len_bytes / 2,
        })
    }

    pub(super) fn area(&self) -> &Range<u64> {
        &self.area
    }

    /// Returns how much a step can change, in bytes.
    pub(super) fn content_len(&self, sector: u64) -> u64 {
        self.slot_len.saturating_sub(HEADER_LEN as u64) / sector * sector
    }

    /// Returns where the header of a step lies; the content follows it.
    pub(super) fn slot(&self, sequence: u64) -> u64 {
        self.area.start + sequence % 2 * self.slot_len
    }
}

/// A step as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) direction: Direction,
    pub(super) sequence: u64,
    pub(super) batch: Batch,
    pub(super) content_sha256: [u8; 32],
}

impl Record {
    /// Makes the record of a slot that has no step.
    pub(super) fn empty(direction: Direction, sequence: u64) -> Self {
        Self {
            direction,
            sequence,
            batch: Batch {
                from: NOWHERE,
                to: NOWHERE,
                runs: Vec::new(),
            },
            content_sha256: keyhaven_crypto::sha256(&[]),
        }
    }

    /// Writes the header. The batch has at most [`MAX_RUNS`] runs.
    pub(super) fn to_header(&self, fvek: &FullVolumeEncryptionKey, salt: &[u8; 32]) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&u32::from(self.direction.state()).to_le_bytes());
        let count = self.batch.runs.len() as u64;
        for field in [self.sequence, self.batch.from, self.batch.to, count, 0] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        header.extend_from_slice(&self.content_sha256);
        header.extend_from_slice(salt);
        header.resize(RUNS_AT, 0);
        for run in &self.batch.runs {
            header.extend_from_slice(&run.start.to_le_bytes());
            header.extend_from_slice(&(run.end - run.start).to_le_bytes());
        }
        header.resize(HEADER_LEN, 0);

        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.sequence.to_le_bytes());
        let hash = SecretBytes::copy_of(&keyhaven_crypto::sha256(&header));
        let sealed = SealedDatum::seal_key(&key(fvek, salt), nonce, key_type::HASH_256, hash);
        let seal = Datum::new(role::PROPERTY, kind::SEALED, Value::Sealed(sealed)).to_bytes();
        header[SEAL].copy_from_slice(&seal);
        header
    }

    /// Reads a header; `None` unless it was made with this key and is unaltered.
    pub(super) fn from_header(header: &[u8], fvek: &FullVolumeEncryptionKey) -> Option<Self> {
        let mut header: [u8; HEADER_LEN] = header.try_into().ok()?;
        if header[..16] != MAGIC || u32_at(&header, 16)? != VERSION {
            return None;
        }
        let seal = Datum::read_list(&header[SEAL]).ok()?;
        // Nothing covers the box's own frame.
        if seal.first()?.to_bytes()[..8] != SEAL_FRAME {
            return None;
        }
        header[SEAL].fill(0);
        let salt: [u8; 32] = header[96..128].try_into().ok()?;
        let Value::Sealed(sealed) = &seal.first()?.value else {
            return None;
        };
        let hash = sealed.open_key(&key(fvek, &salt))?;
        if *hash.key.expose_secret() != keyhaven_crypto::sha256(&header) {
            return None;
        }
        let count = usize::try_from(u64_at(&header, 48)?)
            .ok()
            .filter(|count| *count <= MAX_RUNS)?;
        let runs = (0..count).map(|index| {
            let at = RUNS_AT + index * RUN_LEN;
            let start = u64_at(&header, at)?;
            Some(start..start.checked_add(u64_at(&header, at + 8)?)?)
        });
        Some(Self {
            direction: Direction::to_state(u16::try_from(u32_at(&header, 20)?).ok()?)?,
            sequence: u64_at(&header, 24)?,
            batch: Batch {
                from: u64_at(&header, 32)?,
                to: u64_at(&header, 40)?,
                runs: runs.collect::<Option<_>>()?,
            },
            content_sha256: header[64..96].try_into().ok()?,
        })
    }
}

fn key(fvek: &FullVolumeEncryptionKey, salt: &[u8; 32]) -> Secret<32> {
    let seed: Secret<112> = Secret::init_with(|seed| {
        seed[..16].copy_from_slice(&MAGIC);
        seed[16..48].copy_from_slice(salt);
        seed[48..].copy_from_slice(fvek.key().expose_secret());
    });
    seed.sha256()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

/// The steps that may not have come to an end when the conversion broke off.
#[derive(Debug)]
pub(super) struct Pending {
    /// In their order; at most two.
    pub(super) records: Vec<(Record, Vec<u8>)>,
    /// Whether the slots are of a journal of this volume at all.
    pub(super) is_ours: bool,
}

impl Pending {
    /// Finds the steps that lead on from `position`, each with its content.
    pub(super) fn find(
        device: &Device,
        journal: &Journal,
        fvek: &FullVolumeEncryptionKey,
        direction: Direction,
        position: u64,
    ) -> Result<Self, ReadError> {
        let mut found = Vec::new();
        let mut is_ours = false;
        for slot in 0..2 {
            let mut header = vec![0; HEADER_LEN];
            device.read_at(journal.slot(slot), &mut header)?;
            let Some(record) = Record::from_header(&header, fvek) else {
                continue;
            };
            is_ours = true;
            let len_bytes = record.batch.len_bytes();
            let fits = len_bytes <= journal.slot_len - HEADER_LEN as u64;
            if record.direction != direction
                || record.sequence % 2 != slot
                || record.batch.from == NOWHERE
                || !fits
            {
                continue;
            }
            let mut content = vec![0; len_bytes as usize];
            device.read_at(journal.slot(slot) + HEADER_LEN as u64, &mut content)?;
            // Torn while it was written: then nothing was written in place.
            if keyhaven_crypto::sha256(&content) == record.content_sha256 {
                found.push((record, content));
            }
        }
        let mut records = Vec::new();
        let mut at = position;
        while let Some(next) = found.iter().position(|(record, _)| record.batch.from == at) {
            let (record, content) = found.swap_remove(next);
            at = record.batch.to;
            records.push((record, content));
        }
        Ok(Self { records, is_ours })
    }

    /// Returns how far the volume is converted when the steps are done.
    pub(super) fn position(&self) -> Option<u64> {
        self.records.last().map(|(record, _)| record.batch.to)
    }

    /// Returns each run of sectors with its new content, in the order of the steps.
    pub(super) fn writes(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.records.iter().flat_map(|(record, content)| {
            let mut rest = content.as_slice();
            record.batch.runs.iter().map_while(move |run| {
                let (bytes, after) = rest.split_at_checked(usize::try_from(run.end - run.start).ok()?)?;
                rest = after;
                Some((run.start, bytes))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::EncryptionMethod;

    fn fvek(byte: u8) -> FullVolumeEncryptionKey {
        FullVolumeEncryptionKey::from_slice(EncryptionMethod::AesXts128, &[byte; 32])
            .expect("the right length")
    }

    fn record(sequence: u64, from: u64, to: u64, content: &[u8]) -> Record {
        let len = content.len() as u64;
        Record {
            direction: Direction::Encrypt,
            sequence,
            batch: Batch {
                from,
                to,
                runs: vec![from..from + len / 2, to - (len - len / 2)..to],
            },
            content_sha256: keyhaven_crypto::sha256(content),
        }
    }

    #[test]
    fn a_header_is_read_with_its_own_key_only_and_no_bit_can_be_changed() {
        let record = record(7, 4096, 16384, &[5; 2048]);
        let header = record.to_header(&fvek(1), &[9; 32]);
        assert_eq!(Record::from_header(&header, &fvek(1)), Some(record));
        assert_eq!(Record::from_header(&header, &fvek(2)), None);
        for at in (0..HEADER_LEN).step_by(3) {
            let mut changed = header.clone();
            changed[at] ^= 0x10;
            assert_eq!(Record::from_header(&changed, &fvek(1)), None, "byte {at}");
        }
        assert_eq!(Record::from_header(&header[1..], &fvek(1)), None);
    }

    #[test]
    fn the_fullest_header_has_room() {
        let mut record = record(1, 0, 1 << 40, &[]);
        record.batch.runs = (0..MAX_RUNS as u64).map(|i| i * 1024..i * 1024 + 512).collect();
        let header = record.to_header(&fvek(1), &[0; 32]);
        assert_eq!(header.len(), HEADER_LEN);
        assert_eq!(Record::from_header(&header, &fvek(1)), Some(record));
    }

    /// A volume whose journal has two steps, one after the other.
    fn two_steps() -> (Journal, Vec<u8>) {
        let journal = Journal::within(&(100..200_000), 512).expect("large enough");
        let mut volume = vec![0u8; 300_000];
        for (record, content) in [
            (record(4, 1000, 5000, &[1; 512]), [1; 512]),
            (record(5, 5000, 9000, &[2; 512]), [2; 512]),
        ] {
            let at = journal.slot(record.sequence) as usize;
            volume[at..at + HEADER_LEN].copy_from_slice(&record.to_header(&fvek(1), &[3; 32]));
            volume[at + HEADER_LEN..at + HEADER_LEN + 512].copy_from_slice(&content);
        }
        (journal, volume)
    }

    #[test]
    fn steps_that_lead_on_are_found_in_their_order() {
        let (journal, volume) = two_steps();
        let find = |volume: &[u8], position, direction| {
            let device: Device = Arc::new(volume.to_vec());
            Pending::find(&device, &journal, &fvek(1), direction, position).expect("readable")
        };
        let both = find(&volume, 1000, Direction::Encrypt);
        assert_eq!(both.position(), Some(9000));
        let writes: Vec<_> = both
            .writes()
            .map(|(at, bytes)| (at, bytes[0], bytes.len()))
            .collect();
        assert_eq!(
            writes,
            [(1000, 1, 256), (4744, 1, 256), (5000, 2, 256), (8744, 2, 256)]
        );
        assert_eq!(find(&volume, 5000, Direction::Encrypt).position(), Some(9000));
        assert_eq!(find(&volume, 9000, Direction::Encrypt).position(), None);
        let backwards = find(&volume, 1000, Direction::Decrypt);
        assert!(backwards.is_ours && backwards.records.is_empty());

        let mut torn = volume.clone();
        torn[journal.slot(5) as usize + HEADER_LEN] ^= 1;
        assert_eq!(find(&torn, 1000, Direction::Encrypt).position(), Some(5000));
        torn[journal.slot(4) as usize + HEADER_LEN] ^= 1;
        let neither = find(&torn, 1000, Direction::Encrypt);
        assert!(neither.is_ours && neither.records.is_empty());
        assert!(!find(&[0; 300_000], 1000, Direction::Encrypt).is_ours);
    }

    #[test]
    fn a_journal_takes_what_is_of_use() {
        assert_eq!(Journal::within(&(0..MIN_JOURNAL_LEN_BYTES - 1), 512), None);
        assert_eq!(Journal::within(&(1..MIN_JOURNAL_LEN_BYTES), 512), None);
        assert!(Journal::within(&(1..MIN_JOURNAL_LEN_BYTES + 512), 512).is_some());
        let large = Journal::within(&(4096..1 << 40), 4096).expect("large enough");
        assert_eq!(large.area(), &(4096..4096 + MAX_JOURNAL_LEN_BYTES));
        assert_eq!(large.content_len(4096), MAX_CONTENT_LEN);
        assert_eq!(Journal::at(4096, MAX_JOURNAL_LEN_BYTES), Some(large));
        for (start, len) in [(u64::MAX - 5, MIN_JOURNAL_LEN_BYTES), (0, 0), (0, u64::MAX)] {
            assert_eq!(Journal::at(start, len), None);
        }
    }
}
