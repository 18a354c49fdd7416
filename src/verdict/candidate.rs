//! Judgement of one stamp, in the order of the manual: form, key, signature, key status, holder's proof, revocation by
//! the vendor, recipient, window, price. The used log knows the rest (revocation and grants by the user, earlier uses),
//! so that goes out as a request. This module reads and writes nothing.

use super::facts::{Envelope, Facts, KeyFact, KeyStatus, Mailbox, VendorKey, only_owner, owner_of};
use super::finding::Finding;
use super::owner::Owner;
use super::reason::Reason;
use super::spend::{Cap, SpendRequest, Terms};
use crate::message::address::{Address, addresses};
use crate::message::fingerprint::{Fingerprint, KnownMessage};
use crate::message::header::escape_untrusted;
use crate::message::parse::Message;
use crate::message::post;
use crate::stamp::audience::Audience;
use crate::stamp::claims::{ClaimError, Stamp};
use crate::stamp::extract::{Found, USE_FIELD, without_white_space};
use crate::stamp::holder_proof::Proof;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::{Issuer, Purpose, Token, TokenError};
use crate::time::UnixTime;
use sha2::{Digest, Sha256};
use std::cell::OnceCell;

const DAY: i64 = 86_400;

/// One request about one stamp.
#[derive(Clone, Debug)]
pub(super) struct StoreQuestion {
    /// The stamp, as an index into the findings.
    pub(super) finding: usize,
    /// The request to the log.
    pub(super) spend: SpendRequest,
    /// The reason if the stamp is fresh and may be spent: that of an acceptance.
    pub(super) accepted: Reason,
    /// The correspondent whose uses are counted, if the request counts them.
    pub(super) correspondent: Option<Address>,
    /// The request that follows if the log has nothing against the stamp.
    /// A standing stamp is looked up by its serial, and then each use of it is spent by its nonce.
    pub(super) then: Option<Box<Self>>,
}

/// The inputs for judging the stamps of one message, for any number of recipients.
pub(super) struct Candidate<'a> {
    message: &'a Message<'a>,
    facts: &'a Facts<'a>,
    /// Computed once, and only if a stamp needs it: it reads the whole body.
    read: OnceCell<(KnownMessage, Fingerprint)>,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(message: &'a Message<'a>, facts: &'a Facts<'a>) -> Self {
        Self { message, facts, read: OnceCell::new() }
    }

    fn read(&self) -> &(KnownMessage, Fingerprint) {
        self.read.get_or_init(|| KnownMessage::with_fingerprint(self.message))
    }

    /// Returns the user's mailbox of this address.
    fn mine(&self, address: &Address) -> Option<&'a Mailbox> {
        self.facts.mailboxes.iter().find(|mailbox| mailbox.pattern.matches(address))
    }

    /// Returns the owner for whom the message is delivered: of the envelope's recipient, or else of the mailbox that
    /// the stamp names. A list's stamp names the list, so there it is the only owner.
    fn owner(&self, stamp: &Authentic, envelope: &Envelope) -> Owner {
        match &envelope.recipient {
            Some(recipient) => owner_of(self.facts.mailboxes, recipient),
            None if stamp.kind == IssuerKind::List => only_owner(self.facts.mailboxes),
            None => {
                let named = mailbox_named(&stamp.claims, self, envelope);
                named.map(|(mailbox, address)| mailbox.owner_of(address.as_ref()))
            }
        }
        .unwrap_or_default()
    }

    /// Returns the owners for whom a delivery of the message may have asked about this stamp, and whether each is known
    /// from the message. Several owners may have got one post to a list, each their own copy.
    fn owners(&self, stamp: &Authentic) -> Vec<(Owner, bool)> {
        if stamp.kind != IssuerKind::List {
            return vec![(self.owner(stamp, &Envelope::default()), true)];
        }
        // Without an envelope, the owner was the only one, or the default.
        let written = delivered_to(self.message, self.facts);
        let mailboxes = self.facts.mailboxes.iter().filter(|it| it.owner.is_some() || !it.pattern.covers_many());
        let all = mailboxes.filter(|_| written.is_none()).map(|mailbox| mailbox.owner_of(None));
        let mut owners: Vec<(Owner, bool)> = written.map(|owner| (owner, true)).into_iter().collect();
        for owner in all.chain([Owner::default()]) {
            if owners.iter().all(|(known, _)| *known != owner) {
                owners.push((owner, false));
            }
        }
        owners
    }
}

/// Returns the owner of the user's address in the first field in which a delivery wrote one. The delivery to the user
/// was the last, and wrote above all others.
pub(super) fn delivered_to(message: &Message<'_>, facts: &Facts<'_>) -> Option<Owner> {
    let fields = message.fields().filter(|field| DELIVERED.iter().any(|name| field.name_is(name)));
    let mut named = fields.take(16).flat_map(|field| addresses(&field.unfolded()));
    named.find_map(|address| owner_of(facts.mailboxes, &address))
}

/// A stamp of which all is judged that does not depend on the recipient.
pub(super) struct Verified {
    finding: Finding,
    /// The stamp, if it is authentic.
    authentic: Option<Authentic>,
}

/// Verifies the stamp `found`.
pub(super) fn verify(found: &Found, case: &Candidate<'_>) -> Verified {
    let mut finding = Finding::of(found.place);
    let authentic = authenticate(found, &mut finding, case);
    finding.reason = authentic.as_ref().err().copied();
    Verified { finding, authentic: authentic.ok() }
}

/// Judges the stamp for one recipient. It becomes finding number `index`.
pub(super) fn judge(
    stamp: &Verified,
    index: usize,
    case: &Candidate<'_>,
    envelope: &Envelope,
) -> (Finding, Option<StoreQuestion>) {
    let mut finding = stamp.finding.clone();
    let question = stamp.authentic.as_ref().map(|stamp| {
        finding.reason = applies(stamp, case, envelope).err();
        stamp.question(index, finding.reason, case, case.owner(stamp, envelope))
    });
    (finding, question)
}

/// Returns the requests that a delivery of the message made about the stamp `found`, if there was one: one for each
/// owner to whom it may have been, with whether the owner is known. The log knows which were made. The current time
/// does not matter.
pub(super) fn asked(found: &Found, case: &Candidate<'_>) -> Vec<(StoreQuestion, bool)> {
    let Some(stamp) = authentic_once(found, case) else { return Vec::new() };
    let owners = case.owners(&stamp).into_iter();
    owners.map(|(owner, is_known)| (stamp.question(0, None, case, owner), is_known)).collect()
}

/// Returns the stamp, if it was authentic at some time.
fn authentic_once(found: &Found, case: &Candidate<'_>) -> Option<Authentic> {
    let signed = signed(found, &mut Finding::of(found.place), case.facts).ok()?;
    let kind = IssuerKind::of(&signed.issuer, case.facts);
    let holder = signed.claims.holder.as_ref();
    let proof = holder.map(|holder| proven(holder, &signed.token, kind, case, |_| true)).transpose().ok()?;
    let vendor = signed.issuer.vendor().to_owned();
    Some(Authentic { vendor, kind, claims: signed.claims, proof })
}

/// Who issued a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IssuerKind {
    /// A vendor that the user trusts.
    Vendor,
    /// The user, for a correspondent.
    Own,
    /// A mailing list, for a member.
    List,
}

impl IssuerKind {
    fn of(issuer: &Issuer, facts: &Facts<'_>) -> Self {
        match issuer.is_address() {
            false => Self::Vendor,
            true if facts.keys.is_list(issuer.vendor()) => Self::List,
            true => Self::Own,
        }
    }

    /// Returns how many seconds a use is good after its holder signed it. Its nonce is kept as long.
    fn retention(self, facts: &Facts<'_>) -> i64 {
        match self {
            Self::Vendor => facts.policy.redelivery.within,
            Self::Own | Self::List => facts.policy.nonce_retention,
        }
    }
}

/// A stamp whose signature holds, under a key in force, used by its holder, not revoked by its vendor.
struct Authentic {
    vendor: String,
    kind: IssuerKind,
    claims: Stamp,
    /// The holder's proof, for a stamp bound to a key.
    proof: Option<Proof>,
}

/// A stamp whose signature holds, whatever its other faults.
struct Signed {
    token: Token,
    issuer: Issuer,
    key: VendorKey,
    claims: Stamp,
}

/// Reads the stamp and checks its signature; `finding` gets the stamp's claims.
fn signed(found: &Found, finding: &mut Finding, facts: &Facts<'_>) -> Result<Signed, Reason> {
    let token = Token::parse(&found.token).map_err(form)?;
    let issuer = token.issuer().map_err(form)?;
    finding.vendor = Some(issuer.vendor().to_owned());
    finding.key_id = Some(issuer.key_id().to_owned());
    let key = key_of(&issuer, facts)?;
    if !key.key.verify(&token, Purpose::Stamp) {
        return Err(Reason::Forged);
    }
    let claims = Stamp::read(token.payload()).map_err(unreadable)?;
    finding.serial = Some(claims.serial.clone());
    finding.value = Some(claims.value);
    finding.expires = claims.expires;
    finding.holder = claims.holder;
    finding.sender = claims.sender.clone();
    Ok(Signed { token, issuer, key, claims })
}

/// Identifies a stamp whose signature holds, for a user who names a message to grant or revoke its stamp.
/// Its finding has no reason.
pub(super) fn identify(found: &Found, facts: &Facts<'_>) -> Finding {
    let mut finding = Finding::of(found.place);
    finding.reason = signed(found, &mut finding, facts).err();
    finding
}

fn authenticate(found: &Found, finding: &mut Finding, case: &Candidate<'_>) -> Result<Authentic, Reason> {
    let facts = case.facts;
    let Signed { token, issuer, key, claims } = signed(found, finding, facts)?;
    in_force(&key, facts)?;
    let kind = IssuerKind::of(&issuer, facts);
    // An address issues stamps for one correspondent and any number of uses, and no others.
    if kind != IssuerKind::Vendor && !(claims.many && claims.holder.is_some() && claims.sender.is_some()) {
        return Err(Reason::Malformed);
    }
    let retention = kind.retention(facts);
    let recent = |proof: &Proof| facts.now.since(proof.issued).saturating_abs() <= retention;
    let proof = match &claims.holder {
        Some(holder) => Some(proven(holder, &token, kind, case, recent)?),
        // Without a holder's key, any reader of a stamp for many uses could use it.
        None if claims.many => return Err(Reason::Malformed),
        None => None,
    };
    if kind == IssuerKind::Vendor && facts.keys.revoked(issuer.vendor(), &claims.serial) {
        return Err(Reason::ByVendor);
    }
    Ok(Authentic { vendor: issuer.vendor().to_owned(), kind, claims, proof })
}

fn form(error: TokenError) -> Reason {
    match error {
        TokenError::UnknownVersion => Reason::UnknownVersion,
        TokenError::TooLong => Reason::OverLimit,
        TokenError::Malformed(_) => Reason::Malformed,
    }
}

/// A stamp with an unknown critical claim is of a later version; any other fault makes it malformed.
fn unreadable(error: ClaimError) -> Reason {
    match error {
        ClaimError::Critical(_) => Reason::UnknownVersion,
        _ => Reason::Malformed,
    }
}

fn key_of(issuer: &Issuer, facts: &Facts<'_>) -> Result<VendorKey, Reason> {
    match facts.keys.key(issuer) {
        KeyFact::Known(key) => Ok(*key),
        KeyFact::UnknownVendor => Err(Reason::UnknownVendor),
        KeyFact::UnknownKey => Err(Reason::UnknownKey),
        KeyFact::Conflict => Err(Reason::KeyConflict),
        KeyFact::Stale => Err(Reason::StaleDirectory),
    }
}

/// Checks that a key is in force at the time of the judgement.
/// Only that time counts: with a stolen key, any date can be written into a stamp.
fn in_force(key: &VendorKey, facts: &Facts<'_>) -> Result<(), Reason> {
    let (now, skew) = (facts.now, facts.policy.skew);
    let revoked = matches!(key.status, KeyStatus::Revoked { since } if since <= now);
    let ended = key.not_after.is_some_and(|end| now > end.plus(skew));
    let to_come = key.not_before.is_some_and(|start| now < start.plus(-skew));
    if revoked || ended || to_come { Err(Reason::KeyRevoked) } else { Ok(()) }
}

/// Returns the proof in the message by which the holder signed this use of the stamp.
/// (Paper, key-pair section: each time A attaches the stamp, A signs it.)
fn proven(
    holder: &PublicKey,
    stamp: &Token,
    kind: IssuerKind,
    case: &Candidate<'_>,
    counts: impl Fn(&Proof) -> bool,
) -> Result<Proof, Reason> {
    // A list changes its posts, so a use of its stamp may be bound to what it keeps.
    let post = (kind == IssuerKind::List).then(|| post::hash(case.message)).flatten();
    let mut missing = Reason::NoHolderProof;
    let fields = case.message.fields().filter(|field| field.name_is(USE_FIELD));
    let texts = fields.map(|field| without_white_space(&field.decoded())).filter(|text| !text.is_empty());
    for text in texts.take(8) {
        missing = Reason::BadHolderProof;
        let Ok(used) = Token::parse(&text) else { continue };
        let of_post = post.and_then(|post| Proof::verify_post(&used, stamp, &post, holder).ok());
        let proof = of_post.or_else(|| Proof::verify(&used, stamp, &case.read().1, holder).ok());
        let Some(proof) = proof else { continue };
        if counts(&proof) {
            return Ok(proof);
        }
    }
    Err(missing)
}

/// Checks that an authentic stamp is good for this mailbox at this time.
fn applies(stamp: &Authentic, case: &Candidate<'_>, envelope: &Envelope) -> Result<(), Reason> {
    let claims = &stamp.claims;
    let mailbox = match stamp.kind {
        IssuerKind::Vendor => Some(mailbox_named(claims, case, envelope).ok_or(Reason::NotForMe)?.0),
        // The user's own address asks no price for the user's own gift.
        IssuerKind::Own => {
            let named = mailbox_named(claims, case, envelope).filter(|_| stamp.is_for_its_issuer());
            named.map(|_| None).ok_or(Reason::NotForMe)?
        }
        // The list's address is not the user's; the envelope says for whom the post is.
        IssuerKind::List => {
            let is_mine = envelope.recipient.as_ref().is_none_or(|recipient| case.mine(recipient).is_some());
            (is_mine && stamp.is_for_its_issuer()).then_some(None).ok_or(Reason::NotForMe)?
        }
    };
    window(stamp, case.facts)?;
    if mailbox.is_some_and(|mailbox| claims.value < mailbox.price) { Err(Reason::BelowPrice) } else { Ok(()) }
}

/// Returns the user's mailbox that the stamp names, and the address, where one is known.
/// A stamp in clear text is compared. A hash can only be tried against addresses: those that the user wrote out, and
/// those of the user's that the message and its envelope name. (A forged To adds nothing: it must be the user's, and
/// the hash must be of it.)
fn mailbox_named<'a>(
    stamp: &Stamp,
    case: &Candidate<'a>,
    envelope: &Envelope,
) -> Option<(&'a Mailbox, Option<Address>)> {
    let audience = &stamp.audience;
    // An address in clear text must be spelled as the user's: their host may heed case, and a hash cannot.
    let hashed = matches!(audience, Audience::Hashed { .. });
    if let Some(recipient) = &envelope.recipient {
        let mailbox = case
            .mine(recipient)
            .filter(|mailbox| audience.names(recipient) && (hashed || audience.overlaps(&mailbox.pattern)));
        return mailbox.map(|mailbox| (mailbox, Some(recipient.clone())));
    }
    if let Some(mailbox) = case.facts.mailboxes.iter().find(|mailbox| audience.overlaps(&mailbox.pattern)) {
        return Some((mailbox, audience.address().cloned()));
    }
    if !hashed {
        return None;
    }
    let fields = case.message.fields().filter(|field| ADDRESSED.iter().any(|name| field.name_is(name)));
    let named = fields.take(16).flat_map(|field| addresses(&field.unfolded()));
    named.filter(|address| audience.names(address)).find_map(|address| Some((case.mine(&address)?, Some(address))))
}

/// Fields that may name a recipient's own address.
const ADDRESSED: [&str; 5] = ["To", "Cc", "Delivered-To", "X-Original-To", "Envelope-To"];
/// Those in which a delivery writes it.
const DELIVERED: [&str; 3] = ["Delivered-To", "X-Original-To", "Envelope-To"];

/// Paper, protocol step 4: B may check the window, and the window lets B forget old identifiers.
fn window(stamp: &Authentic, facts: &Facts<'_>) -> Result<(), Reason> {
    let (now, policy, is_own) = (facts.now, facts.policy, stamp.kind == IssuerKind::Own);
    let stamp = &stamp.claims;
    let start = stamp.not_before.max(stamp.issued);
    if start.is_some_and(|start| now < start.plus(-policy.skew)) {
        return Err(Reason::NotYetValid);
    }
    let Some(end) = stamp.expires else {
        return if policy.allow_no_expiry { Ok(()) } else { Err(Reason::NoWindow) };
    };
    if now > end.plus(policy.skew.saturating_add(policy.expiry_grace)) {
        return Err(Reason::Expired);
    }
    // The user chose the window of the user's own gift, whose serial is not kept in the log.
    let is_long = stamp.window(now).is_some_and(|window| window > policy.max_window);
    if is_long && !is_own { Err(Reason::WindowTooLong) } else { Ok(()) }
}

impl Authentic {
    /// Whether it is good for mail to the address that issued it, which it must name in clear text.
    fn is_for_its_issuer(&self) -> bool {
        self.claims.audience.address().is_some_and(|address| address.canonical() == self.vendor)
    }

    /// Returns the limit on the uses of a stamp of the user's on this day (UTC). It is 0 until the engine sets it, which
    /// knows the correspondent.
    fn cap(&self, now: UnixTime) -> Cap {
        let day = now.0.div_euclid(DAY);
        let digest: [u8; 32] = Sha256::digest(format!("{}#{}#{day}", self.vendor, self.claims.serial)).into();
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        Cap { name: Serial::from_random(name), until: UnixTime((day + 1).saturating_mul(DAY)), most: 0 }
    }

    /// Returns the request to the used log.
    /// A stamp with a flaw is only looked up. A grant covers it all the same, and a message accepted before its window
    /// ended is recognized when it comes again.
    fn question(&self, finding: usize, flaw: Option<Reason>, case: &Candidate<'_>, owner: Owner) -> StoreQuestion {
        let facts = case.facts;
        let terms = if flaw.is_some() { Terms::LookUp } else { Terms::Spend };
        let vendor = match self.kind {
            IssuerKind::List => owner.status_name(&self.vendor),
            IssuerKind::Vendor | IssuerKind::Own => self.vendor.clone(),
        };
        let spend = SpendRequest {
            vendor,
            serial: self.claims.serial.clone(),
            expires: self.claims.expires,
            message: case.read().0,
            owner,
            from: case
                .message
                .authors()
                .into_iter()
                .next()
                .map(|from| escape_untrusted(from.to_string().as_bytes(), 200)),
            now: facts.now,
            redelivery: facts.policy.redelivery,
            terms,
            late: self.claims.expires.is_some_and(|end| facts.now > end.plus(facts.policy.skew)),
            // The engine knows whether the clock can be believed.
            purge_until: None,
            cap: None,
        };
        let question = |spend, accepted| StoreQuestion { finding, spend, accepted, correspondent: None, then: None };
        match &self.proof {
            Some(proof) if self.claims.many => {
                let mut vendor = format!("{}#{}", self.vendor, spend.serial);
                if self.kind == IssuerKind::List {
                    // Every subscriber gets the post, also those who share a log.
                    vendor.push_str(&format!("#{}", String::from(spend.owner)));
                }
                let use_of_it = SpendRequest {
                    vendor,
                    serial: proof.nonce.clone(),
                    expires: Some(proof.issued.plus(self.kind.retention(facts))),
                    late: false,
                    cap: (self.kind == IssuerKind::Own).then(|| self.cap(facts.now)),
                    ..spend.clone()
                };
                let correspondent = self.claims.sender.clone().filter(|_| use_of_it.cap.is_some());
                let then = StoreQuestion { correspondent, ..question(use_of_it, Reason::Peer) };
                let spend = SpendRequest { terms: Terms::LookUp, ..spend };
                StoreQuestion { then: Some(Box::new(then)), ..question(spend, Reason::Peer) }
            }
            _ => question(spend, Reason::Paid),
        }
    }
}
