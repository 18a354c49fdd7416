//! Self-test of `doctor`: judges a message of its own with a key and a log in memory. It shows that this build on this
//! machine accepts a stamp once, recognizes its message again, and refuses the stamp on another message.

use crate::message::address::{Address, Pattern};
use crate::message::parse::Message;
use crate::stamp::audience::Audience;
use crate::stamp::claims::Stamp;
use crate::stamp::issue;
use crate::stamp::serial::Serial;
use crate::stamp::signing::SecretKey;
use crate::stamp::token::Issuer;
use crate::store::UsedLog;
use crate::store::memory::Memory;
use crate::time::UnixTime;
use crate::verdict::examine::{Step, examine};
use crate::verdict::facts::{Envelope, Facts, KeyDirectory, KeyFact, KeyStatus, Mailbox, Policy, VendorKey};
use crate::verdict::reason::Reason;

const VENDOR: &str = "self-test.invalid";
const NOW: UnixTime = UnixTime(1_800_000_000);

/// Runs the self-test.
///
/// # Errors
/// What failed, as text.
pub fn self_test() -> Result<(), String> {
    let key = SecretKey::from_random(&[7; 32]);
    let keys = OneKey(VendorKey { key: key.public(), status: KeyStatus::Active, not_before: None, not_after: None });
    let token = stamp(&key).map_err(|error| format!("cannot make a stamp: {error}"))?;
    let log = Memory::default();
    for (message_id, expected) in [("one", Reason::Paid), ("one", Reason::Again), ("two", Reason::Used)] {
        let text = format!("Message-ID: <{message_id}@{VENDOR}>\nDigital-Stamp: {token}\n\nself-test\n");
        let reason = judge(&text, &keys, &log)?;
        if reason != expected {
            return Err(format!("message has reason {reason}, expected {expected}"));
        }
    }
    Ok(())
}

fn stamp(key: &SecretKey) -> Result<String, Box<dyn std::error::Error>> {
    let audience = Audience::Plain(Address::parse("self@self-test.invalid")?);
    let stamp = Stamp::new(Serial::new("self-test")?, audience, NOW.plus(3600));
    let issuer = Issuer::new(VENDOR, "self")?;
    Ok(issue::issue(&stamp, &issuer, key)?.as_str().to_owned())
}

fn judge(text: &str, keys: &OneKey, log: &Memory) -> Result<Reason, String> {
    let pattern = Pattern::parse("self@self-test.invalid").map_err(|error| error.to_string())?;
    let mailboxes = [Mailbox { pattern, price: 1, owner: None }];
    let policy = Policy::default();
    let facts = Facts { now: NOW, mailboxes: &mailboxes, policy: &policy, keys };
    let message = Message::parse(text.as_bytes());
    let mut step = examine(&message, &Envelope::default(), &facts);
    loop {
        match step {
            Step::Done(verdict) => return Ok(verdict.reason),
            Step::Spend(claim) => {
                let answer = log.spend(claim.request()).map_err(|error| error.to_string())?;
                step = claim.settle(answer);
            }
        }
    }
}

struct OneKey(VendorKey);

impl KeyDirectory for OneKey {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        if issuer.vendor() == VENDOR { KeyFact::Known(Box::new(self.0.clone())) } else { KeyFact::UnknownVendor }
    }

    fn revoked(&self, _: &str, _: &Serial) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_build_passes_its_own_test() {
        assert_eq!(super::self_test(), Ok(()));
    }
}
