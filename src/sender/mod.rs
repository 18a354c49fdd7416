//! Sender's side: accounts at vendors, purchases, and the wallet of unused stamps. Callers use one method,
//! [`StampSource::acquire`](stamp_source::StampSource::acquire). It returns a stamp for each recipient, from the wallet
//! or bought, and never pays twice.
//!
//! - `selection.rs` chooses the vendor and `budget.rs` checks the spending limits, both without I/O.
//! - `wallet/` keeps everything that must survive a crash. `vendor_client.rs` alone talks to a vendor.
//! - `peers.rs` is the exchange of stamps with correspondents, which costs nothing. `peer_keys.rs` has the user's keys.
//!   `list_gift.rs` makes the stamps of a list for its members.
//! - `submission/` sends: one message in, a copy with its own stamp to each recipient.
//!
//! Not here: how a stamp is put on a message (`stamp/affix.rs`).
//!
//! # How nothing is paid or used twice
//!
//! 1. A caller identifies the use of a stamp by a [`ReservationKey`](stamp_request::ReservationKey): the same message
//!    to the same recipient always has the same key.
//! 2. One durable transaction of the wallet returns what the key already holds, reserves unused stamps, and checks the
//!    limits. It also writes the missing purchase into the journal, with a fresh idempotency key and the exact bytes of
//!    the request.
//! 3. Only then the request is sent. Whatever happens to the answer, the same bytes are sent again under the same
//!    idempotency key, by this process or by a later one with the same reservation key.
//! 4. The stamps that arrive go into the wallet and under their reservation keys in one transaction.
//! 5. The caller sends the message and calls [`commit`](wallet::Wallet::commit), or
//!    [`give_back`](wallet::Wallet::give_back) if the message was not sent.

pub mod account;
pub mod budget;
pub mod error;
pub mod list_gift;
pub mod peer_keys;
pub mod peers;
pub mod selection;
pub mod stamp_request;
pub mod stamp_source;
pub mod submission;
pub mod vendor_client;
pub mod wallet;
