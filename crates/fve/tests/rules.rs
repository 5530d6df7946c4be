//! The rules hold on real volumes and on ours, and every rule fails on a volume made for it.

mod published;

use std::collections::BTreeSet;
use std::sync::Arc;

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_disk::recording::Recorder;
use keyhaven_disk::{BlockDevice, WritableDevice};
use keyhaven_fve::create::{NewProtector, NewVolume};
use keyhaven_fve::edit::{Edit, Unrenewable};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::format::block::InformationBlock;
use keyhaven_fve::format::datum::{Datum, SealedDatum, Utf16, Value, key_type, kind, role};
use keyhaven_fve::keys::{Password, RecoveryPassword, VolumeMasterKey};
use keyhaven_fve::{
    Credential, EncryptionMethod, Guid, MetadataBuilder, OpenOptions, SavedMetadata, Unlocked, Volume, rules,
    unwatched,
};
use keyhaven_testkit::corpus;
use keyhaven_testkit::numbers;
use proptest::prelude::*;

use published::credential;

/// 24 November 2026.
const CREATED: FileTime = FileTime(134_400_096_123_456_789);
const LEN_BYTES: u64 = 64 << 20;

/// What is wrong with real volumes, by those who published them.
fn known_findings(name: &str) -> &'static [&'static str] {
    match name {
        "cs-aes-xts-128-crc" => &["copies-checksum"],
        "dfvfs-bdetogo" => &["copies-checksum", "sealed-hash"],
        // Cut off behind the first copy, or inside it.
        "df-vista" => &["copies-present"],
        "ul-bitlocker-win7" => &["checks-hash", "copies-present"],
        _ => &[],
    }
}

fn lenient(scan: bool) -> OpenOptions {
    OpenOptions {
        ignore_checksums: true,
        scan,
        ..OpenOptions::default()
    }
}

fn broken(volume: &Volume, unlocked: Option<&Unlocked>) -> BTreeSet<&'static str> {
    rules::check(volume, unlocked)
        .iter()
        .map(|finding| finding.rule.id)
        .collect()
}

#[test]
fn real_volumes_keep_them() {
    let mut wrong = Vec::new();
    for known in corpus::volumes() {
        let device = keyhaven_disk::open(&known.image()).expect("the image opens");
        let volume = Volume::open(device, &lenient(true), &mut unwatched).expect("a volume");
        let unlocked = known.secrets.first().and_then(|secret| {
            volume
                .unlock_decrypted()
                .or_else(|| volume.unlock(&credential(&known, secret)).ok())
        });
        let findings = rules::check(&volume, unlocked.as_ref());
        let ids: BTreeSet<_> = findings.iter().map(|finding| finding.rule.id).collect();
        let expected: BTreeSet<_> = known_findings(&known.name).iter().copied().collect();
        if ids != expected {
            wrong.push((known.name.clone(), findings));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A volume of ours with every way in.
struct Made {
    medium: Arc<Recorder>,
    vmk: VolumeMasterKey,
}

fn made() -> Made {
    let random = &mut numbers(1);
    let mut new = NewVolume::new(LEN_BYTES, EncryptionMethod::AesXts128, CREATED);
    new.description = "KEYHAVEN Test 11/24/2026".to_owned();
    new.protectors = vec![
        NewProtector::Password(Password::new(SecretText::copy_of("twelve letters"))),
        NewProtector::RecoveryPassword(RecoveryPassword::generate(random).expect("numbers")),
        NewProtector::ExternalKey,
        NewProtector::ClearKey,
    ];
    let prepared = new.prepare(random).expect("prepared");
    let medium = Recorder::over(&vec![0; LEN_BYTES as usize]);
    prepared.write(&medium).expect("written");
    Made {
        medium: Arc::new(medium.fork()),
        vmk: prepared.into_vmk(),
    }
}

impl Made {
    fn mutant(&self) -> Mutant<'_> {
        Mutant {
            medium: Arc::new(self.medium.fork()),
            vmk: &self.vmk,
        }
    }
}

/// A copy of the volume with one thing wrong.
struct Mutant<'a> {
    medium: Arc<Recorder>,
    vmk: &'a VolumeMasterKey,
}

impl Mutant<'_> {
    fn open(&self) -> Volume {
        Volume::open(Arc::clone(&self.medium) as _, &lenient(true), &mut unwatched).expect("a volume")
    }

    fn offsets(&self) -> [u64; 3] {
        let mut boot = [0; 512];
        self.medium.read_at(0, &mut boot).expect("inside");
        let at = |at: usize| u64::from_le_bytes(boot[at..at + 8].try_into().expect("eight bytes"));
        [at(0xb0), at(0xb8), at(0xc0)]
    }

    fn region(&self, offset: u64) -> Vec<u8> {
        let mut region = vec![0; 0x1_0000];
        self.medium.read_at(offset, &mut region).expect("inside");
        region
    }

    /// Changes the boot sector.
    fn boot(self, at: u64, bytes: &[u8]) -> Self {
        self.medium.write_at(at, bytes).expect("inside");
        self
    }

    /// Changes bytes of one copy.
    fn copy(self, copy: usize, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let offset = self.offsets()[copy];
        let mut region = self.region(offset);
        change(&mut region);
        self.medium.write_at(offset, &region).expect("inside");
        self
    }

    /// Changes bytes of all copies, then makes the checksum right again.
    fn bytes(self, change: impl Fn(&mut Vec<u8>)) -> Self {
        for offset in self.offsets() {
            let mut region = self.region(offset);
            change(&mut region);
            self.medium.write_at(offset, &region).expect("inside");
        }
        self
    }

    /// Changes the metadata, then makes checksum and hash anew, in all copies.
    fn metadata(self, change: impl FnOnce(&mut InformationBlock)) -> Self {
        let offsets = self.offsets();
        let mut metadata = MetadataBuilder::read(&self.region(offsets[0])).expect("ours");
        change(metadata.block_mut());
        let region = metadata.seal(self.vmk, CREATED).expect("it fits");
        for offset in offsets {
            self.medium.write_at(offset, &region).expect("inside");
        }
        self
    }

    fn broken(&self) -> BTreeSet<&'static str> {
        let vmk = VolumeMasterKey::new(keyhaven_crypto::Secret::init_with(|own| {
            *own = *self.vmk.key().expose_secret();
        }));
        let volume = self.open();
        let unlocked = volume.unlock(&Credential::VolumeMasterKey(vmk)).ok();
        broken(&volume, unlocked.as_ref())
    }
}

/// Puts right the checksum of a region whose metadata were changed by hand.
fn fix_checksum(region: &mut [u8]) {
    let size = usize::from(u16::from_le_bytes([region[8], region[9]])) * 16;
    let checksum = crc32fast::hash(&region[..size]);
    region[size + 4..size + 8].copy_from_slice(&checksum.to_le_bytes());
}

fn size_of(region: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([region[8], region[9]])) * 16
}

fn find(block: &mut InformationBlock, wanted: u16) -> &mut Datum {
    block
        .datums
        .iter_mut()
        .find(|datum| datum.role == wanted)
        .expect("there is one")
}

/// Returns the parts of the protector of a kind.
fn parts(block: &mut InformationBlock, code: u16) -> &mut Vec<Datum> {
    block
        .datums
        .iter_mut()
        .find_map(|datum| match &mut datum.value {
            Value::Vmk {
                protector, nested, ..
            } if *protector == code => Some(nested),
            _ => None,
        })
        .expect("there is one")
}

fn copies_in(part: &mut Datum) -> &mut Vec<Datum> {
    match &mut part.value {
        Value::StretchKey { nested, .. } | Value::UseKey { nested, .. } => nested,
        _ => panic!("a part without copies"),
    }
}

fn sealed(datum: &mut Datum) -> &mut SealedDatum {
    match &mut datum.value {
        Value::Sealed(sealed) => sealed,
        _ => panic!("not sealed"),
    }
}

/// Returns a box that nobody has made before.
fn new_box(vmk: &VolumeMasterKey, block: &mut InformationBlock, key_type: u16, key: &[u8]) -> SealedDatum {
    let counter = block.dataset.next_nonce_counter;
    block.dataset.next_nonce_counter += 1;
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&CREATED.0.to_le_bytes());
    nonce[8..].copy_from_slice(&counter.to_le_bytes());
    SealedDatum::seal_key(vmk.key(), nonce, key_type, SecretBytes::copy_of(key))
}

#[test]
fn ours_keep_them() {
    assert_eq!(made().mutant().broken(), BTreeSet::new());
    assert_eq!(made().mutant().metadata(|_| {}).broken(), BTreeSet::new());
}

/// Makes the mutants: the rule that each breaks, and no other.
fn mutants(made: &Made) -> Vec<(&'static str, Mutant<'_>)> {
    let vmk = &made.vmk;
    let new = || made.mutant();
    let virtualization = |block: &mut InformationBlock, change: &dyn Fn(&mut u64, &mut u64, &mut Vec<u8>)| {
        if let Value::Virtualization {
            offset,
            len_bytes,
            extended,
        } = &mut find(block, role::VIRTUALIZATION).value
        {
            change(offset, len_bytes, extended);
        }
    };
    vec![
        ("boot-recognised", new().boot(3, &[0; 8]).boot(0xa0, &[0; 16])),
        (
            "method-known",
            new().metadata(|block| {
                block.dataset.method = 0x8006;
                block.dataset.unknown_26 = 0;
            }),
        ),
        (
            "sector-key-one",
            new().metadata(|block| {
                let inside = sealed(find(block, role::FVEK)).open_key(vmk.key()).expect("ours");
                let second = new_box(vmk, block, inside.key_type, inside.key.expose_secret());
                block
                    .datums
                    .insert(1, Datum::new(role::FVEK, kind::SEALED, Value::Sealed(second)));
            }),
        ),
        (
            "places-inside",
            new().metadata(|block| {
                block.virtualized_offset = LEN_BYTES - 4096;
                virtualization(block, &|offset, _, _| *offset = LEN_BYTES - 4096);
            }),
        ),
        (
            "checks-hash",
            new().bytes(|region| {
                let size = size_of(region);
                region[size + 8..size + 0x58].fill(0);
            }),
        ),
        (
            "nonce-hash-last",
            new()
                .metadata(|block| {
                    let next = block.dataset.next_nonce_counter;
                    let inside = sealed(find(block, role::FVEK)).open_key(vmk.key()).expect("ours");
                    let fresh = new_box(vmk, block, inside.key_type, inside.key.expose_secret());
                    *sealed(find(block, role::FVEK)) = fresh;
                    // The hash gets the counter before that.
                    block.dataset.next_nonce_counter = next - 1;
                })
                .bytes(|region| {
                    let next = u32::from_le_bytes(region[0x60..0x64].try_into().expect("four bytes")) + 1;
                    region[0x60..0x64].copy_from_slice(&next.to_le_bytes());
                    reseal(region, vmk);
                }),
        ),
        (
            "nonce-once",
            new().metadata(|block| {
                let nonce = sealed(&mut parts(block, 0x0000)[1]).nonce;
                let inside = sealed(find(block, role::FVEK)).open_key(vmk.key()).expect("ours");
                *sealed(find(block, role::FVEK)) =
                    SealedDatum::seal_key(vmk.key(), nonce, inside.key_type, inside.key);
            }),
        ),
        ("copies-present", new().copy(2, |region| region[0] = 0)),
        ("copies-checksum", new().copy(1, |region| region[0x78] ^= 1)),
        (
            "copies-identical",
            new().copy(1, |region| {
                region[0x78] ^= 1;
                fix_checksum(region);
            }),
        ),
        ("copies-rest-zero", new().bytes(|region| region[0xff00] = 1)),
        (
            "block-size",
            new().bytes(|region| {
                // Sixteen bytes more: the checks move.
                let size = size_of(region);
                region.copy_within(size..size + 0x60, size + 16);
                region[size..size + 16].fill(0);
                let units = (size / 16 + 1) as u16;
                region[8..10].copy_from_slice(&units.to_le_bytes());
                let left = (0x1_0000 - size - 16) as u16;
                region[size + 16..size + 18].copy_from_slice(&left.to_le_bytes());
                reseal(region, vmk);
            }),
        ),
        (
            "block-padding",
            new()
                .metadata(|block| {
                    let text = Utf16::new("KEYHAVEN");
                    find(block, role::DESCRIPTION).value = Value::Text(text);
                })
                .bytes(|region| {
                    let size = size_of(region);
                    region[size - 1] = 1;
                    reseal(region, vmk);
                }),
        ),
        (
            "checks-size",
            new().bytes(|region| {
                let size = size_of(region);
                region[size] ^= 1;
            }),
        ),
        (
            "checks-version",
            new().bytes(|region| {
                let size = size_of(region);
                region[size + 2] = 1;
            }),
        ),
        ("boot-jump", new().boot(0, &[0xeb, 0x57])),
        ("boot-mark", new().boot(510, &[0, 0])),
        ("boot-template", new().boot(0x38, &[1])),
        ("boot-sector-size", new().boot(0x0b, &[1])),
        ("boot-offsets", new().boot(0xb8, &[0, 0x02])),
        ("state-known", new().metadata(|block| block.next_state = 9)),
        ("state-offset", new().metadata(|block| block.state_offset -= 1)),
        (
            "log-only-converting",
            new().metadata(|block| block.state_len_bytes = 512),
        ),
        (
            "places-apart",
            new().metadata(|block| {
                let moved = block.metadata_offsets[1] + 0x1_0000 - 512;
                block.virtualized_offset = moved;
                virtualization(block, &|offset, _, _| *offset = moved);
            }),
        ),
        (
            "places-aligned",
            new().metadata(|block| {
                block.virtualized_offset += 256;
                virtualization(block, &|offset, _, _| *offset += 256);
            }),
        ),
        (
            "moved-agrees",
            new().metadata(|block| block.virtualized_sectors = 8),
        ),
        (
            "entries-header",
            new().bytes(|region| {
                region[0x44] = 2;
                reseal(region, vmk);
            }),
        ),
        ("volume-id", new().metadata(|block| block.dataset.id = Guid::ZERO)),
        (
            "method-twice",
            new().metadata(|block| block.dataset.unknown_26 = 0x8001),
        ),
        (
            "description-one",
            new().metadata(|block| {
                block.datums.retain(|datum| datum.role != role::DESCRIPTION);
            }),
        ),
        (
            "moved-entry-one",
            new().metadata(|block| {
                block.datums.retain(|datum| datum.role != role::VIRTUALIZATION);
            }),
        ),
        (
            "moved-entry-extended",
            new().metadata(|block| {
                virtualization(block, &|_, _, extended| extended[0] = 6);
            }),
        ),
        (
            "moved-entry-sector-size",
            new().metadata(|block| {
                virtualization(block, &|_, _, extended| {
                    extended[28..32].copy_from_slice(&1024_u32.to_le_bytes())
                });
            }),
        ),
        (
            "protector-ids",
            new().metadata(|block| {
                for datum in &mut block.datums {
                    if let Value::Vmk { id, .. } = &mut datum.value {
                        *id = Guid::from_random([7; 16]);
                    }
                }
            }),
        ),
        (
            "protector-reserved",
            new().metadata(|block| {
                if let Value::Vmk { unknown_18, .. } = &mut find(block, role::VMK).value {
                    *unknown_18 = 1;
                }
            }),
        ),
        (
            "protector-parts",
            new().metadata(|block| {
                if let Value::StretchKey { key_type, .. } = &mut parts(block, 0x2000)[0].value {
                    *key_type = 0x1002;
                }
            }),
        ),
        (
            "protector-name-one",
            new().metadata(|block| {
                let name = Datum::new(role::PROPERTY, kind::TEXT, Value::Text(Utf16::new("Twice")));
                parts(block, 0x0200).insert(1, name);
            }),
        ),
        (
            "entry-flags",
            new().metadata(|block| find(block, role::FVEK).flags = 0x10),
        ),
        (
            "nonce-counter-next",
            new()
                .metadata(|block| block.dataset.next_nonce_counter += 0)
                .bytes(|region| {
                    let next = u32::from_le_bytes(region[0x60..0x64].try_into().expect("four bytes")) + 5;
                    region[0x60..0x64].copy_from_slice(&next.to_le_bytes());
                    reseal(region, vmk);
                }),
        ),
        (
            "nonce-copies-first",
            new().metadata(|block| {
                let mut copies = std::mem::take(copies_in(&mut parts(block, 0x0200)[1]));
                let inside = sealed(&mut copies[0]).open_key(vmk.key()).expect("ours");
                let fresh = new_box(vmk, block, key_type::EXTERNAL, inside.key.expose_secret());
                *sealed(&mut copies[0]) = fresh;
                *copies_in(&mut parts(block, 0x0200)[1]) = copies;
            }),
        ),
        (
            "sealed-hash",
            new().bytes(|region| {
                region[0x78] ^= 1;
                fix_checksum(region);
            }),
        ),
        (
            "sealed-copies",
            new().metadata(|block| {
                let tag = &mut sealed(&mut copies_in(&mut parts(block, 0x0800)[0])[0]).tag;
                tag[0] ^= 1;
            }),
        ),
        (
            "sealed-open-key",
            new().metadata(|block| {
                let tag = &mut sealed(&mut parts(block, 0x0000)[1]).tag;
                tag[0] ^= 1;
            }),
        ),
        (
            "sealed-copies-open",
            new().metadata(|block| {
                let tag = &mut sealed(&mut parts(block, 0x0200)[2]).tag;
                tag[0] ^= 1;
            }),
        ),
        (
            "sealed-sector-key",
            new().metadata(|block| {
                let key = [7; 32];
                let fresh = new_box(vmk, block, 0x8003, &key);
                *sealed(find(block, role::FVEK)) = fresh;
            }),
        ),
        (
            "sealed-auto-unlock",
            new().metadata(|block| {
                let fresh = new_box(vmk, block, key_type::CLEAR, &[7; 32]);
                block.datums.insert(
                    1,
                    Datum::new(role::AUTO_UNLOCK, kind::SEALED, Value::Sealed(fresh)),
                );
            }),
        ),
    ]
}

/// Makes checksum and sealed hash anew over bytes that were changed by hand, with the nonce that is there.
fn reseal(region: &mut [u8], vmk: &VolumeMasterKey) {
    let size = size_of(region);
    let hash = SecretBytes::copy_of(&keyhaven_crypto::sha256(&region[..size]));
    let at = size + 8;
    let nonce: [u8; 12] = region[at + 8..at + 20].try_into().expect("twelve bytes");
    let sealed = SealedDatum::seal_key(vmk.key(), nonce, key_type::HASH_256, hash);
    let datum = Datum::new(role::PROPERTY, kind::SEALED, Value::Sealed(sealed)).to_bytes();
    region[at..at + datum.len()].copy_from_slice(&datum);
    fix_checksum(region);
}

#[test]
fn every_rule_fails_on_its_mutant_and_no_other_does() {
    let made = made();
    let mut wrong = Vec::new();
    let mutants = mutants(&made);
    let named: BTreeSet<_> = mutants.iter().map(|(rule, _)| *rule).collect();
    let all: BTreeSet<_> = rules::all().map(|rule| rule.id).collect();
    assert_eq!(named, all, "every rule has a mutant");
    for (rule, mutant) in mutants {
        let broken = mutant.broken();
        if broken != BTreeSet::from([rule]) {
            wrong.push((rule, broken));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the metadata are, they are judged, taken up to be changed or refused, and saved or not.
    #[test]
    fn no_metadata_panic(changes in prop::collection::vec((0..0x600_usize, any::<u8>()), 1..8), boot in any::<bool>()) {
        thread_local! {
            static MADE: Made = made();
        }
        MADE.with(|made| {
            let mutant = made.mutant().bytes(|region| {
                for (at, byte) in &changes {
                    region[*at] = *byte;
                }
                if size_of(region) < 0xf000 {
                    fix_checksum(region);
                }
            });
            let mutant = if boot { mutant.boot(changes[0].0 as u64 % 0x200, &[changes[0].1]) } else { mutant };
            let opened = Volume::open(Arc::clone(&mutant.medium) as _, &lenient(false), &mut unwatched);
            let Ok(volume) = opened else { return };
            let unlocked = volume.unlock(&Credential::ClearKey).ok();
            let _ = rules::check(&volume, unlocked.as_ref());
            if let Ok(saved) = SavedMetadata::take(&volume, CREATED) {
                assert!(SavedMetadata::read(&saved.to_bytes()).is_ok());
            }
            let Some(unlocked) = unlocked else { return };
            if let Ok(mut edit) = Edit::begin(&volume, &unlocked, CREATED) {
                let _ = edit.resume();
                let _ = edit.rotate_vmk(Unrenewable::Remove, &mut numbers(3));
                let _ = edit.commit(&*mutant.medium);
            }
        });
    }
}
