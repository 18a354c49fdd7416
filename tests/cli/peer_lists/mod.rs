//! Stamps for mailing lists: how their owner gives them, and what subscribers make of posts that went through mlmmj and
//! Mailman.

mod commands;
mod page;
mod programs;

use crate::peer_attacks::person::Person;
use std::fs;

pub const LIST: &str = "talk@lists.example";
/// The list's owner.
const OWNER: &str = "ann@lists.example";

/// A mailing list with a key. Its owner's home judges for the list, too.
pub struct MailingList {
    pub owner: Person,
    pub key: String,
}

impl MailingList {
    pub fn new() -> Self {
        let owner = Person::new(OWNER);
        owner_of_both(&owner);
        let made = owner.home.run(["peer", "key", "new", "--list", LIST], b"").exits(0).text();
        let key = made.split_whitespace().last().unwrap().to_owned();
        Self { owner, key }
    }

    /// A user who pinned the key.
    pub fn reader(&self, address: &'static str) -> Person {
        self.pinned_by(Person::new(address))
    }

    /// Readers who share a configuration and a log: owners and addresses.
    pub fn readers(&self, all: &[(&str, &'static str)]) -> Person {
        let person = Person::without_key(all[0].1, "");
        let addresses = all.iter().map(|(owner, address)| format!("{{ address = {address:?}, owner = {owner:?} }}"));
        let addresses: Vec<String> = addresses.collect();
        readdress(&person, &addresses.join(", "));
        self.pinned_by(person)
    }

    /// A reader whose key the owner accepted.
    pub fn member_without_stamp(&self, address: &'static str) -> Person {
        let member = self.reader(address);
        let shown = member.home.run(["peer", "key", "show", "--json"], b"").exits(0).text();
        let shown: serde_json::Value = serde_json::from_str(shown.trim()).unwrap();
        self.owner.home.run(["peer", "accept", address, shown["announcement"].as_str().unwrap()], b"").exits(0);
        member
    }

    /// A member to whom the owner gave a stamp.
    pub fn member(&self, address: &'static str) -> Person {
        let member = self.member_without_stamp(address);
        member.gets(&self.gift(address));
        member
    }

    /// The message that brings a member a stamp.
    pub fn gift(&self, to: &str) -> Vec<u8> {
        self.owner.home.run(["peer", "give", "--list", LIST, "--to", to], b"").exits(0).stdout
    }

    fn pinned_by(&self, person: Person) -> Person {
        person.home.run(["peer", "pin", LIST, &self.key], b"").exits(0);
        person
    }
}

/// Gives the owner the list's address, too.
fn owner_of_both(owner: &Person) {
    readdress(owner, &format!("{OWNER:?}, {LIST:?}"));
}

fn readdress(person: &Person, addresses: &str) {
    let text = fs::read_to_string(person.home.config()).unwrap();
    let before = format!("[{:?}]", person.address);
    assert!(text.contains(&before), "{text}");
    person.home.configure(&text.replacen(&before, &format!("[{addresses}]"), 1));
}

/// What a list makes of a post.
pub fn as_list_sends(post: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(post).unwrap().replacen("Subject: ", "Subject: [talk] ", 1);
    format!("List-Id: <talk.lists.example>\n{text}-- \nthe list talk\n").into_bytes()
}
