//! Why a request failed, as a client is told it.

use std::io;

use keyhaven_disk::{ReadError, WriteError};

use super::reply::ErrorNumber;

/// A failure in the protocol's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) number: ErrorNumber,
    /// For people; clients that understand structured replies can show it.
    pub(super) message: String,
    /// Where, in bytes from the start of the export.
    pub(super) offset: Option<u64>,
}

impl Failure {
    pub(super) fn new(number: ErrorNumber, message: impl Into<String>) -> Self {
        Self {
            number,
            message: message.into(),
            offset: None,
        }
    }

    /// A request that makes no sense.
    pub(super) fn invalid(message: &str) -> Self {
        Self::new(ErrorNumber::Invalid, message)
    }
}

impl From<&ReadError> for Failure {
    fn from(error: &ReadError) -> Self {
        let offset = match error {
            // Within the export, so it is the medium that is shorter than it says.
            ReadError::PastEnd { offset, end, .. } => *end.max(offset),
            other => other.offset(),
        };
        Self {
            number: ErrorNumber::Io,
            message: error.to_string(),
            offset: Some(offset),
        }
    }
}

impl From<&WriteError> for Failure {
    fn from(error: &WriteError) -> Self {
        let number = match error {
            WriteError::PastEnd { .. } => ErrorNumber::NoSpace,
            WriteError::Fixed { .. } => ErrorNumber::NotPermitted,
            WriteError::Io { source, .. } | WriteError::Flush(source) => number_of(source),
            _ => ErrorNumber::Io,
        };
        Self::new(number, error.to_string())
    }
}

fn number_of(error: &io::Error) -> ErrorNumber {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorNumber::NoSpace
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorNumber::NotPermitted,
        _ => ErrorNumber::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_number_that_clients_know() {
        let full = |kind: io::ErrorKind| WriteError::Io {
            offset: 0,
            len_bytes: 1,
            source: kind.into(),
        };
        for (error, number) in [
            (WriteError::Fixed { offset: 9 }, ErrorNumber::NotPermitted),
            (full(io::ErrorKind::StorageFull), ErrorNumber::NoSpace),
            (full(io::ErrorKind::ReadOnlyFilesystem), ErrorNumber::NotPermitted),
            (full(io::ErrorKind::NotConnected), ErrorNumber::Io),
            (
                WriteError::Flush(io::ErrorKind::StorageFull.into()),
                ErrorNumber::NoSpace,
            ),
        ] {
            assert_eq!(Failure::from(&error).number, number, "{error:?}");
        }
    }

    #[test]
    fn a_cut_off_medium_is_told_where_it_ends() {
        let error = ReadError::PastEnd {
            offset: 4096,
            len_bytes: 4096,
            end: 5000,
        };
        let failure = Failure::from(&error);
        assert_eq!((failure.number, failure.offset), (ErrorNumber::Io, Some(5000)));
    }
}
