//! Meters of gateways as an agency sees them: keys that sign requests and tokens. A token is put together here member by
//! member, as another program would do it.

use data_encoding::BASE64URL_NOPAD;
use mailstamp::accounting::hash::Hash;
use mailstamp::accounting::hash_chain::Head;
use mailstamp::accounting::meter;
use mailstamp::ledger::meters::RequestSignature;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::{Issuer, Purpose};
use mailstamp::time::UnixTime;
use mailstamp::vendor_api::meters::SignedRequest;
use mailstamp::vendor_api::operation::Operation;
use serde::Serialize;
use serde_json::{Value, json};

/// The agency.
pub const AGENCY: &str = "stamps.example";

/// A meter: its key and the name of the key.
pub struct Meter {
    pub key: SecretKey,
    pub issuer: Issuer,
}

impl Meter {
    /// A meter with the key of this number.
    pub fn new(number: u64) -> Self {
        let key = SecretKey::from_random(&Hash::of(&number.to_be_bytes()).0);
        let issuer = Issuer::new(AGENCY, &meter::key_name(&key.public())).unwrap();
        Self { key, issuer }
    }

    pub fn kid(&self) -> &str {
        self.issuer.key_id()
    }

    /// Signs a request whose body are these bytes.
    pub fn sign_bytes(
        &self,
        operation: Operation,
        body: &[u8],
        key: &str,
        bank: Head,
        at: UnixTime,
    ) -> RequestSignature {
        let body = Hash::of(body);
        let request = SignedRequest { body, key: key.to_owned(), at, bank };
        let token = request.sign(operation, &self.issuer, &self.key).as_str().to_owned();
        RequestSignature { token, body, key: key.to_owned() }
    }

    /// Signs a request with this body.
    pub fn sign(
        &self,
        operation: Operation,
        body: &impl Serialize,
        key: &str,
        bank: Head,
        at: UnixTime,
    ) -> RequestSignature {
        self.sign_bytes(operation, &serde_json::to_vec(body).unwrap(), key, bank, at)
    }

    /// Signs a token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.key.sign(claims.to_string().as_bytes(), &self.issuer.footer(), Purpose::Meter).as_str().to_owned()
    }

    /// Pays for the message of this number to this mailbox.
    pub fn pay(&self, payee: &str, mailbox: &str, message: u64, credits: u64, until: UnixTime) -> String {
        self.token(&claims(payee, mailbox, message, credits, until))
    }
}

/// The claims of a token with an ID of its own.
pub fn claims(payee: &str, mailbox: &str, message: u64, credits: u64, until: UnixTime) -> Value {
    let mut id = [0; 28];
    mailstamp::os::random::fill(&mut id).unwrap();
    json!({
        "jti": BASE64URL_NOPAD.encode(&id), "aud": mailbox, "val": credits,
        "msg": BASE64URL_NOPAD.encode(&fingerprint(message)), "exp": until.to_string(),
        "payee": format!("{payee}@{AGENCY}"),
    })
}

/// The fingerprint of the message of this number.
pub fn fingerprint(message: u64) -> [u8; 32] {
    Hash::of(&message.to_le_bytes()).0
}

/// The head of a bank after so many events.
pub fn head(number: u64) -> Head {
    if number == 0 { Head::EMPTY } else { Head { number, hash: Hash::of(&number.to_be_bytes()) } }
}
