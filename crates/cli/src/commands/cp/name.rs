//! Names that the target can hold, for those that the drive has.

use std::borrow::Cow;
use std::collections::HashMap;

/// What a name may be where files are copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Anything but a slash, up to 255 bytes.
    Unix,
    /// As Windows wants it, and its file systems anywhere: up to 255 UTF-16 units, without `:` and the like, without
    /// names of devices; capitals do not tell names apart.
    Windows,
}

/// The longest name, in bytes of UTF-8 or in units of UTF-16.
const LEN_MAX: usize = 255;

/// What is kept free at the end of a name that is cut, for a number and for the name of an unfinished file.
const LEN_RESERVED: usize = 24;

impl Naming {
    /// Returns the name itself, or one like it that can be held.
    pub(super) fn safe<'a>(self, name: &'a str) -> Cow<'a, str> {
        let mut safe = Cow::Borrowed(name);
        if name.contains(|character| self.forbids(character)) {
            let replace = |character| if self.forbids(character) { '_' } else { character };
            safe = Cow::Owned(name.chars().map(replace).collect());
        }
        if self == Self::Windows {
            if safe.ends_with(['.', ' ']) {
                let kept = safe.trim_end_matches(['.', ' ']);
                let gone = safe.len() - kept.len();
                safe = Cow::Owned(format!("{kept}{}", "_".repeat(gone)));
            }
            if is_device(&safe) {
                safe = Cow::Owned(match safe.split_once('.') {
                    Some((stem, rest)) => format!("{stem}_.{rest}"),
                    None => format!("{safe}_"),
                });
            }
        }
        if matches!(&*safe, "" | "." | "..") {
            safe = Cow::Owned("_".to_owned());
        }
        if self.len(&safe) > LEN_MAX {
            safe = Cow::Owned(self.with(&safe, ""));
        }
        safe
    }

    /// Puts something between a name and its ending, and cuts the name where it gets too long.
    fn with(self, name: &str, suffix: &str) -> String {
        let (stem, ending) = match name.rfind('.') {
            Some(at) if at > 0 && name.len() - at <= 16 => name.split_at(at),
            _ => (name, ""),
        };
        let room = LEN_MAX.saturating_sub(LEN_RESERVED + self.len(ending));
        let is_cut = self.len(name) + self.len(suffix) > LEN_MAX;
        let mut kept = String::with_capacity(stem.len());
        let mut len = 0;
        for character in stem.chars() {
            len += self.len(character.encode_utf8(&mut [0; 4]));
            if is_cut && len > room {
                break;
            }
            kept.push(character);
        }
        format!("{kept}{suffix}{ending}")
    }

    fn forbids(self, character: char) -> bool {
        match self {
            Self::Unix => matches!(character, '/' | '\0'),
            Self::Windows => {
                matches!(character, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*') || character < ' '
            }
        }
    }

    fn len(self, text: &str) -> usize {
        match self {
            Self::Unix => text.len(),
            Self::Windows => text.encode_utf16().count(),
        }
    }
}

/// Returns the name of a file until it is whole, the `attempt`th for which there was nothing yet.
pub(super) fn partial(naming: Naming, name: &str, attempt: u32) -> String {
    let suffix = match attempt {
        0 => ".partial".to_owned(),
        attempt => format!(".partial{attempt}"),
    };
    let mut partial = name.to_owned();
    while naming.len(&partial) + suffix.len() > LEN_MAX && partial.pop().is_some() {}
    partial + &suffix
}

/// Tells whether Windows takes a name for a device, whatever its ending.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        numbered => ["COM", "LPT"].iter().any(|kind| {
            let mut rest = numbered.strip_prefix(kind).unwrap_or_default().chars();
            matches!(
                (rest.next(), rest.next()),
                (Some('1'..='9' | '¹' | '²' | '³'), None)
            )
        }),
    }
}

/// The names that this run has given in one folder, so that no two files get the same.
#[derive(Debug)]
pub(super) struct Names {
    naming: Naming,
    /// By how they are told apart, with the number to try next.
    given: HashMap<String, u32>,
}

impl Names {
    pub(super) fn new(naming: Naming) -> Self {
        Self {
            naming,
            given: HashMap::new(),
        }
    }

    /// Gives a name to something of the drive: its own, wherever that can be.
    pub(super) fn give(&mut self, wanted: &str) -> String {
        let safe = self.naming.safe(wanted);
        let key = self.key(&safe);
        let Some(mut number) = self.given.get(&key).copied() else {
            self.given.insert(key, 2);
            return safe.into_owned();
        };
        loop {
            let numbered = self.naming.with(&safe, &format!(" ({number})"));
            number = number.saturating_add(1);
            let numbered_key = self.key(&numbered);
            if !self.given.contains_key(&numbered_key) {
                self.given.insert(key, number);
                self.given.insert(numbered_key, 2);
                return numbered;
            }
        }
    }

    fn key(&self, name: &str) -> String {
        match self.naming {
            Naming::Unix if cfg!(not(target_os = "macos")) => name.to_owned(),
            _ => name.to_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_windows_cannot_hold_gets_another_name() {
        for (name, safe) in [
            ("letter.txt", "letter.txt"),
            ("a:b", "a_b"),
            ("what?*", "what__"),
            ("dots..", "dots__"),
            ("space ", "space_"),
            ("...", "___"),
            ("CON", "CON_"),
            ("nul.txt", "nul_.txt"),
            ("com1.tar.gz", "com1_.tar.gz"),
            ("COM¹", "COM¹_"),
            ("console", "console"),
            ("com10", "com10"),
            ("\\uD83D", "_uD83D"),
            ("\u{1b}[2J", "_[2J"),
        ] {
            assert_eq!(Naming::Windows.safe(name), safe);
        }
        assert_eq!(Naming::Unix.safe("a:b?."), "a:b?.");
        assert_eq!(Naming::Unix.safe("../x"), ".._x");
        assert_eq!(Naming::Unix.safe(".."), "_");
    }

    #[test]
    fn long_names_are_cut_before_their_ending() {
        // As long as Windows allows, and three times as long in UTF-8.
        let long = format!("{}.txt", "漢".repeat(251));
        assert_eq!(Naming::Windows.safe(&long), long);
        let cut = Naming::Unix.safe(&long);
        assert!(cut.len() <= LEN_MAX && cut.ends_with("漢.txt"), "{cut}");
        let mut names = Names::new(Naming::Unix);
        assert_eq!(names.give(&long), cut);
        let other = names.give(&format!("{}.txt", "漢".repeat(250)));
        assert!(other.len() <= LEN_MAX && other.ends_with("漢 (2).txt"), "{other}");
        assert!(partial(Naming::Unix, &other, 12).len() <= LEN_MAX);
    }

    #[test]
    fn capitals_tell_names_apart_only_where_they_do() {
        let mut names = Names::new(Naming::Windows);
        assert_eq!(names.give("Readme.txt"), "Readme.txt");
        assert_eq!(names.give("README.txt"), "README (2).txt");
        assert_eq!(names.give("readme (2).TXT"), "readme (2) (2).TXT");
        assert_eq!(names.give("readme.txt"), "readme (3).txt");
        #[cfg(target_os = "linux")]
        {
            let mut names = Names::new(Naming::Unix);
            assert_eq!(names.give("Readme.txt"), "Readme.txt");
            assert_eq!(names.give("README.txt"), "README.txt");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn names_can_be_held_and_are_never_the_same(
            wanted in proptest::collection::vec("[aA:. ?漢]{0,4}|[a漢]{240,260}(\\.txt)?|CON|com1\\.x|\\.{1,3}", 1..20)
        ) {
            for naming in [Naming::Unix, Naming::Windows] {
                let mut names = Names::new(naming);
                let mut given = std::collections::HashSet::new();
                for name in &wanted {
                    let name = names.give(name);
                    prop_assert!(!matches!(name.as_str(), "" | "." | ".."));
                    prop_assert!(naming.len(&name) <= LEN_MAX, "{name}");
                    prop_assert_eq!(naming.safe(&name), name.as_str(), "it is safe already");
                    prop_assert!(naming.len(&partial(naming, &name, 3)) <= LEN_MAX);
                    prop_assert!(given.insert(names.key(&name)), "{name} twice");
                }
            }
        }
    }
}
