//! Volumes are encrypted and decrypted in place: all content is there before, during and after, with pauses at any
//! step and the power lost at any write.

use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyhaven_crypto::SectorSize;
use keyhaven_disk::recording::Recorder;
use keyhaven_disk::{BlockDevice, MemoryDevice, ReadError, Writable, WritableDevice, WriteError};
use keyhaven_fve::convert::{
    ConvertError, Converter, Direction, MIN_JOURNAL_LEN_BYTES, Outcome, UsedSpace, begin, one_after_the_other,
};
use keyhaven_fve::create::{
    MOVED_LEN_BYTES, NewProtector, NewVolume, Placement, PreparedVolume, REGION_LEN_BYTES,
};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::ExternalKey;
use keyhaven_fve::{
    Credential, EncryptionMethod, Integrity, OpenError, OpenOptions, RecordKey, Unlocked, Volume,
    VolumeState, unwatched,
};
use keyhaven_testkit::numbers;
use proptest::prelude::*;

/// 24 November 2026.
const NOW: FileTime = FileTime(134_400_096_123_456_789);

/// A plain volume, the places that BitLocker will keep on it, and its key.
struct Bed {
    plain: Vec<u8>,
    placement: Placement,
    /// Free space.
    journal: Range<u64>,
    sector_size: SectorSize,
    method: EncryptionMethod,
}

impl Bed {
    /// Puts the places into `gaps` of free space, one after the other, in the order of `order`.
    fn new(
        sector_size: SectorSize,
        method: EncryptionMethod,
        gaps: [u64; 6],
        order: [usize; 5],
        journal_len: u64,
    ) -> Self {
        let sector = sector_size.bytes_u64();
        let lens = [
            REGION_LEN_BYTES,
            REGION_LEN_BYTES,
            REGION_LEN_BYTES,
            MOVED_LEN_BYTES,
            journal_len,
        ];
        let mut starts = [0; 5];
        let mut at = MOVED_LEN_BYTES;
        for (index, gap) in order.into_iter().zip(gaps) {
            at += gap * sector;
            starts[index] = at;
            at += lens[index].next_multiple_of(sector);
        }
        let len_bytes = at + gaps[5] * sector;
        let placement = Placement::at(
            [starts[0], starts[1], starts[2]],
            starts[3],
            len_bytes..len_bytes,
            len_bytes,
            sector_size,
            4096,
        )
        .expect("places that do not touch");
        let mut plain = vec![0; len_bytes as usize];
        numbers(len_bytes)(&mut plain).expect("numbers");
        plain[0x0b..0x0e].copy_from_slice(&[
            (sector_size.bytes() & 255) as u8,
            (sector_size.bytes() >> 8) as u8,
            8,
        ]);
        plain[510..512].copy_from_slice(&[0x55, 0xaa]);
        Self {
            plain,
            placement,
            journal: starts[4]..starts[4] + journal_len,
            sector_size,
            method,
        }
    }

    /// A small one, with the moved sectors behind the first metadata and little room for the journal.
    fn small() -> Self {
        Self::new(
            SectorSize::B512,
            EncryptionMethod::AesXts128,
            [40, 0, 101, 60, 77, 55],
            [0, 3, 1, 4, 2],
            MIN_JOURNAL_LEN_BYTES,
        )
    }

    fn prepare(&self) -> (PreparedVolume, Credential) {
        // The places are only known for good when the keys have been made.
        let len_bytes = self.plain.len() as u64;
        let first = Placement::at(
            [0, 1, 2].map(|number| MOVED_LEN_BYTES + number * REGION_LEN_BYTES),
            MOVED_LEN_BYTES + 3 * REGION_LEN_BYTES,
            len_bytes..len_bytes,
            len_bytes,
            self.sector_size,
            4096,
        );
        let first = first.expect("room for them");
        let mut prepared = None;
        // The hash of the metadata crosses the end of a sector: a torn write breaks it, and no checksum sees that.
        for len in 0..256 {
            let mut new = NewVolume::new(len_bytes, self.method, NOW);
            new.sector_size = self.sector_size;
            new.description = "x".repeat(len);
            new.protectors.push(NewProtector::ExternalKey);
            let made = new.prepare_at(first.clone(), &mut numbers(1)).expect("prepared");
            let size = made.preview().expect("it opens").metadata().block().size_bytes;
            prepared = Some(made);
            if (440..500).contains(&(size % 512)) {
                break;
            }
        }
        let prepared = prepared.expect("at least one");
        let key = self.key(&prepared);
        (prepared, key)
    }

    fn key(&self, prepared: &PreparedVolume) -> Credential {
        match &prepared.records()[0].key {
            RecordKey::ExternalKey(key) => Credential::ExternalKey(
                ExternalKey::from_bek(&key.to_bek(NOW)).expect("a key file that was just made"),
            ),
            _ => unreachable!("none but that was asked for"),
        }
    }

    /// Returns what shows as zeros while the volume is BitLocker's, and the journal, which may be anything.
    fn lost(&self) -> Vec<Range<u64>> {
        let mut lost: Vec<Range<u64>> = self
            .placement
            .metadata_offsets
            .map(|offset| offset..offset + REGION_LEN_BYTES)
            .to_vec();
        lost.push(self.placement.moved_offset..self.placement.moved_offset + MOVED_LEN_BYTES);
        lost.push(self.journal.clone());
        lost
    }

    /// Fails unless all content is there, but for places that were free.
    fn check_content(&self, shown: &[u8], free: &[Range<u64>], when: &str) {
        assert_eq!(shown.len(), self.plain.len(), "{when}");
        let (mut shown, mut plain) = (shown.to_vec(), self.plain.clone());
        for range in self.lost().iter().chain(free) {
            shown[range.start as usize..range.end as usize].fill(0);
            plain[range.start as usize..range.end as usize].fill(0);
        }
        let differs = shown.iter().zip(&plain).position(|(one, other)| one != other);
        assert_eq!(differs, None, "the first byte that differs, {when}");
    }

    /// Opens what is on a medium; `None` where that is the plain volume.
    fn open(&self, medium: &Writable, key: &Credential) -> Option<(Volume, Unlocked)> {
        let options = OpenOptions {
            scan: false,
            ..OpenOptions::default()
        };
        match Volume::open(medium.clone(), &options, &mut unwatched) {
            Ok(volume) => {
                let unlocked = volume.unlock(key).expect("the key opens it");
                assert_eq!(unlocked.integrity(), Integrity::Right);
                Some((volume, unlocked))
            }
            Err(OpenError::NotBitLocker { .. }) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Tells whether nothing is left to be done, or nothing was begun.
    fn is_at(&self, medium: &Writable, key: &Credential, goal: Direction) -> bool {
        match self.open(medium, key) {
            Some((volume, _)) => goal == Direction::Encrypt && volume.state() == VolumeState::Encrypted,
            None => true,
        }
    }

    /// Fails unless the content can be read, on the plain volume or with the key.
    fn check(&self, medium: &Writable, key: &Credential, free: &[Range<u64>], when: &str) {
        let mut shown = vec![0; self.plain.len()];
        match self.open(medium, key) {
            Some((volume, unlocked)) => {
                let data = volume.data(unlocked).expect("its parts are known");
                data.read_at(0, &mut shown).expect("readable");
            }
            None => medium.read_at(0, &mut shown).expect("readable"),
        }
        self.check_content(&shown, free, when);
    }

    /// Converts for at most `steps` steps.
    fn convert(
        &self,
        medium: &Writable,
        key: &Credential,
        direction: Direction,
        used: Option<&UsedSpace>,
        steps: usize,
        seed: u64,
    ) -> Result<Outcome, ConvertError> {
        let (volume, unlocked) = self.open(medium, key).expect("a volume of BitLocker");
        let mut converter = Converter::start(
            &volume,
            unlocked,
            medium.clone(),
            direction,
            &self.journal,
            FileTime(NOW.0 + seed),
            &mut numbers(seed),
        )?;
        if let Some(used) = used {
            converter.leave_out_unused(used.clone());
        }
        let mut left = steps;
        converter.run(&one_after_the_other, &mut |progress| {
            assert!(progress.done_bytes <= progress.total_bytes);
            left = left.saturating_sub(1);
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    fn check_encrypted(&self, medium: &Writable, key: &Credential) {
        let (volume, _) = self.open(medium, key).expect("a volume of BitLocker");
        assert_eq!(volume.state(), VolumeState::Encrypted);
        assert_eq!(volume.encrypted_bytes(), Some(self.plain.len() as u64));
        assert!(volume.copies().iter().all(|copy| copy.problem.is_none()));
    }

    /// Fails unless the plain volume is back, with zeros in the places that BitLocker kept.
    fn check_decrypted(&self, medium: &Writable, free: &[Range<u64>], when: &str) {
        let mut raw = vec![0; self.plain.len()];
        medium.read_at(0, &mut raw).expect("readable");
        assert_eq!(
            raw[..MOVED_LEN_BYTES as usize],
            self.plain[..MOVED_LEN_BYTES as usize],
            "{when}"
        );
        self.check_content(&raw, free, when);
        for range in &self.lost()[..4] {
            assert!(
                raw[range.start as usize..range.end as usize]
                    .iter()
                    .all(|byte| *byte == 0),
                "{when}"
            );
        }
    }
}

fn whole(medium: &Writable) -> Vec<u8> {
    let mut bytes = vec![0; medium.len_bytes() as usize];
    medium.read_at(0, &mut bytes).expect("readable");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_encrypted_and_decrypted_is_the_same(
        method in prop::sample::select(EncryptionMethod::ALL),
        large_sectors in any::<bool>(),
        gaps in prop::array::uniform6(0u64..130),
        order in Just([0usize, 1, 2, 3, 4]).prop_shuffle(),
        journal_len in MIN_JOURNAL_LEN_BYTES + 4096..200_000u64,
        pauses in prop::collection::vec((1usize..8, any::<bool>()), 0..6),
        used_part in prop::option::of((0u64..600_000, 0u64..400_000)),
    ) {
        let sector_size = if large_sectors { SectorSize::B4096 } else { SectorSize::B512 };
        let journal_len = journal_len / 4096 * 4096;
        let bed = Bed::new(sector_size, method, gaps, order, journal_len);
        let medium: Writable = Arc::new(MemoryDevice::new(bed.plain.clone()));
        let (prepared, key) = bed.prepare();
        begin(&prepared, &bed.placement, &*medium).expect("room for it");
        bed.check(&medium, &key, &[], "when nothing is encrypted");

        let mut seed = 10;
        let mut ended = false;
        for (steps, backwards) in pauses {
            seed += 1;
            // Back and forth, but not to the start: that would be a plain volume.
            let direction = if backwards && steps < 3 { Direction::Decrypt } else { Direction::Encrypt };
            if ended {
                break;
            }
            let outcome = bed.convert(&medium, &key, direction, None, steps, seed).expect("converted");
            if outcome == Outcome::Done {
                ended = true;
            } else {
                let (volume, _) = bed.open(&medium, &key).expect("a volume of BitLocker");
                let paused = [VolumeState::EncryptionPaused, VolumeState::DecryptionPaused];
                prop_assert!(paused.contains(&volume.state()));
                bed.check(&medium, &key, &[], "while it is paused");
            }
        }
        let is_plain = bed.open(&medium, &key).is_none();
        if is_plain {
            bed.check_decrypted(&medium, &[], "after it was decrypted early");
            return Ok(());
        }
        let mut free = Vec::new();
        if !ended {
            let used = used_part.map(|(start, len)| {
                let mut used = UsedSpace::new(bed.plain.len() as u64);
                used.mark(start..start + len);
                used.mark(0..MOVED_LEN_BYTES);
                let end = bed.plain.len() as u64;
                // Whole chunks of 64 KiB are in use or free; of nothing, none is in use.
                let (from, to) = if len > 0 && start < end {
                    (start / 65536 * 65536, (start + len).next_multiple_of(65536))
                } else {
                    (end, end)
                };
                free.push(65536.min(end)..from.clamp(65536, end.max(65536)).min(end));
                free.push(to.clamp(65536, end.max(65536)).min(end)..end);
                free.retain(|range: &Range<u64>| range.start < range.end);
                used
            });
            let outcome = bed.convert(&medium, &key, Direction::Encrypt, used.as_ref(), usize::MAX, 100);
            prop_assert_eq!(outcome.expect("converted"), Outcome::Done);
        }
        bed.check_encrypted(&medium, &key);
        bed.check(&medium, &key, &free, "when all is encrypted");
        if free.is_empty() {
            let raw = whole(&medium);
            for (at, (raw, plain)) in raw.chunks(512).zip(bed.plain.chunks(512)).enumerate().skip(1) {
                let in_place = (at * 512) as u64;
                let kept = bed.lost().iter().any(|range| range.contains(&in_place));
                prop_assert!(kept || raw != plain, "sector {} is in the clear", at);
            }
        }

        let mut steps = 1;
        while bed.convert(&medium, &key, Direction::Decrypt, None, steps, 200 + steps as u64).expect("converted")
            == Outcome::Paused
        {
            bed.check(&medium, &key, &free, "while it is decrypted");
            steps += 2;
        }
        bed.check_decrypted(&medium, &free, "when all is decrypted");
    }
}

/// How many crash states each test looks at; the environment may ask for more.
fn states() -> usize {
    let more = std::env::var("KEYHAVEN_CRASH_STATES");
    more.ok().and_then(|more| more.parse().ok()).unwrap_or(600)
}

/// Lets the power go in every way while `act` works on `before`: the key opens what is left, all content is there, and
/// the work can be taken up and comes to its end.
fn survive(bed: &Bed, before: &[u8], key: &Credential, goal: Direction, act: impl FnOnce(&Writable)) {
    let recorder = Arc::new(Recorder::over(before));
    act(&(recorder.clone() as Writable));
    let mut seen = 0;
    for (number, state) in recorder.states(states(), 42).enumerate() {
        let when = format!("state {number}: {state:?}");
        let device = state.device.clone();
        let medium: Writable = state.device;
        bed.check(&medium, key, &[], &when);
        seen += 1;
        if bed.is_at(&medium, key, goal) {
            continue;
        }
        // The power goes again while it is taken up.
        let seed = 1000 + number as u64;
        bed.convert(&medium, key, goal, None, 2, seed).expect("taken up");
        let again = device.states(40, seed).nth(number % 40);
        bed.check(&medium, key, &[], &when);
        let Some(again) = again else { continue };
        let medium: Writable = again.device;
        bed.check(&medium, key, &[], &format!("{when}, then {}", again.kept));
        if bed.is_at(&medium, key, goal) {
            continue;
        }
        let outcome = bed.convert(&medium, key, goal, None, usize::MAX, seed + 1);
        assert_eq!(outcome.expect("taken up"), Outcome::Done, "{when}");
        match goal {
            Direction::Encrypt => {
                bed.check_encrypted(&medium, key);
                bed.check(&medium, key, &[], &when);
            }
            Direction::Decrypt => bed.check_decrypted(&medium, &[], &when),
        }
    }
    assert!(seen > 50, "only {seen} states");
}

#[test]
fn a_loss_of_power_while_a_volume_is_begun_loses_nothing() {
    let bed = Bed::small();
    let (prepared, key) = bed.prepare();
    survive(&bed, &bed.plain, &key, Direction::Encrypt, |medium| {
        begin(&prepared, &bed.placement, &**medium).expect("room for it");
    });
}

#[test]
fn a_loss_of_power_while_encrypting_loses_nothing() {
    let bed = Bed::small();
    let (prepared, key) = bed.prepare();
    let begun: Writable = Arc::new(MemoryDevice::new(bed.plain.clone()));
    begin(&prepared, &bed.placement, &*begun).expect("room for it");
    survive(&bed, &whole(&begun), &key, Direction::Encrypt, |medium| {
        bed.convert(medium, &key, Direction::Encrypt, None, 3, 1)
            .expect("converted");
        bed.convert(medium, &key, Direction::Encrypt, None, usize::MAX, 2)
            .expect("converted");
    });
}

#[test]
fn a_loss_of_power_while_decrypting_loses_nothing() {
    let bed = Bed::small();
    let (prepared, key) = bed.prepare();
    let encrypted: Writable = Arc::new(MemoryDevice::new(bed.plain.clone()));
    begin(&prepared, &bed.placement, &*encrypted).expect("room for it");
    bed.convert(&encrypted, &key, Direction::Encrypt, None, usize::MAX, 1)
        .expect("converted");
    survive(&bed, &whole(&encrypted), &key, Direction::Decrypt, |medium| {
        bed.convert(medium, &key, Direction::Decrypt, None, 3, 2)
            .expect("converted");
        bed.convert(medium, &key, Direction::Decrypt, None, usize::MAX, 3)
            .expect("converted");
    });
}

/// A device that fails from one call on, as one that was unplugged.
#[derive(Debug)]
struct Failing {
    device: Writable,
    calls_left: AtomicUsize,
}

impl Failing {
    fn call(&self) -> io::Result<()> {
        let left = self
            .calls_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("unplugged"))
    }
}

impl BlockDevice for Failing {
    fn len_bytes(&self) -> u64 {
        self.device.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len_bytes = buf.len() as u64;
        self.call().map_err(|source| ReadError::Io {
            offset,
            len_bytes,
            source,
        })?;
        self.device.read_at(offset, buf)
    }
}

impl WritableDevice for Failing {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.call().map_err(|source| WriteError::Io {
            offset,
            len_bytes: bytes.len() as u64,
            source,
        })?;
        self.device.write_at(offset, bytes)
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.call().map_err(WriteError::Flush)?;
        self.device.flush()
    }
}

#[test]
fn a_device_that_fails_at_any_call_is_an_error_and_loses_nothing() {
    let bed = Bed::small();
    let (prepared, key) = bed.prepare();
    let medium: Writable = Arc::new(MemoryDevice::new(bed.plain.clone()));
    begin(&prepared, &bed.placement, &*medium).expect("room for it");
    for (direction, stride) in [(Direction::Encrypt, 7), (Direction::Decrypt, 9)] {
        let before = whole(&medium);
        let (volume, _) = bed.open(&medium, &key).expect("a volume of BitLocker");
        let mut calls = 0;
        let done = loop {
            let device: Writable = Arc::new(MemoryDevice::new(before.clone()));
            let failing: Writable = Arc::new(Failing {
                device: device.clone(),
                calls_left: AtomicUsize::new(calls),
            });
            let unlocked = volume.unlock(&key).expect("the key opens it");
            let started = Converter::start(
                &volume,
                unlocked,
                failing,
                direction,
                &bed.journal,
                NOW,
                &mut numbers(1),
            );
            let outcome = started.and_then(|converter| {
                converter.run(&one_after_the_other, &mut |_| ControlFlow::Continue(()))
            });
            let when = format!("{direction:?} after {calls} calls");
            bed.check(&device, &key, &[], &when);
            match outcome {
                Ok(outcome) => {
                    assert_eq!(outcome, Outcome::Done);
                    break device;
                }
                Err(error) => assert!(
                    matches!(error, ConvertError::Read(_) | ConvertError::Write(_)),
                    "{error}"
                ),
            }
            if !bed.is_at(&device, &key, direction) {
                let outcome = bed.convert(&device, &key, direction, None, usize::MAX, 3);
                assert_eq!(outcome.expect("taken up"), Outcome::Done, "{when}");
                bed.check(&device, &key, &[], &when);
            }
            calls += stride;
        };
        assert!(calls > 100, "only {calls} calls");
        medium.write_at(0, &whole(&done)).expect("inside");
    }
    bed.check_decrypted(&medium, &[], "at the end");
}

#[test]
fn what_cannot_be_converted_is_refused_and_stays_as_it_is() {
    let bed = Bed::small();
    let (prepared, key) = bed.prepare();
    let medium: Writable = Arc::new(MemoryDevice::new(bed.plain.clone()));
    begin(&prepared, &bed.placement, &*medium).expect("room for it");
    let before = whole(&medium);
    let (volume, _) = bed.open(&medium, &key).expect("a volume of BitLocker");
    let start = |unlocked, medium: &Writable, free: &Range<u64>| {
        Converter::start(
            &volume,
            unlocked,
            medium.clone(),
            Direction::Encrypt,
            free,
            NOW,
            &mut numbers(1),
        )
    };
    let unlock = || volume.unlock(&key).expect("the key opens it");
    let region = bed.placement.metadata_offsets[1];
    for place in [
        0..MIN_JOURNAL_LEN_BYTES,
        region - 512..region - 512 + MIN_JOURNAL_LEN_BYTES,
        bed.placement.moved_offset + 512..bed.placement.moved_offset + 512 + MIN_JOURNAL_LEN_BYTES,
        bed.journal.start..bed.journal.start + MIN_JOURNAL_LEN_BYTES - 1,
        medium.len_bytes() - 512..medium.len_bytes() - 512 + MIN_JOURNAL_LEN_BYTES,
    ] {
        let refused = start(unlock(), &medium, &place);
        assert!(
            matches!(refused, Err(ConvertError::JournalPlace { .. })),
            "{place:?}"
        );
    }
    let shorter: Writable = Arc::new(MemoryDevice::new(before[..before.len() - 4096].to_vec()));
    let refused = start(unlock(), &shorter, &bed.journal);
    assert!(matches!(refused, Err(ConvertError::CutOff { .. })));

    let fvek = keyhaven_crypto::SecretBytes::copy_of(&prepared.fvek().key().expose_secret()[..32]);
    let by_sector_key = volume
        .unlock(&Credential::FullVolumeEncryptionKey(fvek))
        .expect("the boot sector shows that it is right");
    let refused = start(by_sector_key, &medium, &bed.journal);
    assert!(matches!(
        refused,
        Err(ConvertError::Unproven | ConvertError::NoMasterKey)
    ));
    assert!(whole(&medium) == before);

    let lazy = start(unlock(), &medium, &bed.journal).expect("started");
    let half_done = lazy.run(&|first, _| first(), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(half_done, Err(ConvertError::WorkLeftUndone)));
    bed.check(&medium, &key, &[], "after work was left undone");
    bed.convert(&medium, &key, Direction::Encrypt, None, usize::MAX, 2)
        .expect("taken up");
    bed.check_encrypted(&medium, &key);
    let (volume, unlocked) = bed.open(&medium, &key).expect("a volume of BitLocker");
    let again = Converter::start(
        &volume,
        unlocked,
        medium.clone(),
        Direction::Encrypt,
        &bed.journal,
        NOW,
        &mut numbers(1),
    );
    assert!(matches!(again, Err(ConvertError::Format(_))));
}
