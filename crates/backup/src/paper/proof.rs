//! Holds the two halves of a finished page against each other.

use keyhaven_crypto::SecretText;
use keyhaven_fve::Guid;
use keyhaven_fve::keys::RecoveryPassword;
use zeroize::Zeroizing;

use super::{PaperError, read_pages};

const BLOCKS: usize = 8;

/// Reads the page for `protector_id` in `pdf` back: its large digits and its QR code have to be the same key.
///
/// Returns that key as the page gave it, to be tried on the drive.
///
/// # Errors
/// [`PaperError::NotProven`] names the half that cannot be read, [`PaperError::HalvesDiffer`]; other [`PaperError`]s if
/// the PDF cannot be read at all.
pub fn prove_page(pdf: &[u8], protector_id: Guid) -> Result<RecoveryPassword, PaperError> {
    let id = protector_id.to_string();
    let key_id = || protector_id.key_id();
    let page = read_pages(pdf)?
        .into_iter()
        .find(|page| page.text.expose_secret().contains(&id))
        .ok_or_else(|| PaperError::NoSuchPage { key_id: key_id() })?;
    let printed = printed_key(&page.text).ok_or_else(|| PaperError::NotProven {
        half: "recovery key in digits",
        key_id: key_id(),
    })?;
    let coded = page
        .codes
        .iter()
        .find_map(|code| RecoveryPassword::parse(code.expose_secret()).ok())
        .ok_or_else(|| PaperError::NotProven {
            half: "QR code",
            key_id: key_id(),
        })?;
    if printed != coded {
        return Err(PaperError::HalvesDiffer { key_id: key_id() });
    }
    Ok(printed)
}

/// Puts the large blocks of a page together: the first eight words of six digits, in reading order.
///
/// The line that repeats the key with hyphens is one longer word and plays no part.
fn printed_key(text: &SecretText) -> Option<RecoveryPassword> {
    let blocks: Vec<&str> = text
        .expose_secret()
        .split_whitespace()
        .filter(|word| word.len() == 6 && word.bytes().all(|b| b.is_ascii_digit()))
        .take(BLOCKS)
        .collect();
    let digits = Zeroizing::new(blocks.join("-"));
    RecoveryPassword::parse(&digits).ok()
}
