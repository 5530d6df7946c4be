//! `keyhaven metadata`: what a drive needs to be opened at all, saved and put back.

use super::{Run, Verb, group, run_one_of};

mod restore;
mod save;

const ALL: &[Verb] = &[save::VERB, restore::VERB];

pub(super) const VERB: Verb = Verb {
    command: || {
        group(
            "metadata",
            "Save the metadata of a drive, or put saved ones back",
            ALL,
        )
    },
    run: |matches, context| run_one_of(ALL, matches, context),
};
