//! A password of which the kinds of characters are known, in hashcat's mask language.

use keyhaven_crypto::SecretText;
use zeroize::Zeroizing;

use super::candidates::Candidates;

/// Windows takes no longer passwords, in characters.
const LEN_MAX: usize = 256;

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGIT: &str = "0123456789";
const SPECIAL: &str = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// Passwords that fit a mask: `Summer?d?d?d?d?s`.
///
/// `?l` is a small letter, `?u` a capital, `?d` a digit, `?s` a space or sign, `?a` any of these, `?h` and `?H` a
/// hexadecimal digit, `?1` to `?4` one of a set of the caller's, `??` a question mark; everything else stands for itself.
pub struct Mask {
    places: Vec<Zeroizing<Vec<char>>>,
}

/// Why a text is no mask. Says where, and never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// `?` in front of something that names no set.
    #[error(
        "the `?` at character {position} is not followed by one of l, u, d, s, a, h, H, 1 to 4, or another `?`"
    )]
    UnknownSet {
        /// Which character, counted from 1.
        position: usize,
    },
    /// A set of the caller's that was not given.
    #[error("the set ?{number} is used at character {position} and was not given")]
    NoSuchSet {
        /// The set.
        number: usize,
        /// Which character, counted from 1.
        position: usize,
    },
    /// There is nothing in it.
    #[error("there is nothing in the mask")]
    Empty,
    /// It is longer than a password can be.
    #[error("the mask stands for more than {LEN_MAX} characters")]
    TooLong,
}

impl Mask {
    /// Reads a mask. `sets` are the caller's, in the same language; a later one may use the earlier ones.
    ///
    /// # Errors
    /// [`MaskError`].
    pub fn parse(text: &str, sets: &[Zeroizing<String>]) -> Result<Self, MaskError> {
        let mut own: Vec<Zeroizing<Vec<char>>> = Vec::new();
        for set in sets {
            let mut chars = Zeroizing::new(Vec::with_capacity(1024));
            for place in places(set, &own)? {
                chars.extend(place.iter());
            }
            own.push(without_repeats(chars));
        }
        let places = places(text, &own)?;
        match places.len() {
            0 => Err(MaskError::Empty),
            len if len > LEN_MAX => Err(MaskError::TooLong),
            _ => Ok(Self { places }),
        }
    }

    /// Tells whether the mask has characters that stand for themselves: then it is a part of the password.
    #[must_use]
    pub fn has_known_characters(&self) -> bool {
        self.places.iter().any(|place| place.len() == 1)
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({} characters, redacted)", self.places.len())
    }
}

impl Candidates for Mask {
    type Guess = SecretText;

    fn positions(&self) -> u128 {
        let counts = self.places.iter().map(|place| place.len() as u128);
        counts.fold(1, u128::saturating_mul)
    }

    fn at(&self, mut position: u128) -> Option<SecretText> {
        if position >= self.positions() {
            return None;
        }
        let mut signs = Zeroizing::new(Vec::with_capacity(self.places.len()));
        for place in self.places.iter().rev() {
            let count = place.len() as u128;
            let sign = place.get(usize::try_from(position.checked_rem(count)?).ok()?)?;
            signs.push(*sign);
            position /= count;
        }
        let mut text = Zeroizing::new(String::with_capacity(4 * signs.len()));
        text.extend(signs.iter().rev());
        Some(SecretText::copy_of(&text))
    }
}

/// Reads the places of a mask, each with the characters that it may hold.
fn places(text: &str, sets: &[Zeroizing<Vec<char>>]) -> Result<Vec<Zeroizing<Vec<char>>>, MaskError> {
    let chars = |text: &str| Zeroizing::new(text.chars().collect::<Vec<char>>());
    let mut places = Vec::new();
    let mut signs = text.chars().enumerate();
    while let Some((i, sign)) = signs.next() {
        let position = i + 1;
        places.push(if sign != '?' {
            Zeroizing::new(vec![sign])
        } else {
            match signs.next().map(|(_, sign)| sign) {
                Some('l') => chars(LOWER),
                Some('u') => chars(UPPER),
                Some('d') => chars(DIGIT),
                Some('s') => chars(SPECIAL),
                Some('a') => {
                    let mut all = chars(LOWER);
                    all.extend(UPPER.chars().chain(DIGIT.chars()).chain(SPECIAL.chars()));
                    all
                }
                Some('h') => chars("0123456789abcdef"),
                Some('H') => chars("0123456789ABCDEF"),
                Some('?') => Zeroizing::new(vec!['?']),
                Some(number @ '1'..='4') => {
                    let number = number as usize - '0' as usize;
                    let set = sets.get(number - 1).filter(|set| !set.is_empty());
                    set.cloned().ok_or(MaskError::NoSuchSet { number, position })?
                }
                _ => return Err(MaskError::UnknownSet { position }),
            }
        });
    }
    Ok(places)
}

fn without_repeats(chars: Zeroizing<Vec<char>>) -> Zeroizing<Vec<char>> {
    let mut once = Zeroizing::new(Vec::with_capacity(chars.len()));
    for sign in chars.iter() {
        if !once.contains(sign) {
            once.push(*sign);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn mask(text: &str, sets: &[&str]) -> Result<Mask, MaskError> {
        let sets: Vec<_> = sets.iter().map(|set| Zeroizing::new((*set).to_owned())).collect();
        Mask::parse(text, &sets)
    }

    #[test]
    fn every_password_of_a_mask_is_made_once() {
        let mask = mask("a?d?1é??", &["x?d", "?1y"]).expect("a mask");
        assert_eq!(mask.positions(), 110);
        let all: HashSet<String> = (0..110)
            .map(|position| mask.at(position).expect("one").expose_secret().to_owned())
            .collect();
        assert_eq!(all.len(), 110);
        assert!(all.contains("a7xé?") && all.contains("a09é?"));
        assert!(mask.at(110).is_none());
        assert!(mask.has_known_characters());
    }

    #[test]
    fn sets_are_those_of_hashcat() {
        let count = |text: &str| mask(text, &[]).expect("a mask").positions();
        assert_eq!(
            ["?l", "?u", "?d", "?s", "?a", "?h", "?H"].map(count),
            [26, 26, 10, 33, 95, 16, 16]
        );
        assert_eq!(count(&"?a".repeat(256)), u128::MAX);
        assert!(!mask("?l?d", &[]).expect("a mask").has_known_characters());
        assert_eq!(mask("?2", &["?d", "?1?l?1"]).expect("a mask").positions(), 36);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_mask() {
        assert_eq!(
            mask("ab?x", &[]).unwrap_err(),
            MaskError::UnknownSet { position: 3 }
        );
        assert_eq!(
            mask("ab?", &[]).unwrap_err(),
            MaskError::UnknownSet { position: 3 }
        );
        assert_eq!(
            mask("?2", &["?d"]).unwrap_err(),
            MaskError::NoSuchSet {
                number: 2,
                position: 1
            }
        );
        assert_eq!(mask("", &[]).unwrap_err(), MaskError::Empty);
        assert_eq!(mask(&"x".repeat(257), &[]).unwrap_err(), MaskError::TooLong);
    }
}
