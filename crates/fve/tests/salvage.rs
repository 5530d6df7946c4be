//! Real volumes with their metadata damaged in every way that leaves something: what opens gives the same plaintext, and
//! what cannot be known is refused or said.

mod published;

use std::sync::Arc;

use keyhaven_crypto::{Secret, sha256};
use keyhaven_disk::recording::Recorder;
use keyhaven_disk::{BlockDevice, Device, ReadError, View, WritableDevice};
use keyhaven_fve::create::{NewProtector, NewVolume};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::VolumeMasterKey;
use keyhaven_fve::salvage::{
    Assume, Assumption, Remains, Repair, RepairError, SalvageError, Salvaged, Search, SettleError,
};
use keyhaven_fve::{
    Credential, EncryptionMethod, KeyPackage, OpenOptions, ProtectorKind, Unlocked, UnlockedVolume, Volume,
    VolumeFormat, unwatched,
};
use keyhaven_testkit::{corpus, numbers};

use published::credential;

/// A device with some bytes changed.
#[derive(Debug, Clone)]
struct Damaged {
    device: Device,
    changes: Vec<(u64, Vec<u8>)>,
}

impl Damaged {
    fn zero(&mut self, at: u64, len: usize) {
        self.changes.push((at, vec![0; len]));
    }

    fn noise(&mut self, at: u64, len: usize) {
        let bytes = (0..len).map(|i| (i * 151 + i / 7) as u8 | 0x80).collect();
        self.changes.push((at, bytes));
    }

    fn share(self) -> Device {
        Arc::new(self)
    }
}

impl BlockDevice for Damaged {
    fn len_bytes(&self) -> u64 {
        self.device.len_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.device.read_at(offset, buf)?;
        let end = offset + buf.len() as u64;
        for (at, bytes) in &self.changes {
            let (from, to) = ((*at).max(offset), (at + bytes.len() as u64).min(end));
            if from < to {
                let (into, out) = ((from - offset) as usize, (from - at) as usize);
                let len = (to - from) as usize;
                buf[into..into + len].copy_from_slice(&bytes[out..out + len]);
            }
        }
        Ok(())
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        self.device.hole_at(offset, len)
    }
}

/// A volume, its master key, and what its plaintext is where anything is stored.
struct Subject {
    name: String,
    whole: Damaged,
    vmk: VolumeMasterKey,
    package: KeyPackage,
    format: VolumeFormat,
    places: [u64; 3],
    moved: u64,
    plaintext: [u8; 32],
    sparse: [u8; 32],
}

fn open(device: &Device) -> Option<Volume> {
    let options = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    Volume::open(Arc::clone(device), &options, &mut unwatched).ok()
}

fn vmk_of(vmk: &VolumeMasterKey) -> Credential {
    Credential::VolumeMasterKey(copy_of(vmk))
}

fn copy_of(vmk: &VolumeMasterKey) -> VolumeMasterKey {
    VolumeMasterKey::new(Secret::init_with(|own| *own = *vmk.key().expose_secret()))
}

/// Hashes the plaintext around everything that is stored, and at the start.
fn hash_of(device: &Device, data: &UnlockedVolume) -> [u8; 32] {
    const STEP: usize = 0x1_0000;

    let mut all = Vec::new();
    let mut buf = vec![0; STEP];
    let end = data.len_bytes().min(device.len_bytes()) / STEP as u64 * STEP as u64;
    for at in (0..end).step_by(STEP) {
        if device.hole_at(at, STEP as u64) < STEP as u64 {
            data.read_at(at, &mut buf).expect("readable");
            all.extend_from_slice(&sha256(&buf));
        }
    }
    sha256(&all)
}

impl Subject {
    fn of(name: &str) -> Option<Self> {
        let known = corpus::volume_or_skip(name)?;
        let device = keyhaven_disk::open(&known.image()).expect("the image opens");
        let volume = open(&device).expect("it is whole");
        let secret = known.all_secrets().next().expect("it has secrets");
        let unlocked = volume.unlock(&credential(&known, secret)).expect("unlocks");
        let vmk = copy_of(unlocked.vmk().expect("there"));
        let protectors = volume.metadata().protectors();
        let own = protectors
            .iter()
            .find(|own| own.kind() == ProtectorKind::RecoveryPassword)
            .or(protectors.first());
        let package = KeyPackage::of(volume.metadata(), own.expect("it has one").id()).expect("whole");
        let block = volume.metadata().block();
        let (places, moved) = (block.metadata_offsets, block.virtualized_offset);
        let format = volume.format();
        let data = volume.data(unlocked).expect("readable");
        let plaintext = hash_of(&device, &data);
        let sparse = hash_of(&device, &data.with_unwritten_as_zeros());
        Some(Self {
            name: name.to_owned(),
            whole: Damaged {
                device,
                changes: Vec::new(),
            },
            vmk,
            package,
            format,
            places,
            moved,
            plaintext,
            sparse,
        })
    }

    fn salvage(&self, device: Device, package: bool, assume: Assume) -> Result<Salvaged, String> {
        let package = package.then_some(&self.package);
        let remains = Remains::collect(device, package, &mut unwatched).map_err(|error| error.to_string())?;
        let volume = remains
            .volume(&mut unwatched)
            .map_err(|error| error.to_string())?;
        let unlocked = volume
            .unlock(&vmk_of(&self.vmk))
            .map_err(|error| error.to_string())?;
        remains
            .settle(volume, unlocked, assume, &mut unwatched)
            .map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))
    }

    /// Salvages a damaged volume that has all it needs, and holds the plaintext against that of the whole one.
    fn check(&self, what: &str, damaged: Damaged, package: bool) {
        let device = damaged.share();
        assert!(
            open(&device).is_none_or(|volume| volume.unlock(&vmk_of(&self.vmk)).is_err()),
            "{what}: not damaged"
        );
        let salvaged = self
            .salvage(Arc::clone(&device), package, Assume::default())
            .unwrap_or_else(|error| panic!("{}, {what}: {error}", self.name));
        let known = !salvaged.assumptions.contains(&Assumption::MetadataPlacesUnknown);
        let expected = if known { self.plaintext } else { self.sparse };
        assert_eq!(
            hash_of(&device, &salvaged.data),
            expected,
            "{}, {what}",
            self.name
        );
        if known {
            assert_eq!(salvaged.assumptions, [], "{}, {what}", self.name);
        }
    }

    fn damaged(&self, change: impl Fn(&mut Damaged, u64, usize)) -> Damaged {
        let mut damaged = self.whole.clone();
        for (index, place) in self.places.into_iter().enumerate() {
            change(&mut damaged, place, index);
        }
        damaged
    }
}

const VOLUMES: [&str; 5] = [
    "cs-aes-xts-128",
    "cs-aes-cbc-elephant-128",
    "cs-aes-xts-128-4k",
    "cs-aes-xts-128-smart-card",
    "df-eow_partial",
];

/// What each copy loses: its first sector, its second, a part of its first. Blocks may be two sectors long.
const LOST: [(u64, usize); 3] = [(0, 512), (512, 512), (0x70, 64)];

#[test]
fn another_sector_lost_in_each_copy() {
    for subject in VOLUMES.iter().filter_map(|name| Subject::of(name)) {
        let damaged = subject.damaged(|damaged, place, index| {
            let (at, len) = LOST[index];
            damaged.zero(place + at, len);
        });
        subject.check("zeros", damaged.clone(), false);
        let noise = subject.damaged(|damaged, place, index| {
            let (at, len) = LOST[index];
            damaged.noise(place + at, len);
        });
        subject.check("noise", noise, false);
        let mut no_boot = damaged;
        no_boot.zero(0, 512);
        subject.check("zeros, and no boot sector", no_boot, false);
    }
}

/// Of these less can be found out without metadata.
const OTHERS: [&str; 2] = ["cs-togo-aes-cbc-128", "df-aes-xts_128"];

#[test]
fn the_same_byte_changed_in_all_copies() {
    for subject in VOLUMES.iter().filter_map(|name| Subject::of(name)) {
        // The first letter of the description, or of what stands first.
        let damaged = subject.damaged(|damaged, place, _| damaged.noise(place + 0x79, 1));
        subject.check("a letter", damaged, false);
        // The length of the list and of its first entry: the chain leads nowhere.
        let chain = subject.damaged(|damaged, place, _| {
            damaged.noise(place + 0x40, 4);
            damaged.noise(place + 0x70, 2);
        });
        subject.check("the chain of entries", chain, false);
    }
}

#[test]
fn headers_lost_in_all_copies() {
    for subject in VOLUMES.iter().filter_map(|name| Subject::of(name)) {
        // The header, and all of what tells how far the volume is encrypted.
        let damaged = subject.damaged(|damaged, place, _| damaged.zero(place, 0x70));
        if subject.format == VolumeFormat::Eow {
            continue;
        }
        subject.check("no headers", damaged, false);
    }
}

#[test]
fn nothing_left_but_a_key_package() {
    for subject in VOLUMES.iter().filter_map(|name| Subject::of(name)) {
        if subject.format == VolumeFormat::Eow {
            continue;
        }
        let damaged = subject.damaged(|damaged, place, _| damaged.zero(place, 0x1_0000));
        subject.check("the boot sector and a package", damaged.clone(), true);
        let mut nothing = damaged;
        nothing.zero(0, 0x2000);
        assert!(matches!(
            Remains::collect(nothing.clone().share(), None, &mut unwatched),
            Err(SalvageError::NoKeys)
        ));
        subject.check("a package", nothing.clone(), true);

        // And the moved boot sectors gone too: nothing tells where the file system begins.
        nothing.zero(subject.moved, 0x2000);
        let refused = subject.salvage(
            nothing.share(),
            true,
            Assume {
                fully_encrypted: true,
            },
        );
        assert!(refused.is_err(), "{}", subject.name);
    }
}

/// Which chunks are encrypted cannot be known without the record: refused, whatever is said about the keys.
#[test]
fn a_volume_encrypted_on_write_without_its_record_is_refused() {
    let Some(subject) = Subject::of("df-eow_partial") else {
        return;
    };
    let volume = open(&subject.whole.clone().share()).expect("whole");
    let mut boot = [0; 512];
    volume.device().read_at(0, &mut boot).expect("readable");
    let mut damaged = subject.damaged(|damaged, place, _| damaged.zero(place, 0x1_0000));
    for at in [0xc8, 0xd0] {
        let offset = u64::from_le_bytes(boot[at..at + 8].try_into().expect("eight bytes"));
        damaged.zero(offset, 0x1000);
    }
    assert!(
        subject
            .salvage(damaged.clone().share(), true, Assume::default())
            .is_err()
    );
    damaged.zero(0, 512);
    assert!(subject.salvage(damaged.share(), true, Assume::default()).is_err());
}

/// A volume that was being encrypted and came to a boundary, with text for content.
struct HalfWay {
    bytes: Vec<u8>,
    text: Vec<u8>,
    vmk: VolumeMasterKey,
    package: KeyPackage,
    places: [u64; 3],
}

const BOUNDARY: usize = 0x280_0000;

impl HalfWay {
    fn new(seed: u64) -> Self {
        let (medium, vmk) = made(seed);
        let mut bytes = medium.content();
        let device: Device = Arc::new(bytes.clone());
        let volume = open(&device).expect("whole");
        let metadata = volume.metadata();
        let package = KeyPackage::of(metadata, metadata.protectors()[0].id()).expect("whole");
        let unlocked = volume.unlock(&vmk_of(&vmk)).expect("opens");
        let cipher = unlocked.fvek().expect("there").cipher(volume.sector_size());
        let (places, moved) = (
            metadata.block().metadata_offsets,
            metadata.block().virtualized_offset,
        );

        let mut text = b"All work and no play. ".repeat(bytes.len() / 22 + 1);
        text.truncate(bytes.len());
        let mut content = text.clone();
        cipher.encrypt(0, &mut content[..BOUNDARY]);
        let mut first = ntfs_boot(LEN);
        first.resize(0x2000, 0);
        cipher.encrypt(moved, &mut first);
        content[moved as usize..][..0x2000].copy_from_slice(&first);
        for place in places {
            let region = place as usize..place as usize + 0x1_0000;
            content[region.clone()].copy_from_slice(&bytes[region]);
        }
        content[..0x2000].copy_from_slice(&bytes[..0x2000]);
        bytes = content;
        Self {
            bytes,
            text,
            vmk,
            package,
            places,
        }
    }

    /// Writes a state and how far the encryption came into all headers; no checksum is right then.
    fn with_state(mut self, current: u8, next: u8, boundary: u64) -> Self {
        for place in self.places {
            let header = &mut self.bytes[place as usize..];
            header[0x0c..0x10].copy_from_slice(&[current, 0, next, 0]);
            header[0x10..0x18].copy_from_slice(&boundary.to_le_bytes());
            // Something that nothing depends on.
            header[0x7a] ^= 1;
        }
        self
    }

    fn salvage(&self, package: bool, assume: Assume) -> Result<Salvaged, SettleError> {
        let device: Device = Arc::new(self.bytes.clone());
        let package = package.then_some(&self.package);
        let remains = Remains::collect(device, package, &mut unwatched)?;
        let volume = remains.volume(&mut unwatched)?;
        let unlocked = volume.unlock(&vmk_of(&self.vmk)).expect("its key");
        remains.settle(volume, unlocked, assume, &mut unwatched)
    }

    /// Holds what is shown on both sides of the boundary against the text.
    fn check(&self, salvaged: &Salvaged) {
        let mut around = vec![0; 0x8000];
        let from = BOUNDARY - 0x4000;
        salvaged.data.read_at(from as u64, &mut around).expect("readable");
        assert!(around == self.text[from..][..0x8000]);
        assert_eq!(salvaged.volume.encrypted_bytes(), Some(BOUNDARY as u64));
    }
}

/// All headers are lost: the data tell how far the encryption had come.
#[test]
fn the_end_of_encryption_is_found_in_the_data() {
    let mut half_way = HalfWay::new(1);
    for place in half_way.places {
        half_way.bytes[place as usize..][..0x1_0000].fill(0);
    }
    let salvaged = half_way
        .salvage(true, Assume::default())
        .expect("told by the data");
    half_way.check(&salvaged);
    half_way.bytes[..0x2000].fill(0);
    let salvaged = half_way
        .salvage(true, Assume::default())
        .expect("told by the data");
    half_way.check(&salvaged);
    assert_eq!(salvaged.assumptions, [Assumption::MetadataPlacesUnknown]);
}

/// What headers say that no checksum proves is held against the data.
#[test]
fn a_header_that_the_data_contradict_is_not_believed() {
    for (current, next) in [(3, 4), (3, 1), (5, 4), (5, 1)] {
        let half_way = HalfWay::new(5).with_state(current, next, BOUNDARY as u64);
        let salvaged = half_way
            .salvage(false, Assume::default())
            .expect("the data agree");
        half_way.check(&salvaged);
        assert_eq!(salvaged.assumptions, []);
    }
    for (current, next, boundary) in [
        (4, 4, LEN),
        (3, 4, BOUNDARY as u64 + 0x10_0000),
        (3, 4, BOUNDARY as u64 - 0x10_0000),
    ] {
        let half_way = HalfWay::new(5).with_state(current, next, boundary);
        let refused = half_way.salvage(
            false,
            Assume {
                fully_encrypted: true,
            },
        );
        assert!(
            matches!(refused, Err(SettleError::Contradiction { found, .. }) if found == BOUNDARY as u64),
            "{boundary:#x}: {:?}",
            refused.err()
        );
    }
}

/// Every kind of damage to all copies, with and without the boot sector, of every kind of volume: the same plaintext, or a
/// refusal; anything else is an assumption that is said.
#[test]
fn no_damage_gives_other_data() {
    type Damage = fn(&mut Damaged, u64);

    let kinds: [(&str, Damage); 8] = [
        ("the signature", |damaged, place| damaged.zero(place, 8)),
        ("the size", |damaged, place| damaged.noise(place + 8, 2)),
        ("the state", |damaged, place| damaged.noise(place + 0x0c, 4)),
        ("how far it came", |damaged, place| damaged.noise(place + 0x10, 8)),
        ("the place of the moved sectors", |damaged, place| {
            damaged.noise(place + 0x38, 8)
        }),
        ("the method", |damaged, place| damaged.noise(place + 0x64, 4)),
        ("the end", |damaged, place| damaged.zero(place + 0x180, 0xfe80)),
        ("the checks", |damaged, place| damaged.zero(place + 0x300, 0xfd00)),
    ];
    let (mut shown, mut refused) = (0, 0);
    for subject in VOLUMES.iter().chain(&OTHERS).filter_map(|name| Subject::of(name)) {
        for (what, damage) in kinds {
            for has_boot in [true, false] {
                let mut damaged = subject.damaged(|damaged, place, _| damage(damaged, place));
                if !has_boot {
                    damaged.zero(0, 512);
                }
                let device = damaged.share();
                // The checks may lie elsewhere in this volume.
                if open(&device).is_some() {
                    continue;
                }
                match subject.salvage(Arc::clone(&device), false, Assume::default()) {
                    Ok(salvaged) if salvaged.assumptions.is_empty() => {
                        shown += 1;
                        let same = hash_of(&device, &salvaged.data) == subject.plaintext;
                        assert!(same, "{}, {what}, boot sector {has_boot}", subject.name);
                    }
                    _ => refused += 1,
                }
            }
        }
    }
    assert!(
        shown > 2 * refused || shown == 0,
        "{shown} shown, {refused} refused"
    );
}

#[test]
fn a_lost_partition_table_is_made_up_for() {
    let (medium, vmk) = made(2);
    let start = 0x10_0000;
    let mut disk = vec![0; start + medium.content().len()];
    disk[start..].copy_from_slice(&medium.content());
    let disk: Device = Arc::new(disk);
    let found = Search::run(&disk, &mut unwatched).expect("not stopped");
    let starts = found.volume_starts(&disk);
    assert_eq!(starts.len(), 1, "{starts:?}");
    assert_eq!((starts[0].offset, starts[0].copies.len()), (start as u64, 3));
    assert!(starts[0].is_certain);
    let len = disk.len_bytes() - start as u64;
    let volume: Device = Arc::new(View::new(Arc::clone(&disk), start as u64, len));
    assert!(open(&volume).expect("a volume").unlock(&vmk_of(&vmk)).is_ok());
}

const LEN: u64 = 64 << 20;

fn made(seed: u64) -> (Recorder, VolumeMasterKey) {
    let mut new = NewVolume::new(
        LEN,
        EncryptionMethod::AesXts128,
        FileTime(134_400_096_123_456_789),
    );
    new.protectors = vec![NewProtector::ExternalKey];
    new.description = "KEYHAVEN Test 11/24/2026".to_owned();
    let prepared = new.prepare(&mut numbers(seed)).expect("prepared");
    let medium = Recorder::over(&vec![0; LEN as usize]);
    prepared.write(&medium).expect("written");
    // The front of the file system, without which nothing tells where it begins.
    let fvek = prepared
        .fvek()
        .cipher(keyhaven_crypto::SectorSize::new(512).expect("a size"));
    let moved = prepared.placement().moved_offset;
    let mut first = ntfs_boot(LEN);
    fvek.encrypt(moved, &mut first);
    medium.write_at(moved, &first).expect("written");
    let vmk = prepared.into_vmk();
    (medium.fork(), vmk)
}

fn ntfs_boot(len_bytes: u64) -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[..3].copy_from_slice(&[0xeb, 0x52, 0x90]);
    sector[3..11].copy_from_slice(b"NTFS    ");
    sector[0x0b..0x0d].copy_from_slice(&512u16.to_le_bytes());
    sector[0x0d] = 8;
    sector[0x18..0x1a].copy_from_slice(&63u16.to_le_bytes());
    sector[0x1a..0x1c].copy_from_slice(&255u16.to_le_bytes());
    sector[0x28..0x30].copy_from_slice(&(len_bytes / 512 - 1).to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn remains_of(device: &Device, vmk: &VolumeMasterKey) -> Result<(Remains, Salvaged), SettleError> {
    let remains = Remains::collect(Arc::clone(device), None, &mut unwatched)?;
    let volume = remains.volume(&mut unwatched)?;
    let unlocked: Unlocked = volume.unlock(&vmk_of(vmk)).expect("its key");
    let salvaged = remains.settle(volume, unlocked, Assume::default(), &mut unwatched)?;
    Ok((remains, salvaged))
}

/// Repairs what is damaged, by whatever is left.
fn repair(medium: &Arc<Recorder>, vmk: &VolumeMasterKey) -> Result<(), RepairError> {
    let device: Device = Arc::clone(medium) as Device;
    let options = OpenOptions::default();
    let plan = match Volume::open(Arc::clone(&device), &options, &mut unwatched) {
        Ok(volume) => {
            let unlocked = volume.unlock(&vmk_of(vmk)).expect("its key");
            Repair::from_copy(&volume, Some(&unlocked))
        }
        Err(_) => {
            let (remains, salvaged) = remains_of(&device, vmk).expect("enough is left");
            Repair::from_remains(&remains, &salvaged, FileTime(134_400_097_000_000_000))
        }
    };
    plan?.write(&**medium)
}

fn assert_whole(medium: &Arc<Recorder>, vmk: &VolumeMasterKey) {
    let device: Device = Arc::clone(medium) as Device;
    let volume = open(&device).expect("it opens");
    assert!(volume.has_boot_sector());
    for copy in volume.copies() {
        assert!(copy.problem.is_none(), "copy {}: {:?}", copy.number, copy.problem);
    }
    let unlocked = volume.unlock(&vmk_of(vmk)).expect("its key");
    assert_eq!(unlocked.integrity(), keyhaven_fve::Integrity::Right);
    let mut first = [0; 512];
    volume
        .data(unlocked)
        .expect("readable")
        .read_at(0, &mut first)
        .expect("readable");
    assert_eq!(first[..], ntfs_boot(LEN)[..]);
    let again = repair(medium, vmk);
    assert!(matches!(again, Err(RepairError::NothingToDo)), "{again:?}");
}

/// Whenever the power goes while a drive is repaired, it can be repaired again.
#[test]
fn a_repair_may_be_cut_off_anywhere() {
    let (whole, vmk) = made(3);
    let whole = Arc::new(whole);
    let places = open(&(Arc::clone(&whole) as Device))
        .expect("whole")
        .metadata()
        .block()
        .metadata_offsets;
    let damages: [(&str, Vec<(u64, usize)>); 4] = [
        ("copies 1 and 3", vec![(places[0], 0x1_0000), (places[2], 512)]),
        ("the boot sector and copy 2", vec![(0, 512), (places[1], 0x400)]),
        (
            "another sector of each copy",
            vec![(places[0], 512), (places[1] + 512, 512), (places[2], 64)],
        ),
        (
            "the description in all copies, and the boot sector",
            vec![
                (0, 512),
                (places[0] + 0x7a, 2),
                (places[1] + 0x7a, 2),
                (places[2] + 0x7a, 2),
            ],
        ),
    ];
    for (what, places) in damages {
        let medium = whole.fork();
        for (at, len) in places {
            medium.write_at(at, &vec![0xdd; len]).expect("written");
        }
        let medium = Arc::new(medium.fork());
        let fresh = Arc::new(medium.fork());
        repair(&fresh, &vmk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_whole(&fresh, &vmk);
        let mut count = 0;
        for (number, state) in fresh.states(400, 3).enumerate() {
            count += 1;
            // What a reader makes of a state is quickly told, a repair takes longer.
            if number % 20 == 0 {
                match repair(&state.device, &vmk) {
                    Ok(()) | Err(RepairError::NothingToDo) => assert_whole(&state.device, &vmk),
                    Err(error) => panic!("{what}, {}: {error}", state.kept),
                }
            }
        }
        assert!(count > 3, "{what}: {count}");
    }
}

#[test]
fn a_whole_volume_is_left_alone_and_a_locked_one_keeps_its_boot_sector() {
    let (whole, vmk) = made(4);
    assert!(matches!(
        repair(&Arc::new(whole.fork()), &vmk),
        Err(RepairError::NothingToDo)
    ));
    whole.write_at(0, &[0; 512]).expect("written");
    let device: Device = Arc::new(whole.fork());
    let volume = Volume::open(device, &OpenOptions::default(), &mut unwatched).expect("found by a search");
    assert!(matches!(
        Repair::from_copy(&volume, None),
        Err(RepairError::NoMasterKey)
    ));
}
