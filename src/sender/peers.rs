//! Correspondents' own stamps on the copies of a message: using those that a recipient gave, announcing the user's key,
//! giving stamps in return.
//!
//! - A stamp is recorded as given before it leaves. The announcement counts when the next program has accepted the copy.
//! - Serials, nonces and ephemeral keys follow from the user's key, the message and the recipient. A copy that is made
//!   again after a crash or a deferral has the same stamps. The recipient's software knows the use again.
//! - Messages that a program sent, and those with the null sender, carry nothing.
//! - A post to a list whose key is pinned carries the list's stamp, if one was given, and tells the list nothing.
//!
//! What goes on a copy is decided in [`crate::peer::outgoing`].

use super::peer_keys::{Identity, PeerKeyError, PeerKeys};
use crate::config::paths::PathsError;
use crate::context::Context;
use crate::context::error::Deferral;
use crate::directory::own_keys::OwnKeysError;
use crate::directory::pinned_lists::Lists;
use crate::message::address::{Address, clear_addresses};
use crate::message::automatic::is_automatic;
use crate::message::edit::Edit;
use crate::message::fingerprint::Fingerprint;
use crate::message::header::fold;
use crate::message::parse::Message;
use crate::message::post;
use crate::peer::gift::{self, CAUTIOUS_UNTIL, GiftError, Given};
use crate::peer::offer::{self, Giver, Held, OfferError};
use crate::peer::outgoing::{self, Copy, Plan};
use crate::peer::record::{PeerRecord, message_name};
use crate::peer::sealing;
use crate::peer::{KEY_FIELD, SEALED_FIELD};
use crate::stamp::extract::{STAMP_FIELD, USE_FIELD};
use crate::stamp::holder_proof::Proof;
use crate::stamp::serial::Serial;
use crate::stamp::signing::{PublicKey, SecretKey};
use crate::stamp::token::Token;
use crate::store::{Store, StoreError, change_peer};
use crate::time::UnixTime;
use crate::verdict::owner::Owner;
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};

/// The assertion under which random numbers are drawn from a key. No token has it.
const DRAWN: &[u8] = b"digital-stamp-drawn";

/// The exchange with the recipients of one message.
#[derive(Debug)]
pub struct Exchange<'a> {
    context: &'a Context,
    identity: Identity,
    /// The keys of the identity to which stamps may be bound.
    holders: Vec<PublicKey>,
    owner: Owner,
    lists: Lists,
    /// The hash of the message as a post to a list, if it has one.
    post: Option<Fingerprint>,
    /// Whether it answers another message.
    is_answer: bool,
    /// Distinguishes the message from all others.
    name: Vec<u8>,
    /// The only recipient that its fields name, and its name in that record.
    private: Option<(Address, String)>,
    /// All keys of the owner, once a stamp waits to be opened.
    own: OnceLock<Vec<Identity>>,
}

/// Opens the used log.
pub type OpenLog<'a> = &'a (dyn Fn() -> Result<Arc<dyn Store>, Deferral> + Sync);

/// What is known of a recipient.
#[derive(Clone, Debug)]
pub struct Correspondent {
    address: Address,
    record: PeerRecord,
    /// The stamp that they gave, if one can be used.
    stamp: Option<Held>,
    /// Whether a bought stamp has to go beside it.
    needs_another: bool,
}

/// What goes on a copy beside a bought stamp.
#[derive(Clone, Debug, Default)]
pub struct CopyFields {
    stamp: Option<Held>,
    /// Fields with their values.
    fields: Vec<(&'static str, String)>,
    is_announced: bool,
    /// Whether the message counts as one to a correspondent who was given a stamp.
    counts: bool,
}

/// The exchange cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Keys(#[from] PeerKeyError),
    #[error(transparent)]
    Lists(#[from] OwnKeysError),
    #[error(transparent)]
    Paths(#[from] PathsError),
    #[error(transparent)]
    Undecided(#[from] Deferral),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Gift(#[from] GiftError),
}

/// Returns the only address in the only From field, if every program reads the same one.
#[must_use]
pub fn only_author(message: &Message<'_>) -> Option<Address> {
    let mut fields = message.fields().filter(|field| field.name_is("From"));
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let mut authors = clear_addresses(&field.unfolded())?.into_iter();
    authors.next().filter(|_| authors.next().is_none())
}

/// Returns the only address in To, Cc and Bcc, if every program reads the same one.
fn only_recipient(message: &Message<'_>) -> Option<Address> {
    let mut found = Vec::new();
    for field in message.fields().filter(|field| ["To", "Cc", "Bcc"].iter().any(|name| field.name_is(name))) {
        found.extend(clear_addresses(&field.unfolded())?);
    }
    found.dedup();
    found.pop().filter(|_| found.is_empty())
}

impl Correspondent {
    /// Whether their stamp needs no other beside it.
    #[must_use]
    pub fn is_stamped(&self) -> bool {
        self.stamp.is_some() && !self.needs_another
    }
}

impl CopyFields {
    /// Whether stamps for the recipient are among them.
    #[must_use]
    pub fn has_gift(&self) -> bool {
        self.fields.iter().any(|(name, _)| *name == SEALED_FIELD)
    }

    /// Whether the recipient's record changes once the copy has left.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.is_announced || self.counts
    }
}

impl<'a> Exchange<'a> {
    /// Begins the exchange for a message of the user with this envelope sender. `name` distinguishes the message from
    /// all others.
    ///
    /// Returns `None` if the message takes no part: peers are switched off, a program sent it, From has no key, or it
    /// has fields of an exchange already.
    pub fn begin(
        context: &'a Context,
        message: &Message<'_>,
        sender: Option<&str>,
        name: Vec<u8>,
    ) -> Result<Option<Self>, ExchangeError> {
        const NONE: [&str; 5] = [KEY_FIELD, SEALED_FIELD, USE_FIELD, "List-Id", "List-Post"];
        let is_off = !context.config.peers.enabled || sender == Some("");
        if is_off || is_automatic(message) || NONE.iter().any(|name| message.first(name).is_some()) {
            return Ok(None);
        }
        // What is signed under a wrong clock counts nowhere.
        context.is_clock_right()?;
        let Some(from) = only_author(message) else { return Ok(None) };
        let Some(owner) = context.owner_of(&from) else { return Ok(None) };
        let state = context.places.state()?;
        // A list writes to all of its members, and is no correspondent of any.
        let keys = PeerKeys::new(state, context.config.wait);
        let Some(identity) = keys.find(&from)?.filter(|own| !own.is_list) else { return Ok(None) };
        let private = only_recipient(message).zip(message.first("Message-ID"));
        let private = private.map(|(to, id)| (to, message_name(&String::from_utf8_lossy(&id.unfolded()))));
        let (lists, post) = (Lists::read(state)?, post::hash(message));
        let names_one = |name| message.first(name).is_some_and(|field| field.unfolded().contains(&b'<'));
        let is_answer = ["In-Reply-To", "References"].into_iter().any(names_one);
        let (holders, own) = (identity.holders(), OnceLock::new());
        Ok(Some(Self { context, identity, holders, owner, lists, post, is_answer, name, private, own }))
    }

    /// Reads what is known of a recipient, and opens the stamps that came since.
    pub fn look(&self, store: &dyn Store, recipient: &Address) -> Result<Correspondent, ExchangeError> {
        let record = self.open_waiting(store, recipient)?;
        let pinned = self.pinned(recipient);
        let plan = Plan::new(&record, &self.copy(recipient, pinned.as_deref()), false);
        // Without a Date or a Message-ID, nothing of a post is the same for its readers.
        let usable = plan.stamp.filter(|choice| !choice.stamp.is_list || self.post.is_some());
        let stamp = usable.map(|choice| (choice.stamp.clone(), choice.needs_another));
        let (stamp, needs_another) = stamp.unzip();
        Ok(Correspondent {
            address: recipient.clone(),
            stamp,
            needs_another: needs_another.unwrap_or_default(),
            record,
        })
    }

    /// Opens the stamps of a correspondent that came since, and returns the record. One that was signed by an unknown key
    /// waits, since its key may come later.
    fn open_waiting(&self, store: &dyn Store, from: &Address) -> Result<PeerRecord, ExchangeError> {
        let record = store.peer(self.owner, from)?;
        if record.sealed.is_empty() {
            return Ok(record);
        }
        let (own, now) = (self.own()?, self.context.now);
        let pinned = self.pinned(from);
        let after = opened(&record, from, pinned.as_deref(), own, now);
        if after == record {
            return Ok(record);
        }
        store.update_peer(self.owner, from, &mut |record| opened(record, from, pinned.as_deref(), own, now))?;
        Ok(after)
    }

    /// Returns all keys of the owner, read once.
    fn own(&self) -> Result<&[Identity], ExchangeError> {
        if let Some(own) = self.own.get() {
            return Ok(own);
        }
        let mut keys = PeerKeys::new(self.context.places.state()?, self.context.config.wait).list()?;
        keys.retain(|own| self.context.owner_of(&own.address) == Some(self.owner));
        Ok(self.own.get_or_init(|| keys))
    }

    /// Returns the keys whose stamps of this mailing list count, if it is one.
    fn pinned(&self, list: &Address) -> Option<Vec<PublicKey>> {
        self.lists.is_list(&list.canonical()).then(|| self.lists.keys(list))
    }

    fn copy<'b>(&'b self, recipient: &'b Address, pinned: Option<&'b [PublicKey]>) -> Copy<'b> {
        Copy {
            now: self.context.now,
            from: &self.identity.address,
            recipient,
            list: pinned,
            is_automatic: false,
            is_answer: self.is_answer,
            give: self.context.config.peers.give,
            key: self.holders.last(),
            keys: &self.holders,
        }
    }

    /// Makes what goes on a recipient's copy, and records the stamps that are given, durably. `is_bought` says whether
    /// a bought stamp goes on it.
    pub fn prepare(&self, log: OpenLog<'_>, to: &Correspondent, is_bought: bool) -> Result<CopyFields, ExchangeError> {
        let now = self.context.now;
        let Some(active) = self.identity.active() else { return Ok(CopyFields::default()) };
        let pinned = self.pinned(&to.address);
        let plan = Plan::new(&to.record, &self.copy(&to.address, pinned.as_deref()), is_bought);
        let mut fields = Vec::new();
        let mut gifts = Vec::new();
        for keys in to.record.ring.takers().map(|own| &own.keys) {
            // A stamp that an earlier run gave with this message goes again, as it was.
            let serial = self.serial(&to.address, &keys.signing);
            let earlier = to.record.given.iter().find(|given| given.serial == serial && given.ended.is_none());
            if earlier.is_none() && !plan.give.contains(&keys) {
                continue;
            }
            let issued = earlier.map_or(now, |given| given.issued);
            let days = earlier.map_or(self.context.config.peers.days, Given::days);
            let recipient = gift::Recipient { address: &to.address, holder: &keys.signing, days };
            let (given, token) = gift::give(&self.identity.address, &active.secret, &recipient, serial, issued)?;
            let ephemeral = self.draw(b"ephemeral", &to.address, &keys.signing);
            match sealing::seal(&token, &self.identity.address, &to.address, &keys.sealing, &ephemeral) {
                Ok(sealed) => fields.push((SEALED_FIELD, sealed)),
                Err(error) => {
                    self.context.log_error(&format!("peer: {}: no stamp was given: {error}", to.address));
                    continue;
                }
            }
            gifts.extend(earlier.is_none().then_some(Given { in_answer: self.is_answer, ..given }));
        }
        if !gifts.is_empty() {
            let gave = |record: &PeerRecord| outgoing::gave(record, &gifts, now).unwrap_or_else(|| record.clone());
            log()?.update_peer(self.owner, &to.address, &mut |record| gave(record))?;
        }
        if plan.announce.is_some() {
            fields.push((KEY_FIELD, self.identity.announcement()?.as_str().to_owned()));
        }
        let has_given = !to.record.given.is_empty() || !gifts.is_empty();
        Ok(CopyFields {
            stamp: to.stamp.clone(),
            fields,
            is_announced: plan.announce.is_some(),
            counts: has_given && to.record.wrote < CAUTIOUS_UNTIL,
        })
    }

    /// Puts the fields on a copy, and the holder's signature of the use.
    pub fn put(&self, edit: &mut Edit<'_>, fields: &CopyFields, to: &Address, newline: &str) {
        for (name, value) in &fields.fields {
            edit.insert_top(fold(name, value, newline));
        }
        let Some(stamp) = &fields.stamp else { return };
        let key = self.identity.usable(&stamp.holder).map(|key| &key.secret);
        if let (Some(key), Ok(token)) = (key, Token::parse(&stamp.stamp)) {
            edit.insert_top(fold(STAMP_FIELD, &stamp.stamp, newline));
            for used in self.uses(&token, stamp, key, &edit.to_vec(), to) {
                edit.insert_top(fold(USE_FIELD, used.as_str(), newline));
            }
        }
    }

    /// Signs the use of a stamp on a copy: for the copy as it is, and if that is another message, for what arrives
    /// after a server broke its long lines. The nonce is the same, so both are one use. A list changes its posts, so the
    /// use of its stamp is bound to what stays.
    fn uses(&self, token: &Token, stamp: &Held, key: &SecretKey, copy: &[u8], to: &Address) -> Vec<Token> {
        let [nonce, _] = halves(&self.drawn_by(key, stamp.serial.as_str().as_bytes(), to, &stamp.holder));
        let nonce = Serial::from_random(nonce);
        if stamp.is_list {
            let post = self.post.iter();
            return post.map(|post| Proof::sign_post(token, post, &nonce, self.context.now, key)).collect();
        }
        let copy = Message::parse(copy);
        let (whole, broken) = (Fingerprint::of(&copy), Fingerprint::of_broken(&copy));
        let forms = [Some(whole), (broken != whole).then_some(broken)];
        let sign = |message: Fingerprint| Proof::sign(token, &message, &nonce, self.context.now, key);
        forms.into_iter().flatten().map(sign).collect()
    }

    /// Records what a recipient was told, after the next program accepted the copy. `is_alone` says whether there is
    /// no other recipient.
    pub fn told(&self, store: &dyn Store, to: &Address, fields: &CopyFields, is_alone: bool) -> Result<(), StoreError> {
        let key = fields.is_announced.then(|| self.holders.last()).flatten();
        let private = self.private.as_ref().filter(|(only, _)| is_alone && only == to).map(|(_, name)| name.as_str());
        let now = self.context.now;
        change_peer(store, self.owner, to, now, &mut |record| outgoing::told(record, key, private, now)).map(drop)
    }

    /// Records that a recipient did not get the stamps of a copy, which was refused for good. The next message brings
    /// others.
    pub fn refused(&self, store: &dyn Store, to: &Address) -> Result<(), StoreError> {
        let again = |record: &PeerRecord| PeerRecord { asked: record.contact.is_some(), ..record.clone() };
        store.update_peer(self.owner, to, &mut |record| again(record)).map(drop)
    }

    fn serial(&self, to: &Address, holder: &PublicKey) -> Serial {
        let [serial, _] = halves(&self.draw(b"serial", to, holder));
        Serial::from_random(serial)
    }

    /// Draws 32 bytes that only the user's key, this message, this recipient and this holder give.
    fn draw(&self, what: &[u8], to: &Address, holder: &PublicKey) -> [u8; 32] {
        match self.identity.active() {
            Some(active) => self.drawn_by(&active.secret, what, to, holder),
            None => [0; 32],
        }
    }

    fn drawn_by(&self, key: &SecretKey, what: &[u8], to: &Address, holder: &PublicKey) -> [u8; 32] {
        let mut hash = Sha256::new();
        let to = to.canonical();
        for part in [what, &self.name, to.as_bytes(), &holder.to_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        // An Ed25519 signature follows from its key and its message (RFC 8032), and this one is never shown.
        let signed = key.sign_under(&hash.finalize(), b"", DRAWN);
        Sha256::digest(signed.signature()).into()
    }
}

fn halves(bytes: &[u8; 32]) -> [[u8; 16]; 2] {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&bytes[..16]);
    second.copy_from_slice(&bytes[16..]);
    [first, second]
}

/// Returns the record after its sealed stamps were opened. `pinned` are the keys of a list, if it is that of one.
fn opened(
    record: &PeerRecord,
    from: &Address,
    pinned: Option<&[PublicKey]>,
    own: &[Identity],
    now: UnixTime,
) -> PeerRecord {
    let mut after = record.clone();
    after.sealed.clear();
    for sealed in &record.sealed {
        let giver = match pinned {
            Some(keys) => Giver::list(from, keys),
            None => Giver::sender(from, &record.ring, sealed.is_answer, sealed.is_theirs()),
        };
        let accepted = open_one(&sealed.text, from, own).map(|(identity, token)| {
            let holders = identity.holders();
            offer::accept(&token, &giver, &identity.holder(&holders), &after.held, now)
        });
        match accepted {
            Some(Ok(held)) => after.held = offer::with(after.held, held, now),
            // One of a list is given again soon, and forged ones must not keep its place.
            Some(Err(OfferError::UnknownKey)) if pinned.is_none() => after.sealed.push(sealed.clone()),
            Some(Err(_)) | None => {}
        }
    }
    after
}

/// Opens a sealed stamp of `from` with the key that it was sealed to.
#[must_use]
pub fn open_one<'a>(text: &str, from: &Address, own: &'a [Identity]) -> Option<(&'a Identity, Token)> {
    own.iter().find_map(|identity| {
        let mut usable = identity.keys.iter().rev().filter(|key| key.is_usable());
        let token = usable.find_map(|key| sealing::open(text, from, &identity.address, &key.seal).ok())?;
        Some((identity, token))
    })
}
