//! `vendor status`, `audit`, `backup`, `restore`: maintain the ledger.

use super::open_ledger::{Which, tell_clock, tell_revoked};
use crate::accounting::double_entry::{AccountCode, Unit};
use crate::accounting::hash_chain::Head;
use crate::accounting::money::Money;
use crate::cli::ui::counts::counted;
use crate::cli::ui::exit_status::{DATA, Failure, NO_INPUT};
use crate::cli::ui::output;
use crate::cli::ui::table::Table;
use crate::config::paths::CliOverrides;
use crate::ledger::handle::Ledger;
use crate::ledger::model::Balance;
use crate::ledger::public_log::files::LogFolder;
use crate::os::clock;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Show the totals of the ledger: accounts, stamps, balances, and the head of the chain.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor status")]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Recount everything from the entries and compare, the published files of the public log too. The exit status is 0 for a sound ledger and 65 for any other, and
/// the command reports what is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor audit")]
pub struct Audit {
    /// A head that an earlier audit printed; the chain must contain it
    #[arg(long, value_name = "HEAD")]
    since: Option<Head>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Write a consistent copy of the ledger to a new file, even while the ledger is in use. The signing keys are files of
/// their own beside the ledger, and the copy does not contain them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor backup ledger.backup")]
pub struct Backup {
    /// The file; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    which: Which,
}

/// Restore a lost ledger from a copy. The copy must pass an audit, and an entry records the restore.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor restore ledger.backup --ledger /srv/vendor")]
pub struct Restore {
    /// The copy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder of the newest copy of the public log, which has the file checkpoint [default:
    /// public/.well-known/digital-stamp-log in the folder of the ledger]
    #[arg(long, value_name = "FOLDER")]
    log: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

pub(super) fn status(args: &Status, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let (profile, summary) = (ledger.profile()?, ledger.summary()?);
    tell_clock(&ledger);
    if args.json {
        let balances: Vec<Value> = summary.balances.iter().map(balance_json).collect();
        let object = json!({
            "schema": output::SCHEMA, "vendor": profile.vendor, "head": summary.head.to_string(),
            "accounts": summary.accounts, "stamps": summary.stamps, "bytes": summary.bytes, "balances": balances,
            "licenses": summary.licenses, "licensed": summary.licensed, "cleared": summary.cleared,
            "over_limit": summary.over,
            "keys": profile.keys.iter().map(|key| json!({ "kid": key.kid, "state": key.state })).collect::<Vec<_>>(),
        });
        output::line(&object.to_string())?;
        return Ok(0);
    }
    output::line(&format!(
        "vendor {}: {}, {} sold",
        profile.vendor,
        counted(summary.accounts, "account"),
        counted(summary.stamps, "stamp")
    ))?;
    let mut table = Table::new(&["account", "balance"], 1);
    for balance in &summary.balances {
        table.row([account(balance.account), amount(balance)]);
    }
    if summary.licenses > 0 {
        table.row(["licensed to meters".to_owned(), format!("{} credits", summary.licensed)]);
    }
    output::line(&table.lines().join("\n"))?;
    output::line(&format!("head {}", summary.head))?;
    Ok(0)
}

fn balance_json(balance: &Balance) -> Value {
    json!({ "account": balance.account, "unit": balance.unit, "amount": balance.amount })
}

fn account(account: AccountCode) -> String {
    match account {
        AccountCode::Account(number) => format!("account {number}"),
        AccountCode::License(number) => format!("licence {number}"),
        AccountCode::Vouchers => "vouchers".into(),
        AccountCode::Outstanding => "stamps outstanding".into(),
        AccountCode::Issue => "credits issued".into(),
        AccountCode::Forfeited => "stamps revoked".into(),
        AccountCode::Cash => "cash".into(),
        AccountCode::Sales => "sales".into(),
        AccountCode::Payouts => "payouts".into(),
    }
}

fn amount(balance: &Balance) -> String {
    match balance.unit {
        Unit::Credits => format!("{} credits", balance.amount),
        Unit::Money(currency) => Money { micros: balance.amount, currency }.to_string(),
    }
}

pub(super) fn audit(args: &Audit, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let mut report = ledger.audit(args.since)?;
    report.problems.extend(ledger.check_keys()?);
    report.problems.extend(ledger.check_log_files(&args.which.public(given)?)?);
    tell_clock(&ledger);
    let status = if report.problems.is_empty() { 0 } else { DATA };
    if args.json {
        let object = json!({
            "schema": output::SCHEMA, "sound": report.problems.is_empty(), "head": report.head.to_string(),
            "entries": report.entries, "stamps": report.stamps, "problems": report.problems,
        });
        output::line(&object.to_string())?;
        return Ok(status);
    }
    for problem in &report.problems {
        output::line(problem)?;
    }
    let sound = if status == 0 { "sound" } else { "NOT sound" };
    output::line(&format!("{sound}: entries: {}, {} sold", report.entries, counted(report.stamps, "stamp")))?;
    output::line(&format!("head {}", report.head))?;
    Ok(status)
}

pub(super) fn backup(args: &Backup, given: &CliOverrides) -> Result<u8, Failure> {
    let head = args.which.reach(given)?.backup(&args.file)?;
    output::line(&format!("head {head}"))?;
    Ok(0)
}

pub(super) fn restore(args: &Restore, given: &CliOverrides) -> Result<u8, Failure> {
    let folder = args.which.folder(given)?;
    let own = LogFolder::below(&folder.join("public"));
    let log = args.log.as_deref().map_or(own, LogFolder::at);
    let is_missing = !log.checkpoint_path().exists();
    if is_missing && args.log.is_some() {
        return Err(Failure::new(NO_INPUT, format!("{}: no checkpoint of a public log", log.path().display())));
    }
    let (ledger, revoked) = Ledger::restore_with_log(&folder, &args.file, &log, clock::now())?;
    tell_revoked(&ledger, &revoked)?;
    if is_missing {
        output::note(&format!(
            "no public log to take over; put its files into {} and run mailstamp vendor publish --resume-log",
            log.path().display()
        ));
    }
    output::line(&format!("head {}", ledger.summary()?.head))?;
    Ok(0)
}
