//! The public logs of the trusted vendors, for the commands that read them.

use crate::cli::ui::exit_status::{CANNOT_CREATE, CONFIG, DATA, Failure, NO_INPUT, TEMPFAIL};
use crate::config::paths::Paths;
use crate::directory::pinned;
use crate::directory::public_log::state::{self, StateError};
use crate::directory::public_log::{Head, NamedLog, named};
use crate::time::UnixTime;
use crate::transparency::note::{KeyKind, VerifierKey};
use crate::transparency::origin;
use std::path::PathBuf;

/// A trusted vendor with a public log.
pub struct Vendor {
    pub name: String,
    /// The key of the log.
    pub key: VerifierKey,
    /// The heads that its directories name.
    pub heads: Vec<Head>,
    /// The directories that name the log.
    pub logs: Vec<NamedLog>,
}

/// A vendor by its name, or why its log cannot be checked; `None` if no directory names one.
pub type Named = (String, Result<Option<Vendor>, Failure>);

/// Returns these vendors, or all trusted ones; for each whose log cannot be checked, why not.
///
/// # Errors
/// A failure for a vendor who is not trusted, or where the documents cannot be read.
pub fn each(places: &Paths, names: &[String], now: UnixTime) -> Result<Vec<Named>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(CONFIG, error);
    let placed = pinned::placed(places.vendors()?).map_err(|error| wrong(&error))?;
    let trusted: Vec<String> = placed.pinned.vendors().map(|(vendor, _)| vendor.to_owned()).collect();
    if let Some(unknown) = names.iter().find(|name| !trusted.contains(name)) {
        return Err(Failure::new(NO_INPUT, format!("{unknown} is not trusted"))
            .hint("`mailstamp trust list` lists the trusted vendors"));
    }
    let mut vendors = Vec::new();
    for name in if names.is_empty() { &trusted } else { names } {
        let logs = named(name, &placed, places.directories.as_deref(), now).map_err(|error| wrong(&error))?;
        if !logs.is_empty() {
            vendors.push((name.clone(), vendor(name, logs).map(Some)));
        } else if was_checked(places, name)? {
            // Otherwise a vendor who does not log any more would only have to say so.
            let text = format!("{name}: no directory names its public log any more, and there was one");
            let failure = Failure::new(DATA, text).hint("ask the vendor why, or stop trusting them");
            vendors.push((name.clone(), Err(failure)));
        } else if names.is_empty() {
            vendors.push((name.clone(), Ok(None)));
        } else {
            let failure = Failure::new(NO_INPUT, format!("no directory of {name} names a public log"))
                .hint("`mailstamp directory add` fetches a vendor's directory, and keeps it up to date");
            vendors.push((name.clone(), Err(failure)));
        }
    }
    Ok(vendors)
}

/// As [`each`], without the vendors that have no log, for commands that stop at the first problem.
///
/// # Errors
/// Also those of each vendor.
pub fn vendors(places: &Paths, names: &[String], now: UnixTime) -> Result<Vec<Vendor>, Failure> {
    each(places, names, now)?.into_iter().filter_map(|(_, vendor)| vendor.transpose()).collect()
}

/// Returns the folder of what is known of the logs.
pub fn folder(places: &Paths) -> Result<PathBuf, Failure> {
    Ok(places.state()?.join("logs"))
}

/// Returns whether the vendor's log was checked before.
fn was_checked(places: &Paths, vendor: &str) -> Result<bool, Failure> {
    let known = state::read(&folder(places)?, vendor).map_err(|error| failure(&error))?;
    Ok(known.is_some_and(|known| !known.checkpoint.is_empty()))
}

fn vendor(name: &str, logs: Vec<NamedLog>) -> Result<Vendor, Failure> {
    let Some(first) = logs.first() else { return Err(Failure::new(NO_INPUT, format!("{name} has no public log"))) };
    let key = key(name, &first.log.vkey)?;
    let mut heads = Vec::new();
    for log in &logs {
        if log.log.vkey != first.log.vkey {
            let text =
                format!("{name}: the directories from {} and {} name two keys for its log", first.from, log.from);
            return Err(Failure::new(DATA, text).hint("ask the vendor which one is right"));
        }
        let head = Head::open(&log.log.checkpoint, &key, &log.from);
        heads.push(head.map_err(|error| {
            Failure::new(DATA, format!("{name}: the head of its log in the directory from {}: {error}", log.from))
        })?);
    }
    Ok(Vendor { name: name.to_owned(), key, heads, logs })
}

/// Parses the key of a vendor's log.
fn key(vendor: &str, text: &str) -> Result<VerifierKey, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(DATA, format!("{vendor}: the key of its log: {error}"));
    let key: VerifierKey = text.parse().map_err(|error| wrong(&error))?;
    if key.kind() != KeyKind::Note {
        return Err(wrong(&"it is a key of a witness"));
    }
    // The name says where the log is, so it must be the vendor's own.
    if key.name() != origin(vendor) {
        return Err(wrong(&format!("its name is {:?}, expected {:?}", key.name(), origin(vendor))));
    }
    Ok(key)
}

/// Returns the failure of the state of a log.
pub fn failure(error: &StateError) -> Failure {
    let code = match error {
        StateError::Busy => TEMPFAIL,
        StateError::Content { .. } | StateError::File(_) => CONFIG,
        StateError::Io { .. } => CANNOT_CREATE,
    };
    Failure::new(code, error)
}
