//! A vendor by hand, without books: make a signing key, issue stamps with it, and on the recipient's side say whom one
//! trusts.

use crate::cli::ui::exit_status::{self, CANNOT_CREATE, CONFIG, DATA, Failure, NO_INPUT};
use crate::cli::ui::output;
use crate::config::file;
use crate::config::paths::{Given, Places};
use crate::directory::document::{Document, KeyEntry, Status, VendorEntry};
use crate::directory::key_directory::{Directory, Unheeded};
use crate::directory::pinned;
use crate::directory::signing_key::Signer;
use crate::directory::trust_policy;
use crate::message::address::Address;
use crate::os::clock;
use crate::os::random;
use crate::stamp::audience::Audience;
use crate::stamp::claims::Stamp;
use crate::stamp::issue;
use crate::stamp::serial::Serial;
use crate::stamp::signing::PublicKey;
use crate::stamp::token::Issuer;
use crate::time::UnixTime;
use crate::verdict::facts::{KeyFact, KeyStatus};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Make a signing key in a new file and print the public document by which recipients trust it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp vendor keygen --vendor stamps.example --kid 2026q4 --out key.json > stamps.example.json")]
pub struct Keygen {
    /// The vendor's name, a domain
    #[arg(long, value_name = "NAME")]
    vendor: String,
    /// The key's name: short, new for every key
    #[arg(long, value_name = "NAME")]
    kid: String,
    /// The file for the secret key; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where stamps are to be had, for the document
    #[arg(long, value_name = "ADDRESS")]
    buy: Option<String>,
}

/// Print the public document of a signing key once more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor document --key key.json > stamps.example.json")]
pub struct Show {
    /// The file of the secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where stamps are to be had
    #[arg(long, value_name = "ADDRESS")]
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
    /// The sender, if the stamp is to name him
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Name the recipient by a salted hash, so that who reads the stamp does not learn the address
    #[arg(long)]
    hashed: bool,
    /// Its value in credits
    #[arg(long, value_name = "CREDITS", default_value_t = 1)]
    value: u64,
    /// From when on it is valid (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME")]
    not_before: Option<UnixTime>,
    /// Until when it is valid (RFC 3339, or seconds since 1970)
    #[arg(long, value_name = "TIME", conflicts_with = "days")]
    until: Option<UnixTime>,
    /// For how many days it is valid, from now or from --not-before
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: u32,
    /// Issue as if it were this time
    #[arg(long, value_name = "TIME")]
    now: Option<UnixTime>,
    /// The serial; drawn at random unless given
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
}

/// Trust the vendor of a document: from now on stamps signed with its keys are accepted.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp vendor trust stamps.example.json\n  mailstamp vendor trust - < stamps.example.json"
)]
pub struct Trust {
    /// The document; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace what was trusted under this name before
    #[arg(long)]
    replace: bool,
}

/// Trust a vendor no more: from now on nothing that he signed is accepted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor untrust stamps.example")]
pub struct Untrust {
    /// His name
    #[arg(value_name = "NAME")]
    vendor: String,
}

/// List the trusted vendors and their keys, and the directory documents that are not heeded.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp vendor list\n  mailstamp vendor list --json")]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn keygen(args: &Keygen) -> Result<u8, Failure> {
    let issuer = Issuer::new(&args.vendor, &args.kid).map_err(|error| Failure::new(DATA, error))?;
    let signer = Signer::generate(issuer).map_err(|error| Failure::new(exit_status::IO, error))?;
    signer.write(&args.out).map_err(|error| {
        let hint = format!(
            "a key is never written over; its document again: mailstamp vendor document --key {}",
            args.out.display()
        );
        let failure = Failure::new(CANNOT_CREATE, error);
        if args.out.exists() { failure.hint(hint) } else { failure }
    })?;
    public(&signer, args.buy.as_deref())
}

pub(super) fn document(args: &Show) -> Result<u8, Failure> {
    let signer = Signer::read(&args.key).map_err(|error| Failure::new(NO_INPUT, error))?;
    public(&signer, args.buy.as_deref())
}

/// Prints the document by which recipients trust the key.
fn public(signer: &Signer, buy: Option<&str>) -> Result<u8, Failure> {
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
    let signer = Signer::read(&args.key).map_err(|error| Failure::new(NO_INPUT, error))?;
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
    let token = issue::issue(&stamp, &signer.issuer, &signer.key);
    output::line(token.map_err(|error| Failure::new(DATA, error))?.as_str())?;
    Ok(0)
}

fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes).map_err(|error| Failure::new(exit_status::IO, error))?;
    Ok(bytes)
}

pub(super) fn trust(args: &Trust, given: &Given) -> Result<u8, Failure> {
    let (_, places) = Places::read(given)?;
    let text = if args.file == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().take(1024 * 1024).read_to_string(&mut text)?;
        text
    } else {
        fs::read_to_string(&args.file).map_err(|error| unread(&args.file, &error))?
    };
    let not_a_document = |error: &dyn std::fmt::Display| {
        Failure::new(DATA, format!("{}: this is no vendor's document: {error}", args.file.display()))
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| not_a_document(&error))?;
    if value.get("secret").is_some() {
        return Err(Failure::new(DATA, format!("{}: this is a secret key", args.file.display()))
            .hint("give the document that `vendor keygen` printed, and this file to nobody"));
    }
    let unlisted = value.get("directory").is_none() && value.get("keys").is_none();
    let document: Document = serde_json::from_value(value).map_err(|error| not_a_document(&error))?;
    let entry = match document {
        Document::Pinned(entry) => entry,
        Document::Signed { directory, also } => trust_policy::introduced(&[vec![directory], also].concat())
            .map_err(|error| not_a_document(&format!("signed directory: {error}")))?,
    };
    // Under a wrong name or with a weak key it would stop every judgement from now on.
    Issuer::new(&entry.vendor, "any").map_err(|error| not_a_document(&error))?;
    Directory::default().pin(&entry).map_err(|error| not_a_document(&error))?;
    if unlisted {
        // Whoever leaves the keys to a directory says so.
        return Err(not_a_document(&"it lists no keys"));
    }
    let folder = places.vendors()?;
    let path = folder.join(format!("{}.json", entry.vendor));
    if path.exists() && !args.replace {
        return Err(Failure::new(CANNOT_CREATE, format!("{} is trusted already", entry.vendor))
            .hint("--replace puts this document in the place of the other"));
    }
    pin(folder, &entry)?;
    output::line(&format!("{} is trusted now, with {} key(s)", entry.vendor, entry.keys.len()))?;
    Ok(0)
}

/// A document that cannot be read; an address is none.
fn unread(file: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(NO_INPUT, format!("{}: {error}", file.display()));
    if file.to_string_lossy().contains("://") {
        return failure
            .hint("`mailstamp directory add NAME --from ADDRESS` fetches a vendor's document and trusts him");
    }
    failure
}

pub(super) fn untrust(args: &Untrust, given: &Given) -> Result<u8, Failure> {
    let (_, places) = Places::read(given)?;
    // A name is a part of a path here.
    Issuer::new(&args.vendor, "any").map_err(|error| Failure::new(DATA, error))?;
    let folder = places.vendors()?;
    let path = folder.join(format!("{}.json", args.vendor));
    fs::remove_file(&path).map_err(|error| {
        let failure = Failure::new(NO_INPUT, format!("{}: {error}", path.display()));
        failure.hint("`mailstamp vendor list` says whom you trust")
    })?;
    let left = pinned::placed(folder).map_err(|error| Failure::new(CONFIG, error))?;
    if left.pinned.trusts(&args.vendor) {
        let message = format!("another file in {} trusts {} too", folder.display(), args.vendor);
        return Err(Failure::new(CONFIG, message));
    }
    output::line(&format!("{} is not trusted any more", args.vendor))?;
    Ok(0)
}

/// Puts a document into the folder of the trusted vendors, in the place of what was trusted under the name.
///
/// # Errors
/// A failure with status 73.
pub fn pin(folder: &Path, entry: &VendorEntry) -> Result<(), Failure> {
    let path = folder.join(format!("{}.json", entry.vendor));
    let text = serde_json::to_string_pretty(entry).map_err(io::Error::from)? + "\n";
    file::replace(&path, &text).map_err(|error| Failure::new(CANNOT_CREATE, format!("{}: {error}", path.display())))
}

pub(super) fn list(args: &List, given: &Given) -> Result<u8, Failure> {
    let (_, places) = Places::read(given)?;
    let path = places.vendors()?;
    let folder =
        pinned::read(path, places.directories.as_deref(), clock::now()).map_err(|error| Failure::new(CONFIG, error))?;
    if args.json {
        let vendors: Vec<Value> = folder
            .directory
            .vendors()
            .map(|(vendor, keys)| {
                let keys: Vec<Value> = keys
                    .iter()
                    .map(|(kid, fact)| {
                        let key = public_key(fact).map(ToString::to_string);
                        json!({ "kid": kid, "status": status(fact), "key": key })
                    })
                    .collect();
                json!({ "vendor": vendor, "keys": keys })
            })
            .collect();
        let unheeded: Vec<Value> = folder
            .unheeded
            .iter()
            .map(|(file, why)| json!({ "file": file.display().to_string(), "problem": unheeded(why) }))
            .collect();
        output::line(&json!({ "schema": output::SCHEMA, "vendors": vendors, "unheeded": unheeded }).to_string())?;
        return Ok(0);
    }
    let mut lines = Vec::new();
    for (vendor, keys) in folder.directory.vendors() {
        lines.push(vendor.to_owned());
        for (kid, fact) in keys {
            let key = public_key(&fact).map(|key| format!("  {key}")).unwrap_or_default();
            lines.push(format!("  {kid:<16}  {:<11}{key}", status(&fact)));
        }
    }
    if lines.is_empty() {
        lines.push(format!("no vendor is trusted yet (none in {})", path.display()));
    }
    for (file, why) in &folder.unheeded {
        lines.push(format!("not heeded: {}: {}", file.display(), unheeded(why)));
    }
    output::line(&lines.join("\n"))?;
    Ok(0)
}

/// The key, if it is known.
pub fn public_key(fact: &KeyFact) -> Option<&PublicKey> {
    match fact {
        KeyFact::Known(key) => Some(&key.key),
        _ => None,
    }
}

/// What is known of a key, in a word.
#[must_use]
pub fn status(fact: &KeyFact) -> &'static str {
    match fact {
        KeyFact::Known(key) => match key.status {
            KeyStatus::Active => "active",
            KeyStatus::VerifyOnly => "verify-only",
            KeyStatus::Revoked { .. } => "revoked",
        },
        KeyFact::Conflict => "conflict",
        KeyFact::Stale => "stale",
        KeyFact::UnknownVendor | KeyFact::UnknownKey => "unknown",
    }
}

/// Why a signed directory is not heeded, in words.
#[must_use]
pub fn unheeded(why: &Unheeded) -> String {
    match why {
        Unheeded::NotPinned(vendor) => format!("you trust no key of its publisher {vendor}"),
        Unheeded::KeyEnded(vendor) => format!("the key of its publisher {vendor} was revoked or has ended"),
        Unheeded::Superseded(vendor) => format!("{vendor} published a newer one"),
        Unheeded::Stale(vendor) => format!("it is past its date; ask {vendor} for a newer one"),
    }
}
