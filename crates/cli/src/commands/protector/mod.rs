//! `keyhaven protector`: the ways to unlock a drive.

use super::{Run, Verb, group, run_one_of};

mod add;
mod change;
mod list;
mod remove;

const ALL: &[Verb] = &[list::VERB, add::VERB, remove::VERB, change::VERB];

pub(super) const VERB: Verb = Verb {
    command: || {
        group(
            "protector",
            "List, add, remove or change the ways to unlock a drive",
            ALL,
        )
    },
    run: |matches, context| run_one_of(ALL, matches, context),
};
