//! Sessions of visitors.
//!
//! - A visitor has one cookie with a random name for this visit, no more. A cookie that is signed in stands for an
//!   account until it is idle for an hour. The API key itself is not kept.
//! - Every form carries a token made from the cookie and a secret beside the ledger. A form counts if the browser says
//!   that it comes from this site, or has the token if the browser says nothing. No other site can therefore send one.
//!   The token also shows whether the visitor signed in or out since.
//! - The secret outlives the service. A form that is sent again after a restart shows what it bought, and does not buy
//!   twice.

use super::Page;
use crate::accounting::hash::Hash;
use crate::ledger::model::Account;
use crate::ledger::ops;
use crate::os::{clock, random};
use crate::server::vendor_http::auth::Unauthenticated;
use crate::server::vendor_http::error::Problem;
use crate::server::vendor_http::{Origin, Service};
use crate::time::UnixTime;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Idle timeout of a session.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// Most sessions at once.
const MOST: usize = 10_000;
/// Most sessions of one account, which therefore ends no session of another.
const MOST_EACH: usize = 100;
/// Length of a cookie in characters: 32 bytes in base64url.
const LENGTH: usize = 43;

/// Sessions that are signed in.
pub struct Sessions {
    secret: [u8; 32],
    signed_in: Mutex<HashMap<[u8; 32], SignedIn>>,
}

struct SignedIn {
    /// Number of the account.
    account: u64,
    since: UnixTime,
    /// Hash of the API key, so that revoking the key ends its sessions.
    key: Hash,
    seen: Instant,
    /// A new API key, until it is shown.
    fresh_key: Option<Zeroizing<String>>,
}

/// A session, as its account sees it.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The first 16 hexadecimal digits of the hash of its cookie.
    pub id: String,
    /// Hash of the API key.
    pub key: Hash,
    /// Time of the sign-in.
    pub since: UnixTime,
    /// Time since the last request.
    pub idle: Duration,
    /// Whether it is that of the request.
    pub own: bool,
}

/// Whether the visitor is still in the session to which a form was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Here,
    /// The visitor signed in or out since, perhaps in another tab, or the browser was closed meanwhile.
    Earlier,
}

/// Visitor of a request.
#[derive(Clone, Debug)]
pub struct Session {
    /// Address of the client.
    pub address: IpAddr,
    /// The account, if the visitor is signed in.
    pub account: Option<Account>,
    cookie: String,
    /// Whether the answer must set the cookie.
    told: bool,
}

impl Sessions {
    /// Creates an empty set of sessions; the secret authenticates forms.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret, signed_in: Mutex::default() }
    }

    /// Returns the token of this visitor's forms.
    #[must_use]
    pub fn token(&self, visitor: &Session) -> String {
        // The cookie has a fixed length, so the hash is safe against length extension.
        let hash = Sha256::new().chain_update(self.secret).chain_update(&visitor.cookie).finalize();
        BASE64URL_NOPAD.encode(&hash)
    }

    /// Returns to whom a form of this site was shown; `None` for a form that another site may have sent.
    #[must_use]
    pub fn shown(&self, visitor: &Session, token: &str, headers: &HeaderMap, origin: &Origin) -> Option<Shown> {
        // Comparing hashes leaks nothing about the token through time.
        let same = !visitor.told && Sha256::digest(token) == Sha256::digest(self.token(visitor));
        match from_here(headers, origin) {
            Some(false) => None,
            _ if same => Some(Shown::Here),
            here => here.map(|_| Shown::Earlier),
        }
    }

    /// Signs a visitor in with a valid key.
    ///
    /// The visitor gets a new cookie, so that a cookie planted before (session fixation) is worth nothing.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn sign_in(&self, visitor: &mut Session, account: Account, key: Hash) -> io::Result<()> {
        self.sign_out(visitor)?;
        let mut signed_in = self.signed_in.lock().unwrap_or_else(PoisonError::into_inner);
        signed_in.retain(|_, session| session.seen.elapsed() < IDLE);
        let own = |session: &SignedIn| session.account == account.number;
        let has_share = signed_in.values().filter(|session| own(session)).count() >= MOST_EACH;
        if has_share || signed_in.len() >= MOST {
            let leaving = signed_in.iter().filter(|(_, session)| !has_share || own(session));
            let oldest = leaving.min_by_key(|(_, session)| session.seen).map(|(id, _)| *id);
            oldest.and_then(|id| signed_in.remove(&id));
        }
        let (number, since, seen) = (account.number, clock::now(), Instant::now());
        signed_in.insert(visitor.id(), SignedIn { account: number, since, key, seen, fresh_key: None });
        visitor.account = Some(account);
        Ok(())
    }

    /// Signs a visitor out.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn sign_out(&self, visitor: &mut Session) -> io::Result<()> {
        self.signed_in.lock().unwrap_or_else(PoisonError::into_inner).remove(&visitor.id());
        *visitor = Session { account: None, cookie: cookie()?, told: true, ..visitor.clone() };
        Ok(())
    }

    /// Returns the sessions of the visitor's account, the latest sign-in first.
    #[must_use]
    pub fn list(&self, visitor: &Session) -> Vec<SessionInfo> {
        let account = visitor.account.as_ref().map(|account| account.number);
        let signed_in = self.signed_in.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |session: &SignedIn| Some(session.account) == account && session.seen.elapsed() < IDLE;
        let mut sessions: Vec<SessionInfo> = signed_in
            .iter()
            .filter(|(_, session)| own(session))
            .map(|(id, session)| SessionInfo {
                id: short(id),
                key: session.key,
                since: session.since,
                idle: session.seen.elapsed(),
                own: *id == visitor.id(),
            })
            .collect();
        sessions.sort_by_key(|session| (std::cmp::Reverse(session.since), session.id.clone()));
        sessions
    }

    /// Ends a session of the visitor's account.
    pub fn end(&self, visitor: &Session, id: &str) {
        let account = visitor.account.as_ref().map(|account| account.number);
        let mut signed_in = self.signed_in.lock().unwrap_or_else(PoisonError::into_inner);
        signed_in.retain(|its, session| Some(session.account) != account || short(its) != id);
    }

    /// Keeps a new API key until it is shown.
    pub fn store(&self, visitor: &Session, key: Zeroizing<String>) {
        let mut signed_in = self.signed_in.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = signed_in.get_mut(&visitor.id()) {
            session.fresh_key = Some(key);
        }
    }

    /// Returns the new API key, once.
    pub fn show(&self, visitor: &Session) -> Option<Zeroizing<String>> {
        let mut signed_in = self.signed_in.lock().unwrap_or_else(PoisonError::into_inner);
        signed_in.get_mut(&visitor.id())?.fresh_key.take()
    }

    fn key(&self, id: [u8; 32]) -> Option<Hash> {
        let mut signed_in = self.signed_in.lock().unwrap_or_else(PoisonError::into_inner);
        let session = signed_in.get_mut(&id).filter(|session| session.seen.elapsed() < IDLE)?;
        session.seen = Instant::now();
        Some(session.key)
    }
}

impl Session {
    /// Returns the id of the session: the hash of the cookie.
    fn id(&self) -> [u8; 32] {
        Sha256::digest(&self.cookie).into()
    }

    /// Adds the visitor's cookie to an answer, if the browser does not have it yet.
    pub fn answer(&self, service: &Service, answer: impl IntoResponse) -> HttpResponse {
        let mut response = answer.into_response();
        if self.told {
            let (name, secure) = name(service.origin());
            let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}", self.cookie);
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        response
    }
}

impl FromRequestParts<Service> for Session {
    type Rejection = Page;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Page> {
        let Unauthenticated(address) =
            Unauthenticated::from_request_parts(parts, service).await.map_err(Page::problem)?;
        let known = known(&parts.headers, service.origin());
        let told = known.is_none();
        let fresh = || cookie().map_err(|error| Page::problem(Problem::trouble(&error.to_string())));
        let mut visitor = Self { address, account: None, cookie: known.map_or_else(fresh, Ok)?, told };
        if let Some(hash) = service.sessions().key(visitor.id()) {
            let answer = service.ledger(move |ledger, now| ledger.run(ops::Opens { hash }, now)).await;
            match answer {
                Ok(account) => visitor.account = Some(account),
                Err(problem) if problem.word != "no-api-key" => return Err(Page::problem(problem)),
                // The key was revoked meanwhile.
                Err(_) => {}
            }
        }
        Ok(visitor)
    }
}

/// Returns the name and attributes of the cookie. With the prefix, browsers accept it only from this host and over
/// encrypted connections (RFC 6265bis section 4.1.3).
fn name(origin: &Origin) -> (&'static str, &'static str) {
    if origin.secure { ("__Host-mailstamp", "; Secure") } else { ("mailstamp", "") }
}

fn known(headers: &HeaderMap, origin: &Origin) -> Option<String> {
    let (name, _) = name(origin);
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut values = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = values.find(|(its, _)| *its == name)?;
    let fits = value.len() == LENGTH && BASE64URL_NOPAD.decode(value.as_bytes()).is_ok_and(|bytes| bytes.len() == 32);
    fits.then(|| value.to_owned())
}

/// Returns whether a form comes from this site (Fetch Metadata; RFC 6454).
///
/// `None` for an old browser, which sends neither field.
fn from_here(headers: &HeaderMap, origin: &Origin) -> Option<bool> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let same_site = text("sec-fetch-site").map(|site| site == "same-origin");
    let same_origin = text("origin").map(|from| match (&origin.text, text("host")) {
        (Some(own), _) => from == own,
        (None, Some(host)) => from.split_once("://").is_some_and(|(_, from)| from == host),
        (None, None) => false,
    });
    same_site.into_iter().chain(same_origin).reduce(|one, other| one && other)
}

/// Returns the id of a session by which its account ends it. It signs in no visitor.
fn short(id: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(&id[..8])
}

fn cookie() -> io::Result<String> {
    Ok(BASE64URL_NOPAD.encode(&random()?))
}

/// Returns random bytes of the system.
pub fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    random::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_form_from_elsewhere_is_not_ours() {
        let own = Origin { text: Some("https://stamps.example".into()), secure: true };
        let bare = Origin { text: None, secure: false };
        for (fields, at_own, at_bare) in [
            (&[][..], None, None),
            (&[("origin", "https://stamps.example"), ("host", "stamps.example")], Some(true), Some(true)),
            (&[("origin", "https://evil.example"), ("host", "stamps.example")], Some(false), Some(false)),
            (&[("origin", "null"), ("host", "stamps.example")], Some(false), Some(false)),
            (&[("sec-fetch-site", "same-origin")], Some(true), Some(true)),
            (&[("sec-fetch-site", "same-site")], Some(false), Some(false)),
            (&[("sec-fetch-site", "none")], Some(false), Some(false)),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://stamps.example")], Some(false), Some(false)),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], Some(false), Some(false)),
        ] {
            assert_eq!(from_here(&headers(fields), &own), at_own, "{fields:?}");
            assert_eq!(from_here(&headers(fields), &bare), at_bare, "{fields:?}");
        }
    }

    #[test]
    fn a_token_is_of_one_visitor_and_one_secret() {
        let visitor = |cookie: &str| Session {
            address: IpAddr::from([127, 0, 0, 1]),
            account: None,
            cookie: cookie.to_owned(),
            told: false,
        };
        let (one, other) = (Sessions::new([1; 32]), Sessions::new([2; 32]));
        let (a, b) = (visitor(&cookie().unwrap()), visitor(&cookie().unwrap()));
        let origin = Origin { text: None, secure: false };
        let none = HeaderMap::new();
        let here = headers(&[("sec-fetch-site", "same-origin")]);
        let elsewhere = headers(&[("sec-fetch-site", "cross-site")]);
        let unknown = Session { told: true, ..a.clone() };
        for (sessions, visitor, token, own) in [
            (&one, &a, one.token(&a), true),
            (&one, &b, one.token(&a), false),
            (&other, &a, one.token(&a), false),
            (&one, &a, String::new(), false),
            // A form without a cookie.
            (&one, &unknown, one.token(&unknown), false),
        ] {
            let shown = |headers| sessions.shown(visitor, &token, headers, &origin);
            assert_eq!(shown(&none), own.then_some(Shown::Here));
            assert_eq!(shown(&here), Some(if own { Shown::Here } else { Shown::Earlier }));
            assert_eq!(shown(&elsewhere), None);
        }
    }

    #[test]
    fn an_account_ends_no_session_of_another() {
        let sessions = Sessions::new([1; 32]);
        let sign_in = |number: u64| {
            let account = Account {
                number,
                name: number.to_string(),
                contact: String::new(),
                salt: Hash([0; 32]),
                open: true,
                created: UnixTime(0),
                caps: None,
            };
            let (address, cookie) = (IpAddr::from([127, 0, 0, 1]), cookie().unwrap());
            let mut visitor = Session { address, account: None, cookie, told: false };
            sessions.sign_in(&mut visitor, account, Hash([0; 32])).unwrap();
            visitor
        };
        let other = sign_in(1);
        let mine: Vec<Session> = (0..MOST_EACH + 5).map(|_| sign_in(2)).collect();
        assert_eq!(sessions.list(&other).len(), 1);
        let listed = sessions.list(mine.last().unwrap());
        assert!(listed.len() == MOST_EACH && listed.iter().any(|session| session.own));
    }

    #[test]
    fn only_a_cookie_of_our_form_is_known() {
        let bare = Origin { text: None, secure: false };
        let good = BASE64URL_NOPAD.encode(&[7; 32]);
        let with = |text: String| {
            let mut map = HeaderMap::new();
            map.insert(header::COOKIE, text.parse().unwrap());
            known(&map, &bare)
        };
        assert_eq!(with(format!("a=b; mailstamp={good}; c=d")), Some(good.clone()));
        for wrong in ["mailstamp=", "mailstamp=x", "xmailstamp=y"] {
            assert_eq!(with(wrong.to_owned()), None);
        }
        assert_eq!(with(format!("mailstamp={}", "é".repeat(3))), None);
        assert_eq!(with(format!("xmailstamp={good}")), None);
    }
}
