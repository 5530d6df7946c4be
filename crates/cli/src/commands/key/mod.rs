//! `keyhaven key`: what can be done about a recovery key.

use super::{Verb, group, run_one_of};

mod check;
mod repair;

const ALL: &[Verb] = &[check::VERB, repair::VERB];

pub(super) const VERB: Verb = Verb {
    command: || group("key", "Check and repair recovery keys", ALL),
    run: |matches, context| run_one_of(ALL, matches, context),
};
