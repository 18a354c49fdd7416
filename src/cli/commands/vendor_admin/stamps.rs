//! `vendor sell`, `deposit`, `revoke`, `stamp`: the operations of the HTTP service, by hand or in a job that
//! reads files. The stamps are the same.

use super::open_ledger::{self, Which};
use super::payments;
use crate::accounting::order::Order;
use crate::cli::ui::exit_status::{DATA, Failure, IO};
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::ledger::error::LedgerError;
use crate::ledger::handle::Ledger;
use crate::ledger::ops;
use crate::ledger::trade::{RedeemOutcome, RedeemRequest};
use crate::message::address::Address;
use crate::message::header::readable;
use crate::message::parse::Message;
use crate::os::clock;
use crate::stamp::audience::Audience;
use crate::stamp::extract::locate;
use crate::stamp::serial::Serial;
use crate::stamp::strict_json::problem;
use crate::time::UnixTime;
use serde_json::{Value, json};
use std::io::Read;

/// Limit on the input: 16 MiB.
const LONGEST: u64 = 16 << 20;

/// Sell stamps to an account and print them, one a line. All are sold or none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor sell alice --to someone@far.example --value 5\n  \
    mailstamp vendor sell alice --orders --key monday < orders.jsonl")]
pub struct Sell {
    /// The account's name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The recipient to name in the stamp, or ~salt.hash
    #[arg(long, value_name = "ADDRESS", required_unless_present = "orders")]
    to: Option<String>,
    /// The sender to name in the stamp
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Name the recipient by a salted hash
    #[arg(long)]
    hashed: bool,
    /// Its value in credits, which is also its price
    #[arg(long, value_name = "CREDITS", default_value_t = 1)]
    value: u64,
    /// The start of its validity (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    not_before: Option<UnixTime>,
    /// The end of its validity; as the terms say, if not given
    #[arg(long, value_name = "TIME")]
    until: Option<UnixTime>,
    /// Read orders from standard input, one JSON object a line
    #[arg(long, conflicts_with_all = ["to", "from", "hashed", "value", "not_before", "until"])]
    orders: bool,
    /// The same key and the same orders give the same stamps again, and cost nothing more
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Read a message with stamps from standard input, or stamps, one a line; take them back and credit them. A stamp that
/// hides its recipient may be followed by the address.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp vendor deposit alice < message\n  mailstamp vendor deposit alice < stamps"
)]
pub struct HandIn {
    /// The account's name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Revoke stamps: recipients refuse them as soon as they read the next directory document.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor revoke g0lY5OxDGffuLjbjyIhMEw")]
pub struct Revoke {
    /// Their serials
    #[arg(value_name = "SERIAL", required = true, allow_hyphen_values = true)]
    serials: Vec<String>,
    #[command(flatten)]
    which: Which,
}

/// Show when a stamp was sold, and its state.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor stamp g0lY5OxDGffuLjbjyIhMEw")]
pub struct Look {
    /// Its serial
    #[arg(value_name = "SERIAL", allow_hyphen_values = true)]
    serial: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

pub(super) fn sell(args: &Sell, given: &CliOverrides) -> Result<u8, Failure> {
    let orders = ordered(args)?;
    let ledger = args.which.reach(given)?;
    let account = open_ledger::account(&ledger, &args.account)?.account;
    let sold = ledger.issue(account.number, &orders, args.key.as_deref(), clock::now())?;
    if args.json {
        let object = json!({
            "schema": output::SCHEMA, "entry": sold.sale.entry, "credits": sold.sale.credits,
            "balance": sold.sale.balance, "again": sold.sale.again,
            "stamps": sold.stamps.iter().map(|stamp| stamp.as_str()).collect::<Vec<_>>(),
        });
        output::line(&object.to_string())?;
    } else {
        let lines: Vec<&str> = sold.stamps.iter().map(|stamp| stamp.as_str()).collect();
        output::line(&lines.join("\n"))?;
    }
    Ok(0)
}

fn ordered(args: &Sell) -> Result<Vec<Order>, Failure> {
    let wrong = |name: &str, error: &dyn std::fmt::Display| Failure::new(DATA, format!("{name}: {error}"));
    if args.orders {
        let input = input()?;
        let lines = (1..).zip(input.lines()).filter(|(_, line)| !line.trim().is_empty());
        let read = |(number, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|error| wrong(&format!("line {number}"), &problem(&error)))
        };
        return lines.map(read).collect();
    }
    let to = args.to.as_deref().unwrap_or_default();
    Ok(vec![Order {
        recipient: Audience::parse(to).map_err(|error| wrong("--to", &error))?,
        hashed: args.hashed,
        sender: args.from.as_deref().map(Address::parse).transpose().map_err(|error| wrong("--from", &error))?,
        not_before: args.not_before,
        until: args.until,
        value: args.value,
    }])
}

pub(super) fn deposit(args: &HandIn, given: &CliOverrides) -> Result<u8, Failure> {
    hand_in(args, given, Ledger::deposit)
}

type TakeBack = fn(&Ledger, u64, &[RedeemRequest], UnixTime) -> Result<RedeemOutcome, LedgerError>;

/// Takes stamps back. The status is 0 when every stamp was taken, 65 when one was not.
fn hand_in(args: &HandIn, given: &CliOverrides, take_back: TakeBack) -> Result<u8, Failure> {
    let input = bytes()?;
    let lines = std::str::from_utf8(&input).ok().filter(|text| text.trim_start().starts_with("v4.public."));
    let stamps: Vec<RedeemRequest> = match lines {
        Some(text) => listed(text)?,
        None => {
            let located = locate(&Message::parse(&input)).stamps.into_iter();
            located.map(|found| RedeemRequest { stamp: found.token, address: None }).collect()
        }
    };
    if stamps.is_empty() {
        return Err(Failure::new(DATA, "there is no stamp in what was read")
            .hint("give a message that carries stamps, or stamps, one a line"));
    }
    let ledger = args.which.reach(given)?;
    let account = open_ledger::account(&ledger, &args.account)?.account;
    let taken = take_back(&ledger, account.number, &stamps, clock::now())?;
    let status = if taken.each.iter().all(Result::is_ok) { 0 } else { DATA };
    if args.json {
        let shown = taken.each.iter().map(|it| match it {
            Ok(value) => json!({ "credits": value }),
            Err(problem) => json!({ "problem": problem }),
        });
        let object = json!({
            "schema": output::SCHEMA, "stamps": shown.collect::<Vec<Value>>(),
            "credits": taken.booked.as_ref().map_or(0, |booked| booked.credits),
            "balance": taken.booked.as_ref().map(|booked| booked.balance),
            "receipt": taken.receipt.as_ref().map(|receipt| receipt.as_str()),
        });
        output::line(&object.to_string())?;
        return Ok(status);
    }
    for (number, each) in (1..).zip(&taken.each) {
        if let Err(problem) = each {
            output::line(&format!("stamp {number}: {problem}"))?;
        }
    }
    if let Some(booked) = &taken.booked {
        payments::tell(booked, taken.receipt.as_ref().map(|receipt| receipt.as_str()), false)?;
    }
    Ok(status)
}

/// Reads stamps, one a line, each perhaps with the address that it hides.
fn listed(text: &str) -> Result<Vec<RedeemRequest>, Failure> {
    let mut stamps = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (stamp, address) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let address = Some(address.trim()).filter(|it| !it.is_empty()).map(Address::parse).transpose();
        let address = address.map_err(|error| Failure::new(DATA, format!("line {}: {error}", stamps.len() + 1)))?;
        stamps.push(RedeemRequest { stamp: stamp.to_owned(), address });
    }
    Ok(stamps)
}

pub(super) fn revoke(args: &Revoke, given: &CliOverrides) -> Result<u8, Failure> {
    let serials = args.serials.iter().map(|text| serial(text)).collect::<Result<Vec<_>, _>>()?;
    let ledger = args.which.reach(given)?;
    let count = ledger.run(ops::Revoke { serials, customer: false }, clock::now())?;
    output::line(&format!("revoked {count}"))?;
    args.which.tell_recipients(&ledger, given)?;
    Ok(0)
}

pub(super) fn look(args: &Look, given: &CliOverrides) -> Result<u8, Failure> {
    let serial = serial(&args.serial)?;
    let ledger = args.which.reach(given)?;
    let Some(stamp) = ledger.run(ops::Stamp { serial: serial.clone() }, clock::now())? else {
        return Err(Failure::new(DATA, format!("{serial}: not sold from this ledger")));
    };
    if args.json {
        let object = json!({
            "schema": output::SCHEMA, "serial": stamp.serial, "entry": stamp.entry, "at": stamp.at.to_string(),
            "account": stamp.account, "value": stamp.value, "state": stamp.state,
        });
        output::line(&object.to_string())?;
        return Ok(0);
    }
    let state = serde_json::to_value(stamp.state).unwrap_or_default();
    let state = state.as_str().unwrap_or_default().to_owned();
    let buyer = stamp.account.map(|account| format!(" to account {account}")).unwrap_or_default();
    output::line(&format!("sold at {} in entry {}{buyer}, value {}: {state}", stamp.at, stamp.entry, stamp.value))?;
    Ok(0)
}

fn serial(text: &str) -> Result<Serial, Failure> {
    Serial::new(text).map_err(|error| Failure::new(DATA, format!("{}: {error}", readable(text.as_bytes(), 80))))
}

fn input() -> Result<String, Failure> {
    String::from_utf8(bytes()?).map_err(|_| Failure::new(DATA, "standard input is not UTF-8 text"))
}

fn bytes() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = input::stdin().and_then(|stdin| stdin.lock().take(LONGEST).read_to_end(&mut bytes));
    read.map_err(|error| Failure::input(IO, &error))?;
    Ok(bytes)
}
