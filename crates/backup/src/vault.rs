//! Keys in an age file, which opens with a passphrase or an age identity.
//!
//! The file is a plain age v1 file of UTF-8 text, so that the stock `age` tool opens it without Keyhaven:
//! `age -d vault.age`. A passphrase and recipients do not mix in one file (a rule of the age format).

use std::fmt;
use std::io::{self, Read, Write};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;
use age::{DecryptError, EncryptError, scrypt, x25519};
use keyhaven_crypto::{SecretBytes, SecretText};
use zeroize::Zeroizing;

const BINARY_START: &[u8] = b"age-encryption.org/v1\n";
const ARMOR_START: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

// A vault holds text of a few hundred bytes for each key. This is room for ten thousand.
const MAX_FILE_BYTES: usize = 16 << 20;

/// The most work that opening a vault may ask for: 2^22 rounds of scrypt, which take 4 GiB of memory.
pub const MAX_WORK_FACTOR: u8 = 22;

/// The work that a new vault asks for, as the stock tool does: 2^18 rounds, about a second.
pub const DEFAULT_WORK_FACTOR: u8 = 18;

/// What a vault is closed and opened with.
pub enum VaultKeys {
    /// A passphrase.
    Passphrase {
        /// The passphrase.
        passphrase: SecretText,
        /// Base-two logarithm of the scrypt rounds that closing takes (1 to 22). Opening ignores it.
        work_factor: u8,
    },
    /// Public keys. They close a vault and cannot open it.
    Recipients(Vec<Recipient>),
    /// Secret keys. They open a vault, and close one to their own public keys.
    Identities(Vec<Identity>),
}

impl fmt::Debug for VaultKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase { .. } => write!(f, "Passphrase(redacted)"),
            Self::Recipients(recipients) => f.debug_tuple("Recipients").field(&recipients.len()).finish(),
            Self::Identities(identities) => f.debug_tuple("Identities").field(&identities.len()).finish(),
        }
    }
}

/// A public key, written `age1...`.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl Recipient {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`VaultError::NotARecipient`] for anything but an X25519 key (`age1...`).
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        text.trim()
            .parse()
            .map(Self)
            .map_err(|_| VaultError::NotARecipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

/// A secret key, written `AGE-SECRET-KEY-1...`.
pub struct Identity(x25519::Identity);

impl Identity {
    /// Reads the secret keys out of an identity file as `age-keygen` writes it: one a line, comments begin with `#`.
    ///
    /// # Errors
    /// [`VaultError::NotAnIdentity`] if a line is neither, or there is no key.
    pub fn parse_file(text: &SecretText) -> Result<Vec<Self>, VaultError> {
        let identities = text
            .expose_secret()
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.parse().map(Self).map_err(|_| VaultError::NotAnIdentity))
            .collect::<Result<Vec<_>, _>>()?;
        if identities.is_empty() {
            return Err(VaultError::NotAnIdentity);
        }
        Ok(identities)
    }

    /// Returns the public key that belongs to it.
    #[must_use]
    pub fn to_recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(redacted)")
    }
}

/// How a vault is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As bytes, the age format's own.
    #[default]
    Binary,
    /// As text in Base64 between two marker lines, to be pasted.
    Armored,
}

/// Why a vault could not be closed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The passphrase does not open it.
    #[error("the passphrase does not open the vault")]
    WrongPassphrase,
    /// None of the secret keys opens it.
    #[error("the vault is closed for other keys than the given ones")]
    NotForThisKey,
    /// It opens with a passphrase, and a key was given.
    #[error("the vault opens with a passphrase, not with a key")]
    NeedsPassphrase,
    /// It opens with a secret key, and a passphrase or only public keys were given.
    #[error("the vault opens with an age identity (AGE-SECRET-KEY-1...), which was not given")]
    NeedsIdentity,
    /// It was changed or cut off, or it is not an age file.
    #[error("the vault is damaged or not an age file")]
    Damaged,
    /// Opening would take more work than is acceptable.
    #[error("the vault asks for 2^{required} rounds of work, expected at most 2^{limit}")]
    TooMuchWork {
        /// Base-two logarithm of the rounds that it asks for.
        required: u8,
        /// Base-two logarithm of the rounds that are accepted.
        limit: u8,
    },
    /// It is longer than is read.
    #[error("the vault has {actual} bytes, expected at most {limit}")]
    TooLarge {
        /// Length in bytes.
        actual: usize,
        /// The longest that is read, in bytes.
        limit: usize,
    },
    /// The work factor is outside 1 to 22.
    #[error("the work factor is {actual}, expected 1 to {limit}")]
    WorkFactor {
        /// What was asked for.
        actual: u8,
        /// The largest.
        limit: u8,
    },
    /// There is nobody to close the vault for.
    #[error("there is no key to close the vault with")]
    NoKeys,
    /// The text is not an age public key.
    #[error("not an age recipient (age1...)")]
    NotARecipient,
    /// The text is not an age secret key.
    #[error("not an age identity file (lines of AGE-SECRET-KEY-1...)")]
    NotAnIdentity,
    /// The encryption itself failed.
    #[error("the vault could not be encrypted")]
    NotSealed,
}

/// Says whether `bytes` begin as an age file does, armored or not.
#[must_use]
pub fn is_vault(bytes: &[u8]) -> bool {
    bytes.starts_with(BINARY_START) || bytes.trim_ascii_start().starts_with(ARMOR_START)
}

/// Encrypts `text` into an age file.
///
/// The age library draws its own file key, nonce and salt from the operating system.
///
/// # Errors
/// [`VaultError::NoKeys`] without any recipient, [`VaultError::WorkFactor`] for one that is out of range.
pub fn seal(text: &SecretBytes, keys: &VaultKeys, encoding: Encoding) -> Result<Vec<u8>, VaultError> {
    let by_passphrase;
    let own;
    let recipients: Vec<&dyn age::Recipient> = match keys {
        VaultKeys::Passphrase {
            passphrase,
            work_factor,
        } => {
            if !(1..=MAX_WORK_FACTOR).contains(work_factor) {
                return Err(VaultError::WorkFactor {
                    actual: *work_factor,
                    limit: MAX_WORK_FACTOR,
                });
            }
            let mut recipient = scrypt::Recipient::new(secret_string(passphrase));
            recipient.set_work_factor(*work_factor);
            by_passphrase = recipient;
            vec![&by_passphrase]
        }
        VaultKeys::Recipients(recipients) => recipients.iter().map(|r| &r.0 as _).collect(),
        VaultKeys::Identities(identities) => {
            own = identities.iter().map(|i| i.0.to_public()).collect::<Vec<_>>();
            own.iter().map(|r| r as _).collect()
        }
    };
    let encryptor = age::Encryptor::with_recipients(recipients.into_iter()).map_err(|error| match error {
        EncryptError::MissingRecipients => VaultError::NoKeys,
        _ => VaultError::NotSealed,
    })?;
    encrypted(encryptor, text, encoding).map_err(|_| VaultError::NotSealed)
}

/// Decrypts an age file, armored or not.
///
/// # Errors
/// [`VaultError`] says whether the key is wrong, of the wrong kind, or the file damaged. A wrong passphrase and one
/// for a damaged header look the same.
pub fn open(file: &[u8], keys: &VaultKeys) -> Result<SecretBytes, VaultError> {
    if file.len() > MAX_FILE_BYTES {
        return Err(VaultError::TooLarge {
            actual: file.len(),
            limit: MAX_FILE_BYTES,
        });
    }
    if !is_vault(file) {
        return Err(VaultError::Damaged);
    }
    let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(file)).map_err(reason)?;
    let by_passphrase;
    let identities: Vec<&dyn age::Identity> = match (keys, decryptor.is_scrypt()) {
        (VaultKeys::Passphrase { passphrase, .. }, true) => {
            let mut identity = scrypt::Identity::new(secret_string(passphrase));
            identity.set_max_work_factor(MAX_WORK_FACTOR);
            by_passphrase = identity;
            vec![&by_passphrase]
        }
        (VaultKeys::Identities(identities), false) => identities.iter().map(|i| &i.0 as _).collect(),
        (_, true) => return Err(VaultError::NeedsPassphrase),
        (_, false) => return Err(VaultError::NeedsIdentity),
    };
    let is_scrypt = decryptor.is_scrypt();
    let mut reader = decryptor
        .decrypt(identities.into_iter())
        .map_err(|error| match error {
            DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed if is_scrypt => {
                VaultError::WrongPassphrase
            }
            other => reason(other),
        })?;
    // Decrypted text is never longer than the file: the buffer does not move and leave a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(file.len()));
    reader.read_to_end(&mut text).map_err(|_| VaultError::Damaged)?;
    Ok(SecretBytes::copy_of(&text))
}

fn encrypted(encryptor: age::Encryptor, text: &SecretBytes, encoding: Encoding) -> io::Result<Vec<u8>> {
    let format = match encoding {
        Encoding::Binary => Format::Binary,
        Encoding::Armored => Format::AsciiArmor,
    };
    let mut writer = encryptor.wrap_output(ArmoredWriter::wrap_output(Vec::new(), format)?)?;
    writer.write_all(text.expose_secret())?;
    writer.finish()?.finish()
}

fn secret_string(text: &SecretText) -> SecretString {
    SecretString::from(text.expose_secret())
}

fn reason(error: DecryptError) -> VaultError {
    match error {
        DecryptError::NoMatchingKeys => VaultError::NotForThisKey,
        DecryptError::ExcessiveWork { required, .. } => VaultError::TooMuchWork {
            required,
            limit: MAX_WORK_FACTOR,
        },
        _ => VaultError::Damaged,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::{Command, Stdio};

    use keyhaven_testkit::tool;

    use super::*;

    const TEXT: &[u8] = b"Key ID: AABBCCDD\n";

    fn passphrase(text: &str) -> VaultKeys {
        VaultKeys::Passphrase {
            passphrase: SecretText::copy_of(text),
            work_factor: 4,
        }
    }

    pub(crate) fn identity() -> Identity {
        Identity(x25519::Identity::generate())
    }

    /// What `age-keygen` would write.
    fn identity_file(identity: &Identity) -> SecretText {
        let secret = identity.0.to_string();
        let secret = age::secrecy::ExposeSecret::expose_secret(&secret);
        SecretText::from(format!("# public key: {}\n\n{secret}\n", identity.to_recipient()))
    }

    fn identities() -> VaultKeys {
        VaultKeys::Identities(vec![identity()])
    }

    fn sealed(keys: &VaultKeys, encoding: Encoding) -> Vec<u8> {
        seal(&SecretBytes::copy_of(TEXT), keys, encoding).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_again() {
        for encoding in [Encoding::Binary, Encoding::Armored] {
            for keys in [passphrase("correct horse"), identities()] {
                let file = sealed(&keys, encoding);
                assert!(is_vault(&file));
                assert_eq!(file.starts_with(ARMOR_START), encoding == Encoding::Armored);
                assert_eq!(open(&file, &keys).unwrap().expose_secret(), TEXT);
            }
        }
    }

    #[test]
    fn a_public_key_seals_for_its_secret_key() {
        let ours = identity();
        let public = ours.to_recipient().to_string();
        let recipients = VaultKeys::Recipients(vec![
            Recipient::parse(&public).unwrap(),
            identity().to_recipient(),
        ]);
        let file = sealed(&recipients, Encoding::Binary);
        let read = Identity::parse_file(&identity_file(&ours)).unwrap();
        let keys = VaultKeys::Identities(read);
        assert_eq!(open(&file, &keys).unwrap().expose_secret(), TEXT);
        assert_eq!(open(&file, &recipients).unwrap_err(), VaultError::NeedsIdentity);
    }

    #[test]
    fn each_fault_has_its_name() {
        let by_passphrase = sealed(&passphrase("right"), Encoding::Binary);
        let by_key = sealed(&identities(), Encoding::Binary);
        let stranger = identities();
        let error = |file: &[u8], keys: &VaultKeys| open(file, keys).unwrap_err();
        assert_eq!(
            error(&by_passphrase, &passphrase("wrong")),
            VaultError::WrongPassphrase
        );
        assert_eq!(error(&by_passphrase, &stranger), VaultError::NeedsPassphrase);
        assert_eq!(error(&by_key, &passphrase("right")), VaultError::NeedsIdentity);
        assert_eq!(error(&by_key, &stranger), VaultError::NotForThisKey);
        assert_eq!(error(b"something else", &stranger), VaultError::Damaged);
        let nobody = VaultKeys::Recipients(Vec::new());
        let seal = |keys: &VaultKeys| seal(&SecretBytes::copy_of(TEXT), keys, Encoding::Binary).unwrap_err();
        assert_eq!(seal(&nobody), VaultError::NoKeys);
        let work = |work_factor| VaultKeys::Passphrase {
            passphrase: SecretText::copy_of("right"),
            work_factor,
        };
        assert_eq!(seal(&work(0)), VaultError::WorkFactor { actual: 0, limit: 22 });
        assert_eq!(
            seal(&work(23)),
            VaultError::WorkFactor {
                actual: 23,
                limit: 22
            }
        );
        assert_eq!(
            Recipient::parse("ssh-ed25519 AAAA").unwrap_err(),
            VaultError::NotARecipient
        );
        for text in ["", "# only a comment", "AGE-SECRET-KEY-1"] {
            let text = SecretText::copy_of(text);
            assert_eq!(
                Identity::parse_file(&text).unwrap_err(),
                VaultError::NotAnIdentity
            );
        }
    }

    #[test]
    fn a_vault_that_asks_for_too_much_work_is_refused() {
        let file = sealed(&passphrase("right"), Encoding::Binary);
        let header = String::from_utf8_lossy(&file).into_owned();
        let line = header.lines().nth(1).unwrap();
        assert!(line.starts_with("-> scrypt ") && line.ends_with(" 4"), "{line}");
        let mut costly = b"age-encryption.org/v1\n".to_vec();
        costly.extend_from_slice(format!("{}40", line.strip_suffix('4').unwrap()).as_bytes());
        costly.extend_from_slice(&file[BINARY_START.len() + line.len()..]);
        assert_eq!(
            open(&costly, &passphrase("right")).unwrap_err(),
            VaultError::TooMuchWork {
                required: 40,
                limit: 22
            }
        );
    }

    #[test]
    fn no_changed_or_shortened_vault_opens() {
        let keys = identities();
        for encoding in [Encoding::Binary, Encoding::Armored] {
            let file = sealed(&keys, encoding);
            for length in 0..file.len() - 1 {
                // The armor's last line break may be missing.
                assert!(
                    open(&file[..length], &keys).is_err(),
                    "{length} of {}",
                    file.len()
                );
            }
            for index in 0..file.len() {
                let mut changed = file.clone();
                changed[index] ^= 1;
                if let Ok(text) = open(&changed, &keys) {
                    // Blanks around the armor carry nothing.
                    assert_eq!((text.expose_secret(), encoding), (TEXT, Encoding::Armored));
                }
            }
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?} {:?} {:?}", passphrase("hunter2"), identities(), identity());
        assert!(!shown.contains("hunter2") && !shown.contains("SECRET"), "{shown}");
    }

    #[test]
    fn the_stock_tool_opens_ours_and_we_open_its() {
        let Some(age) = tool::find("age") else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let identity = identity();
        let public = identity.to_recipient().to_string();
        std::fs::write(path("key.txt"), identity_file(&identity).expose_secret()).unwrap();

        let keys = VaultKeys::Identities(vec![identity]);
        for encoding in [Encoding::Binary, Encoding::Armored] {
            std::fs::write(path("ours.age"), sealed(&keys, encoding)).unwrap();
            let output = Command::new(&age)
                .arg("-d")
                .arg("-i")
                .arg(path("key.txt"))
                .arg(path("ours.age"))
                .output()
                .unwrap();
            assert_eq!(output.stdout, TEXT, "{}", String::from_utf8_lossy(&output.stderr));
        }

        for armor in [&["-a"][..], &[]] {
            let mut child = Command::new(&age)
                .args(armor)
                .args(["-r", &public])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(TEXT).unwrap();
            let theirs = child.wait_with_output().unwrap().stdout;
            assert!(is_vault(&theirs));
            assert_eq!(open(&theirs, &keys).unwrap().expose_secret(), TEXT);
        }
    }

    #[test]
    fn the_stock_tool_and_we_share_passphrases() {
        // The stock tool asks a terminal for passphrases; `script` is one.
        let (Some(_), Some(script)) = (tool::find("age"), tool::find("script")) else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let run = |command: &str, typed: &str| {
            let mut child = Command::new(&script)
                .args(["-qec", command, "/dev/null"])
                .current_dir(folder.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
        };
        let keys = passphrase("correct horse");
        std::fs::write(folder.path().join("ours.age"), sealed(&keys, Encoding::Binary)).unwrap();
        run("age -d -o out.txt ours.age", "correct horse\n");
        assert_eq!(std::fs::read(folder.path().join("out.txt")).unwrap(), TEXT);

        run("age -p -o theirs.age out.txt", "correct horse\ncorrect horse\n");
        let theirs = std::fs::read(folder.path().join("theirs.age")).unwrap();
        assert_eq!(open(&theirs, &keys).unwrap().expose_secret(), TEXT);
    }
}
