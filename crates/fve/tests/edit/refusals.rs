//! What an edit does not do, and when there is none.

use std::sync::Arc;

use keyhaven_disk::{BlockDevice, WritableDevice, recording::Recorder};
use keyhaven_fve::create::NewProtector;
use keyhaven_fve::edit::{Edit, EditError};
use keyhaven_fve::{Credential, Guid, MetadataError, OpenOptions, Volume, unwatched};
use keyhaven_testkit::numbers;

use crate::bed::{Made, assert_whole, credential_of, edit, later, make, open, password, unlock};

#[test]
fn the_last_way_in_stays_but_while_protection_is_suspended() {
    let random = &mut numbers(1);
    let made = make(1, vec![NewProtector::ExternalKey]);
    let (id, key) = (made.records[0].protector_id, credential_of(&made.records[0]));
    edit(&made.medium, &key, later(1), |edit| {
        assert!(matches!(edit.remove(id), Err(EditError::LastProtector(last)) if last == id));
        edit.suspend(random).expect("suspended");
        edit.remove(id).expect("the open key opens it");
        assert!(matches!(edit.resume(), Err(EditError::NothingToResumeWith)));
    });
    assert_whole(&made.medium);
    unlock(&made.medium, &Credential::ClearKey).expect("it is suspended");
}

#[test]
fn what_is_not_there_is_told() {
    let random = &mut numbers(2);
    let made = make(2, vec![NewProtector::ExternalKey]);
    let key = credential_of(&made.records[0]);
    edit(&made.medium, &key, later(1), |edit| {
        let nobody = Guid::from_random([9; 16]);
        assert!(matches!(edit.remove(nobody), Err(EditError::NoSuchProtector(id)) if id == nobody));
        let id = made.records[0].protector_id;
        let changed = edit.change_password(id, password("12345678"), random);
        assert!(matches!(changed, Err(EditError::NotAPassword(_))));
        assert!(matches!(edit.resume(), Err(EditError::NotSuspended)));
    });
}

fn begin(made: &Made, options: &OpenOptions) -> Result<Edit, EditError> {
    let volume = Volume::open(Arc::clone(&made.medium) as _, options, &mut unwatched).expect("a volume");
    let unlocked = volume.unlock(&credential_of(&made.records[0])).expect("it opens");
    Edit::begin(&volume, &unlocked, later(1))
}

/// Changes a byte of the description, in the copies that are named, with or without a fitting checksum.
fn alter(medium: &Recorder, offsets: &[u64], fix_checksum: bool) {
    for offset in offsets {
        let mut region = vec![0; 0x1_0000];
        medium.read_at(*offset, &mut region).expect("inside");
        region[0x78] ^= 1;
        let size = usize::from(u16::from_le_bytes([region[8], region[9]])) * 16;
        if fix_checksum {
            let checksum = crc32fast::hash(&region[..size]);
            region[size + 4..size + 8].copy_from_slice(&checksum.to_le_bytes());
        }
        medium.write_at(*offset, &region).expect("inside");
    }
}

#[test]
fn altered_metadata_are_left_alone() {
    let lenient = OpenOptions {
        ignore_checksums: true,
        ..OpenOptions::default()
    };
    for (count, fix_checksum) in [(3, false), (3, true), (1, true)] {
        let made = make(3, vec![NewProtector::ExternalKey]);
        let offsets = open(&made.medium).metadata().block().metadata_offsets;
        alter(&made.medium, &offsets[..count], fix_checksum);
        let before = made.medium.content();
        let refused = begin(&made, &lenient).expect_err("altered");
        assert!(
            matches!(
                refused,
                EditError::Altered(_) | EditError::Unproven | EditError::Changed
            ),
            "{refused}"
        );
        assert!(made.medium.content() == before);
    }
}

#[test]
fn one_damaged_copy_is_made_whole() {
    let random = &mut numbers(4);
    for copy in 0..3 {
        let made = make(4, vec![NewProtector::ExternalKey]);
        let offsets = open(&made.medium).metadata().block().metadata_offsets;
        alter(&made.medium, &offsets[copy..=copy], false);
        edit(&made.medium, &credential_of(&made.records[0]), later(1), |edit| {
            edit.add(NewProtector::ExternalKey, random).expect("added");
        });
        assert_whole(&made.medium);
    }
}

#[test]
fn metadata_that_do_not_fit_their_place_are_not_written() {
    let random = &mut numbers(5);
    let made = make(5, vec![NewProtector::ExternalKey]);
    let volume = open(&made.medium);
    let unlocked = volume.unlock(&credential_of(&made.records[0])).expect("it opens");
    let mut edit = Edit::begin(&volume, &unlocked, later(1)).expect("it can be changed");
    // Each takes 0x114 bytes or so of 64 KiB.
    for _ in 0..300 {
        edit.add(NewProtector::ExternalKey, random)
            .expect("in memory there is room");
    }
    let before = made.medium.content();
    let refused = edit.commit(&*made.medium).expect_err("too long");
    assert!(
        matches!(refused, EditError::Metadata(MetadataError::Shape(_))),
        "{refused}"
    );
    assert!(made.medium.content() == before, "nothing was written");
}

#[test]
fn a_boot_sector_that_is_gone_and_a_device_that_is_cut_off_are_told() {
    let made = make(6, vec![NewProtector::ExternalKey]);
    let whole = made.medium.content();
    made.medium.write_at(0, &[0; 512]).expect("inside");
    assert!(matches!(
        begin(&made, &OpenOptions::default()),
        Err(EditError::NoBootSector)
    ));
    let third = 0x1_0000 + u64::from_le_bytes(whole[0xC0..0xC8].try_into().expect("eight bytes"));
    let cut = Made {
        medium: Arc::new(Recorder::over(&whole[..third as usize - 512])),
        ..made
    };
    assert!(matches!(
        begin(&cut, &OpenOptions::default()),
        Err(EditError::CutOff { copy: 3, .. })
    ));
}

#[test]
fn a_medium_that_does_not_keep_what_it_is_given_is_found_out() {
    #[derive(Debug)]
    struct Forgetful(Arc<Recorder>);
    impl BlockDevice for Forgetful {
        fn len_bytes(&self) -> u64 {
            self.0.len_bytes()
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), keyhaven_disk::ReadError> {
            self.0.read_at(offset, buf)
        }
    }
    impl WritableDevice for Forgetful {
        fn write_at(&self, _: u64, _: &[u8]) -> Result<(), keyhaven_disk::WriteError> {
            Ok(())
        }
        fn flush(&self) -> Result<(), keyhaven_disk::WriteError> {
            Ok(())
        }
    }
    let made = make(7, vec![NewProtector::ExternalKey]);
    let mut edit = begin(&made, &OpenOptions::default()).expect("it can be changed");
    edit.suspend(&mut numbers(7)).expect("suspended");
    let refused = edit
        .commit(&Forgetful(Arc::clone(&made.medium)))
        .expect_err("not kept");
    assert!(matches!(refused, EditError::NotKept { copy: 1 }), "{refused}");
}
