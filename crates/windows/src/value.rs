//! What goes into a method and comes out of it.

use std::collections::BTreeMap;

use keyhaven_crypto::{SecretBytes, SecretText};

use crate::error::Error;

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A `uint32`.
    Number,
    /// A `boolean`.
    Bool,
    /// A `string`.
    Text,
    /// A `string[]`.
    Texts,
    /// A `uint8[]`.
    Bytes,
    /// A `string` that is a secret.
    SecretText,
    /// A `uint8[]` that is a secret.
    SecretBytes,
}

/// A value of one of these types.
#[derive(Debug)]
pub enum Value {
    /// A `uint32`.
    Number(u32),
    /// A `boolean`.
    Bool(bool),
    /// A `string`.
    Text(String),
    /// A `string[]`.
    Texts(Vec<String>),
    /// A `uint8[]`.
    Bytes(Vec<u8>),
    /// A `string` that is a secret.
    SecretText(SecretText),
    /// A `uint8[]` that is a secret.
    SecretBytes(SecretBytes),
}

impl Value {
    /// Returns its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Number(_) => Kind::Number,
            Self::Bool(_) => Kind::Bool,
            Self::Text(_) => Kind::Text,
            Self::Texts(_) => Kind::Texts,
            Self::Bytes(_) => Kind::Bytes,
            Self::SecretText(_) => Kind::SecretText,
            Self::SecretBytes(_) => Kind::SecretBytes,
        }
    }
}

/// What a method is given: names and values; what is left out is left to Windows.
#[derive(Debug, Default)]
pub struct Arguments(Vec<(&'static str, Value)>);

impl Arguments {
    /// No arguments.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.0.push((name, value));
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, name: &'static str, text: impl Into<String>) -> Self {
        self.with(name, Value::Text(text.into()))
    }

    /// Adds a text, if there is one.
    #[must_use]
    pub fn optional_text(self, name: &'static str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, name: &'static str, number: u32) -> Self {
        self.with(name, Value::Number(number))
    }

    /// Returns one by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Returns all, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

/// What a method gave back beside its code.
#[derive(Debug, Default)]
pub struct Outputs(BTreeMap<&'static str, Value>);

impl Outputs {
    /// Adds one.
    pub fn insert(&mut self, name: &'static str, value: Value) {
        self.0.insert(name, value);
    }

    pub(crate) fn number(&mut self, name: &'static str) -> Result<u32, Error> {
        match self.0.remove(name) {
            Some(Value::Number(number)) => Ok(number),
            other => Err(unexpected(name, Kind::Number, other.as_ref())),
        }
    }

    pub(crate) fn bool(&mut self, name: &'static str) -> Result<bool, Error> {
        match self.0.remove(name) {
            Some(Value::Bool(answer)) => Ok(answer),
            other => Err(unexpected(name, Kind::Bool, other.as_ref())),
        }
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<String, Error> {
        match self.0.remove(name) {
            Some(Value::Text(text)) => Ok(text),
            other => Err(unexpected(name, Kind::Text, other.as_ref())),
        }
    }

    /// Windows leaves an empty list out.
    pub(crate) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Error> {
        match self.0.remove(name) {
            Some(Value::Texts(texts)) => Ok(texts),
            None => Ok(Vec::new()),
            other => Err(unexpected(name, Kind::Texts, other.as_ref())),
        }
    }

    pub(crate) fn bytes(&mut self, name: &'static str) -> Result<Vec<u8>, Error> {
        match self.0.remove(name) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            None => Ok(Vec::new()),
            other => Err(unexpected(name, Kind::Bytes, other.as_ref())),
        }
    }

    pub(crate) fn secret_text(&mut self, name: &'static str) -> Result<SecretText, Error> {
        match self.0.remove(name) {
            Some(Value::SecretText(text)) => Ok(text),
            other => Err(unexpected(name, Kind::SecretText, other.as_ref())),
        }
    }

    pub(crate) fn secret_bytes(&mut self, name: &'static str) -> Result<SecretBytes, Error> {
        match self.0.remove(name) {
            Some(Value::SecretBytes(bytes)) => Ok(bytes),
            other => Err(unexpected(name, Kind::SecretBytes, other.as_ref())),
        }
    }
}

fn unexpected(name: &'static str, expected: Kind, found: Option<&Value>) -> Error {
    Error::Answer {
        what: name,
        expected: format!("{expected:?}"),
        found: found.map_or_else(|| "nothing".to_owned(), |value| format!("{:?}", value.kind())),
    }
}
