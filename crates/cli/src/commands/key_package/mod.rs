//! `keyhaven key-package`: what opens a drive with its recovery key when nothing of its own metadata is left.

use super::{Run, Verb, group, run_one_of};

mod save;
mod show;

const ALL: &[Verb] = &[save::VERB, show::VERB];

pub(super) const VERB: Verb = Verb {
    command: || {
        group(
            "key-package",
            "Save what opens a damaged drive with its recovery key, or show what is in such a file",
            ALL,
        )
    },
    run: |matches, context| run_one_of(ALL, matches, context),
};
