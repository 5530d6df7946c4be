//! Types for what must not leak.
//!
//! Each lives on memory of its own, shows nothing in `Debug`, cannot be cloned, displayed or serialised, compares in
//! constant time, and is wiped when dropped. `expose_secret` is the word to search for.

#[cfg(any(test, not(any(unix, windows))))]
mod heap;
#[cfg(any(unix, windows))]
mod locked;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

#[cfg(not(any(unix, windows)))]
use heap::Pages;
#[cfg(any(unix, windows))]
use locked::Pages;

use crate::digest::sha256_into;

/// A secret of exactly `N` bytes: a key.
pub struct Secret<const N: usize>(Pages);

impl<const N: usize> Secret<N> {
    /// Makes a secret that `fill` writes in place, so that the bytes never stand anywhere else.
    pub fn init_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut pages = Pages::zeroed(N);
        if let Ok(bytes) = pages.bytes_mut().try_into() {
            fill(bytes);
        }
        Self(pages)
    }

    /// Copies a secret out of `bytes`; `None` if they are not exactly `N`.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == N).then(|| Self::init_with(|own| own.copy_from_slice(bytes)))
    }

    /// Shows the bytes.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; N] {
        self.0
            .bytes()
            .try_into()
            .expect("the buffer was made N bytes long")
    }

    /// Hashes the secret into another one.
    #[must_use]
    pub fn sha256(&self) -> Secret<32> {
        Secret::init_with(|out| sha256_into(self.expose_secret(), out))
    }

    /// Combines two secrets of the same size byte by byte (exclusive or).
    #[must_use]
    pub fn xor(&self, other: &Self) -> Self {
        Self::init_with(|out| {
            for (out, (a, b)) in out
                .iter_mut()
                .zip(self.expose_secret().iter().zip(other.expose_secret()))
            {
                *out = a ^ b;
            }
        })
    }
}

impl<const N: usize> From<[u8; N]> for Secret<N> {
    /// Takes over `bytes` and wipes the copy that was passed in.
    fn from(mut bytes: [u8; N]) -> Self {
        let secret = Self::init_with(|own| own.copy_from_slice(&bytes));
        bytes.zeroize();
        secret
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes().ct_eq(other.0.bytes()).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(redacted)")
    }
}

/// A secret of any length: the inside of a key box.
pub struct SecretBytes(Pages);

impl SecretBytes {
    /// Copies a secret out of `bytes`. The caller wipes its own copy.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut pages = Pages::zeroed(bytes.len());
        pages.bytes_mut().copy_from_slice(bytes);
        Self(pages)
    }

    /// Shows the bytes.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Shows the bytes to be changed in place.
    pub(crate) fn expose_secret_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// Hashes the secret into another one.
    #[must_use]
    pub fn sha256(&self) -> Secret<32> {
        Secret::init_with(|out| sha256_into(self.expose_secret(), out))
    }
}

impl From<Vec<u8>> for SecretBytes {
    /// Takes over `bytes` and wipes the buffer that was passed in.
    fn from(bytes: Vec<u8>) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self::copy_of(&bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes(redacted)")
    }
}

/// A secret that a person types or reads: a password, 48 digits, a passphrase.
pub struct SecretText(Pages);

impl SecretText {
    /// Copies a secret out of `text`. The caller wipes its own copy.
    #[must_use]
    pub fn copy_of(text: &str) -> Self {
        let mut pages = Pages::zeroed(text.len());
        pages.bytes_mut().copy_from_slice(text.as_bytes());
        Self(pages)
    }

    /// Shows the text.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        std::str::from_utf8(self.0.bytes()).expect("copied from a str")
    }
}

impl From<String> for SecretText {
    /// Takes over `text` and wipes the buffer that was passed in.
    fn from(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self::copy_of(&text)
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes().ct_eq(other.0.bytes()).into()
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_keep_their_bytes_and_show_nothing() {
        let secret = Secret::from([0xa5u8; 32]);
        assert_eq!(secret.expose_secret(), &[0xa5; 32]);
        assert_eq!(format!("{secret:?}"), "Secret<32>(redacted)");
        assert_eq!(
            format!("{:?}", SecretText::copy_of("hunter2")),
            "SecretText(redacted)"
        );
        assert_eq!(
            format!("{:?}", SecretBytes::copy_of(b"hunter2")),
            "SecretBytes(redacted)"
        );
        assert!(Secret::<16>::from_slice(&[0; 15]).is_none());
        assert!(SecretBytes::copy_of(&[]).expose_secret().is_empty());
    }

    #[cfg(any(unix, windows))]
    #[test]
    fn locked_pages_and_heap_pages_agree() {
        for len in [0, 1, 16, 64, 4095, 4096, 4097, 10_000] {
            let (mut locked, mut heap) = (locked::Pages::zeroed(len), heap::Pages::zeroed(len));
            assert_eq!(locked.bytes(), heap.bytes());
            for (i, (a, b)) in locked.bytes_mut().iter_mut().zip(heap.bytes_mut()).enumerate() {
                *a = i as u8;
                *b = i as u8;
            }
            assert_eq!(locked.bytes(), heap.bytes());
            assert_eq!(locked.bytes().len(), len);
        }
    }

    #[test]
    fn equality_is_by_content() {
        assert_eq!(Secret::from([1u8; 16]), Secret::from([1u8; 16]));
        assert_ne!(Secret::from([1u8; 16]), Secret::from([2u8; 16]));
        assert_eq!(
            Secret::from([3u8; 2]).xor(&Secret::from([1u8; 2])),
            Secret::from([2u8; 2])
        );
    }
}
