//! `mailstamp vendor`: issues and sells stamps. `offline.rs` needs only a key; all other commands work on the vendor's
//! ledger, in this process or through another one.

#[cfg(feature = "vendor")]
mod account;
#[cfg(all(feature = "sender", feature = "vendor"))]
mod cashu;
#[cfg(all(feature = "directory", feature = "vendor"))]
mod cosign;
#[cfg(feature = "vendor")]
mod maintenance;
#[cfg(feature = "vendor")]
mod meters;
mod offline;
#[cfg(feature = "vendor")]
mod open_ledger;
#[cfg(feature = "vendor")]
mod own_vendor;
#[cfg(feature = "vendor")]
mod payments;
mod publish;
#[cfg(feature = "vendor")]
mod serve;
#[cfg(feature = "vendor")]
mod stamps;
#[cfg(feature = "vendor")]
mod terms;
mod web_address;

use crate::cli::ui::exit_status::Failure;
use crate::config::paths::CliOverrides;
use std::path::PathBuf;

/// The subcommand, and the option that may precede it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the ledger, as if given behind the subcommand
    #[arg(id = "ledger", long = "ledger", value_name = "FOLDER", global = true, hide = true)]
    _ledger: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a signing key and print the document by which others trust it
    Keygen(offline::Keygen),
    /// Print the document of a signing key once more
    Document(offline::Show),
    /// Sign a stamp and print it
    Issue(offline::Issue),
    /// Write the next edition of a vendor's directory into a folder
    Publish(publish::Args),
    /// Ask witnesses to cosign the public log
    #[cfg(all(feature = "directory", feature = "vendor"))]
    Cosign(cosign::Args),
    /// Create a vendor's ledger
    #[cfg(feature = "vendor")]
    Init(terms::Init),
    /// Show or set the price, and show the cost of a number of stamps
    #[cfg(feature = "vendor")]
    Price(terms::Price),
    /// Show or set the validity of stamps, and the caps
    #[cfg(feature = "vendor")]
    Terms(terms::Terms),
    /// Sign with a new key, or revoke one
    #[cfg(feature = "vendor")]
    Rotate(terms::Rotate),
    /// Open, show and close accounts, their API keys and addresses
    #[cfg(feature = "vendor")]
    #[command(subcommand)]
    Account(account::Command),
    /// Add purchased credits to an account
    #[cfg(feature = "vendor")]
    Credit(payments::Credit),
    /// Make vouchers, or redeem one for an account
    #[cfg(feature = "vendor")]
    Voucher(payments::Voucher),
    /// Pay out credits of an account
    #[cfg(feature = "vendor")]
    Payout(payments::Payout),
    /// Show what the shop has at mints of Cashu, and take it out
    #[cfg(all(feature = "sender", feature = "vendor"))]
    Cashu(cashu::Args),
    /// Sell stamps to an account and print them
    #[cfg(feature = "vendor")]
    Sell(stamps::Sell),
    /// Take used stamps back
    #[cfg(feature = "vendor")]
    Deposit(stamps::HandIn),
    /// Revoke stamps
    #[cfg(feature = "vendor")]
    Revoke(stamps::Revoke),
    /// Show the licences of meters, or revoke one
    #[cfg(feature = "vendor")]
    Meters(meters::Args),
    /// Show the state of a stamp
    #[cfg(feature = "vendor")]
    Stamp(stamps::Look),
    /// Show the totals of the ledger
    #[cfg(feature = "vendor")]
    Status(maintenance::Status),
    /// Recount everything and compare
    #[cfg(feature = "vendor")]
    Audit(maintenance::Audit),
    /// Write a copy of the ledger, even while it is in use
    #[cfg(feature = "vendor")]
    Backup(maintenance::Backup),
    /// Restore a lost ledger from a copy
    #[cfg(feature = "vendor")]
    Restore(maintenance::Restore),
    /// Sell stamps over HTTP, to programs and on a page
    #[cfg(feature = "vendor")]
    Serve(Box<serve::Args>),
}

impl Args {
    /// Returns whether the command prints its result; `serve` runs on, whether its output is read or not.
    #[must_use]
    pub fn prints(&self) -> bool {
        match self.command {
            #[cfg(feature = "vendor")]
            Command::Serve(_) => false,
            _ => true,
        }
    }
}

pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    match command {
        Command::Keygen(args) => offline::keygen(args),
        Command::Document(args) => offline::document(args),
        Command::Issue(args) => offline::issue(args),
        Command::Publish(args) => publish::run(args, given),
        #[cfg(all(feature = "directory", feature = "vendor"))]
        Command::Cosign(args) => cosign::run(args, given),
        #[cfg(feature = "vendor")]
        Command::Init(args) => match (&args.for_me, &args.buy) {
            (Some(address), Some(buy)) => own_vendor::init(args, address, buy, given),
            _ => terms::init(args, given),
        },
        #[cfg(feature = "vendor")]
        Command::Price(args) => terms::price(args, given),
        #[cfg(feature = "vendor")]
        Command::Terms(args) => terms::terms(args, given),
        #[cfg(feature = "vendor")]
        Command::Rotate(args) => terms::rotate(args, given),
        #[cfg(feature = "vendor")]
        Command::Account(command) => account::run(command, given),
        #[cfg(feature = "vendor")]
        Command::Credit(args) => payments::credit(args, given),
        #[cfg(feature = "vendor")]
        Command::Voucher(args) => payments::voucher(args, given),
        #[cfg(feature = "vendor")]
        Command::Payout(args) => payments::payout(args, given),
        #[cfg(all(feature = "sender", feature = "vendor"))]
        Command::Cashu(args) => cashu::run(args, given),
        #[cfg(feature = "vendor")]
        Command::Sell(args) => stamps::sell(args, given),
        #[cfg(feature = "vendor")]
        Command::Deposit(args) => stamps::deposit(args, given),
        #[cfg(feature = "vendor")]
        Command::Revoke(args) => stamps::revoke(args, given),
        #[cfg(feature = "vendor")]
        Command::Meters(args) => meters::run(args, given),
        #[cfg(feature = "vendor")]
        Command::Stamp(args) => stamps::look(args, given),
        #[cfg(feature = "vendor")]
        Command::Status(args) => maintenance::status(args, given),
        #[cfg(feature = "vendor")]
        Command::Audit(args) => maintenance::audit(args, given),
        #[cfg(feature = "vendor")]
        Command::Backup(args) => maintenance::backup(args, given),
        #[cfg(feature = "vendor")]
        Command::Restore(args) => maintenance::restore(args, given),
        #[cfg(feature = "vendor")]
        Command::Serve(args) => serve::run(args, given),
    }
}
