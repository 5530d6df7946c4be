//! Key packages as people have them: the file of Windows' tools, what a directory exports, base64 or hexadecimal digits in
//! a text.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use keyhaven_fve::KeyPackage;
use keyhaven_fve::format::ShapeError;
use zeroize::Zeroizing;

use crate::text;

/// No file with packages is longer, in bytes: a directory's export of a few thousand computers.
pub const MAX_LEN_BYTES: usize = 16 << 20;
/// So many packages are taken out of one file.
const MAX_PACKAGES: usize = 10_000;

/// The name by which directories keep packages (format spec 6).
const ATTRIBUTE: &str = "msfve-keypackage";

/// Reads the packages in a file, whatever its form.
///
/// # Errors
/// [`ShapeError`], which says what is wrong with it as a package by itself, where there is none in it.
pub fn read(bytes: &[u8]) -> Result<Vec<KeyPackage>, ShapeError> {
    let alone = match KeyPackage::read(bytes) {
        Ok(package) => return Ok(vec![package]),
        Err(error) => error,
    };
    let packages = text::decode(bytes).map_or_else(Vec::new, |text| in_text(&text));
    if packages.is_empty() {
        Err(alone)
    } else {
        Ok(packages)
    }
}

/// Finds the packages in a text: an attribute in LDIF, a line of digits, or all of the text as one.
fn in_text(text: &str) -> Vec<KeyPackage> {
    let mut packages = Vec::new();
    // LDIF folds lines: what begins with a blank goes on with the line before (RFC 2849).
    let unfolded = text.replace("\r\n", "\n").replace("\n ", "");
    for line in unfolded.lines() {
        let value = match line.split_once(':') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case(ATTRIBUTE) => {
                value.trim_start_matches(':')
            }
            Some(_) => continue,
            None => line,
        };
        if packages.len() < MAX_PACKAGES {
            packages.extend(in_digits(value));
        }
    }
    if packages.is_empty() {
        packages.extend(in_digits(text));
    }
    packages
}

/// Reads base64 or hexadecimal digits, with blanks and line ends anywhere between them.
fn in_digits(digits: &str) -> Option<KeyPackage> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );

    let digits: Vec<u8> = digits
        .bytes()
        .filter(|sign| !sign.is_ascii_whitespace() && !matches!(sign, b'"' | b'\'' | b',' | b'{' | b'}'))
        .collect();
    if digits.len() < 64 {
        return None;
    }
    let hexadecimal = || {
        let value = |sign: u8| char::from(sign).to_digit(16);
        let pairs = digits.as_chunks::<2>();
        let bytes = pairs.0.iter().map(|[high, low]| {
            let byte = value(*high)? << 4 | value(*low)?;
            u8::try_from(byte).ok()
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes.filter(|_| pairs.1.is_empty())
    };
    let base64 = || LENIENT.decode(&digits).ok();
    [hexadecimal(), base64()]
        .into_iter()
        .flatten()
        .find_map(|bytes| KeyPackage::read(&Zeroizing::new(bytes)).ok())
}

#[cfg(test)]
mod tests {
    use keyhaven_testkit::corpus;
    use proptest::prelude::*;

    use super::*;

    /// The package of the first recovery key of a real volume.
    fn package() -> Option<Vec<u8>> {
        let known = corpus::volume_or_skip("cs-aes-xts-128")?;
        let device = keyhaven_disk::open(&known.image()).expect("opens");
        let options = keyhaven_fve::OpenOptions::default();
        let volume =
            keyhaven_fve::Volume::open(device, &options, &mut keyhaven_fve::unwatched).expect("opens");
        let protectors = volume.metadata().protectors();
        let own = protectors
            .iter()
            .find(|own| own.kind() == keyhaven_fve::ProtectorKind::RecoveryPassword)
            .expect("it has one");
        let package = KeyPackage::of(volume.metadata(), own.id()).expect("whole");
        Some(package.to_bytes().expect("it fits").to_vec())
    }

    #[test]
    fn a_package_is_found_in_every_form() {
        let Some(bytes) = package() else { return };
        let base64 = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let lines = |width: usize, joint: &str| {
            let parts: Vec<&str> = (0..base64.len())
                .step_by(width)
                .map(|at| &base64[at..base64.len().min(at + width)])
                .collect();
            parts.join(joint)
        };
        let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02X} ")).collect();
        let utf16: Vec<u8> = [0xfeff]
            .into_iter()
            .chain(base64.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let ldif = format!(
            "dn: CN=2026-11-24,CN=PC1\nobjectClass: msFVE-RecoveryInformation\nmsFVE-KeyPackage:: {}\n\
             msFVE-RecoveryPassword: 000000\n",
            lines(60, "\n ")
        );
        for (form, content) in [
            ("binary", bytes.clone()),
            ("base64", base64.clone().into_bytes()),
            ("lines", lines(64, "\r\n").into_bytes()),
            ("UTF-16", utf16),
            ("hexadecimal", hexadecimal.into_bytes()),
            ("LDIF", ldif.into_bytes()),
        ] {
            let read = read(&content).unwrap_or_else(|error| panic!("{form}: {error}"));
            assert_eq!(read.len(), 1, "{form}");
            assert_eq!(
                read[0].to_bytes().expect("it has a header").to_vec(),
                bytes,
                "{form}"
            );
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for bytes in [&b""[..], b"no package", &[b'A'; 500], &[0xff; 500]] {
            assert!(read(bytes).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_text_panics(text in "(msFVE-KeyPackage:: ?)?[A-Za-z0-9+/= \\n]{0,300}") {
            let _ = read(text.as_bytes());
        }
    }
}
