//! The one rule for tests that lack something: loud here, fatal in CI.

use std::env;

/// Says on standard error why a test does not run, or fails it where a skip is not acceptable.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(!is_fatal(), "a test may not be skipped here: {why}");
    announce(why);
}

/// Says on standard error why a test does not run.
pub(crate) fn announce(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn is_fatal() -> bool {
    let is_set_to = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    is_set_to("CI", "true") || is_set_to("KEYHAVEN_REQUIRE_CORPUS", "1")
}
