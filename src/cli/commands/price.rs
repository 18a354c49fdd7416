//! `mailstamp price`: what a mailbox asks of senders through the gateway.

use crate::cli::ui::counts::{counted, grouped, tame};
use crate::cli::ui::exit_status::{CONFIG, DATA, Failure, NO_PERMISSION, TEMPFAIL, UNAVAILABLE};
use crate::cli::ui::output;
use crate::cli::ui::table::Table;
use crate::config::Config;
use crate::config::paths::{CliOverrides, Paths};
use crate::engine::prices::{self, MailboxPrice, Party, PriceChange, PriceProblem, PriceQuestion};
use crate::engine::remote::prices::{self as remote, PriceOutcome, PriceResponse};
use crate::message::address::Address;
use crate::stamp::claims::VALUE_MAX;
use serde_json::json;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show what your mailboxes ask
    Show(Show),
    /// Set what a mailbox asks
    Set(Set),
    /// Ask what the administrator asks
    Unset(Unset),
}

/// Show what your mailboxes ask of senders for a message, in credits of eMstamp. The administrator sees all.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp price show\n  mailstamp price show --address sales@x.example")]
pub struct Show {
    #[command(flatten)]
    of: Of,
}

/// Set what a mailbox asks of senders for a message, in credits of eMstamp; 0 asks nothing. It holds for messages that
/// begin from now on.
///
/// The daemon of the system knows who asks, and a user may set the prices of their own mailboxes only. With --config
/// the command itself changes the file, as an administrator may.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp price set 5\n  \
    mailstamp price set 1 --address sales@x.example\n  \
    mailstamp --config /etc/mailstamp/config.toml price set 5 --address bob@x.example\n\n\
    Exit status: 0 done; 65 name the mailbox; 69 no daemon; 77 no mailbox of yours; 78 no prices of users here")]
pub struct Set {
    /// The price
    #[arg(value_name = "CREDITS", value_parser = clap::value_parser!(u64).range(0..=VALUE_MAX))]
    credits: u64,
    #[command(flatten)]
    of: Of,
}

/// Remove the price that was set for a mailbox. It asks again what the administrator's configuration says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp price unset --address sales@x.example")]
pub struct Unset {
    #[command(flatten)]
    of: Of,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct Of {
    /// The mailbox; not needed if you have one only
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Address>,
    /// Print a JSON object for each mailbox
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure that says whose mailbox it is not, or that no daemon answers.
pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    let (of, change) = match command {
        Command::Show(args) => (&args.of, None),
        Command::Set(args) => (&args.of, Some(PriceChange::Set(args.credits))),
        Command::Unset(args) => (&args.of, Some(PriceChange::Unset)),
    };
    let question = PriceQuestion { address: of.address.clone(), change };
    let prices = if given.config.is_some() { own(given, &question)? } else { asked(given, &question)? };
    tell(&prices, change.is_some(), of.json)
}

/// Answers from the configuration that was named.
fn own(given: &CliOverrides, question: &PriceQuestion) -> Result<Vec<MailboxPrice>, Failure> {
    let (config, _): (Config, Paths) = Paths::read(given)?;
    prices::answer(&config, Party::All, question).map_err(|error| Failure::new(code(error.problem()), error))
}

/// Asks the daemon.
fn asked(given: &CliOverrides, question: &PriceQuestion) -> Result<Vec<MailboxPrice>, Failure> {
    match remote::ask(given, question) {
        PriceOutcome::Answered(PriceResponse::Prices(prices)) => Ok(prices),
        PriceOutcome::Answered(PriceResponse::Refused { problem, what }) => {
            Err(Failure::new(code(problem), tame(&what)))
        }
        PriceOutcome::NotRunning => Err(Failure::new(UNAVAILABLE, "no daemon of the system is running")
            .hint("an administrator can name the file: mailstamp --config /etc/mailstamp/config.toml price")),
        PriceOutcome::Silent(socket) => {
            let what = format!("the process listening at {} has no prices", socket.display());
            Err(Failure::new(UNAVAILABLE, what).hint("it may be of another version, or hang"))
        }
    }
}

fn code(problem: PriceProblem) -> u8 {
    match problem {
        PriceProblem::Off => CONFIG,
        PriceProblem::Foreign => NO_PERMISSION,
        PriceProblem::Question => DATA,
        PriceProblem::System => TEMPFAIL,
    }
}

fn tell(prices: &[MailboxPrice], is_changed: bool, as_json: bool) -> Result<u8, Failure> {
    if as_json {
        for MailboxPrice { address, price, default, is_set } in prices {
            let object = json!({
                "schema": output::SCHEMA, "address": address, "price": price, "default": default, "set": is_set,
            });
            output::line(&object.to_string())?;
        }
        return Ok(0);
    }
    if is_changed {
        for MailboxPrice { address, price, is_set, .. } in prices {
            let whose = if *is_set { "" } else { ", as the administrator says" };
            output::line(&format!("{}: {}{whose}", tame(address), counted(*price, "credit")))?;
        }
        return Ok(0);
    }
    let mut table = Table::new(&["mailbox", "credits", "default"], 1);
    for MailboxPrice { address, price, default, is_set } in prices {
        let default = if *is_set { grouped(*default) } else { String::new() };
        table.row([tame(address).to_string(), grouped(*price), default]);
    }
    for line in table.lines() {
        output::line(&line)?;
    }
    Ok(0)
}
