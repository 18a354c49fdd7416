//! `mailstamp vendor`: stamps from the vendor's side. `by_hand.rs` needs nothing but a key; everything else works on the
//! vendor's books, whoever has them at the moment.

#[cfg(feature = "vendor")]
mod account;
#[cfg(feature = "vendor")]
mod books;
mod by_hand;
#[cfg(feature = "vendor")]
mod keeping;
#[cfg(feature = "vendor")]
mod money;
mod publish;
#[cfg(feature = "vendor")]
mod serve;
#[cfg(feature = "vendor")]
mod stamps;
#[cfg(feature = "vendor")]
mod terms;

use super::exit::Failure;
use crate::config::places::Given;
pub use by_hand::unheeded;
#[cfg(feature = "directory")]
pub use by_hand::{pin, public_key, status};
use std::path::PathBuf;

/// The subcommand, and what may stand before it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the books; the subcommand has it as if it stood behind it
    #[arg(id = "books", long = "books", value_name = "FOLDER", global = true, hide = true)]
    _books: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a signing key and print the document by which others trust it
    Keygen(by_hand::Keygen),
    /// Print the document of a signing key once more
    Document(by_hand::Show),
    /// Sign a stamp and print it
    Issue(by_hand::Issue),
    /// Write the next edition of a vendor's directory into a folder
    Publish(publish::Args),
    /// Trust the vendor of a document
    Trust(by_hand::Trust),
    /// Trust a vendor no more
    Untrust(by_hand::Untrust),
    /// List the trusted vendors and their keys
    List(by_hand::List),
    /// Begin a vendor's books
    #[cfg(feature = "vendor")]
    Init(terms::Init),
    /// Show or set the price, and say what so many stamps cost
    #[cfg(feature = "vendor")]
    Price(terms::Price),
    /// Show or set how long stamps hold, the caps, and refunds
    #[cfg(feature = "vendor")]
    Terms(terms::Terms),
    /// Sign with a new key, or revoke one
    #[cfg(feature = "vendor")]
    Rotate(terms::Rotate),
    /// Open, show and close accounts, their API keys and addresses
    #[cfg(feature = "vendor")]
    #[command(subcommand)]
    Account(account::Command),
    /// Add credits that were bought to an account
    #[cfg(feature = "vendor")]
    Credit(money::Credit),
    /// Make vouchers, or put one on an account
    #[cfg(feature = "vendor")]
    Voucher(money::Voucher),
    /// Pay credits of an account out
    #[cfg(feature = "vendor")]
    Payout(money::Payout),
    /// Sell stamps to an account and print them
    #[cfg(feature = "vendor")]
    Sell(stamps::Sell),
    /// Take used stamps back
    #[cfg(feature = "vendor")]
    Deposit(stamps::HandIn),
    /// Take unused stamps back from who bought them
    #[cfg(feature = "vendor")]
    Refund(stamps::HandIn),
    /// Revoke stamps
    #[cfg(feature = "vendor")]
    Revoke(stamps::Revoke),
    /// Say what became of a stamp
    #[cfg(feature = "vendor")]
    Stamp(stamps::Look),
    /// Show what the books come to
    #[cfg(feature = "vendor")]
    Status(keeping::Status),
    /// Count everything again and compare
    #[cfg(feature = "vendor")]
    Audit(keeping::Audit),
    /// Write a copy of the books, also while they are in use
    #[cfg(feature = "vendor")]
    Backup(keeping::Backup),
    /// Put a copy in the place of lost books
    #[cfg(feature = "vendor")]
    Restore(keeping::Restore),
    /// Sell stamps over HTTP, to programs and on a page
    #[cfg(feature = "vendor")]
    Serve(serve::Args),
}

/// Runs a subcommand.
///
/// # Errors
/// A failure that says what was wrong.
pub fn run(command: &Command, given: &Given) -> Result<u8, Failure> {
    match command {
        Command::Keygen(args) => by_hand::keygen(args),
        Command::Document(args) => by_hand::document(args),
        Command::Issue(args) => by_hand::issue(args),
        Command::Publish(args) => publish::run(args, given),
        Command::Trust(args) => by_hand::trust(args, given),
        Command::Untrust(args) => by_hand::untrust(args, given),
        Command::List(args) => by_hand::list(args, given),
        #[cfg(feature = "vendor")]
        Command::Init(args) => terms::init(args, given),
        #[cfg(feature = "vendor")]
        Command::Price(args) => terms::price(args, given),
        #[cfg(feature = "vendor")]
        Command::Terms(args) => terms::terms(args, given),
        #[cfg(feature = "vendor")]
        Command::Rotate(args) => terms::rotate(args, given),
        #[cfg(feature = "vendor")]
        Command::Account(command) => account::run(command, given),
        #[cfg(feature = "vendor")]
        Command::Credit(args) => money::credit(args, given),
        #[cfg(feature = "vendor")]
        Command::Voucher(args) => money::voucher(args, given),
        #[cfg(feature = "vendor")]
        Command::Payout(args) => money::payout(args, given),
        #[cfg(feature = "vendor")]
        Command::Sell(args) => stamps::sell(args, given),
        #[cfg(feature = "vendor")]
        Command::Deposit(args) => stamps::deposit(args, given),
        #[cfg(feature = "vendor")]
        Command::Refund(args) => stamps::refund(args, given),
        #[cfg(feature = "vendor")]
        Command::Revoke(args) => stamps::revoke(args, given),
        #[cfg(feature = "vendor")]
        Command::Stamp(args) => stamps::look(args, given),
        #[cfg(feature = "vendor")]
        Command::Status(args) => keeping::status(args, given),
        #[cfg(feature = "vendor")]
        Command::Audit(args) => keeping::audit(args, given),
        #[cfg(feature = "vendor")]
        Command::Backup(args) => keeping::backup(args, given),
        #[cfg(feature = "vendor")]
        Command::Restore(args) => keeping::restore(args, given),
        #[cfg(feature = "vendor")]
        Command::Serve(args) => serve::run(args, given),
    }
}
