//! `mailstamp show`: shows the stamps in a message, decoded. Without a checked signature, anyone can have written the
//! content of a stamp, and the output says so.

use crate::cli::ui::exit_status::{DATA, Failure};
use crate::cli::ui::{input, output};
use crate::config::paths::{CliOverrides, Paths};
use crate::directory::key_directory::Directory;
use crate::directory::pinned;
use crate::message::header::readable;
use crate::message::parse::Message;
use crate::os::clock;
use crate::stamp::claims::Stamp;
use crate::stamp::extract::{Found, Place, locate};
use crate::stamp::token::{Issuer, Purpose, Token};
use crate::verdict::facts::{KeyDirectory, KeyFact};
use serde_json::{Value, json};
use std::fmt::Write;

/// Read a message, or a stamp alone, on standard input and show the stamps.
///
/// Nothing is judged or spent. Signatures are checked against the keys of the vendors that you trust. The exit status
/// is 65 when there is no stamp.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailstamp show [OPTIONS] < MESSAGE",
    after_help = "Examples:\n  \
    mailstamp show < message\n  \
    mailstamp show --no-verify --json < message"
)]
pub struct Args {
    /// Check no signature and read no key
    #[arg(long)]
    no_verify: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, given: &CliOverrides) -> Result<u8, Failure> {
    let (config, places) = Paths::read(given)?;
    let directory = if args.no_verify { None } else { Some(keys(&places)?) };
    let input = input::message(config.largest)?;
    let alone = alone(&input.bytes);
    let in_message = alone.is_none();
    let stamps = alone.map_or_else(|| locate(&Message::parse(&input.bytes)).stamps, |stamp| vec![stamp]);
    if stamps.is_empty() {
        return Err(Failure::new(DATA, "no stamp in this message"));
    }
    let shown: Vec<Shown> = stamps.iter().map(|found| Shown::of(found, in_message, directory.as_ref())).collect();
    if args.json {
        let stamps: Vec<Value> = shown.iter().map(Shown::json).collect();
        output::line(&json!({ "schema": output::SCHEMA, "stamps": stamps }).to_string())?;
    } else {
        let text: Vec<String> = shown.iter().map(Shown::text).collect();
        output::line(text.join("\n").trim_end())?;
    }
    Ok(0)
}

fn keys(places: &Paths) -> Result<Directory, Failure> {
    let folder = pinned::read(places.vendors()?, places.directories.as_deref(), clock::now());
    Ok(folder.map_err(|error| Failure::new(crate::cli::ui::exit_status::CONFIG, error))?.directory)
}

/// Reads a stamp as `vendor issue` prints it: one word and nothing else.
fn alone(bytes: &[u8]) -> Option<Found> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let word = text.starts_with("v4.public.") && text.len() <= 8192 && !text.contains(char::is_whitespace);
    word.then(|| Found { place: Place::Header, token: text.to_owned(), parameters: Vec::new() })
}

/// One stamp, decoded as far as possible.
struct Shown<'a> {
    place: Option<Place>,
    found: &'a Found,
    issuer: Option<Issuer>,
    claims: Result<Stamp, String>,
    signature: &'static str,
}

impl<'a> Shown<'a> {
    fn of(found: &'a Found, in_message: bool, directory: Option<&Directory>) -> Self {
        let place = in_message.then_some(found.place);
        let token = match Token::parse(&found.token) {
            Ok(token) => token,
            Err(error) => {
                let claims = Err(error.to_string());
                return Self { place, found, issuer: None, claims, signature: "not checked" };
            }
        };
        let issuer = token.issuer().ok();
        let signature = match (directory, &issuer) {
            (Some(directory), Some(issuer)) => match directory.key(issuer) {
                KeyFact::Known(key) if key.key.verify(&token, Purpose::Stamp) => "holds",
                KeyFact::Known(_) => "does not hold",
                KeyFact::UnknownVendor => "not checked: you do not trust this vendor",
                KeyFact::UnknownKey => "not checked: this key of the vendor is not known",
                KeyFact::Conflict => "not checked: your sources disagree about this key",
                KeyFact::Stale => "not checked: the directory that lists this key has expired",
            },
            _ => "not checked",
        };
        let claims = Stamp::read(token.payload()).map_err(|error| error.to_string());
        Self { place, found, issuer, claims, signature }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        rows.push(("place", self.place.map_or("given alone", output::place).to_owned()));
        if let Some(issuer) = &self.issuer {
            rows.push(("vendor", issuer.vendor().to_owned()));
            rows.push(("key", issuer.key_id().to_owned()));
        }
        rows.push(("signature", self.signature.to_owned()));
        match &self.claims {
            Err(problem) => rows.push(("problem", problem.clone())),
            Ok(stamp) => {
                rows.push(("serial", stamp.serial.to_string()));
                rows.push(("recipient", stamp.audience.to_string()));
                rows.push(("sender", stamp.sender.as_ref().map_or("not given".to_owned(), |from| from.to_string())));
                let time =
                    |time: Option<crate::time::UnixTime>| time.map_or("not given".to_owned(), |time| time.to_string());
                rows.push(("issued", time(stamp.issued)));
                rows.push(("valid from", time(stamp.not_before)));
                rows.push(("valid until", time(stamp.expires)));
                rows.push(("value", stamp.value.to_string()));
                rows.push(("use", if stamp.many { "many" } else { "once" }.to_owned()));
                if let Some(holder) = &stamp.holder {
                    rows.push(("holder", holder.to_string()));
                }
            }
        }
        for (name, value) in &self.found.parameters {
            rows.push(("parameter", format!("{name}={value}")));
        }
        rows
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.rows() {
            let _ = writeln!(text, "{name:<12}{}", readable(value.as_bytes(), 400));
        }
        text
    }

    fn json(&self) -> Value {
        let claims = self.claims.as_ref().ok();
        json!({
            "place": self.place.map(output::place),
            "vendor": self.issuer.as_ref().map(|issuer| issuer.vendor()),
            "key": self.issuer.as_ref().map(|issuer| issuer.key_id()),
            "signature": self.signature,
            "problem": self.claims.as_ref().err(),
            "serial": claims.map(|stamp| stamp.serial.as_str()),
            "recipient": claims.map(|stamp| stamp.audience.to_string()),
            "sender": claims.and_then(|stamp| stamp.sender.as_ref()).map(|sender| sender.to_string()),
            "issued": claims.and_then(|stamp| stamp.issued).map(|time| time.to_string()),
            "not_before": claims.and_then(|stamp| stamp.not_before).map(|time| time.to_string()),
            "expires": claims.and_then(|stamp| stamp.expires).map(|time| time.to_string()),
            "value": claims.map(|stamp| stamp.value),
            "use": claims.map(|stamp| if stamp.many { "many" } else { "once" }),
            "holder": claims.and_then(|stamp| stamp.holder.as_ref()).map(|holder| holder.to_string()),
        })
    }
}
