//! Meters at the agency: licences, tokens to clear, checkpoints. Signatures are verified before the ledger's writer is
//! asked, and every answer is a receipt that the vendor signs.

use super::error::LedgerError;
use super::handle::{AccountId, Ledger};
use super::model::{License, LicenseStanding, MeterContact, OpenClaim, TokenClaim};
use super::ops::{self, LedgerOp};
use super::rejection::Rejection;
use super::signing_keys;
use super::trade::no_key;
use super::transaction::status;
use crate::accounting::hash::Hash;
use crate::accounting::meter::{self, ClearingProblem, ID_TTL_MAX};
use crate::emstamp::token::{Payee, Payment};
use crate::stamp::signing::PublicKey;
use crate::stamp::token::{Issuer, Purpose, Token};
use crate::time::UnixTime;
use crate::vendor_api::meters::{
    CheckpointRequest, ClearingRequest, LicenseRequest, LicenseStatus, MAX_TOKENS, MeterReceipt, OpenPayment,
    RequestProblem, SignedRequest,
};
use crate::vendor_api::operation::Operation;
use std::collections::BTreeMap;

type Result<T, E = LedgerError> = std::result::Result<T, E>;

/// Signature of a request, and what it must have signed.
#[derive(Clone, Debug)]
pub struct RequestSignature {
    /// Text of the header field `Meter-Request`.
    pub token: String,
    /// SHA-256 of the bytes of the body.
    pub body: Hash,
    /// Idempotency key.
    pub key: String,
}

impl Ledger {
    /// Licenses a meter of an account for up to `limit` credits. Its key must have signed the request.
    ///
    /// # Errors
    /// [`Rejection::MeterRequest`], those of [`ops::License`].
    pub fn license(
        &self,
        account: AccountId,
        request: &LicenseRequest,
        signature: &RequestSignature,
        now: UnixTime,
    ) -> Result<Token> {
        let &LicenseRequest { ref key, limit, days, accept_restored } = request;
        let wanted = || "a key k4.public.…".to_owned();
        let key = PublicKey::parse(key).map_err(|_| Rejection::Form { what: "key".into(), wanted: wanted() })?;
        let known = |name: &str| if name == meter::key_name(&key) { Ok(key) } else { Err(RequestProblem::Key) };
        let contact = self.contact(account, Operation::License, signature, known, now)?;
        self.answered(ops::License { contact, key, limit, days, accept_restored }, now)
    }

    /// Clears tokens to an account: each payment once, down to what is left of its licence.
    ///
    /// # Errors
    /// [`Rejection::MeterRequest`], those of [`ops::Clear`]; single bad tokens are not an error.
    pub fn clear(
        &self,
        account: AccountId,
        request: &ClearingRequest,
        signature: &RequestSignature,
        now: UnixTime,
    ) -> Result<Token> {
        limited("tokens", request.tokens.len(), 1)?;
        let contact = self.signed(account, Operation::Clear, signature, now)?;
        let name = self.account(account, now)?.account.name;
        // A name that is no payee cannot be in a token.
        let payee = Payee::new(&name, self.vendor()?).map_err(|error| LedgerError::Remote(error.to_string()))?;
        let mut licenses = BTreeMap::new();
        let mut tokens = Vec::with_capacity(request.tokens.len());
        for text in &request.tokens {
            tokens.push(self.claim(text, &payee, &mut licenses, now)?);
        }
        self.answered(ops::Clear { contact, tokens }, now)
    }

    /// Records the head of a bank, and returns the state of its account and of its open payments.
    ///
    /// # Errors
    /// [`Rejection::MeterRequest`], those of [`ops::Checkpoint`].
    pub fn checkpoint(
        &self,
        account: AccountId,
        request: &CheckpointRequest,
        signature: &RequestSignature,
        now: UnixTime,
    ) -> Result<Token> {
        limited("open", request.open.len(), 0)?;
        let open = request.open.iter().map(open_claim).collect::<Result<_, _>>()?;
        let contact = self.signed(account, Operation::Checkpoint, signature, now)?;
        self.answered(ops::Checkpoint { contact, open, accept_restored: request.accept_restored }, now)
    }

    /// Returns the licences of an account that are not closed.
    pub fn licenses(&self, account: AccountId, now: UnixTime) -> Result<Vec<LicenseStatus>> {
        let licenses = self.run(ops::LicensesOf { account }, now)?;
        Ok(licenses.iter().map(|it| status(&it.license, it.rest)).collect())
    }

    /// Runs the operation and signs its answer. The signing key is loaded before anything is booked.
    fn answered<O: LedgerOp<Output = MeterReceipt>>(&self, op: O, now: UnixTime) -> Result<Token> {
        let signer = self.active_signer()?.ok_or_else(no_key)?;
        let receipt = self.run(op, now)?;
        let at = UnixTime::from_rfc3339(&receipt.iat).unwrap_or(now);
        match serde_json::to_value(&receipt) {
            Ok(serde_json::Value::Object(object)) => Ok(signing_keys::receipt(&signer, at, object)),
            Ok(_) => Err(LedgerError::Remote("a receipt is no object".into())),
            Err(error) => Err(LedgerError::Remote(error.to_string())),
        }
    }

    /// Verifies a request with the key of a live licence of the account.
    fn signed(
        &self,
        account: AccountId,
        operation: Operation,
        signature: &RequestSignature,
        now: UnixTime,
    ) -> Result<MeterContact> {
        let found = |kid: &str| {
            let licensed = self.license_named(kid, now)?;
            let own = licensed.filter(|it| it.license.account == account && it.license.is_live(now));
            own.map(|it| it.license.key).ok_or_else(|| refused(RequestProblem::Key, now))
        };
        // The name must be known before the key can be found.
        let issuer = self.issuer(&signature.token, now)?.1;
        let key = found(issuer.key_id())?;
        self.contact(account, operation, signature, |_| Ok(key), now)
    }

    /// Verifies a request with the key that `known` returns for its name.
    fn contact(
        &self,
        account: AccountId,
        operation: Operation,
        signature: &RequestSignature,
        known: impl Fn(&str) -> std::result::Result<PublicKey, RequestProblem>,
        now: UnixTime,
    ) -> Result<MeterContact> {
        let (token, issuer) = self.issuer(&signature.token, now)?;
        let checked = known(issuer.key_id()).and_then(|key| {
            let request = SignedRequest::verify(&token, operation, &key)?;
            request.check(&signature.body, &signature.key, now)?;
            Ok(request)
        });
        let SignedRequest { body, key, bank, .. } = checked.map_err(|problem| refused(problem, now))?;
        Ok(MeterContact { account, kid: issuer.key_id().to_owned(), idempotency: key, body, bank })
    }

    /// Parses the token of a request to this vendor, and returns who claims to have signed it.
    fn issuer(&self, text: &str, now: UnixTime) -> Result<(Token, Issuer)> {
        let token = Token::parse(text).map_err(|_| refused(RequestProblem::Malformed, now))?;
        let issuer = token.issuer().map_err(|_| refused(RequestProblem::Malformed, now))?;
        if issuer.vendor() != self.vendor()? {
            return Err(refused(RequestProblem::OtherAgency, now));
        }
        Ok((token, issuer))
    }

    fn license_named(&self, kid: &str, now: UnixTime) -> Result<Option<LicenseStanding>> {
        match self.run(ops::LicenseNamed { kid: kid.to_owned() }, now) {
            Err(LedgerError::Refused(Rejection::NoLicense { .. })) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Verifies one token. `licenses` are those that were looked up before.
    fn claim(
        &self,
        text: &str,
        payee: &Payee,
        licenses: &mut BTreeMap<String, Option<LicenseStanding>>,
        now: UnixTime,
    ) -> Result<std::result::Result<TokenClaim, ClearingProblem>> {
        let parsed = Token::parse(text).ok().and_then(|token| token.issuer().ok().map(|issuer| (token, issuer)));
        let Some((token, issuer)) = parsed else { return Ok(Err(ClearingProblem::BadToken)) };
        if issuer.vendor() != self.vendor()? {
            return Ok(Err(ClearingProblem::OtherAgency));
        }
        if !licenses.contains_key(issuer.key_id()) {
            licenses.insert(issuer.key_id().to_owned(), self.license_named(issuer.key_id(), now)?);
        }
        let found = licenses.get(issuer.key_id()).and_then(Option::as_ref);
        Ok(found.ok_or(ClearingProblem::UnknownLicense).and_then(|found| claim(&token, &found.license, payee)))
    }
}

/// Checks a token of a licensed meter: its signature, and that it pays this payee.
fn claim(token: &Token, license: &License, payee: &Payee) -> std::result::Result<TokenClaim, ClearingProblem> {
    if !license.key.verify(token, Purpose::Meter) {
        return Err(ClearingProblem::BadToken);
    }
    let payment = Payment::read(token.payload()).map_err(|_| ClearingProblem::BadToken)?;
    if payment.payee != *payee {
        return Err(ClearingProblem::NotYourToken);
    }
    // Its ID was issued at most a day before its end.
    if payment.expires > license.until.plus(ID_TTL_MAX) {
        return Err(ClearingProblem::Expired);
    }
    let hash = meter::payment_hash(license.account, &payment.mailbox.canonical(), &payment.message.0);
    Ok(TokenClaim { license: license.number, credits: payment.credits, payment: hash, until: payment.expires })
}

fn open_claim(open: &OpenPayment) -> Result<OpenClaim> {
    let form = |wanted: &str| Rejection::Form { what: "open payment".into(), wanted: wanted.into() };
    let payment = open.payment.parse().map_err(|_| form("a payment of 64 hexadecimal digits"))?;
    let until = UnixTime::from_rfc3339(&open.until).map_err(|_| form("until: a time such as 2026-11-21T12:00:00Z"))?;
    Ok(OpenClaim { payment, until })
}

/// Rejects lists that are too short or too long.
fn limited(what: &str, count: usize, least: usize) -> Result<()> {
    if (least..=MAX_TOKENS).contains(&count) {
        return Ok(());
    }
    Err(Rejection::Form { what: what.to_owned(), wanted: format!("{least} to {MAX_TOKENS} of them") }.into())
}

fn refused(problem: RequestProblem, now: UnixTime) -> LedgerError {
    Rejection::MeterRequest { problem, now }.into()
}
