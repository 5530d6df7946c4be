//! Where a secret comes from: never from the command line itself.
//!
//! A SOURCE is `-` (standard input), `file:PATH`, `fd:N` or `env:NAME`; an option without one asks at the terminal.
//! Because the value is optional, `--password disk.img` could be read in two ways. [`join`] settles it before clap
//! sees the arguments: what follows belongs to the option only if it is a SOURCE.
//!
//! An environment variable stays in the environment: it can be read by whoever may read this process' memory, and is
//! inherited by the programs that a verb starts.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use keyhaven_crypto::{SecretBytes, SecretText};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::CliError;
use crate::interrupt::Interrupt;

/// The options that take a SOURCE or nothing.
const OPTIONS: &[&str] = &[
    "--password",
    "--new-password",
    "--recovery-key",
    "--recovery-password",
    "--vmk",
    "--fvek",
    "--pin",
    "--passphrase",
];

/// What may follow the option of a recovery key where a new one is wanted.
pub(crate) const GENERATE: &str = "generate";

/// No secret is longer than this, in bytes.
const LEN_MAX: usize = 64 * 1024;

const HOW_TO: &str = "let it ask you (nothing after the option), or use `-` (standard input), `file:PATH`, `fd:N` or \
     `env:NAME`";

/// A place that a secret is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// A file that the parent process has opened.
    Fd(u32),
    /// An environment variable.
    Env(OsString),
}

impl SecretSource {
    /// Reads a SOURCE; `None` if it is none.
    pub(crate) fn parse(text: &OsStr) -> Option<Self> {
        if text == "-" {
            return Some(Self::Stdin);
        }
        let (scheme, rest) = split_scheme(text)?;
        match scheme {
            "file" if !rest.is_empty() => Some(Self::File(PathBuf::from(rest))),
            "env" if !rest.is_empty() => Some(Self::Env(rest)),
            "fd" => match rest.to_str()?.parse() {
                Ok(0) => Some(Self::Stdin),
                Ok(number) => Some(Self::Fd(number)),
                Err(_) => None,
            },
            _ => None,
        }
    }

    /// Reads one line of text: a password. `purpose` names it in errors: "the password".
    pub(crate) fn read_line(&self, purpose: &str, context: &Context) -> Result<SecretText, CliError> {
        let bytes = if *self == Self::Stdin {
            context.take_stdin(purpose)?;
            let mut input = Stdin(&context.interrupt);
            let bytes = read_capped(&mut input, purpose, Stop::AtLineEnd);
            context.interrupt.check()?;
            bytes?
        } else {
            self.read_all(purpose, context)?
        };
        let mut text = decode(bytes.expose_secret(), purpose)?;
        strip_line_end(&mut text);
        if text.contains('\n') {
            return Err(CliError::could_not(format!(
                "{purpose} must be one line, and there are several"
            )));
        }
        Ok(SecretText::copy_of(&text))
    }

    /// Reads a text that may have several lines: whatever a recovery key is in. From a terminal, one line.
    pub(crate) fn read_text(&self, purpose: &str, context: &Context) -> Result<SecretText, CliError> {
        let bytes = self.read_all(purpose, context)?;
        let mut text = decode(bytes.expose_secret(), purpose)?;
        strip_line_end(&mut text);
        Ok(SecretText::copy_of(&text))
    }

    fn read_all(&self, purpose: &str, context: &Context) -> Result<SecretBytes, CliError> {
        match self {
            Self::Stdin => {
                context.take_stdin(purpose)?;
                let mut input = Stdin(&context.interrupt);
                let stop = if io::stdin().is_terminal() {
                    Stop::AtLineEnd
                } else {
                    Stop::AtEnd
                };
                let bytes = read_capped(&mut input, purpose, stop);
                context.interrupt.check()?;
                bytes
            }
            Self::File(path) => {
                let mut file = open(path, purpose)?;
                read_capped(&mut file, purpose, Stop::AtEnd)
            }
            Self::Fd(number) => {
                let mut file = open(Path::new(&format!("/dev/fd/{number}")), purpose)?;
                read_capped(&mut file, purpose, Stop::AtEnd)
            }
            Self::Env(name) => match std::env::var_os(name) {
                Some(value) => {
                    let value = Zeroizing::new(value.into_encoded_bytes());
                    Ok(SecretBytes::copy_of(&value))
                }
                None => Err(CliError::could_not(format!(
                    "the environment variable `{}`, which should give {purpose}, is not set",
                    name.to_string_lossy()
                ))),
            },
        }
    }
}

/// Reads what follows an option that was given something.
pub(crate) fn required(text: &OsStr) -> Result<SecretSource, CliError> {
    SecretSource::parse(text)
        .ok_or_else(|| CliError::could_not("what is given there is no way to read a secret").hint(HOW_TO))
}

/// Gives each option of a secret the SOURCE that follows it, so that whatever else follows is an argument of its own.
///
/// # Errors
/// What follows an option is neither a SOURCE nor anything that could be an argument: most likely the secret itself.
/// It is not repeated.
pub(crate) fn join(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, CliError> {
    let mut joined = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            joined.push(argument);
            joined.extend(arguments);
            break;
        }
        let Some((option, value)) = secret_option(&argument) else {
            joined.push(argument);
            continue;
        };
        match value {
            Some(value) if is_value_of(option, &value) => joined.push(argument),
            Some(_) => return Err(literal(option)),
            None => match arguments.peek() {
                Some(next) if is_source_like(next) || is_value_of(option, next) => {
                    if !is_value_of(option, next) {
                        return Err(literal(option));
                    }
                    let mut with_source = argument;
                    with_source.push("=");
                    with_source.push(next);
                    joined.push(with_source);
                    arguments.next();
                }
                Some(next) if !is_plausible_argument(next) => return Err(literal(option)),
                _ => joined.push(argument),
            },
        }
    }
    Ok(joined)
}

/// Recognises `--password` and `--password=VALUE`.
fn secret_option(argument: &OsStr) -> Option<(&'static str, Option<OsString>)> {
    OPTIONS.iter().find_map(|option| {
        if argument == *option {
            return Some((*option, None));
        }
        let value = strip_prefix(argument, &format!("{option}="))?;
        Some((*option, Some(value)))
    })
}

/// Tells whether this can follow the option: a SOURCE, or the word for a new recovery key.
fn is_value_of(option: &str, text: &OsStr) -> bool {
    SecretSource::parse(text).is_some() || (option.starts_with("--recovery-") && text == GENERATE)
}

fn is_source_like(text: &OsStr) -> bool {
    text == "-" || split_scheme(text).is_some()
}

/// Returns whether this can be another option, a drive, a file or a key ID, and so is not a secret by mistake.
fn is_plausible_argument(text: &OsStr) -> bool {
    let exists = |path: &str| Path::new(path).symlink_metadata().is_ok();
    let Some(text) = text.to_str() else {
        return Path::new(text).symlink_metadata().is_ok();
    };
    let without_partition = text.rsplit_once('#').map_or(text, |(path, _)| path);
    let is_key_id = text.len() == 8 && text.chars().all(|c| c.is_ascii_hexdigit());
    text.starts_with('-')
        || exists(text)
        || exists(without_partition)
        || is_key_id
        || text.parse::<keyhaven_fve::Guid>().is_ok()
}

fn literal(option: &str) -> CliError {
    CliError::could_not(format!(
        "what is given to `{option}` is no way to read a secret, and is not repeated here in case it is one"
    ))
    .hint(HOW_TO)
    .hint(format!(
        "a secret in the arguments can be seen by other users and stays in the shell's history; \
         a name that does not exist yet goes before `{option}`"
    ))
}

/// Splits `file:…`, `fd:…` and `env:…`.
fn split_scheme(text: &OsStr) -> Option<(&'static str, OsString)> {
    ["file", "fd", "env"]
        .into_iter()
        .find_map(|scheme| Some((scheme, strip_prefix(text, &format!("{scheme}:"))?)))
}

#[cfg(unix)]
fn strip_prefix(text: &OsStr, prefix: &str) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    let rest = text.as_bytes().strip_prefix(prefix.as_bytes())?;
    Some(OsStr::from_bytes(rest).to_owned())
}

#[cfg(not(unix))]
fn strip_prefix(text: &OsStr, prefix: &str) -> Option<OsString> {
    text.to_str()?.strip_prefix(prefix).map(OsString::from)
}

fn open(path: &Path, purpose: &str) -> Result<File, CliError> {
    File::open(path).map_err(|error| {
        CliError::could_not(format!("cannot open `{}` to read {purpose}", path.display())).because(&error)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    AtLineEnd,
    AtEnd,
}

/// Reads into a buffer that never moves, so that no copy stays behind.
fn read_capped(input: &mut dyn Read, purpose: &str, stop: Stop) -> Result<SecretBytes, CliError> {
    let mut buf = Zeroizing::new(vec![0; LEN_MAX + 1]);
    let mut len = 0;
    loop {
        // Byte by byte to the end of a line: what follows belongs to somebody else.
        let step = if stop == Stop::AtLineEnd {
            1
        } else {
            buf.len() - len
        };
        let end = (len + step).min(buf.len());
        match input.read(&mut buf[len..end]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CliError::could_not(format!("cannot read {purpose}")).because(&error)),
        }
        if len > LEN_MAX {
            return Err(CliError::could_not(format!(
                "{purpose} is longer than {} KiB",
                LEN_MAX / 1024
            )));
        }
        if stop == Stop::AtLineEnd && buf[..len].ends_with(b"\n") {
            break;
        }
    }
    Ok(SecretBytes::copy_of(&buf[..len]))
}

/// Reads text as UTF-8, or as UTF-16 where a byte order mark says so: what Windows' own tools write.
fn decode(bytes: &[u8], purpose: &str) -> Result<Zeroizing<String>, CliError> {
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let units = bytes[2..].as_chunks::<2>().0.iter().map(|pair| unit(*pair));
        char::decode_utf16(units).collect::<Result<String, _>>().ok()
    };
    let text = match bytes {
        [0xFF, 0xFE, ..] => utf16(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => utf16(u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        _ => std::str::from_utf8(bytes).ok().map(str::to_owned),
    };
    text.map(Zeroizing::new)
        .ok_or_else(|| CliError::could_not(format!("{purpose} is not text in UTF-8 or UTF-16")))
}

fn strip_line_end(text: &mut String) {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
}

/// Standard input without the buffer of the standard library, in which secrets would stay.
struct Stdin<'a>(&'a Interrupt);

impl Read for Stdin<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        {
            let stdin = rustix::stdio::stdin();
            // The caller asks the flag itself; this only wakes it.
            if self.0.wait_for_input(&stdin).is_err() {
                return Ok(0);
            }
            Ok(rustix::io::read(stdin, buf)?)
        }
        #[cfg(not(unix))]
        {
            if self.0.check().is_err() {
                return Ok(0);
            }
            read_stdin(buf)
        }
    }
}

#[cfg(windows)]
fn read_stdin(buf: &mut [u8]) -> io::Result<usize> {
    use std::io::IsTerminal;
    use std::os::windows::io::AsHandle;

    let stdin = io::stdin();
    // A terminal speaks in its own code page, which only the standard library translates.
    if stdin.is_terminal() {
        return stdin.lock().read(buf);
    }
    File::from(stdin.as_handle().try_clone_to_owned()?).read(buf)
}

#[cfg(not(any(unix, windows)))]
fn read_stdin(buf: &mut [u8]) -> io::Result<usize> {
    io::stdin().lock().read(buf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::OutputOptions;

    fn context() -> Context {
        Context::new(OutputOptions::default(), Interrupt::default())
    }

    fn joined(arguments: &[&str]) -> Result<Vec<String>, CliError> {
        let joined = join(arguments.iter().map(OsString::from))?;
        Ok(joined
            .iter()
            .map(|text| text.to_string_lossy().into_owned())
            .collect())
    }

    #[test]
    fn sources_are_told_from_everything_else() {
        let parse = |text: &str| SecretSource::parse(OsStr::new(text));
        assert_eq!(parse("-"), Some(SecretSource::Stdin));
        assert_eq!(parse("fd:0"), Some(SecretSource::Stdin));
        assert_eq!(parse("fd:3"), Some(SecretSource::Fd(3)));
        assert_eq!(parse("file:a b"), Some(SecretSource::File("a b".into())));
        assert_eq!(parse("env:PW"), Some(SecretSource::Env("PW".into())));
        for text in [
            "", "file:", "env:", "fd:", "fd:x", "fd:-1", "hunter2", "File:x", "files:x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_option_takes_what_follows_only_if_it_is_a_source() {
        let drive = tempfile::NamedTempFile::new().unwrap();
        let drive = drive.path().to_str().unwrap();
        for (arguments, expected) in [
            (
                vec!["info", drive, "--password"],
                vec!["info", drive, "--password"],
            ),
            (
                vec!["info", "--password", drive],
                vec!["info", "--password", drive],
            ),
            (
                vec!["info", "--password", "env:PW", drive],
                vec!["info", "--password=env:PW", drive],
            ),
            (vec!["info", "--vmk", "-", drive], vec!["info", "--vmk=-", drive]),
            (
                vec!["create", "--recovery-key", "generate", drive],
                vec!["create", "--recovery-key=generate", drive],
            ),
            (
                vec!["info", "--recovery-key=file:k", drive],
                vec!["info", "--recovery-key=file:k", drive],
            ),
            (
                vec!["info", "--password", "--json"],
                vec!["info", "--password", "--json"],
            ),
            (
                vec!["info", "--", "--password", "x"],
                vec!["info", "--", "--password", "x"],
            ),
        ] {
            assert_eq!(joined(&arguments).unwrap(), expected);
        }
        let with_partition = format!("{drive}#2");
        assert_eq!(
            joined(&["info", "--password", &with_partition]).unwrap(),
            ["info", "--password", &with_partition]
        );
        assert!(joined(&["find", "--password", "64311DEA"]).is_ok());
    }

    #[test]
    fn a_literal_secret_is_refused_and_not_repeated() {
        for arguments in [
            &["info", "d", "--password", "hunter2"][..],
            &["info", "d", "--password=hunter2"],
            &["info", "d", "--recovery-key", "hunter2"],
            &["info", "d", "--pin=hunter2"],
            &["info", "d", "--password", "generate"],
            &["info", "d", "--vmk", "fd:hunter2"],
        ] {
            let error = joined(arguments).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            assert!(!format!("{error:?}").contains("generate"), "{error:?}");
            assert_eq!(error.exit() as u8, 2);
        }
    }

    #[test]
    fn one_line_end_is_stripped_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            SecretSource::File(path.clone())
                .read_line("the password", &context())
                .map(|text| text.expose_secret().to_owned())
                .map_err(|error| error.message().to_owned())
        };
        for (bytes, expected) in [
            (&b"anaconda"[..], "anaconda"),
            (b"anaconda\n", "anaconda"),
            (b"anaconda\r\n", "anaconda"),
            (b" anaconda \n", " anaconda "),
            (b"anaconda\r", "anaconda\r"),
            (b"\xEF\xBB\xBFanaconda\n", "anaconda"),
            (b"\xFF\xFEp\0\xA3\0\r\0\n\0", "p£"),
            (b"", ""),
        ] {
            assert_eq!(read(bytes).as_deref(), Ok(expected));
        }
        assert!(read(b"anaconda\n\n").unwrap_err().contains("one line"));
        assert!(read(b"\xFFabc").unwrap_err().contains("not text"));
        assert_eq!(read(&vec![b'x'; LEN_MAX]).unwrap().len(), LEN_MAX);
        assert!(read(&vec![b'x'; LEN_MAX + 1]).unwrap_err().contains("longer"));
    }

    #[test]
    fn standard_input_is_taken_once() {
        let context = context();
        context.take_stdin("the password").unwrap();
        let error = context.take_stdin("the recovery key").unwrap_err();
        assert!(error.message().contains("the password or the recovery key"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let context = context();
        let error = |source: SecretSource| {
            let error = source.read_line("the password", &context).unwrap_err();
            error.message().to_owned()
        };
        assert!(error(SecretSource::Env("KEYHAVEN_TEST_NOT_SET".into())).contains("`KEYHAVEN_TEST_NOT_SET`"));
        assert!(
            error(SecretSource::File("/does/not/exist".into())).contains("cannot open `/does/not/exist`")
        );
        assert!(error(SecretSource::Fd(9999)).contains("cannot open"));
    }
}
