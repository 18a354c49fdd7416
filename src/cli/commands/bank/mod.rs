//! `mailstamp bank`: the credits of a mail gateway.

mod agency;
mod books;

use crate::bank::error::BankError;
use crate::bank::handle::Bank;
use crate::cli::ui::exit_status::{CONFIG, DATA, Failure, NO_INPUT, NO_PERMISSION, TEMPFAIL};
use crate::config::paths::CliOverrides;
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create the bank of this host
    Init(books::Init),
    /// Take a licence to pay
    License(agency::License),
    /// Order credits
    Buy(agency::Buy),
    /// Order money for credits
    Redeem(agency::Redeem),
    /// Hand in what was received, and compare with the agency
    Clear(agency::Clear),
    /// Show what the bank has
    Balance(books::Balance),
    /// List what came and went
    Statement(books::Statement),
    /// Recount everything and compare
    Audit(books::Audit),
    /// Accept that the bank was restored from a copy
    AcceptRestored(agency::AcceptRestored),
}

pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let bank = Bank::new(context.places.state()?, context.config.wait);
    match command {
        Command::Init(args) => books::init(args, &context, &bank),
        Command::License(args) => agency::license(args, &context, &bank),
        Command::Buy(args) => agency::buy(args, &context, &bank),
        Command::Redeem(args) => agency::redeem(args, &context, &bank),
        Command::Clear(args) => agency::clear(args, &context, &bank),
        Command::AcceptRestored(args) => agency::accept_restored(args, &context, &bank),
        Command::Balance(args) => books::balance(args, &context, &bank),
        Command::Statement(args) => books::statement(args, &context, &bank),
        Command::Audit(args) => books::audit(args, &bank),
    }
}

impl From<BankError> for Failure {
    fn from(error: BankError) -> Self {
        let code = match &error {
            BankError::Refused(_) => NO_PERMISSION,
            BankError::Absent { .. } => NO_INPUT,
            BankError::Exists { .. } => DATA,
            BankError::Damaged { .. } | BankError::Missing { .. } => CONFIG,
            BankError::Store(_) | BankError::Left => TEMPFAIL,
        };
        Self::new(code, error)
    }
}
