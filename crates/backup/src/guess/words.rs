//! Passwords that are nearly known: words, and what people change about them.

mod changes;

use std::collections::HashSet;
use std::ops::Range;

use keyhaven_crypto::SecretText;
use zeroize::Zeroizing;

use super::candidates::Candidates;
use changes::Change;

/// How much is changed about words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Nothing: the words are complete.
    Not,
    /// What people change on purpose or by a wrong keyboard: capitals, digits behind, another layout.
    Usually,
    /// Also a slip of the finger at any place. For a few words only: it makes thousands of each.
    BySlips,
}

/// Passwords made of words. All words are tried as they are, then all with the likeliest change, and so on.
pub struct Words {
    text: Zeroizing<String>,
    words: Vec<Range<usize>>,
    changes: Vec<Change>,
}

impl Words {
    /// Takes one word from each line; empty lines and repeats are left out.
    #[must_use]
    pub fn new(text: Zeroizing<String>, changed: Changed) -> Self {
        let mut words = Vec::new();
        let mut longest = 0;
        {
            let mut seen = HashSet::new();
            let mut start = 0;
            for line in text.split_inclusive('\n') {
                let word = line.strip_suffix('\n').unwrap_or(line);
                let word = word.strip_suffix('\r').unwrap_or(word);
                if !word.is_empty() && seen.insert(word) {
                    words.push(start..start + word.len());
                    longest = longest.max(word.chars().count());
                }
                start += line.len();
            }
        }
        Self {
            text,
            words,
            changes: changes::all(changed, longest),
        }
    }

    /// Reads the bytes of a word list: UTF-8, or UTF-16 with its mark; a line that is neither has one byte a letter.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Zeroizing<String> {
        if let [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] = bytes
            && let Some(text) = crate::text::decode(bytes)
        {
            return text;
        }
        let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
        let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match std::str::from_utf8(line) {
                Ok(line) => text.push_str(line),
                Err(_) => text.extend(line.iter().map(|byte| char::from(*byte))),
            }
        }
        text
    }

    /// Returns how many different words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Words({}, redacted)", self.words.len())
    }
}

impl Candidates for Words {
    type Guess = SecretText;

    fn positions(&self) -> u128 {
        self.words.len() as u128 * self.changes.len() as u128
    }

    fn at(&self, position: u128) -> Option<SecretText> {
        let count = (self.words.len() as u128).max(1);
        let word = self.words.get(usize::try_from(position % count).ok()?)?;
        let word = self.text.get(word.clone())?;
        let number = usize::try_from(position / count).ok()?;
        let changed = self.changes.get(number)?.apply(word)?;
        let is_repeat = self
            .changes
            .iter()
            .take(number)
            .any(|earlier| earlier.apply(word).is_some_and(|other| *other == *changed));
        (!is_repeat).then(|| SecretText::copy_of(&changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, changed: Changed) -> Words {
        Words::new(Zeroizing::new(text.to_owned()), changed)
    }

    fn all(words: &Words) -> Vec<String> {
        let guesses = (0..words.positions()).filter_map(|position| words.at(position));
        guesses.map(|guess| guess.expose_secret().to_owned()).collect()
    }

    #[test]
    fn words_come_as_they_are_first() {
        let words = words("anaconda\r\nSummer2023\n\nanaconda\npaß", Changed::Not);
        assert_eq!(words.len(), 3);
        assert_eq!(all(&words), ["anaconda", "Summer2023", "paß"]);
        assert_eq!(all(&self::words("", Changed::BySlips)).len(), 0);
    }

    #[test]
    fn word_lists_are_read_in_any_encoding() {
        assert_eq!(
            *Words::decode(b"\xEF\xBB\xBFpa\xC3\x9F\npa\xDF\n"),
            "pa\u{df}\npa\u{df}\n"
        );
        assert_eq!(*Words::decode(b"\xFF\xFEp\0\xDF\0\n\0"), "p\u{df}\n");
    }

    #[test]
    fn what_people_change_is_tried_early() {
        let changed = all(&words("anaconda\nSummer2023\nyes", Changed::Usually));
        let rank = |text: &str| changed.iter().position(|own| own == text).unwrap_or(usize::MAX);
        for text in [
            "Anaconda",
            "ANACONDA",
            "anaconda1",
            "anaconda!",
            "Anaconda1",
            "Summer2024",
            "sUMMER2023",
            "zes",
        ] {
            assert!(rank(text) < 200, "{text}: {}", rank(text));
        }
        assert!(rank("anaconda1999") < usize::MAX && rank("Summer") < usize::MAX);
        let mut once = changed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), changed.len(), "no guess of one word is made twice");
    }

    #[test]
    fn every_slip_of_a_finger_is_found() {
        let changed: HashSet<String> = all(&words("anaconda", Changed::BySlips)).into_iter().collect();
        for text in [
            "anacnoda",
            "anacond",
            "aanaconda",
            "anacomda",
            "anaConda",
            "anaconda?",
            "Xanaconda",
            "an conda",
        ] {
            assert!(changed.contains(text), "{text}");
        }
    }
}
