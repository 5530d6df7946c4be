//! `keyhaven password`: what can be done about the password of a drive.

use super::{Verb, group, run_one_of};

mod repair;

const ALL: &[Verb] = &[repair::VERB];

pub(super) const VERB: Verb = Verb {
    command: || group("password", "Repair a password that is nearly known", ALL),
    run: |matches, context| run_one_of(ALL, matches, context),
};
