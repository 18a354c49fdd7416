//! Ways to pay for stamps without an account. A way turns what a buyer shows into a [`Paid`]; the books settle it in the
//! transaction that sells the stamps, so that no payment buys twice. Vouchers are the way that needs nobody else; a
//! provider of payments can be added by implementing [`Payment`].

use crate::bank::chain::Hash;
use crate::bank::money::Money;
use serde::{Deserialize, Serialize};

/// A payment that can be settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paid {
    /// A voucher, by the hash of its code; what it is worth beyond the stamps stays on it.
    Voucher(Hash),
    /// Money that a provider took for exactly these stamps.
    Elsewhere {
        /// `provider:reference`; each is taken once.
        reference: String,
        /// The credits that were paid for.
        credits: u64,
        /// What was paid.
        cost: Money,
    },
}

/// A way to pay.
pub trait Payment: Send + Sync {
    /// Its name: one word, in references and on pages.
    fn name(&self) -> &'static str;

    /// What `evidence` (a voucher's code, a provider's session) is good for. Settles nothing. `credits` and `cost` are what
    /// is to be paid.
    ///
    /// # Errors
    /// A sentence for the buyer.
    fn accept(&self, evidence: &str, credits: u64, cost: Money) -> Result<Paid, String>;
}

/// Payment by voucher codes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouchers;

impl Payment for Vouchers {
    fn name(&self) -> &'static str {
        "voucher"
    }

    fn accept(&self, evidence: &str, _credits: u64, _cost: Money) -> Result<Paid, String> {
        code_hash(evidence).map(Paid::Voucher).ok_or_else(|| "that is not the code of a voucher".to_owned())
    }
}

/// The hash under which the books know a voucher; `None` if the text cannot be a code. Case, spaces and hyphens do not
/// count.
#[must_use]
pub fn code_hash(code: &str) -> Option<Hash> {
    let plain: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let plain = plain.to_ascii_uppercase();
    let fits = plain.len() == 32 && plain.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b));
    fits.then(|| Hash::of(plain.as_bytes()))
}
