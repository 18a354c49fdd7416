//! Operations of the ledger, as values: a caller runs one with `Ledger::run`, and other processes send theirs over the
//! socket. They contain no secrets, only the hashes of API keys, vouchers and codes.
//!
//! A row of the table is an operation: its fields, its output, and how the process runs it that has the ledger.
//!
//! - `read`: on a snapshot, concurrently with all others (`queries.rs`).
//! - `write`: in a transaction that it shares with other writes (`transaction/`).
//! - `with`: on the opened ledger, for what is prepared before a write, or needs files.

use super::audit::Report;
use super::backend::{LocalLedger, digest_of};
use super::error::LedgerError;
use super::model::{
    self, ApiKey, BookedEdition, Day, License as LicenseRow, LicenseStanding, MeterContact, OpenClaim, Payer,
    Presented, Receipt, Redemption, Sale, StampRecord, Standing, TokenClaim,
};
use super::public_log::{LeafPage, LogBatch, LogState};
use super::transaction::Extension;
use crate::accounting::event::{KeyState, Terms};
use crate::accounting::hash::Hash;
use crate::accounting::hash_chain::{Entry, Head};
use crate::accounting::meter::ClearingProblem;
use crate::accounting::money::Money;
use crate::accounting::order::{Order, OwnCaps};
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use crate::vendor_api::meters::MeterReceipt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Operation of the ledger.
pub trait LedgerOp: Into<Request> {
    type Output: Serialize + DeserializeOwned;

    /// Runs it in the process that has the ledger.
    fn run(self, ledger: &LocalLedger, now: UnixTime) -> Result<Self::Output, LedgerError>;
}

/// Defines each operation as a struct, and [`Request`] as any of them.
macro_rules! operations {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($field:ident: $type:ty),* } -> $output:ty = $kind:ident |$($argument:pat_param),+| $run:expr;
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Serialize, Deserialize)]
            pub struct $name { $(pub $field: $type),* }

            impl LedgerOp for $name {
                type Output = $output;

                fn run(self, ledger: &LocalLedger, now: UnixTime) -> Result<$output, LedgerError> {
                    let Self { $($field),* } = self;
                    ledger.$kind(now, move |$($argument),+| $run)
                }
            }

            impl From<$name> for Request {
                fn from(op: $name) -> Self {
                    Self::$name(op)
                }
            }
        )*

        /// Any operation, with its name in JSON.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(tag = "request", rename_all = "kebab-case")]
        pub enum Request { $($name($name)),* }

        impl Request {
            /// Runs the operation, and returns its output as JSON.
            pub(super) fn run(self, ledger: &LocalLedger, now: UnixTime) -> Result<serde_json::Value, LedgerError> {
                let output = match self { $(Self::$name(op) => serde_json::to_value(op.run(ledger, now)?)),* };
                output.map_err(|error| LedgerError::Remote(error.to_string()))
            }
        }
    };
}

operations! {
    SetTerms { terms: Terms } -> () = write |tx| tx.set_terms(terms);
    /// Sells stamps for this address only, from now on. Rejected with `Form` when it is none.
    SetRecipient { recipient: String } -> () = write |tx| tx.set_recipient(&recipient);
    /// Adds a signing key, or changes the state of one. Rejected with `SigningKey`.
    SetKey { kid: String, key: PublicKey, state: KeyState } -> () = write |tx| tx.set_key(kid, key, state);
    /// Opens an account. Rejected with `AccountExists` or `Form`.
    ///
    /// `name` is 1 to 64 of `[a-z0-9._-]` and not digits alone, the contact up to 254 printable characters.
    OpenAccount { name: String, contact: String, caps: Option<OwnCaps> } -> model::Account =
        write |tx| tx.open_account(name, contact, caps);
    /// Replaces the contact of an account. Nothing keeps the earlier one.
    SetContact { account: u64, contact: String } -> () = write |tx| tx.set_contact(account, contact);
    /// Changes the account's own caps; `None` removes them.
    SetCaps { account: u64, caps: Option<OwnCaps> } -> () = write |tx| tx.set_caps(account, caps);
    /// Closes an account: it no longer buys or deposits, its API keys are invalid, and its credits can be paid out.
    ///
    /// With `revoke`, every stamp that it bought and that was not taken back is revoked. Returns how many.
    CloseAccount { account: u64, revoke: bool } -> u64 = write |tx| tx.close_account(account, revoke);
    AddApiKey { account: u64, label: String, hash: Hash } -> ApiKey = write |tx| tx.add_api_key(account, label, hash);
    /// Revokes an API key. Rejected with `NoApiKey`.
    ///
    /// The last active key of an open account stays, with `LastApiKey`, unless `even_last` says otherwise.
    RevokeApiKey { account: u64, id: String, even_last: bool } -> () = write |tx| {
        tx.revoke_api_key(account, &id, even_last)
    };
    AskCode { account: u64, subject: String, hash: Hash } -> () = write |tx| tx.ask_code(account, &subject, hash);
    TakeBackCode { account: u64, subject: String, hash: Hash } -> () =
        write |tx| tx.take_back_code(account, &subject, hash);
    /// Checks a code. Returns the number of remaining attempts, or `None` when the code is right.
    TellCode { account: u64, subject: String, hash: Hash } -> Option<u8> =
        write |tx| tx.tell_code(account, &subject, hash);
    /// Counts a code for a stamp without value, which is then mailed to this address. Rejected with `NoWork`, `Form`,
    /// `SoldOut`, and with `CodeGiven` for an address or a domain that had its share.
    ReserveCode { to: String } -> () = write |tx| tx.reserve_code(&to);
    /// Takes the count of a code back that could not be mailed. `at` is the time at which it was reserved.
    ReleaseCode { to: String, at: UnixTime } -> () = write |tx| tx.release_code(&to, at);
    /// Forgets the codes of a day ago and the counts of them, and closes licences. Every write does, so this is for a
    /// service without writes.
    Forget {} -> () = with |ledger, now| {
        let limit = ledger.limit(now);
        match ledger.read(now, |tx| tx.is_due(limit))? {
            true => ledger.write(now, |_| Ok(())),
            false => Ok(()),
        }
    };
    /// Makes an account the owner of an address or a domain, by decision of the operator.
    Own { account: u64, subject: String } -> () = write |tx| tx.own(account, &subject);
    /// Removes the ownership of an address or a domain.
    Disown { account: u64, subject: String } -> () = write |tx| tx.disown(account, &subject);
    /// Adds bought credits to an account, at the price of the terms unless `cost` is given.
    ///
    /// Books each reference once; the same purchase again returns the earlier booking (`again`). Rejected with
    /// `KeyReused` when the reference was used for something else.
    Credit { account: u64, credits: u64, cost: Option<Money>, reference: String } -> Receipt = with |ledger, now| {
        let digest = digest_of(&Request::from(Credit { account, credits, cost, reference: reference.clone() }));
        ledger.write(now, move |tx| tx.credit(account, credits, cost, reference, digest))
    };
    MakeVoucher { voucher: Hash, credits: u64, cost: Option<Money> } -> () =
        write |tx| tx.make_voucher(voucher, credits, cost);
    TakeVoucher { account: u64, voucher: Hash } -> Receipt = write |tx| tx.take_voucher(account, voucher);
    /// Books a sale of stamps, and signs nothing.
    Issue { buyer: Payer, orders: Vec<Order>, idempotency: Option<String> } -> Sale =
        with |ledger, now| ledger.issue(buyer, orders, idempotency, now);
    Deposit { account: u64, stamps: Vec<Presented> } -> Redemption = write |tx| tx.deposit(account, &stamps);
    /// Revokes stamps for good, also those that the ledger did not sell. Returns how many were not revoked before.
    ///
    /// For a customer, rejected with `RevokedFull` when the directory has no space for more.
    Revoke { serials: Vec<Serial>, customer: bool } -> u64 = with |ledger, now| {
        let ended = customer.then(|| ledger.ended(now)).transpose()?;
        ledger.write(now, move |tx| tx.revoke(&serials, ended))
    };
    /// Returns a version for the next publication of the directory.
    ///
    /// It is above all earlier ones, and at least the current time in seconds.
    NextVersion {} -> u64 = write |tx| tx.next_version();
    /// Books an edition of the directory before it is published; `last` is the version of the one booked before.
    /// Rejected with `EditionMoved` when another publication was quicker.
    BookEdition { last: Option<u64>, edition: BookedEdition } -> () = write |tx| tx.book_edition(last, &edition);
    /// Licenses a meter that signed the request, and locks the limit.
    ///
    /// Rejected with `MetersOff`, `LicenseLimit`, `ManyLicenses`, `Funds`, `KeyReused`, with `Form` for a key that was
    /// licensed before, and with `BankBehind` unless `accept_restored` says otherwise.
    License { contact: MeterContact, key: PublicKey, limit: u64, days: u32, accept_restored: bool } -> MeterReceipt =
        write |tx| tx.license(&contact, key, limit, days, accept_restored);
    /// Revokes a licence, which leaves the directory. `account` limits it to its own. Rejected with `NoLicense`.
    EndLicense { kid: String, account: Option<u64> } -> () = write |tx| tx.end_license(&kid, account);
    /// Clears tokens to an account. A token that is not cleared is not a rejection. Rejected with `MeterRequest`,
    /// `BankBehind`, `KeyReused`.
    Clear { contact: MeterContact, tokens: Vec<Result<TokenClaim, ClearingProblem>> } -> MeterReceipt =
        write |tx| tx.clear(&contact, &tokens);
    /// Records the head of a bank. Rejected with `MeterRequest`, `KeyReused`, and with `BankBehind` unless
    /// `accept_restored` says otherwise.
    Checkpoint { contact: MeterContact, open: Vec<OpenClaim>, accept_restored: bool } -> MeterReceipt =
        write |tx| tx.checkpoint(&contact, &open, accept_restored);
    PayOut { account: u64, credits: u64, reference: String } -> Receipt = with |ledger, now| {
        let digest = digest_of(&Request::from(PayOut { account, credits, reference: reference.clone() }));
        ledger.write(now, move |tx| tx.pay_out(account, credits, reference, digest))
    };

    /// Books a batch of the public log, which follows the state of the entry `last`. Rejected with `LogMoved` when
    /// another publication was quicker.
    LogAppend { last: u64, through: u64, day: u32, size: u64, root: Hash } -> LogState =
        write |tx| tx.log_append(Extension { last, through, day, size, root });
    /// Remembers stamps and payments that the published log says are spent, each with the kind of its leaf.
    LogRemember { spent: Vec<(Hash, u8)> } -> () = write |tx| tx.log_remember(&spent);
    /// Books that the public log was taken over from its files. Rejected as `LogAppend`.
    LogResume { last: u64, through: u64, day: u32, size: u64, root: Hash } -> LogState =
        write |tx| tx.log_resume(Extension { last, through, day, size, root });

    LastEdition {} -> Option<BookedEdition> = read |tx| tx.last_edition();
    Profile {} -> model::Profile = read |tx| tx.profile();
    Account { account: u64 } -> Standing = read |tx| tx.standing_of(account);
    AccountNamed { name: String } -> Standing = read |tx| tx.standing_of_name(&name);
    /// Returns up to `most` accounts (10,000 at most) with numbers above `after`.
    Accounts { after: u64, most: u32 } -> Vec<Standing> = read |tx| tx.accounts(after, most);
    /// Returns the API keys of an account, also the revoked ones.
    ApiKeys { account: u64 } -> Vec<ApiKey> = read |tx| tx.api_keys(account);
    /// Returns the open account of the API key with this SHA-256. Rejected with `NoApiKey`, whatever the reason.
    ///
    /// The key has 256 random bits, so the time of the lookup tells nothing about other keys.
    Opens { hash: Hash } -> model::Account = read |tx| tx.opens(&hash.0);
    /// Returns from when stamps without value are given again. Rejected with `NoWork`.
    WhenGiven {} -> model::SoldOut = read |tx| tx.sold_out();
    /// Returns the remaining value of a voucher. Rejected with `NoVoucher`.
    Voucher { voucher: Hash } -> u64 = read |tx| tx.voucher(&voucher);
    /// Returns a sale of the last 30 days, by its idempotency key. `None` if there is none with these orders.
    Sold { account: Option<u64>, orders: Vec<Order>, idempotency: String } -> Option<Sale> =
        read |tx| tx.sold(account, &idempotency, digest_of(&(account, &orders)));
    /// Returns whether stamps were sold for the payment of this name.
    IsPaid { reference: String } -> bool = read |tx| tx.is_paid(&reference);
    Stamp { serial: Serial } -> Option<StampRecord> = read |tx| tx.stamp(&serial);
    /// Returns the licence of this key. Rejected with `NoLicense`.
    LicenseNamed { kid: String } -> LicenseStanding = read |tx| tx.license_named(&kid);
    /// Returns the licences of an account that are not closed.
    LicensesOf { account: u64 } -> Vec<LicenseStanding> = read |tx| tx.licenses_of(account);
    /// Returns up to `most` licences (10,000 at most), closed ones too, with numbers above `after`.
    Licenses { after: u64, most: u32 } -> Vec<LicenseStanding> = read |tx| tx.licenses(after, most);
    /// Returns the licences whose meters may sign, for the directory.
    LiveLicenses {} -> Vec<LicenseRow> = read |tx| tx.live_licenses();
    /// Returns every serial that was revoked.
    RevokedSerials {} -> Vec<Serial> = read |tx| tx.revoked();
    /// Returns the revoked serials that need not be published any more, since their stamps have expired.
    EndedSerials {} -> Vec<Serial> = with |ledger, now| ledger.read(ledger.limit(now), |tx| tx.ended());
    /// Returns the last entries of an account, newest first.
    ///
    /// Returns up to `most` (10,000 at most) with numbers below `before` (`u64::MAX` to begin).
    History { account: u64, before: u64, most: u32 } -> Vec<Entry> = read |tx| tx.history(account, before, most);
    /// Returns what the account did, day by day, since the day `from` (days since 1970). Days without any entry are
    /// left out.
    Days { account: u64, from: i64 } -> Vec<Day> = read |tx| tx.days(account, from);
    /// Returns up to `most` entries (10,000 at most) with numbers above `after`.
    Entries { after: u64, most: u32 } -> Vec<Entry> = read |tx| tx.entries(after, most);
    /// Returns how far the public log is.
    LogPosition {} -> LogState = read |tx| tx.log_state();
    /// Returns the batches that made the public log larger than `size`.
    LogBatches { size: u64 } -> Vec<LogBatch> = read |tx| tx.log_batches(size);
    /// Returns up to 20,000 leaves, from this leaf of this entry on. They are of the entries up to `through`, or up to
    /// the first one of today. No day is outside of `days`.
    LogLeaves { from: (u64, u64), through: Option<u64>, days: (u32, u32) } -> LeafPage =
        read |tx| tx.log_leaves(from, through, days);
    /// Returns sizes, balances and the head of the chain; cheap, for metrics.
    Summary {} -> model::Summary = with |ledger, now| ledger.read(now, |tx| tx.summary(ledger.size()));
    /// Recomputes everything from the entries, and compares. With `since`, also checks that the chain contains that
    /// head. The report lists what is wrong with the ledger.
    Audit { since: Option<Head> } -> Report = read |tx| tx.audit(since);
    /// Writes a consistent copy to a new file (0600) while others write, and returns its head.
    Backup { to: PathBuf } -> Head = with |ledger, _| ledger.backup(&to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_an_operation_with_its_name() {
        let credit = Credit { account: 1, credits: 2, cost: None, reference: "a".into() };
        // The ledger keeps the hash of this text for ever.
        let text = r#"{"request":"credit","account":1,"credits":2,"cost":null,"reference":"a"}"#;
        assert_eq!(serde_json::to_string(&Request::from(credit)).unwrap(), text);
        let pay_out = PayOut { account: 1, credits: 2, reference: "a".into() };
        let text = r#"{"request":"pay-out","account":1,"credits":2,"reference":"a"}"#;
        assert_eq!(serde_json::to_string(&Request::from(pay_out)).unwrap(), text);
        let read: Request = serde_json::from_str(r#"{"request":"next-version"}"#).unwrap();
        assert!(matches!(read, Request::NextVersion(_)));
        assert!(serde_json::from_str::<Request>(r#"{"request":"other"}"#).is_err());
    }
}
