//! Strict JSON of signed documents (RFC 8259): one object, no duplicate name in any object, and a limited nesting.
//! Readers disagree about which of two equal names counts, so there must not be two.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The deepest nesting that is accepted; the outermost object is the first level.
pub const DEPTH_MAX: usize = 16;

/// Bytes are not such an object. Names are cut to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, not UTF-8, not an object, or nested too deep.
    #[error("not a JSON object")]
    NotAnObject,
    /// One object has a duplicate name, escapes resolved.
    #[error("a JSON object that names {0:?} twice")]
    Duplicate(String),
}

/// Parses one object with nothing after it. The caller limits the length.
///
/// # Errors
/// [`JsonError`] when the bytes are anything else.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let mut duplicate = None;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = Strict { duplicate: &mut duplicate, depth: DEPTH_MAX }
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value));
    match (read, duplicate) {
        (_, Some(name)) => Err(JsonError::Duplicate(name)),
        (Ok(Value::Object(map)), None) => Ok(map),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Returns a name from a document, cut for a message about it.
pub(super) fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

/// Parses one value; `depth` more levels may open.
struct Strict<'a> {
    duplicate: &'a mut Option<String>,
    depth: usize,
}

impl Strict<'_> {
    /// Returns the parser of the next level.
    fn inner<E: Error>(&mut self) -> Result<Strict<'_>, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Strict { duplicate: self.duplicate, depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                *self.duplicate = Some(cut(&name));
                return Err(A::Error::custom("duplicate name"));
            }
            let value = members.next_value_seed(self.inner()?)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_they_stand() {
        let text = br#" {"a":[1,-2,0.5,"x\u00e9",null,true,{}],"b":{"c":{}}} "#;
        assert_eq!(object(text), Ok(serde_json::from_slice(text).unwrap()));
    }

    #[test]
    fn no_name_stands_twice_on_any_level() {
        let twice = |name: &str| Err(JsonError::Duplicate(name.into()));
        assert_eq!(object(br#"{"a":1,"a":1}"#), twice("a"));
        assert_eq!(object(br#"{"a":1,"\u0061":2}"#), twice("a"));
        assert_eq!(object(br#"{"x":[{"b":1,"c":2,"b":3}]}"#), twice("b"));
        assert!(object(br#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
        assert_eq!(object(format!("{{\"{0}\":1,\"{0}\":1}}", "é".repeat(99)).as_bytes()), twice(&"é".repeat(64)));
    }

    #[test]
    fn nothing_but_an_object_is_read() {
        for text in [
            "",
            "{",
            "[]",
            "1",
            "null",
            "\"\"",
            "{}{}",
            "{} x",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":1,}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert_eq!(object(text.as_bytes()), Err(JsonError::NotAnObject), "{text}");
        }
        assert!(object(b"\xef\xbb\xbf{}").is_err());
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(object(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(object(nested(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(object(nested(100_000).as_bytes()).is_err());
        assert!(object(format!("{{\"a\":{}", "[".repeat(100_000)).as_bytes()).is_err());
    }
}
