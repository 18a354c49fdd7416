//! Authentication of requests: the address, and the account of the API key. The address that a proxy reports counts
//! only if the operator trusts that proxy.
//!
//! Each kind of request takes tokens from its own bucket ([`super::rate_limit`]).

use super::Service;
use super::error::Problem;
use crate::ledger::model::Account;
use crate::server::http::listener::Peer;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// Address of a request that is within its rate limit.
#[derive(Clone, Copy, Debug)]
pub struct Unauthenticated(pub IpAddr);

/// Account of a request with a valid API key, within the rate limit of the key.
#[derive(Clone, Debug)]
pub struct AuthenticatedAccount {
    pub account: Account,
    /// Address of the client.
    pub address: IpAddr,
}

impl FromRequestParts<Service> for Unauthenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Problem> {
        let address = address(parts, service);
        service.rates().address(address).map_err(Problem::rate)?;
        Ok(Self(address))
    }
}

impl FromRequestParts<Service> for AuthenticatedAccount {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Problem> {
        let address = address(parts, service);
        // A missing key is looked up in the ledger like a wrong one, so that both get the same answer.
        let key = bearer(parts).unwrap_or_default();
        let account = open(service, address, key.clone()).await?;
        service.rates().key(Sha256::digest(key.as_bytes()).into()).map_err(Problem::rate)?;
        Ok(Self { account, address })
    }
}

/// Returns the account of an API key.
///
/// # Errors
/// The same problem for every key without an account, or that of too many attempts.
pub async fn open(service: &Service, address: IpAddr, key: String) -> Result<Account, Problem> {
    record_failed_attempt(service, address, service.ledger(move |ledger, now| ledger.authenticate(&key, now)).await)
}

/// Counts a wrong guess of a key, code or voucher, and passes the answer on.
///
/// After too many wrong guesses the answer is always "too many attempts". A right one is never delayed, so clients at
/// the same address cannot lock each other out.
///
/// # Errors
/// The given one, or that of too many attempts.
pub fn record_failed_attempt<T>(service: &Service, address: IpAddr, answer: Result<T, Problem>) -> Result<T, Problem> {
    match answer {
        Err(wrong) if matches!(wrong.word, "no-api-key" | "no-voucher" | "wrong-code" | "no-code" | "ecash") => {
            service.rates().record_failure(address).map_err(Problem::rate)?;
            Err(wrong)
        }
        answer => answer,
    }
}

/// Returns the bearer token (RFC 6750 section 2.1).
fn bearer(parts: &Parts) -> Option<String> {
    let (scheme, key) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
}

fn address(parts: &Parts, service: &Service) -> IpAddr {
    let peer = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.to_canonical());
    if !service.settings().trusted_proxies.contains(&peer) {
        return peer;
    }
    // The proxy itself appends the last entry; clients can forge those before it.
    let mut fields = parts.headers.get_all("x-forwarded-for").iter();
    let last = fields.next_back().and_then(|field| field.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    last.map_or(peer, |address: IpAddr| address.to_canonical())
}
