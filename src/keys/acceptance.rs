//! What of that which a source offered is believed. A directory needs the signature of a key that is known already (pinned,
//! or listed by what was accepted before), unless the user lets the source itself vouch; its version may only grow; it must
//! be in date. What is refused changes nothing: what was accepted before stays. Pure: what was fetched is handed in.

use super::cache::{Accepted, Record};
use super::directory::{Directory, DirectoryError, LONGEST, Opened, Unheeded, open_under};
use super::document::{DocumentError, KeyEntry, Publishes, SignedDirectory, Status, VendorEntry, time};
use crate::config::sources::{NewKeys, Source};
use crate::mail::time::UnixTime;
use crate::stamp::signature::PublicKey;
use crate::stamp::wire::Token;

/// What a source has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// One signed directory, as tokens of several keys.
    Signed(Vec<String>),
    /// Keys from DNS.
    Listed {
        /// Their edition.
        version: u64,
        /// From when on they are stale (RFC 3339).
        expires: String,
        /// The publisher with them.
        entry: VendorEntry,
    },
}

/// What the offer is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What the user pinned.
    pub pinned: &'a Directory,
    /// All that is known: that, and what was accepted before.
    pub directory: &'a Directory,
    /// The time.
    pub now: UnixTime,
}

/// Why an offer is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is not well formed.
    #[error("it is not well formed: {0}")]
    Content(#[from] DirectoryError),
    /// It is signed with a key of a known name, and the signature does not hold.
    #[error("its signature does not hold under the key {0} that is known")]
    Forged(String),
    /// No key that signed it is known.
    #[error("it is signed by no key that is known; if the vendor has new keys, trust his new document by hand")]
    UnknownSigner,
    /// The key that signed it is revoked or has ended.
    #[error("the key that signed it was revoked or has ended")]
    SignerEnded,
    /// It is somebody else's.
    #[error("it is a directory of {0}")]
    Publisher(String),
    /// The source went back.
    #[error("the source went back to version {offered}; {accepted} was accepted from it")]
    Back {
        /// What it offers now.
        offered: u64,
        /// What it had.
        accepted: u64,
    },
    /// Another source has a newer one.
    #[error("it is version {offered}, and {seen} was seen elsewhere")]
    Behind {
        /// What it offers.
        offered: u64,
        /// The highest version known.
        seen: u64,
    },
    /// It says something else than before under the same version.
    #[error("version {0} says something else than it did")]
    Changed(u64),
    /// It is past its date.
    #[error("it is past its date, {0}")]
    Expired(String),
}

impl Refusal {
    /// Whether somebody may be up to something. A mirror that is slow is no alarm.
    #[must_use]
    pub fn alarms(&self) -> bool {
        !matches!(self, Self::Behind { .. })
    }
}

/// Judges what `source` offered, and takes it into the publisher's record. `authentic` is whether it certainly came from the
/// source: over HTTPS, under DNSSEC. The answer is its version.
///
/// # Errors
/// [`Refusal`]; the record is as it was.
pub fn accept(
    offer: Offer,
    authentic: bool,
    source: &Source,
    record: &mut Record,
    known: &Known<'_>,
) -> Result<u64, Refusal> {
    let vouches = source.accept_weak || authentic && source.new_keys == NewKeys::Channel;
    let (accepted, root) = match offer {
        Offer::Signed(tokens) => signed(&tokens, vouches, source, record, known)?,
        Offer::Listed { version, expires, entry } => {
            entry.check().map_err(DirectoryError::from)?;
            (Accepted::Listed { version, expires, entry, gives: vouches }, record.root)
        }
    };
    let statement = accepted.statement(&source.publisher)?;
    for entry in &statement.vendors {
        entry.check().map_err(DirectoryError::from)?;
    }
    let doubtful = matches!(accepted, Accepted::Listed { gives: false, .. });
    let from = source.origin.to_string();
    let last = record.sources.iter().find(|heard| heard.from == from).and_then(|heard| heard.accepted.as_ref());
    if let Some(last) = last {
        let before = last.statement(&source.publisher)?;
        // What anybody could have put there says nothing about what may come after it.
        if statement.version < before.version && !matches!(last, Accepted::Listed { gives: false, .. }) {
            return Err(Refusal::Back { offered: statement.version, accepted: before.version });
        }
        let same = statement.vendors == before.vendors && statement.expires == before.expires;
        if statement.version == before.version && !same && !doubtful {
            return Err(Refusal::Changed(statement.version));
        }
    }
    if statement.version < record.version {
        return Err(Refusal::Behind { offered: statement.version, seen: record.version });
    }
    if known.now > statement.expires {
        return Err(Refusal::Expired(statement.expires.to_string()));
    }
    if !doubtful {
        record.version = statement.version;
        record.root = root;
    }
    record.source(&from).accepted = Some(accepted);
    Ok(statement.version)
}

/// The first token that may be believed, and the pinned key on which that rests.
fn signed(
    tokens: &[String],
    vouches: bool,
    source: &Source,
    record: &Record,
    known: &Known<'_>,
) -> Result<(Accepted, Option<PublicKey>), Refusal> {
    let mut refused = Refusal::UnknownSigner;
    for text in tokens {
        let opened = match known.directory.open(text, known.now) {
            Err(DirectoryError::Forged(_)) => return Err(Refusal::Forged(signer_name(text))),
            Err(error) => return Err(error.into()),
            Ok(Err(Unheeded::KeyEnded(_))) => {
                refused = Refusal::SignerEnded;
                continue;
            }
            Ok(Err(_)) if vouches => (by_itself(text)?, None),
            Ok(Err(_)) => continue,
            Ok(Ok(opened)) => {
                let pinned = known.pinned.pins(&source.publisher, &opened.key);
                let root = if pinned { Some(opened.key) } else { record.root };
                (opened, root)
            }
        };
        let (opened, root) = opened;
        if opened.publisher != source.publisher {
            return Err(Refusal::Publisher(opened.publisher));
        }
        if own_key(&opened).is_some_and(|key| key.status == Status::Revoked) {
            refused = Refusal::SignerEnded;
            continue;
        }
        return Ok((Accepted::Signed { directory: text.clone(), signer: opened.key }, root));
    }
    Err(refused)
}

/// A directory under the key that it lists itself for its signer.
fn by_itself(text: &str) -> Result<Opened, Refusal> {
    let token = Token::parse_document(text, LONGEST).map_err(|_| DirectoryError::Token)?;
    let issuer = token.issuer().map_err(|_| DirectoryError::Token)?;
    let content: SignedDirectory =
        serde_json::from_slice(token.payload()).map_err(|error| DirectoryError::from(DocumentError::from(error)))?;
    time(&content.expires).map_err(DirectoryError::from)?;
    let own = content.vendors.iter().find(|entry| entry.vendor == issuer.vendor());
    let key = own.and_then(|entry| entry.keys.iter().find(|key| key.kid == issuer.key_id()));
    let key = key.ok_or(Refusal::UnknownSigner)?.parse().map_err(DirectoryError::from)?;
    Ok(open_under(&token, &key.key)?)
}

/// The vendor of a directory that nobody vouches for yet, as it describes him itself: for a person to confirm. That it
/// might list others too is nothing that a vendor can say of himself.
///
/// # Errors
/// [`Refusal`] when it does not even agree with itself.
pub fn introduced(tokens: &[String]) -> Result<VendorEntry, Refusal> {
    let Opened { publisher, content, .. } = by_itself(tokens.first().ok_or(Refusal::UnknownSigner)?)?;
    let own = content.vendors.into_iter().find(|entry| entry.vendor == publisher).ok_or(Refusal::UnknownSigner)?;
    Ok(VendorEntry { publishes: Publishes::Own, ..own })
}

/// What a directory says of the key that signed it.
fn own_key(opened: &Opened) -> Option<&KeyEntry> {
    let own = opened.content.vendors.iter().find(|entry| entry.vendor == opened.publisher)?;
    own.keys.iter().find(|key| key.key == opened.key.to_string())
}

fn signer_name(text: &str) -> String {
    let issuer = Token::parse_document(text, LONGEST).ok().and_then(|token| token.issuer().ok());
    issuer.map(|issuer| issuer.key_id().to_owned()).unwrap_or_default()
}
