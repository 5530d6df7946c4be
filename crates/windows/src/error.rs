//! Why Windows could not be asked, or said no.

use crate::code::Code;

/// Why there is no answer from Windows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// WMI could not be reached, or has no BitLocker.
    #[error("Windows cannot be asked about BitLocker: {0}")]
    Unreachable(Code),
    /// A method answered with a code that is not zero.
    #[error("{method} of {volume}: {code}")]
    Refused {
        /// The method, by its WMI name.
        method: &'static str,
        /// The volume, as a person would call it.
        volume: String,
        /// What Windows answered.
        code: Code,
    },
    /// The answer is not of the type that it should be.
    #[error("Windows answered in an unknown way: {what} should be {expected} and is {found}")]
    Answer {
        /// The output or property.
        what: &'static str,
        /// Its type.
        expected: String,
        /// What came.
        found: String,
    },
}

impl Error {
    /// Returns the code that Windows gave, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Unreachable(code) | Self::Refused { code, .. } => Some(*code),
            Self::Answer { .. } => None,
        }
    }
}
