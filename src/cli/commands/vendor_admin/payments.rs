//! `vendor credit`, `voucher`, `payout`: credits for money, and money for credits. The money itself moves elsewhere;
//! the ledger records it.

use super::open_ledger::{self, Which};
use crate::accounting::money::Money;
use crate::cli::ui::counts::plural;
use crate::cli::ui::exit_status::{Failure, IO};
use crate::cli::ui::{input, output};
use crate::config::paths::CliOverrides;
use crate::ledger::model::Receipt;
use crate::os::clock;
use serde_json::json;
use std::io::Read;

/// Add purchased credits to an account, once for each reference.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor credit alice 10000 --reference 'invoice 17'")]
pub struct Credit {
    /// The account's name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The number of credits
    #[arg(value_name = "CREDITS")]
    credits: u64,
    /// The reference of this purchase, such as the number of an invoice
    #[arg(long, value_name = "TEXT")]
    reference: String,
    /// The sum that was paid, if not the price
    #[arg(long, value_name = "SUM")]
    cost: Option<Money>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Make vouchers and print their codes, which are shown only once; or redeem the voucher whose code is on standard
/// input for an account.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp vendor voucher 100 --count 2\n  mailstamp vendor voucher --redeem alice < code"
)]
pub struct Voucher {
    /// The credits of each voucher
    #[arg(value_name = "CREDITS", required_unless_present = "redeem")]
    credits: Option<u64>,
    /// The number of vouchers
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// The sum that was paid for each, if not the price
    #[arg(long, value_name = "SUM")]
    cost: Option<Money>,
    /// The account that gets the credits
    #[arg(long, value_name = "ACCOUNT", conflicts_with_all = ["credits", "count", "cost"])]
    redeem: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Pay out credits of an account, once for each reference, and print a signed receipt.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor payout alice 5000 --reference 'transfer 4'")]
pub struct Payout {
    /// The account's name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The number of credits
    #[arg(value_name = "CREDITS")]
    credits: u64,
    /// The reference of this payout, such as the number of a transfer
    #[arg(long, value_name = "TEXT")]
    reference: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

pub(super) fn credit(args: &Credit, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let account = open_ledger::account(&ledger, &args.account)?.account;
    let booked = ledger.credit(account.number, args.credits, args.cost, &args.reference, clock::now())?;
    tell(&booked, None, args.json)
}

pub(super) fn payout(args: &Payout, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let account = open_ledger::account(&ledger, &args.account)?.account;
    let (booked, receipt) = ledger.pay_out(account.number, args.credits, &args.reference, clock::now())?;
    tell(&booked, Some(receipt.as_str()), args.json)
}

pub(super) fn voucher(args: &Voucher, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    if let Some(name) = &args.redeem {
        let account = open_ledger::account(&ledger, name)?.account;
        let mut code = zeroize::Zeroizing::new(String::new());
        let read = input::stdin().and_then(|stdin| stdin.lock().take(1_000).read_to_string(&mut code));
        read.map_err(|error| Failure::input(IO, &error))?;
        return tell(&ledger.take_voucher(account.number, code.trim(), clock::now())?, None, args.json);
    }
    let credits = args.credits.unwrap_or_default();
    for _ in 0..args.count {
        let code = ledger.make_voucher(credits, args.cost, clock::now())?;
        if args.json {
            let object = json!({ "schema": output::SCHEMA, "code": *code, "credits": credits });
            output::line(&object.to_string())?;
        } else {
            output::line(&code)?;
        }
    }
    Ok(0)
}

/// Prints the booked entry.
pub(super) fn tell(booked: &Receipt, receipt: Option<&str>, as_json: bool) -> Result<u8, Failure> {
    let sum = booked.sum.map(|sum| sum.to_string());
    if as_json {
        let object = json!({
            "schema": output::SCHEMA, "entry": booked.entry, "head": booked.head.to_string(),
            "at": booked.at.to_string(), "credits": booked.credits, "sum": sum, "balance": booked.balance,
            "again": booked.again, "receipt": receipt,
        });
        output::line(&object.to_string())?;
        return Ok(0);
    }
    let before = if booked.again { ", as was done before" } else { "" };
    let sum = sum.map(|sum| format!(" for {sum}")).unwrap_or_default();
    output::line(&format!(
        "entry {}{before}: {} credit{}{sum}; balance {}",
        booked.entry,
        booked.credits,
        plural(booked.credits),
        booked.balance
    ))?;
    if let Some(receipt) = receipt {
        output::line(receipt)?;
    }
    Ok(0)
}
