//! `bank init`, `balance`, `statement`, `audit`: what needs no agency.

use crate::accounting::bank::books::LicenseState;
use crate::accounting::hash_chain::Head;
use crate::bank::handle::Bank;
use crate::bank::statement::{LicenseBalance, Line};
use crate::cli::ui::counts::{counted, tame};
use crate::cli::ui::exit_status::{DATA, Failure};
use crate::cli::ui::output;
use crate::cli::ui::since::Since;
use crate::cli::ui::table::Table;
use crate::context::Context;
use crate::sender::account::Accounts;
use crate::time::UnixTime;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Create the bank of this host, for an account at an agency. The account must have been added with `account add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp bank init --agency stamps.example --account shop")]
pub struct Init {
    /// Name of the agency, as in its tokens
    #[arg(long, value_name = "NAME")]
    agency: String,
    /// Your name for the account at the agency
    #[arg(long, value_name = "NAME")]
    account: String,
}

/// Show what the bank has: at the agency, in licences, reserved, paid and received.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp bank balance\n  mailstamp bank balance --json")]
pub struct Balance {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// List what came and went, the oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp bank statement --since 30d\n  \
    mailstamp bank statement --by-peer --since 2026-11-01")]
pub struct Statement {
    /// Leave out what is older: a date, a time, seconds since 1970, or days back as 30d
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Sum up what was paid to and received from each peer
    #[arg(long)]
    by_peer: bool,
    /// Print a JSON object for each line
    #[arg(long)]
    json: bool,
}

/// Recount everything from the entries and compare. The exit status is 0 for a sound bank and 65 for any other, and the
/// command reports what is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp bank audit")]
pub struct Audit {
    /// A head that an earlier audit printed; the chain must contain it
    #[arg(long, value_name = "HEAD")]
    since: Option<Head>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn init(args: &Init, context: &Context, bank: &Bank) -> Result<u8, Failure> {
    context.is_clock_right()?;
    let account = Accounts::new(context.places.state()?).get(&args.account)?;
    if account.vendor != args.agency {
        let what = format!("account {:?} is at {}, not at {:?}", account.name, account.vendor, args.agency);
        return Err(Failure::new(DATA, what));
    }
    bank.found(&args.agency, &args.account, context.now)?;
    output::line(&format!("bank of {} at {}: {}", args.account, args.agency, bank.path().display()))?;
    Ok(0)
}

pub(super) fn balance(args: &Balance, context: &Context, bank: &Bank) -> Result<u8, Failure> {
    let has = bank.balance()?;
    if args.json {
        let license = |it: &LicenseBalance| {
            let (license, left) = (&it.license, it.left);
            json!({
                "license": it.number, "kid": license.kid, "limit": license.limit, "left": left,
                "until": license.until.to_string(), "state": license.state,
            })
        };
        let object = json!({
            "schema": output::SCHEMA, "agency": has.agency, "account": has.account, "held": has.held,
            "licensed": has.licensed, "reserved": has.reserved, "paid": has.paid, "received": has.received,
            "licenses": has.licenses.iter().map(license).collect::<Vec<Value>>(),
            "agency_head": has.contact.map(|contact| contact.head.to_string()),
            "account_number": has.contact.map(|contact| contact.account),
            "head": has.head.to_string(),
        });
        output::line(&object.to_string())?;
        return Ok(0);
    }
    output::line(&format!("account {} at {}", has.account, has.agency))?;
    let mut table = Table::new(&["credits", "balance"], 1);
    for (name, credits) in [
        ("held at the agency", has.held),
        ("licensed", has.licensed),
        ("reserved", has.reserved),
        ("paid, not cleared", has.paid),
        ("received, not cleared", has.received),
    ] {
        table.row([name.to_owned(), credits.to_string()]);
    }
    output::line(&table.lines().join("\n"))?;
    for it in &has.licenses {
        let license = &it.license;
        let (left, kid, until) = (counted(it.left, "credit"), tame(&license.kid), license.until);
        let state = match license.state {
            LicenseState::Live if license.signs_at(context.now) => "",
            LicenseState::Live => ", past its end",
            LicenseState::Ended => ", ended before its time",
            LicenseState::Closed => ", closed",
        };
        output::line(&format!("licence {kid} until {until}: {left} of {} left{state}", license.limit))?;
    }
    if has.contact.is_none() {
        output::line("the agency was never asked")?;
    }
    output::line(&format!("head {}", has.head))?;
    Ok(0)
}

pub(super) fn statement(args: &Statement, context: &Context, bank: &Bank) -> Result<u8, Failure> {
    let since = args.since.map(|since| since.from(context.now));
    if args.by_peer {
        return by_peer(args, since, bank);
    }
    let mut lines: Vec<Line> = Vec::new();
    bank.statement(since, &mut |line| {
        lines.push(line);
        true
    })?;
    if args.json {
        for line in lines {
            let object = json!({
                "entry": line.entry, "at": line.at.to_string(), "event": line.event, "peer": line.peer,
                "credits": line.credits, "change": line.change,
            });
            output::line(&object.to_string())?;
        }
        return Ok(0);
    }
    let mut table = Table::new(&["time", "event", "peer", "credits", "change"], 3);
    for line in lines {
        let peer = line.peer.as_deref().map(tame).unwrap_or_default();
        let change = if line.change == 0 { String::new() } else { format!("{:+}", line.change) };
        table.row([line.at.to_string(), line.event.to_owned(), peer, line.credits.to_string(), change]);
    }
    output::line(&table.lines().join("\n"))?;
    Ok(0)
}

fn by_peer(args: &Statement, since: Option<UnixTime>, bank: &Bank) -> Result<u8, Failure> {
    let mut sums: BTreeMap<String, (i64, u64)> = BTreeMap::new();
    bank.statement(since, &mut |line| {
        let sum = sums.entry(line.peer.unwrap_or_default()).or_default();
        *sum = (sum.0.saturating_add(line.paid), sum.1.saturating_add(line.received));
        true
    })?;
    sums.retain(|_, sum| *sum != (0, 0));
    let mut table = Table::new(&["peer", "paid", "received"], 1);
    for (peer, (paid, received)) in sums {
        if args.json {
            output::line(&json!({ "peer": peer, "paid": paid, "received": received }).to_string())?;
        } else {
            table.row([tame(&peer), paid.to_string(), received.to_string()]);
        }
    }
    if !args.json {
        output::line(&table.lines().join("\n"))?;
    }
    Ok(0)
}

pub(super) fn audit(args: &Audit, bank: &Bank) -> Result<u8, Failure> {
    let report = bank.audit(args.since)?;
    if args.json {
        let object = json!({
            "schema": output::SCHEMA, "head": report.head.to_string(), "entries": report.entries,
            "problems": report.problems,
        });
        output::line(&object.to_string())?;
    } else {
        for problem in &report.problems {
            output::note(problem);
        }
        let word = if report.problems.is_empty() { "sound" } else { "not sound" };
        output::line(&format!("{word}: entries: {}; head {}", report.entries, report.head))?;
    }
    Ok(if report.problems.is_empty() { 0 } else { DATA })
}
