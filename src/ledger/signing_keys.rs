//! Signing keys of the vendor in the ledger's folder, one file each, and their signatures. The ledger never contains a
//! secret key, so a backup of it contains none.

use super::error::LedgerError;
use super::files::LedgerPaths;
use super::model::Sale;
use super::rejection::Rejection;
use crate::accounting::order::Order;
use crate::accounting::serial_derivation::Draw;
use crate::directory::signing_key::SigningKey;
use crate::stamp::issue;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::{Issuer, Purpose, Token};
use crate::time::UnixTime;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Cache of the keys that were read.
#[derive(Debug, Default)]
pub(super) struct Signers(RwLock<BTreeMap<String, Arc<SigningKey>>>);

impl Signers {
    /// Returns the key of this name.
    pub(super) fn get(&self, place: &LedgerPaths, vendor: &str, kid: &str) -> Result<Arc<SigningKey>, LedgerError> {
        if let Some(signer) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(kid) {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(SigningKey::read(&place.key(kid))?);
        if signer.issuer.vendor() != vendor || signer.issuer.key_id() != kid {
            let problem = "its file contains another key".to_owned();
            return Err(Rejection::SigningKey { kid: kid.to_owned(), problem }.into());
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(kid.to_owned(), Arc::clone(&signer));
        Ok(signer)
    }
}

/// Creates a key and writes its file.
pub(super) fn make(place: &LedgerPaths, vendor: &str, kid: &str) -> Result<PublicKey, LedgerError> {
    let named =
        |error: &dyn std::fmt::Display| Rejection::SigningKey { kid: kid.to_owned(), problem: error.to_string() };
    let issuer = Issuer::new(vendor, kid).map_err(|error| named(&error))?;
    place.make_keys()?;
    let path = place.key(kid);
    if path.exists() {
        // Left by a run that ended before the ledger recorded the key. The ledger knows whether the name is free.
        let left = SigningKey::read(&path)?;
        return if left.issuer == issuer {
            Ok(left.key.public())
        } else {
            Err(named(&format!("{} holds a key of {}; move it away", path.display(), left.issuer.vendor())).into())
        };
    }
    let signer = SigningKey::generate(issuer)?;
    signer.write(&path)?;
    Ok(signer.key.public())
}

/// Signs the stamps of a sale. The same sale and orders give the same stamps, byte for byte.
pub(super) fn stamps(signer: &SigningKey, sale: &Sale, orders: &[Order]) -> Result<Vec<Token>, LedgerError> {
    let draw = Draw::new(sale.at, sale.seed.0);
    let sign = |(index, order): (u32, &Order)| {
        let stamp = order.stamp(&draw, index, sale.at, sale.days);
        // The caps exclude every order that cannot be signed.
        issue::issue(&stamp, &signer.issuer, &signer.key).map_err(|_| LedgerError::from(Rejection::Range))
    };
    (0..).zip(orders).map(sign).collect()
}

/// Signs a receipt: an object that describes a booking, for `digital-stamp-receipt`.
pub(super) fn receipt(
    signer: &SigningKey,
    at: UnixTime,
    mut object: serde_json::Map<String, serde_json::Value>,
) -> Token {
    object.insert("vendor".into(), signer.issuer.vendor().into());
    object.insert("iat".into(), at.to_string().into());
    let payload = serde_json::Value::Object(object).to_string();
    signer.key.sign(payload.as_bytes(), &signer.issuer.footer(), Purpose::Receipt)
}
