//! What goes on each copy of a message: stamps, and the fields of the exchange with correspondents.

use super::copies::{FOR_RETURN, SourceMessage};
use super::outbox::{Entry, RecipientOutcome};
use super::parse::Submission;
use super::stamp_choice::{StampChoice, choose, returnable};
use super::{DATA, Delivery, SubmissionAgent, SubmissionError, Summary, TEMPFAIL, identity};
use crate::config::sendmail::OnVendorUnavailable;
use crate::context::error::Deferral;
use crate::grant::{Grant, GrantKind, StampStatus};
use crate::message::delivery_report::is_report;
use crate::message::header::readable;
use crate::sender::error::SupplyError;
use crate::sender::peers::{CopyFields, Correspondent, Exchange, ExchangeError, OpenLog};
use crate::sender::stamp_request::{ReservationKey, StampRequest};
use crate::stamp::claims::Stamp;
use crate::stamp::extract::Found;
use crate::stamp::token::Token;
use crate::store::{ReturnableStore, Store};
use std::sync::Arc;

/// The copy of a recipient.
pub(super) enum Stamped<'a> {
    Copy(Put<'a>),
    Deferred(String),
    Refused(u8, String),
}

/// What goes on a copy.
#[derive(Default)]
pub(super) struct Put<'a> {
    /// The sender's own stamp, which stays.
    pub(super) keep: Option<&'a Found>,
    /// A stamp that was bought or comes back, with its parameter.
    pub(super) stamp: Option<String>,
    /// The exchange with the recipient.
    pub(super) fields: Option<Box<CopyFields>>,
    /// Why a stamp that was wanted is missing.
    pub(super) without: Option<String>,
}

/// The used log, opened when it is first needed. It is open only while rows are written: not while a vendor is asked or
/// copies are sent, since other processes may wait for it.
struct LazyLog<'a> {
    open: OpenLog<'a>,
    log: Option<Arc<dyn Store>>,
}

impl LazyLog<'_> {
    fn get(&mut self) -> Result<&dyn Store, Deferral> {
        let log = match self.log.take() {
            Some(log) => log,
            None => (self.open)()?,
        };
        Ok(&**self.log.insert(log))
    }
}

impl SubmissionAgent<'_> {
    /// Begins the exchange with the recipients, if the message takes part.
    pub(super) fn exchange(
        &self,
        submission: &Submission,
        original: &SourceMessage<'_>,
    ) -> Result<Option<Exchange<'_>>, ExchangeError> {
        let message = original.message();
        if is_report(&message) {
            return Ok(None);
        }
        Exchange::begin(self.context, &message, submission.sender.as_deref(), identity(submission))
    }

    /// Returns what is known of the recipients who have no copy yet. The user's own addresses are no correspondents.
    fn correspondents(
        &self,
        entry: &Entry,
        exchange: Option<&Exchange<'_>>,
    ) -> Result<Vec<Option<Correspondent>>, SubmissionError> {
        let mut known = vec![None; entry.ends.len()];
        let Some(exchange) = exchange else { return Ok(known) };
        // Closed before a vendor is asked.
        let log = (self.used_log)()?;
        for ((known, recipient), end) in known.iter_mut().zip(&entry.submission.recipients).zip(&entry.ends) {
            let address = recipient.address().filter(|address| end.is_none() && !self.context.is_mine(address));
            *known = address.map(|address| exchange.look(&*log, address)).transpose()?;
        }
        Ok(known)
    }

    /// Returns what goes on each copy that is still to be sent, and whether any stamp was requested from the wallet.
    ///
    /// With `refuses`, a copy is refused if waiting alone does not make its stamp available.
    pub(super) fn stamps<'a>(
        &self,
        entry: &Entry,
        original: &'a SourceMessage<'_>,
        exchange: Option<&Exchange<'_>>,
        refuses: bool,
    ) -> Result<(Vec<Option<Stamped<'a>>>, bool), SubmissionError> {
        let submission = &entry.submission;
        let state = self.context.places.state().map_err(Deferral::from)?;
        let returns = returnable(&original.message(), &ReturnableStore::new(state));
        let identity = identity(submission);
        let known = self.correspondents(entry, exchange)?;
        let mut wants: Vec<(usize, StampRequest)> = Vec::new();
        let mut stamped: Vec<Option<Stamped<'a>>> = Vec::new();
        let for_return = if self.for_return(submission) { FOR_RETURN } else { "" };
        let is_report = is_report(&original.message());
        for (at, (recipient, end)) in submission.recipients.iter().zip(&entry.ends).enumerate() {
            if end.is_some() {
                stamped.push(None);
                continue;
            }
            // It goes to a sender, who asked for it, and must not depend on credits.
            if is_report {
                stamped.push(Some(Stamped::Copy(Put::default())));
                continue;
            }
            let is_given = known.get(at).and_then(Option::as_ref).is_some_and(Correspondent::is_stamped);
            stamped.push(match choose(original, recipient, &self.context.config, &returns, is_given) {
                StampChoice::None | StampChoice::Given => Some(Stamped::Copy(Put::default())),
                StampChoice::Own(found) => Some(Stamped::Copy(Put { keep: Some(found), ..Put::default() })),
                StampChoice::Return(stamp) => {
                    Some(Stamped::Copy(Put { stamp: Some(format!("{stamp}{for_return}")), ..Put::default() }))
                }
                StampChoice::Supply(address) => {
                    wants.push((at, StampRequest::new(ReservationKey::of(&identity, &address), address)));
                    None
                }
            });
        }
        let asked: Vec<StampRequest> = wants.iter().map(|(_, want)| want.clone()).collect();
        let answers = if asked.is_empty() { Vec::new() } else { self.supply.acquire(&asked, self.context.now) };
        for ((at, _), answer) in wants.iter().zip(answers) {
            let put = match answer {
                Ok(held) => {
                    let stamp = Some(format!("{}{for_return}", held.token.as_str()));
                    Stamped::Copy(Put { stamp, ..Put::default() })
                }
                Err(error) => match self.context.config.sendmail.when_away {
                    OnVendorUnavailable::Plain => Stamped::Copy(Put { without: Some(told(&error)), ..Put::default() }),
                    OnVendorUnavailable::Defer if refuses && !error.passes() => {
                        Stamped::Refused(status(&error), told(&error))
                    }
                    OnVendorUnavailable::Defer => Stamped::Deferred(told(&error)),
                },
            };
            if let Some(slot) = stamped.get_mut(*at) {
                *slot = Some(put);
            }
        }
        if stamped.iter().any(|stamped| matches!(stamped, Some(Stamped::Refused(..)))) {
            return Ok((stamped, !asked.is_empty()));
        }
        for (stamped, known) in stamped.iter_mut().zip(&known) {
            if let (Some(exchange), Some(Stamped::Copy(put)), Some(known)) = (exchange, stamped, known) {
                let is_bought = put.stamp.is_some() || put.keep.is_some();
                put.fields = Some(exchange.prepare(self.used_log, known, is_bought)?.into());
            }
        }
        Ok((stamped, !asked.is_empty()))
    }

    /// Records what the recipients were told whose copies were accepted, and whose stamps were not.
    pub(super) fn told(
        &self,
        exchange: &Exchange<'_>,
        before: &[Option<RecipientOutcome>],
        stamped: &[Option<Stamped<'_>>],
        report: &Summary,
    ) -> Result<(), SubmissionError> {
        let mut log = LazyLog { open: self.used_log, log: None };
        for (((recipient, fate), before), stamped) in report.each.iter().zip(before).zip(stamped) {
            let (None, Some(Stamped::Copy(Put { fields: Some(fields), .. }))) = (before, stamped) else { continue };
            let is_sent = matches!(fate, Delivery::Sent { .. });
            let is_refused = matches!(fate, Delivery::Refused(..)) && fields.has_gift();
            if let Some(address) = recipient.address()
                && (is_sent && fields.is_told() || is_refused)
            {
                match is_sent {
                    true => exchange.told(log.get()?, address, fields, report.each.len() == 1)?,
                    false => exchange.refused(log.get()?, address)?,
                }
            }
        }
        Ok(())
    }

    fn for_return(&self, submission: &Submission) -> bool {
        submission.for_return || self.context.config.sendmail.for_return
    }

    /// Records that the stamps may come back.
    ///
    /// Only the used log grants that; the mark beside the stamp grants nothing (paper, protocol step 3).
    pub(super) fn allow_return(
        &self,
        submission: &Submission,
        stamped: &[Option<Stamped<'_>>],
    ) -> Result<(), SubmissionError> {
        if !self.for_return(submission) {
            return Ok(());
        }
        let put = submission.recipients.iter().zip(stamped).filter_map(|(recipient, stamped)| match stamped {
            Some(Stamped::Copy(Put { stamp: Some(text), .. })) => Some((recipient.address()?, text.split(';').next()?)),
            _ => None,
        });
        let mut log = LazyLog { open: self.used_log, log: None };
        for (recipient, stamp) in put {
            let Ok(token) = Token::parse(stamp) else { continue };
            let (Ok(issuer), Ok(claims)) = (token.issuer(), Stamp::read(token.payload())) else { continue };
            let log = log.get()?;
            // A stamp that names the recipient goes to them and comes back. One that they returned goes to them again.
            let grant = match claims.audience.names(recipient) {
                true => Grant::for_return(self.context.now, claims.expires),
                false => Grant::new(GrantKind::MultiUse, self.context.now),
            };
            let granted = |before: &StampStatus| match &before.grant {
                Some(_) => before.clone(),
                None => StampStatus { grant: Some(grant.clone()), ..before.clone() },
            };
            if log.standing(issuer.vendor(), &claims.serial)?.grant.is_none() {
                log.update_status(issuer.vendor(), &claims.serial, &mut |before| granted(before))?;
            }
        }
        Ok(())
    }
}

fn told(error: &SupplyError) -> String {
    let hint = match error {
        SupplyError::NoAccount(_) => {
            "; mailstamp account add adds one, and sendmail.none lists recipients that need no stamp"
        }
        _ => "",
    };
    readable(format!("no stamp: {error}{hint}").as_bytes(), 400)
}

/// Returns the exit status of a stamp that is unavailable until something is corrected.
fn status(error: &SupplyError) -> u8 {
    match error {
        SupplyError::NoAccount(_) | SupplyError::Account(_) | SupplyError::Key { .. } => 78,
        SupplyError::Capped(_) | SupplyError::Funds { .. } | SupplyError::Refused { .. } => 77,
        SupplyError::Order { .. } => DATA,
        SupplyError::Answer { .. } => 76,
        SupplyError::Later { .. }
        | SupplyError::Away { .. }
        | SupplyError::Unreadable { .. }
        | SupplyError::Ours(_) => TEMPFAIL,
    }
}
