//! `mailstamp buy`: buys stamps for recipients, into the wallet or to standard output.

use crate::cli::ui::exit_status::{DATA, Failure, USAGE};
use crate::cli::ui::purchase::{failure, sweep};
use crate::cli::ui::{acceptance, output};
use crate::config::paths::CliOverrides;
use crate::context::Context;
use crate::message::address::Address;
use crate::sender::budget::DAY;
use crate::sender::stamp_request::{ReservationKey, StampRequest, WalletStamp, WalletState};
use crate::sender::stamp_source::StampSource;
use crate::sender::wallet::Disposition;
use crate::stamp::claims::Stamp;
use crate::time::UnixTime;
use std::collections::HashSet;
use std::io::{self, Write};
use std::time::Duration;

/// Limit on the wait for another process that makes the same purchase.
const WAIT: Duration = Duration::from_secs(120);

/// Buy a stamp for each recipient, in one request to each vendor.
///
/// Nothing is charged twice. If the command was killed or got no answer, the same arguments continue the same purchase.
/// Once it has ended, the same arguments are a new purchase, unless it was given a name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp buy --to bob@y.example --out - > stamp\n  \
    mailstamp buy --to bob@y.example --to carol@z.example --value 2\n  \
    mailstamp buy --to bob@y.example --name invoice-17 --out -")]
pub struct Args {
    /// A recipient of a stamp; may be given more than once
    #[arg(long, value_name = "ADDRESS", required = true, num_args = 1..)]
    to: Vec<Address>,
    /// Credits of each stamp [default: the recipient's price, else sender.value]
    #[arg(long, value_name = "CREDITS", value_parser = clap::value_parser!(u64).range(1..))]
    value: Option<u64>,
    /// Days of validity [default: sender.days, else the vendor's choice]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3660))]
    days: Option<u32>,
    /// Buy from this vendor or account
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<String>,
    /// Name the recipient by a salted hash only; the vendor does not learn the address
    #[arg(long)]
    hashed: bool,
    /// Name this sender in the stamp
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<Address>,
    /// The destination: wallet, or "-" for standard output, with a line for each stamp in the order of the recipients
    #[arg(long, value_name = "WHERE", value_parser = ["wallet", "-"], default_value = "wallet")]
    out: String,
    /// A name for this purchase: for a month, the same name gives the same stamps again
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print a JSON object for each stamp
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when there is no stamp for one of the recipients. Those that were bought stay in the wallet.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let mut seen = HashSet::new();
    if let Some(twice) = args.to.iter().find(|address| !seen.insert(address.canonical())) {
        return Err(Failure::new(USAGE, format!("{twice} is given twice")));
    }
    let context = Context::load(given, None)?;
    let sender = StampSource::new(&context.config, &context.places)?;
    let now = context.now;
    sweep(&sender, &context)?;
    let run = sender.run(&format!("{args:?}"), args.name.as_deref(), WAIT).map_err(|error| failure(&error))?;
    let want = |recipient: &Address| StampRequest {
        value: args.value,
        days: args.days,
        vendor: args.vendor.clone(),
        hashed: args.hashed.then_some(true),
        sender: args.sender.clone(),
        fresh: true,
        ..StampRequest::new(run.key(recipient), recipient.clone())
    };
    let wants: Vec<StampRequest> = args.to.iter().map(want).collect();
    if let Some(name) = &args.name {
        for want in &wants {
            let held = sender.wallet().held(&want.key)?.filter(|held| held.expires.is_none_or(|end| end > now));
            if let Some(held) = held {
                is_same(args, name, &want.key, &held, &sender)?;
            }
        }
    }
    let mut stamps = Vec::with_capacity(wants.len());
    let mut failed = None;
    for (want, answer) in wants.iter().zip(sender.acquire(&wants, now)) {
        match answer {
            Ok(held) => stamps.push((want.key.clone(), held)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        // The stamps that arrived for other recipients are kept. A missing answer may still arrive, so the run is not
        // ended then.
        let keys: Vec<_> = wants.iter().map(|want| want.key.clone()).collect();
        if !error.passes() && !sender.wallet().waits(&keys)? {
            let keys: Vec<_> = stamps.iter().map(|(key, _)| key.clone()).collect();
            run.end(&keys, Disposition::Kept, now)?;
        }
        return Err(failure(&error));
    }
    if let Some(name) = &args.name {
        // A message can have taken one in the meantime.
        let each = stamps.iter().try_for_each(|(key, held)| is_same(args, name, key, held, &sender));
        if let Err(failure) = each {
            run.end(&stamps.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), Disposition::Kept, now)?;
            return Err(failure);
        }
    }
    tell(args, &stamps.iter().map(|(_, held)| held).collect::<Vec<_>>(), now)?;
    let keys: Vec<_> = stamps.into_iter().map(|(key, _)| key).collect();
    run.end(&keys, if args.out == "-" { Disposition::HandedOut } else { Disposition::Kept }, now)?;
    Ok(0)
}

/// Checks that the stamp of a named purchase is what these arguments order, and that no message has it if it is to be
/// handed out.
fn is_same(
    args: &Args,
    name: &str,
    key: &ReservationKey,
    held: &WalletStamp,
    source: &StampSource,
) -> Result<(), Failure> {
    let stamp = Stamp::read(held.token.payload()).map_err(|error| Failure::new(DATA, error))?;
    let is_of = |vendor: &String| {
        held.vendor == *vendor || source.accounts().get(vendor).is_ok_and(|account| account.vendor == held.vendor)
    };
    let lasts = |days: u32| held.expires.map(|end| end.since(held.bought.plus(i64::from(days) * DAY)).abs() <= DAY);
    let differs = match (args.value, args.days, &args.vendor, &args.sender) {
        (Some(value), ..) if held.value != value => format!("has a value of {}, not of {value}", held.value),
        (_, Some(days), ..) if lasts(days) != Some(true) => match held.expires {
            Some(end) => format!("ends at {end}, not after {days} days"),
            None => format!("has no end, not one after {days} days"),
        },
        (_, _, Some(vendor), _) if !is_of(vendor) => format!("is of {}, not of {vendor}", held.vendor),
        (.., Some(sender)) if stamp.sender.as_ref() != Some(sender) => format!("does not name {sender} as its sender"),
        _ if args.hashed && stamp.audience.address().is_some() => "names its recipient without a hash".to_owned(),
        _ => match &held.state {
            WalletState::Reserved { key: by, .. } | WalletState::Used { key: by, .. }
                if args.out == "-" && by != key =>
            {
                "went to a message from the wallet".to_owned()
            }
            _ => return Ok(()),
        },
    };
    let text = format!("the stamp for {} that was bought with --name {name:?} {differs}", held.recipient);
    Err(Failure::new(DATA, text).hint("another purchase needs another --name"))
}

fn tell(args: &Args, stamps: &[&WalletStamp], now: UnixTime) -> Result<(), Failure> {
    for held in stamps {
        acceptance::note_long_window(&held.token, now);
        if let Some(end) = held.expires.filter(|end| *end <= now) {
            let WalletStamp { recipient, vendor, .. } = held;
            output::warning(&format!(
                "the stamp for {recipient} ended at {end}: {vendor} sold an ended stamp, or the clock is ahead"
            ));
        }
    }
    let mut text = String::new();
    for held in stamps {
        if args.json {
            text += &output::held(held, args.out == "-").to_string();
        } else if args.out == "-" {
            text += held.token.as_str();
        } else {
            let until = held.expires.map(|end| format!(", until {end}")).unwrap_or_default();
            text += &format!("{}: {} credits, {}{until}", held.recipient, held.value, held.vendor);
        }
        text.push('\n');
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::from)
}
