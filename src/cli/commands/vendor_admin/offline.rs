//! `vendor keygen`, `document` and `issue`: commands that need only a signing key.

use super::web_address::in_ascii;
use crate::cli::ui::exit_status::{self, CANNOT_CREATE, DATA, Failure, NO_INPUT};
use crate::cli::ui::output;
use crate::directory::document::{KeyEntry, Status, VendorEntry};
use crate::directory::signing_key::{SecretError, SigningKey};
use crate::message::address::Address;
use crate::os::clock;
use crate::os::random;
use crate::stamp::audience::Audience;
use crate::stamp::claims::Stamp;
use crate::stamp::issue;
use crate::stamp::serial::Serial;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use std::io;
use std::path::{Path, PathBuf};

/// Make a signing key in a new file and print the public document by which recipients trust it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp vendor keygen --vendor stamps.example --kid 2026q4 --out key.json > stamps.example.json")]
pub struct Keygen {
    /// The vendor's name, a domain
    #[arg(long, value_name = "NAME")]
    vendor: String,
    /// The key's name: short, and new for every key
    #[arg(long, value_name = "NAME")]
    kid: String,
    /// The file for the secret key; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where stamps are sold, for the document
    #[arg(long, value_name = "ADDRESS", value_parser = in_ascii)]
    buy: Option<String>,
}

/// Print the public document of a signing key again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor document --key key.json > stamps.example.json")]
pub struct Show {
    /// The file of the secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where stamps are sold
    #[arg(long, value_name = "ADDRESS", value_parser = in_ascii)]
    buy: Option<String>,
}

/// Sign a stamp for one recipient and print it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp vendor issue --key key.json --to someone@far.example --days 30\n  \
    mailstamp vendor issue --key key.json --to someone@far.example --from me@near.example --hashed --value 5 --days 7")]
pub struct Issue {
    /// The file of the secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The recipient whom the stamp names
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// The sender to name in the stamp
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Name the recipient by a salted hash, so that readers of the stamp do not learn the address
    #[arg(long)]
    hashed: bool,
    /// Its value in credits
    #[arg(long, value_name = "CREDITS", default_value_t = 1)]
    value: u64,
    /// The start of its validity (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    not_before: Option<UnixTime>,
    /// The end of its validity (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME", conflicts_with = "days")]
    until: Option<UnixTime>,
    /// The days of its validity, from now or from --not-before
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
    /// Issue as if it were this time
    #[arg(long, value_name = "TIME")]
    now: Option<UnixTime>,
    /// The serial [default: a random one]
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
}

pub(super) fn keygen(args: &Keygen) -> Result<u8, Failure> {
    let issuer = Issuer::new(&args.vendor, &args.kid).map_err(|error| Failure::new(DATA, error))?;
    let signer = SigningKey::generate(issuer).map_err(|error| Failure::new(exit_status::IO, error))?;
    signer.write(&args.out).map_err(|error| {
        let hint = format!(
            "a key is never overwritten; print its document again with: mailstamp vendor document --key {}",
            args.out.display()
        );
        let failure = Failure::new(CANNOT_CREATE, error);
        if args.out.exists() { failure.hint(hint) } else { failure }
    })?;
    public(&signer, args.buy.as_deref())
}

/// Reads a signing key.
pub(super) fn signer(path: &Path) -> Result<SigningKey, Failure> {
    SigningKey::read(path).map_err(|error| match error {
        SecretError::Form { .. } => {
            Failure::new(DATA, error).hint("give the file that `vendor keygen --out` wrote, not the public document")
        }
        error => Failure::new(NO_INPUT, error),
    })
}

pub(super) fn document(args: &Show) -> Result<u8, Failure> {
    let signer = signer(&args.key)?;
    public(&signer, args.buy.as_deref())
}

/// Prints the document by which recipients trust the key.
fn public(signer: &SigningKey, buy: Option<&str>) -> Result<u8, Failure> {
    let key = KeyEntry {
        kid: signer.issuer.key_id().to_owned(),
        key: signer.key.public().to_string(),
        status: Status::Active,
        since: None,
        not_before: None,
        not_after: None,
    };
    let entry = VendorEntry {
        vendor: signer.issuer.vendor().to_owned(),
        keys: vec![key],
        buy: buy.map(str::to_owned),
        ..VendorEntry::default()
    };
    output::line(&serde_json::to_string_pretty(&entry).map_err(io::Error::from)?)?;
    Ok(0)
}

pub(super) fn issue(args: &Issue) -> Result<u8, Failure> {
    let wrong = |name: &str, error: &dyn std::fmt::Display| Failure::new(DATA, format!("{name}: {error}"));
    let signer = signer(&args.key)?;
    let to = Address::parse(&args.to).map_err(|error| wrong("--to", &error))?;
    let from = args.from.as_deref().map(Address::parse).transpose().map_err(|error| wrong("--from", &error))?;
    let audience = if args.hashed { Audience::hashed(&to, random()?) } else { Audience::Plain(to) };
    let now = args.now.unwrap_or_else(clock::now);
    let start = args.not_before.unwrap_or(now);
    let end = args.until.unwrap_or_else(|| start.plus(i64::from(args.days) * 24 * 60 * 60));
    let serial = match &args.serial {
        Some(serial) => Serial::new(serial.as_str()).map_err(|error| wrong("--serial", &error))?,
        None => Serial::from_random(random()?),
    };
    let stamp = Stamp {
        sender: from,
        issued: Some(now),
        not_before: args.not_before,
        value: args.value,
        ..Stamp::new(serial, audience, end)
    };
    if end <= now {
        output::note(&format!("the window of the stamp has ended: {end}"));
    }
    let token = issue::issue(&stamp, &signer.issuer, &signer.key);
    output::line(token.map_err(|error| Failure::new(DATA, error))?.as_str())?;
    Ok(0)
}

fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes).map_err(|error| Failure::new(exit_status::IO, error))?;
    Ok(bytes)
}
