//! What hashcat and john read of a drive, for whoever has a room full of graphics cards.
//!
//! The form is that of bitlocker2john: `$bitlocker$KIND$16$SALT$1048576$12$NONCE$60$BOX`, the box being tag and
//! ciphertext. Kinds 0 and 1 are passwords, 2 and 3 recovery keys; the odd ones have the tag checked, so that nothing
//! that does not open the drive is taken for right. hashcat (mode 22100) reads passwords only.

use keyhaven_crypto::STRETCH_ROUNDS;
use keyhaven_fve::ProtectorKind;
use keyhaven_fve::protector::Trial;

/// A program that reads such lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFormat {
    /// hashcat, mode 22100.
    Hashcat,
    /// john's format `bitlocker`.
    John,
}

/// Writes what a program needs to try secrets on a protector; `None` if it has no form for that kind of protector.
#[must_use]
pub fn hash_line(trial: &Trial, format: HashFormat) -> Option<String> {
    let kind = match (trial.kind(), format) {
        (ProtectorKind::Password, _) => 1,
        (ProtectorKind::RecoveryPassword, HashFormat::John) => 3,
        _ => return None,
    };
    // The master key's box has 44 bytes; both programs take no other.
    let sealed = trial
        .boxes()
        .iter()
        .find(|sealed| sealed.ciphertext.len() == 44)?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (salt, nonce, tag) = (hex(trial.salt()), hex(&sealed.nonce), hex(&sealed.tag));
    let ciphertext = hex(&sealed.ciphertext);
    Some(format!(
        "$bitlocker${kind}$16${salt}${STRETCH_ROUNDS}$12${nonce}$60${tag}{ciphertext}"
    ))
}
