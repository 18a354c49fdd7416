//! Results that a boundary sealed ([`seal`](crate::boundary::seal)). One replaces the spend of the stamp and nothing
//! else: revocations and grants of this host, and its prices, hold. Each belief is counted in the used log, for the
//! seal and the recipient, as a redelivery of a stamp is.

use super::judge::{AskLog, Engine, LazyKeys};
use crate::boundary::seal::{LIFETIME, Seal, sealed_fields};
use crate::context::error::Deferral;
use crate::grant::GrantKind;
use crate::message::address::Address;
use crate::message::fingerprint::{Fingerprint, KnownMessage};
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::stamp::extract::Place;
use crate::verdict::class::Class;
use crate::verdict::facts::{Envelope, KeyDirectory, Mailbox};
use crate::verdict::finding::{Believed, Finding, Verdict};
use crate::verdict::owner::Owner;
use crate::verdict::reason::Reason;
use crate::verdict::spend::{Redelivery, SpendRequest, SpendResult, Terms};

/// The seals of a message that a trusted boundary made for it.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// Each with the offset of its field.
    seals: Vec<(usize, Seal)>,
    /// What the log keeps of the message: the same whether its long lines are broken yet.
    message: Option<KnownMessage>,
}

impl Engine {
    /// Reads the seals of a message. Without a trusted boundary, none is read.
    pub(super) fn sealed(&self, message: &Message<'_>) -> Sealed {
        let config = &self.context.config;
        let mut fingerprint = None;
        let mut is_true = |seal: &Seal| {
            let Some(keys) = config.trusted_boundaries.get(&seal.host) else { return false };
            if seal.is_unspent || !seal.is_current(self.context.now, config.policy.skew) {
                return false;
            }
            // It reads the whole message.
            let fingerprint = fingerprint.get_or_insert_with(|| Fingerprint::of_broken(message));
            keys.iter().any(|key| seal.holds(key, fingerprint))
        };
        if config.trusted_boundaries.is_empty() {
            return Sealed::default();
        }
        let seals = sealed_fields(message).filter(|(_, seal)| is_true(seal)).collect();
        Sealed { seals, message: fingerprint.as_ref().map(KnownMessage::from_broken) }
    }

    /// Returns the verdict of a seal for this recipient, if there is one that counts. `ask` answers for the used log.
    pub(super) fn believe(
        &self,
        sealed: &Sealed,
        message: &Message<'_>,
        envelope: &Envelope,
        keys: &LazyKeys<'_>,
        ask: &dyn AskLog,
    ) -> Result<Option<Verdict>, Deferral> {
        let Some(known) = sealed.message else { return Ok(None) };
        let policy = &self.context.config.policy;
        for (start, seal) in sealed.seals.iter().filter(|(_, seal)| is_believable(seal)) {
            let Some((recipient, mailbox, owner)) = self.named(seal, envelope) else { continue };
            let (Some(vendor), Some(serial), Some(value)) = (&seal.vendor, &seal.serial, seal.value) else { continue };
            let finding = Finding {
                vendor: seal.vendor.clone(),
                key_id: seal.key_id.clone(),
                serial: seal.serial.clone(),
                value: seal.value,
                ..Finding::of(Place::Header)
            };
            let believed = |reason| {
                // A revocation of this host, say, is another result than that of the field.
                let boundary = Believed { host: seal.host.clone(), field: (reason == seal.reason).then_some(*start) };
                Ok(Some(Verdict::believed(boundary, reason, finding)))
            };
            self.context.is_clock_right()?;
            self.context.is_state_there()?;
            let is_revoked = keys.revoked(vendor, serial);
            keys.check()?;
            if is_revoked {
                return believed(Reason::ByVendor);
            }
            let author = message.authors().into_iter().next();
            let standing = SpendRequest {
                vendor: vendor.clone(),
                serial: serial.clone(),
                expires: None,
                message: known,
                owner,
                from: author.map(|author| escape_untrusted(author.to_string().as_bytes(), 200)),
                now: self.context.now,
                redelivery: policy.redelivery,
                terms: Terms::LookUp,
                late: false,
                purge_until: None,
                cap: None,
            };
            match ask.spend(&standing)? {
                SpendResult::Revoked { .. } => return believed(Reason::ByRecipient),
                SpendResult::Granted(GrantKind::Return) => return believed(Reason::Return),
                SpendResult::Granted(GrantKind::MultiUse) => return believed(Reason::MultiUse),
                _ => {}
            }
            let (vendor, Some(serial)) = seal.count(recipient) else { continue };
            let count = SpendRequest {
                vendor,
                serial,
                expires: Some(seal.end()),
                redelivery: Redelivery { within: LIFETIME.saturating_add(policy.skew), ..policy.redelivery },
                terms: Terms::Spend,
                ..standing
            };
            if !matches!(ask.spend(&count)?, SpendResult::Fresh | SpendResult::Redelivery { .. }) {
                // Too often. Another seal may count.
                continue;
            }
            let is_cheap = matches!(seal.reason, Reason::Paid | Reason::Again) && value < mailbox.price;
            return believed(if is_cheap { Reason::BelowPrice } else { seal.reason });
        }
        Ok(None)
    }

    /// Returns the recipient of a seal who is the recipient of this delivery, or has the same owner. Both must be among
    /// the user's addresses.
    fn named<'s>(&'s self, seal: &'s Seal, envelope: &Envelope) -> Option<(&'s Address, &'s Mailbox, Owner)> {
        let of = |address: &Address| {
            let mailbox = self.context.config.mailboxes.iter().find(|mailbox| mailbox.pattern.matches(address))?;
            Some((mailbox, mailbox.owner_of(Some(address))))
        };
        let own = match &envelope.recipient {
            Some(recipient) => Some(of(recipient)?.1),
            None => None,
        };
        let is_recipient = |address: &&Address| envelope.recipient.as_ref() == Some(*address);
        let first = seal.recipients.iter().filter(is_recipient);
        first.chain(&seal.recipients).find_map(|address| {
            let (mailbox, owner) = of(address)?;
            own.is_none_or(|own| own == owner).then_some((address, mailbox, owner))
        })
    }
}

/// Returns whether the class is one that a seal decides. Any other is judged anew.
fn is_believable(seal: &Seal) -> bool {
    matches!(seal.reason.class(), Class::FirstClass | Class::Underpaid)
}
