//! `mailstamp trust`: the vendors whose stamps the recipient accepts.

mod check;
mod head;
mod logs;
mod monitor;

use crate::cli::ui::counts::counted;
use crate::cli::ui::exit_status::{CANNOT_CREATE, CONFIG, DATA, Failure, IO, NO_INPUT};
use crate::cli::ui::terminal_text::without_controls;
use crate::cli::ui::{input, output};
use crate::config::file;
use crate::config::paths::{CliOverrides, Paths};
use crate::directory::document::{Document, VendorEntry};
use crate::directory::key_directory::IgnoredReason;
use crate::directory::pinned;
use crate::directory::trust_policy;
use crate::os::{atomic_file, clock};
use crate::stamp::signing::PublicKey;
use crate::stamp::strict_json::problem;
use crate::stamp::token::Issuer;
use crate::verdict::facts::{KeyFact, KeyStatus};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::slice;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Trust the vendor of a document
    Add(Add),
    /// Stop trusting a vendor
    Remove(Remove),
    /// List the trusted vendors and their keys
    List(List),
    /// Check the public logs of the trusted vendors
    Check(check::Args),
    /// Read a whole public log
    Monitor(monitor::Args),
    /// Print the heads of the public logs, for another person to compare
    Head(head::Args),
}

/// Trust the vendor of a document: from now on stamps signed with its keys are accepted.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailstamp trust add stamps.example.json\n  mailstamp trust add - < stamps.example.json"
)]
pub struct Add {
    /// The document; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the document of the same vendor
    #[arg(long)]
    replace: bool,
}

/// Stop trusting a vendor: from now on none of its signatures is accepted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp trust remove stamps.example")]
pub struct Remove {
    /// The name of the vendor
    #[arg(value_name = "NAME")]
    vendor: String,
}

/// List the trusted vendors and their keys, and the directory documents that are ignored.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp trust list\n  mailstamp trust list --json")]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Command, given: &CliOverrides) -> Result<u8, Failure> {
    match command {
        Command::Add(args) => add(args, given),
        Command::Remove(args) => remove(args, given),
        Command::List(args) => list(args, given),
        Command::Check(args) => check::run(args, given),
        Command::Monitor(args) => monitor::run(args, given),
        Command::Head(args) => head::run(args, given),
    }
}

fn add(args: &Add, given: &CliOverrides) -> Result<u8, Failure> {
    let (_, places) = Paths::read(given)?;
    let mut bytes = Vec::new();
    let name = if args.file == Path::new("-") {
        let read = input::stdin().and_then(|stdin| stdin.lock().take(1024 * 1024).read_to_end(&mut bytes));
        read.map_err(|error| Failure::input(IO, &error))?;
        "standard input".to_owned()
    } else {
        let read = input::open(&args.file).and_then(|file| file.take(1024 * 1024).read_to_end(&mut bytes));
        read.map_err(|error| unread(&args.file, &error))?;
        args.file.display().to_string()
    };
    let not_a_document =
        |error: &dyn std::fmt::Display| Failure::new(DATA, format!("{name}: not a vendor document: {error}"));
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| not_a_document(&problem(&error)))?;
    if value.get("secret").is_some() {
        return Err(Failure::new(DATA, format!("{name}: this is a secret key"))
            .hint("give the document that `vendor keygen` printed, and keep this file secret"));
    }
    let unlisted = value.get("directory").is_none() && value.get("keys").is_none();
    let document: Document = serde_json::from_value(value).map_err(|error| not_a_document(&problem(&error)))?;
    let entry = match &document {
        Document::Pinned(entry) => entry.clone(),
        Document::Signed { directory, also } => {
            trust_policy::first_contact(&[slice::from_ref(directory), also].concat())
                .map_err(|error| not_a_document(&format!("signed directory: {error}")))?
        }
    };
    // The name becomes a part of a path, and the names of the keys go to the terminal.
    entry.check().map_err(|error| not_a_document(&error))?;
    if unlisted {
        // A document that leaves the keys to a directory has an empty list of keys.
        return Err(not_a_document(&"it lists no keys"));
    }
    let folder = places.vendors()?;
    let path = folder.join(format!("{}.json", entry.vendor));
    if path.exists() && !args.replace {
        return Err(Failure::new(CANNOT_CREATE, format!("{} is trusted already", entry.vendor))
            .hint("replace the other document with --replace"));
    }
    let signed = matches!(document, Document::Signed { .. }).then_some(&document);
    keep_origin(folder, &entry.vendor, signed)?;
    pin(folder, &entry)?;
    output::line(&format!("{} is trusted now, with {}", entry.vendor, counted(entry.keys.len() as u64, "key")))?;
    Ok(0)
}

/// Returns the failure to read a document. An address instead of a file gets a hint.
fn unread(file: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(NO_INPUT, format!("{}: {error}", file.display()));
    // An address, or the bare name of a vendor.
    let text = file.to_string_lossy();
    if text.contains("://") || (error.kind() == io::ErrorKind::NotFound && Issuer::new(&text, "any").is_ok()) {
        return failure
            .hint("`mailstamp directory add NAME --from ADDRESS` fetches a vendor's document and trusts the vendor");
    }
    failure
}

fn remove(args: &Remove, given: &CliOverrides) -> Result<u8, Failure> {
    let (_, places) = Paths::read(given)?;
    // The name becomes a part of a path.
    Issuer::new(&args.vendor, "any").map_err(|error| Failure::new(DATA, error))?;
    let folder = places.vendors()?;
    let path = folder.join(format!("{}.json", args.vendor));
    fs::remove_file(&path).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::NotFound => format!("{} is not trusted: there is no {}", args.vendor, path.display()),
            _ => format!("{}: {error}", path.display()),
        };
        Failure::new(NO_INPUT, what).hint("`mailstamp trust list` lists the trusted vendors")
    })?;
    keep_origin(folder, &args.vendor, None)?;
    let left = pinned::placed(folder).map_err(|error| Failure::new(CONFIG, error))?;
    if left.pinned.trusts(&args.vendor) {
        let message = format!("another file in {} trusts {} too", folder.display(), args.vendor);
        return Err(Failure::new(CONFIG, message));
    }
    output::line(&format!("{} is not trusted any more", args.vendor))?;
    Ok(0)
}

/// Writes a document into the folder of the trusted vendors, and replaces the one of the same vendor.
///
/// # Errors
/// A failure with status 73.
pub fn pin(folder: &Path, entry: &VendorEntry) -> Result<(), Failure> {
    let path = folder.join(format!("{}.json", entry.vendor));
    let text = serde_json::to_string_pretty(entry).map_err(io::Error::from)? + "\n";
    file::replace(&path, &text).map_err(|error| Failure::new(CANNOT_CREATE, format!("{}: {error}", path.display())))
}

/// Keeps the signed directory from which a vendor came to be trusted, if there is one, and removes an older one.
fn keep_origin(folder: &Path, vendor: &str, signed: Option<&Document>) -> Result<(), Failure> {
    let path = pinned::origin_of(folder, vendor);
    let written = match signed {
        Some(document) => {
            serde_json::to_string(document).map_err(Into::into).and_then(|text| file::replace(&path, &(text + "\n")))
        }
        None => atomic_file::remove(&path),
    };
    written.map_err(|error| Failure::new(CANNOT_CREATE, format!("{}: {error}", path.display())))
}

fn list(args: &List, given: &CliOverrides) -> Result<u8, Failure> {
    let (_, places) = Paths::read(given)?;
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
        let ignored: Vec<Value> = folder
            .unheeded
            .iter()
            .map(|(file, why)| json!({ "file": file.display().to_string(), "problem": ignored(why) }))
            .collect();
        output::line(&json!({ "schema": output::SCHEMA, "vendors": vendors, "ignored": ignored }).to_string())?;
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
        lines.push(without_controls(&format!("ignored: {}: {}", file.display(), ignored(why))));
    }
    output::line(&lines.join("\n"))?;
    Ok(0)
}

/// Returns the key, if it is known.
pub fn public_key(fact: &KeyFact) -> Option<&PublicKey> {
    match fact {
        KeyFact::Known(key) => Some(&key.key),
        _ => None,
    }
}

/// Returns the word for the status of a key.
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

/// Returns why a signed directory is ignored, in words.
#[must_use]
pub fn ignored(why: &IgnoredReason) -> String {
    match why {
        IgnoredReason::NotPinned(vendor) => format!("you trust no key of its publisher {vendor}"),
        IgnoredReason::KeyEnded(vendor) => format!("the key of its publisher {vendor} was revoked or has ended"),
        IgnoredReason::Superseded(vendor) => format!("{vendor} published a newer one"),
        IgnoredReason::Stale(vendor) => format!("it has expired; ask {vendor} for a newer one"),
        IgnoredReason::Malformed { vendors, problem } => {
            let vendors: Vec<&str> = vendors.iter().map(String::as_str).collect();
            match vendors.is_empty() {
                true => problem.clone(),
                false => format!("{problem}; stamps of {} are unverified until it is mended", vendors.join(", ")),
            }
        }
    }
}
