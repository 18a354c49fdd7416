//! `vendor account`: manages accounts, their API keys, their addresses and their history.

use super::open_ledger::{self, Smtp, Which};
use super::terms::{self, GivenCaps};
use crate::accounting::order::OwnCaps;
use crate::cli::ui::counts::counted;
use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::cli::ui::table::Table;
use crate::config::paths::CliOverrides;
use crate::ledger::handle::Ledger;
use crate::ledger::model::Standing;
use crate::ledger::ops;
use crate::message::header::readable;
use crate::os::clock;
use serde_json::{Value, json};
use std::time::Duration;

/// Accounts read in one request.
const PAGE: u32 = 1_000;
/// Timeout of each answer of the mail server.
const MAIL_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  mailstamp vendor account add alice --contact alice@near.example\n  \
    mailstamp vendor account key alice --add laptop")]
pub enum Command {
    /// Open an account
    Add(Add),
    /// List the accounts
    List(List),
    /// Show an account and its last entries
    Show(Show),
    /// Close an account
    Close(Close),
    /// List, make and revoke API keys
    Key(Key),
    /// Replace the contact of an account
    Contact(Contact),
    /// Record that an account owns an address or a domain, or prove it by a mailed code
    Own(Own),
    /// Show what an account may buy, or set caps of its own
    Caps(Caps),
}

/// Open an account.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor account add alice --contact alice@near.example")]
pub struct Add {
    /// Its name: a-z, 0-9, '.', '_' and '-'
    #[arg(value_name = "NAME")]
    name: String,
    /// How to reach its owner
    #[arg(long, value_name = "TEXT")]
    contact: String,
    #[command(flatten)]
    which: Which,
}

/// List the accounts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor account list")]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Show an account, its addresses, its balance and its last entries.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor account show alice --last 20")]
pub struct Show {
    /// Its name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The number of entries
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    last: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Close an account: it buys and deposits nothing more, and its API keys stop working. Its credits can be paid out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor account close alice")]
pub struct Close {
    /// Its name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Revoke every stamp that it bought and that was not taken back
    #[arg(long)]
    revoke_stamps: bool,
    #[command(flatten)]
    which: Which,
}

/// List the API keys of an account, make one, or revoke one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp vendor account key alice --add laptop\n  mailstamp vendor account key alice"
)]
pub struct Key {
    /// The account's name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Make a key with this label, and print it; it is shown only once
    #[arg(long, value_name = "LABEL")]
    add: Option<String>,
    /// Revoke the key with this id
    #[arg(long, value_name = "ID", conflicts_with = "add")]
    revoke: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Replace the contact of an account. The earlier one is forgotten.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor account contact alice alice@new.example")]
pub struct Contact {
    /// The account's name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// How to reach its owner
    #[arg(value_name = "TEXT")]
    contact: String,
    #[command(flatten)]
    which: Which,
}

/// Record that an account owns an address or a domain, so that it may deposit the stamps that name it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor account own alice near.example\n  \
    mailstamp vendor account own alice alice@near.example --mail")]
pub struct Own {
    /// The account's name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The address, or the domain
    #[arg(value_name = "ADDRESS")]
    subject: String,
    /// Mail a code there; confirm it later with --code
    #[arg(long, conflicts_with_all = ["code", "remove"])]
    mail: bool,
    #[command(flatten)]
    smtp: Smtp,
    /// The code that was mailed
    #[arg(long, value_name = "CODE", conflicts_with = "remove")]
    code: Option<String>,
    /// Remove the ownership
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    which: Which,
}

/// Show what an account may buy, or set caps of its own. Where it has none, the caps of the terms apply.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor account caps alice --max-stamps 10000\n  \
    mailstamp vendor account caps alice --default")]
pub struct Caps {
    /// The account's name or number
    #[arg(value_name = "ACCOUNT")]
    account: String,
    #[command(flatten)]
    caps: GivenCaps,
    /// Remove the caps of its own, before any is set
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    match command {
        Command::Add(args) => add(args, given),
        Command::List(args) => list(args, given),
        Command::Show(args) => show(args, given),
        Command::Close(args) => close(args, given),
        Command::Key(args) => key(args, given),
        Command::Contact(args) => contact(args, given),
        Command::Own(args) => own(args, given),
        Command::Caps(args) => caps(args, given),
    }
}

fn add(args: &Add, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let account = ledger
        .run(ops::OpenAccount { name: args.name.clone(), contact: args.contact.clone(), caps: None }, clock::now())?;
    output::line(&format!("account {} is open, number {}", account.name, account.number))?;
    Ok(0)
}

fn list(args: &List, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let mut table = Table::new(&["account", "contact", "state", "number", "credits"], 3);
    let mut rows = Vec::new();
    let mut after = 0;
    loop {
        let page = ledger.run(ops::Accounts { after, most: PAGE }, clock::now())?;
        let Some(last) = page.last() else { break };
        after = last.account.number;
        for standing in &page {
            let account = &standing.account;
            let contact = readable(account.contact.as_bytes(), 40);
            let (number, balance) = (account.number.to_string(), standing.balance.to_string());
            table.row([account.name.clone(), contact, state(standing).to_owned(), number, balance]);
            rows.push(as_json(standing));
        }
    }
    if args.json {
        output::line(&json!({ "schema": output::SCHEMA, "accounts": rows }).to_string())?;
    } else {
        output::line(&table.lines().join("\n"))?;
        if rows.is_empty() {
            output::note("there is no account; mailstamp vendor account add opens one");
        }
    }
    Ok(0)
}

fn show(args: &Show, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let standing = open_ledger::account(&ledger, &args.account)?;
    let history = ledger
        .run(ops::History { account: standing.account.number, before: u64::MAX, most: args.last }, clock::now())?;
    if args.json {
        let mut object = as_json(&standing);
        object["schema"] = output::SCHEMA.into();
        object["entries"] = json!(history);
        output::line(&object.to_string())?;
        return Ok(0);
    }
    let account = &standing.account;
    let contact = readable(account.contact.as_bytes(), 254);
    let mut lines = vec![
        format!(
            "account {} (number {}), {}, since {}",
            account.name,
            account.number,
            state(&standing),
            account.created
        ),
        format!("contact: {contact}"),
        format!("credits: {}; spent today: {}", standing.balance, standing.spent_today),
        terms::caps(&standing.caps),
    ];
    lines.extend(standing.owns.iter().map(|subject| format!("owns {}", readable(subject.as_bytes(), 300))));
    for entry in &history {
        let event = serde_json::to_value(&entry.event).unwrap_or_default();
        let word = event.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
        let moved: i64 = entry
            .event
            .transaction()
            .postings()
            .iter()
            .filter(|it| it.account == crate::accounting::double_entry::AccountCode::Account(account.number))
            .map(|it| it.amount)
            .sum();
        lines.push(format!("entry {:<8} {}  {word:<14} {moved:+}", entry.number, entry.at));
    }
    output::line(&lines.join("\n"))?;
    Ok(0)
}

fn close(args: &Close, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let account = open_ledger::account(&ledger, &args.account)?.account;
    let count = ledger.run(ops::CloseAccount { account: account.number, revoke: args.revoke_stamps }, clock::now())?;
    output::line(&format!("account {} is closed; stamps revoked: {count}", account.name))?;
    if count > 0 {
        args.which.tell_recipients(&ledger, given)?;
    }
    Ok(0)
}

fn key(args: &Key, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let account = open_ledger::account(&ledger, &args.account)?.account;
    if let Some(label) = &args.add {
        let (text, key) = ledger.add_api_key(account.number, label, clock::now())?;
        if args.json {
            let object = json!({ "schema": output::SCHEMA, "key": *text, "id": key.id });
            output::line(&object.to_string())?;
        } else {
            output::line(&text)?;
        }
        return Ok(0);
    }
    if let Some(id) = &args.revoke {
        ledger.run(ops::RevokeApiKey { account: account.number, id: id.to_owned(), even_last: true }, clock::now())?;
    }
    let keys = ledger.run(ops::ApiKeys { account: account.number }, clock::now())?;
    if args.json {
        output::line(&json!({ "schema": output::SCHEMA, "keys": keys }).to_string())?;
        return Ok(0);
    }
    let mut table = Table::new(&["id", "label", "made", "revoked"], 4);
    if keys.is_empty() {
        output::note("the account has no API key; --add makes one");
    }
    for key in keys {
        let revoked = key.revoked.map(|at| at.to_string()).unwrap_or_default();
        table.row([key.id, readable(key.label.as_bytes(), 64), key.created.to_string(), revoked]);
    }
    output::line(&table.lines().join("\n"))?;
    Ok(0)
}

fn contact(args: &Contact, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let account = open_ledger::account(&ledger, &args.account)?.account;
    ledger.run(ops::SetContact { account: account.number, contact: args.contact.clone() }, clock::now())?;
    output::line(&format!("account {} has another contact", account.name))?;
    Ok(0)
}

fn own(args: &Own, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let number = open_ledger::account(&ledger, &args.account)?.account.number;
    let subject = readable(args.subject.as_bytes(), 300);
    let said = prove(args, &ledger, number)?;
    output::line(&format!("{subject}: {said}"))?;
    Ok(0)
}

fn prove(args: &Own, ledger: &Ledger, number: u64) -> Result<&'static str, Failure> {
    if args.mail {
        ledger.send_code(number, &args.subject, &args.smtp.server(MAIL_TIMEOUT), clock::now())?;
        return Ok("a code was mailed");
    }
    if args.remove {
        ledger.run(ops::Disown { account: number, subject: args.subject.clone() }, clock::now())?;
        return Ok("not owned any more");
    }
    match &args.code {
        Some(code) => ledger.confirm_code(number, &args.subject, code, clock::now())?,
        None => ledger.own(number, &args.subject, clock::now())?,
    }
    Ok("owned")
}

fn caps(args: &Caps, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let standing = open_ledger::account(&ledger, &args.account)?;
    let before = standing.account.caps.unwrap_or_default();
    let own = args.caps.given().or(if args.default { OwnCaps::default() } else { before });
    if own != before {
        let some = Some(own).filter(|own| *own != OwnCaps::default());
        ledger.run(ops::SetCaps { account: standing.account.number, caps: some }, clock::now())?;
    }
    output::line(&terms::caps(&own.over(ledger.profile()?.terms.caps)))?;
    let number = |given: Option<u64>, of: &str| given.map(|given| format!("{given} {of}"));
    let numbers = [
        number(own.stamps.map(u64::from), "a request"),
        number(own.value, "a stamp"),
        own.days.map(|days| counted(days.into(), "day")),
        number(own.credits_a_day, "a day"),
    ];
    let numbers: Vec<String> = numbers.into_iter().flatten().collect();
    let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
    output::line(&format!("of its own: {numbers}"))?;
    Ok(0)
}

fn state(standing: &Standing) -> &'static str {
    if standing.account.open { "open" } else { "closed" }
}

fn as_json(standing: &Standing) -> Value {
    let account = &standing.account;
    json!({
        "number": account.number, "name": account.name, "contact": account.contact, "open": account.open,
        "created": account.created.to_string(), "credits": standing.balance, "spent_today": standing.spent_today,
        "caps": standing.caps, "owns": standing.owns,
    })
}
