//! Correspondents' own keys: what a received message teaches of its sender, and the ends of the stamps that the user gave.
//!
//! - Only mail is read that is let through, uses a stamp of the user's, or has fields of this exchange. For all other
//!   mail nothing is opened, read or written.
//! - Sealed stamps are kept as they came: the programs that read hostile mail have no secret key (`sender/peers.rs`).
//! - What comes in the name of a pinned list is kept without any evidence: the list's key shows whose it is.
//! - An error goes to syslog and changes no judgement. What was not learned, a later message teaches.

use super::judge::{Engine, LazyStore};
use crate::context::error::Deferral;
use crate::grant::StampStatus;
use crate::message::address::Address;
use crate::message::auth_results::{self, coverage};
use crate::message::automatic::is_automatic;
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::peer::announcement::{self, Announcement, Found};
use crate::peer::incoming::{Received, receive};
use crate::peer::key_ring::{Evidence, Learned};
use crate::peer::record::{PeerRecord, Sealed, message_name, sealed_texts};
use crate::peer::{KEY_FIELD, can_have_keys};
use crate::policy::context::{Extent, MessageContext};
use crate::policy::decision::Decision;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::store::{Peer, Store, StoreError, change_peer};
use crate::time::UnixTime;
use crate::verdict::class::Class;
use crate::verdict::facts::Envelope;
use crate::verdict::owner::Owner;
use crate::verdict::reason::Reason;
use std::ops::ControlFlow;

/// The fields that a DKIM signature has to cover where an announcement replaces a key.
const COVERED: [&str; 4] = [KEY_FIELD, "From", "Date", "Message-ID"];

impl Engine {
    /// Learns from a message that was judged, for the recipient of its envelope.
    pub(super) fn learn_peer(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        decision: &Decision,
        log: &LazyStore<'_>,
    ) {
        if self.context.config.peers.enabled
            && let Err(error) = self.learn(message, envelope, decision, log)
        {
            self.context.log_error(&format!("nothing learned of a correspondent: {error}"));
        }
    }

    fn learn(
        &self,
        message: &Message<'_>,
        envelope: &Envelope,
        decision: &Decision,
        log: &LazyStore<'_>,
    ) -> Result<(), Deferral> {
        let trusted = &self.context.config.trusted_authserv_ids;
        let letter = MessageContext::new(message, envelope, &decision.verdict, trusted, Extent::Whole);
        let (used, found, sealed) = (used(decision), announcement::find(message), sealed_texts(message));
        let is_welcome = self.is_welcome(decision, &letter)?;
        if !is_welcome && used.is_none() && matches!(found, Found::None) && sealed.is_empty() {
            return Ok(());
        }
        let Some(owner) = self.context.owner_of_recipient(envelope.recipient.as_ref()) else { return Ok(()) };
        let from = auth_results::authors(message).filter(|authors| authors.len() == 1).unwrap_or_default();
        if let Some(list) = from.first().filter(|_| !sealed.is_empty())
            && self.read_lists()?.is_list(&list.canonical())
        {
            return self.keep_of_list(log.store()?, owner, list, evidence(message, &letter, list), &sealed);
        }
        let is_post = is_from_list(message) || address_issuer(decision).is_some_and(|issuer| !self.is_mine(issuer));
        if is_automatic(message) || is_post || is_bounce(message, envelope) {
            return Ok(());
        }
        if let Some((key, holder)) = &used
            && from.first() != Some(holder)
        {
            // The stamp's holder writes under another address, or through a list.
            change_peer(log.store()?, owner, holder, self.context.now, &mut |record| {
                let ring = record.ring.confirm(key, self.context.now)?;
                Some(PeerRecord { ring, used: Some(self.context.now), ..record.clone() })
            })?;
        }
        let Some(from) = from.first().filter(|from| !self.context.is_mine(from) && can_have_keys(from)) else {
            return Ok(());
        };
        let evidence = evidence(message, &letter, from);
        let announced = match found {
            Found::One(text) if evidence >= Evidence::Aligned => Announcement::parse(&text).ok(),
            _ => None,
        };
        let answered = if sealed.is_empty() { Vec::new() } else { letter.replies_to() };
        let received = Received {
            now: self.context.now,
            from,
            evidence,
            is_automatic: false,
            is_welcome,
            is_answer: self.is_answer(&answered, owner, log)?,
            answers: answered.iter().map(|id| message_name(id)).collect(),
            announcement: announced.as_ref(),
            sealed,
            used: used.filter(|(_, holder)| holder == from).map(|(key, _)| key),
        };
        let mut learned = None;
        let changed = change_peer(log.store()?, owner, from, self.context.now, &mut |record| {
            let (after, what) = receive(record, &received);
            learned = what;
            after
        })?;
        let note = match learned.filter(|_| changed.is_some()) {
            Some(Learned::Changed) => "announced another key, which counts for nothing until you accept it",
            Some(Learned::Forked) => "has two keys in the place of one; nothing counts until you accept one of them",
            _ => return Ok(()),
        };
        let shown = escape_untrusted(from.to_string().as_bytes(), 300);
        self.context.log_error(&format!("{shown} {note}: see mailstamp peer show"));
        Ok(())
    }

    /// Whether the issuer of a stamp is an address of the user's. Otherwise it is a list.
    fn is_mine(&self, issuer: &str) -> bool {
        Address::parse(issuer).is_ok_and(|issuer| self.context.is_mine(&issuer))
    }

    /// Keeps the sealed stamps of a pinned list, until the user next writes to it.
    fn keep_of_list(
        &self,
        log: &dyn Store,
        owner: Owner,
        list: &Address,
        evidence: Evidence,
        sealed: &[String],
    ) -> Result<(), Deferral> {
        let now = self.context.now;
        let new = || {
            let sealed = sealed.iter().cloned();
            sealed.map(|text| Sealed { text, is_answer: false, is_private: false, evidence, at: now }).collect()
        };
        change_peer(log, owner, list, now, &mut |record| {
            let after = record.with_sealed_of_list(new())?;
            Some(PeerRecord { used: Some(now), ..after })
        })?;
        Ok(())
    }

    /// Whether the message makes its sender a contact: a stamp let it through, or a rule that asked for
    /// authentication.
    fn is_welcome(&self, decision: &Decision, letter: &MessageContext<'_>) -> Result<bool, Deferral> {
        Ok(match (decision.class(), &decision.rule) {
            (Class::FirstClass, _) => true,
            (Class::Allowed, Some(name)) => {
                let asks = self.rules()?.iter().any(|rule| rule.name == *name && rule.needs_authentication());
                asks && letter.is_genuine()
            }
            _ => false,
        })
    }

    /// Whether one of these messages is the owner's.
    fn is_answer(&self, answered: &[String], owner: Owner, log: &LazyStore<'_>) -> Result<bool, Deferral> {
        for id in answered {
            if log.store()?.sent(owner, id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns the holder's key and address of the stamp from an address that the message validly used.
fn used(decision: &Decision) -> Option<(PublicKey, Address)> {
    let finding = decision.verdict.stamp().filter(|_| address_issuer(decision).is_some())?;
    let is_use = matches!(finding.reason, Some(Reason::Peer | Reason::Again));
    finding.holder.zip(finding.sender.clone()).filter(|_| is_use)
}

/// Returns the address whose stamp let the message through, by a use or by a grant.
fn address_issuer(decision: &Decision) -> Option<&str> {
    let finding = decision.verdict.stamp().filter(|_| decision.verdict.class() == Class::FirstClass)?;
    finding.vendor.as_deref().filter(|vendor| vendor.contains('@'))
}

/// Whether the message came through a mailing list. A list that writes under its own address must be no contact: all who
/// read it would see what is sent to a contact. A member who uses the list's stamp may write any From.
fn is_from_list(message: &Message<'_>) -> bool {
    message.fields().any(|field| field.name_is("List-Id") || field.name_is("List-Post"))
}

/// Whether the message has the null sender.
fn is_bounce(message: &Message<'_>, envelope: &Envelope) -> bool {
    let is_null = |sender: &[u8]| matches!(sender.trim_ascii(), b"" | b"<>");
    match &envelope.sender {
        Some(sender) => is_null(sender.as_bytes()),
        None => message.first("Return-Path").is_some_and(|field| is_null(&field.unfolded())),
    }
}

/// Returns what shows that the message is from the address.
fn evidence(message: &Message<'_>, letter: &MessageContext<'_>, from: &Address) -> Evidence {
    let (outcomes, domain) = (letter.outcomes(), from.domain());
    if !letter.is_genuine() || !coverage::is_signed(outcomes, domain) {
        Evidence::None
    } else if coverage::covers(message, outcomes, domain, &COVERED) {
        Evidence::Covered
    } else {
        Evidence::Aligned
    }
}

/// Revokes the stamps that a correspondent was given, and puts `change` of their record in its place. Returns how many
/// stamps were revoked. `is_list` says which issuers are lists, whose stamps each owner revokes for themselves.
///
/// The stamps are revoked first. Where this is cut off, the record still has them, and it can be repeated.
///
/// # Errors
/// Any [`StoreError`].
pub fn end(
    log: &dyn Store,
    owner: Owner,
    address: &Address,
    now: UnixTime,
    is_list: &dyn Fn(&str) -> bool,
    change: &dyn Fn(&PeerRecord) -> PeerRecord,
) -> Result<usize, StoreError> {
    let standing: Vec<_> = log.peer(owner, address)?.standing(now).cloned().collect();
    for given in &standing {
        let issuer = given.issuer.canonical();
        let name = if is_list(&issuer) { owner.status_name(&issuer) } else { issuer };
        log.update_status(&name, &given.serial, &mut |before| StampStatus {
            revoked: before.revoked.or(Some(now.0)),
            // Moving a message back does not undo it.
            means: None,
            ..before.clone()
        })?;
    }
    log.update_peer(owner, address, &mut |record| change(record))?;
    Ok(standing.len())
}

impl Engine {
    /// Notes in the record of its holder that a stamp of the user's was revoked, or no longer is. Then the next message to
    /// the correspondent gives another one, or none. A list's stamp was revoked for its reader alone, so its owner gives
    /// no other one in its place.
    ///
    /// # Errors
    /// [`Deferral`] when the log or the user's keys cannot be read.
    pub fn note_status(
        &self,
        log: &dyn Store,
        vendor: &str,
        serial: &Serial,
        after: &StampStatus,
    ) -> Result<(), Deferral> {
        // A vendor is a domain.
        if !vendor.contains('@') || self.read_lists()?.is_list(Owner::of_status_name(vendor).map_or(vendor, |of| of.0))
        {
            return Ok(());
        }
        Ok(note_status(log, vendor, serial, after)?)
    }
}

fn note_status(log: &dyn Store, vendor: &str, serial: &Serial, after: &StampStatus) -> Result<(), StoreError> {
    let mut holder = None;
    log.peers(&mut |Peer { owner, address, record }| {
        if record.given.iter().any(|given| given.serial == *serial && given.issuer.canonical() == vendor) {
            holder = Some((owner, address));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    let Some((owner, address)) = holder else { return Ok(()) };
    log.update_peer(owner, &address, &mut |record| {
        let mut after_it = record.clone();
        let own = after_it.given.iter_mut().filter(|given| given.serial == *serial);
        own.for_each(|given| given.ended = after.revoked.map(UnixTime));
        after_it
    })?;
    Ok(())
}
