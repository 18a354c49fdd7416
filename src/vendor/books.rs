//! The books as callers see them: one method for each thing that can be done. Every method is blocking and durable before
//! it answers, and any number of threads may call at once; what they write at the same time shares one commit.
//!
//! One process has the books at a time. Whoever finds them taken asks that process, over a socket in their folder
//! ([`Books::reach`]); so the commands work while the service runs. Time is handed in.

use super::core::Core;
use super::error::BooksError;
use super::ownership;
use super::payment::{self, Paid};
use super::place::{self, Place};
use super::refusal::{Refusal, StampProblem};
use super::request::{
    Account, Answer, ApiKey, Booked, Day, Payer, Presented, Profile, Request, Returned, Sale, SigningKey, StampRow,
    Standing, Summary,
};
use super::signing::{self, Signers};
use super::socket;
use crate::bank::chain::{Entry, Hash, Head};
use crate::bank::event::{KeyState, Terms};
use crate::bank::money::Money;
use crate::bank::order::{Caps, Order, OrderError};
use crate::keys::document::{KeyEntry, Status, VendorEntry};
use crate::keys::secret::Signer;
use crate::mail::address::Address;
use crate::mail::time::UnixTime;
use crate::stamp::audience::Audience;
use crate::stamp::claims::Stamp;
use crate::stamp::serial::Serial;
use crate::stamp::wire::{Issuer, Purpose, Token};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use zeroize::Zeroizing;

type Result<T, E = BooksError> = std::result::Result<T, E>;

/// An account's number.
pub type Number = u64;

/// Stamps that may be handed in at once.
const HANDED: u32 = 1_000;

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
    way: Way,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
enum Way {
    /// We have them.
    Here(Arc<Core>),
    /// Another process has, and listens.
    There,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    signers: Signers,
    vendor: OnceLock<String>,
}

/// The answer that was asked for; any other would be a fault of the program at the other end.
macro_rules! answer {
    ($books:expr, $request:expr, $now:expr, $pattern:pat => $value:expr) => {
        match $books.ask($request, $now)? {
            $pattern => Ok($value),
            other => Err(unexpected(&other)),
        }
    };
}

/// For questions in which time does not matter.
const ANY_TIME: UnixTime = UnixTime(0);

impl Books {
    /// Begins books in `folder`, which is made (0700) when it is missing, with a new signing key.
    ///
    /// # Errors
    /// [`BooksError::Exists`], a refusal for names that have not their form, or what the system says.
    pub fn create(folder: &Path, founding: &Founding, now: UnixTime) -> Result<Self> {
        let named =
            |error: &dyn std::fmt::Display| Refusal::Form { what: "vendor or key".into(), wanted: error.to_string() };
        Issuer::new(&founding.vendor, &founding.kid).map_err(|error| named(&error))?;
        let place = Place::made(folder)?;
        let books = Self::here(Core::create(&place, &founding.vendor, now)?, place);
        books.set_terms(founding.terms.clone(), now)?;
        books.rotate(&founding.kid, now)?;
        Ok(books)
    }

    /// Takes the books of `folder`, waiting at most `wait` while another process has them: for the service. Sixty-four
    /// MiB of memory hold their pages.
    ///
    /// # Errors
    /// [`BooksError::Absent`], [`BooksError::Busy`] and others.
    pub fn open(folder: &Path, wait: Duration) -> Result<Self> {
        let place = Place::existing(folder)?;
        let core = place.wait(wait, || Core::try_open(&place))?;
        Ok(Self::here(core, place))
    }

    /// Takes the books, or asks the process that has them: for commands.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reach(folder: &Path, wait: Duration) -> Result<Self> {
        let place = Place::existing(folder)?;
        let way = place.wait(wait, || match Core::try_open(&place)? {
            Some(core) => Ok(Some(Way::Here(Arc::new(core)))),
            None => Ok(socket::somebody(&place).then_some(Way::There)),
        })?;
        Ok(Self { way, shared: Arc::new(Shared::new(place)) })
    }

    fn here(core: Core, place: Place) -> Self {
        Self { way: Way::Here(Arc::new(core)), shared: Arc::new(Shared::new(place)) }
    }

    /// Answers other processes over the socket `books.socket` (0600) until the last clone of these books is dropped.
    /// Without it, commands wait and then say that the books are in use.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self) -> Result<()> {
        match &self.way {
            Way::Here(core) => Core::listen(core, &self.shared.place),
            Way::There => Err(BooksError::Busy { path: self.shared.place.folder().to_owned(), waited: Duration::ZERO }),
        }
    }

    /// Asks anything. The other methods are this one with the question and the answer taken apart.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn ask(&self, request: Request, now: UnixTime) -> Result<Answer> {
        match &self.way {
            Way::Here(core) => core.ask(request, now),
            Way::There => socket::ask(&self.shared.place, &request, now)?.ok_or(BooksError::Left),
        }
    }

    /// The vendor's name, terms and keys.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn profile(&self) -> Result<Profile> {
        answer!(self, Request::Profile, ANY_TIME, Answer::Profile(profile) => *profile)
    }

    /// The vendor's name.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn vendor(&self) -> Result<&str> {
        if let Some(vendor) = self.shared.vendor.get() {
            return Ok(vendor);
        }
        let vendor = self.profile()?.vendor;
        Ok(self.shared.vendor.get_or_init(|| vendor))
    }

    /// What the vendor publishes: his keys, revoked serials and price, in the form of a directory document; `buy` is left
    /// empty.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn published(&self) -> Result<VendorEntry> {
        let profile = self.profile()?;
        Ok(VendorEntry {
            vendor: profile.vendor,
            // The document has the same form in three members.
            prices: profile.terms.price.to_string().parse().into_iter().collect(),
            keys: profile.keys.into_iter().map(key_entry).collect(),
            revoked: self.revoked_serials()?.into_iter().map(String::from).collect(),
            ..VendorEntry::default()
        })
    }

    /// Every serial that was revoked or refunded.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn revoked_serials(&self) -> Result<Vec<Serial>> {
        answer!(self, Request::RevokedSerials, ANY_TIME, Answer::Serials { serials } => serials)
    }

    /// Sells on these terms from now on.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn set_terms(&self, terms: Terms, now: UnixTime) -> Result<()> {
        answer!(self, Request::SetTerms { terms }, now, Answer::Done => ())
    }

    /// Makes a new signing key, writes it beside the others, and signs with it from now on; the one before verifies only.
    ///
    /// # Errors
    /// [`Refusal::SigningKey`] when there was a key of this name.
    pub fn rotate(&self, kid: &str, now: UnixTime) -> Result<()> {
        if self.keys()?.iter().any(|key| key.kid == kid) {
            let problem = "a key of this name exists already; a new key needs a new name".to_owned();
            return Err(Refusal::SigningKey { kid: kid.to_owned(), problem }.into());
        }
        let key = signing::make(&self.shared.place, self.vendor()?, kid)?;
        let request = Request::SetKey { kid: kid.to_owned(), key, state: KeyState::Active };
        answer!(self, request, now, Answer::Done => ())
    }

    /// Revokes a signing key, or lets one verify only that is not the active one.
    ///
    /// # Errors
    /// [`Refusal::SigningKey`].
    pub fn set_key_state(&self, kid: &str, state: KeyState, now: UnixTime) -> Result<()> {
        let problem = "there is no key of this name".to_owned();
        let unknown = || Refusal::SigningKey { kid: kid.to_owned(), problem };
        let key = self.keys()?.into_iter().find(|key| key.kid == kid).ok_or_else(unknown)?;
        answer!(self, Request::SetKey { kid: key.kid, key: key.key, state }, now, Answer::Done => ())
    }

    fn keys(&self) -> Result<Vec<SigningKey>> {
        Ok(self.profile()?.keys)
    }

    /// Opens an account. `name` is 1 to 64 of `[a-z0-9._-]` and not digits alone, the contact up to 254 printable
    /// characters.
    ///
    /// # Errors
    /// [`Refusal::AccountExists`], [`Refusal::Form`].
    pub fn open_account(&self, name: &str, contact: &str, caps: Option<Caps>, now: UnixTime) -> Result<Account> {
        let request = Request::OpenAccount { name: name.to_owned(), contact: contact.to_owned(), caps };
        answer!(self, request, now, Answer::Account(account) => account)
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
        if let Some(contact) = contact {
            answer!(self, Request::SetContact { account, contact }, now, Answer::Done => ())?;
        }
        if let Some(caps) = caps {
            answer!(self, Request::SetCaps { account, caps }, now, Answer::Done => ())?;
        }
        Ok(())
    }

    /// Closes an account: it buys and deposits nothing more and its API keys open nothing; its credits can be paid out. With
    /// `revoke`, every stamp that it bought and that was not taken back is revoked; answers how many.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn close_account(&self, account: Number, revoke: bool, now: UnixTime) -> Result<u64> {
        answer!(self, Request::CloseAccount { account, revoke }, now, Answer::Count { count } => count)
    }

    /// An account and what it has.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn account(&self, account: Number, now: UnixTime) -> Result<Standing> {
        answer!(self, Request::Account { account }, now, Answer::Standing(standing) => *standing)
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`].
    pub fn account_named(&self, name: &str, now: UnixTime) -> Result<Standing> {
        answer!(self, Request::AccountNamed { name: name.to_owned() }, now, Answer::Standing(standing) => *standing)
    }

    /// Up to `most` accounts (10,000 at most) with numbers above `after`.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn accounts(&self, after: Number, most: u32, now: UnixTime) -> Result<Vec<Standing>> {
        answer!(self, Request::Accounts { after, most }, now, Answer::Accounts { accounts } => accounts)
    }

    /// Makes an API key and returns its text, which is shown this once: `msk_` and 43 characters of base64url (256 random
    /// bits). The books keep its SHA-256.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::AccountClosed`], [`Refusal::Form`] (a label of up to 64 printable characters).
    pub fn add_api_key(&self, account: Number, label: &str, now: UnixTime) -> Result<(Zeroizing<String>, ApiKey)> {
        let text = payment::new_api_key()?;
        let request = Request::AddApiKey { account, label: label.to_owned(), hash: Hash::of(text.as_bytes()) };
        answer!(self, request, now, Answer::ApiKey(key) => (text, key))
    }

    /// The API keys of an account, those that were revoked too.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn api_keys(&self, account: Number) -> Result<Vec<ApiKey>> {
        answer!(self, Request::ApiKeys { account }, ANY_TIME, Answer::ApiKeys { keys } => keys)
    }

    /// Ends an API key.
    ///
    /// # Errors
    /// [`Refusal::NoApiKey`].
    pub fn revoke_api_key(&self, account: Number, id: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::RevokeApiKey { account, id: id.to_owned() }, now, Answer::Done => ())
    }

    /// The open account that this API key opens. What is looked up is a SHA-256 of 256 random bits, so the time that it takes
    /// says nothing about other keys.
    ///
    /// # Errors
    /// [`Refusal::NoApiKey`] for any text that opens nothing, whatever the reason.
    pub fn opens(&self, key: &str, now: UnixTime) -> Result<Account> {
        answer!(self, Request::Opens { hash: Hash::of(key.as_bytes()) }, now, Answer::Account(account) => account)
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
        let request = Request::Credit { account, credits, cost, reference: reference.to_owned() };
        answer!(self, request, now, Answer::Booked(booked) => booked)
    }

    /// Makes a voucher and returns its code, which is shown this once (160 random bits in groups of base32).
    ///
    /// # Errors
    /// [`Refusal::Range`].
    pub fn make_voucher(&self, credits: u64, cost: Option<Money>, now: UnixTime) -> Result<Zeroizing<String>> {
        let (code, voucher) = payment::new_code()?;
        answer!(self, Request::MakeVoucher { voucher, credits, cost }, now, Answer::Head(_) => code)
    }

    /// What a voucher is still worth.
    ///
    /// # Errors
    /// [`Refusal::NoVoucher`].
    pub fn voucher(&self, voucher: Hash) -> Result<u64> {
        answer!(self, Request::Voucher { voucher }, ANY_TIME, Answer::Count { count } => count)
    }

    /// Puts what a voucher is still worth on an account.
    ///
    /// # Errors
    /// [`Refusal::NoVoucher`].
    pub fn take_voucher(&self, account: Number, code: &str, now: UnixTime) -> Result<Booked> {
        let voucher = payment::code_hash(code).ok_or(Refusal::NoVoucher)?;
        answer!(self, Request::TakeVoucher { account, voucher }, now, Answer::Booked(booked) => booked)
    }

    /// Sells one stamp or many to an account: all of them or none. With an idempotency key (1 to 128 printable
    /// characters) the same request gives the same stamps again, byte for byte, and is charged once, for 30 days.
    ///
    /// # Errors
    /// [`Refusal::Order`], [`Refusal::Funds`], [`Refusal::Daily`], [`Refusal::AccountClosed`], [`Refusal::KeyReused`].
    pub fn issue(&self, account: Number, orders: &[Order], idempotency: Option<&str>, now: UnixTime) -> Result<Sold> {
        self.sell(Payer::Account(account), orders, idempotency, now)
    }

    /// Sells stamps to somebody without an account, for a payment ([`Payment`](super::payment::Payment)). A payment
    /// elsewhere is an idempotency key by itself.
    ///
    /// # Errors
    /// As [`issue`](Self::issue), and [`Refusal::NoVoucher`], [`Refusal::PaidOtherwise`].
    pub fn issue_for(&self, paid: Paid, orders: &[Order], idempotency: Option<&str>, now: UnixTime) -> Result<Sold> {
        self.sell(Payer::Paid(paid), orders, idempotency, now)
    }

    fn sell(&self, buyer: Payer, orders: &[Order], idempotency: Option<&str>, now: UnixTime) -> Result<Sold> {
        let idempotency = idempotency.map(str::to_owned);
        let request = Request::Issue { buyer, orders: orders.to_vec(), idempotency };
        let sale = answer!(self, request, now, Answer::Sale(sale) => sale)?;
        let signer = self.signer(&sale.kid)?;
        Ok(Sold { stamps: signing::stamps(&signer, &sale, orders)?, sale })
    }

    /// Takes used stamps back: each once, only from the account that owns the address, only what this vendor sold. The
    /// good ones are credited in one step even if others are bad. At most 1,000 at once.
    ///
    /// # Errors
    /// [`Refusal::AccountClosed`] and others; single bad stamps are no error.
    pub fn deposit(&self, account: Number, stamps: &[Handed], now: UnixTime) -> Result<Taken> {
        let owns = self.account(account, now)?.owns;
        self.hand_in(account, stamps, &owns, "deposit", now, |stamps| Request::Deposit { account, stamps })
    }

    /// Takes unused stamps back from the account that bought them: credited and revoked in one step, so the next directory
    /// document condemns them. At most 1,000 at once.
    ///
    /// # Errors
    /// As [`deposit`](Self::deposit), and [`Refusal::NoRefunds`].
    pub fn refund(&self, account: Number, stamps: &[Handed], now: UnixTime) -> Result<Taken> {
        self.hand_in(account, stamps, &[], "refund", now, |stamps| Request::Refund { account, stamps })
    }

    fn hand_in(
        &self,
        account: Number,
        stamps: &[Handed],
        owns: &[String],
        kind: &str,
        now: UnixTime,
        request: impl FnOnce(Vec<Presented>) -> Request,
    ) -> Result<Taken> {
        let asked = stamps.len() as u64;
        if asked > u64::from(HANDED) {
            return Err(Refusal::from(OrderError::TooMany { asked, cap: HANDED }).into());
        }
        let profile = self.profile()?;
        let looked: Vec<_> = stamps.iter().map(|handed| presented(handed, &profile, owns)).collect();
        let good = looked.iter().filter_map(|it| it.as_ref().ok().cloned()).collect();
        let (each, booked) = answer!(self, request(good), now, Answer::Returned { each, booked } => (each, booked))?;
        let mut answers = each.into_iter();
        let unanswered = Returned::Refused(StampProblem::Malformed);
        let each = looked.into_iter().map(|it| it.and_then(|_| answers.next().unwrap_or(unanswered).into())).collect();
        let receipt = booked.as_ref().map(|booked| self.receipt(kind, account, booked)).transpose()?;
        Ok(Taken { each, booked, receipt })
    }

    /// Revokes stamps for good; answers how many were not revoked before. Serials that the books did not sell are revoked
    /// too.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn revoke(&self, serials: &[Serial], now: UnixTime) -> Result<u64> {
        answer!(self, Request::Revoke { serials: serials.to_vec() }, now, Answer::Count { count } => count)
    }

    /// Pays credits out at the price of the terms, and signs a receipt. Once for each reference.
    ///
    /// # Errors
    /// [`Refusal::Funds`], [`Refusal::KeyReused`].
    pub fn pay_out(&self, account: Number, credits: u64, reference: &str, now: UnixTime) -> Result<(Booked, Token)> {
        let request = Request::PayOut { account, credits, reference: reference.to_owned() };
        let booked = answer!(self, request, now, Answer::Booked(booked) => booked)?;
        let receipt = self.receipt("payout", account, &booked)?;
        Ok((booked, receipt))
    }

    /// Mails a code to an address, or for a domain to its postmaster, through `sendmail` (a program that takes the options of
    /// sendmail(8)). It holds for a day and for five tries; another is sent after ten minutes at the earliest.
    ///
    /// # Errors
    /// [`Refusal::CodeWaiting`], [`Refusal::Form`], [`BooksError::Mail`].
    pub fn send_code(&self, account: Number, subject: &str, sendmail: &Path, now: UnixTime) -> Result<()> {
        let (code, _) = payment::new_code()?;
        let code: Zeroizing<String> = Zeroizing::new(code.chars().take(ownership::CODE_LENGTH).collect());
        let letter = ownership::letter(self.vendor()?, subject, &code, now)?;
        let hash = ownership::code_hash(&code);
        answer!(self, Request::AskCode { account, subject: subject.to_owned(), hash }, now, Answer::Done => ())?;
        letter.send(sendmail)
    }

    /// Takes the code: from now on the account owns the address or domain, and nobody else does.
    ///
    /// # Errors
    /// [`Refusal::NoCode`], [`Refusal::WrongCode`].
    pub fn confirm_code(&self, account: Number, subject: &str, code: &str, now: UnixTime) -> Result<()> {
        let hash = ownership::code_hash(code);
        match self.ask(Request::TellCode { account, subject: subject.to_owned(), hash }, now)? {
            Answer::Done => Ok(()),
            Answer::Count { count } => {
                let left = u8::try_from(count).unwrap_or(u8::MAX);
                Err(Refusal::WrongCode { subject: subject.to_owned(), left }.into())
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Says as the operator that an account owns an address or a domain.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::Form`].
    pub fn own(&self, account: Number, subject: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::Own { account, subject: subject.to_owned() }, now, Answer::Done => ())
    }

    /// Ends that.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn disown(&self, account: Number, subject: &str, now: UnixTime) -> Result<()> {
        answer!(self, Request::Disown { account, subject: subject.to_owned() }, now, Answer::Done => ())
    }

    /// What the books know of a serial.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn stamp(&self, serial: &Serial) -> Result<Option<StampRow>> {
        answer!(self, Request::Stamp { serial: serial.clone() }, ANY_TIME, Answer::Stamp { stamp } => stamp)
    }

    /// The last entries of an account, newest first: up to `most` (10,000 at most), with numbers below `before`
    /// (`u64::MAX` to begin).
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn history(&self, account: Number, before: u64, most: u32) -> Result<Vec<Entry>> {
        answer!(self, Request::History { account, before, most }, ANY_TIME, Answer::Entries { entries } => entries)
    }

    /// What the account did, day by day, since the day `from` (days since 1970); days without any entry are left out.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn days(&self, account: Number, from: i64) -> Result<Vec<Day>> {
        answer!(self, Request::Days { account, from }, ANY_TIME, Answer::Days { days } => days)
    }

    /// Up to `most` entries (10,000 at most) with numbers above `after`.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn entries(&self, after: u64, most: u32) -> Result<Vec<Entry>> {
        answer!(self, Request::Entries { after, most }, ANY_TIME, Answer::Entries { entries } => entries)
    }

    /// Sizes, balances and the head of the chain; cheap, for metrics.
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn summary(&self) -> Result<Summary> {
        answer!(self, Request::Summary, ANY_TIME, Answer::Summary(summary) => summary)
    }

    /// Counts everything again from the entries, and compares; with `since`, also that the chain goes through that head.
    ///
    /// # Errors
    /// [`BooksError`] when they cannot be read; what is wrong with them stands in the report.
    pub fn audit(&self, since: Option<Head>) -> Result<super::audit::Report> {
        answer!(self, Request::Audit { since }, ANY_TIME, Answer::Audit(report) => report)
    }

    /// Writes a consistent copy to a new file (0600) while others work; answers its head. The process that has the books
    /// writes it, so a relative path is made absolute first. The signing keys are not in it.
    ///
    /// # Errors
    /// What the system says; an existing file is not written over.
    pub fn backup(&self, to: &Path) -> Result<Head> {
        let to = std::path::absolute(to).map_err(|source| place::failed("find", to, source))?;
        answer!(self, Request::Backup { to }, ANY_TIME, Answer::Head(head) => head)
    }

    /// Puts a backup into a folder without books. An entry says so from then on.
    ///
    /// # Errors
    /// [`BooksError::Exists`]; [`BooksError::Damaged`] when it does not pass an audit.
    pub fn restore(folder: &Path, from: &Path, now: UnixTime) -> Result<Self> {
        let place = Place::made(folder)?;
        Ok(Self::here(Core::restore(&place, from, now)?, place))
    }

    fn signer(&self, kid: &str) -> Result<Arc<Signer>> {
        self.shared.signers.get(&self.shared.place, self.vendor()?, kid)
    }

    /// A receipt by the key that signs now.
    fn receipt(&self, kind: &str, account: Number, booked: &Booked) -> Result<Token> {
        let active = self.keys()?.into_iter().find(|key| key.state == KeyState::Active);
        let problem = "no key signs; rotate to a new one".to_owned();
        let kid = active.ok_or(Refusal::SigningKey { kid: "(none)".into(), problem })?.kid;
        let mut object = Map::new();
        object.insert("receipt".into(), kind.into());
        object.insert("account".into(), account.into());
        object.insert("credits".into(), booked.credits.into());
        object.insert("sum".into(), booked.sum.map_or(Value::Null, |sum| sum.to_string().into()));
        object.insert("head".into(), booked.head.to_string().into());
        Ok(signing::receipt(&*self.signer(&kid)?, booked.at, object))
    }
}

impl Shared {
    fn new(place: Place) -> Self {
        Self { place, signers: Signers::default(), vendor: OnceLock::new() }
    }
}

fn unexpected(answer: &Answer) -> BooksError {
    BooksError::Remote(format!("an answer to another question: {answer:?}"))
}

/// A stamp that was handed in, if it is this vendor's and its signature holds. Its window does not matter: who received it
/// in time may hand it in later.
fn presented(handed: &Handed, profile: &Profile, owns: &[String]) -> Result<Presented, StampProblem> {
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
    let mut named = |address: &Address| owners.extend([address.canonical(), address.domain().to_owned()]);
    match &stamp.audience {
        Audience::Plain(address) => named(address),
        hashed @ Audience::Hashed { .. } => {
            let own = owns.iter().filter_map(|subject| Address::parse(subject).ok());
            own.chain(handed.address.clone()).filter(|address| hashed.names(address)).for_each(|it| named(&it));
        }
    }
    Ok(Presented { serial: stamp.serial, value: stamp.value, owners })
}

fn key_entry(key: SigningKey) -> KeyEntry {
    let (status, since) = match key.state {
        KeyState::Active => (Status::Active, None),
        KeyState::VerifyOnly => (Status::VerifyOnly, None),
        KeyState::Revoked { since } => (Status::Revoked, since.map(|since| since.to_string())),
    };
    KeyEntry { kid: key.kid, key: key.key.to_string(), status, since, not_before: None, not_after: None }
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
