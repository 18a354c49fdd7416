//! The sender's side: accounts at vendors, buying, and the wallet of unused stamps. Callers use one method,
//! [`Sender::supply`](stamp_source::Sender::supply): a stamp for each recipient, from the wallet or bought, never paid twice.
//!
//! - `selection.rs` chooses the vendor and `budget.rs` checks the caps, both without I/O.
//! - `wallet/` keeps all that must survive a crash. `vendor_client.rs` alone talks to a vendor.
//! - `submission/` sends: one message in, a copy with its own stamp to each recipient.
//!
//! Left out: how a stamp is put on a message (`stamp/affix.rs`).
//!
//! # How nothing is paid or used twice
//!
//! 1. A caller names what a stamp is for by a [`ReservationKey`](stamp_request::ReservationKey): the same message to the same
//!    recipient has the same key, always.
//! 2. In one durable transaction the wallet answers what the key holds already, reserves unused stamps, checks the caps, and
//!    writes into its journal what is to be bought, with a fresh idempotency key and the request's very bytes.
//! 3. Only then the request goes out. Whatever becomes of the answer, the same bytes go out again under the same
//!    idempotency key, by this process or by one that comes later with the same reservation key.
//! 4. What arrives is put into the wallet and under its reservation keys in one transaction.
//! 5. The caller sends his message, and says [`commit`](wallet::Wallet::commit), or
//!    [`give_back`](wallet::Wallet::give_back) if it did not leave.

pub mod account;
pub mod budget;
pub mod error;
pub mod selection;
pub mod stamp_request;
pub mod stamp_source;
pub mod submission;
pub mod vendor_client;
pub mod wallet;
