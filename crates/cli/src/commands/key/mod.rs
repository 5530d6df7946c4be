//! `keyhaven key`: what can be done with a recovery key by itself.

use super::{Verb, group, run_one_of};

mod check;

const ALL: &[Verb] = &[check::VERB];

pub(super) const VERB: Verb = Verb {
    command: || group("key", "Check a recovery key", ALL),
    run: |matches, context| run_one_of(ALL, matches, context),
};
