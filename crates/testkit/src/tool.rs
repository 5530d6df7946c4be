//! Tools written by other people, as judges of what Keyhaven writes.

use std::env;
use std::path::PathBuf;

use crate::skip::skip;

/// Returns the path of the program `name`, or skips: [`None`] after a line on standard error.
///
/// # Panics
///
/// Where a skip counts as a failure (see the crate's documentation).
#[track_caller]
pub fn find(name: &str) -> Option<PathBuf> {
    let found = search(name);
    if found.is_none() {
        skip(&format!(
            "the program {name} is not installed (scripts/install-test-tools installs it)"
        ));
    }
    found
}

fn search(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(format!("{name}{}", env::consts::EXE_SUFFIX)))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_every_machine_is_found() {
        assert!(search("cargo").is_some());
    }

    #[test]
    fn a_program_of_no_machine_is_not() {
        assert_eq!(search("keyhaven-no-such-program"), None);
    }
}
