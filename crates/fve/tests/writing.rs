//! Real volumes are written: what comes back is what was written, and nothing else on the medium has changed.
//!
//! The images themselves are never touched: changed sectors live in memory.

mod published;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use keyhaven_disk::{BlockDevice, Device, ReadError, Writable, WritableDevice, WriteError};
use keyhaven_fve::{Credential, NotWritable, OpenOptions, Volume, WritableVolume, unwatched};
use keyhaven_testkit::corpus::{self, SecretKind};

const SECTOR: u64 = 512;

/// An image whose changed sectors are kept in memory.
#[derive(Debug)]
struct Overlay {
    image: Device,
    changed: Mutex<BTreeMap<u64, [u8; SECTOR as usize]>>,
}

impl Overlay {
    fn over(image: Device) -> Arc<Self> {
        Arc::new(Self {
            image,
            changed: Mutex::default(),
        })
    }

    /// Forgets what was written and returns which sectors it was.
    fn take_changed(&self) -> BTreeSet<u64> {
        std::mem::take(&mut *self.changed.lock().unwrap())
            .into_keys()
            .collect()
    }
}

impl BlockDevice for Overlay {
    fn len_bytes(&self) -> u64 {
        self.image.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.image.read_at(offset, buf)?;
        let changed = self.changed.lock().unwrap();
        let end = offset + buf.len() as u64;
        for (sector, bytes) in changed.range(offset / SECTOR..end.div_ceil(SECTOR)) {
            for (at, byte) in (sector * SECTOR..).zip(bytes) {
                if (offset..end).contains(&at) {
                    buf[(at - offset) as usize] = *byte;
                }
            }
        }
        Ok(())
    }
}

impl WritableDevice for Overlay {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        assert!(
            offset.is_multiple_of(SECTOR) && (bytes.len() as u64).is_multiple_of(SECTOR),
            "only whole sectors are written"
        );
        let mut changed = self.changed.lock().unwrap();
        for (sector, bytes) in (offset / SECTOR..).zip(bytes.as_chunks().0) {
            changed.insert(sector, *bytes);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

/// Returns the first secret of a kind that people have.
fn credential(volume: &corpus::Volume) -> Option<Credential> {
    let secret = [SecretKind::Password, SecretKind::Recovery, SecretKind::Bek]
        .into_iter()
        .find_map(|kind| volume.all_secrets().find(|secret| secret.kind == kind))?;
    Some(published::credential(volume, secret))
}

/// Opens a corpus volume to be written.
fn writable(
    known: &corpus::Volume,
    options: &OpenOptions,
) -> Option<(Arc<Overlay>, Result<WritableVolume, NotWritable>)> {
    let medium = Overlay::over(keyhaven_disk::open(&known.image()).expect("the image opens"));
    let volume = Volume::open(medium.clone(), options, &mut unwatched).ok()?;
    let unlocked = match volume.unlock_decrypted() {
        Some(unlocked) => unlocked,
        None => volume.unlock(&credential(known)?).ok()?,
    };
    let data = volume.data(unlocked).ok()?;
    Some((medium.clone(), data.writable(medium as Writable)))
}

/// A fixed run of numbers without a pattern (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

#[test]
fn what_is_written_is_read_back_and_nothing_else_changes() {
    let mut methods = BTreeSet::new();
    let Some(corpus) = corpus::or_skip() else { return };
    for known in corpus.volumes() {
        let Some((medium, Ok(volume))) = writable(known, &OpenOptions::default()) else {
            continue;
        };
        methods.insert(known.cipher.clone());
        let len = volume.len_bytes();
        let mut numbers = Numbers(len);
        for round in 0..60 {
            // The moved boot sectors, the end, and anywhere.
            let offset = match round % 4 {
                0 => numbers.below(20_000),
                1 => len - 1 - numbers.below(20_000),
                _ => numbers.below(len),
            };
            let size = (1 + numbers.below(300_000)).min(len - offset) as usize;
            let around = offset.saturating_sub(9000)..(offset + size as u64 + 9000).min(len);
            let mut expected = vec![0; (around.end - around.start) as usize];
            volume.read_at(around.start, &mut expected).expect("readable");
            let bytes: Vec<u8> = (0..size).map(|_| numbers.below(256) as u8).collect();
            match volume.write_at(offset, &bytes) {
                Ok(()) => expected[(offset - around.start) as usize..][..size].copy_from_slice(&bytes),
                Err(WriteError::Fixed { offset: fixed }) => {
                    assert!((offset..offset + size as u64).contains(&fixed), "{}", known.name);
                    assert_eq!(expected[(fixed - around.start) as usize], 0, "{}", known.name);
                    assert_eq!(
                        medium.take_changed().len(),
                        0,
                        "{}: refused before anything is written",
                        known.name
                    );
                    continue;
                }
                Err(error) => panic!("{}: {error}", known.name),
            }
            let mut found = vec![0; expected.len()];
            volume.read_at(around.start, &mut found).expect("readable");
            assert!(found == expected, "{}: {size} bytes at {offset}", known.name);
            let sector_size = u64::from(volume.sector_size());
            let most = (size as u64).div_ceil(sector_size) + 1;
            assert!(
                medium.take_changed().len() as u64 <= most * sector_size / SECTOR,
                "{}: more was written than was asked",
                known.name
            );
        }
    }
    for method in ["0x8000", "0x8002", "0x8004", "0x8005"] {
        assert!(
            methods.iter().any(|cipher| cipher.contains(method)),
            "no volume with {method} was written: {methods:?}"
        );
    }
}

#[test]
fn what_windows_keeps_for_itself_stays() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let (medium, volume) = writable(&known, &OpenOptions::default()).expect("it opens");
    let volume = volume.expect("it may be written");
    let opened = Volume::open(medium.clone(), &OpenOptions::default(), &mut unwatched).expect("a volume");
    for copy in opened.copies() {
        let offset = copy.offset.expect("a healthy volume");
        volume
            .write_at(offset, &[0; 65_536])
            .expect("zeros are what is there already");
        let error = volume
            .write_at(offset - 512, &[1; 2048])
            .expect_err("the second sector cannot be changed");
        assert!(
            matches!(error, WriteError::Fixed { offset: at } if at == offset),
            "{error:?}"
        );
    }
    assert_eq!(medium.take_changed().len(), 0);
}

#[test]
fn volumes_in_an_unsafe_state_are_not_written() {
    let refusal = |name: &str, options: &OpenOptions| {
        let known = corpus::volume_or_skip(name)?;
        let (_, volume) = writable(&known, options).expect("it opens");
        Some(volume.expect_err("it must not be written"))
    };
    let trusting = OpenOptions {
        ignore_checksums: true,
        ..OpenOptions::default()
    };
    if let Some(reason) = refusal("df-eow_partial", &OpenOptions::default()) {
        assert_eq!(reason, NotWritable::Converting);
    }
    if let Some(reason) = refusal("df-decrypted", &OpenOptions::default()) {
        assert_eq!(reason, NotWritable::Decrypted);
    }
    if let Some(reason) = refusal("dfvfs-bdetogo", &trusting) {
        assert_eq!(reason, NotWritable::Unproven);
    }
}

#[test]
fn what_was_never_written_can_be_shown_as_zeros() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-256") else {
        return;
    };
    let image = keyhaven_disk::open(&known.image()).expect("the image opens");
    let shown = |unwritten_as_zeros: bool| {
        let volume = Volume::open(image.clone(), &OpenOptions::default(), &mut unwatched).expect("a volume");
        let unlocked = volume
            .unlock(&credential(&known).expect("a secret"))
            .expect("it opens");
        let data = volume.data(unlocked).expect("readable");
        if unwritten_as_zeros {
            data.with_unwritten_as_zeros()
        } else {
            data
        }
    };
    let (exact, blanked) = (shown(false), shown(true));
    let len = exact.len_bytes() as usize;
    let (mut plain, mut expected, mut stored) = (vec![0; len], vec![0; len], vec![0; len]);
    exact.read_at(0, &mut plain).expect("readable");
    expected.copy_from_slice(&plain);
    image.read_at(0, &mut stored).expect("readable");
    let mut unwritten = 0;
    // The moved boot sectors are stored elsewhere and were written.
    for (shown, stored) in expected.chunks_mut(512).zip(stored.chunks(512)).skip(16) {
        if stored.iter().all(|byte| *byte == 0) {
            shown.fill(0);
            unwritten += 1;
        }
    }
    assert!(unwritten > 1000, "the image was wiped by its makers");
    keyhaven_disk::conformance::check(&blanked, &expected);
    assert_eq!(
        exact.hole_at(40 << 20, 1 << 20),
        0,
        "stored zeros are noise otherwise"
    );
}

#[test]
fn many_writers_and_readers_see_whole_writes() {
    let Some(known) = corpus::volume_or_skip("cs-aes-cbc-128") else {
        return;
    };
    let (_, volume) = writable(&known, &OpenOptions::default()).expect("it opens");
    let volume = &volume.expect("it may be written");
    // Each writer fills its own 100 bytes of the same sectors; each must find all of its last write.
    std::thread::scope(|scope| {
        for writer in 0..5u64 {
            scope.spawn(move || {
                for round in 0..200u8 {
                    for sector in 0..8 {
                        let at = 1_000_000 / SECTOR * SECTOR + sector * SECTOR + writer * 100;
                        volume.write_at(at, &[round; 100]).expect("writable");
                        let mut found = [0; 100];
                        volume.read_at(at, &mut found).expect("readable");
                        assert_eq!(found, [round; 100]);
                    }
                }
            });
        }
    });
}
