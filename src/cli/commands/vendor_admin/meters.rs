//! `vendor meters`: licences of meters, what was cleared from them, and claims beyond their limits.

use super::open_ledger::Which;
use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::output;
use crate::cli::ui::table::Table;
use crate::config::paths::CliOverrides;
use crate::ledger::handle::Ledger;
use crate::ledger::model::LicenseStanding;
use crate::ledger::ops;
use crate::os::clock;
use crate::time::UnixTime;
use serde_json::json;

/// Licences read in one request.
const PAGE: u32 = 1_000;

/// Show the licences of meters that are not closed: limit, rest, credits that were cleared, claims beyond the limit, and
/// the last contact of the account's bank; or revoke one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor meters\n  mailstamp vendor meters --revoke m0123456789abcdef")]
pub struct Args {
    /// Show closed licences, too
    #[arg(long)]
    all: bool,
    /// Revoke the licence of this name: it leaves the directory, and its credits stay locked until it is closed
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    revoke: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let now = clock::now();
    if let Some(kid) = &args.revoke {
        ledger.run(ops::EndLicense { kid: kid.clone(), account: None }, now)?;
        args.which.tell_recipients(&ledger, given)?;
        return Ok(0);
    }
    let mut table = Table::new(&["licence", "account", "limit", "rest", "cleared", "over", "state", "last contact"], 2);
    let mut count = 0_u64;
    each(&ledger, now, |it| {
        if it.license.closed.is_some() && !args.all {
            return Ok(());
        }
        count += 1;
        let LicenseStanding { license, name, rest, contact } = it;
        let cleared = license.limit.saturating_sub(rest).saturating_sub(license.returned);
        if args.json {
            let object = json!({
                "schema": output::SCHEMA, "kid": license.kid, "account": license.account, "name": name,
                "key": license.key.to_string(), "limit": license.limit, "rest": rest, "cleared": cleared,
                "over_limit": license.over, "created": license.created.to_string(),
                "until": license.until.to_string(), "revoked": license.revoked.map(|at| at.to_string()),
                "closed": license.closed.map(|at| at.to_string()),
                "contact": contact.map(|it| it.at.to_string()), "bank": contact.map(|it| it.head.to_string()),
            });
            return Ok(output::line(&object.to_string())?);
        }
        let state = match (license.closed, license.revoked) {
            (Some(at), _) => format!("closed {at}"),
            (None, Some(at)) => format!("revoked {at}"),
            (None, None) if now < license.until => format!("until {}", license.until),
            (None, None) => format!("ended {}", license.until),
        };
        let contact = contact.map(|it| it.at.to_string()).unwrap_or_default();
        let number = |credits: u64| credits.to_string();
        let (limit, rest, cleared, over) = (number(license.limit), number(rest), number(cleared), number(license.over));
        table.row([license.kid, name, limit, rest, cleared, over, state, contact]);
        Ok(())
    })?;
    if args.json {
        return Ok(0);
    }
    if count == 0 {
        output::line("no licences")?;
    } else {
        output::line(&table.lines().join("\n"))?;
    }
    Ok(0)
}

/// Calls `act` with every licence, in the order of their numbers.
fn each(
    ledger: &Ledger,
    now: UnixTime,
    mut act: impl FnMut(LicenseStanding) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let part = ledger.run(ops::Licenses { after, most: PAGE }, now)?;
        let Some(last) = part.last() else { return Ok(()) };
        after = last.license.number;
        for licence in part {
            act(licence)?;
        }
    }
}
