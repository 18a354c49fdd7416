//! `mailstamp directory add`: adds a source to the list. For a vendor that the user does not trust yet, it fetches and
//! shows the keys. Trust is given by a person, once, and never by a program.

use crate::cli::commands::trust;
use crate::cli::ui::exit_status::{CANNOT_CREATE, CONFIG, DATA, Failure, UNAVAILABLE, USAGE};
use crate::cli::ui::{input, output};
use crate::config::directory_sources::{self, KeyIntroduction, Source, Sources};
use crate::config::file;
use crate::config::paths::{CliOverrides, Paths};
use crate::directory::document::{Publishes, Status, VendorEntry};
use crate::directory::key_directory::Directory;
use crate::directory::pinned;
use crate::directory::refresh::{self, ProblemKind};
use crate::directory::source_status::sanitized;
use crate::directory::trust_policy::{self, FetchedDocument};
use crate::net::https::Conditions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

/// Add a source from which a vendor's directory is fetched. For a vendor that you do not trust yet, the keys are shown,
/// and you are asked whether to trust them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mailstamp directory add stamps.example\n  \
    mailstamp directory add stamps.example --from dns\n  \
    mailstamp directory add directory.example --any --from https://directory.example/stamps.json")]
pub struct Args {
    /// The vendor, or the publisher of a directory of many vendors
    #[arg(value_name = "VENDOR")]
    vendor: String,
    /// Where the directory is: https://…, dns, or a file [default: the well-known address of the vendor]
    #[arg(long, value_name = "SOURCE")]
    from: Option<String>,
    /// What new keys need: the signature of a known key, or the source itself
    #[arg(long, value_name = "HOW", default_value = "signed", value_parser = ["signed", "channel"])]
    new_keys: String,
    /// Take keys from this source even if it cannot be authenticated
    #[arg(long)]
    accept_weak: bool,
    /// How long the last answer counts when the source stops answering, as 30d
    #[arg(long, value_name = "LENGTH")]
    max_age: Option<String>,
    /// With a vendor not trusted yet: let it list the keys of the other vendors that you trust
    #[arg(long)]
    any: bool,
    /// Trust the keys without asking
    #[arg(long)]
    yes: bool,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (_, places) = Paths::read(given)?;
    let vendors = places.vendors()?;
    let well_known = || format!("https://{}/.well-known/digital-stamp", args.vendor);
    let from = args.from.clone().unwrap_or_else(well_known);
    let new_keys = if args.new_keys == "channel" { KeyIntroduction::Channel } else { KeyIntroduction::Signed };
    if let Some(length) = &args.max_age {
        let checked = directory_sources::check_max_age(length);
        checked.map_err(|error| Failure::new(USAGE, format!("--max-age {length}: {error}")))?;
    }
    let table = directory_sources::table(&args.vendor, &from, new_keys, args.accept_weak, args.max_age.as_deref());
    let path = vendors.join(directory_sources::NAME);
    let mut text = match file::read(&path) {
        Err(error) if error.is_absent() => String::new(),
        other => other.map_err(|error| Failure::new(CONFIG, error))?,
    };
    if !text.is_empty() {
        text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
    }
    text.push_str(&table);
    // The whole file is parsed, so that nothing is written that could not be read again.
    let listed = directory_sources::parse(&text, &path).map_err(|error| Failure::new(DATA, error))?;
    let pinned = pinned::placed(vendors).map_err(|error| Failure::new(CONFIG, error))?.pinned;
    if pinned.trusts(&args.vendor) {
        if args.any {
            let message = format!("{} is trusted already; --any would change what it may publish", args.vendor);
            return Err(Failure::new(DATA, message).hint(format!(
                "write \"publishes\": \"any\" into {}.json in {}",
                args.vendor,
                vendors.display()
            )));
        }
    } else {
        introduce(args, &listed, vendors)?;
    }
    file::replace(&path, &text).map_err(|error| Failure::new(CANNOT_CREATE, format!("{}: {error}", path.display())))?;
    output::line(&format!("{}: listed {from}; mailstamp directory refresh fetches from it", args.vendor))?;
    Ok(0)
}

/// Shows the vendor that the source presents, and pins it if the user agrees.
fn introduce(args: &Args, listed: &Sources, vendors: &Path) -> Result<(), Failure> {
    let Some(source) = listed.list.last() else { return Ok(()) };
    let (entry, authentic) = found(listed, source)?;
    if entry.vendor != args.vendor {
        return Err(Failure::new(DATA, format!("{}: this is a directory of {}", source.origin, entry.vendor)));
    }
    if !authentic && !args.accept_weak {
        return Err(Failure::new(
            DATA,
            format!("{}: nothing proves that this comes from {}", source.origin, entry.vendor),
        )
        .hint("get the vendor's document elsewhere and trust it by hand, or give --accept-weak"));
    }
    let publishes = if args.any { Publishes::Any } else { Publishes::Own };
    let entry = VendorEntry { publishes, ..entry };
    entry.check().map_err(|error| Failure::new(DATA, error))?;
    show(&entry, authentic)?;
    if !args.yes && !confirmed(&entry.vendor)? {
        return Err(Failure::new(DATA, format!("{} is not trusted", entry.vendor)));
    }
    trust::pin(vendors, &entry)
}

fn found(listed: &Sources, source: &Source) -> Result<(VendorEntry, bool), Failure> {
    let failed = |code, what: &str| Failure::new(code, format!("{}: {}", source.origin, sanitized(what)));
    let fetched = refresh::fetch(listed, source, &Conditions::default(), &Directory::default());
    let fetched = fetched
        .map_err(|problem| failed(if problem.kind == ProblemKind::Away { UNAVAILABLE } else { DATA }, &problem.what))?
        .ok_or_else(|| failed(UNAVAILABLE, "the source has nothing"))?;
    let entry = match fetched.offer {
        FetchedDocument::Listed { entry, .. } => entry,
        FetchedDocument::Signed(tokens) => {
            let entry = trust_policy::first_contact(&tokens);
            entry.map_err(|error| Failure::new(DATA, format!("{}: {error}", source.origin)))?
        }
    };
    Ok((entry, fetched.authentic))
}

/// Shows the keys that the user is about to trust. The names were checked and the keys are PASERK, so neither can hold
/// anything else.
fn show(entry: &VendorEntry, authentic: bool) -> Result<(), Failure> {
    output::line(&format!("{}{}", entry.vendor, if authentic { "" } else { " (not authenticated)" }))?;
    for key in &entry.keys {
        let status = match key.status {
            Status::Active => "active",
            Status::VerifyOnly => "verify-only",
            Status::Revoked => "revoked",
        };
        output::line(&format!("  {:<16}  {status:<11}  {}", key.kid, key.key))?;
    }
    Ok(())
}

fn confirmed(vendor: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(DATA, format!("{vendor} is not trusted yet, and standard input is not a terminal"))
            .hint("compare the keys, and give --yes"));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "Are these the keys of {vendor}, and shall stamps signed with them be accepted? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    input::stdin()?.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
