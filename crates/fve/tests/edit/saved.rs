//! Metadata saved outside the volume and put back.

use std::sync::Arc;

use keyhaven_disk::WritableDevice;
use keyhaven_disk::recording::Recorder;
use keyhaven_fve::create::NewProtector;
use keyhaven_fve::{NotSavedMetadata, OpenOptions, RestoreError, SavedMetadata, Volume, unwatched};
use keyhaven_testkit::numbers;
use proptest::prelude::*;

use crate::bed::{Made, assert_whole, credential_of, edit, later, make, open, regions, unlock};

fn saved(made: &Made) -> SavedMetadata {
    let bytes = SavedMetadata::take(&open(&made.medium), later(9))
        .expect("sound")
        .to_bytes();
    SavedMetadata::read(&bytes).expect("just written")
}

#[test]
fn what_was_saved_is_put_back_whatever_became_of_the_volume() {
    let made = make(1, vec![NewProtector::ExternalKey]);
    let key = credential_of(&made.records[0]);
    let (saved, before) = (saved(&made), made.medium.content());
    assert_eq!(saved.volume_id(), made.records[0].volume_id);
    assert_eq!(saved.saved(), later(9));

    edit(&made.medium, &key, later(1), |edit| {
        edit.add(NewProtector::ExternalKey, &mut numbers(1))
            .expect("added");
        edit.remove(made.records[0].protector_id)
            .expect("another is there");
    });
    let volume = open(&made.medium);
    saved
        .restore(&*made.medium, Some(&volume), false)
        .expect("its own");
    assert!(made.medium.content() == before);

    // All that leads to the content is gone.
    let offsets = volume.metadata().block().metadata_offsets;
    for offset in [0, offsets[0], offsets[1], offsets[2]] {
        made.medium.write_at(offset, &[0; 512]).expect("inside");
    }
    let refused = saved
        .restore(&*made.medium, None, false)
        .expect_err("nobody knows what this is");
    assert!(matches!(refused, RestoreError::Unrecognised), "{refused}");
    saved
        .restore(&*made.medium, None, true)
        .expect("the person knows");
    assert!(made.medium.content() == before);
    unlock(&made.medium, &key).expect("as before");
}

#[test]
fn what_does_not_belong_there_is_not_put_there() {
    let made = make(2, vec![NewProtector::ExternalKey]);
    let saved = saved(&made);
    let other = make(3, vec![NewProtector::ExternalKey]);
    let refused = |medium: &Arc<Recorder>, volume: &Volume| {
        let before = medium.content();
        let refused = saved
            .restore(&**medium, Some(volume), false)
            .expect_err("it does not fit");
        assert!(medium.content() == before);
        refused
    };
    assert!(matches!(
        refused(&other.medium, &open(&other.medium)),
        RestoreError::OtherVolume { .. }
    ));
    let mut larger = made.medium.content();
    larger.resize(larger.len() + 512, 0);
    let larger = Arc::new(Recorder::over(&larger));
    assert!(matches!(
        refused(&larger, &open(&larger)),
        RestoreError::OtherSize { .. }
    ));
    // The volume says that it is being decrypted now.
    let changed = Arc::new(made.medium.fork());
    for offset in open(&changed).metadata().block().metadata_offsets {
        changed.write_at(offset + 0x0c, &[3, 0, 1, 0]).expect("inside");
    }
    let lenient = OpenOptions {
        ignore_checksums: true,
        ..OpenOptions::default()
    };
    let volume = Volume::open(Arc::clone(&changed) as _, &lenient, &mut unwatched).expect("a volume");
    assert!(matches!(refused(&changed, &volume), RestoreError::OtherState));
}

#[test]
fn a_crash_while_they_are_put_back_leaves_one_whole_copy() {
    let made = make(4, vec![NewProtector::ExternalKey]);
    let first = credential_of(&made.records[0]);
    let saved = saved(&made);
    let added = edit(&made.medium, &first, later(1), |edit| {
        edit.add(NewProtector::ExternalKey, &mut numbers(4))
            .expect("added")
    });
    let second = credential_of(added.record.as_ref().expect("a key file"));
    let recorder = Arc::new(made.medium.fork());
    saved
        .restore(&*recorder, Some(&open(&recorder)), false)
        .expect("its own");
    let mut count = 0;
    for (number, state) in recorder.states(500, 4).enumerate() {
        assert!(
            unlock(&state.device, &first).is_ok() || unlock(&state.device, &second).is_ok(),
            "{}",
            state.kept
        );
        if number % 50 == 0 {
            saved
                .restore(&*state.device, Some(&open(&state.device)), false)
                .expect("its own");
            assert_whole(&state.device);
            assert_eq!(regions(&state.device), regions(&recorder));
        }
        count += 1;
    }
    assert!(count > 300, "{count}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_file_is_told(at in any::<prop::sample::Index>(), bit in 0..8, cut in any::<prop::sample::Index>()) {
        thread_local! {
            static FILE: Vec<u8> = {
                let made = make(5, vec![NewProtector::ClearKey]);
                SavedMetadata::take(&open(&made.medium), later(1)).expect("sound").to_bytes().to_vec()
            };
        }
        FILE.with(|file| {
            let mut changed = file.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1_u8 << bit;
            assert!(SavedMetadata::read(&changed).is_err());
            let cut = cut.index(file.len());
            assert!(SavedMetadata::read(&file[..cut]).is_err());
        });
        prop_assert_eq!(SavedMetadata::read(b"something else").err(), Some(NotSavedMetadata::Other));
    }
}
