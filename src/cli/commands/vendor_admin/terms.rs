//! `vendor init`, `price`, `terms`, `rotate`: set the vendor's name, terms and signing keys.

use super::open_ledger::Which;
use super::web_address::in_ascii;
use crate::accounting::event::{self, KeyState};
use crate::accounting::money;
use crate::accounting::order::{Caps, DAYS_MAX, DAYS_USUAL, OwnCaps};
use crate::accounting::work::{CODES_MAX, GIVEN_MAX, ROUNDS_MAX, WorkTerms};
use crate::cli::ui::counts::plural;
use crate::cli::ui::exit_status::{Failure, USAGE};
use crate::cli::ui::output;
use crate::config::paths::CliOverrides;
use crate::directory::document::VendorEntry;
use crate::ledger::handle::{Ledger, LedgerParams};
use crate::ledger::ops;
use crate::message::address::Address;
use crate::os::clock;
use crate::time::UnixTime;
use serde_json::json;
use std::io;

/// Create a vendor's ledger in an empty folder, with a first signing key, and print the document by which recipients
/// trust it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp vendor init --vendor stamps.example --kid 2026q4 --price '0.001 EUR' > stamps.example.json\n  \
    mailstamp vendor init --for-me joe@x.example --buy https://joe.example")]
pub struct Init {
    /// Sell stamps for this address only, which is yours, and trust the vendor
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse, requires = "buy")]
    pub(super) for_me: Option<Address>,
    /// The vendor's name, a domain [default with --for-me: the host of --buy]
    #[arg(long, value_name = "NAME", required_unless_present = "for_me")]
    pub(super) vendor: Option<String>,
    /// The name of the first signing key [default with --for-me: 1]
    #[arg(long, value_name = "NAME", required_unless_present = "for_me")]
    pub(super) kid: Option<String>,
    /// What a credit costs [default with --for-me: 0.01 EUR]
    #[arg(long, value_name = "PRICE", required_unless_present = "for_me")]
    pub(super) price: Option<money::Price>,
    /// Where stamps are sold, for the document
    #[arg(long, value_name = "ADDRESS", value_parser = in_ascii)]
    pub(super) buy: Option<String>,
    #[command(flatten)]
    pub(super) which: Which,
}

/// Show the price of a credit and of a number of stamps, or set a new price.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor price\n  mailstamp vendor price --stamps 1000000\n  \
    mailstamp vendor price --set '1 EUR / 800'")]
pub struct Price {
    /// The number of stamps, of one credit each
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    stamps: u64,
    /// The price of a credit from now on
    #[arg(long, value_name = "PRICE")]
    set: Option<money::Price>,
    /// The price at which a credit is paid out from now on
    #[arg(long, value_name = "PRICE")]
    payout: Option<money::Price>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Show or set the terms. Terms that are not given stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor terms\n  mailstamp vendor terms --days 14\n  \
    mailstamp vendor terms --meters 100000\n  mailstamp vendor terms --work 16 --max-worked 48")]
pub struct Terms {
    /// The days of validity of a stamp that asks for no end
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    days: Option<u32>,
    #[command(flatten)]
    caps: GivenCaps,
    /// The highest limit of a meter's licence; 'off' licenses no meters
    #[arg(long, value_name = "CREDITS", value_parser = meters)]
    meters: Option<Meters>,
    /// The rounds of work for a stamp without value, of a vendor for one recipient; 'off' gives none
    #[arg(long, value_name = "ROUNDS", value_parser = rounds)]
    work: Option<Rounds>,
    /// The most stamps for work in a day
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(GIVEN_MAX)))]
    max_worked: Option<u32>,
    /// The most codes mailed in a day to visitors who can't work; 0 for none
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=i64::from(CODES_MAX)))]
    max_codes: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// Highest limit of a licence; `None` licenses no meters.
#[derive(Clone, Copy, Debug)]
pub struct Meters(Option<u64>);

fn meters(text: &str) -> Result<Meters, String> {
    if text == "off" {
        return Ok(Meters(None));
    }
    let limit = text.parse().ok().filter(|limit| i64::try_from(*limit).is_ok());
    limit.map(|limit| Meters(Some(limit))).ok_or_else(|| "not a number of credits, and not 'off'".to_owned())
}

/// Rounds of work for a stamp; `None` gives no stamps for work.
#[derive(Clone, Copy, Debug)]
pub struct Rounds(Option<u32>);

fn rounds(text: &str) -> Result<Rounds, String> {
    if text == "off" {
        return Ok(Rounds(None));
    }
    let rounds = text.parse().ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds));
    rounds
        .map(|rounds| Rounds(Some(rounds)))
        .ok_or_else(|| format!("not a number from 1 to {ROUNDS_MAX}, and not 'off'"))
}

/// Caps, any of which may be given.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[group(skip)]
pub struct GivenCaps {
    /// The most stamps in one request
    #[arg(long, value_name = "COUNT")]
    max_stamps: Option<u32>,
    /// The largest value of a stamp
    #[arg(long, value_name = "CREDITS")]
    max_value: Option<u64>,
    /// The longest window
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    max_days: Option<u32>,
    /// The most credits that an account may spend in a day
    #[arg(long, value_name = "CREDITS")]
    max_credits: Option<u64>,
}

/// Make a new signing key and sign with it from now on, or revoke a key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor rotate --prepare 2027q1\n  mailstamp vendor rotate 2027q1\n  \
    mailstamp vendor rotate --revoke 2026q4")]
pub struct Rotate {
    /// The name of the new key
    #[arg(value_name = "NAME", required_unless_present = "revoke")]
    kid: Option<String>,
    /// Make and publish it, but sign with the old key until rotated again without this option
    #[arg(long, conflicts_with = "revoke")]
    prepare: bool,
    /// Revoke the key of this name: stamps that it signed are refused
    #[arg(long, value_name = "NAME")]
    revoke: Option<String>,
    #[command(flatten)]
    which: Which,
}

impl GivenCaps {
    /// Returns the caps that were given.
    pub(super) fn given(&self) -> OwnCaps {
        let Self { max_stamps: stamps, max_value: value, max_days: days, max_credits: credits_a_day } = *self;
        OwnCaps { stamps, value, days, credits_a_day }
    }
}

pub(super) fn init(args: &Init, given: &CliOverrides) -> Result<u8, Failure> {
    let (Some(vendor), Some(kid), Some(price)) = (args.vendor.clone(), args.kid.clone(), args.price) else {
        return Err(Failure::new(USAGE, "--vendor, --kid and --price are required without --for-me"));
    };
    let founding = LedgerParams { vendor, kid, terms: event::Terms::new(price, DAYS_USUAL) };
    let ledger = Ledger::create(&args.which.folder(given)?, &founding, clock::now())?;
    document(&ledger, args.buy.clone())
}

/// Prints the public document, which recipients trust.
fn document(ledger: &Ledger, buy: Option<String>) -> Result<u8, Failure> {
    let entry = VendorEntry { buy, ..ledger.published(clock::now())? };
    output::line(&serde_json::to_string_pretty(&entry).map_err(io::Error::from)?)?;
    Ok(0)
}

pub(super) fn price(args: &Price, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let mut terms = ledger.profile()?.terms;
    if args.set.is_some() || args.payout.is_some() {
        terms.price = args.set.unwrap_or(terms.price);
        terms.payout = args.payout.or(terms.payout);
        ledger.run(ops::SetTerms { terms: terms.clone() }, clock::now())?;
        args.which.tell_recipients(&ledger, given)?;
    }
    let out_of_range = |error| Failure::new(crate::cli::ui::exit_status::DATA, error);
    let cost = terms.price.of(args.stamps).map_err(out_of_range)?;
    let payout = terms.payout.unwrap_or(terms.price);
    if args.json {
        let object = json!({
            "schema": output::SCHEMA, "price": terms.price, "payout": payout,
            "stamps": args.stamps, "cost": cost.to_string(),
        });
        output::line(&object.to_string())?;
    } else {
        output::line(&format!("a credit costs {} and is paid out at {payout}", terms.price))?;
        output::line(&format!("price of {} stamp{} of one credit: {cost}", args.stamps, plural(args.stamps)))?;
    }
    Ok(0)
}

pub(super) fn terms(args: &Terms, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    let profile = ledger.profile()?;
    let before = profile.terms.clone();
    let terms = event::Terms {
        work: args.work_terms(&before)?,
        days: args.days.unwrap_or(before.days),
        caps: args.caps.given().over(before.caps),
        meters: args.meters.map_or(before.meters, |Meters(limit)| limit),
        ..before.clone()
    };
    if terms != before {
        ledger.run(ops::SetTerms { terms: terms.clone() }, clock::now())?;
    }
    if args.json {
        output::line(&json!({ "schema": output::SCHEMA, "terms": terms }).to_string())?;
        return Ok(0);
    }
    let days = terms.days_within(&terms.caps);
    output::line(&format!("stamps hold for {days} days unless they ask for another end"))?;
    output::line(&caps(&terms.caps))?;
    if let Some(recipient) = &profile.recipient {
        output::line(&format!("for {recipient} only"))?;
        output::line(&match terms.work {
            Some(WorkTerms { rounds, per_day, codes_per_day }) => {
                let of = |number: u32, one: &str| format!("{number} {one}{}", plural(number.into()));
                let (rounds, stamps) = (of(rounds, "round"), of(per_day, "stamp"));
                format!("work: {rounds} for a stamp, at most {stamps} and {} a day", of(codes_per_day, "mailed code"))
            }
            None => "work: off".to_owned(),
        })?;
    }
    output::line(&match terms.meters {
        Some(limit) => format!("meters: at most {limit} credit{} a licence", plural(limit)),
        None => "meters: off".to_owned(),
    })?;
    Ok(0)
}

impl Terms {
    /// Returns the terms of work from now on.
    fn work_terms(&self, before: &event::Terms) -> Result<Option<WorkTerms>, Failure> {
        let asked = self.work.is_some() || self.max_worked.is_some() || self.max_codes.is_some();
        if asked && before.recipient.is_none() {
            let text = "stamps are given for work only by a vendor for one recipient";
            return Err(
                Failure::new(USAGE, text).hint("make one: mailstamp vendor init --for-me ADDRESS --buy ADDRESS")
            );
        }
        let work = match self.work {
            Some(Rounds(None)) => return Ok(None),
            Some(Rounds(Some(rounds))) => Some(WorkTerms { rounds, ..before.work.unwrap_or_default() }),
            None if before.work.is_none() && asked => {
                return Err(Failure::new(USAGE, "work is off").hint("switch it on first: --work 16"));
            }
            None => before.work,
        };
        Ok(work.map(|work| WorkTerms {
            per_day: self.max_worked.unwrap_or(work.per_day),
            codes_per_day: self.max_codes.unwrap_or(work.codes_per_day),
            ..work
        }))
    }
}

/// Formats caps as a line.
pub(super) fn caps(caps: &Caps) -> String {
    let Caps { stamps, value, days, credits_a_day } = caps;
    let of = |number: u64, one: &str| format!("{number} {one}{}", plural(number));
    let (stamps, value) = (of((*stamps).into(), "stamp"), of(*value, "credit"));
    let (days, credits_a_day) = (of((*days).into(), "day"), of(*credits_a_day, "credit"));
    format!("at most {stamps} a request, {value} a stamp, {days}, {credits_a_day} a day")
}

pub(super) fn rotate(args: &Rotate, given: &CliOverrides) -> Result<u8, Failure> {
    let ledger = args.which.reach(given)?;
    if let Some(kid) = &args.revoke {
        // Checked before any change.
        ledger.key(kid)?;
    }
    if let Some(kid) = &args.kid {
        if args.prepare {
            ledger.prepare(kid, clock::now())?;
        } else {
            let known = ledger.profile()?.keys.iter().any(|key| key.kid == *kid);
            ledger.rotate(kid, clock::now())?;
            if !known {
                output::note("recipients see new stamps as unverified until they refresh; next time --prepare the key");
            }
        }
    }
    if let Some(kid) = &args.revoke {
        let since: Option<UnixTime> = None;
        ledger.set_key_state(kid, KeyState::Revoked { since }, clock::now())?;
    }
    document(&ledger, None)?;
    args.which.tell_recipients(&ledger, given)?;
    Ok(0)
}
