//! A small volume on a recording medium, and what tests do with it all the time.

use std::sync::Arc;

use keyhaven_crypto::{Secret, SecretText};
use keyhaven_disk::Device;
use keyhaven_disk::recording::Recorder;
use keyhaven_fve::create::{NewProtector, NewVolume};
use keyhaven_fve::edit::Edit;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{ExternalKey, Password, RecoveryPassword, VolumeMasterKey};
use keyhaven_fve::{
    Credential, EncryptionMethod, OpenOptions, RecordKey, RecoveryRecord, UnlockError, Unlocked, Volume,
    unwatched,
};
use keyhaven_testkit::numbers;

pub(crate) const LEN_BYTES: u64 = 64 << 20;
/// 24 November 2026, with steps finer than a millisecond.
pub(crate) const CREATED: FileTime = FileTime(134_400_096_123_456_789);

/// Returns a moment so many seconds after the volume was made.
pub(crate) fn later(seconds: u64) -> FileTime {
    FileTime(CREATED.0 + seconds * 10_000_000)
}

pub(crate) fn password(text: &str) -> Password {
    Password::new(SecretText::copy_of(text))
}

/// A new volume and the keys that a person has of it.
pub(crate) struct Made {
    pub(crate) medium: Arc<Recorder>,
    pub(crate) records: Vec<RecoveryRecord>,
    pub(crate) vmk: VolumeMasterKey,
}

pub(crate) fn make(seed: u64, protectors: Vec<NewProtector>) -> Made {
    let mut new = NewVolume::new(LEN_BYTES, EncryptionMethod::AesXts128, CREATED);
    new.protectors = protectors;
    new.description = "KEYHAVEN Test 11/24/2026".to_owned();
    // Not the numbers that tests draw with the same seed: keys would be the same.
    let prepared = new.prepare(&mut numbers(seed ^ 0x5EED_0000)).expect("prepared");
    let medium = Recorder::over(&vec![0; LEN_BYTES as usize]);
    prepared.write(&medium).expect("written");
    let medium = Arc::new(medium.fork());
    let vmk = prepared.into_vmk();
    let unlocked = unlock(&medium, &vmk_credential(&vmk)).expect("its own key opens it");
    Made {
        records: open(&medium).records(&unlocked),
        vmk,
        medium,
    }
}

pub(crate) fn open(medium: &Arc<Recorder>) -> Volume {
    let device: Device = Arc::clone(medium) as Device;
    Volume::open(device, &OpenOptions::default(), &mut unwatched).expect("a volume")
}

/// Opens the volume with a credential and changes it.
pub(crate) fn edit<T>(
    medium: &Arc<Recorder>,
    credential: &Credential,
    now: FileTime,
    change: impl FnOnce(&mut Edit) -> T,
) -> T {
    let volume = open(medium);
    let unlocked = volume.unlock(credential).expect("the key opens the volume");
    let mut edit = Edit::begin(&volume, &unlocked, now).expect("it can be changed");
    let outcome = change(&mut edit);
    edit.commit(&**medium).expect("written");
    outcome
}

pub(crate) fn unlock(medium: &Arc<Recorder>, credential: &Credential) -> Result<Unlocked, UnlockError> {
    open(medium).unlock(credential)
}

/// Returns the credential that a record is, as a person has it: as text or as a file.
pub(crate) fn credential_of(record: &RecoveryRecord) -> Credential {
    match &record.key {
        RecordKey::RecoveryPassword(key) => Credential::RecoveryPassword(
            RecoveryPassword::parse(key.to_digits().expose_secret()).expect("48 digits"),
        ),
        RecordKey::ExternalKey(key) => {
            Credential::ExternalKey(ExternalKey::from_bek(&key.to_bek(CREATED)).expect("a key file"))
        }
        _ => panic!("a record of another kind"),
    }
}

pub(crate) fn vmk_credential(vmk: &VolumeMasterKey) -> Credential {
    Credential::VolumeMasterKey(VolumeMasterKey::new(Secret::init_with(|own| {
        *own = *vmk.key().expose_secret();
    })))
}

/// Returns the whole region of each metadata copy.
pub(crate) fn regions(medium: &Arc<Recorder>) -> [Vec<u8>; 3] {
    let volume = open(medium);
    volume.metadata().block().metadata_offsets.map(|offset| {
        let mut region = vec![0; 0x1_0000];
        keyhaven_disk::BlockDevice::read_at(&**medium, offset, &mut region).expect("inside");
        region
    })
}

/// All three copies are there, sound and the same.
pub(crate) fn assert_whole(medium: &Arc<Recorder>) {
    let volume = open(medium);
    for copy in volume.copies() {
        assert!(copy.problem.is_none(), "copy {}: {:?}", copy.number, copy.problem);
    }
    let [first, second, third] = regions(medium);
    assert!(first == second && second == third, "the copies are the same");
}
