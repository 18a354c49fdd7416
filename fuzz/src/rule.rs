//! The user's rules, and a message that they are asked about. Before a NUL stands the file of rules, behind it the
//! message. Rules that pass the check are never wrong when they are asked, a rule that matched is one of them, and the
//! same rules say the same again.

use mailstamp::config::rules::parse;
use mailstamp::message::address::{Address, LocalCase};
use mailstamp::message::parse::Message;
use mailstamp::policy::condition::Environment;
use mailstamp::policy::context::{Extent, MessageContext};
use mailstamp::policy::rule_set::{MOST, RuleError};
use mailstamp::store::memory::Memory;
use mailstamp::verdict::facts::Envelope;
use std::convert::Infallible;
use std::path::Path;
use std::sync::LazyLock;

static TRUSTED: LazyLock<Vec<String>> = LazyLock::new(|| vec!["mx.example".to_owned()]);

/// Bob is the user's contact.
struct World;

impl Environment for World {
    type Trouble = Infallible;

    fn wrote_to(&self, address: &Address) -> Result<bool, Infallible> {
        Ok(address.local() == "bob")
    }

    fn sent(&self, message_id: &str) -> Result<bool, Infallible> {
        Ok(message_id.ends_with("@x.example"))
    }

    fn listed(&self, _: &Path, address: &Address) -> Result<bool, Infallible> {
        self.wrote_to(address)
    }
}

/// Checks one input.
pub fn run(input: &[u8]) {
    let (file, raw) = super::two(input);
    let Ok(file) = std::str::from_utf8(file) else { return };
    let Ok(rules) = parse(file, Path::new("/rules.toml"), LocalCase::Fold) else { return };
    assert!(rules.iter().len() <= MOST);
    let message = Message::parse(raw);
    let Some(verdict) = super::judge(&message, &Memory::new()) else { return };
    let envelope =
        Envelope { sender: Some("bob@y.example".to_owned()), recipient: Address::parse("alice@x.example").ok() };
    let ask = || rules.ruling(&MessageContext::new(&message, &envelope, &verdict, &TRUSTED, Extent::Whole), &World);
    let checked = rules.check();
    match ask() {
        Ok(ruling) => {
            let known = |name: &str| rules.iter().any(|rule| rule.name == name);
            assert!(ruling.as_ref().is_none_or(|ruling| known(&ruling.name)));
            let again = ask();
            assert!(matches!(again, Ok(again) if again == ruling));
        }
        Err(RuleError::Wrong(_)) => assert!(checked.is_err()),
        Err(RuleError::Trouble(never)) => match never {},
    }
}
