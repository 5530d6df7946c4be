//! The platforms that Keyhaven is released for.

use std::path::PathBuf;

use clap::ValueEnum;

/// A platform that there is an archive for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Platform {
    /// Linux on 64-bit Intel and AMD
    Linux,
    /// Windows on 64-bit Intel and AMD
    Windows,
    /// macOS, as the computer that builds it has it
    Macos,
}

impl Platform {
    /// Returns the platforms that this computer can build for.
    pub(crate) fn buildable() -> Vec<Self> {
        match std::env::consts::OS {
            "linux" => vec![Self::Linux, Self::Windows],
            "macos" => vec![Self::Macos],
            _ => Vec::new(),
        }
    }

    /// Returns Rust's name for it.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Linux => "x86_64-unknown-linux-gnu",
            Self::Windows => "x86_64-pc-windows-gnu",
            Self::Macos if cfg!(target_arch = "aarch64") => "aarch64-apple-darwin",
            Self::Macos => "x86_64-apple-darwin",
        }
    }

    /// Returns how archives for it are called, behind the version.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Linux => "x86_64-linux.tar.gz",
            Self::Windows => "x86_64-windows.zip",
            Self::Macos if cfg!(target_arch = "aarch64") => "aarch64-macos.tar.gz",
            Self::Macos => "x86_64-macos.tar.gz",
        }
    }

    /// Returns what the program is called there.
    pub(crate) fn program_name(self) -> &'static str {
        match self {
            Self::Windows => "keyhaven.exe",
            Self::Linux | Self::Macos => "keyhaven",
        }
    }

    /// Returns the shells whose completions are of use there, and how those files are called.
    pub(crate) fn completions(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Windows => &[("powershell", "keyhaven.ps1")],
            Self::Linux | Self::Macos => &[
                ("bash", "keyhaven.bash"),
                ("fish", "keyhaven.fish"),
                ("zsh", "_keyhaven"),
            ],
        }
    }

    /// Returns whether people there read manual pages.
    pub(crate) fn has_man_pages(self) -> bool {
        self != Self::Windows
    }
}

/// Reads `windows=PATH`.
pub(crate) fn parse_program(text: &str) -> Result<(Platform, PathBuf), String> {
    let (platform, path) = text.split_once('=').ok_or("expected PLATFORM=PATH")?;
    Ok((Platform::from_str(platform, false)?, PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_by_their_platform() {
        let parsed = parse_program("windows=a=b.exe");
        assert_eq!(parsed, Ok((Platform::Windows, PathBuf::from("a=b.exe"))));
        assert!(parse_program("keyhaven.exe").is_err());
        assert!(parse_program("solaris=keyhaven").is_err());
    }
}
