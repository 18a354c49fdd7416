//! Problem details of failed requests (RFC 9457), and their codes.

use serde::{Deserialize, Serialize};

/// Problem details of a failed request. Further members are the numbers of the problem, such as the cap that was
/// exceeded. `/problems` explains the codes.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProblemDetails {
    /// Description for people; not stable.
    #[serde(default)]
    pub detail: String,
    /// Stable code.
    #[cfg_attr(test, schemars(regex(pattern = "^[a-z-]+$")))]
    pub problem: String,
    /// Status of the answer.
    #[serde(skip_deserializing)]
    #[cfg_attr(test, schemars(range(min = 400, max = 599)))]
    pub status: u16,
    /// Name of the status.
    #[serde(skip_deserializing)]
    pub title: String,
    /// Address of the code's explanation.
    #[serde(skip_deserializing, rename = "type")]
    #[cfg_attr(test, schemars(regex(pattern = "^/problems#[a-z-]+$")))]
    pub kind: String,
}

/// Every code with its status and meaning.
pub const CODES: [(&str, u16, &str); 45] = [
    ("account-closed", 403, "The account is closed. Its credits can still be paid out by the vendor."),
    ("account-exists", 409, "An account with this name already exists."),
    (
        "bank-behind",
        409,
        "The bank's chain is not at the head that the vendor saw last: it was restored from a copy. A checkpoint can accept that, or a request for a licence.",
    ),
    ("body", 400, "The body of the request is not JSON of the required form."),
    ("busy", 503, "The vendor is checking the work of other visitors, or this payment. Try again in some seconds."),
    ("code-given", 429, "A code for a stamp was mailed to this address, or to many at its domain, within a day."),
    ("code-waiting", 429, "A code was recently mailed to this address, or for this account. Look there, or wait."),
    ("daily", 429, "The account's cap of credits for one day is reached. It is reset at midnight, UTC."),
    (
        "disk-full",
        503,
        "The vendor's disk is full. Try again later: with the same idempotency key nothing is charged twice.",
    ),
    ("ecash", 422, "The token of Cashu is not accepted; why is said. Nothing was taken."),
    ("form", 422, "A name, an address or a code does not have its form."),
    ("funds", 402, "There are not enough credits to pay with."),
    (
        "idempotency-key",
        400,
        "The header field Idempotency-Key is missing or malformed: 1 to 128 printable characters, new for every purchase and the same for every retry.",
    ),
    ("key-reused", 422, "The idempotency key was already used for another request. Nothing was charged."),
    ("last-api-key", 409, "This is the last active API key of the account. Create another before you revoke it."),
    ("license-limit", 422, "The limit of the licence is higher than the vendor allows; the highest is said."),
    (
        "mail",
        503,
        "The vendor's mail server did not take the code. A code that was not sent does not count; try again later.",
    ),
    (
        "many-licenses",
        429,
        "As many licences are live as the account, or the directory, may have. Try again when one has ended.",
    ),
    ("media-type", 415, "The body of the request must be application/json."),
    ("meter-request", 403, "The signature of a meter's request is missing or not accepted; why is said."),
    ("meters-off", 403, "The vendor licenses no meters."),
    ("method", 405, "This address does not support the method."),
    ("no-account", 404, "There is no such account."),
    ("no-api-key", 401, "The API key belongs to no account, or none was sent."),
    ("no-code", 422, "No code is waiting for this address; ask for a new one."),
    ("no-license", 404, "The account has no licence of this name."),
    ("no-voucher", 422, "No voucher has this code, or it is spent."),
    ("no-work", 403, "The vendor gives no stamps for work."),
    ("not-found", 404, "There is nothing at this address."),
    ("order", 422, "An order is outside the caps; which order and which cap is said."),
    ("other-recipient", 422, "The vendor sells stamps for one recipient, and the order names another."),
    ("paid-otherwise", 402, "The payment is less than the price, or in another currency."),
    ("provider", 503, "The payment provider does not answer. Try again later; nothing is charged twice."),
    ("range", 422, "An amount is out of range."),
    ("rate", 429, "Too many requests; wait for as many seconds as Retry-After says."),
    ("refunded", 409, "The stamp that was paid for cannot be sold, and the payment is refunded."),
    ("revoked-full", 403, "The vendor cannot publish more revoked stamps. Try again in some days."),
    ("signing-key", 409, "The vendor's signing key cannot do this."),
    ("sold-out", 429, "Sold out for now. Retry-After says when more stamps are given."),
    ("stamp", 422, "A stamp cannot be taken or revoked; which one and why is said."),
    ("too-large", 413, "The body of the request is too large."),
    (
        "trouble",
        503,
        "The vendor has an internal error. Try again: with the same idempotency key nothing is charged twice.",
    ),
    ("unpaid", 402, "The payment has not arrived yet, was not made in time, or was refunded."),
    ("work", 422, "The proof of work is wrong, too old, or was tried before."),
    ("wrong-code", 422, "Not the code that was mailed."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_each_once() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0), "{CODES:?}");
    }
}
