//! AES-256-CCM as BitLocker wraps keys with it: 12-byte nonce, 16-byte tag, no associated data.
//!
//! Source: format spec 3.1.

use aes::Aes256;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U12, U16};
use zeroize::Zeroize;

use crate::secret::{Secret, SecretBytes};

type Aes256Ccm = ccm::Ccm<Aes256, U16, U12>;

/// The longest text that can be sealed or opened: 64 KiB, far above any key box and below CCM's own limit.
pub const MAX_LEN_BYTES: usize = 0x1_0000;

/// Opens a sealed box; `None` means that the key is not the one it was sealed with, or that the box was altered.
#[must_use]
pub fn open(key: &Secret<32>, nonce: &[u8; 12], tag: &[u8; 16], ciphertext: &[u8]) -> Option<SecretBytes> {
    if ciphertext.len() > MAX_LEN_BYTES {
        return None;
    }
    let mut plaintext = SecretBytes::copy_of(ciphertext);
    Aes256Ccm::new(key.expose_secret().into())
        .decrypt_inout_detached(
            nonce.into(),
            &[],
            plaintext.expose_secret_mut().into(),
            tag.into(),
        )
        .ok()?;
    Some(plaintext)
}

/// Seals `plaintext`; returns the tag and the ciphertext.
///
/// A nonce must never be used twice with one key.
///
/// # Panics
/// If `plaintext` is longer than [`MAX_LEN_BYTES`].
#[must_use]
pub fn seal(key: &Secret<32>, nonce: &[u8; 12], plaintext: &SecretBytes) -> ([u8; 16], Vec<u8>) {
    assert!(
        plaintext.expose_secret().len() <= MAX_LEN_BYTES,
        "a key box holds at most 64 KiB"
    );
    let mut buffer = plaintext.expose_secret().to_vec();
    match Aes256Ccm::new(key.expose_secret().into()).encrypt_inout_detached(
        nonce.into(),
        &[],
        buffer.as_mut_slice().into(),
    ) {
        Ok(tag) => (tag.into(), buffer),
        Err(_) => {
            buffer.zeroize();
            unreachable!("CCM with a 12-byte nonce takes 16 MiB")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).expect("hex").try_into().expect("length")
    }

    // Vector: format spec 9.3, the VMK box of a Windows 10 recovery-password protector.
    #[test]
    fn opens_a_real_key_box_and_seals_it_again_to_the_same_bytes() {
        let key = Secret::from(bytes(
            "d3bb066813b137043d0e20430beba4f52377e4172ba64a7e4aadde6be662ccd1",
        ));
        let nonce = bytes("70acc2ac6fbcd70104000000");
        let tag = bytes("6df94c53c145321fd7135a4446f4306f");
        let ciphertext: [u8; 44] =
            bytes("367aa7cad543b3e03d7ede543655932f52f9967f170e82c3f27d680cc76ceab5ddfe005d40d33b4482284344");
        let plaintext = open(&key, &nonce, &tag, &ciphertext).expect("the right key opens");
        assert_eq!(
            hex::encode(plaintext.expose_secret()),
            "2c0000000100000003200000016ba35b28ce3f4a629d8e4d41271818efe3e3488faf582e56f6f484e3ff65d2"
        );
        assert_eq!(seal(&key, &nonce, &plaintext), (tag, ciphertext.to_vec()));

        let mut altered = ciphertext;
        altered[20] ^= 1;
        assert!(open(&key, &nonce, &tag, &altered).is_none());
        assert!(open(&Secret::from([0; 32]), &nonce, &tag, &ciphertext).is_none());
    }
}
