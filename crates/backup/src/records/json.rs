//! Exports of consoles and of Microsoft Graph: JSON, one document or one a line.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::columns::Column;
use super::rows::{Rows, Unit};
use crate::text;

/// Reads a text as JSON; `None` if it is none, or not to its end, or more than is looked through.
///
/// Nesting is bounded by the library (128 deep).
pub(super) fn read(text: &str) -> Option<Rows> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut rows = Rows::with_room_for(text.len());
    rows.start_table(Unit::Entry, None);
    let mut documents = serde_json::Deserializer::from_str(text);
    while documents.end().is_err() {
        let value = Value {
            rows: &mut rows,
            device: None,
        };
        value.deserialize(&mut documents).ok()?;
    }
    Some(rows)
}

/// Goes through a value: each object becomes a row of what stands in it directly.
struct Value<'a> {
    rows: &'a mut Rows,
    /// The device that an object around this one names.
    device: Option<&'a str>,
}

/// A member that is no object or list; held only until its object ends.
enum Scalar<'de> {
    Borrowed(&'de str),
    Owned(Zeroizing<String>),
}

impl Scalar<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Option<Scalar<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Option<Scalar<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Scalar::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Scalar::Owned(Zeroizing::new(text.to_owned()))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Scalar::Owned(Zeroizing::new(number.to_string()))))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut has_scalars = false;
        loop {
            let value = Value {
                rows: self.rows,
                device: self.device,
            };
            let Some(element) = list.next_element_seed(value)? else {
                break;
            };
            if let Some(scalar) = element {
                // A list of plain values is a row of its own.
                self.rows
                    .named_cell(Column::Other, scalar.as_str())
                    .map_err(too_long)?;
                has_scalars = true;
            }
        }
        if has_scalars {
            self.rows.end_row().map_err(too_long)?;
        }
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Column, Scalar<'de>)> = Vec::new();
        let mut device: Option<String> = None;
        while let Some(name) = object.next_key::<Cow<'de, str>>()? {
            let column = Column::named(&name);
            if column == Column::KeyPackage {
                object.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = Value {
                rows: self.rows,
                device: device.as_deref().or(self.device),
            };
            let Some(scalar) = object.next_value_seed(value)? else {
                continue;
            };
            // In an object of keys by their identifiers each member is a row.
            if text::ids_in(&name).next().is_some() {
                self.rows.named_cell(Column::KeyId, &name).map_err(too_long)?;
                self.rows
                    .named_cell(Column::Other, scalar.as_str())
                    .map_err(too_long)?;
                self.rows.end_row().map_err(too_long)?;
                continue;
            }
            if matches!(column, Column::Device | Column::Name) {
                device = device.or_else(|| Some(scalar.as_str().to_owned()));
            }
            members.push((column, scalar));
        }
        if members.is_empty() {
            return Ok(None);
        }
        let is_named = members.iter().any(|(column, _)| matches!(column, Column::Device));
        for (column, scalar) in &members {
            self.rows.named_cell(*column, scalar.as_str()).map_err(too_long)?;
        }
        if let Some(device) = self.device.filter(|_| !is_named) {
            self.rows.named_cell(Column::Device, device).map_err(too_long)?;
        }
        self.rows.end_row().map_err(too_long)?;
        Ok(None)
    }
}

fn too_long<E: serde::de::Error>(_: super::rows::TooLong) -> E {
    E::custom("more than is looked through")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";
    const ID: &str = "64311DEA-4587-4029-924A-BA299647998E";
    const DEVICE: &str = "11111111-2222-3333-4444-555555555555";

    fn one(text: &str) -> crate::found::FoundKey {
        let mut found = read(text).expect("JSON").into_keys();
        assert_eq!(found.len(), 1, "{text}");
        found.remove(0)
    }

    #[test]
    fn exports_of_graph_are_read() {
        let key = one(&format!(
            r#"{{"@odata.context":"x","value":[{{"id":"{DEVICE}"}},{{"id":"{ID}","createdDateTime":"2026-01-02T03:04:05Z",
            "volumeType":"operatingSystemVolume","deviceId":"{DEVICE}","key":"{KEY}"}}]}}"#
        ));
        let ids: Vec<String> = key.ids.iter().map(ToString::to_string).collect();
        assert_eq!(ids, [ID], "not the device's");
        assert_eq!(key.source.date.as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(
            key.source.spot.map(|spot| spot.to_string()).as_deref(),
            Some("entry 2")
        );
    }

    #[test]
    fn objects_in_objects_and_lines_of_objects_are_read() {
        let key = one(&format!(
            r#"{{"hostname":"PC-7","os":{{"drives":[{{"letter":"C:","recovery":{{"keyId":"{{{ID}}}","recoveryKey":"{KEY}"}}}}]}}}}"#
        ));
        assert_eq!(key.source.device.as_deref(), Some("PC-7"));
        assert_eq!(key.ids[0].to_string(), ID);

        let found = read(&format!(
            "{{\"id\":\"{ID}\",\"key\":\"{KEY}\"}}\n{{\"{DEVICE}\":\"{KEY}\",\"n\":[\"{KEY}\",1]}}\n"
        ))
        .expect("JSON")
        .into_keys();
        let ids: Vec<String> = found
            .iter()
            .map(|key| key.ids.first().map_or(String::new(), ToString::to_string))
            .collect();
        assert_eq!(ids, [ID, DEVICE, ""]);

        let key = one(&format!(
            "[\"Identifier:\\r\\n{ID}\\r\\nRecovery Key:\\r\\n\\u0032{}\"]",
            &KEY[1..]
        ));
        assert_eq!(key.ids[0].to_string(), ID, "a whole text in a string");
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in ["", "key", "{", "[1,", "{\"a\":1}x", "[Key]", &"[".repeat(100_000)] {
            assert!(read(text).is_none());
        }
        let mut repeated = r#"{"device":"#.to_owned() + &format!("{:?},\"a\":", "x".repeat(100_000));
        repeated += &format!("[{}1]}}", r#"{"a":"b"},"#.repeat(100));
        assert!(
            read(&repeated).is_none(),
            "a name that is said with each of many entries is too long"
        );
    }
}
