//! Who sends a request: from which address (the proxy's word for it only if the operator trusts that proxy), and with which
//! API key. Each way of asking takes from its own bucket ([`super::rate_limit`]).

use super::Service;
use super::error::Problem;
use crate::ledger::model::Account;
use crate::server::http::listener::Peer;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// An address that asks, and asks not too often.
#[derive(Clone, Copy, Debug)]
pub struct Unauthenticated(pub IpAddr);

/// An account that asks with an API key, and not too often.
#[derive(Clone, Debug)]
pub struct AuthenticatedAccount {
    /// The account.
    pub account: Account,
    /// From where.
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
        // An absent key goes the way of a wrong one, through the ledger, so that both answers are alike.
        let key = bearer(parts).unwrap_or_default();
        let account = open(service, address, key.clone()).await?;
        service.rates().key(Sha256::digest(key.as_bytes()).into()).map_err(Problem::rate)?;
        Ok(Self { account, address })
    }
}

/// The account that a key opens.
///
/// # Errors
/// The one problem of every key that opens nothing, and that of too many tries.
pub async fn open(service: &Service, address: IpAddr, key: String) -> Result<Account, Problem> {
    record_failed_attempt(service, address, service.ledger(move |ledger, now| ledger.authenticate(&key, now)).await)
}

/// The answer to something that could have been guessed. A wrong guess is counted, and after too many it is no longer said
/// that it was wrong; a right one is never held up, so that nobody is shut out by what others do from his address.
///
/// # Errors
/// As it was, or that of too many tries.
pub fn record_failed_attempt<T>(service: &Service, address: IpAddr, answer: Result<T, Problem>) -> Result<T, Problem> {
    match answer {
        Err(wrong) if matches!(wrong.word, "no-api-key" | "no-voucher" | "wrong-code" | "no-code") => {
            service.rates().record_failure(address).map_err(Problem::rate)?;
            Err(wrong)
        }
        answer => answer,
    }
}

/// RFC 6750 section 2.1.
fn bearer(parts: &Parts) -> Option<String> {
    let (scheme, key) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
}

fn address(parts: &Parts, service: &Service) -> IpAddr {
    let peer = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.to_canonical());
    if !service.settings().trusted_proxies.contains(&peer) {
        return peer;
    }
    // What the proxy itself saw stands last; what is before it, anybody can have written.
    let mut fields = parts.headers.get_all("x-forwarded-for").iter();
    let last = fields.next_back().and_then(|field| field.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    last.map_or(peer, |address: IpAddr| address.to_canonical())
}
