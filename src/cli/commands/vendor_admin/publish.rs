//! `mailstamp vendor publish`: writes the next edition of a vendor's directory into a folder, for any web server or
//! name server. With a ledger, the edition comes from the ledger and continues the last one of it; without one, it comes
//! from the given keys and continues the last one in the folder.

use super::offline;
#[cfg(feature = "vendor")]
use super::open_ledger::{Which, tell_revoked};
use super::web_address::in_ascii;
use crate::accounting::money::Price;
use crate::cli::ui::exit_status::{CANNOT_CREATE, DATA, Failure, NO_INPUT};
use crate::cli::ui::output;
use crate::config::file;
use crate::config::paths::CliOverrides;
use crate::directory::document::{Document, SignedDirectory, VendorEntry};
use crate::directory::key_directory::LONGEST_FILE;
use crate::directory::public_folder::PublicFolder;
use crate::directory::public_log::editions;
use crate::directory::publish::{self, Changes, Edition, EditionError, Publication};
use crate::directory::signing_key::SigningKey;
use crate::directory::trust_policy;
use crate::os::clock;
use crate::stamp::strict_json::problem;
use crate::time::UnixTime;
use std::path::{Path, PathBuf};

/// Write the next edition of a vendor's directory into a folder: signed, as a tree for a web server, and as lines for a
/// zone file. Keys, prices and revocations come from the vendor's ledger, unless keys are given. With a ledger, its
/// public log is extended by the days that have ended, and written, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp vendor publish --out public --buy https://stamps.example/\n  \
    mailstamp vendor publish --key key.json --out public --buy https://stamps.example/ --price '1.00 EUR / 1000'\n  \
    mailstamp vendor publish --key new.json --key key.json --out public --verify-only 2026q4\n  \
    mailstamp vendor publish --key new.json --out public --revoke-key 2026q4=2026-12-01T00:00:00Z")]
pub struct Args {
    /// The folder of the ledger [default: vendor in the folder of the state]
    #[arg(long, value_name = "FOLDER", conflicts_with = "key")]
    ledger: Option<PathBuf>,
    /// The file of a secret key, for a vendor without a ledger; the first signs for all readers, the others for readers
    /// that know only them
    #[arg(long, value_name = "FILE", requires = "out")]
    key: Vec<PathBuf>,
    /// The folder for what is published; public in the folder of the ledger, if not given
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The days of its validity
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
    /// Where stamps are sold
    #[arg(long, value_name = "ADDRESS", value_parser = in_ascii)]
    buy: Option<String>,
    /// What they cost: '1.00 EUR / 1000' for a thousand credits; replaces the old prices
    #[arg(long, value_name = "PRICE", requires = "key")]
    price: Vec<Price>,
    /// This key signs no longer
    #[arg(long, value_name = "KID", requires = "key")]
    verify_only: Vec<String>,
    /// Revoke this key, from a time on or entirely
    #[arg(long, value_name = "KID[=TIME]", value_parser = dated, requires = "key")]
    revoke_key: Vec<(String, Option<UnixTime>)>,
    /// Revoke the stamp with this serial
    #[arg(long, value_name = "SERIAL", requires = "key")]
    revoke_serial: Vec<String>,
    /// Stop listing this revoked serial, since its stamp has expired
    #[arg(long, value_name = "SERIAL", requires = "key")]
    ended_serial: Vec<String>,
    /// The start of a key's validity
    #[arg(long, value_name = "KID=TIME", value_parser = named)]
    key_from: Vec<(String, UnixTime)>,
    /// The end of a key's validity, which is the end of its last stamp
    #[arg(long, value_name = "KID=TIME", value_parser = named)]
    key_until: Vec<(String, UnixTime)>,
    /// List another vendor too, from its document
    #[arg(long, value_name = "FILE")]
    list: Vec<PathBuf>,
    /// First take the public log over from its files in the folder, after the ledger was restored from a copy
    #[arg(long, conflicts_with = "key")]
    resume_log: bool,
    /// Publish as if it were this time
    #[arg(long, value_name = "TIME")]
    now: Option<UnixTime>,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let changes = Changes {
        ledger: None,
        log: None,
        version: 0,
        verify_only: args.verify_only.clone(),
        revoke_keys: args.revoke_key.clone(),
        not_before: args.key_from.clone(),
        not_after: args.key_until.clone(),
        revoke_serials: args.revoke_serial.clone(),
        ended_serials: args.ended_serial.clone(),
        buy: args.buy.clone(),
        prices: args.price.clone(),
        others: args.list.iter().map(|path| other(path)).collect::<Result<_, _>>()?,
    };
    let now = args.now.unwrap_or_else(clock::now);
    let expires = now.plus(i64::from(args.days) * 24 * 60 * 60);
    match &args.out {
        Some(out) if !args.key.is_empty() => {
            let signers = args.key.iter().map(|path| offline::signer(path)).collect::<Result<Vec<_>, _>>()?;
            let signers: Vec<&SigningKey> = signers.iter().collect();
            let vendor = signers.first().map_or("", |signer| signer.issuer.vendor());
            next_in(out, vendor, |last| Ok(publish::next(last, &signers, &changes, now, expires)?))
        }
        out => from_ledger(args, out.as_deref(), given, &changes, (now, expires)),
    }
}

/// Publishes the content of the ledger, signed with its keys.
#[cfg(feature = "vendor")]
fn from_ledger(
    args: &Args,
    out: Option<&Path>,
    given: &CliOverrides,
    changes: &Changes,
    (now, expires): (UnixTime, UnixTime),
) -> Result<u8, Failure> {
    let which = Which::at(args.ledger.clone());
    let ledger = which.reach(given)?;
    let public = which.public(given)?;
    tell_revoked(&ledger, &ledger.adopt_revocations(now)?)?;
    let out = out.unwrap_or(&public);
    let (own, there) = (public.join(".well-known"), out.join(".well-known"));
    let unkept = |error: std::io::Error| Failure::new(CANNOT_CREATE, format!("{}: {error}", public.display()));
    next_in(out, ledger.vendor()?, |last| {
        // First, since the directory names its checkpoint.
        let log = ledger.publish_log(out, args.resume_log, now)?;
        output::line(&format!("public log: {} leaves, {} of them new", log.size, log.appended))?;
        if let Some(problem) = log.clock_problem(now) {
            output::warning(&problem);
        }
        let changes = Changes { log: Some(log.entry), ..changes.clone() };
        // One that was booked by a process that crashed.
        if let Some(booked) = ledger.last_edition()? {
            editions::keep_missing(&own, booked.version, &booked.document).map_err(unkept)?;
        }
        let edition = ledger.edition(last.as_ref(), &changes, now, expires)?;
        // The folder of the ledger has the editions of all folders.
        editions::keep_missing(&own, edition.content.version, &edition.document).map_err(unkept)?;
        editions::copy_missing(&own, &there).map_err(unkept)?;
        Ok(edition)
    })
}

#[cfg(not(feature = "vendor"))]
fn from_ledger(
    _: &Args,
    _: Option<&Path>,
    _: &CliOverrides,
    _: &Changes,
    _: (UnixTime, UnixTime),
) -> Result<u8, Failure> {
    Err(Failure::new(
        crate::cli::ui::exit_status::USAGE,
        "this program was built without the ledger; give --key and --out",
    ))
}

/// Writes the edition after the last one in the folder. The lock excludes other writers: two editions with one version
/// would lose the revocations of the first.
fn next_in(
    out: &Path,
    vendor: &str,
    make: impl FnOnce(Option<Edition>) -> Result<Publication, Failure>,
) -> Result<u8, Failure> {
    let wrong = |error: std::io::Error| Failure::new(CANNOT_CREATE, format!("{}: {error}", out.display()));
    let folder = PublicFolder::lock(out).map_err(wrong)?;
    folder.remove_leftovers().map_err(wrong)?;
    let document = out.join(format!("{vendor}.json"));
    let last = match file::read_up_to(&document, LONGEST_FILE) {
        Ok(text) => {
            let last = publish::read(&text);
            Some(last.map_err(|error| Failure::new(DATA, format!("{}: {error}", document.display())))?)
        }
        // The shop may have published before.
        Err(error) if error.is_absent() => newest(out)?,
        Err(error) => return Err(Failure::new(NO_INPUT, error)),
    };
    let edition = make(last)?;
    editions::keep(&out.join(".well-known"), edition.content.version, &edition.document).map_err(wrong)?;
    // Written first: the next version is counted from it.
    write(&document, &edition.document)?;
    write(&out.join(".well-known/digital-stamp"), &edition.document)?;
    write(&out.join(format!("{vendor}.zone")), &edition.zone)?;
    let SignedDirectory { version, expires, .. } = edition.content;
    output::line(&format!("{vendor}: version {version}, good until {expires}, in {}", out.display()))?;
    Ok(0)
}

/// Returns the newest edition that is kept in the folder.
fn newest(out: &Path) -> Result<Option<Edition>, Failure> {
    let folder = out.join(".well-known");
    let wrong = |code, error: &dyn std::fmt::Display| Failure::new(code, format!("{}: {error}", folder.display()));
    let text = editions::newest(&folder).map_err(|error| wrong(NO_INPUT, &error))?;
    text.map(|text| publish::read(&text)).transpose().map_err(|error| wrong(DATA, &error))
}

impl From<EditionError> for Failure {
    fn from(error: EditionError) -> Self {
        let failure = Self::new(DATA, &error);
        match error {
            EditionError::Long { .. } => failure.hint("stop listing serials of expired stamps with --ended-serial"),
            EditionError::Signatures { .. } => failure.hint("sign with fewer keys"),
            _ => failure,
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    file::replace(path, text).map_err(|error| Failure::new(CANNOT_CREATE, format!("{}: {error}", path.display())))
}

/// Reads the entry of another vendor from its document.
fn other(path: &Path) -> Result<VendorEntry, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(DATA, format!("{}: {error}", path.display()));
    let text = file::read_up_to(path, LONGEST_FILE).map_err(|error| Failure::new(NO_INPUT, error))?;
    match serde_json::from_str(&text).map_err(|error| wrong(&problem(&error)))? {
        Document::Pinned(entry) => Ok(entry),
        Document::Signed { directory, also } => {
            trust_policy::first_contact(&[vec![directory], also].concat()).map_err(|error| wrong(&error))
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
    Ok((kid.to_owned(), time.parse().map_err(|error: crate::time::TimeError| error.to_string())?))
}
