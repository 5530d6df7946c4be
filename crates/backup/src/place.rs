//! How a person names a place.

use std::path::PathBuf;

/// What every kind of place is called, for help texts and errors.
pub const ALL: &[Kind] = &[
    Kind {
        form: "file:PATH",
        what: "a text file as Windows writes it: a folder, or a file name",
        keeps: true,
    },
    Kind {
        form: "usb[:MOUNTPOINT]",
        what: "the removable drive that is plugged in",
        keeps: true,
    },
    Kind {
        form: "pdf:PATH",
        what: "a page to print, with a code to scan",
        keeps: true,
    },
    Kind {
        form: "print[:PRINTER]",
        what: "that page on paper",
        keeps: false,
    },
    Kind {
        form: "vault:PATH",
        what: "an encrypted file that the `age` tool opens",
        keeps: true,
    },
    Kind {
        form: "windows:account|entra|ad",
        what: "what Windows itself saves keys to: the Microsoft account, the work or school account, Active Directory",
        keeps: false,
    },
    Kind {
        form: "stdout",
        what: "the text on standard output",
        keeps: false,
    },
];

/// One kind of place.
#[derive(Debug)]
pub struct Kind {
    /// How it is written.
    pub form: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Whether keys can be looked for there later.
    pub keeps: bool,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A folder or a file.
    File(PathBuf),
    /// A removable drive, the only one or that at a mount point.
    Usb(Option<PathBuf>),
    /// A PDF page in a folder or with a file name.
    Pdf(PathBuf),
    /// A printer, the default one or one with a name.
    Print(Option<String>),
    /// An encrypted file.
    Vault(PathBuf),
    /// Where Windows itself saves keys to, when it is asked to.
    Windows(WindowsPlace),
    /// Standard output; where keys are looked for, standard input.
    Stdout,
}

/// A place that only Windows can save keys to, and nobody but its owner can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowsPlace {
    /// The Microsoft account of whoever is signed in.
    Account,
    /// The work or school account (Entra).
    Entra,
    /// The Active Directory of the computer's domain.
    ActiveDirectory,
}

impl WindowsPlace {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Account, Self::Entra, Self::ActiveDirectory];

    /// Returns what stands behind `windows:`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Entra => "entra",
            Self::ActiveDirectory => "ad",
        }
    }
}

/// The text names no place that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place that is known")]
pub struct UnknownPlace(pub String);

impl Place {
    /// Reads a place to save to.
    ///
    /// # Errors
    /// [`UnknownPlace`] for anything without a known prefix: a bare path could be meant in several ways.
    pub fn parse(text: &str) -> Result<Self, UnknownPlace> {
        let unknown = || UnknownPlace(text.to_owned());
        let (kind, rest) = text
            .split_once(':')
            .map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        match (kind, rest) {
            ("file", Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            ("pdf", Some(path)) if !path.is_empty() => Ok(Self::Pdf(path.into())),
            ("vault", Some(path)) if !path.is_empty() => Ok(Self::Vault(path.into())),
            ("usb", None) => Ok(Self::Usb(None)),
            ("usb", Some(path)) if !path.is_empty() => Ok(Self::Usb(Some(path.into()))),
            ("print", None) => Ok(Self::Print(None)),
            ("print", Some(printer)) if !printer.is_empty() => Ok(Self::Print(Some(printer.to_owned()))),
            ("windows", Some(name)) => WindowsPlace::ALL
                .into_iter()
                .find(|place| place.name() == name)
                .map(Self::Windows)
                .ok_or_else(unknown),
            ("stdout", None) => Ok(Self::Stdout),
            _ => Err(unknown()),
        }
    }

    /// Reads a place to look for keys in: as [`parse`](Self::parse), `-` for standard input, and bare paths.
    #[must_use]
    pub fn parse_to_read(text: &str) -> Self {
        match text {
            "-" => Self::Stdout,
            _ => Self::parse(text).unwrap_or_else(|_| Self::File(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_their_prefix() {
        let parse = |text: &str| Place::parse(text);
        assert_eq!(parse("file:/a b"), Ok(Place::File("/a b".into())));
        assert_eq!(parse("usb"), Ok(Place::Usb(None)));
        assert_eq!(parse("usb:/media/x"), Ok(Place::Usb(Some("/media/x".into()))));
        assert_eq!(parse("print:HP:2"), Ok(Place::Print(Some("HP:2".to_owned()))));
        assert_eq!(parse("pdf:x.pdf"), Ok(Place::Pdf("x.pdf".into())));
        assert_eq!(parse("vault:keys.age"), Ok(Place::Vault("keys.age".into())));
        assert_eq!(parse("stdout"), Ok(Place::Stdout));
        for place in WindowsPlace::ALL {
            let text = format!("windows:{}", place.name());
            assert_eq!(parse(&text), Ok(Place::Windows(place)));
        }
        for text in [
            "",
            "file:",
            "/tmp",
            "account",
            "usb:",
            "stdout:x",
            "C:\\x",
            "windows",
            "windows:x",
        ] {
            assert_eq!(parse(text), Err(UnknownPlace(text.to_owned())));
        }
        assert_eq!(Place::parse_to_read("keys/"), Place::File("keys/".into()));
        assert_eq!(Place::parse_to_read("-"), Place::Stdout);
    }
}
