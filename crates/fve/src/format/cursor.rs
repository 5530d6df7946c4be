//! Reading little-endian fields without ever leaving the bytes.

/// Bytes that do not have the shape of the structure they were read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at:#x} of the {within}: expected {expected}, found {found}")]
pub struct ShapeError {
    /// The field or entry that is wrong.
    pub what: &'static str,
    /// The structure that is being read.
    pub within: &'static str,
    /// Where in that structure, in bytes.
    pub at: usize,
    /// What would have been right.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Takes fields from the front of some bytes.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the field that was taken last starts: what is found wrong is found wrong there.
    last: usize,
    within: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], within: &'static str) -> Self {
        Self {
            bytes,
            at: 0,
            last: 0,
            within,
        }
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], ShapeError> {
        self.last = self.at;
        match self
            .at
            .checked_add(len)
            .and_then(|end| self.bytes.get(self.at..end))
        {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => Err(self.wrong(
                what,
                format!("{len} bytes"),
                format!("{} left", self.bytes.len() - self.at),
            )),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ShapeError> {
        let taken = self.take(N, what)?;
        Ok(std::array::from_fn(|i| taken[i]))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, ShapeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, ShapeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, ShapeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    pub(crate) fn wrong(
        &self,
        what: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> ShapeError {
        ShapeError {
            what,
            within: self.within,
            at: self.last,
            expected: expected.into(),
            found: found.into(),
        }
    }
}
