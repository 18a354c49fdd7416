//! The books as callers see them: one method for each thing that can be done. Every method is blocking and durable before
//! it answers, and any number of threads may call at once; what they write at the same time shares one commit.
//!
//! One process has the books at a time. Whoever finds them taken asks that process, over a socket in their folder
//! ([`Books::reach`]); so the commands work while the service runs. Time is handed in.

use super::error::BooksError;
use super::payment::Paid;
use super::refusal::{Refusal, StampProblem};
use super::request::{
    Account, Answer, ApiKey, Booked, Day, Payer, Profile, Request, Sale, StampRow, Standing, Summary,
};
use crate::bank::chain::{Entry, Hash, Head};
use crate::bank::event::{KeyState, Terms};
use crate::bank::money::Money;
use crate::bank::order::{Caps, Order};
use crate::keys::document::VendorEntry;
use crate::mail::address::Address;
use crate::mail::time::UnixTime;
use crate::stamp::serial::Serial;
use crate::stamp::wire::Token;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Result<T, E = BooksError> = std::result::Result<T, E>;

/// Why an account is told what it is: every account is named by its number.
pub type Number = u64;

/// What books are begun with.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The vendor's name, a domain.
    pub vendor: String,
    /// The name of the first signing key.
    pub kid: String,
    /// The terms.
    pub terms: Terms,
}

/// Stamps that were sold.
#[derive(Clone, Debug)]
pub struct Sold {
    /// The stamps, in the order of the orders.
    pub stamps: Vec<Token>,
    /// How they were booked.
    pub sale: Sale,
}

/// A stamp that is handed in, with the address that it names where the stamp does not show it and only the domain is
/// known to be the depositor's.
#[derive(Clone, Debug)]
pub struct Handed {
    /// The stamp, as a token.
    pub stamp: String,
    /// The recipient's address.
    pub address: Option<Address>,
}

/// What became of stamps that were handed in.
#[derive(Clone, Debug)]
pub struct Taken {
    /// For each its value, or why it was not taken.
    pub each: Vec<Result<u64, StampProblem>>,
    /// How the good ones were booked; `None` if there was none.
    pub booked: Option<Booked>,
    /// A signed receipt (`digital-stamp-receipt`) for those.
    pub receipt: Option<Token>,
}

/// The books. Clones are the same books.
#[derive(Clone, Debug)]
pub struct Books {
    folder: PathBuf,
}

impl Books {
    /// Begins books in `folder`, which is made (0700) when it is missing, with a new signing key.
    ///
    /// # Errors
    /// [`BooksError::Exists`], a refusal for names that have not their form, or what the system says.
    pub fn create(folder: &Path, founding: &Founding, now: UnixTime) -> Result<Self> {
        let _ = (folder, founding, now);
        todo!()
    }

    /// Takes the books of `folder`, waiting at most `wait` while another process has them: for the service. Sixty-four
    /// MiB of memory hold their pages.
    ///
    /// # Errors
    /// [`BooksError::Absent`], [`BooksError::Busy`] and others.
    pub fn open(folder: &Path, wait: Duration) -> Result<Self> {
        let _ = wait;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Answers other processes over the socket `books.socket` (0600) until the last clone of these books is dropped.
    /// Without it, commands wait and then say that the books are in use.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self) -> Result<()> {
        todo!()
    }

    /// Takes the books, or asks the process that has them: for commands.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reach(folder: &Path, wait: Duration) -> Result<Self> {
        Self::open(folder, wait)
    }

    /// Asks anything. The other methods are this one with the question and the answer taken apart.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn ask(&self, request: Request, now: UnixTime) -> Result<Answer> {
        let _ = (&self.folder, request, now);
        todo!()
    }

    /// The vendor's name, terms and keys.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn profile(&self) -> Result<Profile> {
        todo!()
    }

    /// What the vendor publishes: his keys and revoked serials, in the form of a directory document; `buy` is left empty.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn published(&self) -> Result<VendorEntry> {
        todo!()
    }

    /// Every serial that was revoked or refunded.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn revoked_serials(&self) -> Result<Vec<Serial>> {
        todo!()
    }

    /// Sells on these terms from now on.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn set_terms(&self, terms: Terms, now: UnixTime) -> Result<()> {
        let _ = (terms, now);
        todo!()
    }

    /// Makes a new signing key, writes it beside the others, and signs with it from now on; the one before verifies only.
    ///
    /// # Errors
    /// [`BooksError::Key`] when there is a key of this name.
    pub fn rotate(&self, kid: &str, now: UnixTime) -> Result<()> {
        let _ = (kid, now);
        todo!()
    }

    /// Changes the state of a signing key that is not the active one, or revokes any.
    ///
    /// # Errors
    /// [`Refusal::SigningKey`].
    pub fn set_key_state(&self, kid: &str, state: KeyState, now: UnixTime) -> Result<()> {
        let _ = (kid, state, now);
        todo!()
    }

    /// Opens an account. `name` is 1 to 64 of `[a-z0-9._-]`, the contact up to 254 printable characters.
    ///
    /// # Errors
    /// [`Refusal::AccountExists`], [`Refusal::Form`].
    pub fn open_account(&self, name: &str, contact: &str, caps: Option<Caps>, now: UnixTime) -> Result<Account> {
        let _ = (name, contact, caps, now);
        todo!()
    }

    /// Changes what is given: the contact, the account's own caps (`Some(None)` takes them away).
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::Form`].
    pub fn change_account(
        &self,
        account: Number,
        contact: Option<String>,
        caps: Option<Option<Caps>>,
        now: UnixTime,
    ) -> Result<()> {
        let _ = (account, contact, caps, now);
        todo!()
    }

    /// Closes an account: it buys and deposits nothing more and its API keys open nothing; its credits can be paid out. With
    /// `revoke`, every stamp that it bought and that was not taken back is revoked; answers how many.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn close_account(&self, account: Number, revoke: bool, now: UnixTime) -> Result<u64> {
        let _ = (account, revoke, now);
        todo!()
    }

    /// An account and what it has.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn account(&self, account: Number, now: UnixTime) -> Result<Standing> {
        let _ = (account, now);
        todo!()
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn account_named(&self, name: &str, now: UnixTime) -> Result<Standing> {
        let _ = (name, now);
        todo!()
    }

    /// Up to `most` accounts with numbers above `after`.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn accounts(&self, after: Number, most: u32, now: UnixTime) -> Result<Vec<Standing>> {
        let _ = (after, most, now);
        todo!()
    }

    /// Makes an API key and returns its text, which is shown this once: `msk_` and 43 characters of base64url (256 random
    /// bits). The books keep its SHA-256.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::AccountClosed`], [`Refusal::Form`] (a label of up to 64 printable characters).
    pub fn add_api_key(
        &self,
        account: Number,
        label: &str,
        now: UnixTime,
    ) -> Result<(zeroize::Zeroizing<String>, ApiKey)> {
        let _ = (account, label, now);
        todo!()
    }

    /// The API keys of an account, those that were revoked too.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn api_keys(&self, account: Number) -> Result<Vec<ApiKey>> {
        let _ = account;
        todo!()
    }

    /// Ends an API key.
    ///
    /// # Errors
    /// [`Refusal::NoApiKey`].
    pub fn revoke_api_key(&self, account: Number, id: &str, now: UnixTime) -> Result<()> {
        let _ = (account, id, now);
        todo!()
    }

    /// The open account that this API key opens. What is looked up is a SHA-256 of 256 random bits, so the time that it takes
    /// says nothing about other keys.
    ///
    /// # Errors
    /// [`Refusal::NoApiKey`] for any text that opens nothing, whatever the reason.
    pub fn opens(&self, key: &str, now: UnixTime) -> Result<Account> {
        let _ = (key, now);
        todo!()
    }

    /// Adds bought credits to an account, at the price of the terms unless `cost` says otherwise. Once for each reference;
    /// the same purchase again answers what was booked (`again`).
    ///
    /// # Errors
    /// [`Refusal::KeyReused`] when the reference was used for something else.
    pub fn credit(
        &self,
        account: Number,
        credits: u64,
        cost: Option<Money>,
        reference: &str,
        now: UnixTime,
    ) -> Result<Booked> {
        let _ = (account, credits, cost, reference, now);
        todo!()
    }

    /// Makes a voucher and returns its code, which is shown this once (160 random bits in groups of base32).
    ///
    /// # Errors
    /// [`Refusal::Range`].
    pub fn make_voucher(&self, credits: u64, cost: Option<Money>, now: UnixTime) -> Result<zeroize::Zeroizing<String>> {
        let _ = (credits, cost, now);
        todo!()
    }

    /// What a voucher is still worth.
    ///
    /// # Errors
    /// [`Refusal::NoVoucher`].
    pub fn voucher(&self, voucher: Hash) -> Result<u64> {
        let _ = voucher;
        todo!()
    }

    /// Puts what a voucher is still worth on an account.
    ///
    /// # Errors
    /// [`Refusal::NoVoucher`].
    pub fn take_voucher(&self, account: Number, code: &str, now: UnixTime) -> Result<Booked> {
        let _ = (account, code, now);
        todo!()
    }

    /// Sells one stamp or many to an account: all of them or none. With an idempotency key (1 to 128 printable
    /// characters) the same request gives the same stamps again, byte for byte, and is charged once, for at least a week.
    ///
    /// # Errors
    /// [`Refusal::Order`], [`Refusal::Funds`], [`Refusal::Daily`], [`Refusal::AccountClosed`], [`Refusal::KeyReused`].
    pub fn issue(&self, account: Number, orders: &[Order], idempotency: Option<&str>, now: UnixTime) -> Result<Sold> {
        self.sell(Payer::Account(account), orders, idempotency, now)
    }

    /// Sells stamps to somebody without an account, for a payment ([`Payment`](super::payment::Payment)).
    ///
    /// # Errors
    /// As [`issue`](Self::issue), and [`Refusal::NoVoucher`], [`Refusal::PaidOtherwise`].
    pub fn issue_for(&self, paid: Paid, orders: &[Order], idempotency: Option<&str>, now: UnixTime) -> Result<Sold> {
        self.sell(Payer::Paid(paid), orders, idempotency, now)
    }

    fn sell(&self, buyer: Payer, orders: &[Order], idempotency: Option<&str>, now: UnixTime) -> Result<Sold> {
        let _ = (buyer, orders, idempotency, now);
        todo!()
    }

    /// Takes used stamps back: each once, only from the account that owns the address, only what this vendor sold. The
    /// good ones are credited in one step even if others are bad.
    ///
    /// # Errors
    /// [`Refusal::AccountClosed`] and others; single bad stamps are no error.
    pub fn deposit(&self, account: Number, stamps: &[Handed], now: UnixTime) -> Result<Taken> {
        let _ = (account, stamps, now);
        todo!()
    }

    /// Takes unused stamps back from the account that bought them: credited and revoked in one step, so the next directory
    /// document condemns them.
    ///
    /// # Errors
    /// As [`deposit`](Self::deposit), and [`Refusal::NoRefunds`].
    pub fn refund(&self, account: Number, stamps: &[Handed], now: UnixTime) -> Result<Taken> {
        let _ = (account, stamps, now);
        todo!()
    }

    /// Revokes stamps for good; answers how many were not revoked before. Serials that the books did not sell are revoked
    /// too.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn revoke(&self, serials: &[Serial], now: UnixTime) -> Result<u64> {
        let _ = (serials, now);
        todo!()
    }

    /// Pays credits out at the price of the terms, and signs a receipt. Once for each reference.
    ///
    /// # Errors
    /// [`Refusal::Funds`], [`Refusal::KeyReused`].
    pub fn pay_out(&self, account: Number, credits: u64, reference: &str, now: UnixTime) -> Result<(Booked, Token)> {
        let _ = (account, credits, reference, now);
        todo!()
    }

    /// Mails a code to an address, or for a domain to its postmaster, through `sendmail` (a program that takes the options of
    /// sendmail(8)). It holds for a day and for five tries; another is sent after ten minutes at the earliest.
    ///
    /// # Errors
    /// [`Refusal::CodeWaiting`], [`Refusal::Form`], [`BooksError::Mail`].
    pub fn send_code(&self, account: Number, subject: &str, sendmail: &Path, now: UnixTime) -> Result<()> {
        let _ = (account, subject, sendmail, now);
        todo!()
    }

    /// Takes the code: from now on the account owns the address or domain, and nobody else does.
    ///
    /// # Errors
    /// [`Refusal::NoCode`], [`Refusal::WrongCode`].
    pub fn confirm_code(&self, account: Number, subject: &str, code: &str, now: UnixTime) -> Result<()> {
        let _ = (account, subject, code, now);
        todo!()
    }

    /// Says as the operator that an account owns an address or a domain.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::Form`].
    pub fn own(&self, account: Number, subject: &str, now: UnixTime) -> Result<()> {
        let _ = (account, subject, now);
        todo!()
    }

    /// Ends that.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn disown(&self, account: Number, subject: &str, now: UnixTime) -> Result<()> {
        let _ = (account, subject, now);
        todo!()
    }

    /// What the books know of a serial.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn stamp(&self, serial: &Serial) -> Result<Option<StampRow>> {
        let _ = serial;
        todo!()
    }

    /// The last entries of an account, newest first: up to `most`, with numbers below `before` (`u64::MAX` to begin).
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn history(&self, account: Number, before: u64, most: u32) -> Result<Vec<Entry>> {
        let _ = (account, before, most);
        todo!()
    }

    /// What the account did, day by day, since the day `from` (days since 1970); days without any entry are left out.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn days(&self, account: Number, from: i64) -> Result<Vec<Day>> {
        let _ = (account, from);
        todo!()
    }

    /// Up to `most` entries with numbers above `after`.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn entries(&self, after: u64, most: u32) -> Result<Vec<Entry>> {
        let _ = (after, most);
        todo!()
    }

    /// Sizes, balances and the head of the chain; cheap, for metrics.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn summary(&self) -> Result<Summary> {
        todo!()
    }

    /// Counts everything again from the entries, and compares; with `since`, also that the chain goes through that head.
    ///
    /// # Errors
    /// [`BooksError`] when they cannot be read; what is wrong with them stands in the report.
    pub fn audit(&self, since: Option<Head>) -> Result<super::audit::Report> {
        let _ = since;
        todo!()
    }

    /// Writes a consistent copy to a new file (0600) while others work; answers its head.
    ///
    /// # Errors
    /// What the system says; an existing file is not written over.
    pub fn backup(&self, to: &Path) -> Result<Head> {
        let _ = to;
        todo!()
    }

    /// Puts a backup into a folder without books. An entry says so from then on.
    ///
    /// # Errors
    /// [`BooksError::Exists`], [`BooksError::Damaged`].
    pub fn restore(folder: &Path, from: &Path, now: UnixTime) -> Result<Self> {
        let _ = (folder, from, now);
        todo!()
    }
}

/// For callers that match on it.
impl BooksError {
    /// The refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}
