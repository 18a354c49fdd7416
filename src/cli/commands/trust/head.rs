//! `mailstamp trust head`: prints the verified heads of the public logs, one line each, so that two people can compare
//! what a vendor shows them.

use super::logs::{self, Vendor};
use crate::cli::ui::exit_status::{DATA, Failure, NO_INPUT, UNAVAILABLE};
use crate::cli::ui::output;
use crate::config::paths::{CliOverrides, Paths};
use crate::directory::public_log::Head;
use crate::directory::public_log::place::{self, Place};
use crate::directory::public_log::state;
use crate::os::clock;
use crate::transparency::note::Note;
use crate::transparency::reader::VerifiedLog;
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use std::io::{self, Write};

/// Print the last verified head of each vendor's public log: one line, for another person to compare.
///
/// The exit status is 69 when a head has too few cosignatures of your witnesses.
///
/// With --compare, the exit status is 0 when one log has both heads, 69 when its files cannot be read, and 65 when they
/// contradict each other. Both signed heads are printed then: together they prove that the vendor shows two logs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp trust head\n  \
    mailstamp trust head stamps.example --compare \"$(cat line-from-bob)\"")]
pub struct Args {
    /// The vendors; all whose logs were checked, if none is given
    #[arg(value_name = "VENDOR")]
    vendors: Vec<String>,
    /// The line of another person
    #[arg(long, value_name = "LINE")]
    compare: Option<String>,
    /// Read the log from a mirror, or a folder with a copy [default: the address in its name]
    #[arg(long, value_name = "PLACE", requires = "compare")]
    from: Option<Place>,
    /// Print JSON
    #[arg(long, conflicts_with = "compare")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A failure when no log was checked yet, or the line is not one.
pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (config, places) = Paths::read(given)?;
    let folder = logs::folder(&places)?;
    let vendors = logs::vendors(&places, &args.vendors, clock::now())?;
    let mut heads = Vec::new();
    for vendor in vendors {
        let known = state::read(&folder, &vendor.name).map_err(|error| logs::failure(&error))?;
        let known = known
            .filter(|known| !known.checkpoint.is_empty())
            .map(|known| Head::open(&known.checkpoint, &vendor.key, "your last check"));
        match known {
            Some(Ok(head)) => heads.push((vendor, head)),
            Some(Err(error)) => {
                return Err(Failure::new(DATA, format!("{}: {error}", state::path(&folder, &vendor.name).display())));
            }
            None if args.vendors.is_empty() => {}
            None => {
                return Err(Failure::new(NO_INPUT, format!("the log of {} was not checked yet", vendor.name))
                    .hint("check it with `mailstamp trust check`"));
            }
        }
    }
    let mut code = 0;
    for (vendor, head) in &heads {
        if let Err(shortfall) = config.logs.check(&head.note, head.checkpoint.size) {
            code = UNAVAILABLE;
            // Standard error may be closed by now.
            let _ = writeln!(io::stderr(), "mailstamp: warning: {}: {shortfall}", vendor.name);
        }
    }
    let done = match &args.compare {
        Some(line) => compare(line, &heads, args.from.as_ref()),
        None if args.json => {
            let heads = heads.iter().map(|(vendor, head)| {
                json!({
                    "vendor": vendor.name, "size": head.checkpoint.size,
                    "root": data_encoding::BASE64.encode(&head.checkpoint.root), "line": line_of(vendor, head),
                })
            });
            let object = json!({ "schema": output::SCHEMA, "heads": heads.collect::<Vec<_>>() });
            output::line(&object.to_string())?;
            Ok(0)
        }
        None => {
            if heads.is_empty() {
                output::note("no log was checked yet; `mailstamp trust check` checks the logs");
            }
            heads.iter().try_for_each(|(vendor, head)| output::line(&line_of(vendor, head)))?;
            Ok(0)
        }
    }?;
    Ok(if done == 0 { code } else { done })
}

/// Returns the line of a head: the vendor, and the signed checkpoint in base64url.
fn line_of(vendor: &Vendor, head: &Head) -> String {
    format!("{} {}", vendor.name, BASE64URL_NOPAD.encode(head.note.to_string().as_bytes()))
}

fn compare(line: &str, heads: &[(Vendor, Head)], from: Option<&Place>) -> Result<u8, Failure> {
    let malformed = || {
        Failure::new(DATA, "not a line of `mailstamp trust head`: the name of a vendor, and a signed head in base64url")
    };
    let (name, note) = line.trim().split_once(' ').ok_or_else(malformed)?;
    let note = BASE64URL_NOPAD.decode(note.trim().as_bytes()).map_err(|_| malformed())?;
    let note = String::from_utf8(note).map_err(|_| malformed())?;
    let Some((vendor, own)) = heads.iter().find(|(vendor, _)| vendor.name == name) else {
        return Err(Failure::new(NO_INPUT, "you have no head of the vendor that the line names")
            .hint("trust the vendor, and check the log with `mailstamp trust check`"));
    };
    let other = Head::open(&note, &vendor.key, "the line");
    let other = other.map_err(|error| Failure::new(DATA, format!("the head in the line: {error}")))?;
    let (old, new) = if own.checkpoint.size <= other.checkpoint.size { (own, &other) } else { (&other, own) };
    let same = if old.checkpoint.size == new.checkpoint.size {
        old.checkpoint.root == new.checkpoint.root
    } else {
        let place = from.cloned().unwrap_or_else(|| Place::of(&vendor.key));
        let unread = |error: &dyn std::fmt::Display| Failure::new(UNAVAILABLE, format!("{place}: {error}"));
        // The files are those of the head that is served: both must belong to it.
        let text = place::checkpoint(&place).map_err(|error| unread(&format!("checkpoint: {error}")))?;
        let served = Head::open(&text, &vendor.key, "").map_err(|error| unread(&format!("checkpoint: {error}")))?;
        let whole = if served.checkpoint.size >= new.checkpoint.size { &served } else { new };
        let log = VerifiedLog::open(&place, whole.checkpoint.size, &whole.checkpoint.root);
        let mut log = log.map_err(|error| unread(&error))?;
        let mut holds = |head: &Head| {
            let root = log.root_at(head.checkpoint.size).map_err(|error| unread(&error))?;
            Ok::<_, Failure>(root == head.checkpoint.root)
        };
        holds(old)? && holds(new)?
    };
    if same {
        let ahead = match own.checkpoint.size.cmp(&other.checkpoint.size) {
            std::cmp::Ordering::Equal => "both heads are the same".to_owned(),
            std::cmp::Ordering::Less => {
                format!("the line is {} leaves ahead", other.checkpoint.size - own.checkpoint.size)
            }
            std::cmp::Ordering::Greater => {
                format!("yours is {} leaves ahead", own.checkpoint.size - other.checkpoint.size)
            }
        };
        output::line(&format!("{name}: one log; {ahead}"))?;
        return Ok(0);
    }
    let [first, second]: [&Note; 2] = [&own.note, &other.note];
    output::line(&format!("{first}\n{second}"))?;
    // Standard error may be closed by now.
    let _ = writeln!(io::stderr(), "mailstamp: alarm: {name} signed two heads that contradict each other; keep both");
    Ok(DATA)
}
