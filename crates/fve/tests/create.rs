//! New volumes: our own reader opens them with everything they were made with, they are shaped as Windows shapes its
//! own, and a medium that stops half-way never shows anything but nothing or the whole volume.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use keyhaven_crypto::{SecretText, SectorSize};
use keyhaven_disk::recording::{Event, Recorder};
use keyhaven_disk::{BlockDevice, Device, MemoryDevice, ReadError, Writable, WritableDevice, WriteError};
use keyhaven_fve::create::{
    CreateError, MOVED_LEN_BYTES, NewProtector, NewVolume, Placement, PlacementError, PreparedVolume,
    REGION_LEN_BYTES,
};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::format::datum::{Datum, Value};
use keyhaven_fve::keys::{ExternalKey, Password, RecoveryPassword, VolumeMasterKey};
use keyhaven_fve::{
    Credential, EncryptionMethod, Integrity, MetadataBuilder, MetadataError, OpenError, OpenOptions,
    ProtectorKind, RecordKey, Unlocked, Volume, VolumeFormat, VolumeState, unwatched,
};
use keyhaven_testkit::corpus::{self, SecretKind};
use keyhaven_testkit::numbers;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const PASSWORD: &str = "correct horse \u{e4}\u{20ac}";
/// 24 November 2026, with steps finer than a millisecond.
const CREATED: FileTime = FileTime(134_400_096_123_456_789);

/// A medium of any size, of which only what was written takes memory.
#[derive(Debug)]
struct Medium {
    len_bytes: u64,
    pages: Mutex<BTreeMap<u64, Box<[u8; PAGE]>>>,
}

const PAGE: usize = 4096;

impl Medium {
    fn new(len_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            len_bytes,
            pages: Mutex::default(),
        })
    }

    fn stored_bytes(&self) -> u64 {
        (self.pages.lock().unwrap().len() * PAGE) as u64
    }

    fn each_page(offset: u64, len: usize, mut each: impl FnMut(u64, usize, std::ops::Range<usize>)) {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let within = (at % PAGE as u64) as usize;
            let part = (PAGE - within).min(len - done);
            each(at / PAGE as u64, within, done..done + part);
            done += part;
        }
    }
}

impl BlockDevice for Medium {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check_range(offset, buf.len() as u64, self.len_bytes)?;
        let pages = self.pages.lock().unwrap();
        Self::each_page(offset, buf.len(), |page, within, range| {
            let part = &mut buf[range.clone()];
            match pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + range.len()]),
                None => part.fill(0),
            }
        });
        Ok(())
    }
}

impl WritableDevice for Medium {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        assert!(offset + bytes.len() as u64 <= self.len_bytes, "past the end");
        let mut pages = self.pages.lock().unwrap();
        Self::each_page(offset, bytes.len(), |page, within, range| {
            let stored = pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            stored[within..within + range.len()].copy_from_slice(&bytes[range]);
        });
        Ok(())
    }

    fn flush(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

fn password() -> Password {
    Password::new(SecretText::copy_of(PASSWORD))
}

fn new_volume(len_bytes: u64, method: EncryptionMethod, sector_size: SectorSize) -> NewVolume {
    let mut new = NewVolume::new(len_bytes, method, CREATED);
    new.sector_size = sector_size;
    new.hidden_sectors = 2048;
    new.description = "KEYHAVEN Test 11/24/2026".to_owned();
    new
}

/// A volume that a clear key opens: no stretching.
fn quick(len_bytes: u64, seed: u64) -> PreparedVolume {
    let mut new = new_volume(len_bytes, EncryptionMethod::AesXts128, SectorSize::B512);
    new.protectors.push(NewProtector::ClearKey);
    new.prepare(&mut numbers(seed)).expect("prepared")
}

fn open(medium: &Arc<Medium>) -> Volume {
    Volume::open(
        Arc::clone(medium) as Device,
        &OpenOptions::default(),
        &mut unwatched,
    )
    .expect("a volume that was just made")
}

#[test]
fn every_volume_opens_with_everything_it_was_made_with() {
    for (seed, method) in (1..).zip(EncryptionMethod::ALL) {
        check_all_ways(*method, SectorSize::B512, seed, true);
    }
}

#[test]
fn every_volume_with_large_sectors_does_too() {
    for (seed, method) in (101..).zip(EncryptionMethod::ALL) {
        // Stretching a secret takes its time and has to do with neither sectors nor methods.
        check_all_ways(*method, SectorSize::B4096, seed, false);
    }
}

fn check_all_ways(method: EncryptionMethod, sector_size: SectorSize, seed: u64, stretched: bool) {
    let random = &mut numbers(seed);
    let mut new = new_volume(64 * MIB + 700, method, sector_size);
    let recovery = RecoveryPassword::generate(random).expect("numbers");
    let digits = recovery.to_digits();
    new.protectors = vec![
        NewProtector::Password(password()),
        NewProtector::RecoveryPassword(recovery),
        NewProtector::ExternalKey,
        NewProtector::ClearKey,
    ];
    let prepared = new.prepare(random).expect("prepared");
    let medium = Medium::new(64 * MIB + 700);
    prepared.write(&*medium).expect("written");
    assert!(medium.stored_bytes() < 400 * 1024, "{}", medium.stored_bytes());

    let volume = open(&medium);
    assert_eq!(volume.format(), VolumeFormat::Windows7);
    assert_eq!(volume.state(), VolumeState::Suspended, "there is a clear key");
    assert_eq!(volume.sector_size(), sector_size);
    assert_eq!(volume.metadata().encryption_method(), Ok(method));
    assert_eq!(volume.metadata().volume_id(), prepared.volume_id());
    assert_eq!(volume.metadata().created(), CREATED);
    assert_eq!(volume.metadata().unknown_entries(), []);
    assert_eq!(
        volume.metadata().description().as_deref(),
        Some("KEYHAVEN Test 11/24/2026")
    );
    assert_eq!(
        volume.encrypted_bytes(),
        Some(prepared.len_bytes()),
        "what is not a whole sector is left unused"
    );
    assert!(volume.copies().iter().all(|copy| copy.problem.is_none()));
    let stored: Vec<_> = volume
        .metadata()
        .protectors()
        .iter()
        .map(|protector| (protector.id(), protector.kind()))
        .collect();
    assert_eq!(stored, prepared.protectors());
    let id_of = |wanted| stored.iter().find(|(_, kind)| *kind == wanted).map(|(id, _)| *id);

    let ways = [
        (Credential::Password(password()), ProtectorKind::Password),
        (
            Credential::RecoveryPassword(RecoveryPassword::parse(digits.expose_secret()).expect("digits")),
            ProtectorKind::RecoveryPassword,
        ),
        (
            Credential::ExternalKey(key_file_of(&prepared)),
            ProtectorKind::StartupKey,
        ),
        (Credential::ClearKey, ProtectorKind::ClearKey),
    ];
    for (credential, kind) in ways.into_iter().skip(if stretched { 0 } else { 2 }) {
        let unlocked = volume
            .unlock(&credential)
            .unwrap_or_else(|error| panic!("{method} {kind}: {error}"));
        assert_eq!(unlocked.protector_id(), id_of(kind));
        check_unlocked(&volume, &unlocked, &prepared, digits.expose_secret());
        check_content(&volume, unlocked, &medium, &prepared);
    }
    let wrong = Credential::Password(Password::new(SecretText::copy_of("correct horse")));
    assert!(volume.unlock(&wrong).expect_err("another password").is_answer());
}

/// Returns the key file as a person has it: written and read.
fn key_file_of(prepared: &PreparedVolume) -> ExternalKey {
    let file = prepared.records().iter().find_map(|record| match &record.key {
        RecordKey::ExternalKey(key) => Some(key.to_bek(CREATED)),
        _ => None,
    });
    ExternalKey::from_bek(&file.expect("a key file was made")).expect("a key file")
}

/// The metadata are sealed, and give back the secrets that were put in.
fn check_unlocked(volume: &Volume, unlocked: &Unlocked, prepared: &PreparedVolume, digits: &str) {
    assert_eq!(unlocked.integrity(), Integrity::Right);
    assert_eq!(
        unlocked.fvek().expect("a sector key").key(),
        prepared.fvek().key()
    );
    let (given, kept) = (volume.records(unlocked), prepared.records());
    assert_eq!(given.len(), 2);
    for (one, other) in given.iter().zip(kept) {
        assert_eq!(one.volume_id, other.volume_id);
        assert_eq!(one.protector_id, other.protector_id);
        assert_eq!(one.description, other.description);
        assert_eq!(one.modified, other.modified);
        match (&one.key, &other.key) {
            (RecordKey::RecoveryPassword(one), RecordKey::RecoveryPassword(other)) => {
                assert!(one == other && one.to_digits().expose_secret() == digits);
            }
            (RecordKey::ExternalKey(one), RecordKey::ExternalKey(other)) => {
                assert_eq!(*one.to_bek(CREATED), *other.to_bek(CREATED));
            }
            _ => panic!("records of different kinds"),
        }
    }
}

/// What is made is zeros, what is written is read, and the medium has none of it in the clear.
fn check_content(volume: &Volume, unlocked: Unlocked, medium: &Arc<Medium>, prepared: &PreparedVolume) {
    let medium = Arc::clone(medium) as Writable;
    let content = volume
        .data(unlocked)
        .expect("readable")
        .writable(Arc::clone(&medium))
        .expect("writable");
    assert_eq!(content.len_bytes(), prepared.len_bytes());
    let placement = prepared.placement();
    let read = |at: u64, len: u64| {
        let mut bytes = vec![0xa5; len as usize];
        content.read_at(at, &mut bytes).expect("readable");
        bytes
    };
    for range in placement.reserved() {
        let len = range.end - range.start;
        assert!(read(range.start, len).iter().all(|byte| *byte == 0));
    }

    let text = b"the quick brown fox jumps over the lazy dog. ".repeat(400);
    for at in [
        0,
        MOVED_LEN_BYTES - 100,
        placement.metadata_offsets[1] - 20_000,
        prepared.len_bytes() - text.len() as u64,
    ] {
        content.write_at(at, &text).expect("written");
        assert!(read(at, text.len() as u64) == text, "at {at}");
        let mut stored = vec![0; text.len()];
        medium.read_at(at, &mut stored).expect("readable");
        assert!(
            !stored.windows(20).any(|window| text.starts_with(window)),
            "at {at}"
        );
    }
    // As it was for the next way in.
    content.write_at(0, &[0; 40_000]).expect("written");
    assert!(read(0, MOVED_LEN_BYTES).iter().all(|byte| *byte == 0));
}

#[test]
fn four_tebibytes_take_no_more_than_a_small_volume() {
    const TIB: u64 = 1 << 40;
    let prepared = quick(4 * TIB, 7);
    let medium = Medium::new(4 * TIB);
    prepared.write(&*medium).expect("written");
    assert!(medium.stored_bytes() < 400 * 1024);

    let volume = open(&medium);
    let unlocked = volume.unlock(&Credential::ClearKey).expect("open");
    let cipher = unlocked
        .fvek()
        .expect("a sector key")
        .cipher(volume.sector_size());
    let content = volume
        .data(unlocked)
        .expect("readable")
        .writable(medium.clone())
        .expect("writable");
    assert_eq!(content.len_bytes(), 4 * TIB);
    // Around what 32 and 41 bits can count, in sectors and in bytes.
    for at in [0xffff_ff00, 2 * TIB - 512, 2 * TIB, 3 * TIB + 512, 4 * TIB - 1024] {
        let text = [at.to_le_bytes().repeat(64), at.to_be_bytes().repeat(64)].concat();
        content.write_at(at, &text).expect("written");
        let mut found = vec![0; text.len()];
        content.read_at(at, &mut found).expect("readable");
        assert_eq!(found, text);

        // The place on the medium and its tweak are those of whole sectors from the volume's start.
        let start = at / 512 * 512;
        let mut stored = vec![0; 1024];
        medium.read_at(start, &mut stored).expect("readable");
        cipher.decrypt(start, &mut stored);
        let within = (at - start) as usize;
        let seen = (stored.len() - within).min(text.len());
        assert_eq!(stored[within..within + seen], text[..seen]);
    }
}

/// What tells one entry's form: numbers, flags and sizes, inside boxes too, but no secret and no text.
fn shape(datum: &Datum, vmk: &VolumeMasterKey, into: &mut Vec<String>, depth: usize) {
    let size = match &datum.value {
        Value::Text(_) => "text".to_owned(),
        // What a protector takes depends on the text in it.
        Value::Vmk { .. } => "protector".to_owned(),
        _ => datum.to_bytes().len().to_string(),
    };
    let detail = match &datum.value {
        Value::Key(key) => format!("key {:#x} {:#x}", key.key_type, key.key_flags),
        Value::StretchKey {
            key_type, key_flags, ..
        } => {
            format!("stretch {key_type:#x} {key_flags:#x}")
        }
        Value::UseKey {
            key_type, key_flags, ..
        } => format!("use {key_type:#x} {key_flags:#x}"),
        Value::Vmk {
            unknown_18,
            protector,
            ..
        } => format!("{unknown_18} {protector:#x}"),
        Value::Virtualization {
            len_bytes, extended, ..
        } => {
            // All but the flag of volumes with a record of chunks, the build and the place of the spare part.
            let mut extended = extended.clone();
            if extended.len() == 76 {
                extended[44..48].fill(0);
                extended[60..68].fill(0);
            }
            format!("{len_bytes} {}", hex::encode(extended))
        }
        Value::Sealed(sealed) => match sealed.open(vmk.key()) {
            Some(inside) => {
                let mut lines = Vec::new();
                shape(&inside, vmk, &mut lines, 0);
                lines.concat()
            }
            None => "under another key".to_owned(),
        },
        _ => String::new(),
    };
    into.push(format!(
        "{:depth$}{:#06x} {:#04x} {} {size} {detail}",
        "", datum.role, datum.kind, datum.flags
    ));
    for nested in datum.nested() {
        shape(nested, vmk, into, depth + 2);
    }
}

fn shapes(volume: &Volume, unlocked: &Unlocked) -> Vec<String> {
    let mut lines = Vec::new();
    for datum in &volume.metadata().block().datums {
        shape(
            datum,
            unlocked.vmk().expect("a key of a protector"),
            &mut lines,
            0,
        );
    }
    lines
}

/// Volumes of Windows 10 and 11, and the protectors that they were made with.
#[test]
fn entries_have_the_form_and_order_of_windows_own() {
    let recovery = |random: &mut dyn FnMut(&mut [u8]) -> io::Result<()>| {
        NewProtector::RecoveryPassword(RecoveryPassword::generate(random).expect("numbers"))
    };
    for (name, method) in [
        ("cs-aes-xts-128", EncryptionMethod::AesXts128),
        ("cs-aes-xts-256", EncryptionMethod::AesXts256),
        ("cs-aes-cbc-128", EncryptionMethod::AesCbc128),
        ("df-aes_256", EncryptionMethod::AesCbc256),
        ("df-startup_key", EncryptionMethod::AesXts128),
        ("cs-aes-xts-128-clearkey-only", EncryptionMethod::AesXts128),
    ] {
        let Some(known) = corpus::volume_or_skip(name) else {
            continue;
        };
        let random = &mut numbers(11);
        let device = keyhaven_disk::open(&known.image()).expect("the image opens");
        let theirs = Volume::open(device, &OpenOptions::default(), &mut unwatched).expect("a volume");
        let credential = match known.secret(SecretKind::Password) {
            Some(password) => Credential::Password(Password::new(SecretText::copy_of(password))),
            None if known.secret(SecretKind::Bek).is_some() => {
                let secret = known
                    .all_secrets()
                    .find(|secret| secret.kind == SecretKind::Bek)
                    .expect("seen");
                let bytes = std::fs::read(known.secret_path(secret)).expect("a published file");
                Credential::ExternalKey(ExternalKey::from_bek(&bytes).expect("a key file"))
            }
            None => Credential::ClearKey,
        };
        let their_keys = theirs.unlock(&credential).expect("opens");

        let mut new = new_volume(64 * MIB, method, theirs.sector_size());
        new.protectors = theirs
            .metadata()
            .protectors()
            .iter()
            .map(|protector| match protector.kind() {
                ProtectorKind::Password => NewProtector::Password(password()),
                ProtectorKind::RecoveryPassword => recovery(random),
                ProtectorKind::StartupKey => NewProtector::ExternalKey,
                ProtectorKind::ClearKey => NewProtector::ClearKey,
                other => panic!("{name} has {other}"),
            })
            .collect();
        let prepared = new.prepare(random).expect("prepared");
        let medium = Medium::new(64 * MIB);
        prepared.write(&*medium).expect("written");
        let ours = open(&medium);
        let our_keys = ours
            .unlock(&Credential::VolumeMasterKey(prepared.into_vmk()))
            .expect("opens");

        // Windows 10 notes in the recovery key's protector that it was saved: that did not happen yet here.
        let mut expected = shapes(&theirs, &their_keys);
        expected.retain(|line| !line.contains(" 0x15 "));
        assert_eq!(
            shapes(&ours, &our_keys),
            expected,
            "{name}\n{}",
            expected.join("\n")
        );

        let (ours, theirs) = (ours.metadata().block(), theirs.metadata().block());
        assert_eq!(ours.version, theirs.version);
        assert_eq!(
            (ours.current_state, ours.next_state),
            (theirs.current_state, theirs.next_state)
        );
        assert_eq!(ours.virtualized_sectors, theirs.virtualized_sectors);
        assert_eq!(ours.dataset.version, theirs.dataset.version);
        assert_eq!(ours.dataset.method, theirs.dataset.method);
        assert!([0, ours.dataset.method].contains(&theirs.dataset.unknown_26));
        assert_eq!(ours.dataset.start, theirs.dataset.start);
        let counts = |block: &keyhaven_fve::format::block::InformationBlock| {
            let validation = block.validation.as_ref().expect("checks");
            let integrity = validation.integrity.as_ref().expect("a hash");
            (
                validation.version,
                integrity.role,
                integrity.kind,
                integrity.flags,
                integrity.to_bytes().len(),
            )
        };
        assert_eq!(counts(ours), counts(theirs));
    }
}

fn nonces_in(datum: &Datum, into: &mut Vec<[u8; 12]>) {
    if let Value::Sealed(sealed) = &datum.value {
        into.push(sealed.nonce);
    }
    for nested in datum.nested() {
        nonces_in(nested, into);
    }
}

#[test]
fn no_nonce_is_used_twice_and_the_next_one_is_known() {
    let medium = Medium::new(64 * MIB);
    let random = &mut numbers(3);
    let mut new = new_volume(64 * MIB, EncryptionMethod::AesCbc256, SectorSize::B512);
    for _ in 0..5 {
        new.protectors
            .extend([NewProtector::ExternalKey, NewProtector::ClearKey]);
    }
    new.prepare(random)
        .expect("prepared")
        .write(&*medium)
        .expect("written");
    let volume = open(&medium);
    let block = volume.metadata().block();
    let mut nonces = Vec::new();
    for datum in &block.datums {
        nonces_in(datum, &mut nonces);
    }
    let validation = block.validation.as_ref().expect("checks");
    nonces_in(validation.integrity.as_ref().expect("a hash"), &mut nonces);
    let counters: Vec<u32> = nonces
        .iter()
        .map(|nonce| u32::from_le_bytes(nonce[8..].try_into().expect("four bytes")))
        .collect();
    // One each for key files' copies and all master keys, one for the sector key, one for the hash.
    assert_eq!(counters, (2..2 + 17).collect::<Vec<_>>());
    assert_eq!(block.dataset.next_nonce_counter, 19);
    let times: BTreeSet<u64> = nonces
        .iter()
        .map(|nonce| u64::from_le_bytes(nonce[..8].try_into().expect("eight bytes")))
        .collect();
    assert_eq!(
        Vec::from_iter(times),
        [CREATED.0 / 10_000 * 10_000, CREATED.0],
        "whole milliseconds but for the hash"
    );
}

/// Every state that a power cut leaves, on a medium that held another file system, and on one that held a volume.
#[test]
fn a_medium_shows_what_was_there_or_nothing_or_the_whole_volume() {
    let mut plain = vec![0; 44 * MIB as usize];
    plain[3..11].copy_from_slice(b"NTFS    ");
    plain[510..512].copy_from_slice(&[0x55, 0xaa]);
    let old = quick(44 * MIB, 4);
    let encrypted = MemoryDevice::new(plain.clone());
    old.write(&encrypted).expect("written");

    let no_scan = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    for before in [plain, encrypted.content()] {
        let new = quick(44 * MIB, 5);
        let recorder = Recorder::over(&before);
        new.write(&recorder).expect("written");
        let last = recorder.event_count();
        let (mut states, mut seen) = (0, BTreeSet::new());
        for state in recorder.states(400, 1) {
            states += 1;
            let opened = match Volume::open(state.device.clone(), &no_scan, &mut unwatched) {
                Err(OpenError::NotBitLocker { .. }) => "nothing",
                Err(error) => panic!("{}: {error}", state.kept),
                Ok(volume) => {
                    assert!(volume.copies().iter().all(|copy| copy.problem.is_none()));
                    let unlocked = volume.unlock(&Credential::ClearKey).expect("opens");
                    assert_eq!(unlocked.integrity(), Integrity::Right);
                    match volume.metadata().volume_id() {
                        id if id == new.volume_id() => "new",
                        id if id == old.volume_id() => "old",
                        id => panic!("{}: a volume {id}", state.kept),
                    }
                }
            };
            if *state.when.start() == last {
                assert_eq!(opened, "new", "{}", state.kept);
            }
            seen.insert(opened);
        }
        assert!(states > 50, "{states}");
        let whole = before.starts_with(&[0xeb, 0x58]);
        let expected: &[&str] = if whole {
            &["new", "nothing", "old"]
        } else {
            &["new", "nothing"]
        };
        assert_eq!(Vec::from_iter(seen), expected);
    }
}

/// What a volume is made to hold is there before the volume is: whoever can open it finds all of it.
#[test]
fn no_state_opens_without_the_content_it_was_made_with() {
    const LEN: u64 = 4 * MIB;
    let (placement, end) = Placement::outside(LEN, SectorSize::B512, 4096, 0..0).expect("large enough");
    let mut new = new_volume(LEN, EncryptionMethod::AesXts128, SectorSize::B512);
    new.protectors.push(NewProtector::ClearKey);
    let new = new.prepare_at(placement, &mut numbers(6)).expect("prepared");
    assert_eq!(
        new.preview().expect("it opens in memory").metadata().volume_id(),
        new.volume_id()
    );

    let recorder = Arc::new(Recorder::over(&vec![0xa5; LEN as usize]));
    let medium: Writable = recorder.clone();
    let content: Vec<u8> = (0..end / 16).flat_map(|at| (at as u128).to_le_bytes()).collect();
    let read = |volume: &Volume| {
        let unlocked = volume.unlock(&Credential::ClearKey).expect("opens");
        let mut found = vec![0; content.len()];
        let data = volume.data(unlocked).expect("readable");
        data.read_at(0, &mut found).expect("readable");
        found
    };
    new.write_with(&medium, |inside| {
        for (number, chunk) in content.chunks(96 << 10).enumerate() {
            inside.write_at(number as u64 * (96 << 10), chunk)?;
        }
        Ok::<(), CreateError>(())
    })
    .expect("written");

    let no_scan = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    let last = recorder.event_count();
    let (mut whole, mut nothing) = (0, 0);
    for state in recorder.states(600, 3) {
        match Volume::open(state.device.clone(), &no_scan, &mut unwatched) {
            Ok(volume) => {
                whole += 1;
                assert!(read(&volume) == content, "{}", state.kept);
            }
            Err(OpenError::NotBitLocker { .. }) => {
                nothing += 1;
                assert!(*state.when.start() < last, "{}", state.kept);
            }
            Err(error) => panic!("{}: {error}", state.kept),
        }
    }
    assert!(whole > 0 && nothing > 300, "{whole} {nothing}");

    let refused = new.write_with(&medium, |_| Err(CreateError::NoProtector));
    assert!(matches!(refused, Err(CreateError::NoProtector)));
    let opened = Volume::open(recorder.clone(), &no_scan, &mut unwatched);
    assert!(matches!(opened, Err(OpenError::NotBitLocker { .. })));
}

/// Each metadata copy is on the medium before the next is touched, and all of them before the boot sector.
#[test]
fn what_is_written_comes_in_the_order_that_keeps_it_safe() {
    let recorder = Recorder::over(&vec![0; 44 * MIB as usize]);
    let prepared = quick(44 * MIB, 5);
    prepared.write(&recorder).expect("written");
    let events = recorder.events();
    let at = |wanted: u64| {
        events
            .iter()
            .rposition(|event| matches!(event, Event::Write { offset, .. } if *offset == wanted))
            .expect("it is written")
    };
    let [first, second, third] = prepared.placement().metadata_offsets.map(at);
    let boot = at(0);
    assert!(at(prepared.placement().moved_offset) < first);
    for (one, next) in [(first, second), (second, third), (third, boot)] {
        assert!(events[one..next].contains(&Event::Flush));
    }
    assert!(boot + 2 == events.len() && events[boot + 1] == Event::Flush);
    assert!(matches!(&events[boot], Event::Write { bytes, .. } if bytes.len() == 512));
}

/// A stick that forgets: it says that all went well, and keeps nothing behind its true end.
#[derive(Debug)]
struct Forgetful(Arc<Medium>, u64);

impl BlockDevice for Forgetful {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.0.read_at(offset, buf)
    }
}

impl WritableDevice for Forgetful {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        if offset < self.1 {
            self.0.write_at(offset, bytes)
        } else {
            Ok(())
        }
    }

    fn flush(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

#[test]
fn a_medium_that_forgets_is_found_out_before_it_looks_encrypted() {
    let prepared = quick(64 * MIB, 9);
    let medium = Medium::new(64 * MIB);
    let stick = Forgetful(medium.clone(), 40 * MIB);
    let second = prepared.placement().metadata_offsets[1];
    assert!(
        matches!(prepared.write(&stick), Err(CreateError::NotKept { offset }) if offset == second),
        "the second copy is not kept"
    );
    let mut first = [0xff; 512];
    medium.read_at(0, &mut first).expect("readable");
    assert_eq!(first, [0; 512]);
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is_written() {
    let random = &mut numbers(1);
    let new = new_volume(64 * MIB, EncryptionMethod::AesXts128, SectorSize::B512);
    assert!(matches!(new.prepare(random), Err(CreateError::NoProtector)));

    let mut small = new_volume(40 * MIB, EncryptionMethod::AesXts128, SectorSize::B512);
    small.protectors.push(NewProtector::ClearKey);
    assert!(matches!(
        small.prepare(random),
        Err(CreateError::Placement(PlacementError::TooSmall { .. }))
    ));

    let mut new = new_volume(64 * MIB, EncryptionMethod::AesXts128, SectorSize::B512);
    new.protectors.push(NewProtector::ClearKey);
    let no_randomness = &mut |_: &mut [u8]| Err(io::Error::other("none left"));
    assert!(matches!(
        new.prepare(no_randomness),
        Err(CreateError::Randomness(_))
    ));

    let mut wordy = new_volume(64 * MIB, EncryptionMethod::AesXts128, SectorSize::B512);
    wordy.protectors.push(NewProtector::ClearKey);
    wordy.description = "x".repeat(32_700);
    assert!(
        matches!(
            wordy.prepare(random),
            Err(CreateError::Metadata(MetadataError::Shape(_)))
        ),
        "more than a metadata copy holds"
    );

    let short = Medium::new(63 * MIB);
    assert!(matches!(
        quick(64 * MIB, 1).write(&*short),
        Err(CreateError::Write(WriteError::PastEnd { .. }))
    ));
    assert_eq!(short.stored_bytes(), 0);
}

/// Metadata of real volumes: reading and writing loses nothing, and sealing them again as Windows did gives what
/// Windows wrote, to the last byte.
#[test]
fn real_metadata_are_written_and_sealed_as_windows_did() {
    let (mut read, mut sealed_again) = (0, 0);
    for known in corpus::volumes() {
        let device = keyhaven_disk::open(&known.image()).expect("the image opens");
        let trusting = OpenOptions {
            ignore_checksums: true,
            ..OpenOptions::default()
        };
        let Ok(volume) = Volume::open(Arc::clone(&device), &trusting, &mut unwatched) else {
            continue;
        };
        let len_bytes = match volume.format() {
            VolumeFormat::Vista => 0x4000,
            _ => REGION_LEN_BYTES,
        };
        let unlocked = known
            .secret(SecretKind::Password)
            .map(|password| Credential::Password(Password::new(SecretText::copy_of(password))))
            .or_else(|| {
                let key = known.secret(SecretKind::Recovery)?;
                Some(Credential::RecoveryPassword(RecoveryPassword::parse(key).ok()?))
            })
            .and_then(|credential| volume.unlock(&credential).ok());

        let mut seen = BTreeSet::new();
        let mut whole = 0;
        for offset in volume.copies().iter().filter_map(|copy| copy.offset) {
            let mut region = vec![0; len_bytes as usize];
            // A cut-off image does not have all copies.
            if device.read_at(offset, &mut region).is_err() {
                continue;
            }
            whole += 1;
            if !seen.insert(region.clone()) {
                continue;
            }
            let mut builder = match MetadataBuilder::read(&region) {
                Ok(builder) => builder,
                Err(MetadataError::Shape(_)) if region.iter().all(|byte| *byte == 0) => continue,
                Err(error) => panic!("{}, copy at {offset:#x}: {error}", known.name),
            };
            let Some(vmk) = unlocked.as_ref().and_then(Unlocked::vmk) else {
                continue;
            };
            let Some(Value::Sealed(stored)) = builder
                .block()
                .validation
                .as_ref()
                .and_then(|validation| validation.integrity.as_ref())
                .map(|datum| &datum.value)
            else {
                continue;
            };
            let time = FileTime(u64::from_le_bytes(
                stored.nonce[..8].try_into().expect("eight bytes"),
            ));
            if !builder.block().crc32_is_right() {
                continue;
            }
            // Sealing uses up the nonce that the block counted last.
            builder.block_mut().dataset.next_nonce_counter -= 1;
            let again = builder.seal(vmk, time).expect("it fits");
            assert!(again == region, "{}, copy at {offset:#x}", known.name);
            sealed_again += 1;
        }
        read += usize::from(whole > 0);
    }
    assert!(
        read > 20 || corpus::volumes().is_empty(),
        "{read} volumes had a whole copy"
    );
    assert!(
        sealed_again > 10 || corpus::volumes().is_empty(),
        "the corpus has more of these: {sealed_again}"
    );
}

/// An edit in between: what is not understood stays, the new entry stands before the place of the moved sectors.
#[test]
fn an_edit_keeps_what_it_does_not_understand() {
    let medium = Medium::new(64 * MIB);
    let prepared = quick(64 * MIB, 21);
    prepared.write(&*medium).expect("written");
    let offsets = prepared.placement().metadata_offsets;
    let vmk = prepared.into_vmk();
    let mut region = vec![0; REGION_LEN_BYTES as usize];
    medium.read_at(offsets[0], &mut region).expect("readable");

    let mut builder = MetadataBuilder::read(&region).expect("metadata");
    let strange = [12, 0, 0x77, 0x77, 0x66, 0, 5, 1, 0xde, 0xad, 0xbe, 0xef];
    for datum in Datum::read_list(&strange).expect("an entry of an unknown type") {
        builder.add(datum);
    }
    let later = FileTime(CREATED.0 + 1);
    let edited = builder.seal(&vmk, later).expect("it fits");
    assert!(
        edited.windows(strange.len()).any(|window| window == strange),
        "it is written"
    );
    for offset in offsets {
        medium.write_at(offset, &edited).expect("written");
    }
    let volume = open(&medium);
    assert_eq!(volume.metadata().unknown_entries(), [(0x7777, 0x66)]);
    assert_eq!(
        volume.metadata().block().datums.last().expect("entries").kind,
        0x0f
    );
    let unlocked = volume.unlock(&Credential::ClearKey).expect("opens");
    assert_eq!(unlocked.integrity(), Integrity::Right);

    let mut again = MetadataBuilder::read(&edited).expect("metadata");
    let counter = again.block().dataset.next_nonce_counter;
    again.seal(&vmk, later).expect("it fits");
    assert_eq!(again.block().dataset.next_nonce_counter, counter + 1);
    again.block_mut().dataset.next_nonce_counter = u32::MAX;
    assert!(matches!(
        again.seal(&vmk, later),
        Err(MetadataError::NoncesUsedUp)
    ));

    // Something behind the checks, which no Windows writes, would be lost.
    let mut odd = edited;
    let last = odd.len() - 1;
    odd[last] = 1;
    assert!(matches!(MetadataBuilder::read(&odd), Err(MetadataError::NotKept { at }) if at == last));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Damaged metadata are refused, or taken up whole: what was not meant to change never does.
    #[test]
    fn damaged_metadata_never_panic_and_are_kept_or_refused(
        damage in prop::collection::vec((0usize..0x300, any::<u8>()), 1..6),
        len in prop_oneof![4 => Just(REGION_LEN_BYTES as usize), 1 => 0usize..0x1000],
    ) {
        let medium = MemoryDevice::new(vec![0; 44 * MIB as usize]);
        let prepared = quick(44 * MIB, 2);
        prepared.write(&medium).expect("written");
        let mut region = vec![0; REGION_LEN_BYTES as usize];
        medium.read_at(prepared.placement().metadata_offsets[0], &mut region).expect("readable");
        for (at, byte) in damage {
            region[at] = byte;
        }
        region.truncate(len);
        if let Ok(mut builder) = MetadataBuilder::read(&region)
            && let Ok(sealed) = builder.seal(&prepared.into_vmk(), CREATED)
        {
            prop_assert_eq!(sealed.len(), region.len());
            let read = MetadataBuilder::read(&sealed).expect("what was sealed is well-formed");
            prop_assert_eq!(read.block().datums.len(), builder.block().datums.len());
            prop_assert!(read.block().crc32_is_right());
        }
    }
}
