//! Claims of a stamp, in its payload. They are read only after the signature holds, and a [`Stamp`] is well formed. The
//! verdict judges recipient, time, price and use.

use super::audience::Audience;
use super::serial::Serial;
use super::signing::PublicKey;
use super::strict_json::{self, JsonError};
use super::token::PAYLOAD_MAX;
use crate::message::address::Address;
use crate::time::UnixTime;
use serde_json::{Map, Value};

/// The largest value of a stamp, in credits: what every JSON library reads exactly (RFC 8259 section 6).
pub const VALUE_MAX: u64 = (1 << 53) - 1;

/// Longest window that recipients accept unless they configure another, in seconds: 400 days. Vendors sell at most 366.
pub const USUAL_MAX_WINDOW: i64 = 400 * 86_400;

/// The form of a time.
pub(crate) const TIME: &str = "a time such as 2026-11-21T12:00:00Z";

/// The claims known here, which may be listed in `crit`; every token knows `crit` itself.
const KNOWN: [&str; 9] = ["jti", "aud", "sub", "iat", "nbf", "exp", "val", "use", "cnf"];

/// The claims of a stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// `jti`: its serial, unique for its vendor.
    pub serial: Serial,
    /// `aud`: its recipient.
    pub audience: Audience,
    /// `sub`: its sender, if given.
    pub sender: Option<Address>,
    /// `iat`: when it was issued.
    pub issued: Option<UnixTime>,
    /// `nbf`: the beginning of its window.
    pub not_before: Option<UnixTime>,
    /// `exp`: the end of its window.
    pub expires: Option<UnixTime>,
    /// `val`: its value in credits, at most [`VALUE_MAX`]; 1 if absent.
    pub value: u64,
    /// `use` is `many`: its holder may use it any number of times.
    pub many: bool,
    /// `cnf`: the key that must sign each use.
    pub holder: Option<PublicKey>,
}

/// A payload is not that of a stamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("the claims are longer than 2 KiB")]
    TooLong,
    /// Not an object, or one with a duplicate name.
    #[error("the claims are {0}")]
    Json(JsonError),
    #[error("the claim '{0}' is missing")]
    Missing(&'static str),
    #[error("the claim '{claim}' is not {wanted}")]
    Wrong {
        /// Its name.
        claim: &'static str,
        /// The required form.
        wanted: &'static str,
    },
    /// `crit` lists an unknown claim. The vendor wants such a stamp refused rather than half understood.
    /// The name is cut to 64 characters.
    #[error("the claim {0:?} is marked as critical, and this program does not know it")]
    Critical(String),
}

impl Stamp {
    /// Makes a stamp of one credit for one use, for this recipient and until this time.
    #[must_use]
    pub fn new(serial: Serial, audience: Audience, expires: UnixTime) -> Self {
        Self {
            serial,
            audience,
            sender: None,
            issued: None,
            not_before: None,
            expires: Some(expires),
            value: 1,
            many: false,
            holder: None,
        }
    }

    /// Reads the claims of a payload whose signature holds.
    /// Unknown claims are ignored unless listed in `crit`.
    ///
    /// # Errors
    /// [`ClaimError`]: the first fault found.
    pub fn read(payload: &[u8]) -> Result<Self, ClaimError> {
        let claims = Claims::read(payload)?;
        claims.all_critical_known(&KNOWN)?;
        Ok(Self {
            serial: claims
                .required("jti", "a serial (1 to 64 letters, digits, '_' or '-')", |s| Serial::new(s).ok())?,
            audience: claims.required("aud", "an address or '~salt.hash'", |s| Audience::parse(s).ok())?,
            sender: claims.get_text("sub", "an address", |s| Address::parse(s).ok())?,
            issued: claims.get_time("iat")?,
            not_before: claims.get_time("nbf")?,
            expires: claims.get_time("exp")?,
            value: claims.credits()?.unwrap_or(1),
            many: claims.get_text("use", "'once' or 'many'", read_use)?.unwrap_or(false),
            holder: claims.get_text("cnf", "a usable key 'k4.public.…'", |s| PublicKey::parse(s).ok())?,
        })
    }

    /// Returns the length of its window in seconds, from its beginning, else its issue, else `now`. `None` for a stamp
    /// without an end.
    #[must_use]
    pub fn window(&self, now: UnixTime) -> Option<i64> {
        Some(self.expires?.since(self.not_before.or(self.issued).unwrap_or(now)))
    }

    /// Encodes these claims as a payload, for issuing.
    /// Verification never rebuilds a payload: it uses the received bytes.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut object = ObjectWriter::new();
        object.get_text("jti", self.serial.as_str());
        object.get_text("aud", &self.audience.to_string());
        object.maybe("sub", self.sender.as_ref());
        object.maybe("iat", self.issued.as_ref());
        object.maybe("nbf", self.not_before.as_ref());
        object.maybe("exp", self.expires.as_ref());
        // Defaults are left out: a stamp must fit into a header field.
        if self.value != 1 {
            object.insert("val", &Value::from(self.value));
        }
        if self.many {
            object.get_text("use", "many");
        }
        object.maybe("cnf", self.holder.as_ref());
        object.finish()
    }
}

fn read_use(text: &str) -> Option<bool> {
    match text {
        "once" => Some(false),
        "many" => Some(true),
        _ => None,
    }
}

/// The claims of a small token, by name.
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// Parses an object of at most 2 KiB.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, ClaimError> {
        if payload.len() > PAYLOAD_MAX {
            return Err(ClaimError::TooLong);
        }
        strict_json::object(payload).map(Self).map_err(ClaimError::Json)
    }

    /// Checks that `crit` lists only `known` names.
    pub(crate) fn all_critical_known(&self, known: &[&str]) -> Result<(), ClaimError> {
        const WRONG: ClaimError = ClaimError::Wrong { claim: "crit", wanted: "a list of names" };
        let Some(list) = self.0.get("crit") else { return Ok(()) };
        let names = list.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match names.ok_or(WRONG)?.into_iter().find(|name| *name != "crit" && !known.contains(name)) {
            Some(name) => Err(ClaimError::Critical(strict_json::cut(name))),
            None => Ok(()),
        }
    }

    /// Returns a claim, parsed by `read`; `None` when it is absent.
    pub(crate) fn get_text<T>(
        &self,
        claim: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ClaimError> {
        let Some(value) = self.0.get(claim) else { return Ok(None) };
        let read = value.as_str().and_then(read);
        read.map(Some).ok_or(ClaimError::Wrong { claim, wanted })
    }

    /// Returns a required claim.
    pub(crate) fn required<T>(
        &self,
        claim: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ClaimError> {
        self.get_text(claim, wanted, read)?.ok_or(ClaimError::Missing(claim))
    }

    /// Returns a time.
    pub(crate) fn get_time(&self, claim: &'static str) -> Result<Option<UnixTime>, ClaimError> {
        self.get_text(claim, TIME, |text| UnixTime::from_rfc3339(text).ok())
    }

    /// Returns `val`.
    pub(crate) fn credits(&self) -> Result<Option<u64>, ClaimError> {
        let Some(value) = self.0.get("val") else { return Ok(None) };
        let whole = value.as_u64().filter(|&credits| credits <= VALUE_MAX);
        whole.map(Some).ok_or(ClaimError::Wrong { claim: "val", wanted: "a whole number from 0 to 2^53-1" })
    }
}

/// Writes an object with its members in the given order.
pub(crate) struct ObjectWriter(String);

impl ObjectWriter {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    pub(crate) fn insert(&mut self, name: &str, value: &Value) {
        let comma = if self.0.len() > 1 { "," } else { "" };
        self.0.push_str(&format!("{comma}\"{name}\":{value}"));
    }

    pub(crate) fn get_text(&mut self, name: &str, text: &str) {
        self.insert(name, &Value::from(text));
    }

    fn maybe(&mut self, name: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.get_text(name, &value.to_string());
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push('}');
        self.0.into_bytes()
    }
}

#[cfg(test)]
mod tests;
