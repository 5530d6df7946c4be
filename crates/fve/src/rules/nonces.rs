//! What keeps the nonces of a volume apart.

use std::collections::HashMap;

use super::subject::{Subject, counter_of, for_each_box};
use super::{Rule, rule};
use crate::format::datum::{SealedDatum, Value};

pub(super) const RULES: &[Rule] = &[
    rule(
        "nonce-counter-next",
        "the counter for the next nonce is one more than the highest that is used",
        "2.4; all images",
        next,
    ),
    rule(
        "nonce-hash-last",
        "the sealed hash has the newest nonce",
        "2.4; the validation entry uses the counter before the next, in all images",
        hash_last,
    ),
    rule("nonce-once", "no nonce is used twice", "3.2; all images", once),
    rule(
        "nonce-copies-first",
        "in a way to unlock, the copies of its secret have lower nonces than the master key's box",
        "2.7; every protector that Windows made",
        copies_first,
    ),
];

fn seal<'d>(subject: &'d Subject<'_>) -> Option<&'d SealedDatum> {
    let checks = subject.block().validation.as_ref()?;
    match &checks.integrity.as_ref()?.value {
        Value::Sealed(sealed) => Some(sealed),
        _ => None,
    }
}

fn highest(subject: &Subject<'_>) -> Option<u32> {
    let mut highest = None;
    for_each_box(subject.datums(), &mut |sealed| {
        highest = highest.max(Some(counter_of(sealed)))
    });
    highest
}

fn next(subject: &Subject<'_>, found: &mut Vec<String>) {
    let next = subject.block().dataset.next_nonce_counter;
    // Without a sealed hash it cannot be told.
    let used = seal(subject).map(|seal| counter_of(seal).max(highest(subject).unwrap_or(0)));
    if used.is_some_and(|used| used.checked_add(1) != Some(next)) {
        found.push(format!("it is {next}, and {} is used", used.unwrap_or(0)));
    }
}

fn hash_last(subject: &Subject<'_>, found: &mut Vec<String>) {
    let Some(own) = seal(subject).map(counter_of) else {
        return;
    };
    if let Some(highest) = highest(subject).filter(|highest| *highest > own) {
        found.push(format!("its counter is {own}, another is {highest}"));
    }
}

fn once(subject: &Subject<'_>, found: &mut Vec<String>) {
    let mut seen: HashMap<[u8; 12], &SealedDatum> = HashMap::new();
    let mut boxes = Vec::new();
    for_each_box(subject.datums(), &mut |sealed| boxes.push(sealed));
    boxes.extend(seal(subject));
    for sealed in boxes {
        match seen.insert(sealed.nonce, sealed) {
            Some(first) if first.ciphertext != sealed.ciphertext => {
                found.push(format!("that with the counter {}", counter_of(sealed)));
            }
            _ => {}
        }
    }
}

fn copies_first(subject: &Subject<'_>, found: &mut Vec<String>) {
    for protector in subject.metadata().protectors() {
        let own = protector.nested().iter().find_map(|datum| match &datum.value {
            Value::Sealed(sealed) => Some(counter_of(sealed)),
            _ => None,
        });
        let Some(own) = own else { continue };
        for copy in protector
            .kept_secrets()
            .map(counter_of)
            .filter(|copy| *copy > own)
        {
            found.push(format!("{}: {copy} and {own}", protector.id().key_id()));
        }
    }
}
