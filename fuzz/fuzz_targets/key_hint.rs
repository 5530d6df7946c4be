//! Understanding what a person still has of a recovery key, and ordering what it may have been.
#![no_main]

use keyhaven_backup::guess::{Candidates, Hint, KeyGuesses};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(hint) = Hint::find(text) else { return };
    let Ok(guesses) = KeyGuesses::new(&hint, 1 << 20) else {
        return;
    };
    let last = guesses.positions().saturating_sub(1);
    for position in [0, 1, last / 2, last] {
        let _ = guesses.at(position);
    }
    let _ = (guesses.helps(), guesses.understood(&hint, true));
});
