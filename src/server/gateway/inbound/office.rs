//! What the inbound gateway knows: prices, its keys, the meters of agencies, and the bank.

use super::super::GatewayError;
use super::super::clearing::{Due, GIVEN_UP};
use super::super::id_keys::{self, IdKeys};
use super::super::metrics::Metrics;
use crate::accounting::bank::books::{Incoming, IncomingState};
use crate::accounting::hash::Hash;
use crate::bank::error::BankError;
use crate::bank::handle::Bank;
use crate::bank::order::{IncomingToken, copy_name};
use crate::boundary::paid;
use crate::config::gateway::GatewayInbound;
use crate::context::Context;
use crate::directory::key_directory::Directory;
use crate::directory::pinned;
use crate::directory::signing_key::SigningKey;
use crate::emstamp::envelope_id;
use crate::emstamp::fate::Fate;
use crate::emstamp::id::{IdError, IdKey};
use crate::emstamp::inbound::{Arrival, Away, Known, NoReport, Office, Paid, Report};
use crate::emstamp::token::{MeterFact, Payee, Payment, PaymentError, Priced, Receiver, examine_payment};
use crate::emstamp::wire::{Offer, Pay};
use crate::message::address::{Address, LocalCase};
use crate::message::delivery_report::DeliveryReport;
use crate::message::fingerprint::Fingerprint;
use crate::message::parse::Message;
use crate::os::clock;
use crate::server::diagnostics::log_stderr;
use crate::stamp::serial::Serial;
use crate::stamp::token::Issuer;
use crate::store::prices::Prices;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the directories of agencies are used before their files are read again.
const DIRECTORY_LIFE: Duration = Duration::from_secs(2);
/// Divisor of a licence's limit: the share of it that is taken before the agency has cleared it.
const EXPOSURE_DIVISOR: u64 = 100;
/// Most threads that examine the tokens of one group.
const THREADS_MAX: usize = 4;
/// Fewest tokens for a thread: to start one takes as long as a token or two.
const THREAD_MIN: usize = 8;

/// Prices, keys and books.
pub(super) struct Books {
    bank: Arc<Bank>,
    /// The bank's account, if an agency knows it.
    payee: Option<Payee>,
    keys: Option<IdKeys>,
    /// Keys of the mail that leaves.
    envelope_keys: Option<Arc<IdKeys>>,
    price: u64,
    /// What mailboxes ask otherwise.
    prices: Option<Prices>,
    /// Seals results of paid messages.
    seal: Option<SigningKey>,
    local_case: LocalCase,
    id_life: i64,
    meter_exposure: Option<u64>,
    vendors: PathBuf,
    fetched: Option<PathBuf>,
    directory: Mutex<Option<(Instant, Arc<Directory>)>>,
    numbers: Arc<Metrics>,
    due: Due,
    on_their_way: OnTheirWay,
}

impl Books {
    pub(super) fn open(
        settings: &GatewayInbound,
        context: &Context,
        bank: &Arc<Bank>,
        envelope_keys: Option<&Arc<IdKeys>>,
        (numbers, due): (&Arc<Metrics>, Due),
    ) -> Result<Self, GatewayError> {
        let payee = match bank.payee() {
            Ok(payee) => payee,
            Err(BankError::Absent { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let seal = settings.seal.as_deref().map(SigningKey::read_seal).transpose();
        let seal = seal.map_err(|error| GatewayError::Inbound(format!("seal: {error}")))?;
        let folder = bank.path().with_file_name("");
        let keys = payee.as_ref().map(|_| IdKeys::open(&folder, &id_keys::OFFERS)).transpose()?;
        Ok(Self {
            bank: Arc::clone(bank),
            payee,
            keys,
            envelope_keys: envelope_keys.cloned(),
            price: settings.price,
            prices: settings.prices.clone().map(Prices::new),
            seal,
            local_case: context.config.local_case,
            id_life: settings.id_life,
            meter_exposure: settings.meter_exposure,
            vendors: context.places.vendors()?.to_owned(),
            fetched: context.places.directories.clone(),
            directory: Mutex::default(),
            numbers: Arc::clone(numbers),
            due,
            on_their_way: OnTheirWay::default(),
        })
    }

    /// Returns whether there is an account to pay into.
    pub(super) fn can_be_paid(&self) -> bool {
        self.payee.is_some()
    }

    /// Returns the directories of agencies, and whether their files were read just now.
    fn directory(&self, anew: bool) -> Result<(Arc<Directory>, bool), Away> {
        let mut cached = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, directory)) = &*cached
            && !anew
            && read.elapsed() < DIRECTORY_LIFE
        {
            return Ok((Arc::clone(directory), false));
        }
        let folder =
            pinned::read(&self.vendors, self.fetched.as_deref(), clock::now()).map_err(|error| away(&error))?;
        let directory = Arc::new(folder.directory);
        *cached = Some((Instant::now(), Arc::clone(&directory)));
        Ok((directory, true))
    }

    /// Returns what is known of a licence. What is not known is looked for in the files once more.
    fn meter(&self, license: &Issuer) -> Result<MeterFact, Away> {
        let (directory, is_new) = self.directory(false)?;
        match directory.meter(license) {
            known @ MeterFact::Known(_) => Ok(known),
            other if is_new => Ok(other),
            _ => Ok(self.directory(true)?.0.meter(license)),
        }
    }

    /// Returns the most credits of a licence with this limit that may be open, where one message costs `credits`.
    fn max_exposure(&self, limit: u64, credits: u64) -> u64 {
        self.meter_exposure.unwrap_or(limit / EXPOSURE_DIVISOR).max(credits)
    }

    /// Returns what is known of a token whose ID has this row, and what it pays.
    fn is_known(&self, pay: &Pay, row: &Incoming) -> Result<(Known, Option<Paid>), Away> {
        let (Ok(payment), Ok(license)) = (Payment::read(pay.token.payload()), pay.token.issuer()) else {
            return Ok((Known::Other, None));
        };
        if payment.id != pay.id || copy_name(&payment.mailbox.canonical(), &payment.message.0) != row.copy {
            return Ok((Known::Other, None));
        }
        // The agency would soon not clear it any more: the sender pays by a new ID.
        let is_open = matches!(row.state, IncomingState::Pending | IncomingState::Dropped);
        if is_open && clock::now().since(row.until) > GIVEN_UP {
            return Ok((Known::New, None));
        }
        // A token that was dropped is noted anew, so it must be the one that was examined.
        if row.state == IncomingState::Dropped && Hash::of(pay.token.as_str().as_bytes()) != row.token {
            return Ok((Known::Again, None));
        }
        let limit = if let MeterFact::Known(meter) = self.meter(&license)? { meter.limit } else { 0 };
        Ok((Known::Again, Some(self.paid(pay, payment, &license, limit))))
    }

    fn paid(&self, pay: &Pay, payment: Payment, license: &Issuer, limit: u64) -> Paid {
        Paid {
            mailbox: payment.mailbox,
            id: payment.id,
            credits: payment.credits,
            message: payment.message,
            expires: payment.expires,
            token: pay.token.clone(),
            license: license.clone(),
            max_exposure: self.max_exposure(limit, payment.credits),
        }
    }
}

/// Copies of messages that are being delivered.
type OnTheirWay = Arc<Mutex<BTreeSet<String>>>;

/// Holds copies for one delivery.
pub(super) struct Claim {
    copies: Vec<String>,
    all: OnTheirWay,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for copy in &self.copies {
            all.remove(copy);
        }
    }
}

impl Office for Books {
    type Claim = Claim;

    fn claim(&self, copies: &[(&Address, Fingerprint)]) -> Option<Claim> {
        let name =
            |(mailbox, message): &(&Address, Fingerprint)| copy_name(&mailbox.canonical(), &message.0).to_string();
        let copies: Vec<String> = copies.iter().map(name).collect();
        let mut all = self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.iter().any(|copy| all.contains(copy)) {
            return None;
        }
        all.extend(copies.iter().cloned());
        Some(Claim { copies, all: Arc::clone(&self.on_their_way) })
    }

    fn price(&self, mailbox: &Address) -> Result<u64, Away> {
        if !self.can_be_paid() {
            return Ok(0);
        }
        let Some(prices) = &self.prices else { return Ok(self.price) };
        let set = |mailbox: &Address| prices.of(mailbox).map_err(|error| away(&error));
        if let Some(price) = set(mailbox)? {
            return Ok(price);
        }
        // Otherwise every sender could write to a mailbox of another price by adding a tag.
        let untagged = mailbox.local().split_once('+').map(|(local, _)| format!("{local}@{}", mailbox.domain()));
        let untagged = untagged.and_then(|text| Address::parse(&text).ok());
        Ok(untagged.map_or(Ok(None), |it| set(&it))?.unwrap_or(self.price))
    }

    fn offer(&self, mailbox: &Address, price: u64) -> Result<Offer, Away> {
        let (keys, payee) = self.keys.as_ref().zip(self.payee.as_ref()).ok_or(Away)?;
        let now = clock::now();
        let (nonce, end) = (id_keys::nonce().map_err(|error| away(&error))?, now.plus(self.id_life));
        let issue =
            |keys: &[IdKey]| keys.first().ok_or(Away)?.issue(nonce, end, mailbox, price).map_err(|error| away(&error));
        let id = keys.with(now, issue).map_err(|error| away(&error))??;
        Ok(Offer { price, id, end, payee: payee.clone() })
    }

    fn examine(&self, pay: &Pay, recipients: &[Priced<'_>]) -> Result<Result<Paid, PaymentError>, Away> {
        let (keys, payee) = self.keys.as_ref().zip(self.payee.as_ref()).ok_or(Away)?;
        let license = match pay.token.issuer() {
            Ok(license) => license,
            Err(error) => return Ok(Err(error.into())),
        };
        let meter = self.meter(&license)?;
        let limit = if let MeterFact::Known(meter) = &meter { meter.limit } else { 0 };
        let now = clock::now();
        let examined = keys.with(now, |id_keys| {
            let receiver = Receiver { payee, id_keys, recipients, now };
            examine_payment((&pay.id, pay.credits, &pay.token), &receiver, |_| meter)
        });
        let examined = examined.map_err(|error| away(&error))?;
        if matches!(examined, Err(PaymentError::Unlisted | PaymentError::Directory)) {
            // The agency may have listed it since.
            self.due.clear_now();
        }
        Ok(examined.map(|(_, payment)| self.paid(pay, payment, &license, limit)))
    }

    fn examine_each(&self, pays: &[&Pay], recipients: &[Priced<'_>]) -> Vec<Result<Result<Paid, PaymentError>, Away>> {
        let each = |part: &[&Pay]| part.iter().map(|pay| self.examine(pay, recipients)).collect::<Vec<_>>();
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let (own, others) = pays.split_at(pays.len().min(pays.len().div_ceil(threads).max(THREAD_MIN)));
        thread::scope(|scope| {
            let others: Vec<_> = others.chunks(own.len().max(1)).map(|part| scope.spawn(move || each(part))).collect();
            let mut examined = each(own);
            for it in others {
                examined.extend(it.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            examined
        })
    }

    fn known(&self, pays: &[&Pay]) -> Result<Vec<(Known, Option<Paid>)>, Away> {
        let ids: Vec<&str> = pays.iter().map(|pay| pay.id.as_str()).collect();
        let rows = self.bank.incoming(&ids).map_err(|error| away(&error))?;
        pays.iter()
            .zip(rows)
            .map(|(pay, row)| row.map_or(Ok((Known::New, None)), |row| self.is_known(pay, &row)))
            .collect()
    }

    fn exposure(&self, license: &Issuer) -> Result<u64, Away> {
        self.bank.exposure(&peer(license)).map_err(|error| away(&error))
    }

    fn pending(&self, tokens: &[&Paid]) -> Result<Vec<Arrival>, Away> {
        let token = |paid: &&Paid| IncomingToken {
            id: paid.id.to_string(),
            copy: copy_name(&paid.mailbox.canonical(), &paid.message.0),
            peer: peer(&paid.license),
            credits: paid.credits,
            until: paid.expires,
            token: paid.token.as_str().to_owned(),
            max_exposure: paid.max_exposure,
        };
        let arrivals = self.bank.pending(tokens.iter().map(token).collect(), clock::now());
        arrivals.map_err(|error| away(&error))
    }

    fn received(&self, tokens: &[&Paid]) -> Result<(), Away> {
        self.bank.receive(ids(tokens), clock::now()).map_err(|error| away(&error))?;
        tokens.iter().for_each(|paid| self.numbers.inbound.paid(paid.credits));
        Ok(())
    }

    fn is_full(&self) {
        self.due.clear_now();
    }

    fn count(&self, fate: Fate, recipients: usize) {
        self.numbers.inbound.count(fate, recipients);
    }

    fn report(
        &self,
        mailbox: &Address,
        report: DeliveryReport,
        message: Fingerprint,
    ) -> Result<Result<Report, NoReport>, Away> {
        let keys = self.envelope_keys.as_ref().ok_or(Away)?;
        let id = report.envelope_id.and_then(|id| Serial::new(id).ok());
        let Some(id) = id else { return Ok(Err(NoReport::Foreign)) };
        let now = clock::now();
        let checked = keys.with(now, |keys| envelope_id::check(id.as_str(), keys, mailbox, now));
        Ok(match checked.map_err(|error| away(&error))? {
            Ok(end) => Ok(Report { id, end, outcomes: report.outcomes, message }),
            Err(IdError::Foreign) => Err(NoReport::Foreign),
            Err(IdError::Ended) => Err(NoReport::Ended),
        })
    }

    fn begin_report(&self, report: &Report) -> Result<Arrival, Away> {
        self.bank.begin_report(report.clone(), clock::now()).map_err(|error| away(&error))
    }

    fn end_report(&self, report: &Report, is_delivered: bool) {
        // Where this fails, the report stays noted as one that may come again.
        let _ = self.bank.end_report(report.clone(), is_delivered, clock::now()).map_err(|error| away(&error));
    }

    fn marks(&self, raw: &[u8], tokens: &[&Paid], is_only: bool) -> Vec<u8> {
        let Some(seal) = &self.seal else { return Vec::new() };
        let paid: Vec<paid::Paid<'_>> = tokens
            .iter()
            .map(|it| paid::Paid { recipient: &it.mailbox, license: &it.license, id: &it.id, credits: it.credits })
            .collect();
        let sealer = paid::Sealer { host: seal.issuer.vendor(), key: &seal.key };
        let message = Message::parse(raw);
        let fields = paid::fields(&message, &paid, is_only, self.local_case, sealer, clock::now());
        fields.replace("\r\n", "\n").into_bytes()
    }

    fn refused(&self, tokens: &[&Paid]) {
        // Where this fails, they stay pending until the next copy of the message.
        let _ = self.bank.drop_pending(ids(tokens), clock::now()).map_err(|error| away(&error));
    }
}

/// Returns the name of a licence in the bank.
fn peer(license: &Issuer) -> String {
    format!("{}@{}", license.key_id(), license.vendor())
}

fn ids(tokens: &[&Paid]) -> Vec<String> {
    tokens.iter().map(|paid| paid.id.to_string()).collect()
}

/// Logs why prices, keys or books cannot be used.
fn away(error: &dyn Display) -> Away {
    log_stderr(&format!("gateway: {error}"));
    Away
}
