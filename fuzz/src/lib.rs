//! The setting in which the targets judge: one vendor with one key, one stamp holder, one mailbox, the time at which
//! most fixtures are judged. The keys are those of the fixtures, so that these are seeds that go all the way. What is
//! asked of each parser stands in the module of its name. `tests/core/seeds.rs` includes this file and replays the
//! seeds; the programs in `fuzz_targets/` hand over what libFuzzer makes up.

pub mod address;
pub mod allow_list;
pub mod announcement;
pub mod authentication;
pub mod claims;
pub mod configuration;
pub mod delivery;
pub mod delivery_report;
pub mod directory;
pub mod edit;
pub mod emstamp_line;
pub mod encoding;
pub mod frame;
pub mod judgement;
pub mod lmtp;
pub mod mbox;
pub mod message;
pub mod meter_token;
pub mod milter;
pub mod proof;
pub mod reply;
pub mod result_field;
pub mod row;
pub mod rule;
pub mod seal;
pub mod sealed;
pub mod server_reply;
pub mod stamp;
pub mod submission;
pub mod token;
pub mod vcard;
pub mod zone;

use mailstamp::message::address::Pattern;
use mailstamp::message::parse::Message;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::Issuer;
use mailstamp::store::UsedLog;
use mailstamp::time::UnixTime;
use mailstamp::verdict::examine::{Step, examine};
use mailstamp::verdict::facts::{Envelope, Facts, KeyDirectory, KeyFact, KeyStatus, Mailbox, Policy, VendorKey};
use mailstamp::verdict::finding::Verdict;
use std::sync::LazyLock;

/// 2026-12-01T12:00:00Z.
pub const NOW: UnixTime = UnixTime(1_796_126_400);
/// The one vendor.
pub const VENDOR: &str = "stamps.example";
/// The footer of that vendor's stamps.
pub const FOOTER: &[u8] = br#"{"iss":"stamps.example","kid":"2026q4"}"#;
/// The price of the one mailbox.
pub const PRICE: u64 = 1;

/// The vendor's key.
pub static VENDOR_KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_random(&[1; 32]));
/// The holder's key of a stamp that belongs to a key.
pub static HOLDER_KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_random(&[5; 32]));
/// The key of the boundary that is trusted.
pub static BOUNDARY_KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_random(&[6; 32]));
/// The one mailbox.
pub static MAILBOXES: LazyLock<Vec<Mailbox>> = LazyLock::new(|| {
    let pattern = Pattern::parse("alice@x.example").expect("an address");
    vec![Mailbox { pattern, price: PRICE, owner: None }]
});

/// A directory of the one vendor.
struct OneKey;

impl KeyDirectory for OneKey {
    fn key(&self, issuer: &Issuer) -> KeyFact {
        match (issuer.vendor(), issuer.key_id()) {
            (VENDOR, "2026q4") => KeyFact::Known(Box::new(VendorKey {
                key: VENDOR_KEY.public(),
                status: KeyStatus::Active,
                not_before: None,
                not_after: None,
            })),
            (VENDOR, _) => KeyFact::UnknownKey,
            _ => KeyFact::UnknownVendor,
        }
    }

    fn revoked(&self, _: &str, _: &Serial) -> bool {
        false
    }
}

/// Judges a message as it arrives, with this log. Returns `None` when the log defers.
pub fn judge(message: &Message<'_>, log: &impl UsedLog) -> Option<Verdict> {
    let policy = Policy::default();
    let facts = Facts { now: NOW, mailboxes: &MAILBOXES, policy: &policy, keys: &OneKey };
    let mut step = examine(message, &Envelope::default(), &facts);
    loop {
        match step {
            Step::Done(verdict) => return Some(verdict),
            Step::Spend(claim) => {
                let answer = log.spend(claim.request()).ok()?;
                step = claim.settle(answer);
            }
        }
    }
}

/// The two texts of an input that holds two: what stands before its first NUL, and what follows. Without one, the
/// second is empty.
pub fn two(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.iter().position(|&b| b == 0).unwrap_or(input.len());
    (&input[..at], input.get(at + 1..).unwrap_or_default())
}
