//! Trade in stamps: sales, deposits, revocations and payouts, with their signatures. The signing key is loaded
//! before anything is booked.

use super::error::LedgerError;
use super::handle::{AccountId, Ledger};
use super::model::{Payer, Presented, Profile, Receipt, RedeemResult, Redemption, Sale};
use super::ops::{self, LedgerOp};
use super::payment::Paid;
use super::rejection::Rejection;
use super::signing_keys;
pub use super::transaction::REMEMBERED;
use crate::accounting::event::KeyState;
use crate::accounting::order::{Order, OrderError};
use crate::accounting::redemption::StampProblem;
use crate::directory::signing_key::SigningKey;
use crate::message::address::Address;
use crate::stamp::audience::Audience;
use crate::stamp::claims::Stamp;
use crate::stamp::token::{Purpose, Token};
use crate::time::UnixTime;
use serde_json::{Map, Value};

type Result<T, E = LedgerError> = std::result::Result<T, E>;

/// Most stamps in one request.
const HANDED: u32 = 1_000;

/// Stamps that were sold.
#[derive(Clone, Debug)]
pub struct IssuedStamps {
    /// The stamps, in the order of the orders.
    pub stamps: Vec<Token>,
    /// Their booking.
    pub sale: Sale,
}

/// Stamp to redeem. `address` is needed if the stamp hides its recipient and the account has proved to own only the
/// domain.
#[derive(Clone, Debug)]
pub struct RedeemRequest {
    /// The stamp, as a token.
    pub stamp: String,
    /// The recipient's address.
    pub address: Option<Address>,
}

/// Result of a redemption.
#[derive(Clone, Debug)]
pub struct RedeemOutcome {
    /// For each stamp its value, or the reason of its rejection.
    pub each: Vec<Result<u64, StampProblem>>,
    /// Booking of the accepted ones; `None` if there are none.
    pub booked: Option<Receipt>,
    /// Signed receipt (`digital-stamp-receipt`) for those.
    pub receipt: Option<Token>,
}

impl Ledger {
    /// Sells stamps to an account, all of them or none.
    ///
    /// With an idempotency key (1 to 128 printable characters) the same request returns the same stamps, byte for byte,
    /// and is charged once, for 30 days.
    ///
    /// # Errors
    /// [`Rejection::Order`], [`Rejection::Funds`], [`Rejection::Daily`], [`Rejection::AccountClosed`],
    /// [`Rejection::KeyReused`].
    pub fn issue(
        &self,
        account: AccountId,
        orders: &[Order],
        idempotency: Option<&str>,
        now: UnixTime,
    ) -> Result<IssuedStamps> {
        self.sell(Payer::Account(account), orders, idempotency, now)
    }

    /// Sells stamps to a buyer without an account, for a payment ([`Payment`](super::payment::Payment)).
    ///
    /// The payment of a provider is an idempotency key by itself.
    ///
    /// # Errors
    /// As [`issue`](Self::issue), and [`Rejection::NoVoucher`], [`Rejection::PaidOtherwise`].
    pub fn issue_for(
        &self,
        paid: Paid,
        orders: &[Order],
        idempotency: Option<&str>,
        now: UnixTime,
    ) -> Result<IssuedStamps> {
        self.sell(Payer::Guest(paid), orders, idempotency, now)
    }

    /// Returns the stamps of a sale of the last 30 days again, by its idempotency key and orders. Sells nothing.
    ///
    /// `None` if the account, or a buyer without one, has made no such purchase.
    ///
    /// # Errors
    /// When the ledger or the key that signed them cannot be read.
    pub fn sold(
        &self,
        account: Option<AccountId>,
        orders: &[Order],
        idempotency: &str,
        now: UnixTime,
    ) -> Result<Option<IssuedStamps>> {
        let op = ops::Sold { account, orders: orders.to_vec(), idempotency: idempotency.to_owned() };
        let Some(sale) = self.run(op, now)? else { return Ok(None) };
        let signer = self.signer(&sale.kid)?;
        Ok(Some(IssuedStamps { stamps: signing_keys::stamps(&signer, &sale, orders)?, sale }))
    }

    fn sell(&self, buyer: Payer, orders: &[Order], idempotency: Option<&str>, now: UnixTime) -> Result<IssuedStamps> {
        // Nothing is booked that could not be signed. An earlier sale may be signed by another key.
        let _ = self.active_signer()?;
        let idempotency = idempotency.map(str::to_owned);
        let sale = self.run(ops::Issue { buyer, orders: orders.to_vec(), idempotency }, now)?;
        let signer = self.signer(&sale.kid)?;
        Ok(IssuedStamps { stamps: signing_keys::stamps(&signer, &sale, orders)?, sale })
    }

    /// Takes used stamps back: each once, only from the account that owns the address, only those that this vendor
    /// sold.
    ///
    /// The valid ones are credited in one step even if others are invalid. At most 1,000 at once.
    ///
    /// # Errors
    /// [`Rejection::AccountClosed`] and others; single invalid stamps are not an error.
    pub fn deposit(&self, account: AccountId, stamps: &[RedeemRequest], now: UnixTime) -> Result<RedeemOutcome> {
        let owns = self.account(account, now)?.owns;
        self.redeem(account, stamps, &owns, "deposit", now, |stamps| ops::Deposit { account, stamps })
    }

    fn redeem<O: LedgerOp<Output = Redemption>>(
        &self,
        account: AccountId,
        stamps: &[RedeemRequest],
        owns: &[String],
        kind: &str,
        now: UnixTime,
        op: impl FnOnce(Vec<Presented>) -> O,
    ) -> Result<RedeemOutcome> {
        let asked = stamps.len() as u64;
        if asked > u64::from(HANDED) {
            return Err(Rejection::from(OrderError::TooMany { asked, cap: HANDED }).into());
        }
        let signer = self.active_signer()?.ok_or_else(no_key)?;
        let profile = self.profile()?;
        let looked: Vec<_> = stamps.iter().map(|handed| presented(handed, &profile, owns)).collect();
        let good = looked.iter().filter_map(|it| it.as_ref().ok().cloned()).collect();
        let Redemption { each, booked } = self.run(op(good), now)?;
        let mut answers = each.into_iter();
        let unanswered = RedeemResult::Refused(StampProblem::Malformed);
        let each = looked.into_iter().map(|it| it.and_then(|_| answers.next().unwrap_or(unanswered).into())).collect();
        let receipt = booked.as_ref().map(|booked| receipt(&signer, kind, account, booked));
        Ok(RedeemOutcome { each, booked, receipt })
    }

    /// Pays credits out at the price of the terms, once for each reference, and signs a receipt.
    ///
    /// # Errors
    /// [`Rejection::Funds`], [`Rejection::KeyReused`].
    pub fn pay_out(
        &self,
        account: AccountId,
        credits: u64,
        reference: &str,
        now: UnixTime,
    ) -> Result<(Receipt, Token)> {
        let signer = self.active_signer()?.ok_or_else(no_key)?;
        let booked = self.run(ops::PayOut { account, credits, reference: reference.to_owned() }, now)?;
        let receipt = receipt(&signer, "payout", account, &booked);
        Ok((booked, receipt))
    }
}

pub(super) fn no_key() -> LedgerError {
    let problem = "no key signs; rotate to a new one".to_owned();
    Rejection::SigningKey { kid: "(none)".into(), problem }.into()
}

fn receipt(signer: &SigningKey, kind: &str, account: AccountId, booked: &Receipt) -> Token {
    let mut object = Map::new();
    object.insert("receipt".into(), kind.into());
    object.insert("account".into(), account.into());
    object.insert("credits".into(), booked.credits.into());
    object.insert("sum".into(), booked.sum.map_or(Value::Null, |sum| sum.to_string().into()));
    object.insert("head".into(), booked.head.to_string().into());
    signing_keys::receipt(signer, booked.at, object)
}

/// Checks that a stamp to redeem is this vendor's and its signature is valid.
///
/// Its window does not matter: a recipient who got it in time may redeem it later.
fn presented(handed: &RedeemRequest, profile: &Profile, owns: &[String]) -> Result<Presented, StampProblem> {
    let token = Token::parse(handed.stamp.trim()).map_err(|_| StampProblem::Malformed)?;
    let issuer = token.issuer().map_err(|_| StampProblem::Malformed)?;
    let key = profile.keys.iter().find(|key| key.kid == issuer.key_id() && profile.vendor == issuer.vendor());
    let key = key.ok_or(StampProblem::OtherVendor)?;
    if !key.key.verify(&token, Purpose::Stamp) {
        return Err(StampProblem::Forged);
    }
    if matches!(key.state, KeyState::Revoked { .. }) {
        return Err(StampProblem::KeyRevoked);
    }
    let stamp = Stamp::read(token.payload()).map_err(|_| StampProblem::Malformed)?;
    let mut owners = Vec::new();
    let mut named = |address: &Address| owners.push((address.normalized(), address.domain().to_owned()));
    match &stamp.audience {
        Audience::Plain(address) => named(address),
        hashed @ Audience::Hashed { .. } => {
            let own = owns.iter().filter_map(|subject| Address::parse(subject).ok());
            own.chain(handed.address.clone()).filter(|address| hashed.names(address)).for_each(|it| named(&it));
        }
    }
    Ok(Presented { serial: stamp.serial, value: stamp.value, owners })
}
