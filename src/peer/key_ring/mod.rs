//! Key ring: the keys of one correspondent, and what becomes of them. Each change is a function of what is known and of
//! what was seen. `None` says that nothing changed, and nothing need be written.
//!
//! A key opens the mailbox, so the youngest one must not win in silence, as it may where keys only encrypt:
//!
//! - A first key is `new`. Up to three stand side by side, and each is given stamps, sent to the address alone. The one
//!   that uses its stamp becomes `known`: its owner reads that address.
//! - A known key is followed by the one that it names with its own signature.
//! - Any other key is `changed`. It counts for nothing until the user accepts it.
//! - A key that names two successors is a fork: one of them is a thief's. Nothing counts until the user decides.

use super::announcement::{Announcement, AnnouncementId, Keys, Step};
use crate::message::address::Address;
use crate::stamp::signing::PublicKey;
use crate::time::UnixTime;
use serde::{Deserialize, Serialize};

/// New keys that stand side by side.
pub const NEW_MAX: usize = 3;
/// Changed keys that are kept.
pub const CHANGED_MAX: usize = 2;
/// Past and ended keys that are kept.
pub const OLD_MAX: usize = 8;
/// Steps that are remembered, to see forks.
pub const STEPS_KEPT: usize = 16;
/// Time after which a new key that was never used goes, in seconds.
pub const NEW_LIFETIME: i64 = 90 * 86_400;

/// The keys of one correspondent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRing {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<PeerKey>,
    /// The successors that keys of this ring named, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<(PublicKey, PublicKey)>,
    /// When a fork was seen that the user has not resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forked: Option<UnixTime>,
}

/// One key of a correspondent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerKey {
    #[serde(flatten)]
    pub keys: Keys,
    pub state: KeyState,
    /// When it came to this state.
    pub since: UnixTime,
    /// The announcement from which it is known.
    pub announcement: AnnouncementId,
}

/// The state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Announced; nothing shows whose it is.
    New,
    /// It used a stamp that was sent to the address, it follows a known key, or the user accepted it.
    Known,
    /// Announced beside a known key, which did not name it.
    Changed,
    /// A known key that another one followed. Stamps that it signed are good until they end.
    Past,
    /// Revoked by its owner.
    Revoked,
    /// It named two successors.
    Forked,
    /// Ended by the user.
    Dropped,
}

impl KeyState {
    /// Whether the key counts for nothing any more.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Revoked | Self::Forked | Self::Dropped)
    }
}

/// What shows that a message is from the address in its From field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    None,
    /// A trusted host verified a DKIM signature of the domain.
    Aligned,
    /// Such a signature covers the whole message and names the announcement's field.
    Covered,
    /// The user says so.
    User,
}

/// What is known of the message that brought an announcement.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    pub now: UnixTime,
    /// The only author; `None` if there are several.
    pub from: Option<&'a Address>,
    /// Whether a contact stands with this address.
    pub is_contact: bool,
    /// Whether a program sent the message, or it has the null sender.
    pub is_automatic: bool,
    pub evidence: Evidence,
}

/// Why an announcement counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredReason {
    /// A program sent it.
    Automatic,
    /// It is about another address than that of its sender.
    OtherAddress,
    /// There is no contact with its sender.
    NoContact,
    /// Nothing shows who sent it, or too little for a change of keys.
    Unproven,
    /// The key has ended.
    Ended,
}

/// What an announcement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    Ignored(IgnoredReason),
    /// It was known already, or is older than what is known.
    Unchanged,
    /// The key to seal to is another one now.
    Renewed,
    /// A first key.
    New,
    /// The known key named it as its successor.
    Followed,
    /// An earlier key was revoked. Where it was the known one, this one is new.
    Revoked,
    /// It is kept aside, for the user to decide.
    Changed,
    /// A key has two successors. Nothing counts until the user decides.
    Forked,
    /// The user accepted it.
    Accepted,
}

impl KeyRing {
    /// Returns the keys, the earliest first.
    #[must_use]
    pub fn keys(&self) -> &[PeerKey] {
        &self.keys
    }

    /// Returns when a fork was seen, if the user has not decided since.
    #[must_use]
    pub fn forked(&self) -> Option<UnixTime> {
        self.forked
    }

    /// Returns the known key.
    #[must_use]
    pub fn known(&self) -> Option<&PeerKey> {
        self.in_state(KeyState::Known).next()
    }

    /// Returns the keys for which stamps are made: the known one, or else the new ones.
    pub fn takers(&self) -> impl Iterator<Item = &PeerKey> {
        let state = if self.known().is_some() { KeyState::Known } else { KeyState::New };
        self.in_state(state)
    }

    /// Returns the keys whose stamps are accepted. New ones count in an answer to the user's own message.
    pub fn givers(&self, is_answer: bool) -> impl Iterator<Item = &PeerKey> {
        self.keys.iter().filter(move |key| match key.state {
            KeyState::Known | KeyState::Past => true,
            KeyState::New => is_answer,
            _ => false,
        })
    }

    /// Returns the ring after an announcement was seen, unless it is the same, and what the announcement did.
    ///
    /// A time in the future counts as now. The same announcement is then no newer when it comes again.
    #[must_use]
    pub fn learn(&self, seen: &Announcement, by: &Sighting<'_>) -> (Option<Self>, Learned) {
        let is_users = by.evidence == Evidence::User;
        let ignored = |reason| (None, Learned::Ignored(reason));
        if !is_users {
            if by.is_automatic {
                return ignored(IgnoredReason::Automatic);
            }
            if by.from != Some(&seen.address) {
                return ignored(IgnoredReason::OtherAddress);
            }
            if !by.is_contact {
                return ignored(IgnoredReason::NoContact);
            }
        }
        if by.evidence < Evidence::Aligned {
            return ignored(IgnoredReason::Unproven);
        }
        if self.keys.iter().any(|own| own.announcement == seen.id) && !is_users {
            return (None, Learned::Unchanged);
        }
        let issued = seen.keys.issued.min(by.now);
        let new =
            PeerKey { keys: Keys { issued, ..seen.keys }, state: KeyState::New, since: by.now, announcement: seen.id };
        let mut after = self.clone();
        let learned = after.merge(seen, new, by);
        if matches!(learned, Learned::Ignored(_) | Learned::Unchanged) {
            return (None, learned);
        }
        after.prune();
        (Some(after), learned)
    }

    fn merge(&mut self, seen: &Announcement, new: PeerKey, by: &Sighting<'_>) -> Learned {
        let signing = new.keys.signing;
        if by.evidence == Evidence::User {
            return self.put_users(new);
        }
        if self.is_fork(&seen.steps) {
            return self.fork(new);
        }
        let known = self.known().map(|known| known.keys.signing);
        let steps = known.map(|known| seen.steps_from(&known)).unwrap_or_default();
        match self.keys.iter().find(|own| own.keys.signing == signing).map(|own| own.state) {
            Some(state) if state.is_ended() => return Learned::Ignored(IgnoredReason::Ended),
            // Now the known key names it.
            Some(KeyState::Changed) if !steps.is_empty() => self.keys.retain(|own| own.keys.signing != signing),
            Some(_) => return self.renew(seen, new),
            None => {}
        }
        let Some(known) = known else { return self.put_first(new) };
        // What a thief of the known key, or of one that followed it, could have written appoints none.
        let stolen = seen.stolen.filter(|key| steps.iter().any(|step| step.from == *key));
        match (steps.last(), stolen) {
            (None, _) if by.evidence < Evidence::Covered => Learned::Ignored(IgnoredReason::Unproven),
            (None, _) => self.put_aside(new),
            (Some(_), Some(stolen)) => {
                self.remember(steps);
                let state = if stolen == known { KeyState::Revoked } else { KeyState::Past };
                self.set(&known, state, by.now);
                self.keys.push(new);
                Learned::Revoked
            }
            (Some(_), None) => {
                self.remember(steps);
                self.set(&known, KeyState::Past, by.now);
                self.keys.push(PeerKey { state: KeyState::Known, ..new });
                self.revoke_past(seen, by.now);
                Learned::Followed
            }
        }
    }

    /// Takes what a later announcement of a key of the ring says: another key to seal to, and that the key before it
    /// was stolen after all.
    fn renew(&mut self, seen: &Announcement, new: PeerKey) -> Learned {
        let Some(own) = self.keys.iter_mut().find(|own| own.keys.signing == new.keys.signing) else {
            return Learned::Unchanged;
        };
        let is_known = own.state == KeyState::Known;
        let is_newer = new.keys.issued > own.keys.issued;
        if is_newer {
            (own.keys, own.announcement) = (new.keys, new.announcement);
        }
        match is_known && self.revoke_past(seen, new.since) {
            true => Learned::Revoked,
            false if is_newer => Learned::Renewed,
            false => Learned::Unchanged,
        }
    }

    /// Revokes the past key that the owner says was stolen; returns whether there is one.
    fn revoke_past(&mut self, seen: &Announcement, now: UnixTime) -> bool {
        let past = self.in_state(KeyState::Past).map(|own| own.keys.signing).find(|key| Some(*key) == seen.stolen);
        if let Some(stolen) = past {
            self.set(&stolen, KeyState::Revoked, now);
        }
        past.is_some()
    }

    /// Takes a key that the user brought.
    fn put_users(&mut self, new: PeerKey) -> Learned {
        let signing = new.keys.signing;
        match self.keys.iter_mut().find(|own| own.keys.signing == signing) {
            Some(own) => {
                let (was_known, is_newer) = (own.state == KeyState::Known, new.keys.issued > own.keys.issued);
                if is_newer {
                    (own.keys, own.announcement) = (new.keys, new.announcement);
                }
                if was_known {
                    return if is_newer { Learned::Renewed } else { Learned::Unchanged };
                }
            }
            None => self.keys.push(new.clone()),
        }
        self.put_known(signing, new.since);
        Learned::Accepted
    }

    /// Returns the ring after this key validly used a stamp that was given to it.
    #[must_use]
    pub fn confirm(&self, key: &PublicKey, now: UnixTime) -> Option<Self> {
        let is_new = self.in_state(KeyState::New).any(|own| own.keys.signing == *key);
        if !is_new || self.forked.is_some() || self.known().is_some() {
            return None;
        }
        let mut after = self.clone();
        after.put_known(*key, now);
        Some(after)
    }

    /// Returns the ring after the user accepted a key of it.
    #[must_use]
    pub fn accept(&self, key: &PublicKey, now: UnixTime) -> Option<Self> {
        let own = self.keys.iter().find(|own| own.keys.signing == *key)?;
        if own.state == KeyState::Known {
            return None;
        }
        let mut after = self.clone();
        after.put_known(*key, now);
        after.prune();
        Some(after)
    }

    /// Returns the ring after the user ended all keys of the correspondent.
    #[must_use]
    pub fn drop_all(&self, now: UnixTime) -> Option<Self> {
        let mut after = self.clone();
        let left = after.keys.iter_mut().filter(|own| !own.state.is_ended());
        let ended = left.map(|own| (own.state, own.since) = (KeyState::Dropped, now)).count();
        after.prune();
        (ended > 0).then_some(after)
    }

    /// Returns the ring without the new keys that were not used for long.
    #[must_use]
    pub fn expire(&self, now: UnixTime) -> Option<Self> {
        let is_stale = |own: &PeerKey| own.state == KeyState::New && now.since(own.since) > NEW_LIFETIME;
        let mut after = self.clone();
        after.keys.retain(|own| !is_stale(own));
        (after.keys.len() < self.keys.len()).then_some(after)
    }

    fn in_state(&self, state: KeyState) -> impl Iterator<Item = &PeerKey> {
        self.keys.iter().filter(move |own| own.state == state)
    }

    fn set(&mut self, key: &PublicKey, state: KeyState, now: UnixTime) {
        if let Some(own) = self.keys.iter_mut().find(|own| own.keys.signing == *key) {
            (own.state, own.since) = (state, now);
        }
    }

    /// Makes a key of the ring the known one. Others that could count go.
    fn put_known(&mut self, key: PublicKey, now: UnixTime) {
        self.keys.retain(|own| own.keys.signing == key || !matches!(own.state, KeyState::New | KeyState::Changed));
        if let Some(known) = self.known().map(|known| known.keys.signing) {
            self.set(&known, KeyState::Past, now);
        }
        self.set(&key, KeyState::Known, now);
        self.forked = None;
    }

    /// Adds a first key. A further one takes the place of the oldest: its owner, if it was the right one, announces it
    /// again.
    fn put_first(&mut self, new: PeerKey) -> Learned {
        if self.forked.is_some() {
            return self.put_aside(new);
        }
        self.keys.push(new);
        Learned::New
    }

    fn put_aside(&mut self, new: PeerKey) -> Learned {
        self.keys.push(PeerKey { state: KeyState::Changed, ..new });
        Learned::Changed
    }

    /// Whether a key of the ring named another successor before.
    fn is_fork(&self, steps: &[Step]) -> bool {
        steps.iter().any(|step| self.steps.iter().any(|(from, to)| *from == step.from && *to != step.to))
    }

    /// Ends the known key, and puts the announced one aside with those that could still become known.
    fn fork(&mut self, new: PeerKey) -> Learned {
        let now = new.since;
        if self.forked.is_some() && self.keys.iter().any(|own| own.keys.signing == new.keys.signing) {
            return Learned::Unchanged;
        }
        for own in &mut self.keys {
            match own.state {
                KeyState::Known => (own.state, own.since) = (KeyState::Forked, now),
                KeyState::New => (own.state, own.since) = (KeyState::Changed, now),
                _ => {}
            }
        }
        self.forked = Some(now);
        // The announced one is the latest of those, so that it is not the one that goes beyond the limit.
        match self.keys.iter().position(|own| own.keys.signing == new.keys.signing) {
            None => self.keys.push(PeerKey { state: KeyState::Changed, ..new }),
            Some(at) if self.keys[at].state == KeyState::Changed => self.keys[at..].rotate_left(1),
            Some(_) => {}
        }
        Learned::Forked
    }

    fn remember(&mut self, steps: &[Step]) {
        for step in steps {
            let step = (step.from, step.to);
            if !self.steps.contains(&step) {
                self.steps.push(step);
            }
        }
        let over = self.steps.len().saturating_sub(STEPS_KEPT);
        self.steps.drain(..over);
    }

    /// Keeps the limits: of each kind the oldest goes.
    fn prune(&mut self) {
        let is_old = |state: KeyState| state == KeyState::Past || state.is_ended();
        self.cap(NEW_MAX, |state| state == KeyState::New);
        self.cap(CHANGED_MAX, |state| state == KeyState::Changed);
        self.cap(OLD_MAX, is_old);
    }

    fn cap(&mut self, most: usize, is_kind: impl Fn(KeyState) -> bool) {
        let count = self.keys.iter().filter(|own| is_kind(own.state)).count();
        let mut over = count.saturating_sub(most);
        self.keys.retain(|own| {
            let goes = over > 0 && is_kind(own.state);
            over -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests;
