//! `mailstamp vendor publish`: the next edition of a vendor's directory, written into a folder that any web server can serve
//! and any name server can include. What the last edition said is read from there, and its version with it.

use crate::cli::exit::{CANNOT_CREATE, DATA, Failure, NO_INPUT};
use crate::cli::output;
use crate::config::file;
use crate::filter::open;
use crate::keys::acceptance;
use crate::keys::document::{Document, VendorEntry};
use crate::keys::edition::{self, Changes};
use crate::keys::price::Price;
use crate::keys::secret::Signer;
use crate::mail::time::UnixTime;
use std::path::{Path, PathBuf};

/// A signed directory may be so large, with the signatures of some keys: 4 MiB.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Write the next edition of a vendor's directory into a folder: signed, as a tree for a web server, and as lines for a
/// zone file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp vendor publish --key key.json --out public --buy https://stamps.example/ --price '1.00 EUR / 1000'\n  \
    mailstamp vendor publish --key new.json --key key.json --out public --verify-only 2026q4\n  \
    mailstamp vendor publish --key new.json --out public --revoke-key 2026q4=2026-12-01T00:00:00Z")]
pub struct Args {
    /// The file of a secret key; the first signs for all, others for readers who know only them
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The folder for what is published
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// For how many days it is good
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: u32,
    /// Where stamps are to be had
    #[arg(long, value_name = "ADDRESS")]
    buy: Option<String>,
    /// What they cost: '1.00 EUR / 1000' for a thousand credits; replaces the old prices
    #[arg(long, value_name = "PRICE")]
    price: Vec<Price>,
    /// This key signs no more
    #[arg(long, value_name = "KID")]
    verify_only: Vec<String>,
    /// Nothing signed with this key is good, from a time on or at all
    #[arg(long, value_name = "KID[=TIME]", value_parser = dated)]
    revoke_key: Vec<(String, Option<UnixTime>)>,
    /// The stamp with this serial is no good
    #[arg(long, value_name = "SERIAL")]
    revoke_serial: Vec<String>,
    /// From when on a key holds
    #[arg(long, value_name = "KID=TIME", value_parser = named)]
    key_from: Vec<(String, UnixTime)>,
    /// Until when a key holds: the end of its last stamp
    #[arg(long, value_name = "KID=TIME", value_parser = named)]
    key_until: Vec<(String, UnixTime)>,
    /// List another vendor too, from his document
    #[arg(long, value_name = "FILE")]
    list: Vec<PathBuf>,
    /// Publish as if it were this time
    #[arg(long, value_name = "TIME")]
    now: Option<UnixTime>,
}

/// Runs the command.
///
/// # Errors
/// A failure that says what was wrong.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(DATA, error);
    let signers = args.key.iter().map(|path| Signer::read(path)).collect::<Result<Vec<_>, _>>();
    let signers = signers.map_err(|error| Failure::new(NO_INPUT, error))?;
    let vendor = signers.first().map(|signer| signer.issuer.vendor().to_owned()).unwrap_or_default();
    let document = args.out.join(format!("{vendor}.json"));
    let last = match file::read_up_to(&document, LARGEST) {
        Ok(text) => {
            let last = edition::read(&text);
            Some(last.map_err(|error| wrong(&format!("{}: {error}", document.display())))?)
        }
        Err(error) if error.is_absent() => None,
        Err(error) => return Err(Failure::new(NO_INPUT, error)),
    };
    let changes = Changes {
        verify_only: args.verify_only.clone(),
        revoke_keys: args.revoke_key.clone(),
        not_before: args.key_from.clone(),
        not_after: args.key_until.clone(),
        revoke_serials: args.revoke_serial.clone(),
        buy: args.buy.clone(),
        prices: args.price.clone(),
        others: args.list.iter().map(|path| other(path)).collect::<Result<_, _>>()?,
    };
    let now = args.now.unwrap_or_else(open::clock);
    let expires = now.plus(i64::from(args.days) * 24 * 60 * 60);
    let edition = edition::next(last, &signers, &changes, now, expires).map_err(|error| wrong(&error))?;
    // This first: the next version is counted from it.
    write(&document, &edition.document)?;
    write(&args.out.join(".well-known/digital-stamp"), &edition.document)?;
    write(&args.out.join(format!("{vendor}.zone")), &edition.zone)?;
    let version = edition.content.version;
    output::line(&format!("{vendor}: version {version}, good until {expires}, in {}", args.out.display()))?;
    Ok(0)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    file::replace(path, text).map_err(|error| Failure::new(CANNOT_CREATE, format!("{}: {error}", path.display())))
}

/// Another vendor, as his document describes him.
fn other(path: &Path) -> Result<VendorEntry, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(DATA, format!("{}: {error}", path.display()));
    let text = file::read_up_to(path, LARGEST).map_err(|error| Failure::new(NO_INPUT, error))?;
    match serde_json::from_str(&text).map_err(|error| wrong(&error))? {
        Document::Pinned(entry) => Ok(entry),
        Document::Signed { directory, also } => {
            acceptance::introduced(&[vec![directory], also].concat()).map_err(|error| wrong(&error))
        }
    }
}

fn dated(text: &str) -> Result<(String, Option<UnixTime>), String> {
    match text.split_once('=') {
        None => Ok((text.to_owned(), None)),
        Some(_) => named(text).map(|(kid, time)| (kid, Some(time))),
    }
}

fn named(text: &str) -> Result<(String, UnixTime), String> {
    let (kid, time) = text.split_once('=').ok_or("write KID=TIME")?;
    Ok((kid.to_owned(), time.parse().map_err(|error: crate::mail::time::TimeError| error.to_string())?))
}
