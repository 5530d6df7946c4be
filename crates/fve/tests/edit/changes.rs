//! What each edit does to a volume.

use keyhaven_fve::create::NewProtector;
use keyhaven_fve::edit::{Edit, Unrenewable};
use keyhaven_fve::keys::RecoveryPassword;
use keyhaven_fve::{Credential, Integrity, ProtectorKind, VolumeState};
use keyhaven_testkit::numbers;

use crate::bed::{
    Made, assert_whole, credential_of, edit, later, make, open, password, unlock, vmk_credential,
};

fn kinds(made: &Made) -> Vec<ProtectorKind> {
    let volume = open(&made.medium);
    let protectors = volume.metadata().protectors();
    protectors.iter().map(|own| own.kind()).collect()
}

#[test]
fn what_is_added_opens_the_volume_and_what_is_removed_does_not() {
    let random = &mut numbers(1);
    let made = make(1, vec![NewProtector::ExternalKey]);
    let first = credential_of(&made.records[0]);
    let key = RecoveryPassword::generate(random).expect("numbers");
    let added = edit(&made.medium, &first, later(1), |edit| {
        edit.add(NewProtector::RecoveryPassword(key), random)
            .expect("added")
    });
    assert_whole(&made.medium);
    assert_eq!(
        kinds(&made),
        [ProtectorKind::StartupKey, ProtectorKind::RecoveryPassword]
    );
    let record = added.record.expect("a recovery key is worth keeping");
    assert_eq!(record.protector_id, added.id);
    assert_eq!(record.description.as_deref(), Some("KEYHAVEN Test 11/24/2026"));
    let second = credential_of(&record);
    let unlocked = unlock(&made.medium, &second).expect("the new key opens it");
    assert_eq!(unlocked.protector_id(), Some(added.id));
    assert_eq!(unlocked.integrity(), Integrity::Right);
    let volume = open(&made.medium);
    assert_eq!(volume.records(&unlocked).len(), 2, "both are read back out of it");

    edit(&made.medium, &second, later(2), |edit| {
        edit.remove(made.records[0].protector_id)
            .expect("not the last one");
    });
    assert_whole(&made.medium);
    assert_eq!(kinds(&made), [ProtectorKind::RecoveryPassword]);
    assert!(unlock(&made.medium, &first).expect_err("removed").is_answer());
    unlock(&made.medium, &second).expect("the new key still opens it");
}

#[test]
fn a_password_is_changed_without_the_old_one() {
    let random = &mut numbers(2);
    let made = make(
        2,
        vec![
            NewProtector::Password(password("the old one")),
            NewProtector::ExternalKey,
        ],
    );
    let key = credential_of(&made.records[0]);
    let old = open(&made.medium).metadata().protectors()[0].id();
    let added = edit(&made.medium, &key, later(1), |edit| {
        edit.change_password(old, password("a new one"), random)
            .expect("changed")
    });
    assert_whole(&made.medium);
    assert_eq!(
        kinds(&made),
        [ProtectorKind::Password, ProtectorKind::StartupKey],
        "in its place"
    );
    assert_ne!(added.id, old);
    let try_with = |text| unlock(&made.medium, &Credential::Password(password(text)));
    assert_eq!(
        try_with("a new one")
            .expect("the new one opens it")
            .protector_id(),
        Some(added.id)
    );
    assert!(try_with("the old one").expect_err("changed").is_answer());
    unlock(&made.medium, &key).expect("others are left alone");
}

#[test]
fn suspended_is_open_to_everybody_and_resumed_is_not() {
    let random = &mut numbers(3);
    let made = make(3, vec![NewProtector::ExternalKey]);
    let key = credential_of(&made.records[0]);
    edit(&made.medium, &key, later(1), |edit| {
        edit.suspend(random).map(|_| ()).expect("suspended")
    });
    assert_whole(&made.medium);
    assert_eq!(open(&made.medium).state(), VolumeState::Suspended);
    edit(&made.medium, &Credential::ClearKey, later(2), |edit| {
        assert!(edit.suspend(random).is_err(), "it is already");
        edit.resume().expect("resumed");
        assert!(edit.resume().is_err(), "it is already");
    });
    assert_whole(&made.medium);
    assert_eq!(open(&made.medium).state(), VolumeState::Encrypted);
    unlock(&made.medium, &Credential::ClearKey).expect_err("no key lies open");
    unlock(&made.medium, &key).expect("the key file still opens it");
}

#[test]
fn another_master_key_changes_nothing_for_people() {
    let random = &mut numbers(4);
    let key = RecoveryPassword::generate(random).expect("numbers");
    let made = make(
        4,
        vec![
            NewProtector::Password(password("it stays")),
            NewProtector::RecoveryPassword(key),
            NewProtector::ExternalKey,
            NewProtector::ClearKey,
        ],
    );
    let before = unlock(&made.medium, &Credential::ClearKey).expect("it is suspended");
    let gone = edit(&made.medium, &vmk_credential(&made.vmk), later(1), |edit| {
        edit.rotate_vmk(Unrenewable::Refuse, random)
            .expect("all can be renewed")
    });
    assert_eq!(gone, []);
    assert_whole(&made.medium);
    assert!(
        unlock(&made.medium, &vmk_credential(&made.vmk))
            .expect_err("another one")
            .is_answer()
    );
    let ways = [
        Credential::Password(password("it stays")),
        credential_of(&made.records[0]),
        credential_of(&made.records[1]),
        Credential::ClearKey,
    ];
    for way in &ways {
        let after = unlock(&made.medium, way).expect("every way in is as it was");
        assert_eq!(after.integrity(), Integrity::Right);
        assert_ne!(after.vmk(), before.vmk());
        assert_eq!(
            after.fvek().map(|key| key.key()),
            before.fvek().map(|key| key.key()),
            "the data are as they were"
        );
        let records = open(&made.medium).records(&after);
        assert_eq!(records.len(), 2, "keys are still read back out of it");
    }
}

#[test]
fn the_clock_may_go_back() {
    let random = &mut numbers(5);
    let made = make(5, vec![NewProtector::ExternalKey]);
    let key = credential_of(&made.records[0]);
    let modified = |index: usize| open(&made.medium).metadata().protectors()[index].modified();
    let first = modified(0);
    edit(&made.medium, &key, keyhaven_fve::format::FileTime(0), |edit| {
        edit.add(NewProtector::ExternalKey, random).expect("added");
    });
    assert!(modified(1) > first, "times in nonces never go back");
}

#[test]
fn a_new_key_is_proven_before_anything_is_written() {
    let random = &mut numbers(6);
    let made = make(6, vec![NewProtector::ExternalKey]);
    let volume = open(&made.medium);
    let unlocked = volume.unlock(&credential_of(&made.records[0])).expect("it opens");
    let mut edit = Edit::begin(&volume, &unlocked, later(1)).expect("it can be changed");
    let added = edit.add(NewProtector::ExternalKey, random).expect("added");
    let key = credential_of(added.record.as_ref().expect("a key file"));
    let before = made.medium.content();
    let sealed = edit.seal().expect("it fits");
    let preview = sealed.preview(&volume).expect("as it will be");
    assert_eq!(
        preview.prove(&key).expect("it opens").protector_id,
        Some(added.id)
    );
    assert!(unlock(&made.medium, &key).is_err() && made.medium.content() == before);
    sealed.commit(&*made.medium).expect("written");
    assert_whole(&made.medium);
    unlock(&made.medium, &key).expect("now it does");
}
