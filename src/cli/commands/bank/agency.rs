//! `bank license`, `buy`, `redeem`, `clear`, `accept-restored`: what needs the agency.

use crate::accounting::bank::event::OrderKind;
use crate::accounting::money::Price;
use crate::bank::agency::{AgencyError, AgencyFiles};
use crate::bank::handle::Bank;
use crate::bank::request::Outcome;
use crate::cli::ui::counts::{counted, tame};
use crate::cli::ui::exit_status::{CONFIG, DATA, Failure, TEMPFAIL, UNAVAILABLE};
use crate::cli::ui::output;
use crate::cli::ui::purchase::failure;
use crate::context::Context;
use crate::sender::vendor_client;
use serde_json::{Value, json};

/// Take a licence: a new key that may sign for up to so many credits of the account, which are locked meanwhile. With 0
/// the key signs requests only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp bank license 10000\n  mailstamp bank license 0 --days 1")]
pub struct License {
    /// Most credits that may be paid
    #[arg(value_name = "LIMIT")]
    limit: u64,
    /// Days until it ends
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=7))]
    days: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Order credits for the account, and show how the agency books them. The same order is shown again until it is a month
/// old, and the agency books it once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp bank buy 1000000")]
pub struct Buy {
    #[command(flatten)]
    order: Order,
}

/// Order money for credits of the account, and show how the agency pays them out. The same order is shown again until it
/// is a month old, and the agency pays it once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp bank redeem 5000")]
pub struct Redeem {
    #[command(flatten)]
    order: Order,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct Order {
    /// The number of credits
    #[arg(value_name = "CREDITS", value_parser = clap::value_parser!(u64).range(1..))]
    credits: u64,
    /// Make a new order, though there is one of the same kind for as many credits
    #[arg(long)]
    new: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Hand in what was received, ask for open payments, and book the state of the account.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp bank clear")]
pub struct Clear {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Accept that the bank was restored from a copy. Its licences end, since what their keys signed later is not known.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp bank accept-restored")]
pub struct AcceptRestored {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn license(args: &License, context: &Context, bank: &Bank) -> Result<u8, Failure> {
    let files = AgencyFiles::read(context, bank)?;
    let (kid, outcome) = files.agency(bank).license(args.limit, args.days, context.now)?;
    let has = bank.balance()?;
    let until = has.licenses.iter().find(|it| it.license.kid == kid).map(|it| it.license.until.to_string());
    if args.json {
        let object = json!({
            "schema": output::SCHEMA, "kid": kid, "limit": args.limit, "until": until, "held": has.held,
        });
        output::line(&object.to_string())?;
    } else {
        let credits = counted(args.limit, "credit");
        output::line(&format!("licence {}: {credits}, until {}", tame(&kid), until.unwrap_or_default()))?;
    }
    licenses(&outcome)
}

pub(super) fn buy(args: &Buy, context: &Context, bank: &Bank) -> Result<u8, Failure> {
    let files = AgencyFiles::read(context, bank)?;
    let said = vendor_client::prices(&files.account.name, &files.account.url, context.config.sender.timeout);
    let said = said.map_err(|error| failure(&error))?;
    let price: Option<Price> = said.price.parse().ok();
    let cost = price.and_then(|price| price.of(args.order.credits).ok()).map(|sum| sum.to_string());
    order(&args.order, OrderKind::Buy, cost, &files, context, bank)
}

pub(super) fn redeem(args: &Redeem, context: &Context, bank: &Bank) -> Result<u8, Failure> {
    let files = AgencyFiles::read(context, bank)?;
    order(&args.order, OrderKind::Redeem, None, &files, context, bank)
}

fn order(
    args: &Order,
    kind: OrderKind,
    cost: Option<String>,
    files: &AgencyFiles,
    context: &Context,
    bank: &Bank,
) -> Result<u8, Failure> {
    let standing = vendor_client::standing(&files.account, context.config.sender.timeout);
    let name = standing.map_err(|error| failure(&error))?.name;
    let (reference, again) = bank.order(kind, args.credits, args.new, context.now)?;
    let verb = if kind == OrderKind::Buy { "credit" } else { "payout" };
    let booking = format!("mailstamp vendor {verb} {} {} --reference {reference}", tame(&name), args.credits);
    if args.json {
        let object = json!({
            "schema": output::SCHEMA, "reference": reference, "credits": args.credits, "account": name, "cost": cost,
            "again": again, "booking": booking,
        });
        output::line(&object.to_string())?;
        return Ok(0);
    }
    let credits = counted(args.credits, "credit");
    let cost = cost.map(|cost| format!(" for {cost}")).unwrap_or_default();
    output::line(&format!("order {reference}: {credits}{cost}, account {} at {}", tame(&name), files.account.vendor))?;
    output::line(&format!("the agency books it once: {booking}"))?;
    output::line("then: mailstamp bank clear")?;
    Ok(0)
}

pub(super) fn clear(args: &Clear, context: &Context, bank: &Bank) -> Result<u8, Failure> {
    let files = AgencyFiles::read(context, bank)?;
    let outcome = files.agency(bank).clear(context.now, context.forget_limit())?;
    tell(&outcome, args.json, bank)
}

pub(super) fn accept_restored(args: &AcceptRestored, context: &Context, bank: &Bank) -> Result<u8, Failure> {
    let files = AgencyFiles::read(context, bank)?;
    let outcome = files.agency(bank).accept_restored(context.now)?;
    tell(&outcome, args.json, bank)
}

fn tell(outcome: &Outcome, as_json: bool, bank: &Bank) -> Result<u8, Failure> {
    let has = bank.balance()?;
    if as_json {
        let sum = |(count, credits): (u64, u64)| json!({ "count": count, "credits": credits });
        let refused =
            |(id, credits, why): &(String, u64, String)| json!({ "id": id, "credits": credits, "problem": why });
        let object = json!({
            "schema": output::SCHEMA, "cleared": sum(outcome.cleared), "paid": sum(outcome.paid),
            "void": sum(outcome.void), "open": outcome.open, "overdrawn": outcome.overdrawn,
            "ended": outcome.ended, "refused": outcome.refused.iter().map(refused).collect::<Vec<Value>>(), "held": has.held,
        });
        output::line(&object.to_string())?;
        return licenses(outcome);
    }
    for (id, credits, why) in &outcome.refused {
        output::note(&format!("token {}: {} not paid: {}", tame(id), counted(*credits, "credit"), tame(why)));
    }
    let lines = [
        ("received and cleared", outcome.cleared),
        ("paid and cleared", outcome.paid),
        ("void, may be spent again", outcome.void),
    ];
    for (name, (count, credits)) in lines.into_iter().filter(|(_, (count, _))| *count > 0) {
        output::line(&format!("{name}: {}, {}", counted(count, "payment"), counted(credits, "credit")))?;
    }
    if outcome.open > 0 {
        output::line(&format!("open: {}", counted(outcome.open, "payment")))?;
    }
    output::line(&format!("held at the agency: {}", counted(has.held, "credit")))?;
    licenses(outcome)
}

/// Reports licences that ended at the agency, and those whose keys signed elsewhere.
fn licenses(outcome: &Outcome) -> Result<u8, Failure> {
    for kid in &outcome.ended {
        output::note(&format!("licence {}: the agency revoked or closed it; its key signs no more", tame(kid)));
    }
    for kid in &outcome.overdrawn {
        output::note(&format!(
            "licence {}: the agency cleared more than this bank paid: its key signs elsewhere, or the bank was restored",
            tame(kid)
        ));
    }
    Ok(if outcome.overdrawn.is_empty() { 0 } else { DATA })
}

impl From<AgencyError> for Failure {
    fn from(error: AgencyError) -> Self {
        let failed = |code| Self::new(code, &error);
        match &error {
            AgencyError::Vendor(supply) => failure(supply),
            AgencyError::Key(_) => failed(CONFIG),
            AgencyError::OtherAgency { .. } => failed(DATA),
            AgencyError::Behind { .. } => {
                failed(DATA).hint("if the bank was restored on purpose, run mailstamp bank accept-restored")
            }
            AgencyError::NoLicense | AgencyError::Unlicensed { .. } => {
                failed(CONFIG).hint("run mailstamp bank license 0, or with a limit")
            }
            AgencyError::Clock { .. } => {
                failed(TEMPFAIL).hint("set the clock that is wrong, then run the command again")
            }
            AgencyError::Untrusted { .. } => {
                failed(CONFIG).hint("run mailstamp directory refresh, or mailstamp trust add")
            }
            AgencyError::Answer { .. } => failed(UNAVAILABLE),
            AgencyError::Directory(_) => failed(CONFIG),
            AgencyError::Earlier | AgencyError::Random(_) | AgencyError::Busy | AgencyError::Lock(_) => {
                failed(TEMPFAIL)
            }
            AgencyError::Bank(_) | AgencyError::Context(_) | AgencyError::Paths(_) | AgencyError::Account(_) => {
                match error {
                    AgencyError::Bank(error) => error.into(),
                    AgencyError::Context(error) => error.into(),
                    AgencyError::Paths(error) => error.into(),
                    AgencyError::Account(error) => error.into(),
                    _ => failed(TEMPFAIL),
                }
            }
        }
    }
}
