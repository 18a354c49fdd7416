//! People with homes of their own, who write by `sendmail` and judge by `classify`. What leaves one is what arrives at
//! another, under the result of a server that verified a signature.

use crate::sendmail::next::Next;
use crate::support::Home;
use crate::support::programs::{field, without_fields};
use mailstamp::message::address::Address;
use mailstamp::peer::announcement::{Announcement, Keys, Link};
use mailstamp::peer::sealing::SealSecret;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::time::UnixTime;
use serde_json::Value;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Mail of people to whom the user wrote is let through, where a server says who sent it.
const RULES: &str = "[[rule]]\nname = \"known\"\naction = \"allow\"\ncorrespondent = true\nauthenticated = true\n";

const RULES_FILE: &str = ".config/mailstamp/rules.toml";

/// A user.
pub struct Person {
    pub address: &'static str,
    pub home: Home,
    pub next: Next,
}

impl Person {
    /// A user with a key, who has no account at any vendor.
    pub fn new(address: &'static str) -> Self {
        Self::with(address, "")
    }

    /// The same with more of the table `[peers]`.
    pub fn with(address: &'static str, peers: &str) -> Self {
        let person = Self::without_key(address, peers);
        person.home.run(["peer", "key", "new"], b"").exits(0);
        person
    }

    /// A user who has no key.
    pub fn without_key(address: &'static str, peers: &str) -> Self {
        let home = Home::bare();
        let before = format!(
            "addresses = [{address:?}]\ntrusted_authserv_ids = [\"mx.example\"]\n[used_log]\nwait = \"60s\"\n\
             [peers]\nenabled = true\n{peers}"
        );
        let next = Next::install(&home, &before, "when_away = \"plain\"");
        fs::write(home.file(RULES_FILE), RULES).unwrap();
        Self { address, home, next }
    }

    /// Sends a message, and returns what leaves.
    pub fn sends(&self, to: &str, id: &str, answers: Option<&[u8]>) -> Vec<u8> {
        self.sends_with(to, id, answers, "")
    }

    /// The same with more fields.
    pub fn sends_with(&self, to: &str, id: &str, answers: Option<&[u8]>, fields: &str) -> Vec<u8> {
        let answered = answers.and_then(|letter| field(letter, "Message-ID"));
        let answered = answered.map(|id| format!("In-Reply-To: {id}\n")).unwrap_or_default();
        let letter = format!(
            "From: {}\nTo: {to}\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@mail.example>\n{answered}{fields}\
             Subject: {id}\n\nThis is letter {id}.\n",
            self.address
        );
        self.home.run(["sendmail", "-i", "-f", self.address, "--", to], letter.as_bytes()).exits(0);
        let mut calls = self.next.calls();
        assert_eq!(calls.len(), 1);
        calls.remove(0).copy.into_bytes()
    }

    /// Judges a message as it arrives.
    pub fn gets(&self, arrived: &[u8]) -> String {
        self.classifies(arrived, &[])
    }

    /// The same at this time.
    pub fn gets_at(&self, arrived: &[u8], at: UnixTime) -> String {
        self.classifies(arrived, &["--now", &at.to_string()])
    }

    /// The same for another address of the configuration.
    pub fn gets_for(&self, recipient: &str, arrived: &[u8]) -> String {
        self.judges(recipient, arrived, &[])
    }

    fn classifies(&self, arrived: &[u8], more: &[&str]) -> String {
        self.judges(self.address, arrived, more)
    }

    fn judges(&self, recipient: &str, arrived: &[u8], more: &[&str]) -> String {
        let args = ["classify", "--recipient", recipient, "--sender", "x@mail.example"];
        self.home.run(args.iter().chain(more).copied(), arrived).text().trim_end().to_owned()
    }

    /// Sends a message to the other, under a signature of the sender's domain that covers all. Returns its class.
    pub fn writes(&self, to: &Person, id: &str, answers: Option<&[u8]>) -> (Vec<u8>, String) {
        let arrived = signed(&self.sends(to.address, id, answers), domain(self.address), COVERED);
        let class = to.gets(&arrived);
        (arrived, class)
    }

    /// What `peer show` knows of a correspondent.
    pub fn knows(&self, of: &str) -> Value {
        let shown = self.home.run(["peer", "show", "--json", of], b"");
        if shown.code == 0 { serde_json::from_slice(&shown.stdout).unwrap() } else { Value::Null }
    }

    /// The states of a correspondent's keys.
    pub fn states(&self, of: &str) -> Vec<String> {
        let known = self.knows(of);
        let keys = known["keys"].as_array().into_iter().flatten();
        keys.map(|key| key["state"].as_str().unwrap().to_owned()).collect()
    }

    /// The user's public keys, the latest last.
    pub fn keys(&self) -> Vec<String> {
        let shown = self.home.run(["peer", "key", "show", "--json"], b"").exits(0).text();
        let key = |line: &str| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
        shown.lines().map(key).collect()
    }

    /// Gives this user the keys that another has.
    pub fn steals_keys(&self, of: &Person) {
        let file = self.home.file("stolen");
        of.home.run(["peer", "export", file.to_str().unwrap()], b"").exits(0);
        self.home.run(["peer", "import", file.to_str().unwrap()], b"").exits(0);
    }
}

/// The fields that a signature has to name where it changes a key.
pub const COVERED: &str = "From:Date:Message-ID:Subject:Digital-Stamp-Key";

pub fn domain(address: &str) -> &str {
    address.split_once('@').unwrap().1
}

/// A message as it arrives behind a server that verified a signature of this domain over these fields.
pub fn signed(message: &[u8], domain: &str, fields: &str) -> Vec<u8> {
    let top = format!(
        "Authentication-Results: mx.example; dkim=pass header.d={domain} header.b=Abcdefgh\n\
         DKIM-Signature: v=1; a=ed25519-sha256; d={domain}; s=s; h={fields}; bh=AAAA; b=AbcdefghIJKL\n"
    );
    [top.as_bytes(), message].concat()
}

/// A message without some of its fields.
pub fn without(message: &[u8], names: &[&str]) -> Vec<u8> {
    without_fields(std::str::from_utf8(message).unwrap(), names).into_bytes()
}

/// Alice and Bob after they exchanged keys without a vendor, with the last message, which came from Bob. Each of them
/// knows the other's key, and their messages carry each other's stamps.
pub fn friends() -> (Person, Person, Vec<u8>) {
    friends_after(6, "")
}

/// The same after this many messages, where Bob's table `[peers]` has more.
pub fn friends_after(letters: usize, peers: &str) -> (Person, Person, Vec<u8>) {
    let (alice, bob) = (Person::new("alice@x.example"), Person::with("bob@y.example", peers));
    let mut last: Option<Vec<u8>> = None;
    let mut classes = Vec::new();
    for number in 1..=letters {
        let (from, to) = if number % 2 == 1 { (&alice, &bob) } else { (&bob, &alice) };
        let (letter, class) = from.writes(to, &format!("f{number}"), last.as_deref());
        classes.push(class);
        last = Some(letter);
    }
    let (none, rule, peer) = ("unstamped no-stamp", "allowed rule", "first-class peer");
    assert_eq!(classes, [none, rule, rule, rule, peer, peer][..letters]);
    // From now on their stamps alone let their mail through.
    for person in [&alice, &bob] {
        fs::remove_file(person.home.file(RULES_FILE)).unwrap();
    }
    (alice, bob, last.unwrap())
}

/// Keys that a test makes by itself.
pub struct Made {
    pub address: Address,
    pub secret: SecretKey,
    pub keys: Keys,
}

impl Made {
    /// Keys from these numbers, made this many seconds after now.
    pub fn new(address: &str, signing: u8, sealing: u8, seconds: i64) -> Self {
        let secret = SecretKey::from_random(&[signing; 32]);
        let sealing = SealSecret::from_random(&[sealing; 32]).public();
        let keys = Keys { signing: secret.public(), sealing, issued: now().plus(seconds) };
        Self { address: Address::parse(address).unwrap(), secret, keys }
    }

    /// The field that announces them.
    pub fn field(&self, links: &[Link]) -> String {
        let token = Announcement::sign(&self.address, &self.keys, links, None, &self.secret).unwrap();
        format!("Digital-Stamp-Key: {}\n", token.as_str())
    }

    /// A message of this address to Bob, with these fields.
    pub fn letter(&self, id: &str, fields: &str) -> Vec<u8> {
        format!(
            "{fields}From: {}\nTo: bob@y.example\nDate: Sat, 21 Nov 2026 12:00:00 +0000\nMessage-ID: <{id}@made.example>\n\
             Subject: {id}\n\nhello\n",
            self.address
        )
        .into_bytes()
    }
}

pub fn now() -> UnixTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixTime(i64::try_from(now.as_secs()).unwrap())
}

/// Waits for the next second of the clock. Times in tokens are whole seconds, so what is signed then has another one.
pub fn next_second() {
    let before = now();
    while now() == before {
        std::thread::sleep(Duration::from_millis(5));
    }
}
