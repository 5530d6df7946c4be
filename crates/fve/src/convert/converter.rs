//! The conversion itself.

use std::ops::{ControlFlow, Range};

use keyhaven_crypto::{SectorCipher, SectorSize};
use keyhaven_disk::{AlignedBuffer, Writable};

use super::journal::{HEADER_LEN, Journal, MAX_RUNS, Pending, Record};
use super::plan::{Batch, Kept, Plan};
use super::{ACTIVE, ConvertError, Direction, PAUSED, UsedSpace};
use crate::create::REGION_LEN_BYTES;
use crate::edit::{CopyError, write_copy};
use crate::format::FileTime;
use crate::format::block::InformationBlock;
use crate::format::boot_sector;
use crate::format::datum::Value;
use crate::format::virtualization::ExtendedVirtualization;
use crate::keys::{FullVolumeEncryptionKey, VolumeMasterKey};
use crate::metadata::{Conversion, Integrity, Metadata};
use crate::metadata_builder::MetadataBuilder;
use crate::randomness::{self, Randomness};
use crate::state::VolumeFormat;
use crate::volume::{Unlocked, Volume};

/// How far a conversion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many bytes of the volume are done with, whatever of them was left out.
    pub done_bytes: u64,
    /// How many bytes it has.
    pub total_bytes: u64,
}

/// How a conversion came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is complete.
    Done,
    /// It was told to stop, and can be taken up.
    Paused,
}

/// Does two pieces of work, both to their end; at the same time, where the caller has threads.
pub type Both<'a> = dyn Fn(&mut (dyn FnMut() + Send), &mut (dyn FnMut() + Send)) + 'a;

/// Is told how far a conversion is, and asked whether it should go on.
pub type Watch<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Does two pieces of work on this thread.
pub fn one_after_the_other(first: &mut (dyn FnMut() + Send), second: &mut (dyn FnMut() + Send)) {
    first();
    second();
}

/// A volume being encrypted or decrypted in place.
///
/// When it is dropped, the volume is as after a loss of power: it opens, and can be taken up.
#[derive(Debug)]
pub struct Converter {
    medium: Writable,
    direction: Direction,
    sector_size: SectorSize,
    cipher: SectorCipher,
    fvek: FullVolumeEncryptionKey,
    vmk: VolumeMasterKey,
    metadata: MetadataBuilder,
    journal: Journal,
    salt: [u8; 32],
    plan: Plan,
    /// How far the volume is converted.
    position: u64,
    /// The number of the next step.
    sequence: u64,
    /// How much of a metadata copy is not always zeros.
    live_len: usize,
    now: FileTime,
}

/// A step whose new bytes are ready.
struct Step {
    sequence: u64,
    batch: Batch,
    /// Header and content, as the journal has them.
    bytes: AlignedBuffer,
}

impl Step {
    fn len(&self) -> usize {
        HEADER_LEN + self.batch.len_bytes() as usize
    }
}

impl Converter {
    /// Takes up a volume wherever it is: one that is to be decrypted, or whose conversion was paused or broke off.
    ///
    /// `medium` is the device that the volume is on, opened to be written, for this process alone. `free` is a part of
    /// it that the file system does not use, for the journal: [`MIN_JOURNAL_LEN_BYTES`](super::MIN_JOURNAL_LEN_BYTES)
    /// at least. Steps that broke off are done first. The direction may be the other one than before.
    ///
    /// # Errors
    /// [`ConvertError`]; the volume can be opened as before.
    pub fn start(
        volume: &Volume,
        unlocked: Unlocked,
        medium: Writable,
        direction: Direction,
        free: &Range<u64>,
        now: FileTime,
        random: &mut Randomness<'_>,
    ) -> Result<Self, ConvertError> {
        let sector_size = volume.sector_size();
        let sector = sector_size.bytes_u64();
        let len_bytes = medium.len_bytes() / sector * sector;
        check_kind(volume, &unlocked, len_bytes, direction)?;
        let region = read_again(volume, &unlocked)?;
        let mut metadata = MetadataBuilder::read(&region)?;
        let conversion = unlocked.metadata().conversion();
        let log = unlocked.metadata().conversion_log();
        let moved = unlocked.metadata().virtualized(sector).ok_or(VISTA)?;
        let moved = moved.offset..moved.offset.saturating_add(moved.len_bytes);
        let (Some(vmk), Some(fvek)) = unlocked.into_keys() else {
            return Err(ConvertError::NoMasterKey);
        };

        let first = moved.end - moved.start;
        let mut kept: Vec<Range<u64>> = metadata_regions(&metadata);
        let no_journal = || ConvertError::JournalPlace {
            start: free.start,
            end: free.end,
        };
        let journal = Journal::within(free, sector).ok_or_else(no_journal)?;
        let mut taken = kept.clone();
        let outside = [0..first, len_bytes..u64::MAX];
        if kept
            .iter()
            .chain([&moved])
            .any(|place| outside.iter().any(|out| overlap(place, out)))
            || kept.iter().any(|place| overlap(place, &moved))
        {
            return Err(ConvertError::Format(
                "a drive whose metadata contradict each other",
            ));
        }
        taken.extend([moved.clone()]);
        taken.extend(outside);
        if Kept::new(taken).touches(journal.area()) {
            return Err(no_journal());
        }
        kept.push(journal.area().clone());

        let position = match conversion {
            // Where it is not said, or the volume was made smaller since, that is the end.
            Conversion::Encrypted if metadata.block().state_offset == 0 => len_bytes,
            _ => metadata.block().state_offset.clamp(first, len_bytes),
        };
        if [position, moved.start, first]
            .iter()
            .any(|place| !place.is_multiple_of(sector))
        {
            return Err(ConvertError::Format("a drive with a boundary inside a sector"));
        }
        // What broke off may have used nonces that no copy tells of: two at most.
        let counter = &mut metadata.block_mut().dataset.next_nonce_counter;
        *counter = counter.saturating_add(LOST_NONCES);
        let mut converter = Self {
            direction,
            sector_size,
            cipher: fvek.cipher(sector_size),
            fvek,
            vmk,
            metadata,
            plan: Plan {
                first,
                end: len_bytes,
                moved,
                kept: Kept::new(kept),
                used: None,
                max_len: journal.content_len(sector),
                max_runs: MAX_RUNS,
            },
            journal,
            salt: randomness::bytes(random).map_err(ConvertError::Randomness)?,
            position,
            sequence: 0,
            live_len: 0,
            now,
            medium,
        };
        converter.make_copies_alike(&region)?;
        converter.take_up(conversion, log)?;
        converter.activate()?;
        Ok(converter)
    }

    /// Leaves out what holds nothing. What is left out decrypts to noise afterwards, and old content stays readable to
    /// whoever looks at the medium.
    ///
    /// Only encrypting leaves anything out.
    pub fn leave_out_unused(&mut self, mut used: UsedSpace) {
        if self.direction == Direction::Encrypt {
            used.mark(self.plan.moved.clone());
            self.plan.used = Some(used);
        }
    }

    /// Returns how far the conversion is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let total_bytes = self.plan.end;
        Progress {
            done_bytes: match self.direction {
                Direction::Encrypt => self.position,
                Direction::Decrypt => total_bytes - self.position,
            },
            total_bytes,
        }
    }

    /// Converts the volume to its end, or until `watch` says to stop; it is asked after each step.
    ///
    /// Three steps are in memory at a time, 8 MiB each. While one is written and brought to the medium, the step after
    /// the next is read and encrypted: that is what `both` does at once.
    ///
    /// # Errors
    /// [`ConvertError`]; the volume can be opened, and be taken up once the reason is gone.
    pub fn run(mut self, both: &Both<'_>, watch: &mut Watch<'_>) -> Result<Outcome, ConvertError> {
        let mut spare = Vec::new();
        let mut current = self.load(Some(self.position), self.sequence, &mut spare)?;
        if let Some(first) = &mut current {
            self.write_journal(first)?;
            self.medium.flush()?;
        }
        let after_first = current.as_ref().map(|first| first.batch.to);
        let mut next = self.load(after_first, self.sequence + 1, &mut spare)?;
        // What the first metadata copy says already and the others do not.
        let mut lagging: Option<Vec<u8>> = None;
        while let Some(mut step) = current {
            let region = self.seal(ACTIVE, step.batch.to)?;
            let (mut written, mut loaded) = (None, None);
            let ahead = next.as_ref().map(|next| next.batch.to);
            let this = &self;
            both(
                &mut || {
                    written = Some(this.write_step(&mut step, next.as_mut(), lagging.as_deref(), &region));
                },
                &mut || loaded = Some(this.load(ahead, this.sequence + 2, &mut spare)),
            );
            let (Some(written), Some(loaded)) = (written, loaded) else {
                return Err(ConvertError::WorkLeftUndone);
            };
            written?;
            self.position = step.batch.to;
            self.sequence += 1;
            lagging = Some(region);
            spare.push(step.bytes);
            (current, next) = (next, loaded?);
            if let Some(begun) = &mut current
                && watch(self.progress()).is_break()
            {
                // It is in the journal already.
                self.write_in_place(begun)?;
                self.medium.flush()?;
                self.position = begun.batch.to;
                self.settle()?;
                return Ok(Outcome::Paused);
            }
        }
        self.settle()?;
        match self.direction {
            Direction::Encrypt => self.finish_encrypting()?,
            Direction::Decrypt => self.finish_decrypting()?,
        }
        let _ = watch(self.progress());
        Ok(Outcome::Done)
    }

    /// Brings copies that were not written any more to the content of the one in use. From now on all of them say the
    /// same, and nothing that an old one needs is missing when it comes to be read.
    fn make_copies_alike(&self, region: &[u8]) -> Result<(), ConvertError> {
        for offset in self.metadata.block().metadata_offsets {
            let mut there = vec![0; region.len()];
            // What cannot be read is written again too: that is how a drive replaces a bad sector.
            if self.medium.read_at(offset, &mut there).is_err() || there != region {
                self.write_whole_copy(offset, region)?;
            }
        }
        Ok(())
    }

    /// Does the steps that broke off.
    fn take_up(&mut self, conversion: Conversion, log: Option<(u64, u64)>) -> Result<(), ConvertError> {
        let before = match conversion {
            Conversion::Encrypting { paused: false } => Direction::Encrypt,
            Conversion::Decrypting { paused: false } => Direction::Decrypt,
            _ => return Ok(()),
        };
        let (offset, len_bytes) = log.ok_or(ConvertError::NotOurs)?;
        let journal = Journal::at(offset, len_bytes)
            .filter(|journal| journal.area().end <= self.plan.end)
            .ok_or(ConvertError::NotOurs)?;
        let device: keyhaven_disk::Device = self.medium.clone();
        let pending = Pending::find(&device, &journal, &self.fvek, before, self.position)?;
        if !pending.is_ours {
            return Err(ConvertError::NotOurs);
        }
        for (at, bytes) in pending.writes() {
            self.medium.write_at(at, bytes)?;
        }
        self.medium.flush()?;
        self.position = pending.position().unwrap_or(self.position);
        let now = std::mem::replace(&mut self.direction, before);
        let settled = self.settle();
        self.direction = now;
        settled?;
        self.retire(journal.area())
    }

    /// Makes the journal ready and says in the metadata that it is in use.
    fn activate(&mut self) -> Result<(), ConvertError> {
        for _ in 0..2 {
            let empty = Record::empty(self.direction, self.sequence).to_header(&self.fvek, &self.salt);
            self.medium.write_at(self.journal.slot(self.sequence), &empty)?;
            self.sequence += 1;
        }
        self.medium.flush()?;
        let region = self.seal(ACTIVE, self.position)?;
        self.write_all_copies(&region)
    }

    /// Says in the metadata that nothing is under way, and gives the journal's place back.
    fn settle(&mut self) -> Result<(), ConvertError> {
        let region = self.seal(PAUSED, self.position)?;
        self.write_all_copies(&region)?;
        self.retire(&self.journal.area().clone())
    }

    /// Fills what was a journal with what free space holds on an encrypted volume, as far as it is encrypted.
    fn retire(&self, area: &Range<u64>) -> Result<(), ConvertError> {
        let end = area.end.min(self.position);
        let mut at = area.start;
        let mut zeros = AlignedBuffer::new(CHUNK_LEN as usize);
        while at < end {
            let chunk = zeros.first_mut((end - at).min(CHUNK_LEN) as usize);
            chunk.fill(0);
            self.cipher.encrypt(at, chunk);
            self.medium.write_at(at, chunk)?;
            at += chunk.len() as u64;
        }
        self.medium.flush()?;
        Ok(())
    }

    /// The last things of a volume whose sectors are all encrypted.
    fn finish_encrypting(&mut self) -> Result<(), ConvertError> {
        // Behind the boot sector is what was there before; it has been moved, and is seen here by nobody.
        let sector = self.sector_size.bytes();
        let mut behind = vec![0; self.plan.first as usize];
        if let Some(noise) = behind.get_mut(sector..) {
            self.cipher.encrypt(sector as u64, noise);
        }
        self.medium
            .write_at(BOOT_LEN as u64, behind.get(BOOT_LEN..).unwrap_or_default())?;
        self.medium.flush()?;
        let region = self.seal(Direction::Encrypt.state(), self.plan.end)?;
        self.write_all_copies(&region)
    }

    /// The last things of a volume whose sectors are all in the clear. In its last write of 512 bytes it becomes a
    /// plain one; what follows only tidies up.
    fn finish_decrypting(&mut self) -> Result<(), ConvertError> {
        let mut front = vec![0; self.plan.first as usize];
        self.medium.read_at(self.plan.moved.start, &mut front)?;
        let (boot, behind) = front.split_at(BOOT_LEN.min(front.len()));
        self.medium.write_at(BOOT_LEN as u64, behind)?;
        self.medium.flush()?;
        self.medium.write_at(0, boot)?;
        self.medium.flush()?;
        let mut gone = metadata_regions(&self.metadata);
        gone.push(self.plan.moved.clone());
        for range in gone {
            let zeros = vec![0; (range.end - range.start) as usize];
            self.medium.write_at(range.start, &zeros)?;
        }
        self.medium.flush()?;
        Ok(())
    }

    /// Reads what the step from `from` on changes, and changes it; `None` after the last one.
    fn load(
        &self,
        from: Option<u64>,
        sequence: u64,
        spare: &mut Vec<AlignedBuffer>,
    ) -> Result<Option<Step>, ConvertError> {
        let Some(batch) = from.and_then(|from| self.plan.next(from, self.direction)) else {
            return Ok(None);
        };
        let whole = HEADER_LEN.saturating_add(self.plan.max_len as usize);
        let mut bytes = spare.pop().unwrap_or_else(|| AlignedBuffer::new(whole));
        let used = HEADER_LEN.saturating_add(batch.len_bytes() as usize);
        let (header, content) = bytes.first_mut(used).split_at_mut(HEADER_LEN);
        let mut rest = &mut *content;
        for run in &batch.runs {
            let (run_bytes, after) = rest.split_at_mut((run.end - run.start) as usize);
            self.medium.read_at(run.start, run_bytes)?;
            match self.direction {
                Direction::Encrypt => self.cipher.encrypt(run.start, run_bytes),
                Direction::Decrypt => self.cipher.decrypt(run.start, run_bytes),
            }
            rest = after;
        }
        let record = Record {
            direction: self.direction,
            sequence,
            batch,
            content_sha256: keyhaven_crypto::sha256(content),
        };
        header.copy_from_slice(&record.to_header(&self.fvek, &self.salt));
        Ok(Some(Step {
            sequence,
            batch: record.batch,
            bytes,
        }))
    }

    fn write_journal(&self, step: &mut Step) -> Result<(), ConvertError> {
        let at = self.journal.slot(step.sequence);
        let len = step.len();
        Ok(self.medium.write_at(at, step.bytes.first_mut(len))?)
    }

    fn write_in_place(&self, step: &mut Step) -> Result<(), ConvertError> {
        let len = step.len();
        let (_, mut rest) = step.bytes.first_mut(len).split_at(HEADER_LEN);
        for run in &step.batch.runs {
            let (bytes, after) = rest.split_at((run.end - run.start) as usize);
            self.medium.write_at(run.start, bytes)?;
            rest = after;
        }
        Ok(())
    }

    /// Does a step that is in the journal: see the order of writes in the module's documentation.
    fn write_step(
        &self,
        step: &mut Step,
        next: Option<&mut Step>,
        lagging: Option<&[u8]>,
        region: &[u8],
    ) -> Result<(), ConvertError> {
        self.write_in_place(step)?;
        if let Some(next) = next {
            self.write_journal(next)?;
        }
        let [first, second, third] = self.metadata.block().metadata_offsets;
        if let Some(lagging) = lagging {
            for copy in [second, third] {
                self.medium.write_at(copy, self.live(lagging))?;
            }
        }
        self.medium.flush()?;
        self.medium.write_at(first, self.live(region))?;
        self.medium.flush()?;
        Ok(())
    }

    /// Makes metadata that give this state and position.
    fn seal(&mut self, state: u16, position: u64) -> Result<Vec<u8>, ConvertError> {
        let log = match state {
            ACTIVE => (
                self.journal.area().start,
                self.journal.area().end - self.journal.area().start,
            ),
            _ => (0, 0),
        };
        let block = self.metadata.block_mut();
        block.current_state = state;
        block.next_state = self.direction.state();
        block.state_offset = position;
        block.state_len_bytes = 0;
        for datum in &mut block.datums {
            if let Value::Virtualization { extended, .. } = &mut datum.value {
                ExtendedVirtualization::set_conversion_log(extended, log, self.sector_size.bytes() as u32);
            }
        }
        let region = self.metadata.seal(&self.vmk, self.now)?;
        let used = region
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let used = used.next_multiple_of(self.sector_size.bytes()).min(region.len());
        self.live_len = self.live_len.max(used);
        Ok(region)
    }

    /// Returns the part of a region that can differ from what the volume has there.
    fn live<'a>(&self, region: &'a [u8]) -> &'a [u8] {
        region.get(..self.live_len).unwrap_or(region)
    }

    /// Writes one copy after the other, each whole or unrecognisable at any time, and holds the medium to it.
    fn write_all_copies(&self, region: &[u8]) -> Result<(), ConvertError> {
        for offset in self.metadata.block().metadata_offsets {
            self.write_whole_copy(offset, region)?;
        }
        Ok(())
    }

    fn write_whole_copy(&self, offset: u64, region: &[u8]) -> Result<(), ConvertError> {
        write_copy(&*self.medium, offset, region).map_err(|error| match error {
            CopyError::Write(error) => ConvertError::Write(error),
            CopyError::ReadBack(error) => ConvertError::Read(error),
            CopyError::NotKept => ConvertError::NotKept { offset },
        })
    }
}

/// How much is written at once where content does not matter, in bytes.
const CHUNK_LEN: u64 = 1 << 20;

/// How much of the first sector makes the volume what it is, in bytes.
const BOOT_LEN: usize = boot_sector::LEN_BYTES;

const LOST_NONCES: u32 = 8;

const VISTA: ConvertError = ConvertError::Format("a drive that Windows Vista encrypted");

/// Finds out whether this is a volume that can be converted at all.
fn check_kind(
    volume: &Volume,
    unlocked: &Unlocked,
    len_bytes: u64,
    direction: Direction,
) -> Result<(), ConvertError> {
    let format = match volume.format() {
        VolumeFormat::Windows7 => None,
        VolumeFormat::Vista => return Err(VISTA),
        VolumeFormat::ToGo => Some("a BitLocker To Go drive"),
        VolumeFormat::Eow => Some("a drive of which Windows keeps a record of encrypted chunks"),
    };
    let state = match unlocked.metadata().conversion() {
        Conversion::Encrypted if direction == Direction::Encrypt => Some("a drive that is encrypted already"),
        Conversion::Decrypted => Some("a drive that is not encrypted"),
        Conversion::Unknown { .. } => Some("a drive in a state that is not known"),
        _ => None,
    };
    if let Some(problem) = format.or(state) {
        return Err(ConvertError::Format(problem));
    }
    if unlocked.integrity() != Integrity::Right {
        return Err(ConvertError::Unproven);
    }
    if !volume.has_boot_sector() {
        return Err(ConvertError::NoBootSector);
    }
    let expected = volume.size_bytes();
    if len_bytes < expected {
        return Err(ConvertError::CutOff {
            expected,
            found: len_bytes,
        });
    }
    Ok(())
}

/// Reads the copy that the keys belong to once more, to be changed.
fn read_again(volume: &Volume, unlocked: &Unlocked) -> Result<Vec<u8>, ConvertError> {
    let wanted = unlocked.metadata().block().actual_sha256;
    for offset in unlocked.metadata().block().metadata_offsets {
        let mut region = vec![0; REGION_LEN_BYTES as usize];
        // Of a torn copy the entries may be whole and the checks be old.
        let is_whole = |block: &InformationBlock| block.actual_sha256 == wanted && block.crc32_is_right();
        if volume.device().read_at(offset, &mut region).is_ok()
            && let Ok(block) = InformationBlock::read(&region)
            && is_whole(&block)
            && Metadata::new(block).integrity(unlocked.vmk()) == Integrity::Right
        {
            return Ok(region);
        }
    }
    Err(ConvertError::Unproven)
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

fn metadata_regions(metadata: &MetadataBuilder) -> Vec<Range<u64>> {
    metadata
        .block()
        .metadata_offsets
        .map(|offset| offset..offset.saturating_add(REGION_LEN_BYTES))
        .to_vec()
}
