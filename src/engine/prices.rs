//! Prices that users set for their own mailboxes, which the gateway then asks of senders (mailstamp-gateway(8)). The
//! administrator's configuration says whose mailboxes they are, and what they cost otherwise.
//!
//! A user may set the price of an address whose `owner` is the user's login name, and of the address with that name in
//! a domain of which every address is listed (`*@x.example`) without an owner.

use crate::config::Config;
use crate::message::address::Address;
use crate::stamp::claims::VALUE_MAX;
use crate::store::prices::{self, PriceList, Prices};
use crate::verdict::facts::Mailbox;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Whose mailboxes they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party<'a> {
    /// Every mailbox of the configuration: the administrator asks, or a user to whom alone it applies.
    All,
    /// Of the user with this login name.
    User(&'a str),
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceQuestion {
    /// The mailbox; absent for the only one of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The change; absent if none is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<PriceChange>,
}

/// Change of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriceChange {
    /// From 0 to [`VALUE_MAX`] credits.
    Set(u64),
    /// Back to the administrator's price.
    Unset,
}

/// What a mailbox costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxPrice {
    pub address: String,
    /// In credits.
    pub price: u64,
    /// The administrator's price.
    pub default: u64,
    /// Whether the price was set for this mailbox.
    pub is_set: bool,
}

/// Kind of a [`PriceError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriceProblem {
    /// No prices of users here.
    Off,
    /// A mailbox of another user.
    Foreign,
    /// The question needs another form.
    Question,
    /// Another try may succeed.
    System,
}

/// The question is refused, or cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    #[error("no gateway here takes prices of users: [gateway.inbound] has no key prices")]
    Off,
    #[error("{0}: no mailbox of yours")]
    Foreign(Address),
    #[error("no mailbox of yours is known here")]
    NoMailbox,
    #[error("several mailboxes: {}", .0.join(", "))]
    Several(Vec<String>),
    #[error("a price is from 0 to {VALUE_MAX} credits")]
    Price,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

impl PriceError {
    /// Returns the kind of the error.
    #[must_use]
    pub fn problem(&self) -> PriceProblem {
        match self {
            Self::Off => PriceProblem::Off,
            Self::Foreign(_) => PriceProblem::Foreign,
            Self::NoMailbox | Self::Several(_) | Self::Price => PriceProblem::Question,
            Self::File { .. } => PriceProblem::System,
        }
    }
}

/// Answers a question: makes the change, and returns the prices of the mailboxes that it is about. They are on the disk
/// before it returns.
///
/// # Errors
/// [`PriceError`]; nothing is changed then.
pub fn answer(config: &Config, party: Party<'_>, question: &PriceQuestion) -> Result<Vec<MailboxPrice>, PriceError> {
    let inbound = config.gateway.as_ref().and_then(|gateway| gateway.inbound.as_ref());
    let (inbound, path) = inbound.and_then(|it| Some((it, it.prices.as_deref()?))).ok_or(PriceError::Off)?;
    answer_in(path, inbound.price, &config.mailboxes, party, question)
}

fn answer_in(
    path: &Path,
    default: u64,
    mailboxes: &[Mailbox],
    party: Party<'_>,
    question: &PriceQuestion,
) -> Result<Vec<MailboxPrice>, PriceError> {
    let failed = |source| PriceError::File { path: path.to_owned(), source };
    let list = Prices::new(path.to_owned()).list().map_err(failed)?;
    let known = known(mailboxes, party, &list);
    let address = match (&question.address, question.change) {
        (Some(address), _) if of_party(mailboxes, party, address) => address.clone(),
        (Some(address), _) => return Err(PriceError::Foreign(address.clone())),
        (None, None) => return Ok(known.into_keys().map(|name| shown(default, &list, name)).collect()),
        (None, Some(_)) => {
            let mut all = known.into_iter();
            match (all.next(), all.next()) {
                (None, _) => return Err(PriceError::NoMailbox),
                (Some((_, only)), None) => only,
                (Some((first, _)), Some((second, _))) => {
                    let names = [first, second].into_iter().chain(all.map(|(name, _)| name));
                    return Err(PriceError::Several(names.collect()));
                }
            }
        }
    };
    let price = match question.change {
        None => None,
        Some(PriceChange::Set(price)) if price > VALUE_MAX => return Err(PriceError::Price),
        Some(PriceChange::Set(price)) => Some(Some(price)),
        Some(PriceChange::Unset) => Some(None),
    };
    let mut list = PriceList::clone(&list);
    if let Some(price) = price {
        prices::change(path, &address, price).map_err(failed)?;
        match price {
            Some(price) => list.insert(address.normalized(), price),
            None => list.remove(&address.normalized()),
        };
    }
    Ok(vec![shown(default, &list, address.normalized())])
}

/// Returns whether the address is one of the party's mailboxes.
fn of_party(mailboxes: &[Mailbox], party: Party<'_>, address: &Address) -> bool {
    let Some(mailbox) = mailboxes.iter().find(|mailbox| mailbox.pattern.matches(address)) else { return false };
    match (party, &mailbox.owner) {
        (Party::All, _) => true,
        (Party::User(user), Some(owner)) => owner == user,
        (Party::User(user), None) => {
            mailbox.pattern.covers_many()
                && named(user, address.domain())
                    .is_some_and(|own| mailbox.pattern.spelling(&own) == mailbox.pattern.spelling(address))
        }
    }
}

/// Returns the mailboxes of the party whose addresses are known, by their canonical form.
fn known(mailboxes: &[Mailbox], party: Party<'_>, list: &PriceList) -> BTreeMap<String, Address> {
    let listed = list.keys().filter_map(|text| Address::parse(text).ok());
    let exact = mailboxes.iter().filter_map(|mailbox| mailbox.pattern.exact().cloned());
    let by_name = mailboxes.iter().filter_map(|mailbox| match party {
        Party::User(user) if mailbox.pattern.covers_many() => named(user, mailbox.pattern.domain()?),
        _ => None,
    });
    let all = listed.chain(exact).chain(by_name).filter(|address| of_party(mailboxes, party, address));
    all.map(|address| (address.normalized(), address)).collect()
}

fn named(user: &str, domain: &str) -> Option<Address> {
    // A login name may contain an '@', and the domain is none of its own then.
    if user.contains('@') { None } else { Address::parse(&format!("{user}@{domain}")).ok() }
}

fn shown(default: u64, list: &PriceList, address: String) -> MailboxPrice {
    let set = list.get(&address).copied();
    MailboxPrice { price: set.unwrap_or(default), default, is_set: set.is_some(), address }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::address::Pattern;

    fn mailboxes() -> Vec<Mailbox> {
        let mailbox = |pattern: &str, owner: Option<&str>| Mailbox {
            pattern: Pattern::parse(pattern).unwrap(),
            price: 1,
            owner: owner.map(str::to_owned),
        };
        vec![
            mailbox("sales@x.example", Some("alice")),
            mailbox("boss@x.example", Some("bob")),
            mailbox("shared@x.example", None),
            mailbox("*@x.example", None),
            mailbox("/^dora@y\\.example$/", Some("dora")),
        ]
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn ask(
        path: &Path,
        party: Party<'_>,
        of: Option<&str>,
        change: Option<PriceChange>,
    ) -> Result<Vec<(String, u64, bool)>, String> {
        let question = PriceQuestion { address: of.map(address), change };
        let answer = answer_in(path, 3, &mailboxes(), party, &question).map_err(|error| error.to_string())?;
        Ok(answer.into_iter().map(|it| (it.address, it.price, it.is_set)).collect())
    }

    // E16, E17, E18
    #[test]
    fn users_set_prices_of_their_own_mailboxes() {
        let folder = tempfile::tempdir().unwrap();
        let path = &folder.path().join("prices");
        let alice = Party::User("alice");
        let row = |name: &str, price, set| (name.to_owned(), price, set);
        let own = [row("alice@x.example", 3, false), row("sales@x.example", 3, false)];
        assert_eq!(ask(path, alice, None, None).unwrap(), own);
        let set = |of, price| ask(path, alice, of, Some(PriceChange::Set(price)));
        assert_eq!(set(None, 5).unwrap_err(), "several mailboxes: alice@x.example, sales@x.example");
        assert_eq!(set(Some("Alice@x.example"), 5).unwrap(), [row("alice@x.example", 5, true)]);
        assert_eq!(set(Some("sales@x.example"), 0).unwrap(), [row("sales@x.example", 0, true)]);
        assert_eq!(set(Some("sales@x.example"), VALUE_MAX + 1).unwrap_err(), PriceError::Price.to_string());
        let own = [row("alice@x.example", 5, true), row("sales@x.example", 0, true)];
        assert_eq!(ask(path, alice, None, None).unwrap(), own);
        let unset = ask(path, alice, Some("alice@x.example"), Some(PriceChange::Unset));
        assert_eq!(unset.unwrap(), [row("alice@x.example", 3, false)]);
        // The only mailbox needs no name.
        let carol = ask(path, Party::User("carol"), None, Some(PriceChange::Set(7)));
        assert_eq!(carol.unwrap(), [row("carol@x.example", 7, true)]);
    }

    #[test]
    fn nobody_sets_the_price_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = &folder.path().join("prices");
        let set = |user, of| ask(path, Party::User(user), Some(of), Some(PriceChange::Set(1)));
        for of in [
            "bob@x.example",
            "boss@x.example",
            "shared@x.example",
            "alice+tag@x.example",
            "alice@y.example",
            "dora@y.example",
            "\"alice@x.example\"@x.example",
        ] {
            assert!(set("alice", of).unwrap_err().ends_with("no mailbox of yours"), "{of}");
        }
        assert!(set("dora", "dora@y.example").is_ok());
        // A login name of a directory service is none of this domain.
        assert!(set("news@corp.example", "news@x.example").is_err());
        assert!(ask(path, Party::User("news@corp.example"), None, Some(PriceChange::Set(1))).is_err());
        let all = |of| ask(path, Party::All, Some(of), Some(PriceChange::Set(1)));
        assert!(all("shared@x.example").is_ok() && all("a@z.example").is_err());
    }
}
