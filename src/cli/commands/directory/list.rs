//! `mailstamp directory list`: shows the sources, their last answers, and the resulting keys.

use crate::cli::commands::trust;
use crate::cli::ui::exit_status::{CONFIG, Failure};
use crate::cli::ui::output;
use crate::config::paths::{CliOverrides, Paths};
use crate::directory::pinned;
use crate::directory::source_status::{self, Standing};
use crate::os::clock;
use crate::time::UnixTime;
use serde_json::{Value, json};

/// List the sources with the time and version of their last answer, and the keys of their publishers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mailstamp directory list\n  mailstamp directory list --json")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (_, places) = Paths::read(given)?;
    let now = clock::now();
    let (vendors, cache) = (places.vendors()?, places.directories.as_deref());
    let standings = source_status::standings(vendors, cache).map_err(|error| Failure::new(CONFIG, error))?;
    let folder = pinned::read(vendors, cache, now).map_err(|error| Failure::new(CONFIG, error))?;
    if args.json {
        let keys: Vec<Value> = folder
            .directory
            .vendors()
            .flat_map(|(vendor, keys)| {
                keys.into_iter().map(move |(kid, fact)| {
                    let key = trust::public_key(&fact).map(ToString::to_string);
                    json!({ "vendor": vendor, "kid": kid, "status": trust::status(&fact), "key": key })
                })
            })
            .collect();
        let sources: Vec<Value> = standings.iter().map(|standing| source(standing, now)).collect();
        output::line(&json!({ "schema": output::SCHEMA, "sources": sources, "keys": keys }).to_string())?;
        return Ok(0);
    }
    if standings.is_empty() {
        output::line("no source is listed yet; mailstamp directory add lists one")?;
    }
    for standing in &standings {
        let (health, text) = standing.health(now);
        let source = &standing.source;
        output::line(&format!("{:<4}  {}  {}  {text}", health.as_str(), source.publisher, source.origin))?;
    }
    for (vendor, keys) in folder.directory.vendors() {
        for (kid, fact) in keys {
            output::line(&format!("key   {vendor}  {kid}  {}", trust::status(&fact)))?;
        }
    }
    Ok(0)
}

fn source(standing: &Standing, now: UnixTime) -> Value {
    let (health, text) = standing.health(now);
    json!({
        "publisher": standing.source.publisher,
        "from": standing.source.origin.to_string(),
        "version": standing.version,
        "expires": standing.expires.map(|time| time.to_string()),
        "answered": standing.heard.answered,
        "gives": standing.version.map(|_| !standing.doubtful),
        "trouble": standing.heard.trouble,
        "health": health.as_str(),
        "text": text,
    })
}
