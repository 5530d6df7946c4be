//! Every real volume with every secret it is known to have: does it unlock, is the plaintext what others found, and
//! does its metadata give the recovery keys that its makers published?

mod published;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use keyhaven_crypto::{Secret, SecretBytes, SecretText};
use keyhaven_disk::{BlockDevice, Device, ReadError};
use keyhaven_fve::keys::{Password, VolumeMasterKey};
use keyhaven_fve::{
    Credential, DataError, Integrity, OpenError, OpenOptions, RecordKey, UnlockError, Unlocked,
    UnlockedVolume, Volume, unwatched,
};
use keyhaven_testkit::corpus;
use keyhaven_testkit::{copy_of, patch};
use sha2::{Digest, Sha256};

use published::credential;

/// Volumes whose record of encrypted chunks was wiped by those who published them: what they hold cannot be known.
const WITHOUT_CHUNK_RECORD: [&str; 3] = [
    "cs-aes-xts-128-eow",
    "cs-partially-encrypted-aes-cbc-128",
    "cs-aes-cbc-128-eow",
];

fn open(image: &Path, options: &OpenOptions) -> Result<Volume, OpenError> {
    let device: Device = keyhaven_disk::open(image).expect("the image opens");
    Volume::open(device, options, &mut unwatched)
}

/// Wrong checksums are a property of this one published volume.
fn options_for(name: &str) -> OpenOptions {
    OpenOptions {
        ignore_checksums: name == "dfvfs-bdetogo",
        ..OpenOptions::default()
    }
}

fn unlock(volume: &Volume, credential: &Credential) -> Result<Unlocked, UnlockError> {
    match volume.unlock_decrypted() {
        Some(unlocked) => Ok(unlocked),
        None => volume.unlock(credential),
    }
}

/// Hashes as much of the plaintext as the image has; returns its length too.
fn hash_of(data: &UnlockedVolume) -> (String, u64) {
    let mut hasher = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < data.len_bytes() {
        let len = (data.len_bytes() - at).min(buf.len() as u64) as usize;
        match data.read_at(at, &mut buf[..len]) {
            Ok(()) => hasher.update(&buf[..len]),
            Err(ReadError::PastEnd { end, .. }) => {
                let rest = (end - at) as usize / 512 * 512;
                data.read_at(at, &mut buf[..rest]).expect("in front of the end");
                hasher.update(&buf[..rest]);
                at += rest as u64;
                break;
            }
            Err(error) => panic!("{error}"),
        }
        at += len as u64;
    }
    (hex::encode(hasher.finalize()), at)
}

fn recovery_keys(volume: &Volume, unlocked: &Unlocked) -> Vec<String> {
    let keys = volume
        .records(unlocked)
        .into_iter()
        .filter_map(|record| match record.key {
            RecordKey::RecoveryPassword(key) => Some(key.to_digits().expose_secret().to_owned()),
            _ => None,
        });
    keys.collect()
}

/// Opens one volume with one secret and holds the result against the manifest. Returns a line for the table.
fn check(known: &corpus::Volume, secret: &corpus::Secret, image: &Path, options: &OpenOptions) -> String {
    let name = &known.name;
    let volume = open(image, options).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let credential = credential(known, secret);
    let unlocked =
        unlock(&volume, &credential).unwrap_or_else(|error| panic!("{name}, {:?}: {error:?}", secret.kind));
    if !options.ignore_checksums {
        assert_eq!(unlocked.integrity(), Integrity::Right, "{name}");
    }

    let keys = recovery_keys(&volume, &unlocked);
    let published = known.recovery_keys();
    for key in &published {
        assert!(
            keys.iter().any(|found| found == key),
            "{name}: a published recovery key was not read back"
        );
    }
    if let Some(fvek) = known.fvek_hex.as_deref().filter(|_| unlocked.fvek().is_some()) {
        let own = unlocked
            .fvek()
            .map(|fvek| hex::encode(fvek.key().expose_secret()))
            .expect("checked");
        assert!(
            own.starts_with(&fvek.replace(':', "")) || known.cipher.contains("diffuser"),
            "{name}: sector key"
        );
    }

    let outcome = match volume.data(unlocked) {
        Ok(data) => {
            assert!(
                !WITHOUT_CHUNK_RECORD.contains(&name.as_str()),
                "{name}: nobody can know what is encrypted"
            );
            let (sha256, len) = hash_of(&data);
            let by_peers = known
                .plaintext_by_peers
                .iter()
                .filter(|peer| peer.size == len)
                .collect::<Vec<_>>();
            match &known.plain_sha256 {
                Some(expected) => {
                    assert_eq!(&sha256, expected, "{name}: plaintext");
                    "plaintext as published"
                }
                None if name == "df-eow_partial" => "plaintext (no reader to compare with)",
                None if by_peers.is_empty() => "plaintext (nothing to compare with)",
                None => {
                    let names: Vec<_> = by_peers.iter().map(|peer| &peer.peers).collect();
                    assert!(
                        by_peers.iter().any(|peer| peer.sha256 == sha256),
                        "{name}: plaintext, {names:?}"
                    );
                    "plaintext as other readers"
                }
            }
        }
        Err(DataError::Eow(problem)) => {
            assert!(WITHOUT_CHUNK_RECORD.contains(&name.as_str()), "{name}: {problem}");
            "refused: its record of encrypted parts is unreadable"
        }
        Err(error) => panic!("{name}: {error:?}"),
    };
    format!(
        "{name:38} {:10} {} of {} recovery keys; {outcome}",
        format!("{:?}", secret.kind),
        keys.len(),
        published.len()
    )
}

#[test]
fn every_volume_opens_with_every_secret() {
    let Some(corpus) = corpus::or_skip() else { return };
    let mut table = Vec::new();
    for known in corpus.volumes() {
        for secret in known.all_secrets() {
            table.push(check(known, secret, &known.image(), &options_for(&known.name)));
        }
    }
    println!("{}", table.join("\n"));
    assert!(table.len() > 20, "the corpus has more than this");
}

/// Metadata copies 1 and 2 are overwritten; then the boot sector is, too.
#[test]
fn damaged_volumes_open_the_same() {
    let Some(corpus) = corpus::or_skip() else { return };
    let mut damaged = 0;
    for known in corpus.volumes() {
        let Some(secret) = known.all_secrets().next() else {
            continue;
        };
        let image = known.image();
        let options = options_for(&known.name);
        let volume = open(&image, &options).expect("the whole volume opens");
        // Of a cut-off image only one copy may be left.
        let offsets: Vec<u64> = volume.copies().iter().filter_map(|copy| copy.offset).collect();
        let last_is_there = volume.copies().last().is_some_and(|copy| {
            matches!(
                copy.problem,
                None | Some(keyhaven_fve::CopyProblem::Checksum { .. })
            )
        });
        drop(volume);

        let copy = copy_of(&image);
        if last_is_there {
            for offset in &offsets[..2] {
                patch(&copy, *offset, &[0xa5; 0x1_0000]);
            }
            check(known, secret, &copy, &options);
        }
        patch(&copy, 0, &[0; 512]);
        // Vista keeps the boot sector in place, so what it held is gone from the plaintext as well.
        if known.name != "df-vista" {
            check(known, secret, &copy, &options);
        }
        damaged += 1;
    }
    assert!(damaged > 15, "the corpus has more than this");
}

#[test]
fn the_volumes_own_keys_open_it() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let secret = known.all_secrets().next().expect("it has secrets");
    let volume = open(&known.image(), &OpenOptions::default()).expect("opens");
    let unlocked = volume.unlock(&credential(&known, secret)).expect("unlocks");
    let vmk = Secret::from_slice(unlocked.vmk().expect("there").key().expose_secret()).expect("32 bytes");
    let fvek = SecretBytes::copy_of(&unlocked.fvek().expect("there").key().expose_secret()[..32]);
    let by_vmk = volume
        .unlock(&Credential::VolumeMasterKey(VolumeMasterKey::new(vmk)))
        .expect("opens with its VMK");
    assert_eq!(recovery_keys(&volume, &by_vmk), known.recovery_keys());

    let by_fvek = volume
        .unlock(&Credential::FullVolumeEncryptionKey(fvek))
        .expect("opens with its FVEK");
    assert_eq!(
        Some(hash_of(&volume.data(by_fvek).expect("readable")).0),
        known.plain_sha256
    );

    for wrong in [
        Credential::VolumeMasterKey(VolumeMasterKey::new(Secret::from([7; 32]))),
        Credential::FullVolumeEncryptionKey(SecretBytes::copy_of(&[7; 32])),
        Credential::Password(Password::new(SecretText::copy_of("not this one"))),
    ] {
        assert!(matches!(volume.unlock(&wrong), Err(UnlockError::WrongKey { .. })));
    }
    assert!(matches!(
        volume.unlock(&Credential::FullVolumeEncryptionKey(SecretBytes::copy_of(
            &[7; 16]
        ))),
        Err(UnlockError::KeyLength {
            expected: 32,
            found: 16,
            ..
        })
    ));
    assert!(matches!(
        volume.unlock(&Credential::ClearKey),
        Err(UnlockError::NoSuchProtector { .. })
    ));
}

#[test]
fn wrong_checksums_are_told_and_can_be_ignored() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let image = copy_of(known.image());
    let offsets: Vec<u64> = open(&image, &OpenOptions::default())
        .expect("opens")
        .copies()
        .iter()
        .filter_map(|copy| copy.offset)
        .collect();
    // The first letter of the description: no key depends on it.
    for offset in &offsets {
        patch(&image, offset + 0x78, b"X");
    }
    let error = open(&image, &OpenOptions::default()).expect_err("all checksums are wrong");
    assert!(matches!(error, OpenError::NoMetadata { checksums_only: true, ref copies } if copies.len() == 3));

    let ignore = OpenOptions {
        ignore_checksums: true,
        ..OpenOptions::default()
    };
    let volume = open(&image, &ignore).expect("opens when told to");
    let secret = known.all_secrets().next().expect("it has secrets");
    let unlocked = volume
        .unlock(&credential(&known, secret))
        .expect("the keys are whole");
    assert_eq!(unlocked.integrity(), Integrity::Altered);

    // A checksum made to fit does not fool the sealed hash.
    let mut block = vec![0; 0x1_0000];
    let file: Device = keyhaven_disk::open(&image).expect("opens");
    file.read_at(offsets[0], &mut block).expect("readable");
    let size = usize::from(u16::from_le_bytes([block[8], block[9]])) * 16;
    for offset in &offsets {
        patch(
            &image,
            offset + size as u64 + 4,
            &crc32fast::hash(&block[..size]).to_le_bytes(),
        );
    }
    let volume = open(&image, &OpenOptions::default()).expect("the checksum fits");
    assert!(matches!(
        volume.unlock(&credential(&known, secret)),
        Err(UnlockError::Altered)
    ));
}

#[test]
fn one_copy_can_be_asked_for() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128-crc") else {
        return;
    };
    let copy = |number| OpenOptions {
        metadata_copy: Some(number),
        ..OpenOptions::default()
    };
    assert!(matches!(
        open(&known.image(), &copy(1)),
        Err(OpenError::NoMetadata {
            checksums_only: true,
            ..
        })
    ));
    let volume = open(&known.image(), &copy(3)).expect("the third is whole");
    assert!(volume.copies()[2].used && volume.copies()[0].problem.is_some());
    assert!(matches!(
        open(&known.image(), &copy(4)),
        Err(OpenError::NoSuchCopy(4))
    ));
}

#[test]
fn a_search_can_be_stopped() {
    let blank: Device = Arc::new(vec![0u8; 3 << 20]);
    let stopped = Volume::open(Arc::clone(&blank), &OpenOptions::default(), &mut |_| {
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(OpenError::Stopped)));
    let searched = Volume::open(blank, &OpenOptions::default(), &mut unwatched);
    assert!(matches!(
        searched,
        Err(OpenError::NotBitLocker { searched: true })
    ));
}

/// A conversion that stopped half-way: in front of the state offset everything is encrypted, behind it nothing.
#[test]
fn a_paused_conversion_is_read_on_both_sides() {
    let Some(known) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let secret = known.all_secrets().next().expect("it has secrets");
    let ignore = OpenOptions {
        ignore_checksums: true,
        ..OpenOptions::default()
    };
    let plaintext = |image: &Path| {
        let volume = open(image, &ignore).expect("opens");
        let unlocked = volume.unlock(&credential(&known, secret)).expect("unlocks");
        (
            volume.state().name(),
            volume.encrypted_bytes(),
            volume.data(unlocked),
        )
    };
    let (_, _, whole) = plaintext(&known.image());
    let whole = whole.expect("readable");
    let raw: Device = keyhaven_disk::open(&known.image()).expect("opens");
    let offsets: Vec<u64> = open(&known.image(), &ignore)
        .expect("opens")
        .copies()
        .iter()
        .filter_map(|copy| copy.offset)
        .collect();
    let with_state = |current: u8, next: u8, state_offset: u64, log_len: u32| {
        let copy = copy_of(known.image());
        for offset in &offsets {
            patch(&copy, offset + 0x0c, &[current, 0, next, 0]);
            patch(&copy, offset + 0x10, &state_offset.to_le_bytes());
            patch(&copy, offset + 0x18, &log_len.to_le_bytes());
        }
        copy
    };
    // Behind the moved boot sectors, in front of the second metadata copy.
    let boundary = 0x240_0000;
    for (current, next, name) in [
        (3, 4, "encryption_paused"),
        (3, 1, "decryption_paused"),
        (5, 4, "encrypting"),
        (2, 1, "decrypting"),
    ] {
        let (state, encrypted, data) = plaintext(&with_state(current, next, boundary, 0x1_0000));
        assert_eq!((state, encrypted), (name, Some(boundary)));
        let data = data.expect("readable");
        let read = |device: &dyn BlockDevice, at: u64| {
            let mut buf = vec![0; 0x2000];
            device.read_at(at, &mut buf).expect("readable");
            buf
        };
        assert_eq!(
            read(&data, 0),
            read(&whole, 0),
            "moved sectors in front of the boundary"
        );
        assert_eq!(read(&data, boundary - 0x2000), read(&whole, boundary - 0x2000));
        if current == 2 {
            assert_eq!(read(&data, boundary), [0; 0x2000], "what is in flight");
        } else {
            assert_eq!(read(&data, boundary), read(&*raw, boundary));
        }
        assert_eq!(read(&data, boundary + 0x1_0000), read(&*raw, boundary + 0x1_0000));
        assert_eq!(read(&data, offsets[2]), [0; 0x2000], "metadata stay blank");
        // Reads of any shape agree.
        let mut odd = vec![0; 5001];
        data.read_at(boundary - 1777, &mut odd).expect("readable");
        let mut even = vec![0; 0x4000];
        data.read_at(boundary - 0x2000, &mut even).expect("readable");
        assert_eq!(odd, even[0x2000 - 1777..][..5001]);
    }
    let (state, _, data) = plaintext(&with_state(7, 9, boundary, 0));
    assert_eq!(state, "unknown");
    assert!(matches!(
        data,
        Err(DataError::UnknownState { current: 7, next: 9 })
    ));
    let (_, _, data) = plaintext(&with_state(3, 4, boundary + 1, 0));
    assert!(
        matches!(data, Err(DataError::Layout(_))),
        "half a sector is neither"
    );
}

/// Which parts are encrypted is read from the mirror if need be, and never guessed.
#[test]
fn a_damaged_record_of_chunks_is_a_refusal() {
    let Some(known) = corpus::volume_or_skip("df-eow_partial") else {
        return;
    };
    let secret = known.all_secrets().next().expect("it has secrets");
    let image = copy_of(known.image());
    let first: Device = keyhaven_disk::open(&image).expect("opens");
    let mut sector = [0; 512];
    first.read_at(0, &mut sector).expect("readable");
    let eow_offset = u64::from_le_bytes(sector[0xc8..0xd0].try_into().expect("eight bytes"));
    let mut information = [0; 0x68];
    first.read_at(eow_offset, &mut information).expect("readable");
    let bitmap_offset = u64::from_le_bytes(information[0x38..0x40].try_into().expect("eight bytes"));
    let data = |image: &Path| {
        let volume = open(image, &OpenOptions::default()).expect("opens");
        let unlocked = volume
            .unlock(&credential(&known, secret))
            .expect("the keys need no record");
        volume.data(unlocked).map(|data| hash_of(&data))
    };
    let whole = data(&known.image()).expect("readable");

    patch(&image, eow_offset + 0x38, &[0xff; 8]);
    assert_eq!(data(&image).expect("the second copy serves"), whole);

    // One record of a bitmap may be torn: the other counts. Two may not.
    let mut record = [0; 0x24];
    first
        .read_at(bitmap_offset + 0x200, &mut record)
        .expect("readable");
    assert!(record.starts_with(b"FVE-EOWBR"));
    patch(&image, bitmap_offset + 0x200 + 0x20, &[0xff; 4]);
    assert!(data(&image).is_ok());
    patch(&image, bitmap_offset + 0x400 + 0x20, &[0xff; 4]);
    assert!(matches!(data(&image), Err(DataError::Eow(_))));
}

/// The shared suite that everything readable passes.
#[test]
fn an_unlocked_volume_keeps_the_device_contract() {
    let Some(known) = corpus::volume_or_skip("dfvfs-bdetogo") else {
        return;
    };
    let volume = open(&known.image(), &options_for(&known.name)).expect("opens");
    let unlocked = volume
        .unlock(&credential(&known, &known.secrets[0]))
        .expect("unlocks");
    let data = volume.data(unlocked).expect("readable");
    let mut content = vec![0; data.len_bytes() as usize];
    data.read_at(0, &mut content).expect("readable");
    keyhaven_disk::conformance::check(&data, &content);
}
