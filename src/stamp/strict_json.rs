//! Strict JSON of signed documents (RFC 8259): one object, no duplicate name in any object, and a limited nesting.
//! Readers disagree about which of two equal names counts, so there must not be two.

use serde_json::error::Category;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

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

/// Returns what is wrong with a text that should be JSON, without the terms of the parser.
#[must_use]
pub fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = match error.line() {
        0 => return plain(&text),
        1 => format!("column {}", error.column()),
        line => format!("line {line}, column {}", error.column()),
    };
    match error.classify() {
        Category::Eof => "incomplete JSON".to_owned(),
        Category::Syntax => format!("not JSON at {place}"),
        Category::Data | Category::Io => {
            plain(text.strip_suffix(&format!(" at line {} column {}", error.line(), error.column())).unwrap_or(&text))
        }
    }
}

fn plain(text: &str) -> String {
    if let Some((name, known)) = unknown_field(text) {
        let known: Vec<_> = known.iter().map(|name| format!("{name:?}")).collect();
        return match known.join(", ").as_str() {
            "" => format!("unknown member {name:?}; there are none"),
            known => format!("unknown member {name:?}; the members are {known}"),
        };
    }
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("the member {name:?} is missing");
    }
    if let Some(name) = text.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("the member {name:?} is there twice");
    }
    let terms = [
        ("invalid type: ", ""),
        ("invalid value: ", ""),
        ("sequence", "array"),
        ("expected a map", "expected an object"),
        ("expected u64", "expected a whole number from 0 on"),
    ];
    let text = terms.iter().fold(text.to_owned(), |text, (term, plain)| text.replace(term, plain));
    // The name of the type says nothing to a user.
    match text.rsplit_once("expected struct ") {
        Some((found, name)) if name.chars().all(char::is_alphanumeric) => format!("{found}expected an object"),
        _ => text,
    }
}

/// Returns the name of which serde says that it is unknown, and the names that are known.
#[must_use]
pub fn unknown_field(text: &str) -> Option<(&str, Vec<&str>)> {
    let text = text.strip_prefix("unknown field `")?;
    let none = text.strip_suffix("`, there are no fields").map(|name| (name, ""));
    let (name, known) = none.or_else(|| text.rsplit_once("`, expected "))?;
    Some((name, known.split('`').skip(1).step_by(2).collect()))
}

/// Parses one object with nothing after it. The caller limits the length.
///
/// The whole grammar of RFC 8259 is accepted: numbers of any size, and escapes that name half a surrogate pair. No
/// claim needs one of these. A number becomes a `Value` only if it is a `u64` written in digits, and is null otherwise;
/// half a pair becomes U+FFFD.
///
/// # Errors
/// [`JsonError`] when the bytes are anything else.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotAnObject)?;
    let mut reader = Reader(text);
    match reader.value(DEPTH_MAX)? {
        Value::Object(map) if reader.0.is_empty() => Ok(map),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Returns a name from a document, cut for a message about it.
pub(super) fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The text that is left to parse.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    /// Passes over `token`, if it is next.
    fn eat(&mut self, token: &str) -> bool {
        self.0.strip_prefix(token).map(|rest| self.0 = rest).is_some()
    }

    /// Passes over a token that must be next, and the blanks after it.
    fn expect(&mut self, token: &str) -> Result<(), JsonError> {
        let found = self.eat(token);
        self.blanks();
        if found { Ok(()) } else { Err(JsonError::NotAnObject) }
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Parses one value with the blanks around it; `depth` more levels may open.
    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.blanks();
        let value = match self.0.bytes().next() {
            Some(b'{') => self.members(depth)?,
            Some(b'[') => self.items(depth)?,
            Some(b'"') => String::from_utf16_lossy(&self.string()?).into(),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ if self.eat("true") => true.into(),
            _ if self.eat("false") => false.into(),
            _ if self.eat("null") => Value::Null,
            _ => return Err(JsonError::NotAnObject),
        };
        self.blanks();
        Ok(value)
    }

    fn members(&mut self, depth: usize) -> Result<Value, JsonError> {
        let depth = depth.checked_sub(1).ok_or(JsonError::NotAnObject)?;
        let (mut map, mut names) = (Map::new(), BTreeSet::new());
        self.expect("{")?;
        while !self.eat("}") {
            if !names.is_empty() {
                self.expect(",")?;
            }
            let units = self.string()?;
            let name = String::from_utf16_lossy(&units);
            if !names.insert(units) {
                return Err(JsonError::Duplicate(cut(&name)));
            }
            self.blanks();
            self.expect(":")?;
            let value = self.value(depth)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }

    fn items(&mut self, depth: usize) -> Result<Value, JsonError> {
        let depth = depth.checked_sub(1).ok_or(JsonError::NotAnObject)?;
        let mut list = Vec::new();
        self.expect("[")?;
        while !self.eat("]") {
            if !list.is_empty() {
                self.expect(",")?;
            }
            list.push(self.value(depth)?);
        }
        Ok(Value::Array(list))
    }

    /// Parses a string into UTF-16, in which escapes can name half a pair.
    fn string(&mut self) -> Result<Vec<u16>, JsonError> {
        if !self.eat("\"") {
            return Err(JsonError::NotAnObject);
        }
        let mut units = Vec::new();
        loop {
            let mut chars = self.0.chars();
            let c = chars.next().ok_or(JsonError::NotAnObject)?;
            self.0 = chars.as_str();
            match c {
                '"' => return Ok(units),
                '\\' => units.push(self.escaped().ok_or(JsonError::NotAnObject)?),
                '\0'..='\x1f' => return Err(JsonError::NotAnObject),
                c => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
    }

    /// Parses the rest of an escape.
    fn escaped(&mut self) -> Option<u16> {
        let (letter, rest) = self.0.split_at_checked(1)?;
        self.0 = rest;
        Some(match letter {
            "\"" | "\\" | "/" => u16::from(*letter.as_bytes().first()?),
            "b" => 8,
            "f" => 12,
            "n" => 10,
            "r" => 13,
            "t" => 9,
            "u" => {
                let (digits, rest) = self.0.split_at_checked(4)?;
                self.0 = rest;
                let digits = digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(digits)?;
                u16::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        })
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.0;
        self.eat("-");
        if !self.eat("0") {
            self.digits()?;
        }
        if self.eat(".") {
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            let _ = self.eat("+") || self.eat("-");
            self.digits()?;
        }
        let text = start.strip_suffix(self.0).unwrap_or_default();
        Ok(text.parse::<u64>().map_or(Value::Null, Value::from))
    }

    /// Passes over one digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let rest = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        let found = rest.len() < self.0.len();
        self.0 = rest;
        if found { Ok(()) } else { Err(JsonError::NotAnObject) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_problem_is_told_without_the_terms_of_the_parser() {
        let told =
            |text: &str| problem(&serde_json::from_str::<std::collections::BTreeMap<String, u64>>(text).unwrap_err());
        for (text, expected) in [
            ("", "incomplete JSON"),
            ("{\"a\":\n", "incomplete JSON"),
            ("a", "not JSON at column 1"),
            ("{\n x", "not JSON at line 2, column 2"),
            ("[]", "array, expected an object"),
            ("{\"a\":-1}", "integer `-1`, expected a whole number from 0 on"),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn members_are_named_without_the_terms_of_the_parser() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only its errors are tested")]
        struct Pair {
            a: u8,
            b: u8,
        }
        fn told<T: serde::de::DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
            problem(&serde_json::from_str::<T>(text).unwrap_err())
        }
        assert_eq!(told::<Nothing>("{\"a`, expected `b\":1}"), "unknown member \"a`, expected `b\"; there are none");
        assert_eq!(told::<Pair>("{\"c\":1}"), "unknown member \"c\"; the members are \"a\", \"b\"");
        assert_eq!(told::<Pair>("{\"a\":1}"), "the member \"b\" is missing");
        assert_eq!(told::<Pair>("{\"a\":1,\"a\":1}"), "the member \"a\" is there twice");
    }

    #[test]
    fn values_come_out_as_they_stand() {
        let text = br#" {"a":[1,18446744073709551615,"x\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\",null,true,false,{},[ ]],"b":{"c":{}}} "#;
        assert_eq!(object(text), Ok(serde_json::from_slice(text).unwrap()));
    }

    #[test]
    fn numbers_and_escapes_are_read_as_far_as_the_grammar_goes() {
        for number in ["-0", "-1", "0.5", "1e400", "-1.5E+99", "1e-7", "18446744073709551616", &"9".repeat(500)] {
            let read = object(format!("{{\"a\":[{number} ]}}").as_bytes()).unwrap();
            assert_eq!(read["a"], serde_json::json!([null]), "{number}");
        }
        let half = object(br#"{"\ud800":"\udc00x","\ud801":1}"#).unwrap();
        assert_eq!(half["\u{fffd}"], 1);
        assert_eq!(object(br#"{"\ud800":1,"\uD800":1}"#), Err(JsonError::Duplicate("\u{fffd}".into())));
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
            "{\"a\":\"\\ud80\"}",
            "{\"a\":\"\\u+123\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\n\"}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":-}",
            "{\"a\":1e}",
            "{\"a\":+1}",
            "{\"a\":NaN}",
            "{\"a\":[1,]}",
            "{\"a\":[,1]}",
            "{,\"a\":1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\" 1}",
            "{a:1}",
            "\u{a0}{}",
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
        let empty = |depth: usize| format!("{}[]{}", "{\"a\":".repeat(depth - 1), "}".repeat(depth - 1));
        assert!(object(empty(DEPTH_MAX).as_bytes()).is_ok());
        assert!(object(empty(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(object(nested(100_000).as_bytes()).is_err());
        assert!(object(format!("{{\"a\":{}", "[".repeat(100_000)).as_bytes()).is_err());
    }

    proptest! {
        // Where the other parser reads a text, this one gives the same, apart from numbers.
        #[test]
        fn what_another_parser_reads_is_read_alike(text in "([{}\\[\\]:, ]|\"[ab\\\\u0]{0,3}\"|[0-9]{1,2}|true|null){0,14}") {
            let text = format!("{{{text}}}");
            let other = serde_json::from_str::<Map<String, Value>>(&text);
            match object(text.as_bytes()) {
                Ok(read) => prop_assert_eq!(other.ok(), Some(read)),
                Err(JsonError::Duplicate(_)) => {}
                Err(JsonError::NotAnObject) => prop_assert!(other.is_err(), "{}", text),
            }
        }
    }
}
