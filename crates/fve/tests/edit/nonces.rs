//! No nonce is ever used twice.

use std::collections::HashMap;
use std::sync::Arc;

use keyhaven_fve::Credential;
use keyhaven_fve::create::NewProtector;
use keyhaven_fve::edit::{Edit, Unrenewable};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::format::datum::{Datum, Value};
use keyhaven_testkit::numbers;
use proptest::prelude::*;

use crate::bed::{CREATED, credential_of, make, open};

/// What happens to a volume.
#[derive(Debug, Clone, Copy)]
enum Step {
    Add,
    RemoveFirst,
    ToggleSuspended,
    RotateVmk,
    /// The edit is begun and given up.
    GiveUp,
    /// The power goes while the first copy is being written.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
    let step = prop_oneof![
        4 => Just(Step::Add),
        3 => Just(Step::RemoveFirst),
        2 => Just(Step::ToggleSuspended),
        2 => Just(Step::RotateVmk),
        1 => Just(Step::GiveUp),
        1 => Just(Step::Crash),
    ];
    // The clock may stand still, and go back.
    prop::collection::vec((step, -20_000_000_i64..40_000_000), 300)
}

/// Notes every box of the metadata under its nonce: the same nonce must always be the same box.
fn note(datums: &[Datum], seen: &mut HashMap<[u8; 12], Vec<u8>>) {
    for datum in datums {
        if let Value::Sealed(sealed) = &datum.value {
            let content = [&sealed.tag[..], &sealed.ciphertext].concat();
            let first = seen.entry(sealed.nonce).or_insert_with(|| content.clone());
            assert_eq!(*first, content, "a nonce was used twice");
        }
        note(datum.nested(), seen);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(7) })]

    /// Seven volumes with 300 edits each.
    #[test]
    fn no_nonce_is_used_twice(steps in steps(), seed in any::<u64>()) {
        let random = &mut numbers(!seed);
        let made = make(seed, vec![NewProtector::ExternalKey]);
        let mut medium = Arc::new(made.medium.fork());
        let mut keys = vec![(made.records[0].protector_id, credential_of(&made.records[0]))];
        let mut seen = HashMap::new();
        let mut now = CREATED.0;
        for (step, seconds) in steps {
            now = now.saturating_add_signed(seconds);
            let volume = open(&medium);
            let protectors = volume.metadata().protectors();
            let mut own = keys.iter().filter(|(id, _)| protectors.iter().any(|protector| protector.id() == *id));
            let key = own.next().map_or(&Credential::ClearKey, |(_, key)| key);
            let unlocked = volume.unlock(key).expect("the key opens it");
            let mut edit = Edit::begin(&volume, &unlocked, FileTime(now)).expect("it can be changed");
            match step {
                Step::Add | Step::GiveUp | Step::Crash => {
                    let added = edit.add(NewProtector::ExternalKey, random).expect("added");
                    keys.extend(added.record.as_ref().map(|record| (added.id, credential_of(record))));
                }
                Step::RemoveFirst => {
                    let first = edit.protectors()[0].id();
                    // It may be the last one.
                    let _ = edit.remove(first);
                }
                Step::ToggleSuspended => match edit.resume() {
                    Ok(()) => {}
                    Err(_) => {
                        let _ = edit.suspend(random);
                    }
                },
                Step::RotateVmk => {
                    edit.rotate_vmk(Unrenewable::Refuse, random).expect("all can be renewed");
                }
            }
            match step {
                Step::GiveUp => {}
                Step::Crash => {
                    let scratch = Arc::new(medium.fork());
                    edit.commit(&*scratch).expect("written");
                    let state = scratch.states(40, now).nth((now % 10) as usize).expect("many states");
                    medium = state.device;
                }
                _ => {
                    edit.commit(&*medium).expect("written");
                    // What was recorded is of no more use.
                    medium = Arc::new(medium.fork());
                }
            }
            let volume = open(&medium);
            let block = volume.metadata().block();
            note(&block.datums, &mut seen);
            let seal = block.validation.as_ref().and_then(|checks| checks.integrity.as_ref());
            note(seal.map(std::slice::from_ref).unwrap_or_default(), &mut seen);
        }
        prop_assert!(seen.len() > 300, "{}", seen.len());
    }
}
