//! Client of a mint: its keysets (NUT-01, NUT-02), swaps (NUT-03), states of proofs (NUT-07), and signatures that it
//! made before (NUT-09).
//!
//! Only mints that the operator named are asked. The text of an answer is never shown.

use super::blind::Point;
use super::token::Proof;
use crate::net::http_client::{self, Request, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Public keys of a keyset, by amount.
pub type Keys = BTreeMap<u64, Point>;

/// A mint.
#[derive(Clone, Copy, Debug)]
pub struct Mint<'a> {
    /// Its address, without a slash at the end.
    pub url: &'a str,
    /// Timeout of a request.
    pub timeout: Duration,
}

/// Reason why a mint did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// It refuses, with this code (NUT-00); 0 without one.
    #[error("it refuses with code {0}")]
    Refused(u64),
    /// Whether it did it is unknown.
    #[error("{0}")]
    Unknown(String),
    /// It answers, and what it says breaks what it has promised.
    #[error("{0}")]
    Wrong(&'static str),
}

/// Keyset of a mint.
#[derive(Clone, Debug, Deserialize)]
pub struct Keyset {
    pub id: String,
    pub unit: String,
    /// Whether the mint signs with it.
    pub active: bool,
    /// Fee for an input, in thousandths of the unit.
    #[serde(default, rename = "input_fee_ppk")]
    pub fee: Option<u64>,
    /// When the keyset ends, in seconds since 1970.
    #[serde(default, rename = "final_expiry")]
    pub end: Option<u64>,
}

/// Output as a mint sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blinded {
    pub amount: u64,
    pub id: String,
    #[serde(rename = "B_")]
    pub point: String,
}

/// Signature of a mint on an output.
#[derive(Clone, Debug, Deserialize)]
pub struct BlindSignature {
    pub amount: u64,
    pub id: String,
    #[serde(rename = "C_")]
    pub point: String,
    #[serde(default)]
    pub dleq: Option<DleqText>,
}

/// Proof of a signature (NUT-12).
#[derive(Clone, Debug, Deserialize)]
pub struct DleqText {
    pub e: String,
    pub s: String,
}

#[derive(Deserialize)]
struct KeysetsAnswer {
    keysets: Vec<Keyset>,
}

#[derive(Deserialize)]
struct KeysOf {
    id: String,
    keys: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct KeysAnswer {
    keysets: Vec<KeysOf>,
}

#[derive(Deserialize)]
struct Swapped {
    signatures: Vec<BlindSignature>,
}

#[derive(Deserialize)]
struct Restored {
    outputs: Vec<Blinded>,
    signatures: Vec<BlindSignature>,
}

#[derive(Deserialize)]
struct States {
    states: Vec<StateOf>,
}

#[derive(Deserialize)]
struct StateOf {
    #[serde(rename = "Y")]
    point: String,
    state: String,
}

#[derive(Deserialize)]
struct Refusal {
    code: u64,
}

impl Mint<'_> {
    fn ask<T: DeserializeOwned>(&self, path: &str, body: Option<&str>) -> Result<T, MintError> {
        let address = format!("{}/v1/{path}", self.url);
        let ask = Request { address: &address, key: None, idempotency: None, field: None, body, time: self.timeout };
        let answer = http_client::ask(ask).map_err(|error| MintError::Unknown(error.to_string()))?;
        let Response { status, body, .. } = answer;
        match status {
            200 => serde_json::from_slice(&body).map_err(|_| odd("its answer has another form")),
            // Too many requests: it may have done nothing, and it is asked again later.
            429 | 408 => Err(MintError::Unknown(format!("it answers with status {status}"))),
            400..=499 => {
                let code = serde_json::from_slice(&body).map_or(0, |refusal: Refusal| refusal.code);
                Err(MintError::Refused(code))
            }
            status => Err(MintError::Unknown(format!("it answers with status {status}"))),
        }
    }

    /// Returns its keysets, also those with which it does not sign any more.
    pub fn keysets(&self) -> Result<Vec<Keyset>, MintError> {
        self.ask("keysets", None).map(|KeysetsAnswer { keysets }| keysets)
    }

    /// Returns the keys that it says a keyset has.
    pub fn keys(&self, id: &str) -> Result<Keys, MintError> {
        let KeysAnswer { keysets } = self.ask(&format!("keys/{id}"), None)?;
        let keys = keysets.into_iter().find(|keyset| keyset.id == id).ok_or_else(|| odd("it lacks its keyset"))?.keys;
        let read = |(amount, key): (String, String)| Some((amount.parse().ok()?, Point::parse(&key)?));
        keys.into_iter().map(read).collect::<Option<_>>().ok_or_else(|| odd("its keys have another form"))
    }

    /// Swaps proofs for signatures on new outputs.
    pub fn swap(&self, inputs: &[Proof], outputs: &[Blinded]) -> Result<Vec<BlindSignature>, MintError> {
        let body = zeroize::Zeroizing::new(json!({ "inputs": inputs, "outputs": outputs }).to_string());
        self.ask("swap", Some(&body)).map(|Swapped { signatures }| signatures)
    }

    /// Returns the signatures that it made on outputs; `None` for one that it did not sign.
    pub fn restore(&self, outputs: &[Blinded]) -> Result<Vec<Option<BlindSignature>>, MintError> {
        let body = json!({ "outputs": outputs }).to_string();
        let Restored { outputs: known, signatures } = self.ask("restore", Some(&body))?;
        let mut found: BTreeMap<String, BlindSignature> =
            known.into_iter().map(|output| output.point).zip(signatures).collect();
        Ok(outputs.iter().map(|output| found.remove(&output.point)).collect())
    }

    /// Returns whether each proof is spent.
    pub fn spent(&self, proofs: &[&Proof]) -> Result<Vec<bool>, MintError> {
        let point = |proof: &&Proof| Point::of(proof.secret.as_bytes()).map(|point| point.hex());
        let points: Option<Vec<String>> = proofs.iter().map(point).collect();
        let points = points.ok_or_else(|| odd("a secret has no point"))?;
        let body = json!({ "Ys": points }).to_string();
        let States { states } = self.ask("checkstate", Some(&body))?;
        let states: BTreeMap<String, String> = states.into_iter().map(|state| (state.point, state.state)).collect();
        let spent = |point: &String| states.get(point).map(|state| state == "SPENT");
        points.iter().map(spent).collect::<Option<_>>().ok_or_else(|| odd("it does not say every state"))
    }
}

fn odd(what: &str) -> MintError {
    MintError::Unknown(what.to_owned())
}
