//! The identifiers of volumes and key protectors.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A GUID as Windows shows it: upper case, without braces.
///
/// On disk the first three fields are little-endian (format spec, "Conventions").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(Uuid);

impl Guid {
    /// The GUID of sixteen zero bytes, which stands for "none".
    pub const ZERO: Self = Self(Uuid::nil());

    /// Reads a GUID in its on-disk byte order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes_le(bytes))
    }

    /// Makes an identifier of sixteen random bytes (version 4, as Windows makes them).
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Returns the on-disk bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes_le()
    }

    /// Returns the first eight characters, which the recovery screen shows as the key ID of a protector.
    #[must_use]
    pub fn key_id(self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0.as_hyphenated())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID (32 hexadecimal digits in five groups)")]
pub struct NotAGuid;

impl FromStr for Guid {
    type Err = NotAGuid;

    /// Accepts either case, with or without braces.
    fn from_str(text: &str) -> Result<Self, NotAGuid> {
        let bare = text.trim();
        let bare = bare
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(bare);
        // The crate also takes forms that Windows never writes (no hyphens, URNs).
        if bare.len() != 36 {
            return Err(NotAGuid);
        }
        Uuid::try_parse(bare).map(Self).map_err(|_| NotAGuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_mixed_endian_and_upper_case() {
        // The standard information-offset GUID, format spec 1.1.
        let guid = Guid::from_bytes([
            0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01,
        ]);
        assert_eq!(guid.to_string(), "4967D63B-2E29-4AD8-8399-F6A339E3D001");
        assert_eq!(guid.key_id(), "4967D63B");
        assert_eq!("{4967d63b-2e29-4ad8-8399-f6a339e3d001}".parse(), Ok(guid));
        assert_eq!(Guid::from_bytes(guid.to_bytes()), guid);
        assert_eq!(
            Guid::from_random([0; 16]).to_string(),
            "00000000-0000-4000-8000-000000000000"
        );
        assert_eq!("4967d63b2e294ad88399f6a339e3d001".parse::<Guid>(), Err(NotAGuid));
    }
}
