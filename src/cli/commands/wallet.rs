//! `mailstamp wallet`: lists, shows and drops the unused stamps that were bought.

use crate::cli::ui::counts::counted;
use crate::cli::ui::exit_status::{DATA, Failure};
use crate::cli::ui::output;
use crate::cli::ui::purchase::sweep;
use crate::cli::ui::table::Table;
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::message::header::readable;
use crate::sender::stamp_request::{WalletStamp, WalletState};
use crate::sender::stamp_source::StampSource;
use crate::sender::wallet::Purchase;
use serde_json::json;
use std::io::{self, Write};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the stamps in the wallet
    List(ListArgs),
    /// Print stamps
    Show(ShowArgs),
    /// Delete stamps
    Drop(DropArgs),
}

/// List the stamps in the wallet, the purchases that are not answered yet, and those that brought no stamp.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp wallet list\n  mailstamp wallet list --all --json")]
pub struct ListArgs {
    /// Also those that were used in the last 30 days
    #[arg(long)]
    all: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Print stamps, a line for each: those with these serials, or all that are unused. They stay in the wallet.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp wallet show\n  mailstamp wallet show --json > stamps.jsonl")]
pub struct ShowArgs {
    /// Their serials
    #[arg(value_name = "SERIAL")]
    serials: Vec<String>,
    /// Print a JSON object for each
    #[arg(long)]
    json: bool,
}

/// Delete stamps, reserved ones too. Their credits are lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp wallet list\n  mailstamp wallet drop AfQbk0ofSm-Y2JrFhYpLyQ")]
pub struct DropArgs {
    /// Their serials
    #[arg(value_name = "SERIAL", required = true)]
    serials: Vec<String>,
}

pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    let context = Context::load(given, None)?;
    let sender = StampSource::new(&context.config, &context.places)?;
    sweep(&sender, &context)?;
    match command {
        Command::List(args) => list(args, &sender),
        Command::Show(args) => show(args, &sender),
        Command::Drop(args) => {
            let removed = sender.wallet().remove(&args.serials)?;
            for held in &removed {
                output::line(&format!("dropped: {} for {}", counted(held.value, "credit"), held.recipient))?;
            }
            absent(&args.serials, &removed)?;
            Ok(0)
        }
    }
}

fn list(args: &ListArgs, sender: &StampSource) -> Result<u8, Failure> {
    let mut stamps = sender.wallet().stamps()?;
    stamps.retain(|held| args.all || !matches!(held.state, WalletState::Used { .. }));
    let mut lost = sender.wallet().purchases()?;
    lost.retain(|purchase| purchase.open || !purchase.lost.is_empty());
    let open: Vec<_> = lost.iter().filter(|purchase| purchase.open).cloned().collect();
    lost.retain(|purchase| !purchase.lost.is_empty());
    if args.json {
        let stamps: Vec<_> = stamps.iter().map(|held| output::held(held, false)).collect();
        let shown = |it: &Purchase, stamps: &[(String, u64)]| {
            let stamps: Vec<_> = stamps.iter().map(|(to, value)| json!({ "recipient": to, "value": value })).collect();
            json!({ "id": it.id, "at": it.at.to_string(), "account": it.account, "stamps": stamps })
        };
        let open: Vec<_> = open.iter().map(|it| shown(it, &it.stamps)).collect();
        let lost = lost.iter().map(|it| {
            let mut lost = shown(it, &it.lost);
            lost["fault"] = json!(it.fault);
            lost
        });
        let lost: Vec<_> = lost.collect();
        let all = json!({ "schema": output::SCHEMA, "stamps": stamps, "unanswered": open, "lost": lost });
        output::line(&all.to_string())?;
        return Ok(0);
    }
    let mut table = Table::new(&["recipient", "vendor", "serial", "until", "state", "credits"], 5);
    for held in &stamps {
        table.row([
            held.recipient.to_string(),
            held.vendor.clone(),
            held.serial.as_str().to_owned(),
            held.expires.map(|end| end.to_string()).unwrap_or_default(),
            output::held_state(held).to_owned(),
            held.value.to_string(),
        ]);
    }
    for line in table.lines() {
        output::line(&line)?;
    }
    if stamps.is_empty() {
        output::note("no stamp is in the wallet");
    }
    let total = |stamps: &[(String, u64)]| {
        let credits = stamps.iter().map(|(_, value)| *value).fold(0, u64::saturating_add);
        format!("{}, {}", counted(stamps.len() as u64, "stamp"), counted(credits, "credit"))
    };
    for Purchase { at, account, stamps, .. } in &open {
        output::line(&format!("not answered yet: {}, from {account} since {at}", total(stamps)))?;
    }
    for Purchase { id, at, account, lost, fault, .. } in &lost {
        let fault = readable(fault.as_deref().unwrap_or_default().as_bytes(), 300);
        output::line(&format!("may be lost: {}, from {account} at {at}: {fault}; order {id}", total(lost)))?;
    }
    Ok(0)
}

fn show(args: &ShowArgs, sender: &StampSource) -> Result<u8, Failure> {
    let mut stamps = sender.wallet().stamps()?;
    stamps.retain(|held| {
        if args.serials.is_empty() {
            held.state == WalletState::Unused
        } else {
            args.serials.iter().any(|serial| serial == held.serial.as_str())
        }
    });
    let mut stdout = io::stdout().lock();
    for held in &stamps {
        if args.json {
            writeln!(stdout, "{}", output::held(held, true))?;
        } else {
            writeln!(stdout, "{}", held.token.as_str())?;
        }
    }
    stdout.flush()?;
    absent(&args.serials, &stamps)?;
    if stamps.is_empty() && !args.json {
        output::note("no unused stamp is in the wallet");
    }
    Ok(0)
}

fn absent(serials: &[String], found: &[WalletStamp]) -> Result<(), Failure> {
    match serials.iter().find(|serial| !found.iter().any(|held| held.serial.as_str() == **serial)) {
        Some(serial) => Err(Failure::new(DATA, format!("there is no stamp {serial:?} in the wallet"))),
        None => Ok(()),
    }
}
