//! What real Windows volumes keep: one rule an entry of [`ALL`], with where it was seen.
//!
//! Every rule holds on all undamaged volumes of Windows that were looked at. A finding is a difference from those, which
//! need not keep a volume from opening.

mod boot;
mod copies;
mod entries;
mod layout;
mod nonces;
mod sealed;
mod subject;

use crate::volume::{Unlocked, Volume};

use subject::Subject;

/// A rule that real volumes keep.
#[derive(Debug)]
pub struct Rule {
    /// Its name, which stays the same.
    pub id: &'static str,
    /// What holds.
    pub sentence: &'static str,
    /// Where it was seen: sections of the format specification, images.
    pub seen: &'static str,
    /// Whether a key is needed to tell.
    pub needs_key: bool,
    /// Tells what does not hold.
    check: fn(&Subject<'_>, &mut Vec<String>),
}

/// A place where a volume differs.
#[derive(Debug)]
pub struct Finding {
    /// The rule that does not hold.
    pub rule: &'static Rule,
    /// What was found.
    pub found: String,
}

/// All rules: of the copies, the boot sector, the places, the entries, the nonces, and of what is sealed.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    ALL.iter().copied().flatten()
}

/// All rules, by what they are about.
pub const ALL: &[&[Rule]] = &[
    copies::RULES,
    boot::RULES,
    layout::RULES,
    entries::RULES,
    nonces::RULES,
    sealed::RULES,
];

/// Holds a volume against all rules; without a key, against those that need none.
///
/// A volume that was only opened by ignoring checksums can be checked, too.
#[must_use]
pub fn check(volume: &Volume, unlocked: Option<&Unlocked>) -> Vec<Finding> {
    let subject = Subject::read(volume, unlocked);
    let mut findings = Vec::new();
    for rule in all().filter(|rule| !rule.needs_key || unlocked.is_some_and(|own| own.vmk().is_some())) {
        let mut found = Vec::new();
        (rule.check)(&subject, &mut found);
        findings.extend(found.into_iter().map(|found| Finding { rule, found }));
    }
    findings
}

/// Makes a rule that needs no key.
const fn rule(
    id: &'static str,
    sentence: &'static str,
    seen: &'static str,
    check: fn(&Subject<'_>, &mut Vec<String>),
) -> Rule {
    Rule {
        id,
        sentence,
        seen,
        needs_key: false,
        check,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn every_rule_has_its_own_name() {
        let mut names = HashSet::new();
        for rule in super::all() {
            assert!(names.insert(rule.id), "{}", rule.id);
            assert!(
                !rule.sentence.ends_with('.') && !rule.seen.is_empty(),
                "{}",
                rule.id
            );
        }
    }
}
