//! A password chosen by a person.

use keyhaven_crypto::{Secret, SecretBytes, SecretText, stretch};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// A password protector's secret: any text in any script.
#[derive(Debug)]
pub struct Password(SecretText);

/// How the letters of a password are put together, where there is more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// As it was typed.
    AsTyped,
    /// Composed letters (Unicode NFC), as Windows keyboards send them.
    Composed,
    /// Letters and accents apart (Unicode NFD), as macOS sends them.
    Decomposed,
}

impl Password {
    /// Takes a password as typed.
    #[must_use]
    pub fn new(text: SecretText) -> Self {
        Self(text)
    }

    /// Returns it as it was typed, for who has another program try it.
    #[must_use]
    pub fn as_typed(&self) -> &SecretText {
        &self.0
    }

    /// Returns the different forms in which Windows may have seen this password, the likeliest first.
    ///
    /// Plain ASCII has one form. Windows itself does not normalise (format spec 3.3): it takes what the keyboard
    /// sends, which differs between systems for the same visible text.
    #[must_use]
    pub fn forms(&self) -> Vec<(Normalization, Secret<32>)> {
        let typed = self.0.expose_secret();
        let mut forms = vec![(Normalization::AsTyped, hash(typed.encode_utf16()))];
        let composed = Zeroizing::new(typed.nfc().collect::<String>());
        let decomposed = Zeroizing::new(typed.nfd().collect::<String>());
        for (form, text) in [
            (Normalization::Composed, composed),
            (Normalization::Decomposed, decomposed),
        ] {
            let hashed = hash(text.encode_utf16());
            if forms.iter().all(|(_, known)| *known != hashed) {
                forms.push((form, hashed));
            }
        }
        forms
    }

    /// Returns the form that a new protector is made for: composed, because Windows will be given it from a keyboard
    /// that sends it so, whatever the one does on which it is typed now.
    pub(crate) fn composed(&self) -> Secret<32> {
        let composed = Zeroizing::new(self.0.expose_secret().nfc().collect::<String>());
        hash(composed.encode_utf16())
    }

    /// Stretches one of the [`forms`](Self::forms) for one protector, whose salt this is.
    #[must_use]
    pub fn stretch(form: &Secret<32>, salt: &[u8; 16]) -> Secret<32> {
        stretch(form, salt)
    }
}

/// Hashes twice the UTF-16LE text, without byte order mark or end mark (format spec 3.3).
fn hash(units: impl Iterator<Item = u16>) -> Secret<32> {
    SecretBytes::from(units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
        .sha256()
        .sha256()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Vector: format spec 9.4, image df-aes_128.
    #[test]
    fn a_real_password_hashes_as_windows_does() {
        let forms = Password::new(SecretText::copy_of("password12!@")).forms();
        assert_eq!(forms.len(), 1);
        assert_eq!(
            hex::encode(forms[0].1.expose_secret()),
            "13619bc65aa48e435f886990fd217df64076017f03bbade46df0173973dd7dd1"
        );
    }

    #[test]
    fn accents_are_tried_both_ways() {
        let forms = |text: &str| Password::new(SecretText::copy_of(text)).forms();
        let (composed, decomposed) = (forms("caf\u{e9}"), forms("cafe\u{301}"));
        assert_eq!(composed.len(), 2);
        assert_eq!(composed[0].1, decomposed[1].1);
        assert_eq!(composed[1].1, decomposed[0].1);
        assert_eq!(forms("anaconda\u{a3}").len(), 1);
        let made_for = Password::new(SecretText::copy_of("cafe\u{301}")).composed();
        assert_eq!(made_for, composed[0].1);
    }
}
