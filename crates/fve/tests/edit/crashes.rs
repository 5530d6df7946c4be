//! Power cuts at every moment of every edit: the volume always opens with a key that the person has, and the edit done
//! again ends where it would have.

use std::collections::HashMap;
use std::sync::Arc;

use keyhaven_crypto::sha256;
use keyhaven_disk::recording::{CrashState, Recorder};
use keyhaven_fve::create::NewProtector;
use keyhaven_fve::edit::{Edit, Unrenewable};
use keyhaven_fve::format::block::InformationBlock;
use keyhaven_fve::{Credential, Guid, ProtectorKind, VolumeState};
use keyhaven_testkit::numbers;

use crate::bed::{
    Made, assert_whole, credential_of, later, make, open, password, regions, unlock, vmk_credential,
};

/// How many states of one edit are looked at.
const STATES: usize = 5000;
/// In every so many of them the edit is done again, and every so many of those are cut off once more.
const AGAIN: usize = 25;

/// An edit and the keys that the person has while it is being made.
struct Trial<'a> {
    keys: Vec<Credential>,
    /// Does what is to be done on a volume that may have some of it done already.
    change: &'a dyn Fn(&mut Edit),
    /// Whether it is done.
    is_done: &'a dyn Fn(&Arc<Recorder>) -> bool,
    /// Which key opens a volume with metadata of these hashes: keys are slow to try, and there are few metadata.
    opens: HashMap<Vec<[u8; 32]>, Option<usize>>,
}

impl<'a> Trial<'a> {
    fn new(
        keys: Vec<Credential>,
        change: &'a dyn Fn(&mut Edit),
        is_done: &'a dyn Fn(&Arc<Recorder>) -> bool,
    ) -> Self {
        Self {
            keys,
            change,
            is_done,
            opens: HashMap::new(),
        }
    }

    /// Makes the edit on `medium` and cuts it off everywhere. Returns how many states there were.
    fn run(&mut self, medium: &Arc<Recorder>, states: usize, seed: u64) -> usize {
        let fresh = Arc::new(medium.fork());
        self.edit(&fresh);
        assert!((self.is_done)(&fresh));
        assert_whole(&fresh);
        let mut count = 0;
        for (number, state) in fresh.states(states, seed).enumerate() {
            count += 1;
            self.check_opens(&state);
            if number % AGAIN == 0 {
                count += self.again(&state, number % (AGAIN * 10) == 0, seed);
            }
        }
        count
    }

    fn again(&mut self, state: &CrashState, cut_again: bool, seed: u64) -> usize {
        self.edit(&state.device);
        assert!((self.is_done)(&state.device), "{}", state.kept);
        assert_whole(&state.device);
        if !cut_again {
            return 0;
        }
        let mut count = 0;
        for second in state.device.states(60, seed) {
            self.check_opens(&second);
            count += 1;
        }
        count
    }

    fn check_opens(&mut self, state: &CrashState) {
        assert!(self.key_for(&state.device).is_some(), "{}", state.kept);
    }

    fn key_for(&mut self, medium: &Arc<Recorder>) -> Option<usize> {
        let volume = open(medium);
        let keys = &self.keys;
        let hashes = regions(medium)
            .iter()
            .map(|region| match InformationBlock::read(region) {
                Ok(block) if block.crc32_is_right() => sha256(&region[..block.size_bytes + 0x60]),
                _ => [0; 32],
            })
            .collect();
        *self
            .opens
            .entry(hashes)
            .or_insert_with(|| keys.iter().position(|key| volume.unlock(key).is_ok()))
    }

    fn edit(&mut self, medium: &Arc<Recorder>) {
        let key = self.key_for(medium).expect("a key opens it");
        let volume = open(medium);
        let unlocked = volume.unlock(&self.keys[key]).expect("it opens");
        let mut edit = Edit::begin(&volume, &unlocked, later(100)).expect("it can be changed");
        (self.change)(&mut edit);
        edit.commit(&**medium).expect("written");
    }
}

fn ids(edit: &Edit, kind: ProtectorKind) -> Vec<Guid> {
    let all = edit.protectors();
    all.iter()
        .filter(|own| own.kind() == kind)
        .map(|own| own.id())
        .collect()
}

fn count_of(medium: &Arc<Recorder>, kind: ProtectorKind) -> usize {
    let volume = open(medium);
    volume
        .metadata()
        .protectors()
        .iter()
        .filter(|own| own.kind() == kind)
        .count()
}

fn made(seed: u64) -> (Made, Vec<Credential>) {
    let made = make(seed, vec![NewProtector::ExternalKey, NewProtector::ExternalKey]);
    let keys = made.records.iter().map(credential_of).collect();
    (made, keys)
}

#[test]
fn while_a_way_in_is_added() {
    let (made, keys) = made(1);
    let change = |edit: &mut Edit| {
        if ids(edit, ProtectorKind::StartupKey).len() < 3 {
            edit.add(NewProtector::ExternalKey, &mut numbers(11))
                .expect("added");
        }
    };
    let done = |medium: &Arc<Recorder>| count_of(medium, ProtectorKind::StartupKey) == 3;
    let count = Trial::new(keys, &change, &done).run(&made.medium, STATES, 1);
    assert!(count > 2200, "{count}");
}

#[test]
fn while_a_way_in_is_removed() {
    let (made, keys) = made(2);
    let gone = made.records[0].protector_id;
    let change = |edit: &mut Edit| {
        if ids(edit, ProtectorKind::StartupKey).contains(&gone) {
            edit.remove(gone).expect("not the last one");
        }
    };
    let done = |medium: &Arc<Recorder>| count_of(medium, ProtectorKind::StartupKey) == 1;
    let count = Trial::new(keys, &change, &done).run(&made.medium, STATES, 2);
    assert!(count > 2200, "{count}");
}

#[test]
fn while_a_password_is_changed() {
    let made = make(3, vec![NewProtector::Password(password("the old one"))]);
    let keys = ["the old one", "a new one"].map(|text| Credential::Password(password(text)));
    let old = open(&made.medium).metadata().protectors()[0].id();
    let change = |edit: &mut Edit| {
        if ids(edit, ProtectorKind::Password) == [old] {
            edit.change_password(old, password("a new one"), &mut numbers(13))
                .expect("changed");
        }
    };
    let done = |medium: &Arc<Recorder>| unlock(medium, &Credential::Password(password("a new one"))).is_ok();
    let count = Trial::new(keys.into(), &change, &done).run(&made.medium, 60, 3);
    assert!(count > 50, "{count}");
}

#[test]
fn while_protection_is_suspended() {
    let (made, keys) = made(4);
    let change = |edit: &mut Edit| {
        let _ = edit.suspend(&mut numbers(14));
    };
    let done = |medium: &Arc<Recorder>| open(medium).state() == VolumeState::Suspended;
    let count = Trial::new(keys, &change, &done).run(&made.medium, STATES, 4);
    assert!(count > 2200, "{count}");
}

#[test]
fn while_protection_is_resumed() {
    let made = make(5, vec![NewProtector::ExternalKey, NewProtector::ClearKey]);
    let keys = made.records.iter().map(credential_of).collect();
    let change = |edit: &mut Edit| {
        let _ = edit.resume();
    };
    let done = |medium: &Arc<Recorder>| open(medium).state() == VolumeState::Encrypted;
    let count = Trial::new(keys, &change, &done).run(&made.medium, STATES, 5);
    assert!(count > 2200, "{count}");
}

#[test]
fn while_the_master_key_is_rotated() {
    let (made, keys) = made(6);
    let old = vmk_credential(&made.vmk);
    let change = |edit: &mut Edit| {
        edit.rotate_vmk(Unrenewable::Refuse, &mut numbers(16))
            .expect("all can be renewed");
    };
    let done = |medium: &Arc<Recorder>| unlock(medium, &old).is_err();
    let count = Trial::new(keys, &change, &done).run(&made.medium, STATES, 6);
    assert!(count > 2200, "{count}");
}

/// An edit that was cut off leaves copies that differ; the next one, another, is cut off too. The key that the first one
/// took away no longer counts.
#[test]
fn while_copies_differ_from_an_interrupted_edit() {
    let (made, mut keys) = made(7);
    let gone = made.records[0].protector_id;
    let volume = open(&made.medium);
    let unlocked = volume.unlock(&keys[0]).expect("it opens");
    let mut edit = Edit::begin(&volume, &unlocked, later(1)).expect("it can be changed");
    edit.remove(gone).expect("not the last one");
    let first = Arc::new(made.medium.fork());
    edit.commit(&*first).expect("written");
    let kept = keys.split_off(1);
    let change = |edit: &mut Edit| {
        let _ = edit.suspend(&mut numbers(17));
    };
    let done = |medium: &Arc<Recorder>| open(medium).state() == VolumeState::Suspended;
    let mut trial = Trial::new(kept, &change, &done);
    let mut count = 0;
    for (number, state) in first.states(400, 7).enumerate() {
        if number % 40 == 0 {
            count += trial.run(&state.device, 150, number as u64);
        }
    }
    assert!(count > 1000, "{count}");
}
